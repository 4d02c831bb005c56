//! What a program does to its mappings while their pages are on a device (`raw::mapping`). The preload library's tests do
//! the same with a thread that moves pages at random; here it is known where each page is.

#[path = "../common/mod.rs"]
mod common;

mod memory;
mod protections;

use common::{kernels, two_devices};
use hmmrt::raw::{self, mapping};
use hmmrt::{Access, AccessMode, Advice, LaunchArg, LaunchConfig, Page, StreamId};
use memory::{
    ANON, MIB, PAGE, RW, adopted, all_are, alone, brought_home, fill, flags, holds, remap, send, zero,
};

#[test]
fn unmapped_memory_is_forgotten_without_a_copy() {
    let _alone = alone();
    let before = raw::stats();
    let (at, len) = (adopted(9 * MIB), 9 * MIB);
    send(at, len);
    // SAFETY: memory of the test's; what it unmaps it does not use again.
    unsafe { mapping::unmap(at.addr() + 3 * MIB, 2 * MIB).unwrap() };
    assert!(raw::owns(at) && !raw::owns(at.wrapping_add(3 * MIB)) && raw::owns(at.wrapping_add(5 * MIB)));
    assert!(flags(at.wrapping_add(3 * MIB), 2 * MIB).iter().all(|f| *f == 0), "nothing is mapped there");
    assert!(all_are(at, 3 * MIB, Page::DEVICE) && all_are(at.wrapping_add(5 * MIB), 4 * MIB, Page::DEVICE));
    assert_eq!(brought_home(&before), 0);
    assert!(holds(at, 3 * MIB, 1) && holds(at.wrapping_add(5 * MIB), 4 * MIB, 1 + 5 * MIB as u64));
    send(at, 3 * MIB);
    // SAFETY: as above; there is a hole in the range.
    unsafe { mapping::unmap(at.addr(), len).unwrap() };
    let after = raw::stats();
    assert_eq!(after.device_bytes, before.device_bytes, "device memory was given back");
    assert_eq!(after.managed_bytes, before.managed_bytes);
    assert!(!mapping::touches(at.addr(), len));
    // Regions that share a chunk, unmapped in one call.
    let at = adopted(64 * PAGE + 2 * MIB);
    for i in (0..64).step_by(2) {
        // SAFETY: as above.
        unsafe { mapping::unmap(at.addr() + i * PAGE, PAGE).unwrap() };
    }
    send(at.wrapping_add(64 * PAGE), 2 * MIB);
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), 64 * PAGE + 2 * MIB).unwrap() };
    assert_eq!(raw::stats().device_bytes, before.device_bytes);
    assert_eq!(raw::stats().managed_bytes, before.managed_bytes);
}

/// Catches: what the whole chunks of a range are, its ends are taken for, too.
#[test]
fn ends_of_ranges_that_are_no_whole_chunks_are_looked_at() {
    let _alone = alone();
    // One at least ends in the middle of a chunk.
    for len in [9 * MIB, 9 * MIB + 16 * PAGE] {
        let at = adopted(len);
        let all = [Access { ptr: at, len, mode: AccessMode::ReadWrite }];
        for touched in [None, Some(0), Some(len - PAGE), Some(4 * MIB), Some(len - PAGE), Some(0)] {
            if let Some(touched) = touched {
                fill(at.wrapping_add(touched), PAGE, 1 + touched as u64);
            }
            // SAFETY: nothing is written by a device here.
            unsafe { raw::acquire(0, StreamId::DEFAULT, &all).unwrap() };
            assert!(all_are(at, len, Page::DEVICE), "{len}: after a touch at {touched:?}");
            raw::release(0, StreamId::DEFAULT).unwrap();
            raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        }
        assert!(holds(at, len, 1));
        // SAFETY: memory of the test's.
        unsafe { mapping::unmap(at.addr(), len).unwrap() };
    }
}

