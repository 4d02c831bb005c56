//! The host backend's device memory: reserved address space, committed by the chunk up to a limit, and copies that take
//! as long as they are told to. `copy` is reached by the signal handler: signal-safe.

use crate::addr::{CHUNK, DeviceAddr, HostAddr};
use crate::error::{Error, Result};
use crate::sys::clock;
use crate::sys::map::{self, Prot};
use crate::transfer::transfer;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use std::collections::BTreeMap;
use std::sync::Mutex;

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
        clock::wait_until(self.end(start, bytes));
    }
    /// When a transfer that starts at `start` ends: at the end of time, if that is what was asked for. Signal-safe.
    fn end(&self, start: u64, bytes: usize) -> u64 {
        let nanoseconds = bytes as u128 * 1_000_000_000;
        let transfer = nanoseconds.checked_div(u128::from(self.bandwidth)).unwrap_or(0);
        let transfer = u64::try_from(transfer).unwrap_or(u64::MAX);
        start.saturating_add(self.latency_ns).saturating_add(transfer)
    }
}

pub(super) struct Memory {
    device: i32,
    limit: usize,
    used: AtomicUsize,
    delay: Delay,
    /// Reserved address space: its length.
    windows: Mutex<BTreeMap<u64, usize>>,
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
        Memory {
            device,
            limit,
            used: AtomicUsize::new(0),
            delay: Delay { bandwidth, latency_ns },
            windows: Mutex::default(),
        }
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
        self.windows.lock().unwrap_or_else(|e| e.into_inner()).insert(at.0 as u64, len);
        Ok(DeviceAddr(at.0 as u64))
    }

    pub(super) fn unreserve(&self, at: DeviceAddr) {
        let len = self.windows.lock().unwrap_or_else(|e| e.into_inner()).remove(&at.0);
        if let Some(len) = len {
            map::unmap(Memory::host(at), len);
        }
    }

    /// Gives all addresses back: nothing is behind them any more.
    pub(super) fn close(&self) {
        let windows = core::mem::take(&mut *self.windows.lock().unwrap_or_else(|e| e.into_inner()));
        windows.into_iter().for_each(|(at, len)| map::unmap(HostAddr(at as usize), len));
    }

    pub(super) fn commit(&self, at: DeviceAddr, len: usize) -> Result<()> {
        let fits = |used: usize| used.checked_add(len).filter(|n| *n <= self.limit);
        if self.used.try_update(SeqCst, Relaxed, fits).is_err() {
            return Err(Error::DeviceMemory { device: self.device, bytes: len, memory: 0 });
        }
        let done = map::protect(Memory::host(at), len, Prot::ReadWrite);
        if done.is_err() {
            self.used.fetch_sub(len, SeqCst);
            return Err(Error::DeviceMemory { device: self.device, bytes: len, memory: 0 });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_does_not_wrap() {
        let end = |bandwidth, latency_ns, bytes| Delay { bandwidth, latency_ns }.end(1_000, bytes);
        assert_eq!(end(0, 0, 1 << 20), 1_000);
        assert_eq!(end(1 << 20, 500, 1 << 20), 1_000_001_500);
        assert_eq!(end(0, u64::MAX, 0), u64::MAX);
        assert_eq!(end(0, u64::MAX - 999, 1), u64::MAX);
        assert_eq!(end(1, 0, isize::MAX as usize), u64::MAX, "292 years a second");
        assert_eq!(end(1, u64::MAX, 1), u64::MAX);
    }
}
