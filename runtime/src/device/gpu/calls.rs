//! Each of the driver's functions as a typed call on a device: memory, copies, streams, events, modules. API context, the
//! service threads and the backend's own threads; never the signal handler.

use super::context::Context;
use super::driver::call;
use super::table::*;
use crate::addr::DeviceAddr;
use crate::error::{Error, Result};
use crate::launch::LaunchConfig;
use crate::log::log;
use core::ffi::{CStr, c_void};
use core::ptr::null_mut;
use std::sync::Mutex;

/// Why there is no memory to use at an address.
pub(super) struct NotMapped {
    pub(super) error: Error,
    /// It is there, but the device was not let in, and it can't be taken away again.
    pub(super) left: Option<MemoryHandle>,
}

impl Context {
    fn prop(&self) -> AllocationProp {
        let location = Location { kind: DEVICE, id: self.device };
        AllocationProp { kind: PINNED, handle_types: 0, location, win32: null_mut(), flags: [0; 8] }
    }

    /// The granularity of virtual memory management; an error where the driver has none.
    pub(crate) fn granularity(&self) -> Result<usize> {
        let (mut bytes, prop) = (0, self.prop());
        let mut ask = || {
            // SAFETY: reads the properties, writes a size.
            unsafe { call!(self.driver, self.device, granularity(&mut bytes, &prop, GRANULARITY_MINIMUM)) }
        };
        // The properties name the device: a context should not be needed, and is not made if it is not.
        if ask().is_err() {
            let _current = self.enter()?;
            ask()?;
        }
        Ok(bytes)
    }

    /// Reserves address space; `hint` is where it should be, 0: anywhere.
    pub(crate) fn reserve(&self, len: usize, align: usize, hint: u64) -> Result<DeviceAddr> {
        let _current = self.enter()?;
        let mut at = 0;
        // SAFETY: writes an address. Nothing existing is touched: the hint is a hint.
        unsafe { call!(self.driver, self.device, reserve(&mut at, len, align, hint, 0)) }?;
        Ok(DeviceAddr(at))
    }

