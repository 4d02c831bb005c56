//! Programs that touch memory here and there.

use super::rng::{Rng, Zipf};
use super::{Maker, all};
use crate::trace::{PAGES, Touch, Trace, Use};
use hmmrt::AccessMode::{Read, ReadWrite, Write};
use hmmrt::policy::PageMask;
use std::collections::BTreeMap;

/// Pages as a launch touches them.
fn by_chunk(pages: impl IntoIterator<Item = usize>, first: usize) -> Vec<(usize, PageMask)> {
    let mut chunks: BTreeMap<usize, PageMask> = BTreeMap::new();
    for p in pages {
        let mask = chunks.entry(first + p / PAGES as usize).or_default();
        *mask = *mask | PageMask::span(p % PAGES as usize, 1);
    }
    chunks.into_iter().collect()
}

/// Levels of a search: each touches a part of the edges, first a few, then most, then a few; the CPU reads how many nodes
/// there are next. Several searches on one graph.
pub(super) fn bfs(rng: &mut Rng) -> Trace {
    let (n, v) = (rng.size(16, 48), rng.size(1, 3));
    let mut m = Maker::new(n + v + 8);
    let (edges, nodes, count) = (m.allocate(n), m.allocate(v), m.allocate(1));
    let pages = n * PAGES as usize;
    for _ in 0..6 {
        for level in [0.002, 0.03, 0.3, 0.5, 0.1, 0.01] {
            let touched =
                by_chunk((0..(pages as f64 * level) as usize).map(|_| rng.size(0, pages - 1)), edges);
            let of_edges = Use { touched: Some(touched), ..all(edges, n, Read) };
            let counter = Use::all(count as u64 * PAGES, 1, ReadWrite);
            let ns = 20_000 + (level * 60_000.0 * n as f64) as u64;
            m.launch(1, ns, vec![of_edges, all(nodes, v, ReadWrite), counter]);
            m.cpu(count, PageMask::span(0, 1), Touch::Update, 1_000);
        }
        m.cpu_all(nodes, v, Touch::Read, 80_000);
    }
    m.0
}

/// The device builds a structure, the CPU follows pointers through it, page by page.
pub(super) fn pointer_chase(rng: &mut Rng) -> Trace {
    let n = rng.size(16, 64);
    let mut m = Maker::new(2 * n);
    let list = m.allocate(n);
    let steps = rng.size(n * 2, n * 200);
    for _ in 0..12 {
        m.launch(1, 30_000 * n as u64, vec![all(list, n, ReadWrite)]);
        for _ in 0..steps {
            let page = rng.size(0, n * PAGES as usize - 1);
            m.cpu(list + page / PAGES as usize, PageMask::span(page % PAGES as usize, 1), Touch::Read, 300);
        }
    }
    m.0
}

/// A table: the CPU changes single values, the device looks up many, both by Zipf's law; the CPU reads the answers.
pub(super) fn key_value(rng: &mut Rng) -> Trace {
    let (n, answers) = (rng.size(16, 48), rng.size(1, 4));
    let mut m = Maker::new(n + answers + 8);
    let (table, out) = (m.allocate(n), m.allocate(answers));
    let pages = n * PAGES as usize;
    let zipf = Zipf::new(pages, 0.99, rng);
    let (puts, looks) = (rng.size(20, 200), rng.size(pages / 2, pages * 4));
    for _ in 0..30 {
        for _ in 0..puts {
            let page = zipf.draw(rng);
            m.cpu(
                table + page / PAGES as usize,
                PageMask::span(page % PAGES as usize, 1),
                Touch::Update,
                500,
            );
        }
        let touched = by_chunk((0..looks).map(|_| zipf.draw(rng)), table);
        let lookups = Use { touched: Some(touched), ..all(table, n, Read) };
        m.launch(1, 200_000 + looks as u64 * 20, vec![lookups, all(out, answers, Write)]);
        m.cpu_all(out, answers, Touch::Read, 80_000);
    }
    m.0
}

/// CPU and device change the same pages in turn: a few in each chunk, the same ones each time.
pub(super) fn ping_pong(rng: &mut Rng) -> Trace {
    let n = rng.size(4, 24);
    let mut m = Maker::new(2 * n);
    let array = m.allocate(n);
    let (each, apart) = (rng.size(1, 4), rng.size(17, 120));
    let start = if rng.pick(0, 1) == 0 { 0 } else { rng.size(0, 20) };
    let device = rng.pick(1_000, 20_000) * n as u64;
    for _ in 0..60 {
        m.launch(1, device, vec![all(array, n, ReadWrite)]);
        for c in 0..n {
            let pages = (0..each).fold(PageMask::EMPTY, |m, i| m | PageMask::span(start + i * apart, 1));
            m.cpu(array + c, pages, Touch::Update, 500);
        }
    }
    m.0
}
