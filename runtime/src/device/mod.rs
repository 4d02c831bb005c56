//! What the runtime asks of a device, and the list of devices. One folder per backend with the same file names; nothing
//! else calls a driver. Each method says from where it may be called; `copy_out` of a device that serves faults
//! directly is the only one that the signal handler reaches.

pub(crate) mod cuda;
pub(crate) mod gpu;
pub(crate) mod hip;
pub mod host;

use crate::addr::{ByteRange, DeviceAddr, HostAddr};
use crate::config::{Backend, Config};
use crate::error::{Error, Result};
use crate::launch::{HostFunction, LaunchConfig};
use crate::log::log;
use crate::stream::Timeline;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::*, fence};
use std::sync::Arc;

/// The most devices one process can use: the table keeps a slot for each in every chunk.
pub const MAX_DEVICES: usize = 8;

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// `host`, `cuda` or `hip`.
    pub backend: &'static str,
    /// Device memory in bytes.
    pub memory_total: u64,
    /// Device memory not in use, in bytes.
    pub memory_free: u64,
    /// Whether managed pointers are valid in kernels as they are.
    pub same_address: bool,
}

/// A stream of the backend: the host backend's own number, or the driver's handle.
pub(crate) type NativeStream = u64;

/// A kernel of the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NativeKernel {
    /// A host function (host backend).
    Host(HostFunction),
    /// A driver's handle.
    Driver(u64),
}

impl NativeKernel {
    /// Whether both are the same kernel.
    pub(crate) fn is(self, other: NativeKernel) -> bool {
        match (self, other) {
            (NativeKernel::Host(a), NativeKernel::Host(b)) => core::ptr::fn_addr_eq(a, b),
            (NativeKernel::Driver(a), NativeKernel::Driver(b)) => a == b,
            _ => false,
        }
    }
}

/// A driver's module.
pub(crate) type NativeModule = u64;

/// Consecutive bytes to copy between host and device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) device: DeviceAddr,
    pub(crate) host: HostAddr,
    pub(crate) len: usize,
}

/// What a kernel's parameter is, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// A device address.
    Pointer,
    /// A value of so many bytes.
    Value(usize),
    /// So many bytes: a device address if they are 8, or a value.
    Sized(usize),
}

/// The arguments of one launch, owned until the kernel has run: values one behind the other, 16-byte aligned.
pub(crate) struct Args {
    words: Box<[u128]>,
    offsets: Box<[usize]>,
}

impl Args {
    /// Copies the values.
    pub(crate) fn new(values: &[&[u8]]) -> Args {
        let mut offsets = Vec::with_capacity(values.len());
        let mut words = Vec::new();
        for v in values {
            offsets.push(words.len());
            words.extend(v.chunks(16).map(|c| {
                let mut w = [0u8; 16];
                w[..c.len()].copy_from_slice(c);
                u128::from_ne_bytes(w)
            }));
        }
        Args { words: words.into(), offsets: offsets.into() }
    }
    /// Pointers to the values, in order; a kernel may write to its own. Valid until `self` is moved or asked again.
    pub(crate) fn pointers(&mut self) -> Vec<*mut core::ffi::c_void> {
        let mut all = Vec::with_capacity(self.count());
        self.pointers_in(&mut all);
        all
    }
    /// As [`Args::pointers`], in `all`, which allocates nothing where there is room.
    pub(crate) fn pointers_in(&mut self, all: &mut Vec<*mut core::ffi::c_void>) {
        let words = self.words.as_mut_ptr();
        all.clear();
        all.extend(self.offsets.iter().map(|&o| words.wrapping_add(o).cast::<core::ffi::c_void>()));
    }
    /// How many values there are.
    pub(crate) fn count(&self) -> usize {
        self.offsets.len()
    }
}

/// One device. All methods but `copy_out` (see there) are called outside the fault path.
pub(crate) trait Device: Send + Sync {
    /// Its name.
    fn name(&self) -> String;
    /// `host`, `cuda` or `hip`.
    fn backend(&self) -> &'static str;
    /// What it is. Of a GPU it makes the context, if need be.
    fn info(&self) -> DeviceInfo;
    /// How much memory it has, in bytes; 0 if the driver does not say.
    fn memory_total(&self) -> u64;
    /// How much of it is not in use, in bytes; 0 if the driver does not say. Takes no lock of the heap's.
    fn memory_free(&self) -> u64;
    /// Its number.
    fn number(&self) -> i32;

    /// Whether it has been used at all: a GPU that has not has no context yet, and nothing to wait for.
    fn is_started(&self) -> bool {
        true
    }

