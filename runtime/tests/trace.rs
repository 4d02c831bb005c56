//! Traces: a scripted run gives exactly the events that it should, and so do threads, children and restarts. What is
//! recorded runs in a process of its own, on the host backend.

mod common;
#[path = "common/traces.rs"]
mod traces;

use common::{Block, case, case_command, kernels};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::trace::{Event, Sent, Trace, What, Why};
use hmmrt::{Access, AccessMode, Advice, LaunchArg, LaunchConfig, StreamId};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering::Relaxed;
use traces::{many, record, recorded, scratch};

const MIB: usize = 1 << 20;
const CHUNK: usize = 2 * MIB;

fn access(b: &Block, at: usize, len: usize, mode: AccessMode) -> Access {
    assert!(at + len <= b.len);
    Access { ptr: b.ptr.wrapping_add(at), len, mode }
}

fn acquire_and_release(a: Access) {
    // SAFETY: the test relies on no byte of what a device is to write.
    unsafe { raw::acquire(0, StreamId::DEFAULT, &[a]).unwrap() };
    raw::release(0, StreamId::DEFAULT).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
}

/// What `script_is_recorded` expects.
fn script() {
    let kernel = kernels::builtin(0, "hmm_fill");
    let b = Block::new(2 * CHUNK);
    (0..b.words()).step_by(512).for_each(|i| b.word(i).store(i as u64, Relaxed));
    raw::migrate(b.ptr, b.len, 0).unwrap();
    assert_eq!(b.word(512).load(Relaxed), 512);
    b.word(512).store(1, Relaxed);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    acquire_and_release(access(&b, 0, 8192, AccessMode::Read));
    b.word(CHUNK / 8).store(1, Relaxed);
    acquire_and_release(access(&b, CHUNK, CHUNK, AccessMode::Write));
    raw::host_ready(b.ptr.wrapping_add(4096), 1, AccessMode::Read).unwrap();
    // SAFETY: nobody relies on the bytes.
    unsafe { raw::discard(b.ptr.wrapping_add(CHUNK), 3 * 4096).unwrap() };
    let (value, n) = (7_u32, 1024_u64);
    let args = [
        LaunchArg::Pointer { ptr: b.ptr, len: 4096, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const value).cast(), size: 4 },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
    ];
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(kernel, &LaunchConfig::linear(1024, 64), &args).unwrap() };
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    raw::advise(b.ptr, b.len, Advice::Random, HMM_HOST).unwrap();
    raw::prefetch(b.ptr, 4096, HMM_HOST, StreamId::DEFAULT).unwrap();
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    assert_eq!(b.word(0).load(Relaxed), 7 | 7 << 32);
    acquire_and_release(access(&b, 0, 4096, AccessMode::Read));
    raw::pin(b.ptr.wrapping_add(CHUNK + 3 * 4096), 4096).unwrap();
    assert!(raw::migrate(std::ptr::null(), 1, 0).is_err());
    // Where the runtime's threads answer, the last touches may not be recorded yet.
    let touches = if common::is_watched() { 2 } else { 3 };
    common::until("the last touch's record", || raw::stats().faults >= touches);
}

/// An event with addresses from the block's start on, and without times.
fn plain(event: &Event, base: u64) -> Option<What> {
    let mut what = event.what;
    match &mut what {
        What::Device { .. } | What::Reached { .. } => return None,
        What::Begin { addr, .. }
        | What::End { addr, .. }
        | What::Taken { addr, .. }
        | What::Home { addr, .. }
        | What::Out { addr, .. }
        | What::Discard { addr, .. }
        | What::Acquire { addr, .. }
        | What::Prefetch { addr, .. }
        | What::Advice { addr, .. } => *addr -= base,
        What::Fault { addr, took, waited, .. } => {
            assert!(*took > 0 && *waited <= *took, "{event:?}");
            (*addr, *took, *waited) = (*addr - base, 0, 0);
        }
        What::Acquired { took, .. } => {
            assert!(*took > 0);
            *took = 0;
        }
        What::Kernel { .. } | What::Launch { .. } | What::Release { .. } | What::Error { .. } => {}
        other => panic!("{other:?}"),
    }
    Some(what)
}

