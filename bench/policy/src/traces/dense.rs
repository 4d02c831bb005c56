//! Programs that touch whole arrays.

use super::rng::Rng;
use super::{Maker, all};
use crate::trace::{PAGES, Touch, Trace, Use};
use hmmrt::AccessMode::{Read, ReadWrite, Write};
use hmmrt::policy::PageMask;

/// The CPU fills a buffer, a kernel makes another of it, the CPU reads that while the next is computed: two of each.
pub(super) fn streaming(rng: &mut Rng) -> Trace {
    let n = rng.size(8, 24);
    let mut m = Maker::new(8 * n);
    let input = [m.allocate(n), m.allocate(n)];
    let output = [m.allocate(n), m.allocate(n)];
    // One to four threads' worth of CPU, and a kernel that is as fast.
    let (fill, read, compute) =
        (rng.pick(40_000, 160_000), rng.pick(30_000, 120_000), rng.pick(20_000, 150_000));
    for i in 0..32 {
        m.cpu_all(input[i % 2], n, Touch::Overwrite, fill);
        m.launch(1, compute * n as u64, vec![all(input[i % 2], n, Read), all(output[i % 2], n, Write)]);
        if i > 0 {
            m.cpu_all(output[(i - 1) % 2], n, Touch::Read, read);
        }
    }
    m.0
}

/// Two grids in turn; after each step the CPU reads the edges of the slabs and changes the halos beside them.
pub(super) fn stencil(rng: &mut Rng) -> Trace {
    let n = rng.size(16, 48);
    let slabs = rng.size(2, 6);
    let halo = rng.size(2, 32);
    let mut m = Maker::new(3 * n);
    let grids = [m.allocate(n), m.allocate(n)];
    let (step, exchange) = (rng.pick(30_000, 90_000) * n as u64, rng.pick(5_000, 40_000));
    for i in 0..60 {
        let (from, to) = (grids[i % 2], grids[(i + 1) % 2]);
        m.launch(1, step, vec![all(from, n, Read), all(to, n, Write)]);
        for s in 0..slabs {
            let chunk = to + s * n / slabs;
            m.cpu(chunk, PageMask::span(halo, halo), Touch::Read, exchange);
            m.cpu(chunk, PageMask::span(0, halo), Touch::Update, exchange);
        }
    }
    m.0
}

/// C = A B in tiles, everything fits; the CPU reads C.
pub(super) fn blocked(rng: &mut Rng) -> Trace {
    let (n, t) = (rng.size(4, 6), rng.size(2, 4));
    let mut m = Maker::new(3 * n * n * t + 8);
    let [a, b, c] = [m.allocate(n * n * t), m.allocate(n * n * t), m.allocate(n * n * t)];
    let compute = rng.pick(60_000, 200_000) * t as u64;
    let tile = |of: usize, i: usize, j: usize| of + (i * n + j) * t;
    for i in 0..n {
        for j in 0..n {
            for k in 0..n {
                let mode = if k == 0 { Write } else { ReadWrite };
                let (a, b, c) = (tile(a, i, k), tile(b, k, j), tile(c, i, j));
                m.launch(1, compute, vec![all(a, t, Read), all(b, t, Read), all(c, t, mode)]);
            }
        }
    }
    m.cpu_all(c, n * n * t, Touch::Read, rng.pick(40_000, 150_000));
    m.0
}

/// Conjugate gradients' shape: a matrix that stays, vectors, and a residual that the CPU looks at in each round.
pub(super) fn solver(rng: &mut Rng) -> Trace {
    let (n, v) = (rng.size(24, 64), rng.size(1, 4));
    let mut m = Maker::new(n + 4 * v + 8);
    let [matrix, x, y, residual] = [m.allocate(n), m.allocate(v), m.allocate(v), m.allocate(1)];
    let (multiply, update) = (rng.pick(20_000, 60_000) * n as u64, rng.pick(20_000, 60_000) * v as u64);
    for _ in 0..rng.pick(80, 160) {
        m.launch(1, multiply, vec![all(matrix, n, Read), all(x, v, Read), all(y, v, Write)]);
        let sum = Use::all(residual as u64 * PAGES, 1, Write);
        m.launch(2, update, vec![all(x, v, ReadWrite), all(y, v, Read), sum]);
        m.cpu(residual, PageMask::span(0, 1), Touch::Read, 2_000);
    }
    m.cpu_all(x, v, Touch::Read, 60_000);
    m.0
}

/// CPU and device change all of it in turn.
pub(super) fn ping_pong(rng: &mut Rng) -> Trace {
    let n = rng.size(4, 24);
    let mut m = Maker::new(2 * n);
    let array = m.allocate(n);
    let (cpu, device) = (rng.pick(40_000, 150_000), rng.pick(10_000, 60_000) * n as u64);
    for _ in 0..40 {
        m.launch(1, device, vec![all(array, n, ReadWrite)]);
        m.cpu_all(array, n, Touch::Update, cpu);
    }
    m.0
}

/// Sweeps, tile by tile, over `ratio` times what the device has; the CPU looks at a sum after each tile.
pub(super) fn sweep(rng: &mut Rng, ratio: f64) -> Trace {
    let t = rng.size(2, 6);
    let device = t * rng.size(10, 20);
    let tiles = ((device as f64 * ratio) as usize / t).max(2);
    let mut m = Maker::new(device);
    let (data, sum) = (m.allocate(tiles * t), m.allocate(1));
    let compute = rng.pick(40_000, 150_000) * t as u64;
    let mode = if rng.pick(0, 1) == 0 { Read } else { ReadWrite };
    let looks = rng.pick(0, 2) > 0;
    for _ in 0..8 {
        for i in 0..tiles {
            m.launch(1, compute, vec![all(data + i * t, t, mode), Use::all(sum as u64 * PAGES, 1, Write)]);
            if looks {
                m.cpu(sum, PageMask::span(0, 1), Touch::Read, 2_000);
            }
        }
    }
    m.cpu(sum, PageMask::span(0, 1), Touch::Read, 2_000);
    m.0
}
