//! Pointer-level functions: what the C interface wraps, and the Rust types are built on. Each checks its arguments
//! first, in the order of the C parameters; an error changes nothing. Thread-safe; none may be called from a signal
//! handler.

use crate::access::{self, Access, AccessMode};
use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::Guard;
use crate::config::Config;
use crate::device::DeviceInfo;
use crate::error::{Error, Result};
use crate::launch::{self, HostFunction, KernelId, LaunchArg, LaunchConfig, ModuleId};
use crate::migrate::{self, Stop};
use crate::moves::{self, Patience};
use crate::policy::advice;
use crate::prefetch::{self, Target};
use crate::query::{self, Page};
use crate::stats::{STATS, Stats};
use crate::stream::{Stream, StreamId};
use crate::sys::signal::Blocked;
use crate::{adopt, heap, inflight, pins, policy, runtime, span, sys, table, window};
use core::ffi::c_void;
use core::sync::atomic::Ordering::*;

/// The host as a location (`HMM_HOST`).
pub const HMM_HOST: i32 = -1;

/// The program's own protection of managed memory (`hmm_protect`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// No access.
    None,
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// What the program knows of a range's use (`hmm_advice`). Advice holds for whole chunks of 2 MiB that the range touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Advice {
    /// Mostly read: moves to a device leave the host's copy valid.
    ReadMostly = 1,
    /// Takes `ReadMostly` back.
    UnsetReadMostly = 2,
    /// Should live at the location.
    PreferredLocation = 3,
    /// Takes `PreferredLocation` back.
    UnsetPreferredLocation = 4,
    /// Will be accessed by the device.
    AccessedBy = 5,
    /// Takes `AccessedBy` back.
    UnsetAccessedBy = 6,
    /// The CPU uses it in order: whole chunks come home.
    Sequential = 7,
    /// The CPU uses it here and there: single pages come home.
    Random = 8,
    /// Takes `Sequential` or `Random` back.
    UnsetPattern = 9,
}

fn location(value: i32, devices: usize) -> Result<Option<usize>> {
    match value {
        HMM_HOST => Ok(None),
        d => usize::try_from(d)
            .ok()
            .filter(|d| *d < devices)
            .map(Some)
            .ok_or(Error::NoDevice { device: value, count: devices }),
    }
}

fn counted<T>(result: Result<T>) -> Result<T> {
    if result.is_err() {
        STATS.errors.add(1);
    }
    result
}

/// Starts the runtime; `None` takes the settings from the environment. Optional: first use does it.
pub fn init(config: Option<Config>) -> Result<()> {
    runtime::init(config)
}

/// Brings everything home and ends the runtime. Blocks stay valid and can still be freed; [`init`] starts it again.
pub fn shutdown() -> Result<()> {
    runtime::shutdown()
}

/// A block of `size` bytes (0 counts as 1), at a page boundary; large ones at a 2 MiB boundary.
pub fn malloc(size: usize) -> Result<*mut u8> {
    runtime::ensure_started("hmm_malloc")?;
    heap::allocate(size, 1).map(|(at, _)| at.ptr())
}

/// A zeroed block of `n * size` bytes.
pub fn calloc(n: usize, size: usize) -> Result<*mut u8> {
    runtime::ensure_started("hmm_calloc")?;
    let bytes =
        n.checked_mul(size).ok_or(Error::InvalidArgument { arg: "n", why: "n times size overflows" })?;
    let (at, zeroed) = heap::allocate(bytes, 1)?;
    if !zeroed {
        sys::map::zero(at, bytes);
    }
    Ok(at.ptr())
}

/// A block of `size` bytes at a multiple of `alignment`, a power of two.
pub fn aligned_alloc(alignment: usize, size: usize) -> Result<*mut u8> {
    runtime::ensure_started("hmm_aligned_alloc")?;
    if !alignment.is_power_of_two() {
        return Err(Error::InvalidArgument { arg: "alignment", why: "it is not a power of two" });
    }
    if alignment > 1 << 40 {
        return Err(Error::InvalidArgument { arg: "alignment", why: "it is more than 1 TiB" });
    }
    heap::allocate(size, alignment).map(|(at, _)| at.ptr())
}

