//! What CUDA and HIP have in common, which is nearly all: one device of a driver as the runtime's `Device`. The folders
//! `cuda` and `hip` open their driver and say where it differs.

#[cfg(test)]
mod bindings;
mod calls;
mod context;
mod driver;
mod inside;
mod space;
mod staging;
mod stream;
mod table;

pub(super) use driver::{Driver, NO_DEVICE, Names};
pub(crate) use inside::is_inside;
pub(super) use table::Kind;

use super::{Args, Device, DeviceInfo, MAX_DEVICES, NativeKernel, NativeModule, NativeStream, Param, Run};
use crate::addr::{ByteRange, DeviceAddr, HostAddr};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::launch::LaunchConfig;
use crate::stream::Timeline;
use crate::sys::signal::Blocked;
use context::Context;
use core::ffi::{CStr, c_void};
use space::Space;
use staging::Staging;
use std::ffi::CString;
use std::sync::{Arc, Mutex};
use stream::Streams;
use table::Handle;

/// Where one driver's devices differ from another's.
pub(super) trait Vendor: Send + Sync + 'static {
    /// Which of a device's features can be used.
    fn features(&self, driver: &Driver, device: i32) -> Features;
    /// What the driver is given for an image of the caller's: text gets a NUL, source is compiled.
    fn image(&self, driver: &'static Driver, image: &[u8]) -> Result<Vec<u8>>;
    /// The image of the built-in kernels.
    fn builtin(&self, driver: &'static Driver) -> Result<Vec<u8>>;
}

/// What a device can be used with.
pub(super) struct Features {
    /// Virtual memory management.
    pub(super) mapped: bool,
    /// Host memory may lie over its reserved addresses.
    pub(super) overlay: bool,
}

/// A device.
struct GpuDevice<V: Vendor> {
    context: &'static Context,
    vendor: V,
    space: Space,
    staging: Staging,
    streams: Streams,
    /// Mirrors host addresses: the first device only, since an address stands for one piece of device memory.
    mirrors: bool,
    builtin: Mutex<Option<NativeModule>>,
    modules: Mutex<Vec<NativeModule>>,
}

/// Opens the devices of a driver.
pub(super) fn open<V: Vendor + Clone>(
    driver: &'static Driver,
    vendor: V,
    config: &Config,
) -> Result<Vec<Box<dyn Device>>> {
    let count = driver.count()?.min(MAX_DEVICES);
    if count == 0 {
        return Err(Error::NoDevice { device: 0, count: 0 });
    }
    let device = |number| {
        let context = Context::of(driver, number);
        context.find_again();
        let Features { mapped, overlay } = vendor.features(driver, number);
        Ok(Box::new(GpuDevice {
            context,
            vendor: vendor.clone(),
            space: Space::new(context, mapped, config.device_group),
            staging: Staging::new(context),
            streams: Streams::new(context),
            mirrors: number == 0 && overlay && config.same_address,
            builtin: Mutex::new(None),
            modules: Mutex::default(),
        }) as Box<dyn Device>)
    };
    (0..count as i32).map(device).collect()
}

impl<V: Vendor> GpuDevice<V> {
    fn load(&self, image: &[u8]) -> Result<NativeModule> {
        let _blocked = Blocked::new();
        // SAFETY: the image was made by us or is what the caller of `module_load` says it is.
        let module = unsafe { self.context.module_load(image) }? as NativeModule;
        self.modules.lock().unwrap_or_else(|e| e.into_inner()).push(module);
        Ok(module)
    }

    fn function(&self, module: NativeModule, name: &CStr) -> Result<Option<NativeKernel>> {
        let function = self.context.function(module as Handle, name)?;
        Ok(function.map(|f| NativeKernel::Driver(f as u64)))
    }
}

impl<V: Vendor> Device for GpuDevice<V> {
    fn name(&self) -> String {
        self.context.name()
    }
    fn backend(&self) -> &'static str {
        self.context.driver.backend
    }
    fn info(&self) -> DeviceInfo {
        let _blocked = Blocked::new();
        let (total, free) = self.context.memory().unwrap_or_default();
        DeviceInfo {
            name: self.context.name(),
            backend: self.backend(),
            memory_total: total as u64,
            memory_free: free as u64,
            same_address: self.mirrors && crate::heap::is_mirrored(),
        }
    }

    fn memory_total(&self) -> u64 {
        let _blocked = Blocked::new();
        self.context.memory().map_or(0, |(total, _)| total as u64)
    }
    fn memory_free(&self) -> u64 {
        let _blocked = Blocked::new();
        self.context.memory().map_or(0, |(_, free)| free as u64)
    }

    fn is_started(&self) -> bool {
        self.context.is_made()
    }
    fn check(&self) -> Result<()> {
        self.context.check_lost("asking for the device")
    }
    fn mirror(&self, hint: HostAddr, len: usize) -> Option<HostAddr> {
        if self.mirrors { self.space.mirror(hint, len) } else { None }
    }
    fn mirrors(&self) -> bool {
        self.mirrors && !self.space.reserves_memory()
    }
    fn mirrors_in_place(&self) -> bool {
        self.space.mirrors_in_place()
    }
    fn mirror_of(&self, host: ByteRange) -> Option<ByteRange> {
        self.space.mirror_of(host)
    }
    fn reserve(&self, host: ByteRange) -> Result<DeviceAddr> {
        self.space.reserve(host)
    }
    fn unreserve(&self, at: DeviceAddr) {
        self.space.unreserve(at);
    }
    fn reserves_memory(&self) -> bool {
        self.space.reserves_memory()
    }
    fn commit(&self, at: DeviceAddr, before: usize, after: usize) -> Result<()> {
        self.space.commit(at, before, after)
    }
    fn decommit(&self, at: DeviceAddr) {
        self.space.decommit(at);
    }
    fn clear(&self, parts: &mut dyn Iterator<Item = (DeviceAddr, usize)>) -> Result<()> {
        self.staging.clear(parts)
    }
    fn copy_in(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()> {
        self.staging.copy_in(runs)
    }
    fn copy_out(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()> {
        self.staging.copy_out(runs)
    }
    fn copy_peer(&self, to: DeviceAddr, source: &dyn Device, from: DeviceAddr, len: usize) -> Result<()> {
        let source = Context::of(self.context.driver, source.number());
        self.staging.copy_peer(to, source, from, len)
    }
    fn serves_faults_directly(&self) -> bool {
        false
    }
    fn number(&self) -> i32 {
        self.context.device
    }

    fn stream_create(&self) -> Result<NativeStream> {
        let _blocked = Blocked::new();
        self.streams.create()
    }
    unsafe fn stream_adopt(&self, native: *mut c_void) -> Result<NativeStream> {
        let _blocked = Blocked::new();
        // SAFETY: the caller's promise.
        unsafe { self.streams.adopt(native) }
    }
    fn stream_destroy(&self, stream: NativeStream) {
        let _blocked = Blocked::new();
        self.streams.destroy(stream);
    }
    fn check_stream(&self, stream: NativeStream) -> Result<()> {
        self.streams.check(stream)
    }
    fn signal(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()> {
        self.streams.signal(stream, timeline, ticket)
    }
    fn wait(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()> {
        self.streams.wait(stream, timeline, ticket)
    }
    fn callback(&self, stream: NativeStream, task: Box<dyn FnOnce() + Send>) -> Result<()> {
        let _blocked = Blocked::new();
        self.streams.task(stream, task)
    }

    fn runs_host_functions(&self) -> bool {
        false
    }
    unsafe fn module_load(&self, image: &[u8]) -> Result<NativeModule> {
        self.load(&self.vendor.image(self.context.driver, image)?)
    }
    fn module_function(&self, module: NativeModule, name: &str) -> Result<Option<NativeKernel>> {
        let _blocked = Blocked::new();
        // A name with a NUL in it is no kernel's.
        CString::new(name).map_or(Ok(None), |name| self.function(module, &name))
    }
    fn builtin(&self, name: &str) -> Result<Option<NativeKernel>> {
        let _blocked = Blocked::new();
        let mut builtin = self.builtin.lock().unwrap_or_else(|e| e.into_inner());
        let module = match *builtin {
            Some(module) => module,
            None => *builtin.insert(self.load(&self.vendor.builtin(self.context.driver)?)?),
        };
        self.module_function(module, name)
    }
    fn parameters(&self, kernel: NativeKernel) -> Option<Arc<[Param]>> {
        let NativeKernel::Driver(function) = kernel else { return None };
        let _blocked = Blocked::new();
        let sizes = self.context.parameters(function as Handle)?;
        Some(sizes.into_iter().map(Param::Sized).collect())
    }
    fn launch(
        &self,
        stream: NativeStream,
        kernel: NativeKernel,
        config: &LaunchConfig,
        mut args: Args,
    ) -> Result<()> {
        let NativeKernel::Driver(function) = kernel else {
            return Err(Error::Unsupported { what: "kernel", why: "a GPU can't run a function of the host" });
        };
        let handle = self.streams.handle(stream)?;
        // SAFETY: whoever made the kernel promised that it fits the arguments, and what they name has been acquired. The
        // driver copies the values before it returns.
        unsafe { self.context.launch(function as Handle, config, handle, &mut args.pointers()) }
    }
    fn close(&self) {
        let _blocked = Blocked::new();
        self.streams.close();
        for module in core::mem::take(&mut *self.modules.lock().unwrap_or_else(|e| e.into_inner())) {
            let _ = self.context.module_unload(module as Handle);
        }
        *self.builtin.lock().unwrap_or_else(|e| e.into_inner()) = None;
        self.staging.close();
        self.space.close();
    }
}
