//! What else a process can be refused: descriptors, locked memory, threads, /proc, and the system calls that containers
//! forbid. The script runs with each; bytes are right, errors say what is missing, and a segfault of the program's own is one.

use crate::common::{self, filter};
use crate::room::{WAYS, child, dies, limit, on_gpu, passes, with_mount};
use crate::touch;
use crate::work::{STEPS, Work};
use hmmrt::{Error, FaultEngine, raw};
use std::process::Command;

/// The script; what may fail then, may. How many steps did.
fn script(may_fail: &dyn Fn(&Error) -> bool) -> usize {
    let mut failed = 0;
    let mut work = Work::new();
    for (name, step) in STEPS {
        if let Err(e) = step(&mut work) {
            assert!(may_fail(&e), "{name}: {e}");
            failed += 1;
        }
        work.check(name);
    }
    work.end();
    failed
}

fn never(_: &Error) -> bool {
    false
}

/// Descriptors: `most` for the whole process, from the time on when the devices are open, or from the start.
fn descriptors(most: u64, from_start: bool) {
    raw::init(Some(common::config())).unwrap();
    if !from_start {
        raw::device_count().unwrap();
    }
    limit(libc::RLIMIT_NOFILE, most);
    if let Err(e) = raw::device_count() {
        // userfaultfd is a descriptor; a driver's library is a file.
        assert!(from_start && (common::is_watched() || on_gpu() || matches!(e, Error::System { .. })), "{e}");
        limit(libc::RLIMIT_NOFILE, 1 << 20);
    }
    // The program's own mappings are not known without /proc: those can't be adopted then.
    let failed =
        script(&|e| matches!(e, Error::Unsupported { what: "hmm_adopt", .. } | Error::System { .. }));
    eprintln!("  {most} descriptors: {failed} steps refused");
}

/// A segfault of the program's own in managed memory, when there is no descriptor to look at its mappings with.
fn own_fault(write: bool) {
    let b = common::Block::new(4 << 20);
    b.word(0).store(5, std::sync::atomic::Ordering::Relaxed);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    assert_eq!(b.word(0).load(std::sync::atomic::Ordering::Relaxed), 5);
    raw::migrate(b.ptr, b.len, hmmrt::raw::HMM_HOST).unwrap();
    b.word(0).store(6, std::sync::atomic::Ordering::Relaxed);
    let prot = if write { libc::PROT_READ } else { libc::PROT_NONE };
    // SAFETY: a page of the test's.
    assert_eq!(unsafe { libc::mprotect(b.ptr.cast(), 4096, prot) }, 0);
    touch::install(libc::SIGSEGV, libc::SIG_DFL, 0); // not the standard library's
    limit(libc::RLIMIT_NOFILE, 0);
    if write {
        b.word(1).store(7, std::sync::atomic::Ordering::Relaxed);
    } else {
        b.word(1).load(std::sync::atomic::Ordering::Relaxed);
    }
    limit(libc::RLIMIT_NOFILE, 100);
    panic!("it must not come here");
}

#[test]
fn descriptors_run_out() {
    if let Some(case) = common::case() {
        return match case.split_once(' ') {
            Some(("open", n)) => descriptors(n.parse().unwrap(), false),
            Some(("start", n)) => descriptors(n.parse().unwrap(), true),
            _ => own_fault(case == "write"),
        };
    }
    let name = "process::descriptors_run_out";
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    for way in ways {
        for most in [3, 4, 5, 8, 16] {
            passes(child(name, &format!("open {most}"), way));
        }
        for most in [3, 6, 16] {
            passes(child(name, &format!("start {most}"), way));
        }
    }
    for case in ["read", "write"] {
        dies(child(name, case, &[]), libc::SIGSEGV);
    }
}

/// No memory can be locked: not by root either, without the capability that lets it.
fn locked() {
    const CAP_IPC_LOCK: u32 = 14;
    let mut header = [0x2008_0522_u32, 0]; // version 3, this thread: threads begin with what their parents have
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: places for the sets of version 3.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()), 0);
        sets[0][0] &= !(1 << CAP_IPC_LOCK);
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()), 0);
    }
    limit(libc::RLIMIT_MEMLOCK, 0);
    let page = crate::common::filter::load_number as *const u8;
    // SAFETY: a page of the program's, which stays unlocked.
    assert_eq!(unsafe { libc::mlock(page.cast(), 1) }, -1, "the limit must be felt");
    raw::init(Some(common::config())).unwrap();
    assert_eq!(script(&never), 0);
}

