//! Borrows that say what a device does: [`Use`] and [`Arg`] name managed memory and how it is used; [`AccessGuard`] and
//! [`PinGuard`] hold it. Their lifetimes keep the CPU from memory that a device may be writing. API context only; one
//! list of open guards, whose lock is held for a look.

use crate::access::{Access, AccessMode};
use crate::addr::HostAddr;
use crate::error::{Error, Result};
use crate::handle::Stream;
use crate::launch::LaunchArg;
use crate::sys::signal::Blocked;
use crate::{raw, room, stream::StreamId};
use bytemuck::Pod;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

/// Managed memory that a device will use, and how. For [`Stream::acquire`].
#[derive(Debug)]
pub struct Use<'a> {
    access: Access,
    _borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> Use<'a> {
    fn new(ptr: *const u8, len: usize, mode: AccessMode) -> Use<'a> {
        Use { access: Access { ptr, len, mode }, _borrow: PhantomData }
    }

    /// The device reads it. So may the CPU, meanwhile.
    pub fn read<T: Pod>(memory: &'a [T]) -> Use<'a> {
        Use::new(memory.as_ptr().cast(), size_of_val(memory), AccessMode::Read)
    }

    /// The device writes all of it: the old bytes are given up and not copied to the device.
    pub fn write<T: Pod>(memory: &'a mut [T]) -> Use<'a> {
        Use::new(memory.as_mut_ptr().cast(), size_of_val(memory), AccessMode::Write)
    }

    /// The device reads it, and may write it.
    pub fn read_write<T: Pod>(memory: &'a mut [T]) -> Use<'a> {
        Use::new(memory.as_mut_ptr().cast(), size_of_val(memory), AccessMode::ReadWrite)
    }
}

/// An argument of a kernel. For [`Stream::launch`].
#[derive(Debug)]
pub struct Arg<'a> {
    arg: LaunchArg,
    _borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> Arg<'a> {
    fn pointer(part: Use<'a>) -> Arg<'a> {
        let Access { ptr, len, mode } = part.access;
        // An empty slice may point anywhere; the kernel gets a null pointer.
        let ptr = if len == 0 { core::ptr::null() } else { ptr };
        Arg { arg: LaunchArg::Pointer { ptr, len, mode }, _borrow: PhantomData }
    }

    /// A pointer to managed memory that the kernel reads.
    pub fn read<T: Pod>(memory: &'a [T]) -> Arg<'a> {
        Arg::pointer(Use::read(memory))
    }

    /// A pointer to managed memory that the kernel overwrites, all of it.
    pub fn write<T: Pod>(memory: &'a mut [T]) -> Arg<'a> {
        Arg::pointer(Use::write(memory))
    }

    /// A pointer to managed memory that the kernel reads, and may write.
    pub fn read_write<T: Pod>(memory: &'a mut [T]) -> Arg<'a> {
        Arg::pointer(Use::read_write(memory))
    }

    /// A value. It is copied when the kernel is launched.
    pub fn value<T: Pod>(value: &'a T) -> Arg<'a> {
        let arg = LaunchArg::Value { data: core::ptr::from_ref(value).cast(), size: size_of::<T>() };
        Arg { arg, _borrow: PhantomData }
    }

    pub(crate) fn get(&self) -> LaunchArg {
        self.arg
    }
}

/// The streams that have a guard, and its number: a release is for all that was acquired on a stream, so there is one guard at
/// a time.
static OPEN: Mutex<Open> = Mutex::new(Vec::new());
type Open = Vec<(i32, StreamId, u64)>;
static NUMBERS: AtomicU64 = AtomicU64::new(0);

fn open() -> MutexGuard<'static, Open> {
    OPEN.lock().unwrap_or_else(|e| e.into_inner())
}

/// Looks at the open guards. With signals blocked: a handler that waits for a guard's release must not find this thread with what that
/// needs.
fn with_open<T>(look: impl FnOnce(&mut Open) -> T) -> T {
    let _blocked = Blocked::new();
    look(&mut open())
}

/// Enters a guard, unless the stream has one already; whether it did.
fn enter(device: i32, stream: StreamId, number: u64) -> bool {
    let _blocked = Blocked::new();
    let mut open = room::for_one_more(open, |open| open);
    let is_first = open.iter().all(|(d, s, _)| (*d, *s) != (device, stream));
    if is_first {
        open.push((device, stream, number));
    }
    is_first
}

/// The stream is gone, and with it what a forgotten guard had acquired on it.
pub(crate) fn stream_ended(stream: &Stream) {
    let its = (stream.device().number(), stream.id());
    with_open(|open| open.retain(|(device, id, _)| (*device, *id) != its));
}

/// The runtime has ended, and nothing is acquired on any stream: guards that live on have nothing to release.
pub(crate) fn forget() {
    with_open(Vec::clear);
}

/// Memory that is resident on a device and stays there. Comes from [`Stream::acquire`]; dropping it, or
/// [`AccessGuard::release`], says that the device is done with the memory when the stream gets there.
///
/// While it lives the CPU can't touch what the device may write: the guard borrows it mutably.
///
/// ```compile_fail,E0502
/// # use hmmrt::{ManagedVec, Runtime, Use};
/// # let stream = Runtime::new()?.device(0)?.stream()?;
/// # let mut y = ManagedVec::<u32>::zeroed(16)?;
/// let guard = stream.acquire(vec![Use::write(&mut y)])?;
/// assert_eq!(y[0], 0); // the device may be writing it
/// guard.release()?;
/// # Ok::<(), hmmrt::Error>(())
/// ```
///
/// Nor can the memory be freed, or grow to another place:
///
/// ```compile_fail,E0505
/// # use hmmrt::{ManagedVec, Runtime, Use};
/// # let stream = Runtime::new()?.device(0)?.stream()?;
/// # let x = ManagedVec::<u32>::zeroed(16)?;
/// let guard = stream.acquire(vec![Use::read(&x)])?;
/// drop(x); // the device may be reading it
/// guard.release()?;
/// # Ok::<(), hmmrt::Error>(())
/// ```
///
/// ```compile_fail,E0502
/// # use hmmrt::{ManagedVec, Runtime, Use};
/// # let stream = Runtime::new()?.device(0)?.stream()?;
/// # let mut x = ManagedVec::<u32>::zeroed(16)?;
/// let guard = stream.acquire(vec![Use::read(&x)])?;
/// x.push(1)?;
/// guard.release()?;
/// # Ok::<(), hmmrt::Error>(())
/// ```
///
/// What two uses share can't be written by one of them:
///
/// ```compile_fail,E0502
/// # use hmmrt::{ManagedVec, Runtime, Use};
/// # let stream = Runtime::new()?.device(0)?.stream()?;
/// # let mut x = ManagedVec::<u32>::zeroed(16)?;
/// let guard = stream.acquire(vec![Use::read(&x), Use::write(&mut x)])?;
/// # Ok::<(), hmmrt::Error>(())
/// ```
///
/// A guard that is forgotten ([`core::mem::forget`]) leaves the memory acquired: a touch of it by this thread raises
/// SIGBUS, other threads wait, and freeing it fails, so that it leaks. The next acquire on the stream is an error;
/// dropping the stream, or [`raw::release`], ends it.
///
/// The same goes for the rest of a page that is acquired for writing in part: borrow whole pages, or keep the CPU off
/// the rest. A guard stays on the thread that acquired it, so that such a touch is an error rather than an endless wait.
#[derive(Debug)]
#[must_use = "dropping it at once says that the device is done"]
pub struct AccessGuard<'a> {
    stream: &'a Stream,
    accesses: Vec<Access>,
    number: u64,
    _borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> AccessGuard<'a> {
    pub(crate) fn acquire(stream: &'a Stream, uses: Vec<Use<'a>>) -> Result<AccessGuard<'a>> {
        let accesses: Vec<Access> = uses.into_iter().map(|part| part.access).collect();
        let (device, id) = (stream.device().number(), stream.id());
        let number = NUMBERS.fetch_add(1, Relaxed);
        if !enter(device, id, number) {
            let addr = accesses.first().map_or(0, |a| a.ptr.addr());
            return Err(Error::Busy { arg: "stream", addr, why: "the stream has an access guard already" });
        }
        // SAFETY: the memory that may be overwritten is borrowed mutably for as long as the guard lives, and holds
        // values of a type that any bytes are valid for. If the guard is forgotten, nobody can touch it until the
        // runtime has released it. Ranges that are not managed are refused.
        let acquired = unsafe { raw::acquire(device, id, &accesses) };
        match acquired {
            Ok(()) => Ok(AccessGuard { stream, accesses, number, _borrow: PhantomData }),
            Err(e) => {
                stream_ended(stream);
                Err(e)
            }
        }
    }

    /// The device address of the memory of use number `index`, from 0 in the order of the acquire. Null for empty memory.
    ///
    /// Only device code may use it, until the guard's release in the order of the stream.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there are fewer uses.
    pub fn device_ptr(&self, index: usize) -> Result<*mut c_void> {
        match self.accesses.get(index) {
            None => Err(Error::InvalidArgument { arg: "index", why: "there are fewer uses" }),
            Some(Access { len: 0, .. }) => Ok(core::ptr::null_mut()),
            Some(access) => raw::device_ptr(access.ptr, self.stream.device().number()),
        }
    }

    /// The stream that it was acquired on.
    pub fn stream(&self) -> &'a Stream {
        self.stream
    }

    /// Use number `index`, for [`crate::interop`].
    #[cfg(any(feature = "cust", feature = "hip-sys", feature = "cudarc"))]
    pub(crate) fn access(&self, index: usize) -> Result<Access> {
        self.accesses
            .get(index)
            .copied()
            .ok_or(Error::InvalidArgument { arg: "index", why: "there are fewer uses" })
    }

    /// Says that the device is done when the stream gets here, as dropping the guard does.
    ///
    /// # Errors
    /// [`Error::Device`] if the stream can't be marked; the memory then stays acquired as if the guard was forgotten.
    pub fn release(mut self) -> Result<()> {
        let (stream, number) = (self.stream, self.number);
        self.accesses = Vec::new();
        core::mem::forget(self);
        close(stream, number)
    }
}

fn close(stream: &Stream, number: u64) -> Result<()> {
    if with_open(|open| open.iter().all(|(.., n)| *n != number)) {
        return Err(Error::Shutdown { call: "hmm_release" });
    }
    raw::release(stream.device().number(), stream.id())?;
    stream_ended(stream);
    Ok(())
}

impl Drop for AccessGuard<'_> {
    fn drop(&mut self) {
        // Fails as a forgotten guard would: the memory stays acquired.
        let _ = close(self.stream, self.number);
    }
}

/// Memory that is on the host and stays there: for system calls and others who use it behind the runtime's back. Comes
/// from [`Residency::pin`](crate::Residency::pin); dropping it unpins. A forgotten one leaves the memory pinned until
/// it is freed.
#[derive(Debug)]
#[must_use = "dropping it at once unpins the memory"]
pub struct PinGuard<'a> {
    /// No reference: whoever has the memory pinned for something outside of the program may have it written.
    at: HostAddr,
    len: usize,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> PinGuard<'a> {
    pub(crate) fn pin(memory: &'a [u8]) -> Result<PinGuard<'a>> {
        let (at, len) = (HostAddr::from(memory.as_ptr()), memory.len());
        raw::pin(at.ptr(), len)?;
        Ok(PinGuard { at, len, _borrow: PhantomData })
    }
}

impl Drop for PinGuard<'_> {
    fn drop(&mut self) {
        // Fails only after a shutdown, or in a forked child.
        let _ = raw::unpin(self.at.ptr(), self.len);
    }
}
