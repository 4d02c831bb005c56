//! Recordings made by hand: what the lab makes of their addresses and times.

use hmmrt::AccessMode::{self, Read, ReadWrite, Write};
use hmmrt::trace::{Event as Recorded, Trace as Recording, What, Why};
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::record;
use hmmrt_policy_lab::replay::ideal;
use hmmrt_policy_lab::report::Row;
use hmmrt_policy_lab::trace::{Event, Touch, Trace};
use std::process::Command;

const CHUNK: u64 = 2 << 20;
const US: u64 = 1_000;
const MS: u64 = 1_000 * US;

/// A recording in the making: of events with a time and a thread.
struct Made(Vec<Recorded>);

impl Made {
    fn new() -> Made {
        Made(Vec::new()).with(0, 1, What::Device { device: 0, memory: 64 * CHUNK })
    }
    fn with(mut self, time: u64, thread: u32, what: What) -> Made {
        self.0.push(Recorded { time, thread, what });
        self
    }
    fn begin(self, chunks: std::ops::Range<u64>) -> Made {
        let (addr, len) = (chunks.start * CHUNK, (chunks.end - chunks.start) * CHUNK);
        self.with(0, 1, What::Begin { addr, len, why: Why::Adopted })
    }
    fn end(self, chunks: std::ops::Range<u64>) -> Made {
        let (addr, len) = (chunks.start * CHUNK, (chunks.end - chunks.start) * CHUNK);
        self.with(0, 1, What::End { addr, len, why: Why::Adopted })
    }
    fn acquire(self, time: u64, thread: u32, why: Why, of: (u64, u64, AccessMode), failed: bool) -> Made {
        let (addr, len, mode) = (of.0 * CHUNK, (of.1 - of.0) * CHUNK, of.2);
        self.with(time, thread, What::Acquire { addr, len, why, device: 0, stream: 0, mode }).with(
            time,
            thread,
            What::Acquired { why, device: 0, stream: 0, ranges: 1, took: 0, failed },
        )
    }
    fn release(self, time: u64, thread: u32, why: Why, ticket: u64) -> Made {
        self.with(time, thread, What::Release { why, device: 0, stream: 0, ticket })
    }
    /// A launch that uses chunks.
    fn launch(self, time: u64, thread: u32, of: (u64, u64, AccessMode), ticket: u64) -> Made {
        self.acquire(time, thread, Why::Launch, of, false)
            .with(time, thread, What::Launch { device: 0, stream: 0, kernel: 7 })
            .release(time, thread, Why::Launch, ticket)
    }
    fn reached(self, time: u64, ticket: u64) -> Made {
        self.with(time, 99, What::Reached { stream: 0, ticket })
    }
    /// A touch that began 10 us before, and brought a page home.
    fn touch(self, time: u64, thread: u32, chunk: u64) -> Made {
        let (addr, len, why) = (chunk * CHUNK, 4096, Why::Fault);
        let home = What::Home { addr, len, why, write: false, copied: len, spared: 0 };
        let fault = What::Fault { addr, write: false, answered: true, took: 10 * US, waited: 0 };
        self.with(time - US, thread, home).with(time, thread, fault)
    }
    fn recording(self) -> Recording {
        Recording {
            process: 1,
            program: "made".to_owned(),
            library: String::new(),
            backend: String::new(),
            started: 0,
            events: self.0,
            closed: true,
            dropped: 0,
            errno: 0,
            unreadable: 0,
            missing: 0,
        }
    }
    /// As the lab has it; every policy and the oracle have been through it.
    fn trace(self) -> Trace {
        let trace = record::from(&self.recording());
        Row::new(&trace, &Costs::default());
        trace
    }
}

/// Kernel, chunks from and to of each use, nanoseconds.
type Launch = (u64, Vec<(u64, u64)>, u64);