#[test]
fn parts_of_blocks_stay_the_heaps() {
    let _alone = alone();
    for len in [6 * MIB, 300 * PAGE, 40 * PAGE] {
        let block = raw::malloc(len).unwrap();
        fill(block, len, 5);
        raw::migrate(block, len, 0).unwrap();
        let part = len / 4 / PAGE * PAGE;
        let before = raw::stats();
        // SAFETY: the test's own block, the parts of which it does not touch again.
        unsafe { mapping::unmap(block.addr() + part, part).unwrap() };
        assert_eq!(brought_home(&before), 0);
        assert!(flags(block.wrapping_add(part), part).iter().all(|f| f & (Page::READ | Page::WRITE) == 0));
        assert!(holds(block, part, 5) && holds(block.wrapping_add(2 * part), part, 5 + 2 * part as u64));
        // SAFETY: as above; a mapping over it makes it accessible again.
        unsafe {
            mapping::map_fixed(block.addr() + part, part, RW, ANON | libc::MAP_FIXED, -1, 0, true).unwrap()
        };
        assert!(zero(block.wrapping_add(part), part));
        fill(block.wrapping_add(part), part, 9);
        raw::migrate(block, len, 0).unwrap();
        assert!(holds(block.wrapping_add(part), part, 9) && holds(block, part, 5));
        // SAFETY: as above.
        unsafe {
            mapping::unmap(block.addr() + part, part).unwrap();
            raw::free(block).unwrap();
        }
        // All of it can be used by whoever gets it next.
        let again: Vec<*mut u8> = (0..4).map(|_| raw::malloc(len).unwrap()).collect();
        again.iter().for_each(|b| fill(*b, len, 3));
        // SAFETY: not used any more.
        again.into_iter().for_each(|b| unsafe { raw::free(b).unwrap() });
    }
}

#[test]
fn a_new_mapping_replaces_what_is_away() {
    let _alone = alone();
    let (at, len) = (adopted(8 * MIB), 8 * MIB);
    send(at, len);
    let before = raw::stats();
    let fixed = ANON | libc::MAP_FIXED;
    // SAFETY: memory of the test's.
    unsafe {
        mapping::map_fixed(at.addr() + MIB, 2 * MIB, RW, fixed, -1, 0, true).unwrap();
        mapping::map_fixed(at.addr() + 4 * MIB, MIB, libc::PROT_READ, fixed, -1, 0, false).unwrap();
        // One that fails changes nothing.
        let failed =
            mapping::map_fixed(at.addr(), MIB, RW, libc::MAP_SHARED | libc::MAP_FIXED, 4711, 0, true);
        assert_eq!(failed, Err(libc::EBADF));
    }
    assert_eq!(brought_home(&before), 0);
    assert!(zero(at.wrapping_add(MIB), 2 * MIB) && raw::owns(at.wrapping_add(MIB)));
    assert!(zero(at.wrapping_add(4 * MIB), MIB) && !raw::owns(at.wrapping_add(4 * MIB)));
    assert!(all_are(at, MIB, Page::DEVICE) && holds(at, MIB, 1));
    fill(at.wrapping_add(MIB), 2 * MIB, 7);
    send(at.wrapping_add(MIB), 2 * MIB);
    assert!(holds(at.wrapping_add(MIB), 2 * MIB, 7));
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), len).unwrap() };
}

#[test]
fn advice_gives_contents_up_wherever_they_are() {
    let _alone = alone();
    for advice in [libc::MADV_DONTNEED, libc::MADV_FREE] {
        let (at, len) = (adopted(6 * MIB), 6 * MIB);
        send(at, 4 * MIB);
        assert!(holds(at.wrapping_add(2 * MIB), MIB, 1 + 2 * MIB as u64), "on both sides");
        common::others_sleep(); // what was read may bring more of it behind the reader
        let (before, states) = (raw::stats(), flags(at, len));
        // SAFETY: memory of the test's.
        unsafe { mapping::advise(at.addr() + MIB, 4 * MIB, advice).unwrap() };
        assert_eq!(brought_home(&before), 0);
        let away =
            (MIB..5 * MIB).step_by(PAGE).filter(|i| states[i / PAGE] & (Page::HOST | Page::UNTOUCHED) == 0);
        assert!(away.clone().count() > 100);
        away.for_each(|i| assert!(zero(at.wrapping_add(i), PAGE), "it was on the device only"));
        if advice == libc::MADV_DONTNEED {
            assert!(zero(at.wrapping_add(MIB), 4 * MIB));
        }
        assert!(holds(at, MIB, 1) && holds(at.wrapping_add(5 * MIB), MIB, 1 + 5 * MIB as u64));
        // SAFETY: as above.
        unsafe { mapping::unmap(at.addr(), len).unwrap() };
    }
    let at = adopted(4 * MIB);
    send(at, 4 * MIB);
    // SAFETY: as above.
    unsafe { mapping::advise(at.addr(), 4 * MIB, libc::MADV_WILLNEED).unwrap() };
    assert!(flags(at, 4 * MIB).iter().all(|f| f & Page::HOST != 0));
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), 4 * MIB).unwrap() };
}

