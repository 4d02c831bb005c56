//! io_uring, as far as it is entered by a call that passes by here: what the entries name that are about to be submitted is
//! pinned to the host. Completions are read from shared memory, unseen; but both queues' counters say when nothing is on its
//! way any more, and then all is let go. Rings are looked at through mappings of our own. Any thread.

use super::flight::{self, Pin, Pins};
use super::mask::Quiet;
use crate::given;
use core::ffi::c_long;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use std::sync::{Mutex, MutexGuard};

/// The head of `struct io_uring_params` (linux/io_uring.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    _cpu: u32,
    _idle: u32,
    _features: u32,
    _wq_fd: u32,
    _reserved: [u32; 3],
    sq: SqOffsets,
    cq: CqOffsets,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    _ring_entries: u32,
    _flags: u32,
    _dropped: u32,
    array: u32,
    _reserved: u32,
    user: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CqOffsets {
    _head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    _overflow: u32,
    cqes: u32,
    _flags: u32,
    _reserved: u32,
    user: u64,
}

const SQPOLL: u32 = 1 << 1;
const SQE128: u32 = 1 << 10;
const CQE32: u32 = 1 << 11;
const NO_MMAP: u32 = 1 << 14;
const REGISTERED_FD_ONLY: u32 = 1 << 15;
const NO_SQARRAY: u32 = 1 << 16;

/// Mappings of our own.
struct Maps(Vec<(usize, usize)>);

impl Maps {
    /// A new one of what the descriptor has at `at`; where it is.
    fn add(&mut self, fd: i32, len: usize, at: i64) -> Option<usize> {
        let (prot, shared) = (libc::PROT_READ, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a new mapping; of what, the descriptor says.
        let to = unsafe { libc::mmap(core::ptr::null_mut(), len, prot, shared, fd, at) };
        (to != libc::MAP_FAILED).then(|| {
            self.0.push((to.expose_provenance(), len));
            to.expose_provenance()
        })
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        for (at, len) in self.0.drain(..) {
            // SAFETY: mappings of our own, used only through their ring, which goes with them.
            unsafe { libc::munmap(core::ptr::with_exposed_provenance_mut(at), len) };
        }
    }
}

/// A ring that the program has made.
struct Ring {
    fd: i32,
    sq_head: usize,
    sq_tail: usize,
    sq_mask: u32,
    /// 0: entries are taken in order.
    array: usize,
    sqes: usize,
    sqe_size: usize,
    cq_tail: usize,
    cq_mask: u32,
    cqes: usize,
    cqe_size: usize,
    /// What the addresses above are in.
    _maps: Maps,
    /// The completions that were looked at, and how many of them say that more will come for the same entry.
    seen: u32,
    more: u32,
    /// Completions went by unseen: nothing is known of what is on its way.
    lost: bool,
    /// What is pinned, and the head of the submission queue once its entry is taken.
    pins: Vec<(u32, Pin)>,
}

// A ring's memory outlives it here: it is our own mapping.
static RINGS: Mutex<Vec<Ring>> = Mutex::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

fn rings() -> MutexGuard<'static, Vec<Ring>> {
    RINGS.lock().unwrap_or_else(|e| e.into_inner())
}

/// A counter in a ring.
///
/// # Safety
/// Within a mapping of a ring.
unsafe fn counter(at: usize) -> u32 {
    // SAFETY: the caller's promise; the kernel writes it, too.
    unsafe { AtomicU32::from_ptr(core::ptr::with_exposed_provenance_mut(at)) }.load(Acquire)
}

/// # Safety
/// Within a mapping of a ring, or in an entry.
unsafe fn word<T: Copy>(at: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::with_exposed_provenance::<T>(at).read_volatile() }
}

