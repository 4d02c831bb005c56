//! userfaultfd as a fault engine: pages that are away are missing, pages that a device has a copy of are write-protected one
//! by one, and no mapping is ever split. This is the descriptor and what is asked of it; `migrate::watched` decides what,
//! `place` puts pages in place, `handler` answers messages, `keeper` owns the descriptor in case the program closes ours. Signal-safe, but for `start`
//! and `stop`.
//!
//! *Delivery*: the kernel sends the touching thread SIGBUS (`uffd`: nobody else is needed, and no privilege), or a message to
//! the handler's threads while the touching one waits (`uffd-thread`: the kernel's own accesses wait, too).

mod handler;
mod keeper;
mod place;
mod threads;

pub(crate) use place::{NOWHERE, place};
pub(crate) use threads::{note as note_thread, number_of};

use crate::addr::{ByteRange, HostAddr, PAGE};
use crate::config::FaultEngine;
use crate::error::{Error, Result};
use crate::fork;
use crate::log::log;
use crate::sys::segv::Verdict;
use crate::sys::uffd::{self as kernel, Mode, Request, feature};
use crate::sys::{own_file, thread};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};

/// How touches are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Delivery {
    /// Not at all: the engine is another.
    Off = 0,
    /// SIGBUS in the touching thread.
    Signal = 1,
    /// A message; the touching thread waits.
    Message = 2,
}

static DELIVERY: AtomicU8 = AtomicU8::new(Delivery::Off as u8);
/// The kernel has UFFDIO_MOVE.
static MOVES: AtomicBool = AtomicBool::new(false);

/// How touches are told now.
#[inline]
pub(crate) fn delivery() -> Delivery {
    match DELIVERY.load(Relaxed) {
        1 => Delivery::Signal,
        2 => Delivery::Message,
        _ => Delivery::Off,
    }
}

/// Whether nothing is watched: also in a forked child, where what is asked of the descriptor would happen to the parent.
pub(crate) fn is_off() -> bool {
    delivery() == Delivery::Off || thread::forked() || fork::is_forking() && !thread::is_owner()
}

/// What is chosen, in words.
pub(crate) fn describe() -> &'static str {
    match (delivery(), MOVES.load(Relaxed)) {
        (Delivery::Off, _) => "segv (page protection and SIGSEGV)",
        (Delivery::Signal, true) => "uffd (userfaultfd and SIGBUS, pages are moved)",
        (Delivery::Signal, false) => "uffd (userfaultfd and SIGBUS, pages are copied)",
        (Delivery::Message, true) => "uffd-thread (userfaultfd and messages, pages are moved)",
        (Delivery::Message, false) => "uffd-thread (userfaultfd and messages, pages are copied)",
    }
}

fn wanted(engine: FaultEngine) -> Option<(Delivery, Mode, u64)> {
    match engine {
        FaultEngine::Uffd => Some((Delivery::Signal, Mode::UserOnly, feature::SIGBUS)),
        FaultEngine::UffdThread => Some((Delivery::Message, Mode::Everything, feature::THREAD_ID)),
        FaultEngine::Auto | FaultEngine::Segv => None,
    }
}

fn open(mode: Mode, needed: u64) -> Result<(i32, u64)> {
    let (needed, optional) = (needed | feature::WRITE_PROTECT, feature::MOVE);
    let refused = |(call, errno)| {
        log!(Info, "userfaultfd: {}", Error::System { call, errno });
        let why = match (mode, errno) {
            (Mode::Everything, kernel::EPERM | kernel::EACCES) => {
                "userfaultfd for the kernel's own accesses needs /dev/userfaultfd, CAP_SYS_PTRACE or \
                 vm.unprivileged_userfaultfd=1"
            }
            (_, kernel::EPERM | kernel::EACCES) => "userfaultfd is forbidden here (seccomp, or its sysctl)",
            (_, kernel::ENOSYS) => "this kernel has no userfaultfd",
            _ => "userfaultfd cannot be opened here",
        };
        Error::Unsupported { what: "HMMRT_FAULT", why }
    };
    let (fd, offered) = kernel::open(mode, needed | optional).map_err(refused)?;
    if offered & needed != needed {
        crate::sys::close(fd);
        let why = "this kernel's userfaultfd lacks write protection, SIGBUS or thread numbers (Linux 5.7)";
        return Err(Error::Unsupported { what: "HMMRT_FAULT", why });
    }
    Ok((fd, offered))
}