/// Catches: advice that outlives the memory it was for, and is found by what is adopted there next.
#[test]
fn advice_ends_with_the_memory() {
    let _alone = alone();
    let at = adopted(4 * MIB);
    let comes = || {
        send(at, 4 * MIB);
        let before = raw::stats();
        assert!(holds(at.wrapping_add(MIB), PAGE, 1 + MIB as u64));
        raw::migrate(at.wrapping_add(3 * MIB), PAGE, raw::HMM_HOST).unwrap(); // waits for what comes by itself
        brought_home(&before)
    };
    let usual = comes();
    raw::advise(at, 4 * MIB, Advice::Random, raw::HMM_HOST).unwrap();
    assert_eq!(comes(), 2 * PAGE as u64);
    // SAFETY: memory of the test's, which stays.
    unsafe { (raw::disown(at, 4 * MIB).unwrap(), raw::adopt(at, 4 * MIB).unwrap()) };
    assert_eq!(comes(), usual);
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), 4 * MIB).unwrap() };
}

#[test]
fn locked_memory_stays() {
    let _alone = alone();
    let (at, len) = (adopted(8 * MIB), 8 * MIB);
    send(at, len);
    if mapping::lock(at.addr() + 5, 2 * MIB, 0).is_err() {
        return common::skipped("locked_memory_stays", "this process may not lock memory");
    }
    let stays = |from: usize| raw::migrate(at.wrapping_add(from), PAGE, 0).is_err();
    assert!(holds(at, 2 * MIB + PAGE, 1) && stays(0) && stays(2 * MIB) && !stays(2 * MIB + PAGE));
    mapping::lock(at.addr() + MIB, 3 * MIB, 0).unwrap();
    mapping::unlock(at.addr() + 2 * MIB, MIB).unwrap();
    assert_eq!([0, MIB, 2 * MIB, 3 * MIB, 4 * MIB].map(stays), [true, true, false, true, false]);
    mapping::unlock(at.addr(), len).unwrap();
    assert_eq!([0, MIB, 2 * MIB, 3 * MIB, 4 * MIB].map(stays), [false; 5]);
    assert!(holds(at, len, 1));
    // What is locked can be unmapped, and what comes there next is not locked.
    mapping::lock(at.addr(), 2 * MIB, 0).unwrap();
    // SAFETY: memory of the test's.
    unsafe { mapping::map_fixed(at.addr(), len, RW, ANON | libc::MAP_FIXED, -1, 0, true).unwrap() };
    assert!(!stays(0) && !stays(MIB));
    mapping::lock(at.addr(), 2 * MIB, 0).unwrap();
    assert!(stays(0) && stays(MIB));
    mapping::lock_all().unwrap();
    assert!(stays(6 * MIB));
    mapping::unlock_all();
    // One that fails, because there is nothing behind it, takes no other with it.
    mapping::lock(at.addr() + 6 * MIB, 2 * MIB, 0).unwrap();
    // SAFETY: the last page of the test's memory.
    unsafe { mapping::unmap(at.addr() + len - PAGE, PAGE).unwrap() };
    assert_eq!(mapping::lock(at.addr() + 5 * MIB, 3 * MIB, 0), Err(libc::ENOMEM));
    assert!(stays(6 * MIB) && !stays(0));
    mapping::unlock(at.addr() + 6 * MIB, MIB).unwrap();
    mapping::unlock_all();
    assert!(!stays(0) && !stays(6 * MIB));
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), len - PAGE).unwrap() };
}