impl Ring {
    /// # Safety
    /// What io_uring_setup has answered.
    unsafe fn new(fd: i32, p: &Params) -> Option<Ring> {
        let sqe_size = if p.flags & SQE128 != 0 { 128 } else { 64 };
        let cqe_size = if p.flags & CQE32 != 0 { 32 } else { 16 };
        let sq_bytes = p.sq.array as usize + p.sq_entries as usize * 4;
        let cq_bytes = p.cq.cqes as usize + p.cq_entries as usize * cqe_size;
        let sqe_bytes = p.sq_entries as usize * sqe_size;
        let mut maps = Maps(Vec::new());
        let (sq, cq, sqes) = if p.flags & NO_MMAP != 0 {
            // The program's own memory, which the kernel keeps using.
            flight::pin(p.cq.user as usize, cq_bytes.max(sq_bytes));
            flight::pin(p.sq.user as usize, sqe_bytes);
            (p.cq.user as usize, p.cq.user as usize, p.sq.user as usize)
        } else {
            // linux/io_uring.h: IORING_OFF_SQ_RING, _CQ_RING, _SQES.
            (
                maps.add(fd, sq_bytes, 0)?,
                maps.add(fd, cq_bytes, 0x800_0000)?,
                maps.add(fd, sqe_bytes, 0x1000_0000)?,
            )
        };
        // SAFETY: offsets that the kernel gave.
        unsafe {
            debug_assert_eq!(word::<u32>(cq + p.cq.ring_entries as usize), p.cq_entries);
            Some(Ring {
                fd,
                sq_head: sq + p.sq.head as usize,
                sq_tail: sq + p.sq.tail as usize,
                sq_mask: word(sq + p.sq.ring_mask as usize),
                array: if p.flags & NO_SQARRAY != 0 { 0 } else { sq + p.sq.array as usize },
                sqes,
                sqe_size,
                cq_tail: cq + p.cq.tail as usize,
                cq_mask: word(cq + p.cq.ring_mask as usize),
                cqes: cq + p.cq.cqes as usize,
                cqe_size,
                _maps: maps,
                seen: 0,
                more: 0,
                lost: false,
                pins: Vec::new(),
            })
        }
    }

    /// Pins what the next `count` entries name.
    fn submit(&mut self, count: u32) {
        // SAFETY: mappings of the ring; what the entries name the program says.
        unsafe {
            let (head, tail) = (counter(self.sq_head), counter(self.sq_tail));
            for i in 0..count.min(tail.wrapping_sub(head)).min(self.sq_mask + 1) {
                let at = head.wrapping_add(i);
                let slot = at & self.sq_mask;
                let index = match self.array {
                    0 => slot,
                    array => word::<u32>(array + slot as usize * 4),
                };
                if index > self.sq_mask {
                    continue;
                }
                let mut pins = Pins::default();
                entry(self.sqes + index as usize * self.sqe_size, &mut pins);
                let taken = at.wrapping_add(1);
                self.pins.extend(pins.0.into_iter().map(|pin| (taken, pin)));
            }
        }
    }

    /// Lets go of everything if nothing is on its way.
    fn settle(&mut self) {
        if self.pins.is_empty() && self.lost {
            return;
        }
        // SAFETY: mappings of the ring.
        unsafe {
            let tail = counter(self.cq_tail);
            if tail.wrapping_sub(self.seen) > self.cq_mask + 1 {
                self.lost = true;
            }
            while !self.lost && self.seen != tail {
                const F_MORE: u32 = 1 << 1;
                let at = self.cqes + (self.seen & self.cq_mask) as usize * self.cqe_size;
                self.more = self.more.wrapping_add(u32::from(word::<u32>(at + 12) & F_MORE != 0));
                self.seen = self.seen.wrapping_add(1);
            }
            // What was read may have been overwritten meanwhile.
            if counter(self.cq_tail).wrapping_sub(tail) > self.cq_mask {
                self.lost = true;
            }
            let head = counter(self.sq_head);
            if !self.lost && head == tail.wrapping_sub(self.more) {
                self.pins.retain(|(taken, pin)| {
                    let over = head.wrapping_sub(*taken) < 1 << 31;
                    if over {
                        flight::unpin(*pin);
                    }
                    !over
                });
            }
        }
    }
}

