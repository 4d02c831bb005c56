//! The host backend's device memory: reserved address space, committed by the chunk up to a limit, and copies that take
//! as long as they are told to. `copy` is reached by the signal handler: signal-safe.

use crate::addr::{CHUNK, DeviceAddr, HostAddr};
use crate::error::{Error, Result};
use crate::sys::clock;
use crate::sys::map::{self, Prot};
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// How long a copy or launch takes at least.
#[derive(Clone, Copy)]
pub(super) struct Delay {
    bandwidth: u64,
    latency_ns: u64,
}

impl Delay {
    /// Waits the time of a transfer of `bytes` that starts now. Signal-safe.
    pub(super) fn wait(&self, bytes: usize) {
        if self.bandwidth != 0 || self.latency_ns != 0 {
            self.until(clock::now_ns(), bytes);
        }
    }
    fn until(&self, start: u64, bytes: usize) {
        let transfer =
            if self.bandwidth == 0 { 0 } else { bytes as u128 * 1_000_000_000 / u128::from(self.bandwidth) };
        clock::wait_until(start + self.latency_ns + transfer as u64);
    }
}

pub(super) struct Memory {
    device: i32,
    limit: usize,
    used: AtomicUsize,
    delay: Delay,
}

/// Half of the machine's memory.
pub(super) fn default_limit() -> usize {
    let kib = std::fs::read_to_string("/proc/meminfo").ok().and_then(|s| {
        s.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok())
    });
    kib.map_or(8 << 30, |kib| kib * 1024 / 2) / CHUNK * CHUNK
}

impl Memory {
    pub(super) fn new(device: i32, limit: usize, bandwidth: u64, latency_ns: u64) -> Memory {
        Memory { device, limit, used: AtomicUsize::new(0), delay: Delay { bandwidth, latency_ns } }
    }

    /// Total and free bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.limit, self.limit.saturating_sub(self.used.load(Relaxed)))
    }

    pub(super) fn delay(&self) -> Delay {
        self.delay
    }

    /// The host address behind a device address. Signal-safe.
    pub(super) fn host(at: DeviceAddr) -> HostAddr {
        HostAddr(at.0 as usize)
    }

    pub(super) fn reserve(&self, len: usize) -> Result<DeviceAddr> {
        let at = map::map(len, CHUNK, Prot::None, "host device address space")?;
        Ok(DeviceAddr(at.0 as u64))
    }

    pub(super) fn commit(&self, at: DeviceAddr, len: usize) -> Result<()> {
        let fits = |used: usize| used.checked_add(len).filter(|n| *n <= self.limit);
        if self.used.try_update(SeqCst, Relaxed, fits).is_err() {
            return Err(Error::DeviceMemory { device: self.device, bytes: len });
        }
        let done = map::protect(Memory::host(at), len, Prot::ReadWrite);
        if done.is_err() {
            self.used.fetch_sub(len, SeqCst);
            return Err(Error::DeviceMemory { device: self.device, bytes: len });
        }
        map::huge_pages(Memory::host(at), len, true);
        Ok(())
    }

    pub(super) fn decommit(&self, at: DeviceAddr, len: usize) {
        if map::replace(Memory::host(at), len, Prot::None).is_err() {
            // No mapping left to split: keep the addresses, give the memory back.
            let _ = map::give_back(Memory::host(at), len);
        }
        self.used.fetch_sub(len, SeqCst);
    }

    pub(super) fn clear(&self, at: DeviceAddr, len: usize) {
        let start = clock::now_ns();
        map::zero(Memory::host(at), len);
        self.delay.until(start, 0);
    }

    /// Copies between host and device, either way. Signal-safe.
    pub(super) fn copy(&self, to: HostAddr, from: HostAddr, len: usize) {
        let start = clock::now_ns();
        // SAFETY: the runtime passes committed device memory and host memory that only it writes; they don't overlap.
        unsafe { transfer(to.ptr(), from.ptr().cast_const(), len) };
        self.delay.until(start, len);
    }
}

/// From here on copies go past the cache: a chunk is larger than what the caches have to spare, and stores that do not
/// read the line first make two thirds of the traffic (12 against 8 GB/s on the machine of bench/README.md).
#[cfg(target_arch = "x86_64")]
const STREAM: usize = 256 << 10;

/// Copies `len` bytes, large ones past the cache. Signal-safe.
///
/// # Safety
/// As `copy_nonoverlapping`.
unsafe fn transfer(to: *mut u8, from: *const u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len >= STREAM && to.addr().is_multiple_of(64) {
        // SAFETY: the caller's promise; the target is aligned for the stores.
        return unsafe { stream(to, from, len) };
    }
    // SAFETY: the caller's promise.
    unsafe { core::ptr::copy_nonoverlapping(from, to, len) }
}

/// The copy with non-temporal stores, four pages at a time as glibc does it: several DRAM rows are open at once.
///
/// # Safety
/// As `copy_nonoverlapping`, and `to` is aligned to 64 bytes.
#[cfg(target_arch = "x86_64")]
unsafe fn stream(to: *mut u8, from: *const u8, len: usize) {
    use core::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm_stream_si128,
    };
    const PAGES: usize = 4;
    const BATCH: usize = PAGES * crate::addr::PAGE;
    let whole = len / BATCH * BATCH;
    // SAFETY: all offsets are below `len`; prefetches never fault. SSE2 is part of x86-64.
    unsafe {
        for batch in (0..whole).step_by(BATCH) {
            for line in (0..crate::addr::PAGE).step_by(64) {
                for page in 0..PAGES {
                    let at = batch + page * crate::addr::PAGE + line;
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(at + 512).cast());
                    let source = from.add(at).cast::<__m128i>();
                    let target = to.add(at).cast::<__m128i>();
                    let (a, b) = (_mm_loadu_si128(source), _mm_loadu_si128(source.add(1)));
                    let (c, d) = (_mm_loadu_si128(source.add(2)), _mm_loadu_si128(source.add(3)));
                    _mm_stream_si128(target, a);
                    _mm_stream_si128(target.add(1), b);
                    _mm_stream_si128(target.add(2), c);
                    _mm_stream_si128(target.add(3), d);
                }
            }
        }
        _mm_sfence();
        core::ptr::copy_nonoverlapping(from.add(whole), to.add(whole), len - whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_are_exact() {
        let len = (1 << 20) + 12_345;
        let from: Vec<u8> = (0..len).map(|i| ((i * 7) >> 3) as u8).collect();
        let mut to = vec![0u8; len + 128];
        for (shift, n) in [(0, len), (1, len), (0, 256 << 10), (0, 100), (3, (256 << 10) + 1)] {
            to.fill(0xEE);
            let start = to.as_ptr().align_offset(64) + shift;
            // SAFETY: both buffers are long enough.
            unsafe { transfer(to.as_mut_ptr().add(start), from.as_ptr(), n) };
            assert!(to[start..start + n] == from[..n] && to[start + n] == 0xEE, "{shift} {n}");
        }
    }
}