/// Catches: an unmap that does not wait for the kernel that uses the memory, and summaries of acquire that outlive it.
#[test]
fn kernels_are_waited_for() {
    let _alone = alone();
    let (len, device) = (12 * MIB, two_devices()[0]);
    let increment = kernels::kernel(device, "test_slow_increment");
    // A kernel that takes so long that this thread gets to the unmap before its end.
    let runs_meanwhile = |at: *mut u8, ns: u64| {
        let n = len as u64 / 4;
        let args = [
            LaunchArg::Pointer { ptr: at, len, mode: AccessMode::ReadWrite },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
        ];
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(increment, &LaunchConfig::linear(1 << 16, 256), &args).unwrap() };
        let waits = raw::stats().waits;
        // SAFETY: memory of the test's, not used again.
        unsafe { mapping::unmap(at.addr() + 4 * MIB, 2 * MIB).unwrap() };
        let waited = raw::stats().waits > waits;
        // SAFETY: as above; what the kernel has written is there.
        assert_eq!(unsafe { at.cast::<u32>().read() }, 2);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        waited
    };
    let mut at = adopted(len);
    let mut waited = false;
    for ns in (0..8).map(|n| 100_000_000 << n) {
        waited = runs_meanwhile(at, ns);
        if waited {
            break;
        }
        // SAFETY: as above.
        unsafe { mapping::unmap(at.addr(), len).unwrap() };
        at = adopted(len);
    }
    assert!(waited, "the kernel was running");
    // What was one range is two now; acquired in one piece it is an error, one by one it works, also when it is resident.
    let access =
        |from: usize, len: usize| Access { ptr: at.wrapping_add(from), len, mode: AccessMode::ReadWrite };
    for _ in 0..3 {
        // SAFETY: nobody uses the memory meanwhile.
        unsafe {
            assert!(raw::acquire(device, StreamId::DEFAULT, &[access(0, len)]).is_err());
            raw::acquire(device, StreamId::DEFAULT, &[access(0, 4 * MIB), access(6 * MIB, 6 * MIB)]).unwrap();
        }
        assert!(
            all_are(at, 4 * MIB, Page::DEVICE) && all_are(at.wrapping_add(6 * MIB), 6 * MIB, Page::DEVICE)
        );
        raw::release(device, StreamId::DEFAULT).unwrap();
    }
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), len).unwrap() };
}

/// Catches: device memory that is given back under a kernel that reads it, when what it reads stops being managed.
#[test]
fn kernels_that_read_are_waited_for() {
    let _alone = alone();
    let (len, device) = (4 * MIB, two_devices()[0]);
    let copy = kernels::kernel(device, "test_slow_copy");
    type End = fn(usize, usize) -> mapping::Answer;
    let ends: [End; 3] = [
        // SAFETY: of memory of the test's; the kernel that reads it is to be waited for.
        |at, len| unsafe { mapping::advise(at, len, libc::MADV_DONTFORK) },
        // SAFETY: as above.
        |at, len| unsafe { mapping::protect(at, len, RW | libc::PROT_EXEC, None) },
        |at, len| {
            let over = adopted(len);
            fill(over, len, 7);
            remap(
                over,
                len,
                len,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                std::ptr::with_exposed_provenance_mut(at),
            )
            .map(|to| to.addr())
        },
    ];
    for (i, end) in ends.into_iter().enumerate() {
        let waited = (0..8).map(|n| 100_000_000_u64 << n).any(|ns| {
            let (at, to) = (adopted(len), common::Block::new(len));
            fill(at, len, 7);
            let n = len as u64 / 4;
            let args = [
                LaunchArg::Pointer { ptr: to.ptr, len, mode: AccessMode::Write },
                LaunchArg::Pointer { ptr: at, len, mode: AccessMode::Read },
                LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
                LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
            ];
            // SAFETY: the arguments are the kernel's.
            unsafe { raw::launch(copy, &LaunchConfig::linear(1 << 16, 256), &args).unwrap() };
            let waits = raw::stats().waits;
            end(at.addr(), len).unwrap();
            let waited = raw::stats().waits > waits;
            assert!(raw::owns(at) == (i == 2) && holds(at, len, 7) && holds(to.ptr, len, 7));
            // SAFETY: memory of the test's, not used again.
            unsafe { mapping::unmap(at.addr(), len).unwrap() };
            waited
        });
        assert!(waited, "the kernel was running");
    }
}

