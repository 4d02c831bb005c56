//! The calls that take a range of memory.

use super::block::{Kind, Part};
use super::{World, expect, kernels, refused};
use core::ffi::c_void;
use hmmrt_interface::device::{hmm_acquire, hmm_device_ptr, hmm_release};
use hmmrt_interface::look::hmm_query;
use hmmrt_interface::memory::hmm_protect;
use hmmrt_interface::movement::*;
use hmmrt_interface::status::hmm_status::{self, *};
use hmmrt_interface::types::{hmm_access, hmm_page};

/// A range for a call: the addresses, and where that is, if it is a part of a block.
struct Range {
    at: *const c_void,
    len: usize,
    part: Option<Part>,
}

static NOBODYS: [u8; 8192] = [0; 8192];

/// A device that has no memory for it; or no addresses: of adopted ranges that share a chunk, where windows of device
/// addresses are as long as what they are for.
const NO_ROOM: [hmm_status; 2] = [HMM_ERR_DEVICE_MEMORY, HMM_ERR_UNSUPPORTED];

impl World<'_> {
    pub(super) fn any_block(&mut self) -> Option<usize> {
        let number = self.bytes.byte() as usize;
        (!self.blocks.is_empty()).then(|| number % self.blocks.len())
    }

    /// A part of a block, one byte at least.
    pub(super) fn good_part(&mut self) -> Option<Part> {
        let block = self.any_block()?;
        let len = self.blocks[block].len();
        if len == 0 {
            return None;
        }
        let from = match self.bytes.byte() {
            0..=99 => 0,
            n @ 100..=149 => usize::from(n - 99) * 4096,
            n @ 150..=179 => len.saturating_sub(usize::from(n - 149)),
            n => len / 76 * usize::from(n - 180),
        };
        let from = from.min(len - 1);
        let rest = len - from;
        let part = match self.bytes.byte() {
            0..=99 => rest,
            n @ 100..=139 => usize::from(n - 99),
            n @ 140..=199 => usize::from(n - 139) * 4096,
            n => rest / 56 * usize::from(n - 199),
        };
        Some(Part { block, from, len: part.clamp(1, rest) })
    }

    fn range(&mut self) -> Range {
        if !self.bytes.once_in(6)
            && let Some(part) = self.good_part()
        {
            return Range { at: self.part_at(part), len: part.len, part: Some(part) };
        }
        let wild = self.bytes.wild();
        let number = core::ptr::without_provenance::<c_void>;
        let (at, len) = match (self.bytes.below(8), self.good_part()) {
            // Past its end.
            (0..=2, Some(part)) => {
                let rest = self.blocks[part.block].len() - part.from;
                // What belongs to the block beyond what was asked for does not matter here: more than that.
                (self.part_at(part), (rest + (8 << 20)).max(wild))
            }
            (3, Some(part)) => (self.part_at(part), wild),
            (4, _) => (number(0), 1 + self.bytes.below(256)),
            (5, _) => (NOBODYS.as_ptr().cast(), 1 + self.bytes.below(8192)),
            (6, _) => (number(wild), wild),
            _ => (number(wild), 1 + self.bytes.below(256)),
        };
        Range { at, len, part: None }
    }

    /// Whether the call with this range did it. `reasons` are those that there may be with a range that is right.
    #[track_caller]
    fn judge(&self, range: &Range, right: bool, status: hmm_status, reasons: &[hmm_status]) -> Option<Part> {
        if std::env::var_os("HMMRT_TEST_OPS").is_some() {
            eprintln!("  {status:?} for {:?}+{:#x}, {:x?}", range.at, range.len, range.part);
        }
        let Some(part) = range.part.filter(|_| right && self.is_up) else {
            refused(status);
            return None;
        };
        let block = &self.blocks[part.block];
        let mut reasons = reasons.to_vec();
        if matches!(block.kind, Kind::Own(_)) {
            reasons.push(HMM_ERR_UNSUPPORTED); // over a boundary of the device's windows, of which the system may choose one
        }
        if !block.is_unused() || !block.pins.is_empty() {
            reasons.push(HMM_ERR_BUSY);
        }
        if !block.allows(0, block.len(), 3) {
            reasons.extend([HMM_ERR_ACCESS_DENIED, HMM_ERR_READ_ONLY]);
        }
        expect(status, &reasons).then_some(part)
    }

    pub(super) fn migrate(&mut self) {
        let (range, (location, right)) = (self.range(), self.location());
        let mut moved = usize::MAX;
        let out = if self.bytes.once_in(4) { core::ptr::null_mut() } else { &raw mut moved };
        // SAFETY: NULL, or room for the answer.
        let status = unsafe { hmm_migrate(range.at, range.len, location, out) };
        match self.judge(&range, right, status, &NO_ROOM) {
            Some(part) => assert!(out.is_null() || moved <= part.len / 4096 + 2),
            None => assert_eq!(moved, usize::MAX, "written by a call that failed"),
        }
    }

    pub(super) fn prefetch(&mut self) {
        let (range, (location, right)) = (self.range(), self.location());
        let (device, stream, valid) = self.stream();
        let own = location == -1 || device == location || stream.is_null();
        let status = hmm_prefetch(range.at, range.len, location, stream);
        let reasons: &[_] = if own { &[] } else { &[HMM_ERR_INVALID_ARGUMENT] };
        self.judge(&range, right && valid, status, reasons);
    }

    pub(super) fn host_ready(&mut self) {
        let (range, mode) = (self.range(), self.bytes.pick(&[1, 2, 3, 1, 2, 3, 0, 4, -1, i32::MAX]));
        let status = hmm_host_ready(range.at, range.len, kernels::raw(mode));
        self.judge(&range, (1..=3).contains(&mode), status, &[]);
    }

    pub(super) fn pin(&mut self) {
        let range = self.range();
        let status = hmm_pin(range.at, range.len);
        if let Some(part) = self.judge(&range, true, status, &[]) {
            self.blocks[part.block].pins.push((part.from, part.len));
        }
    }

    pub(super) fn unpin(&mut self) {
        let pinned = self.any_block().and_then(|number| Some((number, *self.blocks[number].pins.last()?)));
        match pinned {
            Some((number, (from, len))) if self.is_up => {
                assert_eq!(hmm_unpin(self.blocks[number].pointer(from).cast(), len), HMM_OK);
                self.blocks[number].pins.pop();
            }
            _ => {
                let range = self.range();
                let is_pinned =
                    |part: Part| self.blocks[part.block].pins.contains(&(part.from, part.len)) && self.is_up;
                if !range.part.is_some_and(is_pinned) {
                    refused(hmm_unpin(range.at, range.len));
                }
            }
        }
    }

    pub(super) fn discard(&mut self) {
        let range = self.range();
        // SAFETY: the model knows.
        let status = unsafe { hmm_discard(range.at.cast_mut(), range.len) };
        if let Some(part) = self.judge(&range, true, status, &[]) {
            self.blocks[part.block].discarded(part.from, part.len);
        }
    }

    pub(super) fn advise(&mut self) {
        let advice = self.bytes.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 10, -1]);
        let (range, (location, right)) = (self.range(), self.location());
        let status = hmm_advise(range.at, range.len, kernels::raw(advice), location);
        let known = (1..=9).contains(&advice);
        // Where no place is meant, it may not be looked at.
        if right || !known || (3..=6).contains(&advice) {
            self.judge(&range, right && known, status, &[HMM_ERR_INVALID_ARGUMENT]);
        }
    }

    pub(super) fn protect(&mut self) {
        let protection = self.bytes.pick(&[0, 1, 3, 3, 3, 2, -1]);
        let Some(mut part) = self.good_part() else { return };
        let block = &self.blocks[part.block];
        if !block.at.is_multiple_of(4096) {
            return;
        }
        let misplaced = self.bytes.once_in(8) && part.from % 4096 != 0;
        if !misplaced {
            part.from = part.from / 4096 * 4096;
        }
        let at = block.pointer(part.from).cast();
        // SAFETY: the model knows.
        let status = unsafe { hmm_protect(at, part.len, kernels::raw(protection)) };
        let right = !misplaced && matches!(protection, 0 | 1 | 3);
        let range = Range { at: at.cast_const(), len: part.len, part: Some(part) };
        if self.judge(&range, right, status, &[]).is_some() {
            self.blocks[part.block].protect(part.from, part.len, protection);
        }
    }

    pub(super) fn acquire(&mut self) {
        let (device, stream, valid) = self.stream();
        let count = 1 + self.bytes.below(3);
        let mut right = valid;
        let mut list = Vec::new();
        let mut parts = Vec::new();
        for _ in 0..count {
            let (range, mode) = (self.range(), self.bytes.pick(&[1, 1, 2, 3, 3, 0, 9]));
            right &= range.part.is_some() && (1..=3).contains(&mode);
            parts.extend(range.part.map(|part| (part, mode)));
            list.push(hmm_access { ptr: range.at, len: range.len, mode: kernels::raw(mode) });
        }
        // SAFETY: the list is as long as it says, and no device does anything.
        let status = unsafe { hmm_acquire(device, stream, list.as_ptr(), count) };
        // What is only written is given up first.
        for (part, _) in parts.iter().filter(|(_, mode)| *mode == 2) {
            self.blocks[part.block].forget(part.from, part.len);
        }
        if !right || !self.is_up {
            return refused(status);
        }
        let reasons = [
            HMM_ERR_DEVICE_MEMORY,
            HMM_ERR_BUSY,
            HMM_ERR_ACCESS_DENIED,
            HMM_ERR_READ_ONLY,
            HMM_ERR_INVALID_ARGUMENT,
            HMM_ERR_UNSUPPORTED,
        ];
        if expect(status, &reasons) {
            for (part, mode) in parts {
                let block = &mut self.blocks[part.block];
                block.acquired(part.from, part.len, mode != 1, (device, stream));
            }
        }
    }

    pub(super) fn release(&mut self) {
        let (device, stream, valid) = self.stream();
        let status = hmm_release(device, stream);
        if !valid || !self.is_up {
            return refused(status);
        }
        assert_eq!(status, HMM_OK);
        self.blocks.iter_mut().for_each(|block| block.released(device, stream));
    }

    pub(super) fn release_all(&mut self) {
        for (device, stream) in self.streams.clone() {
            assert_eq!(hmm_release(device, stream), HMM_OK);
            self.blocks.iter_mut().for_each(|block| block.released(device, stream));
            self.end_stream(stream);
        }
    }

    pub(super) fn device_pointer(&mut self) {
        let (mut range, (device, right)) = (self.range(), self.device());
        range.part = range.part.filter(|_| range.len > 0);
        let mut out = core::ptr::dangling_mut();
        // SAFETY: room for the answer.
        let status = unsafe { hmm_device_ptr(range.at, device, &raw mut out) };
        // Of a range that goes too far, the address may be right.
        if range.part.is_some() {
            self.judge(&range, right, status, &NO_ROOM);
        }
        assert_eq!(out.addr() == 1, status != HMM_OK);
    }

    pub(super) fn launch(&mut self) {
        let (device, stream, valid) = self.stream();
        let (which, value) = (self.bytes.below(3), self.bytes.byte());
        let range = self.range();
        let Ok(kernel) = kernels::get(device, which) else {
            assert!(!self.is_up || !valid);
            return;
        };
        let part = range.part;
        let expected = part.and_then(|part| self.blocks[part.block].sum(part.from, part.len));
        if which == kernels::READ && part.is_some() && expected.is_none() {
            return;
        }
        let number = if which == kernels::READ { expected.unwrap_or(0) } else { u64::from(value) };
        let status = kernels::launch(kernel, stream, (range.at, range.len), kernels::MODES[which], number);
        let done =
            self.judge(&range, valid, status, &[HMM_ERR_DEVICE_MEMORY, HMM_ERR_UNSUPPORTED, HMM_ERR_BUSY]);
        if let (Some(part), kernels::FILL) = (part, which) {
            self.blocks[part.block].forget(part.from, part.len); // given up first, if it fails, too
        }
        if let Some(part) = done {
            let block = &mut self.blocks[part.block];
            match which {
                kernels::FILL => block.fill(part.from, part.len, value),
                kernels::ADD => block.add(part.from, part.len, value),
                _ => {}
            }
        }
    }

    pub(super) fn query(&mut self) {
        let range = self.range();
        let Some(part) = range.part else {
            let mut page = [hmm_page { flags: 77, device: 77 }];
            if range.len > 4096 {
                // SAFETY: room for as many as it says.
                refused(unsafe { hmm_query(range.at, range.len, page.as_mut_ptr(), 1) });
                assert_eq!((page[0].flags, page[0].device), (77, 77), "written by a call that failed");
            }
            return;
        };
        let needed = (range.at.addr() % 4096 + part.len).div_ceil(4096);
        let mut pages = vec![hmm_page { flags: 77, device: 77 }; needed + 1];
        // SAFETY: room for as many as it says.
        let status = unsafe { hmm_query(range.at, range.len, pages.as_mut_ptr(), needed) };
        assert_eq!(status, HMM_OK);
        assert_eq!(pages[needed].flags, 77, "written past the end");
        let block = &self.blocks[part.block];
        for (number, page) in pages[..needed].iter().enumerate() {
            let from = (part.from + number * 4096).min(block.len() - 1);
            assert_eq!(page.flags & 64, 0, "not managed");
            assert_ne!(page.flags & 7, 0, "nowhere");
            assert_eq!(page.flags & 4 != 0, page.device >= 0);
            if block.at.is_multiple_of(4096) && block.is_unused() {
                let readable = block.allows(from, 1, 1);
                assert_eq!(page.flags & 8 != 0, readable, "page {number} of {part:?}");
            }
        }
    }
}