#[test]
fn locked_memory() {
    if common::case().is_some() {
        return locked();
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    ways.iter().for_each(|way| drop(passes(child("process::locked_memory", "locked", way))));
}

/// As nobody, whom limits hold: no thread or none beyond those that there are.
fn nobody(case: &str) {
    let early = case == "threads from the start";
    raw::init(Some(common::config())).unwrap();
    if !early {
        raw::device_count().unwrap();
        script(&never); // streams' threads run
    }
    // SAFETY: gives up rights, no more.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!((libc::setresgid(65534, 65534, 65534), libc::setresuid(65534, 65534, 65534)), (0, 0));
    }
    limit(libc::RLIMIT_NPROC, 0);
    assert!(std::thread::Builder::new().spawn(|| {}).is_err(), "the limit must be felt");
    let no_thread = |e: &Error| {
        let code = libc::EAGAIN;
        matches!(e, Error::System { errno, .. } if *errno == code)
            || matches!(e, Error::Device { call: "stream thread", code: c, .. } if *c == code)
            || on_gpu() && matches!(e, Error::Device { .. }) // the driver's threads
    };
    if let Err(e) = raw::device_count() {
        assert!(early && no_thread(&e), "{e}");
        let b = common::Block::new(3 << 20);
        b.word(9).store(9, std::sync::atomic::Ordering::Relaxed);
        assert!(raw::migrate(b.ptr, b.len, 0).is_err());
        assert_eq!(b.word(9).load(std::sync::atomic::Ordering::Relaxed), 9);
        eprintln!("  {e}");
        return;
    }
    let failed = script(&no_thread);
    eprintln!("  {failed} steps refused");
}

#[test]
fn threads() {
    if let Some(case) = common::case() {
        return nobody(&case);
    }
    // SAFETY: only asks.
    if unsafe { libc::geteuid() } != 0 {
        return common::skipped("process::threads", "only root can become somebody whom this limit holds");
    }
    if common::is_messaged() {
        let why = "userfaultfd for the kernel's own accesses needs a privilege";
        return common::skipped("process::threads", why);
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    for way in ways {
        for case in ["threads", "threads from the start"] {
            passes(child("process::threads", case, way));
        }
    }
}

/// The command with nothing in /proc; `false` there if that can't be had.
fn without_proc(command: Command) -> Command {
    with_mount(command, c"none", c"/proc", c"tmpfs", 0)
}

#[test]
fn nothing_in_proc() {
    if common::case().is_some() {
        assert!(std::fs::read("/proc/self/maps").is_err());
        raw::init(Some(common::config())).unwrap();
        let failed = script(&|e| matches!(e, Error::Unsupported { what: "hmm_adopt", .. }));
        return eprintln!("  {failed} steps refused");
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    for way in ways {
        let mut probe = without_proc(Command::new("true"));
        if let Err(e) = probe.status() {
            return common::skipped(
                "process::nothing_in_proc",
                format_args!("/proc can't be taken away: {e}"),
            );
        }
        passes(without_proc(child("process::nothing_in_proc", "script", way)));
    }
}

/// What a container's filter forbids: these answer `errno` from here on, in every thread.
fn forbid(errno: u32) {
    const LOAD_REQUEST: (u16, u32) = (0x20, 16 + 8); // the low half of the second argument
    let calls = [
        libc::SYS_userfaultfd,
        libc::SYS_process_madvise,
        libc::SYS_memfd_create,
        libc::SYS_process_vm_readv,
    ];
    // PROCMAP_QUERY, PAGEMAP_SCAN, and what makes a userfaultfd of its device.
    let requests: [u32; 3] = [0xC068_6611, 0xC060_6610, 0xAA00];
    let mut filter = vec![filter::load_number()];
    let refuse = |filter: &mut Vec<libc::sock_filter>, value: u32| {
        filter.push(filter::step(0x15, 0, 1, value)); // equal, or skip the next
        filter.push(filter::refuse(errno as i32));
    };
    calls.iter().for_each(|number| refuse(&mut filter, *number as u32));
    filter.push(filter::step(0x15, 0, 2 * requests.len() as u8 + 1, libc::SYS_ioctl as u32));
    filter.push(filter::step(LOAD_REQUEST.0, 0, 0, LOAD_REQUEST.1));
    requests.iter().for_each(|request| refuse(&mut filter, *request));
    filter.push(filter::allow());
    filter::install(&mut filter);
    // SAFETY: it is refused.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_userfaultfd, 1), -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(errno as i32));
    }
}

fn in_a_container(errno: u32) {
    forbid(errno);
    let config = common::config();
    let watched = common::is_watched();
    if watched {
        let e = raw::init(Some(config.clone())).unwrap_err();
        assert!(matches!(e, Error::Unsupported { what: "HMMRT_FAULT", .. }), "{e}");
        eprintln!("  {e}");
    }
    raw::init(Some(hmmrt::Config { fault: FaultEngine::Auto, ..config })).unwrap();
    assert_eq!(script(&never), 0);
}

#[test]
fn forbidden_system_calls() {
    if let Some(case) = common::case() {
        return in_a_container(if case == "eperm" { libc::EPERM as u32 } else { libc::ENOSYS as u32 });
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    for (way, case) in ways.iter().zip(["eperm", "enosys"]) {
        passes(child("process::forbidden_system_calls", case, way));
    }
}
