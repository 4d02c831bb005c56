//! A real run, recorded and read back: what the lab replays is what happened. The run is a process of its own.

use hmmrt::{Access, AccessMode, Backend, Config, PolicyChoice, StreamId, raw};
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::record;
use hmmrt_policy_lab::report::Row;
use hmmrt_policy_lab::trace::{Event, Touch};
use std::process::Command;

const CHUNK: usize = 2 << 20;
const PAGE: usize = 4096;

fn run(trace: String) {
    let base = Config { backend: Backend::Host, host_memory: 8 * CHUNK, ..Config::default() };
    raw::init(Some(Config { policy: PolicyChoice::Demand, trace, ..base })).unwrap();
    raw::device_count().unwrap();
    let block = raw::malloc(4 * CHUNK).unwrap();
    let at = |byte: usize| block.wrapping_add(byte);
    // SAFETY: the bytes are the block's, which lives to the end; no kernel is queued.
    unsafe {
        at(0).write_bytes(1, 4 * CHUNK);
        for _ in 0..2 {
            let access = [Access { ptr: at(CHUNK), len: 2 * CHUNK, mode: AccessMode::ReadWrite }];
            raw::acquire(0, StreamId::DEFAULT, &access).unwrap();
            raw::release(0, StreamId::DEFAULT).unwrap();
            raw::stream_synchronize(StreamId::DEFAULT).unwrap();
            assert_eq!(at(CHUNK + 3 * PAGE).read_volatile(), 1);
            at(2 * CHUNK + 9 * PAGE).write_volatile(1);
        }
    }
}

#[test]
fn a_recording_becomes_what_happened() {
    if let Ok(trace) = std::env::var("LAB_RECORD") {
        return run(trace);
    }
    let file = std::env::temp_dir().join(format!("hmmrt-lab-{}.trace", std::process::id()));
    let test = std::env::current_exe().unwrap();
    let name = "a_recording_becomes_what_happened";
    let status = Command::new(test).args([name, "--exact"]).env("LAB_RECORD", &file).status().unwrap();
    assert!(status.success());
    let recording = hmmrt::trace::Trace::read(&file).unwrap();
    let trace = record::from(&recording);
    let _ = std::fs::remove_file(&file);
    assert_eq!((trace.device, trace.chunks()), (8, 4));
    let seen: Vec<String> = trace
        .events
        .iter()
        .filter_map(|e| match e {
            Event::Launch { uses, .. } => {
                let named: Vec<String> =
                    uses.iter().map(|u| format!("{}+{} {:?}", u.start, u.pages, u.mode)).collect();
                Some(format!("launch {}", named.join(", ")))
            }
            Event::Cpu { pages, .. } if pages.is_empty() => None,
            Event::Cpu { chunk, pages, touch, .. } => {
                let what = if *touch == Touch::Read { "reads" } else { "writes" };
                Some(format!("CPU {what} {chunk}: {pages:?}"))
            }
        })
        .collect();
    let round = ["launch 512+1024 ReadWrite", "CPU reads 1: [(3, 1)]", "CPU writes 2: [(9, 1)]"];
    assert_eq!(seen, [round, round].concat());
    let row = Row::new(&trace, &Costs::default());
    assert!(row.outcome("demand").unwrap().bytes_home >= 4 * PAGE as u64);
}
