//! The calls to the operating system, on each fault engine.

use super::cases::{Case, Settings, calls, is_case, numbers, run_all, told};
use super::touch;

/// What each call can answer; the first of them also for good. `EAGAIN` is never for good: the kernel means it.
pub const ERRORS: [(&str, &[&str]); 22] = [
    ("mmap", &["12", "11"]),
    ("munmap", &["12"]),
    ("mprotect", &["12"]),
    ("mremap", &["12", "gone", "22"]),
    ("madvise", &["12", "11", "22"]),
    ("openat", &["24", "2", "12"]),
    ("pread64", &["5"]),
    ("pwrite64", &["5", "12"]),
    ("userfaultfd", &["24", "1", "38"]),
    ("fcntl", &["24"]),
    ("mlock", &["12"]),
    ("PAGEMAP_SCAN", &["25", "12"]),
    ("PROCMAP_QUERY", &["25", "12"]),
    ("UFFDIO_API", &["22", "1"]),
    ("UFFDIO_REGISTER", &["12", "22", "16"]),
    ("UFFDIO_UNREGISTER", &["12"]),
    ("UFFDIO_COPY", &["12", "11", "17", "2"]),
    ("UFFDIO_ZEROPAGE", &["12", "11"]),
    ("UFFDIO_MOVE", &["16", "22", "11", "17", "12"]),
    ("UFFDIO_WRITEPROTECT", &["12", "11", "2"]),
    ("USERFAULTFD_IOC_NEW", &["24", "1"]),
    ("thread", &["11"]),
];

/// What can be missing for good while something else fails once.
const MISSING: [&str; 5] =
    ["pwrite64:1+=5", "mremap:1+=12", "madvise:1+=22", "openat:1+=24", "mprotect:30+=12"];

