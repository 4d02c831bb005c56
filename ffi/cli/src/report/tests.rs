//! Reports on traces made by hand.

use super::*;
use hmmrt::trace::{Event, Sent, Why};

const CHUNK: u64 = 2 << 20;

fn trace(events: Vec<(u64, u32, What)>) -> Trace {
    let event = |(time, thread, what)| Event { time, thread, what };
    Trace {
        process: 1,
        program: "p".into(),
        library: "0".into(),
        backend: "host".into(),
        started: 0,
        events: events.into_iter().map(event).collect(),
        closed: true,
        dropped: 0,
        errno: 0,
        unreadable: 0,
        missing: 0,
    }
}

fn out(addr: u64, why: Why) -> What {
    What::Out { addr, len: CHUNK, why, device: 0, sent: Sent::Owned, copied: CHUNK, spared: 0 }
}

fn home(addr: u64) -> What {
    What::Home { addr, len: CHUNK, why: Why::Fault, write: true, copied: CHUNK, spared: 0 }
}

#[test]
fn blocks_have_what_is_theirs() {
    let (a, b) = (0x7000_0000_0000, 0x7000_0100_0000);
    let begin = |addr| What::Begin { addr, len: 2 * CHUNK, why: Why::Heap };
    let mut events = vec![(0, 1, begin(a)), (1, 1, begin(b))];
    for i in 0..4 {
        events.push((10 + i * 10, 1, out(a + CHUNK, Why::Migrate)));
        events.push((15 + i * 10, 2, home(a + CHUNK)));
    }
    events.push((60, 1, out(b, Why::Migrate)));
    events.push((61, 1, What::End { addr: a, len: 2 * CHUNK, why: Why::Heap }));
    // Again at the same address: another block.
    events.push((70, 1, begin(a)));
    events.push((71, 1, out(a, Why::Migrate)));
    let r = Report::new(&trace(events), 10);
    assert_eq!((r.blocks.count, r.blocks.most_bytes, r.duration, r.threads), (3, 4 * CHUNK, 71, 2));
    let list: Vec<_> =
        r.blocks.list.iter().map(|b| (b.number, b.to_device, b.to_host, b.round_trips, b.end)).collect();
    let expected = [(1, 4 * CHUNK, 4 * CHUNK, 4, Some(61)), (2, CHUNK, 0, 0, None), (3, CHUNK, 0, 0, None)];
    assert_eq!(list, expected);
    assert_eq!(r.blocks.to_and_fro.len(), 1);
    let t = &r.blocks.to_and_fro[0];
    assert_eq!((t.block, t.addr, t.in_window, t.round_trips), (1, a + CHUNK, 4, 4));
    assert_eq!((r.to_device.copied, r.to_host.copied), (6 * CHUNK, 4 * CHUNK));
}

#[test]
fn seldom_is_not_to_and_fro() {
    let a = 0x7000_0000_0000;
    let mut events = vec![(0, 1, What::Begin { addr: a, len: CHUNK, why: Why::Heap })];
    for i in 1..10 {
        events.push((i * blocks::WINDOW, 1, out(a, Why::Migrate)));
        events.push((i * blocks::WINDOW + 1, 1, home(a)));
    }
    let r = Report::new(&trace(events), 10);
    assert_eq!((r.blocks.list[0].round_trips, r.blocks.to_and_fro_count), (9, 0));
}

/// Adopted memory can be given up in parts.
#[test]
fn a_part_ends() {
    let a = 0x7000_0000_0000;
    let events = vec![
        (0, 1, What::Begin { addr: a, len: 3 * CHUNK, why: Why::Adopted }),
        (1, 1, What::End { addr: a + CHUNK, len: CHUNK, why: Why::Adopted }),
        (2, 1, out(a, Why::Migrate)),
        (3, 1, out(a + CHUNK, Why::Migrate)),
        (4, 1, out(a + 2 * CHUNK, Why::Migrate)),
    ];
    let r = Report::new(&trace(events), 10);
    assert_eq!((r.blocks.list[0].to_device, r.blocks.list[0].end), (2 * CHUNK, None));
}

