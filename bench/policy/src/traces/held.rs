//! Programs that were kept aside: the policies were settled before these were looked at.

use super::rng::Rng;
use super::{Maker, all};
use crate::trace::{PAGES, Touch, Trace, Use};
use hmmrt::AccessMode::{Read, ReadWrite, Write};
use hmmrt::policy::PageMask;

/// Three buffers in turn, each filled, changed in place by two kernels, and read two rounds later; now and then a buffer is
/// skipped.
pub(super) fn triple(rng: &mut Rng) -> Trace {
    let n = rng.size(3, 20);
    let mut m = Maker::new(6 * n);
    let buffers = [m.allocate(n), m.allocate(n), m.allocate(n)];
    let table = m.allocate(2);
    let (fill, read, compute) =
        (rng.pick(50_000, 200_000), rng.pick(30_000, 150_000), rng.pick(20_000, 100_000));
    let skip = rng.size(5, 11);
    for i in 0..36 {
        let b = buffers[i % 3];
        if i % skip != skip - 1 {
            m.cpu_all(b, n, Touch::Overwrite, fill);
        }
        m.launch(1, compute * n as u64, vec![all(b, n, ReadWrite), all(table, 2, Read)]);
        m.launch(2, compute * n as u64 / 2, vec![all(b, n, ReadWrite)]);
        if i >= 2 {
            m.cpu_all(buffers[(i - 2) % 3], n, Touch::Read, read);
        }
    }
    m.0
}

/// Several fields on two grids, a launch a field; the CPU exchanges planes that lie apart in each of them.
pub(super) fn fields(rng: &mut Rng) -> Trace {
    let (n, count) = (rng.size(6, 20), rng.size(3, 5));
    let mut m = Maker::new(3 * n * count);
    let grids: Vec<[usize; 2]> = (0..count).map(|_| [m.allocate(n), m.allocate(n)]).collect();
    let (width, apart) = (rng.size(1, 6), rng.size(30, 200));
    let (step, exchange) = (rng.pick(20_000, 60_000) * n as u64, rng.pick(2_000, 15_000));
    let planes = (0..).map(|i| i * apart).take_while(|at| at + width <= PAGES as usize);
    let mask = planes.fold(PageMask::EMPTY, |mask, at| mask | PageMask::span(at, width));
    for i in 0..40 {
        for (f, grid) in grids.iter().enumerate() {
            let uses = vec![all(grid[i % 2], n, Read), all(grid[(i + 1) % 2], n, Write)];
            m.launch(f as u64, step, uses);
        }
        for grid in &grids {
            for edge in [0, n - 1] {
                m.cpu(grid[(i + 1) % 2] + edge, mask, Touch::Update, exchange);
            }
        }
    }
    m.0
}

/// Jacobi's iteration: the CPU looks at a residual every few rounds, and at all of the grid more seldom.
pub(super) fn jacobi(rng: &mut Rng) -> Trace {
    let n = rng.size(8, 40);
    let mut m = Maker::new(2 * n + 4);
    let (grids, residual) = ([m.allocate(n), m.allocate(n)], m.allocate(1));
    let step = rng.pick(20_000, 70_000) * n as u64;
    let (check, save) = (rng.size(3, 9), rng.size(20, 45));
    for i in 0..120 {
        let sum = Use::all(residual as u64 * PAGES, 1, Write);
        m.launch(1, step, vec![all(grids[i % 2], n, Read), all(grids[(i + 1) % 2], n, Write), sum]);
        if i % check == check - 1 {
            m.cpu(residual, PageMask::span(0, 1), Touch::Read, 3_000);
        }
        if i % save == save - 1 {
            m.cpu_all(grids[(i + 1) % 2], n, Touch::Read, 70_000);
        }
    }
    m.0
}

