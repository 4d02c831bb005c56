//! Launches that name more than they change: for what checksums after launches would be worth.

use super::rng::Rng;
use super::{Maker, all};
use crate::trace::{Event, PAGES, Touch, Trace, Use};
use hmmrt::AccessMode::{Read, ReadWrite};
use hmmrt::policy::PageMask;

/// How much of it the CPU reads after each launch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// All.
    All,
    /// A chunk in eight, another each time.
    Some,
    /// Nothing but at the end.
    Nothing,
}

/// A kernel may change an array, and changes a share of it: whole chunks, or pieces of 64 KiB here and there.
pub(super) fn partly(rng: &mut Rng, share: f64, reads: Reads) -> Trace {
    let n = rng.size(8, 24);
    let mut m = Maker::new(2 * n);
    let array = m.allocate(n);
    let (compute, read) = (rng.pick(10_000, 100_000) * n as u64, rng.pick(30_000, 120_000));
    let piece = if rng.pick(0, 1) == 0 { PAGES as usize } else { 16 };
    for _ in 0..40 {
        let pieces = n * PAGES as usize / piece;
        let mut left = (pieces as f64 * share).round() as usize;
        let mut written = vec![PageMask::EMPTY; n];
        for i in 0..pieces {
            // Of those that are left each is as likely.
            if rng.size(0, pieces - i - 1) < left {
                left -= 1;
                let page = i * piece;
                let mask = &mut written[page / PAGES as usize];
                *mask = *mask | PageMask::span(page % PAGES as usize, piece);
            }
        }
        let written = written.into_iter().enumerate().map(|(c, mask)| (array + c, mask)).collect();
        m.launch(1, compute, vec![Use { written: Some(written), ..all(array, n, ReadWrite) }]);
        match reads {
            Reads::All => m.cpu_all(array, n, Touch::Read, read),
            Reads::Some => {
                for _ in 0..n.div_ceil(8) {
                    m.cpu(array + rng.size(0, n - 1), PageMask::FULL, Touch::Read, read);
                }
            }
            Reads::Nothing => {}
        }
    }
    m.cpu_all(array, n, Touch::Read, read);
    m.0
}

/// The same program, of which nobody says what its kernels do with what they name: all may be changed.
pub fn unnamed(mut trace: Trace) -> Trace {
    let uses = trace.events.iter_mut().filter_map(|e| match e {
        Event::Launch { uses, .. } => Some(uses),
        Event::Cpu { .. } => None,
    });
    for u in uses.flatten() {
        if u.mode == Read {
            u.written = Some(Vec::new());
        }
        u.mode = ReadWrite;
    }
    trace
}