/// Pins what one submission queue entry names: by its operation where that says a length; otherwise what can be a
/// pointer is taken for one to something of this size at most.
///
/// # Safety
/// An entry of the program's.
unsafe fn entry(at: usize, pins: &mut Pins) {
    const LARGEST: usize = 1 << 16; // an extended attribute's value
    // SAFETY: the caller's promise.
    unsafe {
        let (opcode, off, addr) =
            (word::<u8>(at), word::<u64>(at + 8) as usize, word::<u64>(at + 16) as usize);
        let (fd, len, third) =
            (word::<i32>(at + 4), word::<u32>(at + 24) as usize, word::<u64>(at + 48) as usize);
        match opcode {
            1 | 2 => pins.vectors(addr, len),         // READV, WRITEV
            9 | 10 | 48 => pins.message(addr),        // SENDMSG, RECVMSG, SENDMSG_ZC
            4 | 5 | 22 | 23 => pins.range(addr, len), // READ_FIXED, WRITE_FIXED, READ, WRITE
            26 | 27 | 47 => {
                // SEND, RECV, SEND_ZC
                pins.range(addr, len);
                pins.range(off, LARGEST);
            }
            // PROVIDE_BUFFERS: the kernel has them until it has filled them, whenever that is.
            31 => drop(flight::pin(addr, len.saturating_mul(fd.max(0) as usize))),
            _ => [addr, off, third].iter().for_each(|p| pins.range(*p, LARGEST)),
        }
    }
}

/// What is done for one of them, around `call`, which answers as the kernel does.
///
/// # Safety
/// As the system call.
pub unsafe fn call(number: c_long, a: [usize; 6], call: impl FnOnce() -> isize) -> isize {
    // SAFETY: the caller's promise.
    unsafe {
        match number {
            libc::SYS_io_uring_setup => setup(a, call),
            libc::SYS_io_uring_enter => enter(a, call),
            _ => register(a, call),
        }
    }
}

/// # Safety
/// As io_uring_setup(2).
unsafe fn setup(a: [usize; 6], call: impl FnOnce() -> isize) -> isize {
    let params = core::ptr::with_exposed_provenance::<Params>(a[1]);
    let Some(asked) = (!params.is_null()).then(|| given::read(params)).flatten() else { return call() };
    // SAFETY: the caller's promise.
    unsafe {
        // Entries that a thread of the kernel's takes by itself can't be seen. Older kernels refuse both, so programs
        // know what to do.
        match asked.flags {
            flags if flags & SQPOLL != 0 => return -(libc::EPERM as isize),
            flags if flags & REGISTERED_FD_ONLY != 0 => return -(libc::EINVAL as isize),
            _ => {}
        }
        let answer = call();
        if answer >= 0 {
            let _quiet = Quiet::new();
            let ring = given::read(params).and_then(|p| Ring::new(answer as i32, &p));
            let mut all = rings();
            all.retain(|old| old.fd != answer as i32); // it was closed: its pins stay until their memory is freed
            all.extend(ring);
            ANY.store(true, Release);
        }
        answer
    }
}

/// # Safety
/// As io_uring_enter(2).
unsafe fn enter(a: [usize; 6], call: impl FnOnce() -> isize) -> isize {
    let with = |f: &mut dyn FnMut(&mut Ring)| {
        let _quiet = Quiet::new();
        rings().iter_mut().filter(|ring| ring.fd == a[0] as i32).for_each(f);
    };
    with(&mut |ring| {
        ring.settle();
        ring.submit(a[1] as u32);
    });
    let answer = call();
    with(&mut |ring| ring.settle());
    answer
}

/// # Safety
/// As io_uring_register(2).
unsafe fn register(a: [usize; 6], call: impl FnOnce() -> isize) -> isize {
    let (at, count) = (a[2], a[3]);
    let mut pins = Pins::default();
    // SAFETY: the caller's promise.
    unsafe {
        // Registered memory is the kernel's until it is unregistered: pinned until it is freed.
        match a[1] as u32 {
            // REGISTER_BUFFERS
            0 => pins.vectors(at, count),
            // REGISTER_BUFFERS2, REGISTER_BUFFERS_UPDATE
            15 | 16 if at != 0 => {
                let given = given::read(core::ptr::with_exposed_provenance::<[u64; 3]>(at));
                given.into_iter().for_each(|[count, _, at]| pins.vectors(at as usize, count as u32 as usize));
            }
            // REGISTER_RING_FDS, REGISTER_PBUF_RING: neither which ring is entered nor which memory is used would be
            // seen. Kernels before 5.18 do not know them, so programs do without.
            20 | 22 => return -(libc::EINVAL as isize),
            _ => {
                pins.range(at, 4096);
                let answer = call();
                pins.0.into_iter().for_each(flight::unpin);
                return answer;
            }
        }
    }
    call()
}

/// Lets go of what rings that are at rest have pinned.
pub fn settle() {
    if ANY.load(Acquire) {
        let _quiet = Quiet::new();
        rings().iter_mut().for_each(Ring::settle);
    }
}
