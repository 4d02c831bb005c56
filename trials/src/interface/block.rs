//! The model: what each live block's bytes must be, what the program itself allowed of its pages, and who has acquired
//! them. A byte of undefined value is known to be unknown.

use hmmrt_interface::types::hmm_stream;

pub(super) const PAGE: usize = 4096;
const UNKNOWN: u16 = 0x100;

/// Where a block comes from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    Heap,
    /// Adopted: the number of the caller's own mapping.
    Own(usize),
}

pub(super) struct Block {
    pub(super) at: usize,
    pub(super) kind: Kind,
    bytes: Vec<u16>,
    /// `hmm_protection` of each page.
    protections: Vec<i32>,
    /// Pages that a stream has acquired, and whether to write.
    uses: Vec<Use>,
    pub(super) pins: Vec<(usize, usize)>,
}

struct Use {
    start: usize,
    end: usize,
    write: bool,
    by: (i32, hmm_stream),
}

/// A part of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) block: usize,
    pub(super) from: usize,
    pub(super) len: usize,
}

impl Block {
    pub(super) fn unknown(at: usize, len: usize, kind: Kind) -> Block {
        Block::of(at, vec![UNKNOWN; len], kind)
    }

    pub(super) fn zeros(at: usize, len: usize, kind: Kind) -> Block {
        Block::of(at, vec![0; len], kind)
    }

    fn of(at: usize, bytes: Vec<u16>, kind: Kind) -> Block {
        let pages = (at % PAGE + bytes.len()).div_ceil(PAGE).max(1);
        Block { at, kind, bytes, protections: vec![3; pages], uses: Vec::new(), pins: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn pages(&self, from: usize, len: usize) -> core::ops::Range<usize> {
        let start = self.at % PAGE + from;
        start / PAGE..(start + len).div_ceil(PAGE).min(self.protections.len())
    }

    /// Whether the program itself allows this everywhere in the range.
    pub(super) fn allows(&self, from: usize, len: usize, protection: i32) -> bool {
        self.protections[self.pages(from, len)].iter().all(|of| of & protection == protection)
    }

    /// Whether no stream may write in the range.
    pub(super) fn is_released(&self, from: usize, len: usize) -> bool {
        let pages = self.pages(from, len);
        self.uses.iter().all(|of| !of.write || pages.end <= of.start || of.end <= pages.start)
    }

    /// Whether no stream has acquired any of it.
    pub(super) fn is_unused(&self) -> bool {
        self.uses.is_empty()
    }

    /// Whether the CPU may read, or write, all of the range.
    pub(super) fn is_open(&self, from: usize, len: usize, write: bool) -> bool {
        self.allows(from, len, if write { 3 } else { 1 }) && self.is_released(from, len)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.pins.is_empty() && self.uses.is_empty() && self.allows(0, self.len(), 3)
    }

    pub(super) fn protect(&mut self, from: usize, len: usize, protection: i32) {
        let pages = self.pages(from, len);
        self.protections[pages].fill(protection);
    }

    pub(super) fn acquired(&mut self, from: usize, len: usize, write: bool, by: (i32, hmm_stream)) {
        let pages = self.pages(from, len);
        self.uses.push(Use { start: pages.start, end: pages.end, write, by });
    }

    pub(super) fn released(&mut self, device: i32, stream: hmm_stream) {
        self.uses.retain(|of| of.by != (device, stream));
    }

    pub(super) fn all_released(&mut self) {
        self.uses.clear();
    }

    /// Writes a byte everywhere, by the CPU.
    pub(super) fn write(&mut self, from: usize, len: usize, value: u8) {
        // SAFETY: inside of a live block that is open to the CPU.
        unsafe { core::ptr::write_bytes(self.pointer(from), value, len) };
        self.fill(from, len, value);
    }

    pub(super) fn fill(&mut self, from: usize, len: usize, value: u8) {
        self.bytes[from..from + len].fill(u16::from(value));
    }

    pub(super) fn add(&mut self, from: usize, len: usize, value: u8) {
        for byte in self.bytes[from..from + len].iter_mut().filter(|byte| **byte != UNKNOWN) {
            *byte = u16::from((*byte as u8).wrapping_add(value));
        }
    }

    pub(super) fn forget(&mut self, from: usize, len: usize) {
        self.bytes[from..from + len].fill(UNKNOWN);
    }

    /// Its whole pages within the range are zeros.
    pub(super) fn discarded(&mut self, from: usize, len: usize) {
        let start = (self.at + from).next_multiple_of(PAGE);
        let end = (self.at + from + len) / PAGE * PAGE;
        if start < end {
            self.bytes[start - self.at..end - self.at].fill(0);
        }
    }

    /// The block is elsewhere, or of another length; it begins with the same bytes.
    pub(super) fn resized(&mut self, at: usize, len: usize) {
        let mut bytes = core::mem::take(&mut self.bytes);
        bytes.resize(len, UNKNOWN);
        *self = Block::of(at, bytes, self.kind);
    }

    /// A part by itself.
    pub(super) fn part(&self, from: usize, len: usize) -> Block {
        let mut part = Block::unknown(self.at + from, len, self.kind);
        part.bytes.copy_from_slice(&self.bytes[from..from + len]);
        part
    }

    /// Only the part is left.
    pub(super) fn keep(&mut self, from: usize, len: usize) {
        let pages = self.pages(from, len);
        self.uses.retain_mut(|of| {
            let overlaps = of.start < pages.end && pages.start < of.end;
            of.start = of.start.max(pages.start).saturating_sub(pages.start);
            of.end = of.end.min(pages.end).saturating_sub(pages.start);
            overlaps
        });
        self.protections = self.protections[pages].to_vec();
        self.bytes = self.bytes[from..from + len].to_vec();
        self.at += from;
    }

    /// The sum of all bytes, if all are known.
    pub(super) fn sum(&self, from: usize, len: usize) -> Option<u64> {
        self.bytes[from..from + len].iter().try_fold(0_u64, |sum, byte| {
            (*byte != UNKNOWN).then(|| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
        })
    }

    pub(super) fn pointer(&self, from: usize) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.at + from)
    }

    /// Reads the range by the CPU, and compares what is known.
    pub(super) fn check(&self, from: usize, len: usize) {
        let mut bytes = vec![0_u8; len];
        // SAFETY: inside of a live block that is open to the CPU.
        unsafe { core::ptr::copy_nonoverlapping(self.pointer(from), bytes.as_mut_ptr(), len) };
        let differ = bytes
            .iter()
            .zip(&self.bytes[from..from + len])
            .position(|(is, should)| *should != UNKNOWN && u16::from(*is) != *should);
        if let Some(at) = differ {
            panic!(
                "{:#x}+{:#x} of {:?} block of {:#x}: {:#x} should be {:#x}",
                self.at,
                from + at,
                self.kind,
                self.len(),
                bytes[at],
                self.bytes[from + at]
            );
        }
    }
}