fn script_is_recorded(direct: &str) {
    use AccessMode::{Read, ReadWrite, Write};
    let file = scratch("script");
    // What comes home with a touch is the policy's to say.
    let t = recorded("script", &file, &[("HMMRT_HOST_DIRECT", direct), ("HMMRT_POLICY", "chunk")]);
    assert!(t.closed && t.backend == "host" && t.library == hmmrt::version() && !t.program.is_empty());
    assert_eq!((t.dropped, t.errno, t.unreadable, t.missing), (0, 0, 0, 0));
    let begun = t.events.iter().find_map(|e| match e.what {
        What::Begin { addr, .. } => Some(addr),
        _ => None,
    });
    let base = begun.unwrap();
    let events: Vec<What> = t.events.iter().filter_map(|e| plain(e, base)).collect();
    let (chunk, page, len) = (CHUNK as u64, 4096_u64, 2 * CHUNK as u64);
    let (device, stream, answered, own) = (0, 0, true, Sent::Owned);
    let out =
        |addr, len, why, sent, copied, spared| What::Out { addr, len, why, device, sent, copied, spared };
    let home = |addr, len, why, write| What::Home { addr, len, why, write, copied: len, spared: 0 };
    let fault = |addr, write| What::Fault { addr, write, answered, took: 0, waited: 0 };
    let acquire = |addr, len, why, mode| What::Acquire { addr, len, why, device, stream, mode };
    let acquired = |why| What::Acquired { why, device, stream, ranges: 1, took: 0, failed: false };
    let release = |why, ticket| What::Release { why, device, stream, ticket };
    let kernel = 1;
    let name = events.iter().find_map(|w| match w {
        What::Kernel { name, .. } => Some(*name),
        _ => None,
    });
    assert_eq!(name.unwrap().to_string(), "hmm_fill");
    // By userfaultfd so much comes home as the host's alone when it is read: the write is no touch then.
    let taken = common::is_watched();
    let mut expected = vec![
        What::Kernel { kernel, name: name.unwrap() },
        What::Begin { addr: 0, len, why: Why::Heap },
        // Out, and home by touches: a read that leaves the device its copy, a write that takes it.
        out(0, chunk, Why::Migrate, own, chunk, 0),
        out(chunk, chunk, Why::Migrate, own, chunk, 0),
        home(0, chunk, Why::Fault, taken),
        fault(page, false),
        What::Taken { addr: 0, len: chunk, why: Why::Fault },
        fault(page, true),
        // The second chunk was there already.
        out(0, chunk, Why::Migrate, own, chunk, 0),
        out(chunk, chunk, Why::Migrate, own, 0, chunk),
        // Resident already.
        acquire(0, 2 * page, Why::Acquire, Read),
        acquired(Why::Acquire),
        release(Why::Acquire, 1),
        home(chunk, chunk, Why::Fault, true),
        fault(chunk, true),
        acquire(chunk, chunk, Why::Acquire, Write),
        out(chunk, chunk, Why::Acquire, Sent::Overwritten, 0, chunk),
        acquired(Why::Acquire),
        release(Why::Acquire, 3),
        home(page, page, Why::HostReady, false),
        What::Discard { addr: chunk, len: 3 * page, spared: 3 * page },
        acquire(0, page, Why::Launch, ReadWrite),
        acquired(Why::Launch),
        What::Launch { device, stream, kernel },
        release(Why::Launch, 5),
        What::Advice { addr: 0, len, device: None, advice: Advice::Random as u32 },
        What::Prefetch { addr: 0, len: page, device: None, stream },
        home(0, page, Why::Prefetch, true),
        acquire(0, page, Why::Acquire, Read),
        out(0, page, Why::Acquire, Sent::Shared, page, 0),
        acquired(Why::Acquire),
        release(Why::Acquire, 8),
        home(chunk + 3 * page, page, Why::Pin, true),
        What::Error { code: -2 },
        What::End { addr: 0, len, why: Why::Heap },
    ];
    if taken {
        expected.drain(6..8);
    }
    let mut events = events;
    if common::is_messaged() {
        // The touching thread runs on before the runtime's has noted what it did.
        events.sort_by_key(|w| format!("{w:?}"));
        expected.sort_by_key(|w| format!("{w:?}"));
    }
    for (i, (got, expected)) in events.iter().zip(&expected).enumerate() {
        assert_eq!(got, expected, "number {i} of {events:#?}");
    }
    assert_eq!(events.len(), expected.len(), "{events:#?}");
    // The stream's thread says how far it came; one device was opened; the file has what was used and no more.
    let tickets: Vec<u64> = t
        .events
        .iter()
        .filter_map(|e| match e.what {
            What::Reached { stream: 0, ticket } => Some(ticket),
            _ => None,
        })
        .collect();
    assert_eq!(tickets, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(
        t.events.iter().filter(|e| matches!(e.what, What::Device { device: 0, memory: 1.. })).count(),
        1
    );
    let facts = fs::metadata(&file).unwrap();
    assert_eq!((facts.len(), facts.mode() & 0o777), (4096 + 64 * t.events.len() as u64, 0o600));
}

const THREADS: usize = 4;
const ROUNDS: usize = 50;

/// Threads that do all of it at once; the counters for comparison go to standard error.
fn threads() {
    let shared = Block::new(8 * CHUNK);
    // SAFETY: not used.
    unsafe { raw::free(raw::aligned_alloc(16 * CHUNK, CHUNK + 1).unwrap()).unwrap() };
    std::thread::scope(|s| {
        for t in 0..THREADS {
            let shared = &shared;
            s.spawn(move || {
                for round in 0..ROUNDS {
                    let mine = Block::new(4096 << (round % 10));
                    mine.word(0).store(1, Relaxed);
                    raw::migrate(mine.ptr, mine.len, 0).unwrap();
                    mine.word(0).store(2, Relaxed);
                    let part = shared.ptr.wrapping_add((round + t) % 8 * CHUNK);
                    raw::migrate(part, CHUNK, if round % 3 == 0 { HMM_HOST } else { 0 }).unwrap();
                    shared.word((round * 3 + t) % 8 * CHUNK / 8).fetch_add(1, Relaxed);
                }
            });
        }
    });
    // Where the runtime's threads answer, the last touches may not be counted yet.
    common::others_sleep();
    let s = raw::stats();
    eprintln!(
        "counted {} {} {} {} {} {} {}",
        s.read_faults,
        s.write_faults,
        s.bytes_to_device,
        s.bytes_to_host,
        s.bytes_not_copied,
        s.waits,
        s.moves_to_host
    );
}

fn threads_are_recorded() {
    let file = scratch("threads");
    let out = record("threads", &file, &[]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}");
    let counted: Vec<u64> = text
        .lines()
        .find_map(|l| l.strip_prefix("counted "))
        .unwrap()
        .split(' ')
        .map(|n| n.parse().unwrap())
        .collect();
    let t = Trace::read(&file).unwrap();
    assert_eq!((t.dropped, t.unreadable, t.missing), (0, 0, 0));
    let mut sums = [0; 7];
    let mut per_thread: BTreeMap<u32, usize> = BTreeMap::new();
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    for e in &t.events {
        match e.what {
            What::Fault { write, answered: true, .. } => sums[usize::from(write)] += 1,
            What::Out { copied, spared, .. } => {
                sums[2] += copied;
                sums[4] += spared;
            }
            What::Home { copied, .. } => {
                sums[3] += copied;
                sums[6] += 1;
            }
            What::Discard { spared, .. } => sums[4] += spared,
            What::Wait { .. } => sums[5] += 1,
            What::Begin { addr, len, why: Why::Heap } => {
                *per_thread.entry(e.thread).or_default() += 1;
                assert_eq!(live.insert(addr, len), None, "{addr:#x} began twice");
            }
            What::End { addr, len, why: Why::Heap } => {
                assert_eq!(live.remove(&addr), Some(len), "{addr:#x} ends as it began");
            }
            _ => {}
        }
    }
    assert_eq!(sums.to_vec(), counted);
    assert!(live.is_empty(), "{live:?}");
    let mut begun: Vec<usize> = per_thread.into_values().collect();
    begun.sort_unstable();
    assert_eq!(begun, [2, ROUNDS, ROUNDS, ROUNDS, ROUNDS]);
}

/// Children by fork, which end in order, and by exec, which have the same settings.
fn forks() {
    let b = Block::new(CHUNK);
    b.word(0).store(1, Relaxed);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    // SAFETY: the child uses memory of its own, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        assert_eq!(b.word(0).load(Relaxed), 1);
        b.word(0).store(2, Relaxed);
        let _ = raw::malloc(10); // refused
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    let out = case_command("cases", "many").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("another process records into it"), "{said}");
    b.word(0).store(3, Relaxed);
    raw::shutdown().unwrap(); // a handler's thread records a touch when the toucher has gone on
}