#[test]
fn launches_have_what_was_brought_for_them() {
    let a = 0x7000_0000_0000;
    let acquire = |addr, why| What::Acquire {
        addr,
        len: CHUNK,
        why,
        device: 0,
        stream: 0,
        mode: hmmrt::AccessMode::Read,
    };
    let acquired = |why, took| What::Acquired { why, device: 0, stream: 0, ranges: 1, took, failed: false };
    let launch = What::Launch { device: 0, stream: 0, kernel: 1 };
    let events = vec![
        (1, 1, acquire(a, Why::Launch)),
        (2, 2, acquire(a + CHUNK, Why::Launch)),
        (3, 9, out(a, Why::Launch)), // by a thread that helps
        (4, 2, out(a + CHUNK, Why::Launch)),
        (5, 9, out(a + 5 * CHUNK, Why::Prefetch)),
        (6, 2, acquired(Why::Launch, 4)),
        (7, 1, acquired(Why::Launch, 6)),
        (8, 1, launch),
        (9, 1, acquire(a, Why::Acquire)),
        (10, 1, acquired(Why::Acquire, 1)),
    ];
    let r = Report::new(&trace(events), 10);
    let list: Vec<_> =
        r.launches.kernels.iter().map(|k| (&*k.name, k.count, k.copied, k.median_stall)).collect();
    let expected =
        [("kernel 1", 1, CHUNK, 6), ("(launched by the program)", 1, CHUNK, 4), ("(hmm_acquire)", 1, 0, 1)];
    assert_eq!(list, expected);
    assert_eq!((r.launches.count, r.launches.copied), (3, 2 * CHUNK));
}

/// Numbers that no run has: no panic, in either form.
#[test]
fn absurd_numbers() {
    let max = u64::MAX;
    let all = [
        What::Begin { addr: max, len: max, why: Why::Adopted },
        What::Begin { addr: 0, len: max, why: Why::Heap },
        What::Begin { addr: 5, len: 0, why: Why::Heap },
        What::Out {
            addr: max,
            len: max,
            why: Why::Launch,
            device: 9,
            sent: Sent::Owned,
            copied: max,
            spared: max,
        },
        What::Out {
            addr: 7,
            len: 0,
            why: Why::Evict,
            device: 9,
            sent: Sent::Owned,
            copied: max,
            spared: max,
        },
        What::Home { addr: 7, len: max, why: Why::Fault, write: true, copied: max, spared: max },
        What::Fault { addr: max, write: true, answered: false, took: max, waited: max },
        What::Wait { stream: None, took: max },
        What::Discard { addr: 1, len: max, spared: max },
        What::Acquired { why: Why::Launch, device: 0, stream: 0, ranges: max, took: max, failed: false },
        What::Launch { device: 0, stream: 0, kernel: 77 },
        What::End { addr: 3, len: max, why: Why::Adopted },
        What::End { addr: 0, len: 0, why: Why::Heap },
        What::Device { device: 3, memory: max },
    ];
    let times = [0, 1, 5, max / 2, max];
    let mut random = 1_u64;
    for _ in 0..2000 {
        let mut events: Vec<_> = (0..30)
            .map(|_| {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let pick = |n: usize, shift: u32| (random >> shift) as usize % n;
                (times[pick(times.len(), 33)], pick(3, 40) as u32, all[pick(all.len(), 50)])
            })
            .collect();
        events.sort_by_key(|e| e.0);
        let r = Report::new(&trace(events), 5);
        assert!(!text::of(&r).is_empty());
        serde_json::to_vec(&r).unwrap();
    }
}

#[test]
fn an_empty_one() {
    let text = text::of(&Report::new(&trace(Vec::new()), 10));
    assert!(text.contains("Blocks: 0 in all") && text.contains("Launches: 0"), "{text}");
}
