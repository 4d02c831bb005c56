//! BabelStream's triad as a whole program: the CPU initialises three arrays, the device computes 20 times, the CPU checks.
//! With managed blocks of ours, with explicit pinned copies (of what the kernel reads, and of what it wrote), and with the
//! driver's managed memory without hints. The memory is allocated before; the time is from the first write to the check.

use crate::Outcome;
use crate::driver::Kind;
use crate::kernels::{Stopwatch, THREADS, TRIAD_PTX, TRIAD_SOURCE, blocks};
use crate::memory::{DeviceMemory, Managed, Pinned};
use crate::report::{Peer, Row, Target, Unit::Nanoseconds};
use crate::run::Run;
use crate::sizes::show;
use hmmrt::{AccessMode, KernelId, LaunchArg, LaunchConfig, raw};
use hmmrt_bench::floors;
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::Samples;
use std::time::Instant;

const SCALAR: f64 = 0.4;
const ITERATIONS: usize = 20;

/// Times of one turn, nanoseconds: all of it, and the part between the CPU's work.
struct Turn {
    total: f64,
    middle: f64,
}

/// The CPU writes, `device` does the rest until the CPU may read, the CPU checks.
fn turn(arrays: [*mut u8; 3], n: usize, device: impl FnOnce() -> Outcome) -> Outcome<Turn> {
    let arrays: [*mut f64; 3] = arrays.map(<*mut u8>::cast);
    let start = Instant::now();
    // SAFETY: each of the three is n elements of a block that nothing else uses now; faults are served.
    unsafe { floors::triad_init(arrays, n) };
    let initialised = start.elapsed();
    device()?;
    let computed = start.elapsed();
    // SAFETY: as above.
    let wrong = unsafe { floors::triad_check(arrays[0], SCALAR, n) };
    let total = start.elapsed();
    if wrong > 0 {
        return Err(format!("{wrong} of {n} elements are wrong").into());
    }
    Ok(Turn { total: total.as_nanos() as f64, middle: (computed - initialised).as_nanos() as f64 })
}

pub fn run(r: &mut Run) -> Outcome {
    let (len, n, peer) = (r.sizes.array, r.sizes.array / 8, r.peer);
    let image = if peer.kind == Kind::Cuda { TRIAD_PTX } else { TRIAD_SOURCE };
    // SAFETY: device code for this driver.
    let kernel = raw::kernel_get(unsafe { raw::module_load(r.device, image)? }, "triad")?;
    let ours_memory = three(|| Block::new(len).map_err(Into::into))?;
    let pinned: [Pinned; 3] = three(|| peer.pinned(len))?;
    let memory: [DeviceMemory; 3] = three(|| peer.device_memory(len))?;
    let managed: Outcome<[Managed; 3]> = three(|| peer.managed(len));
    let stopwatch = Stopwatch::new(peer)?;

    let [mut ours, mut ours_middle, mut kernels] = [const { Samples::new() }; 3];
    let [mut explicit, mut explicit_middle] = [const { Peer::new("pinned copies") }; 2];
    let mut managed_peer = match &managed {
        Ok(_) => Peer::new("managed, no hints"),
        Err(error) => Peer::none("managed, no hints", error.to_string()),
    };
    for t in r.turns() {
        let keep = t > 0;
        let [a, b, c] = &ours_memory;
        let times = turn([a.ptr(), b.ptr(), c.ptr()], n, || launch(r, kernel, &ours_memory, n))?;
        if keep {
            ours.push(times.total);
            ours_middle.push(times.middle);
        }

        let mut middle = 0.0;
        explicit.turn(keep, || {
            let [a, b, c] = &memory;
            let times = turn([0, 1, 2].map(|i| pinned[i].host()), n, || {
                peer.copy_in(b, &pinned[1], len)?;
                peer.copy_in(c, &pinned[2], len)?;
                let ns = stopwatch.time(|| iterate(|| r.kernels.triad([a, b, c], SCALAR, n)))?;
                if keep {
                    kernels.push(ns / ITERATIONS as f64);
                }
                peer.copy_out(&pinned[0], 0, a, 0, len)?;
                peer.synchronize()
            })?;
            middle = times.middle;
            Ok(times.total)
        });
        explicit_middle.turn(keep, || Ok(middle));
        let Ok(managed) = &managed else { continue };
        managed_peer.turn(keep, || {
            let [a, b, c] = managed;
            let times = turn([a.host(), b.host(), c.host()], n, || {
                iterate(|| r.kernels.triad([a, b, c], SCALAR, n))?;
                peer.synchronize()
            })?;
            Ok(times.total)
        });
    }
    let what = format!("triad, 3 x {}, {ITERATIONS} iterations", show(len));
    let kernel_ns = kernels.stat().median;
    let rate = if kernel_ns > 0.0 { 3.0 * len as f64 / kernel_ns } else { 0.0 };
    r.row(
        Row::new(&what, Nanoseconds, &ours, &explicit)
            .target(Target::AtMost(1.05))
            .predicted("1.0 .. 1.1")
            .note(format!("one iteration on the device: {:.1} us, {rate:.0} GB/s", kernel_ns / 1e3)),
    )?;
    r.row(Row::new(&what, Nanoseconds, &ours, &managed_peer).predicted("0.5 .. 0.8"))?;
    r.row(
        Row::new(format!("{what}, between the CPU's work"), Nanoseconds, &ours_middle, &explicit_middle)
            .note("the peer's has both ways in it; ours comes home in the check"),
    )
}

fn three<T>(make: impl Fn() -> Outcome<T>) -> Outcome<[T; 3]> {
    Ok([make()?, make()?, make()?])
}

fn iterate(mut once: impl FnMut() -> Outcome) -> Outcome {
    (0..ITERATIONS).try_for_each(|_| once())
}

fn launch(r: &Run, kernel: KernelId, arrays: &[Block; 3], n: usize) -> Outcome {
    let pointer = |i: usize, mode| LaunchArg::Pointer { ptr: arrays[i].ptr(), len: n * 8, mode };
    let (scalar, count) = (SCALAR, n as u64);
    let args = [
        pointer(0, AccessMode::Write),
        pointer(1, AccessMode::Read),
        pointer(2, AccessMode::Read),
        LaunchArg::Value { data: (&raw const scalar).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const count).cast(), size: 8 },
    ];
    let (grid, block) = ([blocks(n), 1, 1], [THREADS, 1, 1]);
    let config = LaunchConfig { grid, block, stream: r.stream, ..LaunchConfig::default() };
    iterate(|| {
        // SAFETY: triad's parameters; the arrays have n elements.
        unsafe { raw::launch(kernel, &config, &args)? };
        Ok(())
    })?;
    Ok(raw::stream_synchronize(r.stream)?)
}
