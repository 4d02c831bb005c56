//! Random operations over two devices against plain arrays: after every step that reads, the bytes must be those of the
//! model. `HMMRT_TEST_SCALE` makes it longer; proptest shrinks and prints what failed.

mod common;

use common::kernels::{builtin, kernel};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{AccessMode, Advice, Error, KernelId, LaunchArg, LaunchConfig, Page, Protection, StreamId};
use proptest::prelude::*;

const SIZES: [usize; 8] = [1, 4096, 5000, 65_536, 700_000, 2 << 20, (2 << 20) + 9_000, 5 << 20];

/// A part of a block, in thousandths, so that shrinking stays valid.
#[derive(Clone, Copy, Debug)]
struct Part {
    block: usize,
    from: usize,
    len: usize,
}

#[derive(Clone, Debug)]
enum Op {
    Write(Part, u8),
    Read(Part),
    Migrate(Part, i32),
    Prefetch(Part, i32, usize),
    Add(Part, u8, usize),
    Fill(Part, u8, usize),
    Sum(Part, usize),
    HostReady(Part, bool),
    Discard(Part),
    Advise(Part, bool),
    Pin(Part),
    ReadOnly(usize),
    Realloc(usize, usize),
    Replace(usize, usize),
    Copy(Part, Part, usize),
    Synchronize(usize),
}

fn part() -> impl Strategy<Value = Part> {
    (0..6usize, 0..1000usize, 1..=1000usize).prop_map(|(block, from, len)| Part { block, from, len })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (part(), any::<u8>()).prop_map(|(p, v)| Op::Write(p, v)),
        8 => part().prop_map(Op::Read),
        6 => (part(), -1..2i32).prop_map(|(p, l)| Op::Migrate(p, l)),
        4 => (part(), -1..2i32, 0..2usize).prop_map(|(p, l, s)| Op::Prefetch(p, l, s)),
        6 => (part(), any::<u8>(), 0..2usize).prop_map(|(p, v, d)| Op::Add(p, v, d)),
        4 => (part(), any::<u8>(), 0..2usize).prop_map(|(p, v, d)| Op::Fill(p, v, d)),
        5 => (part(), 0..2usize).prop_map(|(p, d)| Op::Sum(p, d)),
        3 => (part(), any::<bool>()).prop_map(|(p, w)| Op::HostReady(p, w)),
        2 => part().prop_map(Op::Discard),
        2 => (part(), any::<bool>()).prop_map(|(p, r)| Op::Advise(p, r)),
        2 => part().prop_map(Op::Pin),
        2 => (0..6usize).prop_map(Op::ReadOnly),
        2 => (0..6usize, 0..SIZES.len()).prop_map(|(b, s)| Op::Realloc(b, s)),
        1 => (0..6usize, 0..SIZES.len()).prop_map(|(b, s)| Op::Replace(b, s)),
        3 => (part(), part(), 0..2usize).prop_map(|(a, b, d)| Op::Copy(a, b, d)),
        1 => (0..2usize).prop_map(Op::Synchronize),
    ]
}

/// Where an operation means: home, or one of the two devices, which may be the same.
fn place(location: i32) -> i32 {
    usize::try_from(location).map_or(HMM_HOST, |role| common::two_devices()[role])
}

struct World {
    blocks: Vec<(*mut u8, Vec<u8>)>,
    streams: [StreamId; 2],
    add: [KernelId; 2],
    fill: [KernelId; 2],
    checksum: [KernelId; 2],
    copy: [KernelId; 2],
    out: *mut u8,
}

impl World {
    fn new() -> World {
        let devices = common::two_devices();
        World {
            blocks: (0..6).map(|i| (raw::calloc(SIZES[i], 1).unwrap(), vec![0; SIZES[i]])).collect(),
            streams: devices.map(|d| raw::stream_create(d).unwrap()),
            add: devices.map(|d| kernel(d, "test_add_bytes")),
            fill: devices.map(|d| kernel(d, "test_fill_bytes")),
            checksum: devices.map(|d| builtin(d, "hmm_checksum")),
            copy: devices.map(|d| builtin(d, "hmm_copy")),
            out: raw::calloc(8, 1).unwrap(),
        }
    }

    /// The part's address and its place in the model.
    fn at(&self, p: Part) -> (*mut u8, usize, usize) {
        let (ptr, model) = &self.blocks[p.block];
        let from = model.len() * p.from / 1000;
        let len = (model.len() * p.len / 1000).clamp(1, model.len() - from);
        // SAFETY: inside the block.
        (unsafe { ptr.add(from) }, from, len)
    }

