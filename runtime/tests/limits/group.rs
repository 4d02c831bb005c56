//! A memory cgroup as the host: a program holds more than it, because what is on the device has left it.
//!
//! The host backend's device memory is the machine's, too. It is charged to whoever touches it first: that is done before the
//! process enters the group, so that from there on it is outside of it as a GPU's is.

use crate::common::{self, Block};
use crate::room::{child, on_gpu, passes};
use hmmrt::raw;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::*;

const MIB: usize = 1 << 20;

/// A group of the test's own; gone with it.
struct Group(PathBuf);

/// Where groups with a memory limit can be made, and the limit's file: inside of ours with version 1, beside it with 2.
fn place() -> Result<(PathBuf, &'static str), String> {
    let mine = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|e| e.to_string())?;
    let mount = |kind: &str, option: &str| {
        let is_it = |m: &[&str]| m[2] == kind && (option.is_empty() || m[3].split(',').any(|o| o == option));
        mounts
            .lines()
            .map(|l| l.split(' ').collect::<Vec<_>>())
            .find(|m| m.len() > 3 && is_it(m))
            .map(|m| m[1].to_owned())
    };
    for line in mine.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|c| c == "memory")
            && let Some(at) = mount("cgroup", "memory")
        {
            return Ok((Path::new(&at).join(path), "memory.limit_in_bytes"));
        }
        if controllers.is_empty()
            && let Some(at) = mount("cgroup2", "")
        {
            let own = Path::new(&at).join(path);
            let above = if path.is_empty() { own } else { own.parent().unwrap().into() };
            let has = fs::read_to_string(above.join("cgroup.subtree_control")).unwrap_or_default();
            if has.split_whitespace().any(|c| c == "memory") {
                return Ok((above, "memory.max"));
            }
        }
    }
    Err("no memory cgroup is mounted where this process could have one".into())
}

impl Group {
    fn new(limit: usize) -> Result<Group, String> {
        let (above, file) = place()?;
        let group = Group(above.join(format!("hmmrt-limits-{}", std::process::id())));
        let problem = |e: std::io::Error| format!("{}: {e}", group.0.display());
        fs::create_dir(&group.0).map_err(problem)?;
        fs::write(group.0.join(file), limit.to_string()).map_err(problem)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn fill(b: &Block, value: u64) {
    (0..b.words()).for_each(|i| b.word(i).store(value + i as u64, Relaxed));
}

fn check(b: &Block, value: u64) {
    let wrong = (0..b.words()).find(|i| b.word(*i).load(Relaxed) != value + *i as u64);
    assert_eq!(wrong, None, "{:p} {value}", b.ptr);
}

/// 144 MiB in a host of 56.
fn more_than_the_host_has() {
    let group = PathBuf::from(std::env::var_os("HMMRT_CASE_GROUP").unwrap());
    let blocks: Vec<Block> = (0..8).map(|_| Block::new(16 * MIB)).collect();
    for (i, b) in blocks.iter().enumerate() {
        fill(b, i as u64);
        raw::migrate(b.ptr, b.len, 0).unwrap();
    }
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let own = Block::new(16 * MIB);
    fill(&own, 77);
    for round in 0..3 {
        for (i, b) in blocks.iter().enumerate() {
            check(b, i as u64 + round);
            fill(b, i as u64 + round + 1);
            assert_eq!(raw::migrate(b.ptr, b.len, 0), Ok(b.len / 4096), "{round}");
        }
        check(&own, 77);
    }
    // A forked child would be a copy of all: only what fits. Parts come home, and go again.
    for (i, b) in blocks.iter().enumerate() {
        for page in (0..b.len / 4096).step_by(37) {
            assert_eq!(b.word(page * 512 + 3).load(Relaxed), (page * 512 + 3 + i + 3) as u64);
        }
        raw::migrate(b.ptr, b.len, 0).unwrap();
    }
    check(&own, 77);
    eprintln!(
        "  {} MiB held, {} of them on the device",
        raw::stats().managed_bytes >> 20,
        raw::stats().device_bytes >> 20
    );
}

#[test]
fn a_program_holds_more_than_its_host_has() {
    const TEST: &str = "group::a_program_holds_more_than_its_host_has";
    if common::case().is_some() {
        return more_than_the_host_has();
    }
    if on_gpu() {
        let why = "it is about the host's memory, and the doubles' devices have theirs there";
        return common::skipped(TEST, why);
    }
    // A pool of spare blocks is part of what the host has to have.
    for (spare, limit) in [("0", 56 * MIB), ("16M", 72 * MIB)] {
        let group = match Group::new(limit) {
            Ok(group) => group,
            Err(why) => return common::skipped(TEST, why),
        };
        let mut command = child(TEST, "more", &[("HMMRT_SPARE", spare)]);
        command.env("HMMRT_CASE_GROUP", &group.0);
        passes(command);
    }
}
