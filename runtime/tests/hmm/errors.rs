//! Memory runs out on the way: on the device, and on the host when the pages come back.

use crate::common;
use crate::common::double::{self, Double};
use crate::device;
use crate::memory::{Kind::*, Memory, PAGE, pattern};
use crate::row::{Kind, row_with};
use hmmrt::{Error, Page, inject, raw};

/// Room for several chunks, so that a GPU's memory is made for more than one of them at once.
const LEN: usize = 8 << 20;

/// The next allocation of device memory fails.
fn fail_device_memory() -> bool {
    let kind = raw::device_info(0).unwrap().backend;
    match kind {
        "host" => {
            inject::arm("commit:1").unwrap();
            false
        }
        _ => {
            let path = std::env::var_os(double::variable(kind)).expect("a double of the driver");
            let double = Double::open(kind, path.as_ref());
            // The code is "out of memory" in both drivers.
            double.arm(&format!("{}:1=2", double.name("cuMemCreate", "hipMemCreate")));
            true
        }
    }
}

/// While `f` runs, no mapping can be made writable: there is no spare block of 2 MiB to be had. `f` allocates nothing.
fn without_host_blocks(f: impl FnOnce() -> bool) -> bool {
    common::others_sleep(); // one that has just been started still maps its alternate stack
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: places for the numbers; the limit is put back.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_DATA, &mut limit), 0);
        let none = libc::rlimit { rlim_cur: PAGE as u64, ..limit }; // 0 means something else to the kernel
        assert_eq!(libc::setrlimit(libc::RLIMIT_DATA, &none), 0);
        let more = libc::mmap(std::ptr::null_mut(), PAGE, crate::memory::RW, crate::memory::ANON, -1, 0);
        let answer = f();
        assert_eq!(libc::setrlimit(libc::RLIMIT_DATA, &limit), 0);
        assert_eq!(more, libc::MAP_FAILED, "the limit is one");
        answer
    }
}

/// Both failures, each with memory of its own, which `fresh` makes and `right` knows again.
fn there_and_back(fresh: fn() -> Memory, right: fn(&Memory) -> bool, words: &[u32]) {
    // First of all what comes home: a place for a spare block that has been used once is writable, and needs nothing more.
    let m = fresh();
    m.send();
    assert!(without_host_blocks(|| right(&m)), "on the way back");
    assert!(m.flags().iter().all(|f| f & Page::HOST != 0));
    assert_eq!(m.migrate(0), LEN / PAGE, "and it goes on as before");
    assert!(right(&m));
    let m = fresh();
    let driver = fail_device_memory();
    let moved = raw::migrate(m.ptr, LEN, 0);
    if driver {
        assert_eq!(moved, Ok(LEN / PAGE), "in smaller pieces, and still all");
    } else {
        assert!(matches!(moved, Err(Error::Device { .. } | Error::DeviceMemory { .. })), "{moved:?}");
        assert!(m.flags().iter().all(|f| f & Page::DEVICE == 0), "nothing has moved");
        assert!(right(&m), "nothing is lost");
        inject::arm("").unwrap();
        m.migrate(0);
    }
    assert!(m.all_are(Page::DEVICE));
    assert_eq!(device::read(0, m.ptr, LEN).unwrap(), words);
    assert!(right(&m));
}

const DIFFERS: &str = "2 MiB is the smallest piece of device memory. A GPU's for several chunks is made in smaller pieces then, and all \
     moves; on the host backend, where each piece is of 2 MiB, the failure is an error, nothing has moved, and the next call moves all";

/// No warm blocks: each has to be made when it is needed.
const ENV: [(&str, &str); 1] = [("HMMRT_SPARE", "0")];

/// Catches: pages that are lost, or an error where smaller pieces would do, or pages that have moved in spite of it.
#[test]
fn migrate_anon_huge_err() {
    let Some(_row) = row_with("errors::migrate_anon_huge_err", Kind::Changed, DIFFERS, &ENV) else { return };
    there_and_back(|| Memory::filled(Huge, LEN, 1), |m| m.holds(1), &pattern(0, LEN, 1));
}

/// As above.
#[test]
fn migrate_anon_huge_zero_err() {
    let Some(_row) = row_with("errors::migrate_anon_huge_zero_err", Kind::Changed, DIFFERS, &ENV) else {
        return;
    };
    let zeros = || {
        let m = Memory::new(Huge, LEN);
        assert!(m.part_is_zero(0, LEN), "only read by the CPU");
        m
    };
    there_and_back(zeros, |m| m.part_is_zero(0, LEN), &vec![0; LEN / 4]);
}
