//! Adopted ranges that share 2 MiB chunks, on the doubles of the drivers: whatever a device's addresses are like, each range
//! is one piece there, and every byte is its own. Without virtual memory management their device memory is one allocation.

mod common;

use common::double::{self, Double};
use common::{case, kernels};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{AccessMode, Error, LaunchArg, LaunchConfig};

const CHUNK: usize = 2 << 20;
const PAGE: usize = 4096;

/// Memory of the program's own, from a chunk's boundary on.
fn mapped(len: usize) -> *mut u8 {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len + CHUNK, prot, flags, -1, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    let at = at.cast::<u8>();
    at.wrapping_add(at.align_offset(CHUNK))
}

/// A range, and how often a kernel has added to each of its bytes.
struct Part {
    at: *mut u8,
    len: usize,
    seed: u8,
    added: u8,
}

impl Part {
    fn byte(&self, i: usize) -> u8 {
        ((i ^ (i >> 8) ^ (i >> 16)) as u8).wrapping_add(self.seed)
    }

    fn fill(at: *mut u8, len: usize, seed: u8) -> Part {
        let part = Part { at, len, seed, added: 0 };
        // SAFETY: the test's own memory.
        (0..len).for_each(|i| unsafe { at.add(i).write(part.byte(i)) });
        part
    }

    fn adopt(&self) {
        // SAFETY: the test's own memory, which stays.
        unsafe { raw::adopt(self.at, self.len).unwrap() };
    }

    fn disown(&self) {
        // SAFETY: no device uses it.
        unsafe { raw::disown(self.at, self.len).unwrap() };
    }

    fn add(&mut self, value: u8) -> Result<(), Error> {
        let n = self.len as u64;
        let args = [
            LaunchArg::Pointer { ptr: self.at, len: self.len, mode: AccessMode::ReadWrite },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const value).cast(), size: 1 },
        ];
        let kernel = kernels::kernel(0, "test_add_bytes");
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(kernel, &LaunchConfig::linear(self.len / 16, 256), &args)? };
        self.added = self.added.wrapping_add(value);
        Ok(())
    }

    fn send(&self) {
        raw::migrate(self.at, self.len, 0).unwrap();
    }

    fn check(&self) {
        // SAFETY: the test's own memory.
        let wrong = (0..self.len)
            .find(|&i| unsafe { self.at.add(i).read_volatile() } != self.byte(i).wrapping_add(self.added));
        assert_eq!(wrong, None, "{:p}", self.at);
    }

    /// The device has it in one piece.
    fn check_addresses(&self) {
        let first = raw::device_ptr(self.at, 0).unwrap().addr();
        for at in (0..self.len).step_by(CHUNK / 2).chain([self.len - 1]) {
            assert_eq!(raw::device_ptr(self.at.wrapping_add(at), 0).unwrap().addr(), first + at);
        }
    }
}

/// Ranges over so many chunks, each of which shares its first and last chunk with its neighbours; a page lies between.
fn parts(count: usize) -> Vec<Part> {
    let all = mapped((2 * count + 1) * CHUNK);
    let part = |i: usize| {
        let start = all.wrapping_add(CHUNK / 2 + i * 2 * CHUNK);
        Part::fill(start, 2 * CHUNK - PAGE, 10 * i as u8 + 1)
    };
    (0..count).map(part).collect()
}

/// All are adopted before any is used.
fn together() {
    for first in 0..3 {
        let mut all = parts(3);
        all.iter().for_each(Part::adopt);
        all[first].send();
        all.iter().for_each(Part::send);
        for part in &mut all {
            part.add(7).unwrap();
        }
        all.iter().for_each(Part::check_addresses);
        all.iter().for_each(Part::check);
        // One after the other leaves; the others are where they were.
        for gone in 0..3 {
            let places: Vec<_> = all.iter().map(|p| raw::device_ptr(p.at, 0)).collect();
            all[gone..].iter().for_each(Part::send);
            all[gone].disown();
            for (i, part) in all.iter_mut().enumerate().skip(gone + 1) {
                part.add(i as u8).unwrap();
                assert_eq!(raw::device_ptr(part.at, 0), places[i]);
            }
            all.iter().for_each(Part::check);
        }
    }
}

/// One is adopted when its neighbour has been on the device: where their device memory would have to be one piece it is
/// refused, and not by half; when the neighbour is gone it has a place.
fn later(is_refused: bool) {
    let mut all = parts(2);
    all[0].adopt();
    all[0].send();
    all[0].add(3).unwrap();
    let place = raw::device_ptr(all[0].at, 0).unwrap();
    all[1].adopt();
    let done = all[1].add(1);
    assert_eq!(done.is_err(), is_refused, "{done:?}");
    if let Err(e) = done {
        assert!(
            matches!(e, Error::Unsupported { what: "addr", .. }) && e.to_string().contains("disown"),
            "{e}"
        );
        assert!(raw::migrate(all[1].at, all[1].len, 0).is_err());
    }
    assert_eq!(raw::device_ptr(all[0].at, 0), Ok(place));
    all.iter().for_each(Part::check);
    raw::migrate(all[0].at, all[0].len, HMM_HOST).unwrap();
    all[0].disown();
    if is_refused {
        // Its chunks are all in use until the second goes, too.
        all[1].disown();
        all[1].adopt();
    }
    all[1].add(5).unwrap();
    all[1].check_addresses();
    all.iter().for_each(Part::check);
    all[1].disown();
    all.iter().for_each(Part::check);
}

/// What the driver gave for all of them is given back with the last.
fn is_given_back() {
    let double = Double::of_case();
    let before = double.used(0);
    let mut all = parts(2);
    all.iter().for_each(Part::adopt);
    for part in &mut all {
        part.add(1).unwrap();
    }
    assert!(double.used(0) > before);
    all[0].disown();
    all[1].add(1).unwrap();
    all[1].disown();
    assert_eq!(double.used(0), before);
    all.iter().for_each(Part::check);
    // The same memory as one range.
    let whole = Part::fill(all[0].at, 4 * CHUNK - PAGE, 77);
    whole.adopt();
    whole.send();
    whole.check_addresses();
    whole.check();
    whole.disown();
    assert_eq!(double.used(0), before);
}

/// Too much for the device together: each for itself it has room.
fn too_large_together() {
    let mut all = parts(2);
    all.iter().for_each(Part::adopt);
    all[0].add(1).unwrap();
    all[0].check();
    all[0].disown();
    all.iter().for_each(Part::check);
}

fn child(name: &str) {
    raw::device_count().unwrap();
    match name {
        "mapped" => {
            together();
            later(false);
        }
        "allocated" => {
            together();
            later(true);
            is_given_back();
        }
        "small" => too_large_together(),
        other => panic!("no case {other}"),
    }
}

#[test]
fn cases() {
    if let Some(name) = case() {
        return child(&name);
    }
    for kind in double::KINDS {
        let library = double::library(kind);
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("mapped", &[]),
            ("mapped", &[("HMMRT_SAME_ADDRESS", "0")]),
            ("allocated", &[("HMMRT_DOUBLE_VMM", "0")]),
            ("allocated", &[("HMMRT_DOUBLE_VMM", "0"), ("HMMRT_FAULT", "uffd")]),
            ("small", &[("HMMRT_DOUBLE_VMM", "0"), ("HMMRT_DOUBLE_MEMORY", "8M")]),
        ];
        for (name, env) in cases {
            let out = double::run_case(kind, &library, name, env);
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{kind} {name} {env:?}: {:?}\n{err}", out.status);
        }
    }
}