/// The block that must start at `ptr`.
fn block_at(ptr: *const u8) -> Result<ByteRange> {
    let addr = HostAddr::from(ptr);
    let found = heap::find(addr).ok_or(Error::NotManaged { arg: "ptr", addr: addr.0 })?;
    if found.range.start != addr.0 {
        return Err(Error::InvalidArgument { arg: "ptr", why: "it points into a block, not at its start" });
    }
    Ok(found.range)
}

/// Changes a block's size, keeping its bytes up to the smaller of the two; it may move. Pages that are on a device move
/// there, not over the host. `ptr` NULL allocates; size 0 keeps a block of the least size.
///
/// # Safety
/// `ptr` is NULL or a live block that nobody else uses meanwhile; after success only the result is valid.
pub unsafe fn realloc(ptr: *mut u8, size: usize) -> Result<*mut u8> {
    if ptr.is_null() {
        return malloc(size);
    }
    runtime::ensure_started("hmm_realloc")?;
    let old = block_at(ptr)?;
    if size <= old.len() && size > old.len() / 2 || size.max(1) <= PAGE && old.len() == PAGE {
        return Ok(ptr);
    }
    let (at, _) = heap::allocate(size, 1)?;
    let keep = old.len().min(size);
    if let Err(e) = move_contents(HostAddr(old.start), at, keep) {
        let _ = heap::free(at);
        return Err(e);
    }
    if let Err(e) = heap::free(HostAddr(old.start)) {
        let _ = heap::free(at); // the old block is in use by a device: it stays, with its bytes
        return Err(e);
    }
    Ok(at.ptr())
}

fn move_contents(from: HostAddr, to: HostAddr, len: usize) -> Result<()> {
    let new = heap::find(to).ok_or(Error::NotManaged { arg: "ptr", addr: to.0 })?.range;
    let mut waited = 0;
    let mut moved = Vec::new();
    loop {
        let stopped = {
            let _blocked = Blocked::new();
            moved.clear();
            migrate::relocate(from, to, len.next_multiple_of(PAGE), new, &mut moved)
        };
        match stopped {
            Ok(()) => break,
            Err(Stop::Wait(b)) => inflight::wait_or_busy(b, "ptr", from.0, &mut waited)?,
            Err(Stop::Fail(Error::DeviceMemory { .. })) => break, // no room for two: over the host, then
            Err(Stop::Fail(e)) => return Err(e),
        }
    }
    // What did not move on a device is copied as the program would: faults and all.
    let end = from.0 + len;
    moved.sort_by_key(|r| r.start); // per device, so not in order
    moved.push(ByteRange { start: end, end });
    let mut at = from.0;
    for done in moved {
        if at < done.start.min(end) {
            let n = done.start.min(end) - at;
            // SAFETY: both blocks are live for `n` bytes from here, by the caller's promise and our own allocation.
            unsafe {
                core::ptr::copy_nonoverlapping(
                    HostAddr(at).ptr().cast_const(),
                    HostAddr(to.0 + at - from.0).ptr(),
                    n,
                )
            };
        }
        at = at.max(done.end);
    }
    Ok(())
}

/// Frees a block. NULL is fine; anything that is not the start of a live block is an error and changes nothing.
///
/// # Safety
/// Nobody uses the block any more.
pub unsafe fn free(ptr: *mut u8) -> Result<()> {
    if ptr.is_null() {
        return Ok(());
    }
    runtime::check_process("hmm_free")?;
    heap::free(HostAddr::from(ptr.cast_const()))
}

/// How many bytes of the block that starts at `ptr` may be used; 0 if none does.
pub fn usable_size(ptr: *const u8) -> usize {
    block_at(ptr).map_or(0, ByteRange::len)
}

/// Whether `ptr` is in managed memory: a live block or an adopted range.
pub fn owns(ptr: *const u8) -> bool {
    let addr = HostAddr::from(ptr);
    table::get(addr).is_some_and(|c| c.managed.has(addr.page_in_chunk()))
}

