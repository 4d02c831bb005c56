//! userfaultfd watches a block when some of it first leaves, not what lies beside it in the same chunk; and all of the
//! block, also chunks of it that never left. Each case is one that the stress program found.

mod common;

use hmmrt::raw;
use hmmrt::{AccessMode, Config, Error, FaultEngine};

const CHUNK: usize = 2 << 20;
const PAGE: usize = 4096;

/// Fresh memory at a chunk's boundary, which stays mapped.
fn chunks(count: usize) -> *mut u8 {
    let len = (count + 1) * CHUNK;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    assert!(p != libc::MAP_FAILED);
    p.cast::<u8>().map_addr(|a| a.next_multiple_of(CHUNK))
}

fn page(at: *mut u8, n: usize) -> *mut u8 {
    // SAFETY: the callers stay inside of their memory.
    unsafe { at.add(n * PAGE) }
}

fn neighbours() {
    let at = chunks(1);
    // SAFETY: memory of this test's own, which stays mapped.
    unsafe {
        raw::adopt(page(at, 8), 8 * PAGE).unwrap();
        page(at, 8).write_volatile(1);
        raw::migrate(page(at, 8), PAGE, 0).unwrap(); // pages 8 to 15 are watched from here on
        raw::adopt(at, 8 * PAGE).unwrap();
        assert_eq!(page(at, 10).read_volatile(), 0, "an untouched page beside pages that are not watched");
        raw::host_ready(at, 8 * PAGE, AccessMode::ReadWrite).unwrap();
        raw::pin(at, PAGE).unwrap();
        raw::unpin(at, PAGE).unwrap();
        assert_eq!(page(at, 8).read_volatile(), 1);
        raw::disown(at, 16 * PAGE).or_else(|_| raw::disown(at, 8 * PAGE)).unwrap();
    }
}

fn given_back() {
    let at = chunks(2);
    // SAFETY: as above.
    unsafe {
        raw::adopt(at, 2 * CHUNK).unwrap();
        at.write_volatile(2);
        raw::migrate(at, PAGE, 0).unwrap(); // both chunks are watched, and only the first was ever away
        raw::disown(at, 2 * CHUNK).unwrap();
        assert_eq!(page(at, 512 + 3).read_volatile(), 0, "an untouched page that is the program's own again");
        assert_eq!(at.read_volatile(), 2);
    }
}

#[test]
fn what_is_watched_is_not_what_the_chunk_is() {
    for fault in [FaultEngine::Uffd, FaultEngine::UffdThread] {
        match raw::init(Some(Config { fault, ..common::config() })).and_then(|()| raw::device_count()) {
            Ok(_) => {}
            Err(e @ Error::Unsupported { .. }) => {
                eprintln!("skipped: {e}");
                let _ = raw::shutdown();
                continue;
            }
            Err(e) => panic!("{e}"),
        }
        neighbours();
        given_back();
        raw::shutdown().unwrap();
    }
}
