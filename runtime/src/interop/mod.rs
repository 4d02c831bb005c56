//! Managed memory with other crates' kernels, copies and streams: an optional module for each crate, behind the feature of
//! its name. None is on by default, and the GPU backends need none of them. API context only; no state.
//!
//! | feature | crate | module |
//! |---|---|---|
//! | `cust` | [cust](https://docs.rs/cust) 0.3 | `interop::cust` |
//! | `cudarc` | [cudarc](https://docs.rs/cudarc) 0.19 | `interop::cudarc` |
//! | `hip-sys` | [hip-sys](https://docs.rs/hip-sys) 0.1 | `interop::hip_sys` |
//!
//! The way is the same in each. *Their stream becomes ours*: the stream type of the module borrows theirs and derefs to a
//! [`Stream`](crate::Stream), so that it prefetches, acquires and launches. *Managed memory becomes theirs* while it is
//! acquired on that stream: pointers, slices and views are made from an [`AccessGuard`](crate::AccessGuard) and borrow it,
//! or can be used by `unsafe` calls only. Then their calls are queued on their stream, and the guard's release says that
//! the device is done when the stream gets there.
//!
//! # What to keep in mind
//! - Both sides must speak to the same driver: the library that is loaded under the driver's usual name is used by all.
//! - A managed pointer given to their copies as *host* memory is taken for device memory by the driver, as is any address
//!   of unified addressing. There is no need for such copies: read and write managed memory where it is.
//! - Their types call driver functions on the thread's current context. The runtime uses each device's primary context, and
//!   so must they.

#[cfg(feature = "cudarc")]
pub mod cudarc;
#[cfg(feature = "cust")]
pub mod cust;
#[cfg(feature = "hip-sys")]
pub mod hip_sys;

#[cfg(any(feature = "cust", feature = "hip-sys", feature = "cudarc"))]
mod common {
    use crate::error::{Error, Result};
    use crate::guard::AccessGuard;
    use crate::handle::{Device, Stream};
    use crate::raw;
    use core::ffi::c_void;

    /// Whose a native stream is.
    pub(super) struct Native {
        /// The name of the backend, as in `DeviceInfo`.
        pub(super) backend: &'static str,
        /// What the error says for a device of another one.
        pub(super) why: &'static str,
    }

    /// Makes a stream of ours of one of the driver's, which stays theirs.
    ///
    /// # Safety
    /// `theirs` is NULL or a live stream of the backend's driver, and lives longer than the result.
    pub(super) unsafe fn adopt(device: &Device, native: &Native, theirs: *mut c_void) -> Result<Stream> {
        if device.info()?.backend != native.backend {
            return Err(Error::Unsupported { what: "device", why: native.why });
        }
        // Both drivers' handle for it.
        if theirs.addr() == 2 {
            let why = "the per-thread default stream is another one on each thread";
            return Err(Error::Unsupported { what: "theirs", why });
        }
        // SAFETY: the caller's promise, and the backend is its driver's.
        let id = unsafe { raw::stream_from_native(device.number(), theirs) }?;
        Ok(Stream::owned(*device, id))
    }

    /// The device address and the number of elements of use `index`, which must have been acquired on `stream`. Zero
    /// elements have the address 0.
    pub(super) fn part<T>(
        stream: &Stream,
        guard: &AccessGuard<'_>,
        index: usize,
        write: bool,
    ) -> Result<(u64, usize)> {
        let bad = |arg, why| Err(Error::InvalidArgument { arg, why });
        if guard.stream().id() != stream.id() || guard.stream().device() != stream.device() {
            return bad("guard", "it was acquired on another stream");
        }
        let access = guard.access(index)?;
        if write && !access.mode.writes() {
            return bad("index", "the memory was acquired for reading only");
        }
        if size_of::<T>() == 0 {
            return bad("T", "it has no size");
        }
        if access.len % size_of::<T>() != 0 {
            return bad("T", "the memory is not a whole number of such elements");
        }
        let at = guard.device_ptr(index)?.expose_provenance();
        if !at.is_multiple_of(align_of::<T>()) {
            return bad("T", "the memory is not aligned for it");
        }
        Ok((at as u64, access.len / size_of::<T>()))
    }
}