/// Catches: pages that a prefetch moves while the kernel replaces them. The prefetch was asked for before, and runs in the
/// middle; what it brought home would be laid over somebody else's memory.
#[test]
fn nothing_moves_while_a_mapping_is_replaced() {
    let _alone = alone();
    let (at, len) = (adopted(8 * MIB), 8 * MIB);
    let device = two_devices()[0];
    let other = common::Block::new(MIB);
    let increment = kernels::kernel(device, "test_slow_increment");
    let n = other.len as u64 / 4;
    let stream = raw::stream_create(device).unwrap();
    let mut ns = 50_000_000_u64;
    for fails in [true, false] {
        let answer = loop {
            send(at, len);
            let before = raw::stats();
            let args = [
                LaunchArg::Pointer { ptr: other.ptr, len: other.len, mode: AccessMode::ReadWrite },
                LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
                LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
            ];
            // SAFETY: the arguments are the kernel's.
            unsafe {
                raw::launch(increment, &LaunchConfig { stream, ..LaunchConfig::linear(1 << 10, 256) }, &args)
                    .unwrap();
            }
            raw::prefetch(at, len, raw::HMM_HOST, stream).unwrap();
            let mut replace = || {
                if brought_home(&before) != 0 {
                    return Err(libc::EAGAIN); // the kernel was over too soon
                }
                raw::stream_synchronize(stream).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(50)); // time enough for the prefetch to do wrong
                assert_eq!(brought_home(&before), 0, "it moved what is being replaced");
                if fails {
                    return Err(libc::EPERM);
                }
                let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
                // SAFETY: over memory of the test's.
                let got = unsafe { libc::mmap(at.cast(), len, RW, flags, -1, 0) };
                assert_eq!(got, at.cast());
                Ok(got.addr())
            };
            // SAFETY: the call maps something there, or fails.
            let answer = unsafe { mapping::replace(at.addr(), len, &mut replace) };
            if answer != Err(libc::EAGAIN) {
                break answer;
            }
            assert!(ns < 20_000_000_000);
            ns *= 2;
        };
        assert_eq!(answer, if fails { Err(libc::EPERM) } else { Ok(at.addr()) });
        if fails {
            assert!(raw::owns(at) && all_are(at, len, Page::DEVICE) && holds(at, len, 1), "as before");
        }
    }
    assert!(!raw::owns(at) && zero(at, len));
    raw::stream_destroy(stream).unwrap();
    // SAFETY: not used any more.
    assert_eq!(unsafe { libc::munmap(at.cast(), len) }, 0);
}

/// Catches: a call that was to replace a block's pages, or to make code of them, and has failed: they move as before. What the kernel has
/// unmapped before it failed is as after a munmap, and nobody else's mapping comes to lie there.
#[test]
fn what_fails_over_a_block_leaves_it_as_it_was() {
    let _alone = alone();
    const CHUNK: usize = 2 * MIB;
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let (at, len) = (raw::calloc(3 * CHUNK, 1).unwrap(), 3 * CHUNK);
    fill(at, len, 1);
    let moves = |seed: u64| {
        send(at, len);
        assert!(all_are(at, len, Page::DEVICE), "nothing is kept on the host");
        holds(at, len, seed)
    };
    // SAFETY: memory of the test's.
    unsafe {
        let early = mapping::map_fixed(at.addr() + MIB, CHUNK, RW, flags, 4711, 0, true);
        assert_eq!(early, Err(libc::EBADF));
        assert!(moves(1));
        assert!(mapping::protect(at.addr() + MIB, CHUNK, RW | 1 << 20, None).is_err(), "no such protection");
        assert!(moves(1));
        assert!(mapping::protect(at.addr() + MIB, CHUNK, RW, Some(4711)).is_err(), "no such key");
        assert!(moves(1));
        let mut refuse = || Err(libc::EPERM);
        assert_eq!(mapping::replace(at.addr() + MIB, CHUNK, &mut refuse), Err(libc::EPERM));
        assert!(moves(1));
    }
    let is_mapped = |at: *mut u8, len: usize| {
        let mut there = vec![0_u8; len / 4096];
        // SAFETY: room for a byte for each page.
        unsafe { libc::mincore(at.cast(), len, there.as_mut_ptr()) == 0 }
    };
    let sealed = at.wrapping_add(CHUNK);
    // A driver that refuses late; and, where there are none, huge pages.
    // SAFETY: as above.
    unsafe {
        let mut late = || {
            assert_eq!(libc::munmap(sealed.cast(), MIB), 0);
            Err(libc::EPERM)
        };
        assert_eq!(mapping::replace(at.addr() + MIB, 2 * CHUNK, &mut late), Err(libc::EPERM));
        let huge = libc::memfd_create(c"huge".as_ptr(), libc::MFD_HUGETLB);
        assert!(is_mapped(at, len), "nobody else's mapping can come to lie in it");
        let mut page = [Page::default()];
        let mut may = |at: *mut u8| {
            raw::query(at, 1, &mut page).unwrap();
            page[0].flags & (Page::READ | Page::WRITE)
        };
        assert_eq!((may(sealed), may(sealed.wrapping_add(MIB))), (0, Page::READ | Page::WRITE));
        if huge >= 0 && mapping::map_fixed(sealed.addr(), CHUNK, RW, flags, huge, 0, true).is_err() {
            assert!(is_mapped(at, len));
        }
        libc::close(huge);
        mapping::protect(sealed.addr(), CHUNK, RW, None).unwrap();
    }
    assert!(holds(at, CHUNK, 1) && zero(sealed, MIB), "what was unmapped is gone");
    fill(at, len, 2);
    assert!(moves(2));
    // SAFETY: not used any more.
    unsafe { raw::free(at).unwrap() };
    let again = raw::malloc(len).unwrap();
    fill(again, len, 3);
    send(again, len);
    assert!(holds(again, len, 3));
    // SAFETY: as above.
    unsafe { raw::free(again).unwrap() };
}

