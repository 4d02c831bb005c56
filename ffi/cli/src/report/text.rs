//! The report for people: a section each.

use super::Report;
use super::blocks::{TRIPS, WINDOW};
use super::totals::{Slice, Totals};
use crate::size;
use std::fmt::Write;

/// The whole text.
pub fn of(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, r: &Report) -> std::fmt::Result {
    let backend = if r.backend.is_empty() {
        "no device was opened".to_owned()
    } else {
        format!("{} devices", r.backend)
    };
    writeln!(
        out,
        "{}, process {}, hmmrt {}, {backend}",
        printable(&r.program),
        r.process,
        printable(&r.library)
    )?;
    for note in &r.notes {
        writeln!(out, "note: {note}")?;
    }

    writeln!(out, "\nSummary")?;
    row(out, "duration", &time(r.duration))?;
    row(out, "events", &format!("{}, of {} threads", r.events, r.threads))?;
    for d in &r.devices {
        row(out, &format!("device {}", d.device), &size::show(d.memory))?;
    }
    let f = &r.faults;
    row(out, "faults", &format!("{} ({} read, {} write)", f.read + f.write, f.read, f.write))?;
    if f.not_answered > 0 {
        row(out, "  ended in SIGBUS", &f.not_answered.to_string())?;
    }
    if f.read + f.write > 0 {
        row(
            out,
            "  time of a fault",
            &format!("{} in the middle, {} at most", time(f.median), time(f.longest)),
        )?;
        row(out, "  all faults", &format!("{}, of which {} waiting", time(f.total), time(f.waited)))?;
    }
    row(out, "writes that dropped copies", &r.taken.to_string())?;
    let w = &r.waits;
    row(out, "waits", &format!("{}, {} in all, {} at most", w.count, time(w.total), time(w.longest)))?;
    row(out, "discarded", &size::show(r.discarded))?;
    let errors: Vec<String> = r.errors.iter().map(|e| format!("{} of {}", e.count, e.code)).collect();
    row(out, "errors (by status)", &if errors.is_empty() { "none".into() } else { errors.join(", ") })?;

    writeln!(out, "\nMoves                             copied    not copied     moves")?;
    moves(out, "to devices", &r.to_device)?;
    moves(out, "home", &r.to_host)?;
    time_line(out, r)?;
    blocks(out, r)?;
    launches(out, r)
}

fn moves(out: &mut String, name: &str, totals: &Totals) -> std::fmt::Result {
    let mut line = |name: &str, copied, spared, moves| {
        writeln!(out, "    {name:<24}{:>12}  {:>12}  {moves:>8}", size::show(copied), size::show(spared))
    };
    line(name, totals.copied, totals.spared, totals.moves)?;
    totals.by_reason.iter().try_for_each(|r| line(&format!("  {}", r.reason), r.copied, r.spared, r.moves))
}

fn time_line(out: &mut String, r: &Report) -> std::fmt::Result {
    let line = &r.time_line;
    writeln!(out, "\nTime line: a character for each {}", time(line.slice))?;
    let mut one = |name: &str, of: &dyn Fn(&Slice) -> u64, show: &dyn Fn(u64) -> String| {
        let most = line.slices.iter().map(of).max().unwrap_or(0);
        let drawn: String = line.slices.iter().map(|s| level(of(s), most)).collect();
        let most = if most == 0 { "none".to_owned() } else { format!("@ is {}", show(most)) };
        writeln!(out, "    {name:<11} |{drawn}| {most}")
    };
    one("to devices", &|s| s.to_device, &size::show)?;
    one("home", &|s| s.to_host, &size::show)?;
    one("faults", &|s| s.faults, &|n| n.to_string())?;
    one("launches", &|s| s.launches, &|n| n.to_string())
}

/// A character that is the darker the nearer `value` is to `most`.
fn level(value: u64, most: u64) -> char {
    const LEVELS: [char; 9] = ['.', ':', '-', '=', '+', '*', '#', '%', '@'];
    if value == 0 || most == 0 {
        return ' ';
    }
    let part = (u128::from(value) * LEVELS.len() as u128).div_ceil(u128::from(most));
    LEVELS[(part as usize).clamp(1, LEVELS.len()) - 1]
}

fn blocks(out: &mut String, r: &Report) -> std::fmt::Result {
    let b = &r.blocks;
    writeln!(out, "\nBlocks: {} in all, {} managed at most", b.count, size::show(b.most_bytes))?;
    if b.list.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "    {:>6}  {:<18}{:>10}  {:>10}  {:>10}  {:>8}  {:>11}",
        "number", "address", "size", "to devices", "home", "faults", "round trips"
    )?;
    for one in &b.list {
        let [size, there, home] = [one.len, one.to_device, one.to_host].map(size::show);
        let mark = if one.kind == "adopted" { " (adopted)" } else { "" };
        writeln!(
            out,
            "    {:>6}  {:<#18x}{size:>10}  {there:>10}  {home:>10}  {:>8}  {:>11}{mark}",
            one.number, one.addr, one.faults, one.round_trips
        )?;
    }
    more(out, b.count, b.list.len())?;
    writeln!(
        out,
        "\nTo and fro: chunks with {TRIPS} round trips or more within {}: {}",
        time(WINDOW),
        b.to_and_fro_count
    )?;
    for t in &b.to_and_fro {
        writeln!(
            out,
            "    {:#x}, of block {}: {} within that time, {} in all",
            t.addr, t.block, t.in_window, t.round_trips
        )?;
    }
    more(out, b.to_and_fro_count, b.to_and_fro.len())
}

fn launches(out: &mut String, r: &Report) -> std::fmt::Result {
    let l = &r.launches;
    let failed = if l.failed > 0 { format!(", {} failed", l.failed) } else { String::new() };
    writeln!(out, "\nLaunches: {}{failed}, {} copied for them", l.count, size::show(l.copied))?;
    if l.kernels.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "    {:<34}{:>8}  {:>11}  {:>12}  {:>12}  {:>10}",
        "kernel", "count", "bytes each", "median stall", "longest", "all stalls"
    )?;
    for k in &l.kernels {
        let each = size::show(k.copied / (k.count.max(1) as u64));
        let [median, longest, all] = [k.median_stall, k.longest_stall, k.stall].map(time);
        let name = printable(&k.name);
        writeln!(out, "    {name:<34}{:>8}  {each:>11}  {median:>12}  {longest:>12}  {all:>10}", k.count)?;
    }
    Ok(())
}

fn more(out: &mut String, all: usize, shown: usize) -> std::fmt::Result {
    if all > shown { writeln!(out, "    and {} more (--top)", all - shown) } else { Ok(()) }
}

fn row(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(out, "    {name:<30}{value}")
}

/// Names come from the file: what would steer a terminal is not shown as it is.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `12.3 ms`.
fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}