    /// Gives a reservation back; nothing is mapped in it, and nothing of ours lies over it.
    pub(crate) fn unreserve(&self, at: DeviceAddr, len: usize) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller's reservation, which nobody uses any more.
        unsafe { call!(self.driver, self.device, unreserve(at.0, len)) }
    }

    /// Makes device memory and puts it at reserved addresses, for this device to read and write.
    pub(crate) fn map(&self, at: DeviceAddr, len: usize) -> core::result::Result<MemoryHandle, NotMapped> {
        let failed = |error| NotMapped { error, left: None };
        let _current = self.enter().map_err(failed)?;
        let Context { driver, device, .. } = *self;
        let (mut handle, prop) = (0, self.prop());
        // SAFETY: reads the properties, writes a handle.
        unsafe { call!(driver, device, create(&mut handle, len, &prop, 0)) }
            .map_err(|e| failed(self.memory_error(e, len)))?;
        // SAFETY: our reservation, in which nothing is mapped there, and memory of that size.
        let mapped = unsafe { call!(driver, device, map(at.0, len, 0, handle, 0)) };
        let Err(error) = mapped.and_then(|()| self.grant(at, len)) else { return Ok(handle) };
        let error = self.memory_error(error, len);
        // SAFETY: what was just mapped, if it was; nobody has used it.
        if mapped.is_ok() && unsafe { call!(driver, device, unmap(at.0, len)) }.is_err() {
            return Err(NotMapped { error, left: Some(handle) });
        }
        // SAFETY: our handle, not mapped.
        let _ = unsafe { call!(driver, device, release(handle)) };
        Err(failed(error))
    }

    /// Lets this device read and write what is mapped; the context is current.
    fn grant(&self, at: DeviceAddr, len: usize) -> Result<()> {
        let access = AccessDesc { location: self.prop().location, flags: READ_WRITE };
        // SAFETY: our mapping; one description.
        unsafe { call!(self.driver, self.device, set_access(at.0, len, &access, 1)) }
    }

    /// Lets this device read and write what `map` has left.
    pub(crate) fn open(&self, at: DeviceAddr, len: usize) -> Result<()> {
        let _current = self.enter()?;
        self.grant(at, len).map_err(|e| self.memory_error(e, len))
    }

    /// Takes it away again. On failure it is there still.
    pub(crate) fn unmap(&self, at: DeviceAddr, len: usize, handle: MemoryHandle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: what `map` made, which no kernel uses any more.
        unsafe { call!(self.driver, self.device, unmap(at.0, len)) }?;
        // SAFETY: our handle, not mapped any more.
        if let Err(e) = unsafe { call!(self.driver, self.device, release(handle)) } {
            log!(Warn, "giving device memory back: {e}"); // the addresses are free
        }
        Ok(())
    }

    /// Allocates device memory, addresses and all.
    pub(crate) fn alloc(&self, len: usize) -> Result<DeviceAddr> {
        let _current = self.enter()?;
        let mut at = 0;
        // SAFETY: writes an address.
        unsafe { call!(self.driver, self.device, memory_alloc(&mut at, len)) }
            .map_err(|e| self.memory_error(e, len))?;
        Ok(DeviceAddr(at))
    }

    /// Frees what `alloc` gave.
    pub(crate) fn free(&self, at: DeviceAddr) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller's allocation, which nobody uses any more.
        unsafe { call!(self.driver, self.device, memory_free(at.0)) }
    }

    /// 2 is both drivers' code for memory that has run out.
    fn memory_error(&self, e: Error, bytes: usize) -> Error {
        match e {
            Error::Device { code: 2, .. } => Error::DeviceMemory { device: self.device, bytes, memory: 0 },
            e => e,
        }
    }

    /// Allocates pinned host memory.
    pub(crate) fn host_alloc(&self, len: usize) -> Result<*mut u8> {
        let _current = self.enter()?;
        let mut at = null_mut();
        // SAFETY: writes an address.
        unsafe { call!(self.driver, self.device, host_alloc(&mut at, len, HOST_ALLOC_PORTABLE)) }?;
        Ok(at.cast())
    }

    /// Frees what `host_alloc` gave.
    pub(crate) fn host_free(&self, at: *mut u8) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller's, not used by any copy any more.
        unsafe { call!(self.driver, self.device, host_free(at.cast())) }
    }

    /// Queues a copy from pinned memory.
    ///
    /// # Safety
    /// `from` is pinned and keeps its bytes until the copy is done; `to` is committed for `len` bytes.
    pub(crate) unsafe fn copy_in(
        &self,
        to: DeviceAddr,
        from: *const u8,
        len: usize,
        stream: Handle,
    ) -> Result<()> {
        self.check_lost(self.driver.table.copy_in.name)?;
        let _current = self.enter()?;
        // SAFETY: the caller's promise.
        unsafe { call!(self.driver, self.device, copy_in(to.0, from.cast(), len, stream)) }
    }

    /// Queues a copy to pinned memory.
    ///
    /// # Safety
    /// As [`Context::copy_in`]; nobody uses `to` until the copy is done.
    pub(crate) unsafe fn copy_out(
        &self,
        to: *mut u8,
        from: DeviceAddr,
        len: usize,
        stream: Handle,
    ) -> Result<()> {
        self.check_lost(self.driver.table.copy_out.name)?;
        let _current = self.enter()?;
        // SAFETY: the caller's promise.
        unsafe { call!(self.driver, self.device, copy_out(to.cast(), from.0, len, stream)) }
    }

    /// Queues a copy from committed memory of `source`, this device or another of the driver.
    pub(crate) fn copy_peer(
        &self,
        to: DeviceAddr,
        source: &Context,
        from: DeviceAddr,
        len: usize,
        stream: Handle,
    ) -> Result<()> {
        self.check_lost(self.driver.table.copy_within.name)?;
        source.check_lost(self.driver.table.copy_within.name)?;
        let _current = self.enter()?;
        let Context { driver, device, .. } = *self;
        // SAFETY: the runtime names committed memory of both devices that no kernel writes meanwhile.
        unsafe {
            if source.device == device {
                return call!(driver, device, copy_within(to.0, from.0, len, stream));
            }
            match driver.kind {
                Kind::Cuda => {
                    call!(
                        driver,
                        device,
                        copy_peer_cuda(to.0, self.primary()?, from.0, source.primary()?, len, stream)
                    )
                }
                Kind::Hip => {
                    call!(driver, device, copy_peer_hip(to.0, device, from.0, source.device, len, stream))
                }
            }
        }
    }

    /// Queues zeros.
    pub(crate) fn clear(&self, at: DeviceAddr, len: usize, stream: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the runtime names committed memory that nobody uses meanwhile.
        unsafe { call!(self.driver, self.device, set_bytes(at.0, 0, len, stream)) }
    }

    /// Makes a stream that runs beside all others, the default stream too.
    pub(crate) fn stream_create(&self) -> Result<Handle> {
        let _current = self.enter()?;
        let mut stream = null_mut();
        // SAFETY: writes a handle.
        unsafe { call!(self.driver, self.device, stream_create(&mut stream, STREAM_NON_BLOCKING)) }?;
        Ok(stream)
    }

    /// Ends a stream of ours.
    pub(crate) fn stream_destroy(&self, stream: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: ours, and nobody uses it any more.
        unsafe { call!(self.driver, self.device, stream_destroy(stream)) }
    }

    /// Waits for what is queued on a stream.
    pub(crate) fn stream_synchronize(&self, stream: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: a live stream.
        unsafe { call!(self.driver, self.device, stream_synchronize(stream)) }
    }

    /// What follows on the stream waits for what was recorded.
    pub(crate) fn stream_wait(&self, stream: Handle, event: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: a live stream and event.
        unsafe { call!(self.driver, self.device, stream_wait(stream, event, 0)) }
    }

    /// Whether a stream of the program's belongs to this device's context, where the driver can say.
    ///
    /// # Safety
    /// `stream` is a live stream of the driver.
    pub(crate) unsafe fn has_stream(&self, stream: Handle) -> Result<bool> {
        let mut context = null_mut();
        if self.driver.table.stream_context.function.is_none() {
            return Ok(true);
        }
        let _current = self.enter()?;
        // SAFETY: the caller's promise; writes a handle.
        unsafe { call!(self.driver, self.device, stream_context(stream, &mut context)) }?;
        Ok(context == self.primary()?)
    }

    /// Whether what is queued on a stream goes into a graph instead, where the driver can say.
    pub(crate) fn is_capturing(&self, stream: Handle) -> Result<bool> {
        if self.driver.table.stream_capturing.function.is_none() {
            return Ok(false);
        }
        let _current = self.enter()?;
        let mut status = 0;
        // SAFETY: a live stream; writes an int.
        unsafe { call!(self.driver, self.device, stream_capturing(stream, &mut status)) }?;
        Ok(status != 0)
    }

    /// Makes an event whose waiters sleep.
    pub(crate) fn event_create(&self) -> Result<Handle> {
        let _current = self.enter()?;
        let mut event = null_mut();
        // SAFETY: writes a handle.
        unsafe { call!(self.driver, self.device, event_create(&mut event, EVENT_FLAGS)) }?;
        Ok(event)
    }

    /// Ends an event.
    pub(crate) fn event_destroy(&self, event: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: ours, and nobody uses it any more.
        unsafe { call!(self.driver, self.device, event_destroy(event)) }
    }

    /// Records the place that the stream's queue has come to.
    pub(crate) fn event_record(&self, event: Handle, stream: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: a live event and stream.
        unsafe { call!(self.driver, self.device, event_record(event, stream)) }
    }

    /// Whether what was recorded is done.
    pub(crate) fn event_query(&self, event: Handle) -> Result<bool> {
        let _current = self.enter()?;
        // SAFETY: a live event.
        match unsafe { call!(self.driver, self.device, event_query(event)) } {
            Ok(()) => Ok(true),
            Err(Error::Device { code: 600, .. }) => Ok(false), // both drivers' NOT_READY
            Err(e) => Err(e),
        }
    }

    /// Waits until what was recorded is done.
    pub(crate) fn event_synchronize(&self, event: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: a live event.
        unsafe { call!(self.driver, self.device, event_synchronize(event)) }
    }

    /// Loads device code. Text must end with a NUL.
    ///
    /// # Safety
    /// `image` is what it says it is; the driver takes its length from it.
    pub(crate) unsafe fn module_load(&self, image: &[u8]) -> Result<Handle> {
        let _current = self.enter()?;
        let mut module = null_mut();
        // SAFETY: the caller's promise; writes a handle.
        unsafe { call!(self.driver, self.device, module_load(&mut module, image.as_ptr().cast())) }?;
        Ok(module)
    }

    /// Unloads device code.
    pub(crate) fn module_unload(&self, module: Handle) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: ours, and nothing of it runs any more.
        unsafe { call!(self.driver, self.device, module_unload(module)) }
    }

    /// A kernel of a module, if it has one of that name.
    pub(crate) fn function(&self, module: Handle, name: &CStr) -> Result<Option<Handle>> {
        let _current = self.enter()?;
        let mut function = null_mut();
        // SAFETY: a live module; writes a handle.
        match unsafe {
            call!(self.driver, self.device, module_function(&mut function, module, name.as_ptr()))
        } {
            Ok(()) => Ok(Some(function)),
            Err(Error::Device { code: 500, .. }) => Ok(None), // both drivers' NOT_FOUND
            Err(e) => Err(e),
        }
    }

    /// The sizes of a kernel's parameters, where the driver can say.
    pub(crate) fn parameters(&self, function: Handle) -> Option<Vec<usize>> {
        self.driver.table.parameter.function?;
        let _current = self.enter().ok()?;
        let mut sizes = Vec::new();
        let (mut offset, mut size) = (0, 0);
        // SAFETY: a live kernel; writes two sizes, and fails behind the last parameter.
        while unsafe {
            call!(self.driver, self.device, parameter(function, sizes.len(), &mut offset, &mut size))
        }
        .is_ok()
        {
            sizes.push(size);
        }
        Some(sizes)
    }

    /// Queues a kernel.
    ///
    /// # Safety
    /// `args` points at values that fit the kernel, and what it touches is committed.
    pub(crate) unsafe fn launch(
        &self,
        function: Handle,
        config: &LaunchConfig,
        stream: Handle,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        /// More dynamic shared memory than this must be asked for.
        const USUAL_SHARED: u32 = 48 << 10;
        /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
        const MAX_DYNAMIC_SHARED: i32 = 8;
        /// The attribute is the function's: nobody changes it before the launch.
        static ATTRIBUTES: Mutex<()> = Mutex::new(());
        let _current = self.enter()?;
        let Context { driver, device, .. } = *self;
        let ([gx, gy, gz], [bx, by, bz], shared) = (config.grid, config.block, config.shared_bytes);
        let must_ask = shared > USUAL_SHARED && driver.kind == Kind::Cuda;
        let _alone = must_ask.then(|| ATTRIBUTES.lock().unwrap_or_else(|e| e.into_inner()));
        // SAFETY: the caller's promise.
        unsafe {
            if must_ask {
                call!(driver, device, function_set_attribute(function, MAX_DYNAMIC_SHARED, shared as i32))?;
            }
            let args = args.as_mut_ptr();
            call!(driver, device, launch(function, gx, gy, gz, bx, by, bz, shared, stream, args, null_mut()))
        }
    }
}
