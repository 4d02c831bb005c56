//! The C interface by a sequence of calls: each with arguments from the fuzzer's bytes, right ones and wrong ones. After
//! each, the status is one that it may have, and what the program should find in memory is a plain model (`block`). The
//! host backend, with little memory, so that blocks are sent home for others' sake. One process runs many sequences, and
//! each begins and ends with nothing alive.

mod block;
mod bytes;
mod kernels;
mod memory;
mod other;
mod ranges;

use crate::os;
use block::{Block, Kind, PAGE, Part};
use bytes::Bytes;
use core::ffi::c_void;
use core::ptr::null_mut;
use hmmrt_interface::config::{hmm_backend, hmm_config};
use hmmrt_interface::life::{hmm_init, hmm_shutdown};
use hmmrt_interface::look::hmm_stats_get;
use hmmrt_interface::memory::{hmm_adopt, hmm_disown, hmm_free};
use hmmrt_interface::status::hmm_status::{self, *};
use hmmrt_interface::types::{hmm_stats, hmm_stream};
use std::mem::MaybeUninit;
use std::sync::{Mutex, OnceLock};

/// No more bytes than this are alive at a time.
const MOST_BYTES: usize = 20 << 20;
const MOST_BLOCKS: usize = 6;
const MOST_CALLS: usize = 200;
const OWN_PAGES: usize = 700;
const DEVICES: usize = 2;

/// Memory of the caller's own, to be adopted.
static OWN: OnceLock<[usize; 2]> = OnceLock::new();

struct World<'a> {
    bytes: Bytes<'a>,
    blocks: Vec<Block>,
    /// Streams, and their devices; the first ones are the default streams.
    streams: Vec<(i32, hmm_stream)>,
    /// A handle that was valid once.
    stale: hmm_stream,
    is_up: bool,
}

/// Runs a sequence.
pub fn interface(bytes: &[u8]) {
    // One runtime, so one sequence at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let mut world = World::new(bytes);
    for _ in 0..MOST_CALLS {
        if world.bytes.is_empty() {
            break;
        }
        world.call();
    }
    world.end();
}

fn start(direct: bool) {
    // SAFETY: numbers, pointers and ints: zeros are valid.
    let mut config: hmm_config = unsafe { MaybeUninit::zeroed().assume_init() };
    config.struct_size = size_of::<hmm_config>();
    config.backend = MaybeUninit::new(hmm_backend::HMM_BACKEND_HOST);
    config.host_devices = DEVICES as u64;
    config.host_memory = 8 << 20;
    config.spare_bytes = 8 << 20;
    config.host_direct = kernels::raw(if direct { 1 } else { 2 });
    config.log = kernels::raw(1);
    // SAFETY: valid, without strings.
    let status = unsafe { hmm_init(&raw const config) };
    assert!(status == HMM_OK || status == HMM_ERR_INVALID_ARGUMENT, "{status:?}");
}

fn own() -> [usize; 2] {
    *OWN.get_or_init(|| {
        // At the same place in each run, if it is free.
        [0x5000_0000_0000, 0x5000_1000_0000]
            .map(|hint| os::map(hint, OWN_PAGES * PAGE, true).expose_provenance())
    })
}

/// A call did what it had to, or has one of these reasons not to have.
#[track_caller]
fn expect(status: hmm_status, reasons: &[hmm_status]) -> bool {
    assert!(
        status == HMM_OK || reasons.contains(&status),
        "{status:?}, and not HMM_OK or one of {reasons:?}"
    );
    status == HMM_OK
}

/// A call with a wrong argument is refused; a mistake of the library's own is no refusal.
#[track_caller]
fn refused(status: hmm_status) {
    assert!(status != HMM_OK && status != HMM_ERR_PANIC, "{status:?}, and should be refused");
}

