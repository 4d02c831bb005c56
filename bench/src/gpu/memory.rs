//! The peers' memory: pinned, on the device, managed by the driver, registered. Each kind gives itself back when dropped,
//! and knows its length, so that what is queued on it stays inside. Main thread only.

use crate::Outcome;
use crate::driver::{Address, Driver, call};
use hmmrt_bench::floors;
use std::ffi::c_void;
use std::ptr::null_mut;

/// The CPU as a place to prefetch to, with both drivers.
pub const CPU: i32 = -1;
/// `CU_MEM_ATTACH_GLOBAL`, and HIP's.
const GLOBAL: u32 = 1;

/// Memory that kernels can be given.
pub trait OnDevice {
    fn address(&self) -> Address;
    fn len(&self) -> usize;
}

/// Pinned host memory.
pub struct Pinned {
    driver: &'static Driver,
    ptr: *mut u8,
    len: usize,
}

/// Plain device memory.
pub struct DeviceMemory {
    driver: &'static Driver,
    address: Address,
    len: usize,
}

/// Memory that the driver migrates.
pub struct Managed {
    driver: &'static Driver,
    address: Address,
    len: usize,
}

/// Host memory of somebody else, pinned for as long as this lives.
pub struct Registered {
    driver: &'static Driver,
    ptr: *mut u8,
}

impl Driver {
    /// Pins `len` bytes of new host memory.
    pub fn pinned(&'static self, len: usize) -> Outcome<Pinned> {
        let mut ptr = null_mut();
        // SAFETY: writes an address.
        unsafe { call!(self, host_alloc(&mut ptr, len, 0)) }?;
        Ok(Pinned { driver: self, ptr: ptr.cast(), len })
    }

    /// Allocates `len` bytes on the device.
    pub fn device_memory(&'static self, len: usize) -> Outcome<DeviceMemory> {
        let mut address = 0;
        // SAFETY: writes an address.
        unsafe { call!(self, alloc(&mut address, len)) }?;
        Ok(DeviceMemory { driver: self, address, len })
    }

    /// Allocates `len` bytes of managed memory.
    pub fn managed(&'static self, len: usize) -> Outcome<Managed> {
        let mut address = 0;
        // SAFETY: writes an address.
        unsafe { call!(self, managed_alloc(&mut address, len, GLOBAL)) }?;
        Ok(Managed { driver: self, address, len })
    }

    /// Pins memory that is there.
    ///
    /// # Safety
    /// `len` bytes from `ptr` are writable and stay mapped as long as the result lives.
    pub unsafe fn register(&'static self, ptr: *mut u8, len: usize) -> Outcome<Registered> {
        // SAFETY: the caller's promise.
        unsafe { call!(self, host_register(ptr.cast(), len, 0)) }?;
        Ok(Registered { driver: self, ptr })
    }

    /// Queues a copy of `len` bytes from pinned memory.
    pub fn copy_in(&self, to: &DeviceMemory, from: &Pinned, len: usize) -> Outcome {
        assert!(len <= to.len && len <= from.len);
        // SAFETY: both are long enough; whoever calls waits before it drops one of them.
        unsafe { call!(self, copy_in(to.address, from.ptr.cast(), len, self.stream)) }
    }

    /// Queues a copy of `len` bytes to pinned memory, from and to the given offset.
    pub fn copy_out(
        &self,
        to: &Pinned,
        to_offset: usize,
        from: &DeviceMemory,
        from_offset: usize,
        len: usize,
    ) -> Outcome {
        assert!(to_offset + len <= to.len);
        // SAFETY: the part of the buffer lies in it, and is pinned.
        unsafe { self.copy_out_to(to.ptr.add(to_offset), from, from_offset, len) }
    }

    /// The same to memory that is pinned otherwise.
    ///
    /// # Safety
    /// `len` bytes from `to` are writable, pinned, and used by nobody until the copy is done.
    pub unsafe fn copy_out_to(
        &self,
        to: *mut u8,
        from: &DeviceMemory,
        from_offset: usize,
        len: usize,
    ) -> Outcome {
        assert!(from_offset + len <= from.len);
        // SAFETY: the source is long enough; the rest is the caller's promise.
        unsafe { call!(self, copy_out(to.cast(), from.address + from_offset as u64, len, self.stream)) }
    }

    /// Queues a move of managed memory to a device, or to [`CPU`].
    pub fn prefetch(&self, memory: &Managed, to: i32) -> Outcome {
        // SAFETY: the whole of a live allocation.
        unsafe { call!(self, prefetch(memory.address, memory.len, to, self.stream)) }
    }
}

/// Host access, which two kinds of memory have. Nothing is queued on the memory meanwhile.
macro_rules! host_access {
    ($memory:ty) => {
        impl $memory {
            /// Writes the pattern of the benchmark.
            pub fn fill(&self) {
                // SAFETY: the whole of it is writable, and nobody else uses it now.
                unsafe { floors::fill(self.host(), self.len) };
            }

            /// Sum of the 64-bit words from `offset` on.
            pub fn sum(&self, offset: usize, len: usize) -> u64 {
                assert!(offset + len <= self.len);
                // SAFETY: the part lies in it; as above. Lengths and offsets are multiples of 64 in every row.
                unsafe { floors::scan(self.host().add(offset), len) }
            }
        }
    };
}
host_access!(Pinned);
host_access!(Managed);

impl Pinned {
    /// Where it begins.
    pub fn host(&self) -> *mut u8 {
        self.ptr
    }
}

impl Managed {
    /// Where it begins, for the CPU too.
    pub fn host(&self) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.address as usize)
    }

    /// Writes a word to each page.
    pub fn dirty(&self) {
        for offset in (0..self.len).step_by(floors::PAGE) {
            // SAFETY: the offset lies in it, and nobody else uses it now.
            unsafe { self.host().add(offset).cast::<u64>().write_volatile(offset as u64) };
        }
    }

    /// Nanoseconds of one read at each offset.
    pub fn touch(&self, offsets: &[usize]) -> Vec<u64> {
        assert!(offsets.iter().all(|&o| o < self.len));
        // SAFETY: the offsets lie in it; its faults are the driver's to serve.
        unsafe { floors::touch(self.host(), offsets, false) }
    }
}

impl OnDevice for DeviceMemory {
    fn address(&self) -> Address {
        self.address
    }
    fn len(&self) -> usize {
        self.len
    }
}

impl OnDevice for Managed {
    fn address(&self) -> Address {
        self.address
    }
    fn len(&self) -> usize {
        self.len
    }
}

/// What giving memory back answers; an error is told, since no row can be blamed for it.
fn given_back(result: Outcome) {
    if let Err(error) = result {
        eprintln!("giving back a peer's memory: {error}");
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: ours, freed once. What is queued on it is waited for here, should a row have stopped at an error.
        given_back(
            self.driver
                .synchronize()
                .and(unsafe { call!(self.driver, host_free(self.ptr.cast::<c_void>())) }),
        );
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: as above; freeing device memory waits by itself.
        given_back(unsafe { call!(self.driver, free(self.address)) });
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // SAFETY: as above.
        given_back(unsafe { call!(self.driver, free(self.address)) });
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: registered by us, once.
        given_back(
            self.driver.synchronize().and(unsafe { call!(self.driver, host_unregister(self.ptr.cast())) }),
        );
    }
}