/// Sweeps forward, then sweeps to and fro, over more than the device has, and a vector that each step uses.
pub(super) fn cyclic(rng: &mut Rng) -> Trace {
    let t = rng.size(1, 4);
    let device = t * rng.size(8, 16) + 2;
    let tiles = (device as f64 * (1.1 + rng.unit())) as usize / t;
    let mut m = Maker::new(device);
    let (data, vector) = (m.allocate(tiles * t), m.allocate(1));
    let compute = rng.pick(50_000, 160_000) * t as u64;
    let mode = if rng.pick(0, 1) == 0 { Read } else { ReadWrite };
    for round in 0..10 {
        for i in 0..tiles {
            let tile = if round >= 5 && round % 2 == 1 { tiles - 1 - i } else { i };
            m.launch(1, compute, vec![all(data + tile * t, t, mode), all(vector, 1, ReadWrite)]);
        }
        m.cpu(vector, PageMask::span(0, 4), Touch::Update, 5_000);
    }
    m.0
}

/// Training: the CPU gathers a batch from here and there, kernels use and change the weights, the CPU looks at the loss, and
/// saves the weights now and then.
pub(super) fn training(rng: &mut Rng) -> Trace {
    let (samples, batch, weights) = (rng.size(16, 64), rng.size(1, 4), rng.size(2, 12));
    let mut m = Maker::new(2 * (batch + weights) + 8);
    let [set, input, w, loss] = [m.allocate(samples), m.allocate(batch), m.allocate(weights), m.allocate(1)];
    let compute = rng.pick(100_000, 400_000);
    let epoch = rng.size(15, 30);
    for i in 0..90 {
        for b in 0..batch {
            let from = set + rng.size(0, samples - 1);
            m.cpu(from, PageMask::span(rng.size(0, 255), 256), Touch::Read, 20_000);
            m.cpu(input + b, PageMask::FULL, Touch::Overwrite, 40_000);
        }
        let sum = Use::all(loss as u64 * PAGES, 1, Write);
        m.launch(1, compute, vec![all(input, batch, Read), all(w, weights, Read), sum]);
        m.launch(2, compute, vec![all(input, batch, Read), all(w, weights, ReadWrite)]);
        m.cpu(loss, PageMask::span(0, 1), Touch::Read, 1_000);
        if i % epoch == epoch - 1 {
            m.cpu_all(w, weights, Touch::Read, 60_000);
        }
    }
    m.0
}

/// A ring of slices: the CPU fills one, a kernel makes its results, the CPU takes those of some slices before.
pub(super) fn slices(rng: &mut Rng) -> Trace {
    let (slots, t, lag) = (rng.size(6, 14), rng.size(1, 3), rng.size(1, 4));
    let mut m = Maker::new(4 * slots * t);
    let (ring, results) = (m.allocate(slots * t), m.allocate(slots));
    let (fill, take) = (rng.pick(60_000, 200_000), rng.pick(5_000, 40_000));
    let compute = rng.pick(50_000, 250_000) * t as u64;
    let pages = rng.pick(8, PAGES);
    for i in 0..120 {
        let s = i % slots;
        m.cpu_all(ring + s * t, t, Touch::Overwrite, fill);
        let result = Use::all((results + s) as u64 * PAGES, pages, Write);
        m.launch(1, compute, vec![all(ring + s * t, t, Read), result]);
        if i >= lag {
            let mask = PageMask::span(0, pages as usize);
            m.cpu(results + (i - lag) % slots, mask, Touch::Read, take);
        }
    }
    m.0
}

/// Sorting in place: kernels sort blocks, the CPU goes over all of it several times between them.
pub(super) fn passes(rng: &mut Rng) -> Trace {
    let (blocks, t) = (rng.size(2, 6), rng.size(1, 6));
    let n = blocks * t;
    let mut m = Maker::new(2 * n + 2);
    let data = m.allocate(n);
    let (over, sort) = (rng.pick(40_000, 150_000), rng.pick(60_000, 200_000) * t as u64);
    let passes = rng.size(2, 4);
    for _ in 0..16 {
        for b in 0..blocks {
            m.launch(1, sort, vec![all(data + b * t, t, ReadWrite)]);
        }
        for _ in 0..passes {
            m.cpu_all(data, n, Touch::Update, over);
        }
    }
    m.0
}
