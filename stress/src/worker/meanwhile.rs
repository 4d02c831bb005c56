//! What threads do while another stops the runtime and starts it: whatever needs no stream. Calls meet a
//! runtime that is about to stop, or has.

use super::Worker;
use crate::RESTARTING;
use crate::history::{note, op};
use crate::kernels::allowed;
use crate::private::Private;
use core::sync::atomic::Ordering::SeqCst;
use hmmrt::StreamId;
use hmmrt::raw::{self, HMM_HOST};

impl Worker<'_> {
    /// Goes on until it is over.
    pub fn meanwhile(&mut self, devices: usize) {
        while RESTARTING.load(SeqCst) {
            match self.random.below(16) {
                0..=3 => self.read(),
                4..=6 => self.write(),
                7 => self.add(),
                8 => self.ready(),
                9 => self.pin(),
                10 => self.query(),
                11 if self.random.below(50) == 0 => self.fork(),
                11 | 12 => self.new_block(),
                _ => self.send(devices),
            }
        }
    }

    /// To a device, or home.
    fn send(&mut self, devices: usize) {
        let (f, first, count) = self.choose();
        let to = self.random.below(devices + 1);
        let to = if to == devices { HMM_HOST } else { to as i32 };
        let ptr = f.word(first).as_ptr().cast::<u8>().cast_const();
        note(self.me, const { op("migrate during shutdown") }, ptr.addr(), count * 8, to as u64);
        let done = match self.random.below(3) {
            0 => raw::prefetch(ptr, count * 8, to, StreamId::DEFAULT),
            _ => raw::migrate(ptr, count * 8, to).map(|_| ()),
        };
        self.refused(allowed(done, ptr.addr()));
    }

    /// A block is freed, another made and looked at.
    fn new_block(&mut self) {
        let (n, salt, look) =
            (self.random.below(super::BLOCKS), self.random.next() | 1, self.random.below(2) == 0);
        note(self.me, const { op("free") }, self.blocks[n].ptr.addr(), self.blocks[n].len(), 0);
        let Some(new) = Private::try_allocate(8 * (1 + self.random.below(40_000))) else { return };
        core::mem::replace(&mut self.blocks[n], new).free(look);
        let words = self.blocks[n].model.len();
        self.blocks[n].check(0, words, 11); // zeros
        self.blocks[n].write(0, words, 4, salt);
    }
}