/// Begins to manage the caller's private anonymous memory where it is. `addr` is page-aligned, `len` is rounded up.
///
/// # Safety
/// The memory stays mapped until [`disown`]; nothing but the CPU and this runtime relies on its physical pages.
pub unsafe fn adopt(addr: *mut u8, len: usize) -> Result<()> {
    runtime::ensure_started("hmm_adopt")?;
    adopt::adopt(addr, len)
}

/// Brings adopted memory home and stops managing it; part of an adopted range will do.
///
/// # Safety
/// As for [`adopt`].
pub unsafe fn disown(addr: *mut u8, len: usize) -> Result<()> {
    runtime::check_process("hmm_disown")?;
    adopt::disown(addr, len)
}

/// Sets the program's own protection of managed pages, wherever they are: what mprotect(2) does for other memory.
///
/// # Safety
/// As mprotect: other code may rely on access.
pub unsafe fn protect(addr: *mut u8, len: usize, protection: Protection) -> Result<()> {
    runtime::devices("hmm_protect")?;
    let at = HostAddr::from(addr.cast_const());
    if !at.0.is_multiple_of(PAGE) {
        return Err(Error::InvalidArgument { arg: "addr", why: "it is not at a page boundary" });
    }
    let span = span::find(at, len, "addr")?;
    for (chunk_at, part) in span.range.chunks() {
        let _blocked = Blocked::new();
        let g = Guard::lock(table::known(chunk_at), chunk_at);
        let pages = crate::mask::PageMask::of(part) & g.chunk.managed.get();
        let (read, write) = (protection != Protection::None, protection == Protection::ReadWrite);
        migrate::set_user_protection(&g, pages, read, write)?;
    }
    Ok(())
}

/// How many devices there are.
pub fn device_count() -> Result<usize> {
    Ok(runtime::devices_quietly("hmm_device_count")?.count())
}

/// What a device is.
pub fn device_info(device: i32) -> Result<DeviceInfo> {
    let devices = runtime::devices_quietly("hmm_device_info")?;
    Ok(devices.at(devices.index(device)?).info())
}

/// Starts moving a range to `location` in the order of `stream` and returns at once. A hint: pages that are in use or
/// pinned stay.
pub fn prefetch(ptr: *const u8, len: usize, to: i32, stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices("hmm_prefetch")?;
        let span = span::find(HostAddr::from(ptr), len, "ptr")?;
        let (target, device) = match location(to, devices.count())? {
            Some(d) => (Target::Device(d), d),
            // Home in the order of the device that has it.
            None => (Target::Host, holder(span.range).unwrap_or(0)),
        };
        let stream = match stream {
            StreamId::DEFAULT => Stream::find(devices, device, stream)?,
            id => Stream::from_id(id)?,
        };
        if span.range.len() == 0 { Ok(()) } else { prefetch::prefetch(devices, span, target, stream) }
    })())
}

/// The first device that has some page of the range.
fn holder(range: ByteRange) -> Option<usize> {
    range.chunks().find_map(|(at, _)| {
        let chunk = table::get(at)?;
        (0..crate::chunk::device_count()).find(|d| !chunk.copies[*d].valid.get().is_empty())
    })
}

/// Moves a range to `to` now; returns how many pages were not there before. Waits for kernels that may write it.
pub fn migrate(ptr: *const u8, len: usize, to: i32) -> Result<usize> {
    counted((|| {
        let devices = runtime::devices("hmm_migrate")?;
        let span = span::find(HostAddr::from(ptr), len, "ptr")?;
        match location(to, devices.count())? {
            Some(device) => moves::to_device(span, device, Patience::Wait, "ptr"),
            None => moves::to_host(span.range, true, Patience::Wait, "ptr"),
        }
    })())
}

/// Makes a range usable by the CPU and by the kernel's own accesses (a read(2) into it) now, in the given way.
pub fn host_ready(ptr: *const u8, len: usize, mode: AccessMode) -> Result<()> {
    counted((|| {
        runtime::ensure_started("hmm_host_ready")?;
        let span = span::find(HostAddr::from(ptr), len, "ptr")?;
        moves::to_host(span.range, mode.writes(), Patience::Wait, "ptr").map(|_| ())
    })())
}

