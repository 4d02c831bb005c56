//! Every place of the code that makes a call to the system which can fail: the call fails there, once, and alone if the place is reached
//! without another failure. Which places there are is read from the sources; which are not reached is said here.

use super::cases::{HUGE_LATER, Settings, is_case, said};
use super::common::double;
use super::drivers;
use super::os::{ERRORS, settings};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

const PLACE: &str = "place ";

/// What the test's process has called, for its parent.
pub fn tell() {
    for p in hmmrt::refusal::places() {
        eprintln!("{PLACE}{} {} {}", p.at, p.name, p.failed);
    }
}

/// Places and the names of their calls; of those that have failed, or of all.
fn read(said: &str, failed: bool) -> impl Iterator<Item = (&str, &str)> {
    said.lines().filter_map(move |l| {
        let mut words = l.strip_prefix(PLACE)?.split(' ');
        let (at, name, n) = (words.next()?, words.next()?, words.next()?);
        (!failed || n != "0").then_some((at, name))
    })
}

/// How a call of something that can fail begins: the wrappers of the system's calls, and of those.
const CALLS: [(&str, &[&str]); 6] = [
    (
        "kernel::",
        &["call", "mmap", "munmap", "mprotect", "mremap", "madvise", "open", "pread", "pwrite", "ioctl"],
    ),
    ("program::", &["map", "unmap", "protect", "advise", "remap", "lock"]),
    (
        "map::",
        &[
            "map",
            "reserve_at",
            "replace",
            "unmap",
            "protect",
            "move_pages",
            "give_back",
            "take_away",
            "huge_pages",
            "forget_advice",
            "populate_read",
        ],
    ),
    ("thread::", &["spawn", "spawn_helper"]),
    ("sys::", &["open_read"]),
    ("super::", &["open_read"]),
];
/// The wrappers themselves.
const WRAPPERS: [&str; 4] = ["sys/kernel.rs", "sys/program.rs", "sys/map.rs", "sys/refusal.rs"];

/// Whether a line of the file calls such a thing.
fn has_call(file: &str, line: &str) -> bool {
    let begins_word = |i: usize| !line[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let is_call = |(module, names): &(&str, &[&str])| {
        names.iter().any(|name| {
            let call = format!("{module}{name}(");
            line.match_indices(&call).any(|(i, _)| begins_word(i) || line[..i].ends_with("sys::"))
        })
    };
    let asks = ["uffd/mod.rs", "uffd/place.rs"].contains(&file);
    let watches = asks && line.contains("make(") && !line.contains("fn make(");
    let std = line.contains("std::thread::");
    !line.trim_start().starts_with("//")
        && !std
        && (CALLS.iter().any(is_call) || watches && !line.contains("::wake("))
}

/// All places of the sources, as `FILE.rs:LINE`.
fn of_sources() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut all, mut dirs) = (BTreeSet::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && file != "sys/standin" {
                dirs.push(path);
            } else if file.ends_with(".rs") && !WRAPPERS.contains(&file.as_str()) {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines =
                    text.lines().take_while(|l| !l.starts_with("#[cfg(all(test") && *l != "#[cfg(test)]");
                let of_calls = lines.zip(1..).filter(|(line, _)| has_call(&file, line));
                all.extend(of_calls.map(|(_, n)| format!("{file}:{n}")));
            }
        }
    }
    all
}

/// Files with places that the script does not reach, how many at most, and why not.
const ELSEWHERE: [(&str, usize, &str); 24] = [
    ("sys/mod.rs", 1, WRAPPER),
    ("sys/uffd.rs", 2, WRAPPER),
    ("uffd/mod.rs", 3, WRAPPER),
    ("adopt/child.rs", 8, CHILD),
    ("raw/mapping.rs", 1, CHILD),
    ("raw/preload.rs", 1, CHILD),
    ("adopt/remap.rs", 1, "a kernel before 4.17"),
    ("arenas.rs", 1, START),
    ("device/host/memory.rs", 2, START),
    ("scratch.rs", 1, START),
    ("device/gpu/space.rs", 1, RARE),
    ("pool.rs", 3, RARE),
    ("migrate/follow.rs", 2, RARE),
    ("migrate/homeward.rs", 2, RARE),
    ("migrate/mod.rs", 1, RARE),
    ("migrate/outward.rs", 2, RARE),
    ("migrate/relocate.rs", 2, RARE),
    ("migrate/watched.rs", 4, RARE),
    ("migrate/early.rs", 2, RARE),
    ("ahead/worker.rs", 1, RARE),
    ("sys/limits.rs", 3, RARE),
    ("uffd/handler.rs", 1, RARE),
    ("uffd/keeper.rs", 1, RARE),
    ("uffd/place.rs", 1, RARE),
];
const WRAPPER: &str = "a wrapper, or a call of the kernel's that is not made to fail";
const CHILD: &str = "a forked child's, whose record ends with it";
const START: &str = "more memory than the script has, or another layout";
const RARE: &str = "limits, threads that have ended, a race, or a second failure behind another";

