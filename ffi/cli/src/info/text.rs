//! The report for people: a section each, and a star at what is used.

use super::Info;
use super::limits::Limits;
use crate::size;
use std::fmt::Write;

/// The whole text.
pub fn of(info: &Info) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write(&mut out, info);
    out
}

fn write(out: &mut String, info: &Info) -> std::fmt::Result {
    writeln!(out, "hmmrt {}, Linux {}", info.version, info.kernel)?;

    let backend = &info.backend;
    writeln!(out, "\nBackends (HMMRT_BACKEND={}, {})", backend.setting, used(backend.chosen))?;
    for one in &backend.list {
        let name = starred(one.name, backend.chosen);
        if let Some(error) = &one.error {
            writeln!(out, "{name:<16}{error}")?;
        }
        for (number, device) in one.devices.iter().enumerate() {
            writeln!(out, "{:<16}{number}: {}", if number == 0 { &*name } else { "" }, device.name)?;
            let addresses = match device.same_address {
                Some(true) => "; the same addresses as on the host",
                Some(false) => "; addresses of its own",
                None => "",
            };
            let [total, free] = [device.memory_total, device.memory_free].map(size::show);
            writeln!(out, "{:<19}{total}, {free} of it free{addresses}", "")?;
        }
    }

    let fault = &info.fault;
    writeln!(out, "\nFault engines (HMMRT_FAULT={}, {})", fault.setting, used(fault.chosen))?;
    for engine in &fault.list {
        writeln!(out, "{:<16}{}", starred(engine.name, fault.chosen), engine.about)?;
    }

    let uffd = &info.userfaultfd;
    writeln!(out, "\nuserfaultfd")?;
    row(out, "access", uffd.error.as_deref().unwrap_or(uffd.access))?;
    row(out, "/dev/userfaultfd", &uffd.device)?;
    row(out, "vm.unprivileged_userfaultfd", &or_unknown(uffd.unprivileged))?;
    row(out, "features", &uffd.features.join(" "))?;

    writeln!(out, "\nLimits")?;
    limits(out, &info.limits)?;

    writeln!(out, "\nPreload library")?;
    match (&info.preload.library, &info.preload.error) {
        (Some(path), _) => writeln!(out, "    {}", path.display())?,
        (None, error) => writeln!(out, "    none: {}", error.as_deref().unwrap_or("not found"))?,
    }

    if !info.advice.is_empty() {
        writeln!(out, "\nAdvice")?;
    }
    info.advice.iter().try_for_each(|line| writeln!(out, "    {line}"))
}

fn limits(out: &mut String, limits: &Limits) -> std::fmt::Result {
    let sized = |bytes: Option<u64>, none: &str| bytes.map_or_else(|| none.to_owned(), size::show);
    let yes = |is_so: bool| if is_so { "yes" } else { "no" };
    row(out, "page size", &size::show(limits.page_size))?;
    row(out, "memory", &sized(limits.memory_total, "unknown"))?;
    row(out, "memory available", &sized(limits.memory_available, "unknown"))?;
    row(out, "vm.max_map_count", &or_unknown(limits.max_map_count))?;
    row(out, "mappings the runtime may use", &or_unknown(limits.mapping_budget))?;
    row(out, "transparent huge pages", limits.huge_pages.as_deref().unwrap_or("not in this kernel"))?;
    row(out, "  made at a touch", limits.huge_pages_defrag.as_deref().unwrap_or("unknown"))?;
    row(
        out,
        "vm.overcommit_memory",
        match limits.overcommit {
            Some(0) => "0 (heuristic)",
            Some(1) => "1 (always)",
            Some(2) => "2 (strict)",
            _ => "unknown",
        },
    )?;
    row(out, "RLIMIT_AS", &sized(limits.address_space, "unlimited"))?;
    row(out, "RLIMIT_MEMLOCK", &sized(limits.locked_memory, "unlimited"))?;
    row(out, "MREMAP_DONTUNMAP", yes(limits.mremap_dontunmap))?;
    row(out, "PROCMAP_QUERY", yes(limits.procmap_query))
}

fn row(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(out, "    {name:<30}{value}")
}

/// What it is, or that it is none.
fn used(chosen: Option<&str>) -> String {
    chosen.map_or_else(|| "which can't be used here".into(), |name| format!("{name} is used"))
}

fn starred(name: &str, chosen: Option<&str>) -> String {
    format!("  {} {name}", if chosen == Some(name) { '*' } else { ' ' })
}

fn or_unknown(number: Option<u64>) -> String {
    number.map_or_else(|| "unknown".into(), |number| number.to_string())
}