/// Brings a range home, writable, and keeps it there until [`unpin`] of the same range.
pub fn pin(ptr: *const u8, len: usize) -> Result<()> {
    counted((|| {
        runtime::ensure_started("hmm_pin")?;
        pins::pin(span::find(HostAddr::from(ptr), len, "ptr")?.range)
    })())
}

/// Undoes one [`pin`] of exactly this range.
pub fn unpin(ptr: *const u8, len: usize) -> Result<()> {
    counted((|| {
        runtime::ensure_started("hmm_unpin")?;
        pins::unpin(span::find(HostAddr::from(ptr), len, "ptr")?.range)
    })())
}

/// Gives up the contents of the whole pages in a range: they read as zeros; nothing is copied.
///
/// # Safety
/// Nobody relies on the bytes.
pub unsafe fn discard(ptr: *mut u8, len: usize) -> Result<()> {
    counted((|| {
        runtime::ensure_started("hmm_discard")?;
        moves::discard(span::find(HostAddr::from(ptr.cast_const()), len, "addr")?.range)
    })())
}

/// Says how a range will be used.
pub fn advise(ptr: *const u8, len: usize, what: Advice, to: i32) -> Result<()> {
    let devices = runtime::devices_quietly("hmm_advise")?;
    let span = span::find(HostAddr::from(ptr), len, "ptr")?;
    let (clear, set) = match what {
        Advice::ReadMostly => (0, advice::READ_MOSTLY),
        Advice::UnsetReadMostly => (advice::READ_MOSTLY, 0),
        Advice::PreferredLocation => {
            let prefer = match location(to, devices.count())? {
                None => advice::PREFER_HOST,
                Some(d) => advice::PREFER_DEVICE | (d as u32) << advice::DEVICE_SHIFT,
            };
            (policy::PREFERENCE, prefer)
        }
        Advice::UnsetPreferredLocation => (policy::PREFERENCE, 0),
        Advice::AccessedBy => {
            location(to, devices.count())?;
            (0, advice::ACCESSED_BY)
        }
        Advice::UnsetAccessedBy => (advice::ACCESSED_BY, 0),
        Advice::Sequential => (advice::RANDOM, advice::SEQUENTIAL),
        Advice::Random => (advice::SEQUENTIAL, advice::RANDOM),
        Advice::UnsetPattern => (advice::RANDOM | advice::SEQUENTIAL, 0),
    };
    for (at, _) in span.range.chunks() {
        let bits = &table::known(at).advice;
        let _ = bits.fetch_update(SeqCst, SeqCst, |b| Some(b & !clear | set));
    }
    debug_assert!(span.range.len() == 0 || span.range.chunks().all(|(at, _)| at.0.is_multiple_of(CHUNK)));
    Ok(())
}

/// Makes ranges resident on a device and keeps them there until [`release`]'s place in the stream.
///
/// # Safety
/// The bytes of `Write` ranges are given up: the device writes all of them.
pub unsafe fn acquire(device: i32, stream: StreamId, accesses: &[Access]) -> Result<()> {
    counted((|| {
        let devices = runtime::devices("hmm_acquire")?;
        let stream = Stream::find(devices, devices.index(device)?, stream)?;
        access::acquire(devices, stream, false, accesses)
    })())
}

/// The device is done with all that was acquired on the stream when the stream gets here.
pub fn release(device: i32, stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices_quietly("hmm_release")?;
        access::release(devices, Stream::find(devices, devices.index(device)?, stream)?, false)
    })())
}

/// The device address of a managed byte. It stays the same as long as the byte is managed.
pub fn device_ptr(ptr: *const u8, device: i32) -> Result<*mut c_void> {
    let devices = runtime::devices_quietly("hmm_device_ptr")?;
    let span = span::find(HostAddr::from(ptr), 1, "ptr")?;
    let at = window::device_addr(devices, devices.index(device)?, HostAddr::from(ptr), span.around)?;
    Ok(core::ptr::with_exposed_provenance_mut(at.0 as usize))
}