/// The engines, ways to have faults served, and sizes that lead elsewhere.
pub fn settings() -> Vec<Settings> {
    let of = |more: &[(&'static str, &str)]| -> Settings {
        let always = [("HMMRT_BACKEND", "host"), ("HMMRT_HOST_MEMORY", "14M"), ("HMMRT_SPARE", "8M")];
        always.iter().chain(more).map(|(n, v)| (*n, v.to_string())).collect()
    };
    let (fault, direct) = ("HMMRT_FAULT", "HMMRT_HOST_DIRECT");
    vec![
        of(&[(fault, "segv")]),
        of(&[(fault, "uffd")]),
        of(&[(fault, "uffd-thread")]),
        of(&[(fault, "segv"), (direct, "0")]),
        of(&[(fault, "uffd"), (direct, "0")]),
        of(&[(fault, "segv"), ("HMMRT_SPARE", "0")]),
        of(&[(fault, "segv"), ("HMMRT_VMA_BUDGET", "100")]),
        of(&[(fault, "uffd"), ("HMMRT_UFFD_MOVE", "0"), ("HMMRT_SPARE", "0")]),
    ]
}

#[test]
fn every_call_to_the_system_fails() {
    const TEST: &str = "os::every_call_to_the_system_fails";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for settings in settings() {
        let mut add = |spec: String| cases.push(("system", spec, settings.clone()));
        for (name, n) in calls(TEST, "system", &settings) {
            if name == "any" {
                for i in numbers(n, 2) {
                    add(format!("any:{i}+=12"));
                    MISSING.iter().for_each(|missing| add(format!("any:{i}=12,{missing}")));
                }
                continue;
            }
            if name == "mmap" {
                // Neither way to empty memory works.
                numbers(n, 3).iter().for_each(|i| add(format!("mmap:{i}+=12,madvise:1+=22")));
            }
            let (_, errors) = ERRORS.iter().find(|(of, _)| *of == name).unwrap();
            for (k, errno) in errors.iter().enumerate() {
                for i in numbers(n, if k == 0 { 2 } else { 1 }) {
                    add(format!("{name}:{i}={errno}"));
                    if k == 0 && *errno != "11" || name == "thread" {
                        add(format!("{name}:{i}+={errno}"));
                    }
                }
            }
        }
    }
    run_all(TEST, 80, cases);
}

/// More of what keeps the program from bytes that are elsewhere: a call of these whose failure is not noticed is a wrong byte.
#[test]
fn what_hides_pages_is_never_taken_for_done() {
    const TEST: &str = "os::what_hides_pages_is_never_taken_for_done";
    if is_case() {
        return;
    }
    let mut cases: Vec<Case> = Vec::new();
    for (engine, names) in [(0, &["mprotect"][..]), (1, &["UFFDIO_WRITEPROTECT", "madvise", "mremap"])] {
        let settings = settings().swap_remove(engine);
        for (name, n) in
            calls(TEST, "system", &settings).into_iter().filter(|(n, _)| names.contains(&n.as_str()))
        {
            let most = if engine == 0 { 40 } else { 6 };
            numbers(n, most)
                .iter()
                .for_each(|i| cases.push(("system", format!("{name}:{i}=12"), settings.clone())));
        }
    }
    run_all(TEST, 60, cases);
}

/// What fails for good on an engine, and how many errors there are at most: no page is ever out of reach, because there is another
/// way. The errors are of calls that are the program's own: remap, adopt, discard.
const OTHER_WAYS: [(&str, &str, usize); 12] = [
    ("segv", "mremap:1+=12", 3),
    ("segv", "munmap:1+=12", 5),
    ("segv", "madvise:1+=22", 7),
    ("segv", "openat:1+=24", 3),
    ("segv", "openat:1+=2", 3),
    ("segv", "PAGEMAP_SCAN:1+=25", 0),
    ("segv", "PROCMAP_QUERY:1+=25", 0),
    ("uffd", "UFFDIO_MOVE:1+=22", 0),
    ("uffd", "UFFDIO_REGISTER:1+=22", 0),
    ("uffd", "PAGEMAP_SCAN:1+=25", 0),
    ("uffd", "PROCMAP_QUERY:1+=25", 0),
    ("uffd-thread", "UFFDIO_MOVE:1+=16", 0),
];

#[test]
fn where_there_is_another_way_nothing_is_missed() {
    if is_case() {
        return;
    }
    for (engine, spec, most) in OTHER_WAYS {
        let settings: Settings = vec![
            ("HMMRT_BACKEND", "host".into()),
            ("HMMRT_HOST_MEMORY", "14M".into()),
            ("HMMRT_FAULT", engine.into()),
        ];
        let told = told("os::where_there_is_another_way_nothing_is_missed", "system", spec, &settings);
        assert!(told.0 <= most && told.1 == 0, "{engine} {spec}: {} errors, {} pages", told.0, told.1);
    }
}

/// A chunk that userfaultfd could not have watched goes by protection. When its block is watched for another chunk later, it
/// comes home all the same, also where that is by writing through /proc/self/mem, which the kernel refuses for what is watched.
#[test]
fn what_was_not_watched_comes_out_of_a_watched_block() {
    use hmmrt::{Advice, Config, FaultEngine, raw};
    const TEST: &str = "os::what_was_not_watched_comes_out_of_a_watched_block";
    const CHUNK: usize = 2 << 20;
    match super::common::case() {
        Some(case) if case == "refused once" => {}
        Some(_) => return,
        None => {
            let out = super::common::case_command(TEST, "refused once").output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            return;
        }
    }
    let config = Config { fault: FaultEngine::Uffd, ..super::common::config() };
    if let Err(e) = raw::init(Some(config)).and_then(|()| raw::device_count()) {
        assert!(matches!(e, hmmrt::Error::Unsupported { .. }), "{e}");
        return super::common::skipped(TEST, e);
    }
    let b = super::common::Block::new(2 * CHUNK);
    (0..1024).for_each(|n| b.word(n * 512).store(n as u64, std::sync::atomic::Ordering::Relaxed));
    assert!(hmmrt::refusal::arm("UFFDIO_REGISTER:1+=12"));
    raw::migrate(b.ptr, CHUNK, 0).unwrap();
    assert!(hmmrt::refusal::failed() > 0 && hmmrt::refusal::arm(""));
    raw::migrate(b.ptr.wrapping_add(CHUNK), CHUNK, 0).unwrap();
    raw::advise(b.ptr, b.len, Advice::Random, 0).unwrap();
    for n in (0..1024).step_by(2).chain((1..1024).step_by(2)) {
        assert_eq!(b.word(n * 512).load(std::sync::atomic::Ordering::Relaxed), n as u64);
    }
}

/// A block that is resized over the host has its pages made there first: without memory for them that is an error, no signal in the
/// midst of the copy, and the block is what it was.
#[test]
fn what_is_resized_without_memory_is_as_before() {
    use hmmrt::{Config, FaultEngine, raw};
    const TEST: &str = "os::what_is_resized_without_memory_is_as_before";
    let fault = match super::common::case().as_deref() {
        Some("by signal") => FaultEngine::Uffd,
        Some("by message") => FaultEngine::UffdThread,
        Some(_) => return,
        None => {
            for case in ["by signal", "by message"] {
                let out = super::common::case_command(TEST, case).output().unwrap();
                assert!(out.status.success(), "{case}: {}", String::from_utf8_lossy(&out.stderr));
            }
            return;
        }
    };
    touch::watch();
    let config = Config { fault, ..super::common::config() };
    if let Err(e) = raw::init(Some(config)).and_then(|()| raw::device_count()) {
        assert!(matches!(e, hmmrt::Error::Unsupported { .. }), "{e}");
        return super::common::skipped(TEST, e);
    }
    // Of 8 MiB one page of the second chunk is away, so the others are watched; but for the words there is nothing yet. What is kept
    // begins in the first chunk, which moves by its pages, or not.
    const WORDS: usize = (8 << 20) / 8;
    let words = [7, WORDS / 4 + 7, WORDS / 2 - 1];
    let right = |at: *mut u8, len: usize| {
        let of = |n: usize| if words.contains(&n) { n as u64 } else { 0 };
        (0..len / 8).all(|n| touch::read(at.wrapping_add(n * 8)) == Some(of(n)))
    };
    let away = |block: *mut u8| raw::migrate(block.wrapping_add(2 << 20), 1, 0).unwrap();
    let new = || {
        let block = raw::calloc(8, 1 << 20).unwrap();
        assert!(words.iter().all(|n| touch::write(block.wrapping_add(n * 8), *n as u64)));
        away(block);
        block
    };
    let refused = |call: &mut dyn FnMut()| {
        assert!(hmmrt::refusal::arm("UFFDIO_ZEROPAGE:1+=12"));
        call();
        assert!(hmmrt::refusal::failed() > 0 && hmmrt::refusal::arm(""));
    };
    for (len, kept) in [(1 << 20, 8 << 20), (4 << 20, 8 << 20)] {
        let block = new();
        if len < 2 << 20 {
            raw::migrate(block, 1, 0).unwrap();
        }
        refused(&mut || {
            // SAFETY: a block of this test's own.
            let resized = unsafe { raw::realloc(block, len) };
            assert!(matches!(resized, Err(hmmrt::Error::NoMemory { .. })), "{resized:?}");
        });
        assert!(right(block, kept), "{len}");
        away(block);
        // SAFETY: as above.
        let moved = unsafe { raw::realloc(block, len) }.unwrap();
        assert!(right(moved, len), "{len}");
        // SAFETY: as above.
        unsafe { raw::free(moved).unwrap() };
    }
    // A small block among others that are watched.
    let small = raw::malloc(4096).unwrap();
    assert!(touch::write(small, 5));
    raw::migrate(small, 1, 0).unwrap();
    refused(&mut || {
        let cleared = raw::calloc(1, 4096);
        assert!(matches!(cleared, Err(hmmrt::Error::NoMemory { .. })), "{cleared:?}");
    });
    assert_eq!(touch::read(small), Some(5));
    // What the program has closed is so afterwards.
    let block = new();
    // SAFETY: as above.
    let remap = |flags| unsafe { raw::mapping::remap(block.addr(), 8 << 20, 16 << 20, flags, 0) };
    // SAFETY: as above.
    let protect = |prot| unsafe { raw::mapping::protect(block.addr(), 8 << 20, prot, None) };
    assert_eq!(protect(libc::PROT_NONE), Ok(0));
    refused(&mut || assert_eq!(remap(libc::MREMAP_MAYMOVE), Err(libc::ENOMEM)));
    assert_eq!(touch::read(block), None);
    assert_eq!(protect(libc::PROT_READ), Ok(0));
    assert!(right(block, 8 << 20));
    let at = remap(libc::MREMAP_MAYMOVE).unwrap();
    assert!(right(std::ptr::with_exposed_provenance_mut(at), 16 << 20));
}

/// Pages that came home while their protection could not be set are the host's, and as closed as before: who sends them on to another
/// device opens them first, or says why not.
#[test]
fn what_could_not_be_opened_is_not_read() {
    use hmmrt::{AccessMode, Config, FaultEngine, raw};
    use std::sync::atomic::Ordering::Relaxed;
    const TEST: &str = "os::what_could_not_be_opened_is_not_read";
    match super::common::case() {
        Some(case) if case == "closed" => {}
        Some(_) => return,
        None => {
            let out = super::common::case_command(TEST, "closed").output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            return;
        }
    }
    raw::init(Some(Config { fault: FaultEngine::Segv, host_devices: 2, ..super::common::config() })).unwrap();
    let mut closed = 0;
    // What is filled in place, since no block can be put there, can't be opened, nor anything from then on: by the fourth call, but other
    // threads make such calls, too.
    for n in (3..7).cycle().take(100) {
        let b = super::common::Block::new(2 << 20);
        (0..512).for_each(|n| b.word(n * 512).store(n as u64 + 1, Relaxed));
        [1, 0].iter().for_each(|d| assert_eq!(raw::migrate(b.ptr, b.len, *d).unwrap(), 512));
        assert!(hmmrt::refusal::arm(&format!("mremap:1+=12,mprotect:{n}+=12")));
        let home = raw::host_ready(b.ptr, b.len, AccessMode::Read);
        let on = raw::migrate(b.ptr, b.len, 1);
        assert!(hmmrt::refusal::arm(""));
        let is_closed = |r: &Result<_, hmmrt::Error>| {
            matches!(r, Err(hmmrt::Error::NoMemory { what: "page protection", .. }))
        };
        if is_closed(&home.map(|()| 0)) {
            closed += 1;
            assert!(is_closed(&on), "{on:?}");
        }
        raw::migrate(b.ptr, b.len, 1).unwrap();
        (0..512).for_each(|n| assert_eq!(b.word(n * 512).load(Relaxed), n as u64 + 1));
    }
    assert!(closed > 0);
}
