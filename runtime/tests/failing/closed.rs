//! What the CPU can't reach while this library reads or moves it, for the program has closed it behind our back, or a call has failed
//! before: nobody hangs, nothing is lost, and what was closed stays so. Each case is a process of its own, ended if it hangs.

use super::common::{self, Block};
use hmmrt::{Advice, Config, Error, FaultEngine, raw, refusal};
use std::sync::atomic::Ordering::Relaxed;

const PAGE: usize = 4096;
const CHUNK: usize = 2 << 20;

/// Runs `body` in a process for each of the engines that this machine has; it has to get to its end.
fn in_processes(test: &str, engines: &[FaultEngine], body: impl Fn()) {
    let name = format!("closed::{test}");
    match common::case() {
        None => {
            for engine in engines {
                let out = common::run_case(&name, &format!("{engine:?}"), &[("HMMRT_BACKEND", "host")]);
                let err = String::from_utf8_lossy(&out.stderr);
                let over = ["came to the end", "skipped"].iter().any(|text| err.contains(text));
                assert!(out.status.success() && over, "{engine:?}: {:?}\n{err}", out.status);
            }
        }
        Some(case) => {
            let Some(fault) = engines.iter().find(|e| format!("{e:?}") == case) else { return };
            common::end_if_it_hangs();
            let config = Config { fault: *fault, host_devices: 2, vma_budget: 200, ..common::config() };
            if let Err(e) = raw::init(Some(config)).and_then(|()| raw::device_count()) {
                assert!(matches!(e, Error::Unsupported { .. }), "{e}");
                return common::skipped(&name, e);
            }
            body();
            eprintln!("came to the end");
        }
    }
}

use FaultEngine::{Segv, Uffd, UffdThread};

fn arm(spec: &str) {
    assert!(refusal::arm(spec));
}

/// A block whose pages begin with their numbers and one.
fn block(chunks: usize) -> Block {
    let b = Block::new(chunks * CHUNK);
    (0..chunks * 512).for_each(|n| b.word(n * 512).store(n as u64 + 1, Relaxed));
    b
}

fn check(b: &Block, pages: impl Iterator<Item = usize>) {
    pages.for_each(|n| assert_eq!(b.word(n * 512).load(Relaxed), n as u64 + 1, "page {n}"));
}

/// Behind our back.
fn protect(b: &Block, page: usize, prot: i32) {
    // SAFETY: a page of the test's.
    assert_eq!(unsafe { libc::mprotect(b.ptr.wrapping_add(page * PAGE).cast(), PAGE, prot) }, 0);
}

fn drop_page(b: &Block, page: usize) {
    let at = b.ptr.wrapping_add(page * PAGE).cast();
    // SAFETY: a page of the test's, whose bytes it does not need.
    assert_eq!(unsafe { libc::madvise(at, PAGE, libc::MADV_DONTNEED) }, 0);
}

fn is_denied(r: Result<usize, Error>) {
    assert!(matches!(r, Err(Error::AccessDenied { .. })), "{r:?}");
}

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// A page that a device has a copy of is not looked at again before it goes to another one.
#[test]
fn a_shared_page_is_closed_before_it_goes_on() {
    in_processes("a_shared_page_is_closed_before_it_goes_on", &[Segv, Uffd, UffdThread], || {
        let b = block(1);
        raw::advise(b.ptr, b.len, Advice::ReadMostly, 0).unwrap();
        raw::migrate(b.ptr, b.len, 0).unwrap();
        protect(&b, 7, libc::PROT_NONE);
        is_denied(raw::migrate(b.ptr, b.len, 1));
        check(&b, (0..512).filter(|n| *n != 7));
        protect(&b, 7, RW);
        check(&b, 7..8);
    });
}

/// Nobody can be asked what the program has closed.
#[test]
fn a_page_is_closed_and_proc_is_not_there() {
    in_processes("a_page_is_closed_and_proc_is_not_there", &[Segv, Uffd, UffdThread], || {
        let b = block(1);
        protect(&b, 7, libc::PROT_NONE);
        arm("openat:1+=24");
        let sent = raw::migrate(b.ptr, b.len, 0);
        arm("");
        if sent.is_err() {
            is_denied(sent);
            check(&b, (0..512).filter(|n| *n != 7));
        } else {
            check(&b, 0..512); // opened to be read, as a whole
        }
    });
}

/// Near the limit of mappings, with half of the chunk away.
fn near_the_limit(b: &Block) -> Vec<Block> {
    raw::migrate(b.ptr, CHUNK / 2, 0).unwrap();
    let mut others = Vec::new();
    for _ in 0..60 {
        let o = block(1);
        for k in 0..4 {
            if raw::stats().vmas < 136 {
                let _ = raw::migrate(o.ptr.wrapping_add((k * 64 + 5) * PAGE), PAGE, 0);
            }
        }
        others.push(o);
    }
    others
}

