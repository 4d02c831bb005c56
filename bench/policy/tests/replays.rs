//! Small traces whose time is known, and a command line that makes no sense.

use hmmrt::AccessMode::{Read, Write};
use hmmrt::policy::PageMask;
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::oracle::floor;
use hmmrt_policy_lab::reasons::Reason;
use hmmrt_policy_lab::replay::{Outcome, contenders, ideal, replay};
use hmmrt_policy_lab::trace::{Event, PAGES, Touch, Trace, Use};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn cpu(chunk: usize, pages: PageMask, touch: Touch, ns: u64) -> Event {
    Event::Cpu { chunk, pages, touch, ns }
}

fn launch(kernel: u64, of: Use, ns: u64) -> Event {
    Event::Launch { kernel, uses: vec![of], ns }
}

fn chunk(number: u64) -> Use {
    Use::all(number * PAGES, PAGES, Read)
}

/// A trace with allocations of one chunk each.
fn trace(device: usize, allocations: usize, events: Vec<Event>) -> Trace {
    let allocations = (0..allocations).map(|first| (first, 1)).collect();
    Trace { name: "small".to_owned(), device, allocations, events }
}

fn outcome(trace: &Trace, name: &str) -> Outcome {
    let who = contenders().into_iter().find(|c| c.name == name).unwrap();
    replay(trace, &Costs::default(), who).unwrap()
}

/// Each of both chunks that a full device has is in use or on its way: what waits for room waits for the first that is neither.
#[test]
fn room_is_waited_for_while_a_chunk_is_on_its_way_early() {
    let mut events = Vec::new();
    for last in [1, 2] {
        events.push(cpu(1, PageMask::FULL, Touch::Update, 5 * MS));
        events.push(launch(1, chunk(0), 3 * MS));
        events.push(launch(1 + last, chunk(last), 0));
    }
    let trace = trace(2, 3, events);
    let (done, result) = channel();
    std::thread::spawn(move || {
        let _ = done.send(outcome(&trace, "auto"));
    });
    let outcome = result.recv_timeout(Duration::from_secs(60)).expect("the replay ends");
    assert!((13 * MS..14 * MS).contains(&outcome.total), "{outcome:?}");
    assert_eq!(outcome.evictions, 1);
}

/// What a kernel has written that is over does not count as written by the next.
#[test]
fn a_touch_waits_for_no_kernel_but_those_that_write_the_page() {
    let page = |number| PageMask::span(number, 1);
    let events = vec![
        launch(1, Use::all(0, PAGES, Write), 1_000),
        cpu(1, page(0), Touch::Read, MS),
        launch(2, Use::all(PAGES - 1, 1, Write), 50 * MS),
        cpu(0, page(0), Touch::Read, 50 * MS),
    ];
    let mut trace = trace(4, 2, events);
    let own = ideal(&trace);
    assert!((51 * MS..52 * MS).contains(&own), "{own}");
    for name in ["auto", "demand", "chunk", "uvm"] {
        let total = outcome(&trace, name).total;
        assert!((own..own + MS).contains(&total), "{name}: {total}");
    }
    // But while the first runs both do: the second ends after it.
    trace.events.remove(1);
    let Event::Launch { ns, .. } = &mut trace.events[0] else { unreachable!() };
    *ns = 20 * MS;
    for name in ["auto", "demand", "chunk", "uvm"] {
        let total = outcome(&trace, name).total;
        assert!(total >= 120 * MS, "{name}: {total}");
    }
}

/// Time without a touch passes as it does beside a touch of memory that no device has: it opens no chunk that came early, and nobody
/// learns from it.
#[test]
fn computing_touches_nothing() {
    let run = |chunk: usize, pages: PageMask| {
        let computes = || cpu(chunk, pages, Touch::Read, 20 * MS);
        let writes = || launch(1, Use::all(0, PAGES, Write), MS);
        let read = || cpu(0, PageMask::FULL, Touch::Read, MS);
        let rounds = (0..6).flat_map(|_| [writes(), computes(), computes(), read()]);
        trace(4, 2, rounds.chain([writes(), computes(), computes()]).collect())
    };
    let (idle, beside) = (run(0, PageMask::EMPTY), run(1, PageMask::span(0, 1)));
    assert_eq!(ideal(&idle), ideal(&beside));
    let costs = Costs::default();
    assert_eq!(floor(&idle, &costs), floor(&beside, &costs));
    for c in contenders() {
        assert_eq!(replay(&idle, &costs, c), replay(&beside, &costs, c), "{}", c.name);
    }
    let opened = outcome(&idle, "auto").waits.iter().map(|w| w.of(Reason::Opening).1).sum::<u64>();
    assert!((1..6).contains(&opened), "{opened}: the trace is one whose last chunk is not opened");
}

#[test]
fn a_device_of_no_chunks_is_refused() {
    let lab = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_hmmrt-policy-lab")).args(args).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, said) = lab(&["--only", "sweep-0.8", "--device", "0"]);
    assert!(code == Some(2) && said.contains("--device") && !said.contains("panicked"), "{code:?}: {said}");
}