/// What an engine can do here: with UFFDIO_MOVE or without, or why not at all. Opens nothing that stays open.
pub(crate) fn probe(engine: FaultEngine) -> Result<bool> {
    let Some((_, mode, needed)) = wanted(engine) else { return Ok(false) };
    let (fd, offered) = open(mode, needed)?;
    crate::sys::close(fd);
    Ok(offered & feature::MOVE != 0)
}

/// The running engine's threads, beside the keeper.
pub(crate) struct Threads {
    handler: Option<handler::Handler>,
}

/// Starts the engine, if it is one of these. `moves`: use UFFDIO_MOVE if the kernel has it.
pub(crate) fn start(engine: FaultEngine, moves: bool) -> Result<Option<Threads>> {
    let Some((delivery, mode, needed)) = wanted(engine) else { return Ok(None) };
    let (fd, offered) = open(mode, needed)?;
    let fd = kernel::out_of_the_way(fd);
    MOVES.store(moves && offered & feature::MOVE != 0, Relaxed);
    own_file::set(fd);
    let system =
        |e: std::io::Error| Error::System { call: "starting a thread", errno: e.raw_os_error().unwrap_or(0) };
    let messages = delivery == Delivery::Message;
    handler::begin();
    let started = keeper::start(messages).map_err(system).and_then(|()| {
        match messages.then(|| handler::Handler::start(fd)).transpose() {
            Ok(handler) => Ok(Threads { handler }),
            Err(e) => {
                keeper::stop();
                Err(e)
            }
        }
    });
    match started {
        Ok(threads) => {
            static ONCE: std::sync::Once = std::sync::Once::new();
            ONCE.call_once(|| thread::at_fork(None, None, Some(in_forked_child)));
            DELIVERY.store(delivery as u8, SeqCst);
            Ok(Some(threads))
        }
        Err(e) => {
            own_file::close(false);
            Err(e)
        }
    }
}

/// Ends the engine: nothing is away any more. What was watched, all of it in `ranges`, is ordinary memory from here on: not
/// only with the last descriptor, for children that have not closed theirs yet keep the kernel's watch alive, and whoever
/// starts next could not watch the same memory.
pub(crate) fn stop(threads: Threads, ranges: impl Iterator<Item = ByteRange>) {
    ranges.for_each(|range| _ = unwatch_all(range));
    DELIVERY.store(Delivery::Off as u8, SeqCst);
    if let Some(handler) = threads.handler {
        handler.stop();
    }
    own_file::close(false);
    keeper::stop(); // whose descriptor is the last: its end unwatches all
    handler::join_replacements();
}

/// The child's copy of the descriptor watches the parent. `shared`: it is no copy, the parent's descriptors are the child's, too.
pub(crate) fn in_child(shared: bool) {
    DELIVERY.store(Delivery::Off as u8, SeqCst);
    own_file::close(shared);
}

extern "C" fn in_forked_child() {
    in_child(false);
}

/// Makes a request, by the keeper's descriptor if the program has closed ours.
#[cfg_attr(feature = "inject", track_caller)]
fn make(request: &mut Request) -> i32 {
    let errno = request.make(own_file::number());
    if kernel::NOT_THIS.contains(&errno) { keeper::make(request).unwrap_or(errno) } else { errno }
}

fn answer(errno: i32, call: &'static str, bytes: usize) -> Result<()> {
    match errno {
        0 => Ok(()),
        kernel::ENOMEM => Err(Error::NoMemory { what: call, bytes }),
        errno => Err(Error::System { call, errno }),
    }
}

/// Watches pages from here on, which are all there or never were.
pub(crate) fn watch(range: ByteRange) -> Result<()> {
    let errno = make(&mut Request::register(HostAddr(range.start), range.len()));
    answer(errno, "UFFDIO_REGISTER", range.len())
}

/// Watches pages no more; what is missing reads as zeros. Whether that worked.
pub(crate) fn unwatch(range: ByteRange) -> bool {
    make(&mut Request::unregister(HostAddr(range.start), range.len())) == 0
}

