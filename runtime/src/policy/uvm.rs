//! `uvm`: the published rules of NVIDIA's unified memory (uvm_perf_prefetch.c of the open kernel modules): leaves of 64 KiB,
//! then the largest node of a tree over the chunk of which more than 51 % has come, never past 2 MiB; the victim is what was
//! moved longest ago, whatever was used since. (In the lab: the runtime does not note when a chunk was moved, and there it is what was used
//! longest ago.)

use super::{Bring, Candidate, History, PageMask, Policy, Regular, Touch};

/// Pages of a leaf: 64 KiB.
const LEAF: usize = 16;
/// Pages of a chunk.
const PAGES: usize = 512;
/// The share of a node, in percent, that has to be exceeded.
const PERCENT: usize = 51;

/// See the head of the file.
pub struct Uvm;

impl Uvm {
    /// The pages that come when those of `wanted` are touched and those of `there` have come before.
    pub fn grow(wanted: PageMask, there: PageMask) -> PageMask {
        let mut set = PageMask::EMPTY;
        for leaf in 0..PAGES / LEAF {
            let span = PageMask::span(leaf * LEAF, LEAF);
            if span.meets(wanted) {
                set = set | span;
            }
        }
        let leaves = set;
        for (first, count) in leaves.runs() {
            for leaf in first / LEAF..(first + count) / LEAF {
                let mut size = PAGES;
                while size > LEAF {
                    let node = PageMask::span(leaf * LEAF / size * size, size);
                    if ((leaves | there) & node).count() * 100 > size * PERCENT {
                        set = set | node;
                        break;
                    }
                    size /= 2;
                }
            }
        }
        set
    }
}

impl Policy for Uvm {
    fn name(&self) -> &'static str {
        "uvm"
    }
    fn bring(&self, touch: &Touch, _: &mut History, _: &mut Regular) -> Bring {
        Bring::only(Uvm::grow(PageMask::span(touch.page, 1), touch.done) & touch.alike)
    }
    fn give_up(&self, candidate: &Candidate, now: u64) -> u64 {
        now.saturating_sub(candidate.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was counted on a real one: reading 2 MiB in order takes six faults.
    #[test]
    fn reading_a_chunk_in_order_takes_six_faults() {
        let (mut there, mut faults) = (PageMask::EMPTY, 0);
        while let Some(page) = (!there).first() {
            let alike = !there;
            let touch = Touch {
                chunk: 7,
                page,
                write: false,
                fetch: true,
                alike,
                done: there,
                whole: true,
                order: Default::default(),
            };
            there = there | Uvm.bring(&touch, &mut History::default(), &mut Regular::default()).pages;
            faults += 1;
        }
        assert_eq!(faults, 6);
    }
}
