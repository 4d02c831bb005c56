//! userfaultfd(2): the descriptor, and its requests as the kernel has them (linux/userfaultfd.h). Called by `uffd`, which
//! knows whose descriptor it is. Plain system calls: signal-safe. Written out here because the crate of that name needs
//! libclang to build and does not know UFFDIO_MOVE.

use super::kernel;
use crate::addr::HostAddr;
use core::ffi::{c_int, c_ulong};

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Touches of user space only: anybody may have it.
    UserOnly,
    /// The kernel's own accesses, too: needs a privilege.
    Everything,
}

/// Features, as UFFDIO_API names them.
pub(crate) mod feature {
    /// Write-protection faults.
    pub(crate) const WRITE_PROTECT: u64 = 1 << 0;
    /// SIGBUS in the faulting thread instead of a message.
    pub(crate) const SIGBUS: u64 = 1 << 7;
    /// Messages say which thread.
    pub(crate) const THREAD_ID: u64 = 1 << 8;
    /// UFFDIO_MOVE (Linux 6.8).
    pub(crate) const MOVE: u64 = 1 << 16;
}

const API: c_ulong = 0xC018_AA3F;
const REGISTER: c_ulong = 0xC020_AA00;
const UNREGISTER: c_ulong = 0x8010_AA01;
const WAKE: c_ulong = 0x8010_AA02;
const COPY: c_ulong = 0xC028_AA03;
const ZEROPAGE: c_ulong = 0xC020_AA04;
const MOVE: c_ulong = 0xC028_AA05;
const WRITE_PROTECT: c_ulong = 0xC018_AA06;
/// Of /dev/userfaultfd.
const NEW: c_ulong = 0xAA00;

const USER_MODE_ONLY: c_int = 1;
const FLAGS: c_int = libc::O_CLOEXEC | libc::O_NONBLOCK;

/// "Try again": some of it is done.
pub(crate) const EAGAIN: i32 = libc::EAGAIN;
/// A page is there already.
pub(crate) const EEXIST: i32 = libc::EEXIST;
/// There is no such thing at this descriptor: it is not ours any more, or the range is not what it should be.
pub(crate) const NOT_THIS: [i32; 4] = [libc::EBADF, libc::ENOTTY, libc::EINVAL, libc::EPERM];
/// No memory.
pub(crate) const ENOMEM: i32 = libc::ENOMEM;
/// It is not watched.
pub(crate) const ENOENT: i32 = libc::ENOENT;
pub(crate) use libc::{EACCES, ENOSYS, EPERM};

/// A request and its argument: at most five words, of which the kernel writes some.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    number: c_ulong,
    words: [u64; 5],
    /// Which word says how far it came.
    progress: Option<usize>,
}

impl Request {
    /// Watches pages: missing ones and write-protected ones.
    pub(crate) fn register(at: HostAddr, len: usize) -> Request {
        Request { number: REGISTER, words: [at.0 as u64, len as u64, 1 | 2, 0, 0], progress: None }
    }
    /// Watches them no more; who waits there runs again.
    pub(crate) fn unregister(at: HostAddr, len: usize) -> Request {
        Request { number: UNREGISTER, words: [at.0 as u64, len as u64, 0, 0, 0], progress: None }
    }
    /// Who waits there runs again.
    pub(crate) fn wake(at: HostAddr, len: usize) -> Request {
        Request { number: WAKE, words: [at.0 as u64, len as u64, 0, 0, 0], progress: None }
    }
    /// Puts copies of pages where there are none, write-protected if asked.
    pub(crate) fn copy(to: HostAddr, from: HostAddr, len: usize, protected: bool) -> Request {
        let words = [to.0 as u64, from.0 as u64, len as u64, if protected { 2 } else { 0 }, 0];
        Request { number: COPY, words, progress: Some(4) }
    }
    /// Puts the pages themselves there, writable; they are gone from where they were.
    pub(crate) fn move_pages(to: HostAddr, from: HostAddr, len: usize) -> Request {
        let words = [to.0 as u64, from.0 as u64, len as u64, 0, 0];
        Request { number: MOVE, words, progress: Some(4) }
    }
    /// Puts zero pages where there are none.
    pub(crate) fn zero(at: HostAddr, len: usize) -> Request {
        Request { number: ZEROPAGE, words: [at.0 as u64, len as u64, 0, 0, 0], progress: Some(3) }
    }
    /// Write-protects the pages that are there, or lets them be written.
    pub(crate) fn write_protect(at: HostAddr, len: usize, on: bool) -> Request {
        Request {
            number: WRITE_PROTECT,
            words: [at.0 as u64, len as u64, u64::from(on), 0, 0],
            progress: None,
        }
    }

    /// Makes the request of `fd`: 0, or the error.
    #[cfg_attr(feature = "inject", track_caller)]
    pub(crate) fn make(&mut self, fd: c_int) -> i32 {
        if let Some(word) = self.progress {
            self.words[word] = 0; // refused requests say nothing of how far they came
        }
        // SAFETY: the argument has room for the largest of these requests; the kernel checks the ranges, which are pages
        // that the caller owns.
        let answer = unsafe { kernel::ioctl(fd, self.number, self.words.as_mut_ptr()) };
        if answer < 0 { super::errno() } else { 0 }
    }

    /// How many bytes were done.
    pub(crate) fn done(&self) -> usize {
        self.progress.map_or(0, |word| usize::try_from(self.words[word] as i64).unwrap_or(0))
    }
}