/// What lives in place is copied along with what comes home; the move takes away what was there, and fails.
#[test]
fn what_came_along_is_put_back() {
    in_processes("what_came_along_is_put_back", &[Segv], || {
        let b = block(1);
        let _others = near_the_limit(&b);
        arm("mremap:1=gone");
        check(&b, 0..1);
        assert!(refusal::failed() > 0, "a move has failed");
        arm("");
        check(&b, 0..512);
    });
}

/// A page of what is copied along was never touched, in a block that is watched for another chunk.
#[test]
fn what_comes_along_is_missing() {
    in_processes("what_comes_along_is_missing", &[Uffd, UffdThread], || {
        let b = block(2);
        drop_page(&b, 300);
        arm("UFFDIO_REGISTER:1+=12");
        let _others = near_the_limit(&b);
        arm("");
        raw::migrate(b.ptr.wrapping_add(CHUNK), CHUNK, 0).unwrap();
        check(&b, 0..1);
        assert_eq!(b.word(300 * 512).load(Relaxed), 0);
        check(&b, (0..1024).filter(|n| *n != 300));
    });
}

/// A page that was never touched is read for a device, in a chunk by protection of a block that is watched for another: it can be
/// written then.
#[test]
fn what_was_filled_to_be_read_can_be_written() {
    in_processes("what_was_filled_to_be_read_can_be_written", &[Uffd, UffdThread], || {
        let b = block(2);
        raw::advise(b.ptr, b.len, Advice::ReadMostly, 0).unwrap();
        drop_page(&b, 100);
        arm("UFFDIO_REGISTER:1+=12");
        raw::migrate(b.ptr, CHUNK, 0).unwrap();
        arm("");
        raw::migrate(b.ptr.wrapping_add(CHUNK), CHUNK, 0).unwrap();
        raw::migrate(b.ptr, CHUNK, 1).unwrap();
        b.word(100 * 512).store(101, Relaxed);
        check(&b, 0..1024);
    });
}

/// A page that is missing can't be filled for who reads it for a device: he asks again.
#[test]
fn who_reads_what_is_missing_asks_again() {
    in_processes("who_reads_what_is_missing_asks_again", &[UffdThread], || {
        let b = block(1);
        drop_page(&b, 100);
        raw::advise(b.ptr, b.len, Advice::ReadMostly, 0).unwrap();
        raw::migrate(b.ptr, CHUNK, 0).unwrap();
        arm("openat:1+=24,UFFDIO_COPY:1=12");
        raw::migrate(b.ptr, CHUNK, 1).unwrap();
        arm("");
        assert_eq!(b.word(100 * 512).load(Relaxed), 0);
        check(&b, (0..512).filter(|n| *n != 100));
    });
}

/// The protection of one block can't be set, and is tried again: what the program did to its neighbour stays.
#[test]
fn the_neighbours_own_protection_stays() {
    in_processes("the_neighbours_own_protection_stays", &[Segv], || {
        let blocks: Vec<Block> = (0..40).map(|_| Block::new(3 * PAGE)).collect();
        let far = |b: &Block| (b.ptr.addr() / PAGE).abs_diff(blocks[0].ptr.addr() / PAGE) > 8;
        let same = |b: &&Block| b.ptr.addr() / CHUNK == blocks[0].ptr.addr() / CHUNK;
        let (x, y) = (&blocks[0], blocks.iter().filter(same).find(|b| far(b)).unwrap());
        y.word(0).store(2, Relaxed);
        x.word(0).store(1, Relaxed);
        raw::advise(x.ptr, x.len, Advice::ReadMostly, 0).unwrap();
        raw::migrate(x.ptr, x.len, 0).unwrap();
        protect(y, 0, libc::PROT_NONE);
        arm("mprotect:1=12");
        x.word(0).store(3, Relaxed);
        assert!(refusal::failed() > 0);
        arm("");
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let has = |line: &&str| {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            (number(from)..number(to)).contains(&y.ptr.addr())
        };
        assert!(maps.lines().find(has).unwrap().contains("---p"));
        assert_eq!(x.word(0).load(Relaxed), 3);
        protect(y, 0, RW);
        assert_eq!(y.word(0).load(Relaxed), 2);
    });
}

/// Where sigaction(2) is to write what was set is memory that can't come home: SIGBUS, and no lock is held.
#[test]
fn an_old_action_goes_where_it_cannot() {
    const CASE: &str = "closed::an_old_action_goes_where_it_cannot";
    if common::case().is_none() {
        let out = common::run_case(CASE, "sigaction", &[("HMMRT_BACKEND", "host")]);
        let err = String::from_utf8_lossy(&out.stderr);
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(out.status.signal(), Some(libc::SIGBUS), "{err}");
        return assert!(err.contains("hmmrt: SIGBUS at 0x"), "{err}");
    }
    raw::init(Some(Config { fault: Segv, ..common::config() })).unwrap();
    let b = block(1);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    hmmrt::inject::arm("copy_out:1+").unwrap();
    // SAFETY: a place for an action.
    unsafe { hmmrt::program_sigaction(libc::SIGBUS, std::ptr::null(), b.ptr.cast()) };
}