/// A call that fails before the kernel unmaps anything, over adopted memory and a hole that has been there before.
#[test]
fn what_fails_over_a_hole_leaves_the_rest_as_it_was() {
    let _alone = alone();
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let (at, len) = (adopted(8 * MIB), 4 * MIB);
    // SAFETY: memory of the test's, which it does not use again where it is unmapped.
    unsafe { mapping::unmap(at.addr() + len, len).unwrap() };
    send(at, len);
    // SAFETY: as above: nothing is mapped.
    let refused = unsafe { mapping::map_fixed(at.addr(), 2 * len, RW, flags, 4711, 0, true) };
    assert_eq!(refused, Err(libc::EBADF));
    let mut refuse = || Err(libc::EPERM);
    // SAFETY: as above.
    assert_eq!(unsafe { mapping::replace(at.addr(), 2 * len, &mut refuse) }, Err(libc::EPERM));
    assert!(raw::owns(at) && all_are(at, len, Page::DEVICE));
    assert!(holds(at, len, 1));
    // SAFETY: as above.
    unsafe { mapping::unmap(at.addr(), len).unwrap() };
}

/// How a child ends that runs `f`.
fn child(f: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child runs `f`, which uses memory only, and ends.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            libc::alarm(120);
            libc::_exit(if f() { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status
    }
}

/// Catches: a child for which what was on a device only becomes zeros because it changes the pages' protection or place.
#[test]
fn children_never_see_zeros_that_were_not_written() {
    if common::case().is_none() {
        let env = [("HMMRT_FORK", "exec")];
        let output = common::run_case("children_never_see_zeros_that_were_not_written", "exec", &env);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let (at, len) = (adopted(4 * MIB), 4 * MIB);
    send(at, 2 * MIB);
    let died = |status: i32, signal: i32| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == signal;
    // SAFETY: memory of the test's; the children's calls are about their own.
    unsafe {
        let open = |addr: usize, prot| mapping::protect(addr, MIB, prot, None).unwrap();
        let status = child(|| {
            open(at.addr(), libc::PROT_READ);
            open(at.addr(), RW);
            zero(at, PAGE)
        });
        assert!(died(status, libc::SIGBUS), "{status}");
        let status = child(|| {
            zero(remap(at, MIB, 2 * MIB, libc::MREMAP_MAYMOVE, std::ptr::null_mut()).unwrap(), PAGE)
        });
        assert!(died(status, libc::SIGSEGV) || died(status, libc::SIGBUS), "{status}");
        // What the child gives up itself it has given up.
        let status = child(|| {
            mapping::advise(at.addr(), MIB, libc::MADV_DONTNEED).unwrap();
            let was_zero = zero(at, MIB);
            fill(at, MIB, 3);
            was_zero && holds(at, MIB, 3) && holds(at.wrapping_add(2 * MIB), MIB, 1 + 2 * MIB as u64)
        });
        assert_eq!(status, 0);
    }
    assert!(holds(at, len, 1));
}