fn launches(trace: &Trace) -> Vec<Launch> {
    let of = |e: &Event| match e {
        Event::Launch { kernel, uses, ns } => {
            let chunks = uses.iter().map(|u| (u.start / 512, (u.start + u.pages) / 512)).collect();
            Some((*kernel, chunks, *ns))
        }
        Event::Cpu { .. } => None,
    };
    trace.events.iter().filter_map(of).collect()
}

#[test]
fn consecutive_addresses_have_consecutive_numbers() {
    let made = Made::new().begin(10..12).end(10..12).begin(20..21).begin(10..14);
    let trace = made.launch(0, 1, (10, 14, Read), 1).launch(0, 1, (20, 21, Write), 2).trace();
    assert_eq!(trace.allocations, [(0, 4), (4, 1)]);
    let used: Vec<_> = launches(&trace).into_iter().flat_map(|(_, chunks, _)| chunks).collect();
    assert_eq!(used, [(0, 4), (4, 5)]);
}

#[test]
fn a_use_of_two_ranges_that_were_adopted_from_the_end_is_one() {
    let trace = Made::new().begin(11..12).begin(10..11).launch(0, 1, (10, 12, ReadWrite), 1).trace();
    assert_eq!((trace.allocations.as_slice(), launches(&trace)[0].1[0]), ([(0, 2)].as_slice(), (0, 2)));
    // Neighbours that nothing uses as one are two.
    let trace = Made::new().begin(11..12).begin(10..11).launch(0, 1, (10, 11, Read), 1).trace();
    assert_eq!(trace.allocations, [(0, 1), (1, 1)]);
}

/// As older recordings have them of aligned blocks.
#[test]
fn an_end_of_another_length_does_no_harm() {
    let made = Made::new().begin(10..14).end(10..12).begin(12..13).end(10..20);
    let trace = made.launch(0, 1, (10, 14, Read), 1).touch(MS, 1, 30).trace();
    assert_eq!(trace.allocations, [(0, 4), (4, 1)]);
}

#[test]
fn kernels_that_stand_behind_others_do_not_run() {
    let queue = |made: Made, i: u64| made.launch(i * US, 1, (10, 11, ReadWrite), i + 1);
    let done = |made: Made, i: u64| made.reached((i + 1) * MS, i + 1);
    let queued = (0..10).fold(Made::new().begin(10..11), queue);
    let trace = (0..10).fold(queued, done).trace();
    let ns: u64 = launches(&trace).iter().map(|(_, _, ns)| ns).sum();
    assert_eq!(ns, 10 * MS);
    assert!((10 * MS..11 * MS).contains(&ideal(&trace)), "{}", ideal(&trace));
    // The same if their end is seen at once.
    let queued = (0..10).fold(Made::new().begin(10..11), queue);
    let trace = queued.reached(10 * MS, 10).trace();
    assert!((10 * MS..11 * MS).contains(&ideal(&trace)), "{}", ideal(&trace));
}

/// The stream's thread may be quicker than the one that launches.
#[test]
fn a_kernel_whose_end_is_recorded_before_its_release_has_ended() {
    let launch = What::Launch { device: 0, stream: 0, kernel: 7 };
    let made = Made::new().begin(10..11).acquire(0, 1, Why::Launch, (10, 11, Read), false);
    let made = made.with(0, 1, launch).reached(5 * US, 1).release(6 * US, 1, Why::Launch, 1);
    assert_eq!(launches(&made.reached(MS, 2).trace())[0].2, 5 * US);
}

#[test]
fn what_the_program_computes_before_a_launch_counts() {
    let made = Made::new().begin(10..11).touch(MS, 1, 10).launch(51 * MS, 1, (10, 11, Read), 1);
    // Behind a launch, too; a touch's own time and its waits do not.
    let wait = What::Wait { stream: Some(0), took: 5 * MS };
    let trace = made.reached(51 * MS + US, 1).with(71 * MS, 1, wait).touch(81 * MS, 1, 10).trace();
    let own = |e: &Event| if let Event::Cpu { ns, .. } = e { *ns } else { 0 };
    let own: Vec<u64> = trace.events.iter().map(own).collect();
    let first = MS - 10 * US;
    assert_eq!(own, [first, 50 * MS, 0, 25 * MS - 10 * US, 0], "{:?}", trace.events);
    let total = first + 75 * MS - 10 * US;
    assert_eq!(ideal(&trace), total);
}