fn children_record_nothing() {
    let t = recorded("forks", &scratch("forks"), &[]);
    let (closed, errors) =
        (t.closed, t.events.iter().filter(|e| matches!(e.what, What::Error { .. })).count());
    assert_eq!((closed, errors, t.dropped, t.missing, t.unreadable), (true, 0, 0, 0, 0));
    let kinds: Vec<What> = t.events.iter().map(|e| e.what).collect();
    let position = |f: &dyn Fn(&What) -> bool| kinds.iter().position(f).unwrap();
    // fork copied it home; the device kept its copy until the parent wrote.
    let copied =
        position(&|w| matches!(w, What::Home { why: Why::Fork, copied, .. } if *copied == CHUNK as u64));
    let wrote = position(&|w| matches!(w, What::Fault { write: true, .. }));
    let ended = position(&|w| matches!(w, What::End { .. }));
    assert!(copied < wrote && wrote < ended, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|w| matches!(w, What::Fault { .. })).count(), 1);
}

/// Shutdown ends no trace.
fn restarts() {
    for _ in 0..2 {
        raw::init(None).unwrap();
        let b = Block::new(CHUNK);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::shutdown().unwrap();
    }
}

fn restarts_are_recorded() {
    let t = recorded("restarts", &scratch("restarts"), &[]);
    let count = |f: &dyn Fn(&What) -> bool| t.events.iter().filter(|e| f(&e.what)).count();
    assert!(t.closed);
    assert_eq!(count(&|w| matches!(w, What::Device { .. })), 2);
    assert_eq!(count(&|w| matches!(w, What::Home { why: Why::Shutdown, .. })), 2);
    assert_eq!(count(&|w| matches!(w, What::End { .. })), 2);
}

#[test]
fn cases() {
    match case().as_deref() {
        Some("script") => return script(),
        Some("threads") => return threads(),
        Some("many") => return many(),
        Some("forks") => return forks(),
        Some("restarts") => return restarts(),
        _ => {}
    }
    script_is_recorded("1");
    script_is_recorded("0"); // by the service thread
    threads_are_recorded();
    children_record_nothing();
    restarts_are_recorded();
    let _ = fs::remove_dir_all(scratch("x").parent().unwrap());
}
