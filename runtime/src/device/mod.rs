//! What the runtime asks of a device, and the list of devices. One folder per backend with the same file names; nothing
//! else calls a driver. Each method says from where it may be called; `copy_out` of a device that serves faults
//! directly is the only one that the signal handler reaches.

pub mod host;

use crate::addr::{ByteRange, DeviceAddr, HostAddr};
use crate::config::{Backend, Config};
use crate::error::{Error, Result};
use crate::launch::{HostFunction, LaunchConfig};
use crate::stream::Timeline;
use core::sync::atomic::{AtomicPtr, Ordering::*};

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
    /// A host function (host backend), with what is known of its parameters.
    Host(HostFunction, Option<&'static [Param]>),
}

/// What a kernel's parameter is, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// A device address.
    Pointer,
    /// A value of so many bytes.
    Value(usize),
}

/// The arguments of one launch, owned until the kernel has run: values one behind the other, 8-byte aligned.
pub(crate) struct Args {
    words: Box<[u64]>,
    offsets: Box<[usize]>,
}

impl Args {
    /// Copies the values.
    pub(crate) fn new(values: &[&[u8]]) -> Args {
        let mut offsets = Vec::with_capacity(values.len());
        let mut words = Vec::new();
        for v in values {
            offsets.push(words.len());
            words.extend(v.chunks(8).map(|c| {
                let mut w = [0u8; 8];
                w[..c.len()].copy_from_slice(c);
                u64::from_ne_bytes(w)
            }));
        }
        Args { words: words.into(), offsets: offsets.into() }
    }
    /// Pointers to the values, in order. Valid while `self` lives.
    pub(crate) fn pointers(&self) -> Vec<*mut core::ffi::c_void> {
        self.offsets.iter().map(|&o| self.words[o..].as_ptr().cast_mut().cast()).collect()
    }
}

/// One device. All methods but `copy_out` (see there) are called outside the fault path.
pub(crate) trait Device: Send + Sync {
    /// What it is.
    fn info(&self) -> DeviceInfo;

    /// Reserves device address space that mirrors the host range `host` (chunk-aligned): byte i of one is byte i of
    /// the other. Nothing is backed yet. Never given back while the device lives.
    fn reserve(&self, host: ByteRange) -> Result<DeviceAddr>;
    /// Puts device memory behind reserved addresses (whole chunks).
    fn commit(&self, at: DeviceAddr, len: usize) -> Result<()>;
    /// Takes it away again; no kernel uses it any more.
    fn decommit(&self, at: DeviceAddr, len: usize);
    /// Fills committed memory with zeros; done on return.
    fn clear(&self, at: DeviceAddr, len: usize) -> Result<()>;

    /// Copies host to device; done on return. The host pages are readable and nobody writes them.
    fn copy_in(&self, to: DeviceAddr, from: HostAddr, len: usize) -> Result<()>;
    /// Copies device to host, into memory that only the caller sees; done on return. Called by the signal handler when
    /// [`Device::serves_faults_directly`], and then signal-safe.
    fn copy_out(&self, to: HostAddr, from: DeviceAddr, len: usize) -> Result<()>;
    /// Copies from another device of the same backend; done on return.
    fn copy_peer(&self, to: DeviceAddr, source: &dyn Device, from: DeviceAddr, len: usize) -> Result<()>;
    /// Whether the signal handler may call `copy_out` itself. Never true of a driver.
    fn serves_faults_directly(&self) -> bool;

    /// Makes a stream. `None` is the default stream, made with the device.
    fn stream_create(&self) -> Result<NativeStream>;
    /// Ends a stream on which nothing is left to do.
    fn stream_destroy(&self, stream: NativeStream);
    /// When the stream gets here: `timeline` reaches `ticket`.
    fn signal(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()>;
    /// What follows on the stream waits until `timeline` has reached `ticket`.
    fn wait(&self, stream: NativeStream, timeline: &'static Timeline, ticket: u64) -> Result<()>;
    /// When the stream gets here: runs `task` on a thread of the backend; what follows on the stream waits for it.
    fn callback(&self, stream: NativeStream, task: Box<dyn FnOnce() + Send>) -> Result<()>;

    /// Finds a built-in kernel (see `kernels/`).
    fn builtin(&self, name: &str) -> Option<NativeKernel>;
    /// Queues a kernel.
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

/// The devices of a running runtime. Made at the first device use, replaced only by shutdown; a list once made is never
/// freed, so that a thread in the fault path can go on reading it.
pub(crate) struct Devices {
    list: Vec<Box<dyn Device>>,
}

static DEVICES: AtomicPtr<Devices> = AtomicPtr::new(core::ptr::null_mut());

impl Devices {
    /// The devices, if any were opened. Signal-safe.
    pub(crate) fn get() -> Option<&'static Devices> {
        // SAFETY: a list that was published here is never freed.
        unsafe { DEVICES.load(Acquire).as_ref() }
    }

    /// Opens what the configuration asks for. The caller holds the runtime's lock.
    pub(crate) fn open(config: &Config) -> Result<&'static Devices> {
        let list = match config.backend {
            Backend::Auto | Backend::Host => host::open(config)?,
            Backend::Cuda | Backend::Hip => {
                return Err(Error::Unsupported {
                    what: "HMMRT_BACKEND",
                    why: "this release has the host backend only",
                });
            }
        };
        let devices = Box::leak(Box::new(Devices { list }));
        DEVICES.store(devices, Release);
        Ok(devices)
    }

    /// Forgets the devices (after shutdown has brought everything home).
    pub(crate) fn close() {
        if let Some(devices) = Devices::get() {
            DEVICES.store(core::ptr::null_mut(), Release);
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