#[test]
fn threads_that_compute_at_once_count_once() {
    let made = Made::new().begin(10..12).touch(MS, 1, 10).touch(MS, 2, 11);
    let trace = made.touch(41 * MS, 1, 10).touch(51 * MS, 2, 11).trace();
    assert_eq!(ideal(&trace), 51 * MS - 2 * 10 * US);
}

#[test]
fn what_could_not_be_acquired_is_no_part_of_the_next_launch() {
    let made = Made::new().begin(10..14).begin(20..21);
    let made = made.acquire(0, 1, Why::Acquire, (20, 21, Read), false);
    let made = made.acquire(0, 1, Why::Launch, (10, 14, Write), true).launch(0, 1, (10, 11, Read), 1);
    let trace = made.release(0, 1, Why::Acquire, 2).trace();
    assert_eq!(launches(&trace), [(7, vec![(0, 1)], 0), (0, vec![(4, 5)], 0)]);
}

/// A launch is a thread's; what `hmm_acquire` has opened is given back by whoever does.
#[test]
fn threads_that_share_a_stream_launch_what_is_theirs() {
    let launch = |kernel| What::Launch { device: 0, stream: 0, kernel };
    let made = Made::new().begin(10..13).acquire(0, 3, Why::Acquire, (12, 13, Read), false);
    let made = made.acquire(0, 1, Why::Launch, (10, 11, Read), false);
    let made = made.acquire(0, 2, Why::Launch, (11, 12, Read), false);
    let made = made.with(0, 1, launch(1)).with(0, 2, launch(2));
    let made = made.release(0, 2, Why::Launch, 1).release(0, 1, Why::Launch, 2);
    let trace = made.release(0, 4, Why::Acquire, 3).trace();
    assert_eq!(launches(&trace), [(2, vec![(1, 2)], 0), (1, vec![(0, 1)], 0), (0, vec![(2, 3)], 0)]);
}

#[test]
fn touches_are_where_they_were() {
    let trace = Made::new().begin(20..21).begin(10..11).touch(MS, 1, 20).trace();
    let touch = |e: &Event| matches!(e, Event::Cpu { chunk: 1, touch: Touch::Read, .. });
    assert!(trace.events.last().is_some_and(touch), "{:?}", trace.events);
}

/// A recording of a program whose device was never opened does not say how large it is.
#[test]
fn a_recording_without_a_device_is_refused_or_given_one() {
    let file = std::env::temp_dir().join(format!("hmmrt-lab-empty-{}.trace", std::process::id()));
    let mut bytes = vec![0_u8; 4096];
    let mut word = |i: usize, value: u64| bytes[i * 8..i * 8 + 8].copy_from_slice(&value.to_le_bytes());
    word(0, u64::from_le_bytes(*b"HMMTRACE"));
    word(1, 1 | 4096 << 32);
    word(2, 64);
    std::fs::write(&file, bytes).unwrap();
    let lab = |args: &[&str]| {
        let command = env!("CARGO_BIN_EXE_hmmrt-policy-lab");
        let out = Command::new(command).arg(&file).args(args).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (refused, given) = (lab(&[]), lab(&["--device", "4"]));
    std::fs::remove_file(&file).unwrap();
    let named = refused.1.contains("--device") && refused.1.contains("hmmrt-lab-empty");
    assert!(refused.0 == Some(1) && named, "{refused:?}");
    assert_eq!(given.0, Some(0), "{given:?}");
}
