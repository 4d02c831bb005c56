//! The descriptor of userfaultfd's is in the program's table: it may be closed, and its number may become another file's.

use crate::common::{self, Block};
use crate::room::{child, passes};
use hmmrt::{Error, FaultEngine, raw};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;

/// Catches: the runtime, or a forked child's, closes by number what is the program's own by now.
#[test]
fn a_number_that_is_the_programs_by_now_stays_open() {
    let Some(engine) = common::case() else {
        for engine in ["Uffd", "UffdThread"] {
            passes(child("descriptors::a_number_that_is_the_programs_by_now_stays_open", engine, &[]));
        }
        return;
    };
    let engines = [FaultEngine::Uffd, FaultEngine::UffdThread];
    let fault = engines.into_iter().find(|e| format!("{e:?}") == engine).unwrap();
    let started = raw::init(Some(hmmrt::Config { fault, ..common::config() }));
    if let Err(e) = started.and_then(|()| raw::device_count()) {
        assert!(matches!(e, Error::Unsupported { .. }), "{e}");
        return common::skipped("descriptors::a_number_that_is_the_programs_by_now_stays_open", e);
    }
    let b = Block::new(4 << 20);
    (0..b.words()).for_each(|i| b.word(i).store(i as u64, Relaxed));
    raw::migrate(b.ptr, b.len, 0).unwrap();
    let name = |fd: &i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let ours: Vec<i32> = (0..1100).filter(|fd| name(fd).ends_with("anon_inode:[userfaultfd]")).collect();
    assert_eq!(ours.len(), 1);
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: what a program may do that knows nothing of it: closes all, and has a file under that number later.
    unsafe { libc::dup2(null.as_raw_fd(), ours[0]) };
    let is_open = || name(&ours[0]).ends_with("null");
    // SAFETY: the child looks, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit(if is_open() { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!((libc::waitpid(pid, &mut status, 0), status), (pid, 0), "in a child");
    }
    // All goes on: there is another descriptor, which no program sees.
    for _ in 0..3 {
        assert!((0..b.words()).all(|i| b.word(i).load(Relaxed) == i as u64));
        raw::migrate(b.ptr, b.len, 0).unwrap();
    }
    raw::shutdown().unwrap();
    assert!(is_open(), "after shutdown");
    assert!((0..b.words()).all(|i| b.word(i).load(Relaxed) == i as u64));
}
