//! Real programs, recorded and replayed: ours against the others. How long they computed was said by a clock; so it is replaced, by
//! a time for each page that the CPU touches and one for each that a kernel names. What is touched, and in which order, is the
//! program's, and the same in each run. Each run is a process of its own.

use hmmrt::{ManagedVec, Runtime, Stream, kernels};
use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::record;
use hmmrt_policy_lab::report::{Row, table};
use hmmrt_policy_lab::trace::{Event, Trace};
use std::process::Command;

const CHUNK: usize = 2 << 20;
const ROUNDS: u32 = 12;

/// The CPU fills a buffer, a kernel copies it, the CPU reads the copy.
fn stream(stream: &Stream) {
    let mut input = ManagedVec::<u32>::zeroed(4 * CHUNK / 4).unwrap();
    let mut out = ManagedVec::<u32>::zeroed(input.len()).unwrap();
    for round in 0..ROUNDS {
        input.fill(round);
        kernels::copy(stream, bytemuck::cast_slice_mut(&mut out), bytemuck::cast_slice(&input)).unwrap();
        assert!(out.iter().all(|word| *word == round));
    }
}

/// Two grids in turn; the CPU sets one border and looks at the other.
fn stencil(stream: &Stream) {
    let (width, height) = (4096, 4 * CHUNK / 4 / 4096);
    let grid = || ManagedVec::<f32>::zeroed(width * height).unwrap();
    let mut grids = [grid(), grid()];
    for round in 0..ROUNDS {
        let [a, b] = &mut grids;
        a[..width].fill(round as f32);
        kernels::stencil(stream, b, a, width, height).unwrap();
        assert!(b[(height - 1) * width..].iter().all(|cell| *cell == 0.0) && b[0] == round as f32);
        grids.swap(0, 1);
    }
}

/// A kernel uses two vectors, the CPU looks at one number.
fn solver(stream: &Stream) {
    let n = 4 * CHUNK / 4;
    let (mut x, p) = (ManagedVec::<f32>::zeroed(n).unwrap(), ManagedVec::from_slice(&vec![1.0; n]).unwrap());
    let mut sum = ManagedVec::<u64>::zeroed(1).unwrap();
    for round in 0..ROUNDS {
        kernels::saxpy(stream, &mut x, 1.0, &p).unwrap();
        sum[0] = 0;
        kernels::sum(stream, &mut sum, bytemuck::cast_slice(&x)).unwrap();
        assert_eq!(sum[0], u64::from((round as f32 + 1.0).to_bits()) * n as u64);
    }
}

type Program = fn(&Stream);
const PROGRAMS: [(&str, Program); 3] = [("stream", stream), ("stencil", stencil), ("solver", solver)];

/// A program's run, recorded.
fn recorded(name: &str) -> Trace {
    let file = std::env::temp_dir().join(format!("hmmrt-lab-{}-{name}.trace", std::process::id()));
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["ours_is_at_most_a_tenth_worse_on_real_programs", "--exact"])
        .env("LAB_PROGRAM", name)
        .envs([("HMMRT_BACKEND", "host"), ("HMMRT_POLICY", "demand")])
        .env("HMMRT_TRACE", &file)
        .status();
    assert!(status.unwrap().success(), "{name}");
    let trace = record::from(&hmmrt::trace::Trace::read(&file).unwrap());
    let _ = std::fs::remove_file(&file);
    Trace { name: name.to_owned(), ..trace }
}

/// The same with times that no clock has said.
fn paced(mut trace: Trace, page: u64, kernel: u64) -> Trace {
    trace.events.retain(|e| !matches!(e, Event::Cpu { pages, .. } if pages.is_empty()));
    for event in &mut trace.events {
        match event {
            Event::Cpu { pages, ns, .. } => *ns = pages.count() as u64 * page,
            Event::Launch { uses, ns, .. } => *ns = uses.iter().map(|u| u.pages * kernel).sum(),
        }
    }
    trace
}

#[test]
fn ours_is_at_most_a_tenth_worse_on_real_programs() {
    if let Ok(wanted) = std::env::var("LAB_PROGRAM") {
        let (_, program) = PROGRAMS.iter().find(|(name, _)| *name == wanted).unwrap();
        return program(&Runtime::new().unwrap().device(0).unwrap().stream().unwrap());
    }
    for (name, _) in PROGRAMS {
        let trace = recorded(name);
        let launches = trace.events.iter().filter(|e| matches!(e, Event::Launch { .. })).count() as u32;
        assert_eq!(launches, if name == "solver" { 2 * ROUNDS } else { ROUNDS }, "{name}");
        // With the times of the clock it is replayed, too, and nobody is quicker than who knows the future.
        let row = Row::new(&trace, &Costs::default());
        assert!(
            row.of.iter().all(|(_, o)| o.is_some_and(|o| o.total >= row.oracle.total)),
            "{}",
            table(&[row])
        );
        // A CPU at 4 to 40 GB/s, kernels at 40 to 400.
        for (page, kernel) in [(1_000, 100), (300, 30), (100, 10)] {
            let row = Row::new(&paced(trace.clone(), page, kernel), &Costs::default());
            let (ours, best) = (row.stall("auto").unwrap(), row.best_other().unwrap());
            assert!(ours as f64 <= best as f64 * 1.1, "{page} {kernel}:\n{}", table(&[row]));
        }
    }
}