/// A new descriptor with the features `wanted` (all of the kernel's are asked for first: 0 in `wanted` is only a look).
/// What the kernel has, beside it; or the call that failed, and its error.
pub(crate) fn open(mode: Mode, wanted: u64) -> Result<(c_int, u64), (&'static str, i32)> {
    let offered = {
        let fd = create(mode)?;
        let offered = handshake(fd, 0);
        super::close(fd);
        offered?
    };
    let fd = create(mode)?;
    match handshake(fd, wanted & offered) {
        Ok(_) => Ok((fd, offered)),
        Err(e) => {
            super::close(fd);
            Err(e)
        }
    }
}

fn create(mode: Mode) -> Result<c_int, (&'static str, i32)> {
    let flags = FLAGS | if mode == Mode::UserOnly { USER_MODE_ONLY } else { 0 };
    // SAFETY: no memory is involved.
    let fd = unsafe { kernel::call(libc::SYS_userfaultfd, [flags as usize, 0, 0, 0, 0, 0]) };
    if fd >= 0 {
        return Ok(fd as c_int);
    }
    let refused = ("userfaultfd", super::errno());
    let device = kernel::open(c"/dev/userfaultfd", libc::O_RDWR | libc::O_CLOEXEC);
    if device < 0 {
        return Err(refused);
    }
    // SAFETY: the request takes flags, not an address.
    let fd =
        unsafe { kernel::call(libc::SYS_ioctl, [device as usize, NEW as usize, flags as usize, 0, 0, 0]) };
    let error = ("/dev/userfaultfd", super::errno());
    super::close(device);
    if fd >= 0 { Ok(fd as c_int) } else { Err(error) }
}

fn handshake(fd: c_int, features: u64) -> Result<u64, (&'static str, i32)> {
    let mut words = [0xAA, features, 0];
    // SAFETY: the argument is valid for the request's three words.
    if unsafe { kernel::ioctl(fd, API, words.as_mut_ptr()) } < 0 {
        return Err(("UFFDIO_API", super::errno()));
    }
    Ok(words[1])
}

/// The same descriptor with a high number: a program that closes one expects the lowest to be the next it gets.
pub(crate) fn out_of_the_way(fd: c_int) -> c_int {
    for lowest in [1000, 200, 60] {
        // SAFETY: no memory is involved.
        let moved = unsafe {
            kernel::call(libc::SYS_fcntl, [fd as usize, libc::F_DUPFD_CLOEXEC as usize, lowest, 0, 0, 0])
        };
        if moved >= 0 {
            super::close(fd);
            return moved as c_int;
        }
    }
    fd
}

/// The whole address space, as machines may have it: the kernel takes the first that is not more than there is.
pub(crate) fn everything() -> impl Iterator<Item = (HostAddr, usize)> {
    // Up to the last page; from vm.mmap_min_addr on, which nothing can be mapped below.
    const STARTS: [usize; 4] = [4 << 10, 32 << 10, 64 << 10, 1 << 20];
    let ends = [56, 52, 48, 47, 42, 39].into_iter().flat_map(|bits| [1 << bits, (1 << bits) - (4 << 10)]);
    ends.flat_map(|end: usize| STARTS.map(|start| (HostAddr(start), end - start)))
}

/// A touch that a message tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// Where.
    pub(crate) addr: HostAddr,
    /// Whether it writes.
    pub(crate) write: bool,
    /// The kernel's number of the thread, 0 if it does not say.
    pub(crate) thread: u32,
}

/// Reads messages into `to`, as many as there are and have room; 0 when there is none.
pub(crate) fn read(fd: c_int, to: &mut [Message; 16]) -> usize {
    let mut raw = [[0u64; 4]; 16];
    let size = size_of_val(&raw);
    // SAFETY: the buffer is valid for its size.
    let n = unsafe {
        kernel::call(libc::SYS_read, [fd as usize, raw.as_mut_ptr().expose_provenance(), size, 0, 0, 0])
    };
    let mut count = 0;
    for m in raw.iter().take(usize::try_from(n).unwrap_or(0) / 32) {
        // event (1 byte: 0x12 is a page fault) | flags | address | thread
        if m[0] & 0xFF == 0x12 {
            to[count] = Message {
                addr: HostAddr(m[2] as usize),
                write: m[1] & (1 | 2) != 0, // a write, or of a write-protected page
                thread: m[3] as u32,
            };
            count += 1;
        }
    }
    count
}

/// Waits a moment.
pub(crate) fn pause(ns: u64) {
    let t = libc::timespec { tv_sec: 0, tv_nsec: ns.min(999_999_999) as i64 };
    // SAFETY: a valid duration.
    unsafe { kernel::raw(libc::SYS_nanosleep, [core::ptr::from_ref(&t).expose_provenance(), 0, 0, 0, 0, 0]) };
}

/// Waits until there is a message, or `timeout_ns` have passed (`None`: for as long as it takes).
pub(crate) fn wait(fd: c_int, timeout_ns: Option<u64>) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let t = timeout_ns.map(|ns| libc::timespec { tv_sec: 0, tv_nsec: ns.min(999_999_999) as i64 });
    let t = t.as_ref().map_or(0, |t| core::ptr::from_ref(t).expose_provenance());
    // SAFETY: one entry, and a valid timeout or none.
    unsafe { kernel::raw(libc::SYS_ppoll, [(&raw mut poll).expose_provenance(), 1, t, 0, 0, 0]) };
}