    /// An error if it is known to be lost: what it has may not be believed any more. A load.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the device can see host memory at the host's own addresses, if these were reserved with [`Device::mirror`].
    fn mirrors(&self) -> bool {
        false
    }
    /// Reserves `len` bytes of device address space at `hint`, for host memory that the caller then lays over it. `None`:
    /// not to be had there. Never given back.
    fn mirror(&self, hint: HostAddr, len: usize) -> Option<HostAddr> {
        let _ = (hint, len);
        None
    }
    /// Whether [`Device::mirror`] may be asked for addresses at which there is host memory, which it then leaves alone.
    fn mirrors_in_place(&self) -> bool {
        false
    }
    /// The mirrored range that all of `host` lies in.
    fn mirror_of(&self, host: ByteRange) -> Option<ByteRange> {
        let _ = host;
        None
    }
    /// Reserves device address space for the host range `host` (chunk-aligned): byte i of one is byte i of the other.
    /// Nothing is backed yet, unless the device [reserves memory](Device::reserves_memory).
    fn reserve(&self, host: ByteRange) -> Result<DeviceAddr>;
    /// Gives reserved address space back in which nothing is committed.
    fn unreserve(&self, at: DeviceAddr);
    /// Whether reserving takes memory: then only what is needed should be reserved, and be given back with its block.
    fn reserves_memory(&self) -> bool {
        false
    }
    /// Puts device memory behind the chunk at `at`; the block that it is part of has `before` and `after` bytes around it,
    /// in whole chunks.
    fn commit(&self, at: DeviceAddr, before: usize, after: usize) -> Result<()>;
    /// The chunk needs no memory any more; no kernel uses it.
    fn decommit(&self, at: DeviceAddr);
    /// Fills committed memory with zeros; done on return.
    fn clear(&self, parts: &mut dyn Iterator<Item = (DeviceAddr, usize)>) -> Result<()>;