/// What fails already when a place is reached that is there for that.
const BEFORE: [(usize, &str); 8] = [
    (0, "mremap:1+=12"),
    (0, "madvise:1+=22"),
    (0, "openat:1+=24"),
    (0, "PAGEMAP_SCAN:1+=25"),
    (0, "PROCMAP_QUERY:1+=25"),
    (1, "UFFDIO_MOVE:1+=22"),
    (1, "userfaultfd:1+=38"),
    (2, "UFFDIO_MOVE:1+=16"),
];

/// Runs `f` of all, as many at a time as there are cores.
fn side_by_side<T: Sync>(all: &[T], f: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(it) = all.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) {
            f(it);
        }
    };
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|s| (0..workers).for_each(|_| drop(s.spawn(work))));
}

#[test]
fn every_place_fails() {
    const TEST: &str = "places::every_place_fails";
    if is_case() {
        return;
    }
    let with = |of: &Settings, name: &'static str, value: &str| -> Settings {
        of.iter().cloned().chain([(name, value.to_owned())]).collect()
    };
    let of = settings();
    let mut bases: Vec<(Settings, &str)> = of.iter().map(|of| (of.clone(), "")).collect();
    let trace = std::env::temp_dir().join(format!("hmmrt-places-%p-{}", std::process::id()));
    bases.push((with(&of[0], "HMMRT_TRACE", trace.to_str().unwrap()), ""));
    bases.push((with(&of[0], "HMMRT_POLICY", "auto"), ""));
    bases.push((with(&of[0], HUGE_LATER, "1"), ""));
    for kind in double::KINDS {
        let of = drivers::settings(kind);
        let pinned = if kind == "cuda" { "cuMemHostAlloc:1+=2" } else { "hipHostMalloc:1+=2" };
        bases.push((of.clone(), ""));
        bases.push((with(&of, "HMMRT_DOUBLE_HINTS", "over"), ""));
        bases.push((with(&of, "HMMRT_DOUBLE_FAIL", pinned), ""));
        bases.push((with(&of, "HMMRT_FAULT", "uffd-thread"), ""));
    }
    bases.extend(BEFORE.iter().map(|(i, spec)| (of[*i].clone(), *spec)));
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let run = |spec: &str, settings: &Settings| match said(TEST, spec, settings) {
        Ok(said) => said,
        Err(why) => {
            wrong.lock().unwrap().push(why);
            String::new()
        }
    };
    // Of each place the first base that reaches it, and with nothing else that fails, if there is one.
    let reached: Mutex<BTreeMap<String, (usize, String)>> = Mutex::default();
    let numbers: Vec<usize> = (0..bases.len()).collect();
    side_by_side(&numbers, |i| {
        let said = run(bases[*i].1, &bases[*i].0);
        let mut reached = reached.lock().unwrap();
        for (at, name) in read(&said, false) {
            let first = reached.entry(at.to_owned()).or_insert((*i, name.to_owned()));
            first.0 = first.0.min(*i);
        }
    });
    let reached: Vec<_> = reached.into_inner().unwrap().into_iter().collect();
    let failed: Mutex<BTreeSet<String>> = Mutex::default();
    side_by_side(&reached, |(at, (base, name))| {
        let (settings, before) = &bases[*base];
        let errno = ERRORS.iter().find(|(of, _)| of == name).map_or("12", |(_, errors)| errors[0]);
        for _ in 0..2 {
            let said = run(&format!("{at}:1={errno},{before}"), settings);
            let mut failed = failed.lock().unwrap();
            failed.extend(read(&said, true).map(|(at, _)| at.to_owned()));
            if failed.contains(at) {
                return;
            }
        }
    });
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("hmmrt-places-") && name.ends_with(&format!("-{}", std::process::id())) {
            let _ = std::fs::remove_file(path);
        }
    }
    let (wrong, failed) = (wrong.into_inner().unwrap(), failed.into_inner().unwrap());
    wrong.iter().for_each(|why| eprintln!("WRONG: {why}\n"));
    let idle: Vec<&String> = reached.iter().map(|(at, _)| at).filter(|at| !failed.contains(*at)).collect();
    let all = of_sources();
    let missing: Vec<&String> = all.difference(&failed).collect();
    let of_file = |at: &str| at.split(':').next().unwrap().to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    missing.iter().for_each(|at| *counts.entry(of_file(at)).or_default() += 1);
    let allowed =
        |file: &str| ELSEWHERE.iter().find(|(own, ..)| *own == file).map_or(0, |(_, most, _)| *most);
    let more: Vec<_> = counts.iter().filter(|(file, n)| **n > allowed(file)).collect();
    eprintln!("reached, and never failed: {idle:?}\nnever reached: {missing:?}");
    eprintln!("{} places of {} have failed", all.intersection(&failed).count(), all.len());
    assert!(wrong.is_empty());
    assert!(more.is_empty(), "more places than are known to be out of reach: {more:?}");
}