/// Makes a stream.
pub fn stream_create(device: i32) -> Result<StreamId> {
    let devices = runtime::devices_quietly("hmm_stream_create")?;
    counted(Stream::create(devices, devices.index(device)?))
}

/// Wraps a driver's stream. The host backend has none.
///
/// # Safety
/// `native` is a live stream of the device's driver.
pub unsafe fn stream_from_native(device: i32, native: *mut c_void) -> Result<StreamId> {
    let devices = runtime::devices_quietly("hmm_stream_from_native")?;
    devices.index(device)?;
    let _ = native;
    Err(Error::Unsupported { what: "hmm_stream_from_native", why: "the host backend has no native streams" })
}

/// Waits until all that was queued on the stream is done. The default stream: of every device.
pub fn stream_synchronize(stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices_quietly("hmm_stream_synchronize")?;
        if stream != StreamId::DEFAULT {
            let s = Stream::from_id(stream)?;
            return access::synchronize(devices, s);
        }
        (0..devices.count()).try_for_each(|d| access::synchronize(devices, Stream::find(devices, d, stream)?))
    })())
}

/// Ends a stream after its work. A default stream can't be ended.
pub fn stream_destroy(stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices_quietly("hmm_stream_destroy")?;
        if stream == StreamId::DEFAULT {
            return Err(Error::InvalidArgument { arg: "stream", why: "a default stream can't be destroyed" });
        }
        let s = Stream::from_id(stream)?;
        access::release(devices, s, false)?; // what was left acquired
        access::synchronize(devices, s)?;
        s.destroy(devices);
        Ok(())
    })())
}

/// Loads device code.
///
/// # Safety
/// The image is what it says it is; drivers trust it.
pub unsafe fn module_load(device: i32, image: &[u8]) -> Result<ModuleId> {
    let devices = runtime::devices_quietly("hmm_module_load")?;
    launch::load(devices.index(device)?, image)
}

/// The module of the built-in kernels.
pub fn module_builtin(device: i32) -> Result<ModuleId> {
    let devices = runtime::devices_quietly("hmm_module_builtin")?;
    Ok(launch::builtin(devices.index(device)?))
}

/// A kernel by its name.
pub fn kernel_get(module: ModuleId, name: &str) -> Result<KernelId> {
    launch::get(runtime::devices_quietly("hmm_kernel_get")?, module, name)
}

/// A kernel made of a host function; host backend only.
///
/// # Safety
/// The function does with its arguments what each launch says, and touches nothing else of managed memory.
pub unsafe fn kernel_from_function(device: i32, function: HostFunction) -> Result<KernelId> {
    let devices = runtime::devices_quietly("hmm_kernel_from_function")?;
    Ok(launch::from_function(devices.index(device)?, function))
}

/// Acquires what the pointer arguments name, launches the kernel, and releases. Returns once it is queued.
///
/// # Safety
/// VALUE arguments point at readable bytes, and the kernel stays inside what its arguments allow.
pub unsafe fn launch(kernel: KernelId, config: &LaunchConfig, args: &[LaunchArg]) -> Result<()> {
    counted((|| {
        let devices = runtime::devices("hmm_launch")?;
        // SAFETY: the caller's promise.
        unsafe { launch::launch(devices, kernel, config, args) }
    })())
}

/// What each page of a range is, one entry per 4 KiB page that it touches. No side effects; any address may be asked.
pub fn query(ptr: *const u8, len: usize, out: &mut [Page]) -> Result<()> {
    let at = HostAddr::from(ptr);
    let range = ByteRange::new(at.0, len)
        .ok_or(Error::InvalidArgument { arg: "len", why: "pointer plus length wraps around" })?;
    query::query(range, out)
}

/// The counters now.
pub fn stats() -> Stats {
    STATS.snapshot()
}

/// Sets the counts to zero (not what describes the present, such as `managed_bytes`).
pub fn stats_reset() {
    STATS.reset();
}