impl<'a> World<'a> {
    fn new(bytes: &'a [u8]) -> World<'a> {
        start(true);
        own();
        let streams = (0..DEVICES as i32).map(|device| (device, null_mut())).collect();
        World { bytes: Bytes::new(bytes), blocks: Vec::new(), streams, stale: null_mut(), is_up: true }
    }

    fn call(&mut self) {
        let which = self.bytes.below(40);
        if std::env::var_os("HMMRT_TEST_OPS").is_some() {
            let blocks: Vec<_> = self.blocks.iter().map(|b| (b.kind, b.len(), &b.pins)).collect();
            eprintln!("call {which}, {} bytes to come, {blocks:x?}", self.bytes.len());
        }
        match which {
            0..=3 => self.allocate(),
            4 => self.reallocate(),
            5 => self.free(),
            6 => self.sizes(),
            7 => self.adopt(),
            8 => self.disown(),
            9 => self.protect(),
            10..=13 => self.cpu_writes(),
            14..=16 => self.cpu_reads(),
            17..=20 => self.migrate(),
            21 | 22 => self.prefetch(),
            23 => self.host_ready(),
            24 => self.pin(),
            25 => self.unpin(),
            26 | 27 => self.discard(),
            28 => self.advise(),
            29 => self.acquire(),
            30 | 31 => self.release(),
            32 => self.device_pointer(),
            33..=35 => self.launch(),
            36 => self.query(),
            37 => self.streams(),
            38 => self.modules(),
            _ => self.rest(),
        }
    }

    fn device(&mut self) -> (i32, bool) {
        match self.bytes.below(16) {
            n @ 0..=13 => ((n % DEVICES) as i32, true),
            14 => (self.bytes.pick(&[DEVICES as i32, -2, i32::MAX, i32::MIN, 8]), false),
            _ => (-1, false),
        }
    }

    /// Host or a device, and whether there is such a place.
    fn location(&mut self) -> (i32, bool) {
        let (device, valid) = self.device();
        (device, valid || device == -1)
    }

    /// A stream, its device, and whether it is one.
    fn stream(&mut self) -> (i32, hmm_stream, bool) {
        if self.bytes.once_in(16) {
            let wild = self.bytes.wild();
            let stream =
                if self.bytes.once_in(2) { self.stale } else { core::ptr::without_provenance_mut(wild) };
            return (0, stream, stream.is_null());
        }
        let (device, stream) = self.streams[self.bytes.byte() as usize % self.streams.len()];
        (device, stream, true)
    }

    fn alive(&self) -> usize {
        self.blocks.iter().map(Block::len).sum()
    }

    fn part_at(&self, part: Part) -> *const c_void {
        self.blocks[part.block].pointer(part.from).cast_const().cast()
    }

    /// Everything is given back, and every byte that is known was kept.
    fn end(mut self) {
        if self.is_up {
            self.release_all();
        }
        for block in &mut self.blocks {
            block.all_released();
            memory::open(block, self.is_up);
            block.check(0, block.len());
        }
        if !self.is_up {
            start(true);
        }
        for block in core::mem::take(&mut self.blocks) {
            let at = block.pointer(0).cast();
            match block.kind {
                // SAFETY: nobody uses the block any more.
                Kind::Heap => unsafe { hmm_free(at) },
                Kind::Own(_) => {
                    // SAFETY: as above.
                    let status = unsafe { hmm_disown(at, block.len()) };
                    assert_eq!(status, HMM_OK);
                }
            }
        }
        // SAFETY: numbers.
        let mut stats: hmm_stats = unsafe { MaybeUninit::zeroed().assume_init() };
        stats.struct_size = size_of::<hmm_stats>();
        // SAFETY: valid.
        assert_eq!(unsafe { hmm_stats_get(&raw mut stats) }, HMM_OK);
        assert_eq!(stats.managed_bytes, 0, "something is alive");
    }

    fn shut_down(&mut self) {
        let acquired = self.blocks.iter().any(|block| !block.is_unused());
        assert_eq!(hmm_shutdown(), HMM_OK, "with something acquired: {acquired}");
        self.is_up = false;
        self.stale = self.streams.last().map_or(null_mut(), |(_, stream)| *stream);
        self.streams.truncate(DEVICES);
        self.blocks.iter_mut().for_each(Block::all_released);
    }

    fn adopt_range(at: usize, len: usize) -> hmm_status {
        // SAFETY: the caller's own memory, which stays mapped, or what the call refuses.
        unsafe { hmm_adopt(core::ptr::with_exposed_provenance_mut(at), len) }
    }
}