    /// Copies host to device; done on return. The host pages are readable and nobody writes them.
    fn copy_in(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()>;
    /// Copies device to host, into memory that only the caller sees; done on return. Called by the signal handler when
    /// [`Device::serves_faults_directly`], and then signal-safe.
    fn copy_out(&self, runs: &mut dyn Iterator<Item = Run>) -> Result<()>;
    /// Copies from another device of the same backend; done on return.
    fn copy_peer(&self, to: DeviceAddr, source: &dyn Device, from: DeviceAddr, len: usize) -> Result<()>;
    /// Whether the signal handler may call `copy_out` itself. Never true of a driver.
    fn serves_faults_directly(&self) -> bool;

    /// Makes a stream. `None` is the default stream, made with the device.
    fn stream_create(&self) -> Result<NativeStream>;
    /// Takes note of a stream of the driver's own, which stays the program's.
    ///
    /// # Safety
    /// `native` is a live stream of the driver and outlives the result.
    unsafe fn stream_adopt(&self, native: *mut c_void) -> Result<NativeStream>;
    /// Ends a stream on which nothing is left to do; an adopted one is only forgotten.
    fn stream_destroy(&self, stream: NativeStream);
    /// An error if what is queued on the stream now would not be done when its turn comes, but go into a graph.
    fn check_stream(&self, stream: NativeStream) -> Result<()> {
        let _ = stream;
        Ok(())
    }
    /// When the stream gets here: `timeline` reaches `ticket`.
    fn signal(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()>;
    /// What follows on the stream waits until `timeline` has reached `ticket`.
    fn wait(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()>;
    /// When the stream gets here: runs `task` on a thread of the backend. Later marks are reached after it.
    fn callback(&self, stream: NativeStream, task: Box<dyn FnOnce() + Send>) -> Result<()>;

    /// Whether kernels are functions of the host.
    fn runs_host_functions(&self) -> bool;
    /// Loads device code.
    ///
    /// # Safety
    /// `image` is what it says it is: drivers trust it.
    unsafe fn module_load(&self, image: &[u8]) -> Result<NativeModule>;
    /// A kernel of a module, if it has one of that name.
    fn module_function(&self, module: NativeModule, name: &str) -> Result<Option<NativeKernel>>;
    /// Finds a built-in kernel (see `kernels/`).
    fn builtin(&self, name: &str) -> Result<Option<NativeKernel>>;
    /// What is known of the parameters of a kernel that is not built in.
    fn parameters(&self, kernel: NativeKernel) -> Option<Arc<[Param]>> {
        let _ = kernel;
        None
    }
    /// Queues a kernel. Signals are blocked: a handler that touches managed memory must not find this thread inside of a driver.
    fn launch(
        &self,
        stream: NativeStream,
        kernel: NativeKernel,
        config: &LaunchConfig,
        args: Args,
    ) -> Result<()>;
    /// Ends the device's threads; nothing is queued any more.
    fn close(&self);
}

/// What one backend has to offer here (`hmmrt info`).
#[derive(Clone, Debug)]
pub struct BackendReport {
    /// `cuda`, `hip` or `host`.
    pub backend: &'static str,
    /// Its devices, or why there are none.
    pub devices: Result<Vec<DeviceInfo>>,
}

/// Tries every backend, in the order in which `auto` does: the first that has devices is what it takes. Loads and initialises
/// the drivers that are there; the devices are closed again. For a process that has not opened devices otherwise.
pub fn probe(config: &Config) -> Vec<BackendReport> {
    let report = |backend, list: Result<Vec<Box<dyn Device>>>| BackendReport {
        backend,
        devices: list.map(|list| {
            let infos = list.iter().map(|d| d.info()).collect();
            list.iter().for_each(|d| d.close());
            infos
        }),
    };
    vec![
        report("cuda", cuda::open(config)),
        report("hip", hip::open_if_any(config)),
        report("host", host::open(config)),
    ]
}

/// The devices of a running runtime. Made at the first device use, replaced only by shutdown; a list once made is never
/// freed, so that a thread in the fault path can go on reading it.
pub(crate) struct Devices {
    list: Vec<Box<dyn Device>>,
    /// Each one's memory, once anybody has asked.
    totals: [AtomicU64; MAX_DEVICES],
}

static DEVICES: AtomicPtr<Devices> = AtomicPtr::new(core::ptr::null_mut());
/// 1 while devices are open, for assembly that asks.
pub static OPEN: AtomicUsize = AtomicUsize::new(0);

impl Devices {
    /// The devices, if any were opened. Signal-safe.
    #[inline]
    pub(crate) fn get() -> Option<&'static Devices> {
        // SAFETY: a list that was published here is never freed.
        unsafe { DEVICES.load(Acquire).as_ref() }
    }

    /// Opens what the configuration asks for. The caller holds the runtime's lock.
    pub(crate) fn open(config: &Config) -> Result<&'static Devices> {
        let list = match config.backend {
            Backend::Host => host::open(config)?,
            Backend::Cuda => cuda::open(config)?,
            Backend::Hip => hip::open(config)?,
            Backend::Auto => Devices::open_any(config)?,
        };
        let devices = Box::leak(Box::new(Devices { list, totals: Default::default() }));
        OPEN.store(1, Release);
        DEVICES.store(devices, Release);
        fence(SeqCst); // `holds` looks here, and whoever sends pages looks there
        Ok(devices)
    }

    /// The first backend that has a device; says why the others have not. A driver that the program itself has loaded
    /// comes before others.
    fn open_any(config: &Config) -> Result<Vec<Box<dyn Device>>> {
        type Open = fn(&Config) -> Result<Vec<Box<dyn Device>>>;
        let mut backends: [(&str, Open); 2] = [("cuda", cuda::open), ("hip", hip::open_if_any)];
        if hip::is_loaded() && !cuda::is_loaded() {
            backends.reverse();
        }
        for (name, open) in backends {
            match open(config) {
                Ok(list) => return Ok(list),
                Err(e) => log!(Info, "the {name} backend is not used: {e}"),
            }
        }
        host::open(config)
    }

    /// How much memory a device has, whoever uses it, if its driver says so. That is asked once.
    pub(crate) fn memory(&self, device: usize) -> Option<u64> {
        let total = match self.totals[device].load(Relaxed) {
            0 => self.at(device).memory_total(),
            total => return Some(total),
        };
        self.totals[device].store(total, Relaxed);
        Some(total).filter(|total| *total > 0)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn Device> {
        self.list.iter().map(|d| &**d)
    }

    /// Their numbers, those that are known to be lost last. Signal-safe.
    pub(crate) fn sound_first(&self) -> impl Iterator<Item = usize> {
        let sound = |d: &usize| self.at(*d).check().is_ok();
        (0..self.count()).filter(sound).chain((0..self.count()).filter(move |d| !sound(d)))
    }

    /// Forgets the devices (after shutdown has brought everything home).
    pub(crate) fn close() {
        if let Some(devices) = Devices::get() {
            DEVICES.store(core::ptr::null_mut(), Release);
            OPEN.store(0, Release);
            devices.list.iter().for_each(|d| d.close());
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Device number `device`. Signal-safe.
    pub(crate) fn at(&self, device: usize) -> &dyn Device {
        &*self.list[device]
    }

    /// Checks a device number of the caller's.
    pub(crate) fn index(&self, device: i32) -> Result<usize> {
        usize::try_from(device)
            .ok()
            .filter(|d| *d < self.list.len())
            .ok_or(Error::NoDevice { device, count: self.list.len() })
    }
}