    fn check(&self, p: Part) {
        let (ptr, from, len) = self.at(p);
        // SAFETY: inside the block.
        let bytes = unsafe { core::slice::from_raw_parts(ptr, len) };
        let model = &self.blocks[p.block].1[from..from + len];
        let differ = bytes.iter().zip(model).position(|(a, b)| a != b);
        assert!(
            differ.is_none(),
            "{:p}: byte {} of {p:?} is {} and should be {}",
            ptr,
            from + differ.unwrap(),
            bytes[differ.unwrap()],
            model[differ.unwrap()]
        );
    }

    fn launch(&self, device: usize, kernel: KernelId, args: &[LaunchArg]) {
        let config = LaunchConfig { stream: self.streams[device], ..LaunchConfig::default() };
        // SAFETY: the callers' arguments fit their kernels.
        unsafe { raw::launch(kernel, &config, args).unwrap() };
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Write(p, v) => {
                let (ptr, from, len) = self.at(p);
                // SAFETY: inside the block.
                unsafe { core::ptr::write_bytes(ptr, v, len) };
                self.blocks[p.block].1[from..from + len].fill(v);
            }
            Op::Read(p) => self.check(p),
            Op::Migrate(p, to) => {
                let to = place(to);
                let (ptr, _, len) = self.at(p);
                if len % 2 == 0 {
                    raw::migrate(ptr, len, to).unwrap(); // a prefetch that is still queued may move it again
                    return;
                }
                self.streams.iter().for_each(|s| raw::stream_synchronize(*s).unwrap());
                let moved = raw::migrate(ptr, len, to).unwrap();
                assert!(moved <= len / 4096 + 2);
                let mut pages = vec![Page::default(); len / 4096 + 2];
                raw::query(ptr, len, &mut pages).unwrap();
                let on = if to == HMM_HOST { Page::HOST | Page::UNTOUCHED } else { Page::DEVICE };
                assert!(pages[0].flags & on != 0, "{:?}", pages[0]);
            }
            Op::Prefetch(p, to, s) => {
                let to = place(to);
                let (ptr, _, len) = self.at(p);
                raw::prefetch(ptr, len, to, self.streams[s]).unwrap();
            }
            Op::Add(p, v, d) | Op::Fill(p, v, d) => {
                let (ptr, from, len) = self.at(p);
                let n = len as u64;
                let add = matches!(op, Op::Add(..));
                let mode = if add { AccessMode::ReadWrite } else { AccessMode::Write };
                let kernel = if add { self.add[d] } else { self.fill[d] };
                self.launch(
                    d,
                    kernel,
                    &[
                        LaunchArg::Pointer { ptr, len, mode },
                        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
                        LaunchArg::Value { data: (&raw const v).cast(), size: 1 },
                    ],
                );
                let model = &mut self.blocks[p.block].1[from..from + len];
                model.iter_mut().for_each(|b| *b = if add { b.wrapping_add(v) } else { v });
            }
            Op::Sum(p, d) => self.sum(p, d),
            Op::HostReady(p, write) => {
                let (ptr, _, len) = self.at(p);
                raw::host_ready(ptr, len, if write { AccessMode::Write } else { AccessMode::Read }).unwrap();
            }
            Op::Discard(p) => {
                let (ptr, from, len) = self.at(p);
                // SAFETY: the model forgets the bytes too.
                unsafe { raw::discard(ptr, len).unwrap() };
                let (start, end) = ((ptr as usize).next_multiple_of(4096), (ptr as usize + len) & !4095);
                if start < end {
                    let first = from + start - ptr as usize;
                    self.blocks[p.block].1[first..first + (end - start)].fill(0);
                }
            }
            Op::Advise(p, random) => {
                let (ptr, _, len) = self.at(p);
                raw::advise(ptr, len, if random { Advice::Random } else { Advice::UnsetPattern }, HMM_HOST)
                    .unwrap();
                raw::advise(ptr, len, if random { Advice::UnsetReadMostly } else { Advice::ReadMostly }, 0)
                    .unwrap();
            }
            Op::Pin(p) => {
                let (ptr, _, len) = self.at(p);
                raw::pin(ptr, len).unwrap();
                assert!(matches!(raw::migrate(ptr, len, common::two_devices()[1]), Err(Error::Busy { .. })));
                self.check(p);
                raw::unpin(ptr, len).unwrap();
            }
            Op::ReadOnly(b) => self.read_only(b),
            Op::Realloc(b, size) => {
                let (ptr, model) = &mut self.blocks[b];
                let old = model.len();
                // SAFETY: the old pointer is forgotten.
                *ptr = unsafe { raw::realloc(*ptr, SIZES[size]).unwrap() };
                model.resize(SIZES[size], 0);
                if SIZES[size] > old {
                    // SAFETY: the new bytes, which have no defined value.
                    unsafe { core::ptr::write_bytes(ptr.add(old), 0, SIZES[size] - old) };
                }
            }
            Op::Replace(b, size) => {
                // SAFETY: the old pointer is forgotten.
                unsafe { raw::free(self.blocks[b].0).unwrap() };
                self.blocks[b] = (raw::calloc(SIZES[size], 1).unwrap(), vec![0; SIZES[size]]);
            }
            Op::Copy(a, b, d) => {
                let ((from, at, n), (to, start, m)) = (self.at(a), self.at(b));
                if a.block != b.block {
                    let n = n.min(m) as u64;
                    self.launch(
                        d,
                        self.copy[d],
                        &[
                            LaunchArg::Pointer { ptr: to, len: n as usize, mode: AccessMode::Write },
                            LaunchArg::Pointer { ptr: from, len: n as usize, mode: AccessMode::Read },
                            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
                        ],
                    );
                    let source = self.blocks[a.block].1[at..at + n as usize].to_vec();
                    self.blocks[b.block].1[start..start + n as usize].copy_from_slice(&source);
                }
            }
            Op::Synchronize(d) => raw::stream_synchronize(self.streams[d]).unwrap(),
        }
    }

    /// The device's checksum of a part against one of the model's bytes.
    fn sum(&mut self, p: Part, d: usize) {
        let (ptr, from, len) = self.at(p);
        // SAFETY: a live block of 8 bytes.
        unsafe { self.out.cast::<u64>().write_volatile(0) };
        let n = len as u64;
        self.launch(
            d,
            self.checksum[d],
            &[
                LaunchArg::Pointer { ptr: self.out, len: 8, mode: AccessMode::ReadWrite },
                LaunchArg::Pointer { ptr, len, mode: AccessMode::Read },
                LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            ],
        );
        let mut expected = 0u64;
        for (i, w) in self.blocks[p.block].1[from..from + len].chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..w.len()].copy_from_slice(w);
            let mut z =
                u64::from_le_bytes(word).wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            expected = expected.wrapping_add(z ^ (z >> 31));
        }
        // SAFETY: as above; the read waits for the kernel.
        assert_eq!(unsafe { self.out.cast::<u64>().read_volatile() }, expected, "checksum of {p:?}");
    }

    /// The program's own read-only protection survives a round trip, and devices may not write.
    fn read_only(&mut self, b: usize) {
        let p = Part { block: b, from: 0, len: 1000 };
        let (ptr, _, len) = self.at(p);
        // SAFETY: nobody writes the block meanwhile.
        unsafe { raw::protect(ptr, len, Protection::Read).unwrap() };
        raw::migrate(ptr, len, common::two_devices()[1]).unwrap();
        self.check(p);
        let n = len as u64;
        let config = LaunchConfig::default();
        let args = [
            LaunchArg::Pointer { ptr, len, mode: AccessMode::ReadWrite },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const n).cast(), size: 1 },
        ];
        // SAFETY: refused before anything runs.
        let refused = unsafe { raw::launch(self.add[0], &config, &args) };
        assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
        raw::host_ready(ptr, len, AccessMode::Write).unwrap();
        let mut pages = vec![Page::default(); len.div_ceil(4096)];
        raw::query(ptr, len, &mut pages).unwrap();
        assert!(pages.iter().all(|p| p.flags & (Page::READ | Page::WRITE) == Page::READ), "{pages:?}");
        // SAFETY: as above.
        unsafe { raw::protect(ptr, len, Protection::ReadWrite).unwrap() };
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for b in 0..self.blocks.len() {
            if !std::thread::panicking() {
                self.check(Part { block: b, from: 0, len: 1000 });
            }
            // SAFETY: not used any more.
            unsafe { raw::free(self.blocks[b].0).unwrap() };
        }
        // SAFETY: not used any more.
        unsafe { raw::free(self.out).unwrap() };
        self.streams.iter().for_each(|s| raw::stream_destroy(*s).unwrap());
        if !std::thread::panicking() {
            assert_eq!(raw::stats().managed_bytes, 0);
            common::reasons();
        }
    }
}

#[test]
fn random_operations_match_plain_memory() {
    raw::init(Some(common::config())).unwrap();
    let cases = (250.0 * common::scale()) as u32;
    let config =
        ProptestConfig { cases, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() };
    let counted = std::cell::Cell::new(0);
    proptest!(config, |(ops in proptest::collection::vec(op(), 300..600))| {
        let mut world = World::new();
        for (i, op) in ops.iter().enumerate() {
            if std::env::var_os("HMMRT_TEST_OPS").is_some() {
                eprintln!("{i} {op:?}");
            }
            world.run(op);
        }
        counted.set(counted.get() + ops.len());
    });
    eprintln!("{} operations", counted.get());
}