/// [`unwatch`], for ranges with holes and mappings that can't be watched: they are refused as a whole. Whether nothing there is
/// watched any more.
pub(crate) fn unwatch_all(range: ByteRange) -> bool {
    match make(&mut Request::unregister(HostAddr(range.start), range.len())) {
        0 => true,
        errno if range.len() > PAGE => {
            let middle = range.start + half(range.len());
            let first = unwatch_all(ByteRange { start: range.start, end: middle });
            unwatch_all(ByteRange { start: middle, end: range.end }) && first && errno != kernel::ENOMEM
        }
        errno => errno != kernel::ENOMEM,
    }
}

/// Half of `len` in whole pages: requests that meet more than one mapping are refused as if nothing were watched there, by all
/// kernels or by older ones, and have to be made one mapping at a time.
fn half(len: usize) -> usize {
    (len / 2).next_multiple_of(PAGE)
}

/// Write-protects what is there of these pages, or lets it be written. Pages that were never watched can be written.
pub(crate) fn protect(at: HostAddr, len: usize, on: bool) -> Result<()> {
    let (mut done, mut most) = (0, len);
    while done < len {
        let step = most.min(len - done);
        match make(&mut Request::write_protect(at.add(done), step, on)) {
            kernel::EAGAIN => {} // the address space is changing (fork): it says so without having done anything
            kernel::ENOENT if step > PAGE => most = half(step),
            kernel::ENOENT if !on => done += step,
            0 => done += step,
            errno => return answer(errno, "UFFDIO_WRITEPROTECT", len),
        }
    }
    Ok(())
}

/// Puts zero pages where there are none.
pub(crate) fn zero(at: HostAddr, len: usize) -> Result<()> {
    let (mut done, mut most) = (0, len);
    while done < len {
        let step = most.min(len - done);
        let mut request = Request::zero(at.add(done), step);
        match make(&mut request) {
            0 => done += step,
            kernel::EAGAIN => done += request.done(),
            kernel::EEXIST => done += request.done().max(PAGE),
            kernel::ENOENT if step > PAGE => most = half(step),
            errno => return answer(errno, "UFFDIO_ZEROPAGE", step),
        }
    }
    Ok(())
}

/// [`zero`], for pages some of which may not be watched: nothing is said then, and some of the others may not be there.
pub(crate) fn zero_if_watched(at: HostAddr, len: usize) -> Option<Result<()>> {
    match zero(at, len) {
        Err(Error::System { errno: kernel::ENOENT, .. }) => None,
        done => Some(done),
    }
}

/// Lets run again who waits for a page.
pub(crate) fn wake(addr: HostAddr) {
    make(&mut Request::wake(HostAddr(addr.0 & !(PAGE - 1)), PAGE));
}

/// Lets run again whoever waits for a page: who still has to is told of anew.
fn wake_all() {
    kernel::everything().any(|(at, len)| make(&mut Request::wake(at, len)) == 0);
}

/// Sees to it that touches are answered, if the program has ended the threads that do it, the keeper among them. On every call
/// that uses a device. API context.
#[inline]
pub(crate) fn look_after() {
    if delivery() == Delivery::Message && keeper::has_died() {
        keeper::replace();
    }
}

/// Zeros to copy from.
#[repr(align(4096))]
struct Zeros([u8; PAGE]);
static ZEROS: Zeros = Zeros([0; PAGE]);

/// Puts zero pages where there are none, write-protected from the first moment on: a device has copies of them.
pub(crate) fn zero_protected(at: HostAddr, len: usize) -> Result<()> {
    let from = HostAddr(core::ptr::from_ref(&ZEROS.0).expose_provenance());
    for page in (0..len).step_by(PAGE) {
        loop {
            match make(&mut Request::copy(at.add(page), from, PAGE, true)) {
                0 | kernel::EEXIST => break,
                kernel::EAGAIN => {}
                errno => return answer(errno, "UFFDIO_COPY", PAGE),
            }
        }
    }
    Ok(())
}

/// A page is missing that should be on the host: it was never touched, or the program has given it up. It is zero; who
/// writes it is noticed.
pub(crate) fn fill_hole(addr: HostAddr) -> Verdict {
    match zero_protected(HostAddr(addr.0 & !(PAGE - 1)), PAGE) {
        Ok(()) => Verdict::Resolved,
        Err(_) => Verdict::Bus("there is no memory for the page"),
    }
}

/// Says that the calling thread reads pages of the chunk at `at`, which it has locked: a touch of a page that is gone must not
/// wait for that lock.
pub(crate) fn reading(at: HostAddr) -> Option<threads::Reading> {
    (delivery() == Delivery::Message).then(|| threads::Reading::begin(at))
}
