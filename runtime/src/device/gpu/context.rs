//! One device of a driver: its context, which each of the typed `calls` makes current for its own length, so that the
//! program's current context stays what it is; and whether it is lost. API context, the service threads and the backend's
//! own threads; never the signal handler.

use super::driver::{Driver, call};
use super::table::*;
use crate::error::{Error, Result};
use crate::log::log;
use core::ffi::{CStr, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering::*};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A device with its primary context (CUDA), which the program's runtime library shares.
pub(crate) struct Context {
    pub(crate) driver: &'static Driver,
    /// The device's number, here and in the driver.
    pub(crate) device: i32,
    /// CUDA's context, once it was needed; NULL before, and with HIP, which knows devices only.
    primary: AtomicPtr<c_void>,
    /// Nothing that the device holds can be believed any more.
    lost: AtomicBool,
}

// SAFETY: a driver's handles can be used from every thread.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// All of them, by driver and device. Kept, and so are the primary contexts: giving one up would end what the program and
/// reserved addresses have in it.
static CONTEXTS: Mutex<Vec<&'static Context>> = Mutex::new(Vec::new());

/// The context is current until this is dropped; then what was is again.
pub(super) struct Current<'a> {
    context: &'a Context,
    before: Before,
    /// The thread's mode of stream capture before, if it had to be changed.
    capture: Option<i32>,
}

enum Before {
    /// This context, already.
    Same,
    /// CUDA: another context, or none (NULL).
    Context(Handle),
    /// HIP: another device.
    Device(i32),
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let Context { driver, device, .. } = *self.context;
        if let Some(mut mode) = self.capture {
            // SAFETY: takes and writes an int.
            let _ = unsafe { call!(driver, device, exchange_capture_mode(&mut mode)) };
        }
        // SAFETY: undoes what `Context::enter` did. A failure leaves this context current; there is no help.
        let _ = unsafe {
            match self.before {
                Before::Same => Ok(()),
                Before::Context(before) => call!(driver, device, context_set(before)),
                Before::Device(before) => call!(driver, device, set_device(before)),
            }
        };
    }
}

impl Context {
    /// Device number `device` of the driver. Costs nothing yet: a context of each device of a large machine would.
    pub(crate) fn of(driver: &'static Driver, device: i32) -> &'static Context {
        let mut contexts = CONTEXTS.lock().unwrap_or_else(|e| e.into_inner());
        let same = |c: &&&Context| core::ptr::eq(c.driver, driver) && c.device == device;
        if let Some(context) = contexts.iter().find(same) {
            return context;
        }
        let (primary, lost) = (AtomicPtr::new(null_mut()), AtomicBool::new(false));
        let context = Box::leak(Box::new(Context { driver, device, primary, lost }));
        contexts.push(context);
        context
    }

    /// Whether the device has been used: CUDA's context is made; HIP's devices always count as used.
    pub(crate) fn is_made(&self) -> bool {
        self.driver.kind == Kind::Hip || !self.primary.load(Acquire).is_null()
    }

    /// CUDA's primary context of the device, made when it is first needed.
    pub(super) fn primary(&self) -> Result<Handle> {
        let known = self.primary.load(Acquire);
        if !known.is_null() {
            return Ok(known);
        }
        let _alone = CONTEXTS.lock().unwrap_or_else(|e| e.into_inner());
        let mut primary = self.primary.load(Acquire);
        if primary.is_null() {
            let Context { driver, device, .. } = *self;
            let mut number = 0;
            // SAFETY: both write what they are given the address of.
            unsafe {
                call!(driver, device, device_get(&mut number, device))?;
                call!(driver, device, context_retain(&mut primary, number))?;
            }
            self.primary.store(primary, Release);
        }
        Ok(primary)
    }

    /// Whether the device was lost: then no byte that it holds may be taken for right.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Acquire)
    }

    /// Nothing can be known of the device's work any more.
    pub(crate) fn lose(&self, why: Error) {
        if !self.lost.swap(true, AcqRel) {
            log!(Error, "lost for good: {why}");
        }
    }

    /// Tries a call again that fails in a way which need not be for good, for a while. On a lost device it is not tried.
    pub(crate) fn patiently(&self, attempt: impl Fn(&Context) -> Result<()>) -> Result<()> {
        const PATIENCE: Duration = Duration::from_millis(500);
        let mut since = None;
        loop {
            self.check_lost("waiting")?;
            let Err(e) = attempt(self) else { return Ok(()) };
            if Context::is_capture(&e) {
                std::thread::sleep(Duration::from_millis(1)); // it ends with the program's capture
                continue;
            }
            if Context::is_fatal(&e) || since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(e);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// The device is opened anew.
    pub(crate) fn find_again(&self) {
        self.lost.store(false, Release);
    }

    /// A lost device's memory is not read or written.
    pub(super) fn check_lost(&self, call: &'static str) -> Result<()> {
        if self.is_lost() {
            return Err(Error::Device {
                device: self.device,
                call,
                code: 0,
                name: "the device was lost before",
            });
        }
        Ok(())
    }

    /// Whether an error is one that a device does not recover from: its context is gone, or what ran in it was ended.
    pub(crate) fn is_fatal(e: &Error) -> bool {
        // Both drivers: deinitialized, device unavailable, uncorrectable memory, illegal address, launch timeout, context
        // destroyed, assertion, hardware stack, illegal instruction, misaligned address, address space, program counter,
        // launch failure; CUDA's: NVLink, an exception that was contained, tensor memory.
        const CODES: [i32; 16] =
            [4, 46, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721];
        matches!(e, Error::Device { code, .. } if CODES.contains(code))
    }

    /// Whether an error comes from stream capture: it says nothing about the device.
    fn is_capture(e: &Error) -> bool {
        matches!(e, Error::Device { code: 900..=908, .. })
    }

    /// Makes the context current.
    pub(super) fn enter(&self) -> Result<Current<'_>> {
        let Context { driver, device, .. } = *self;
        let (mut now, mut number) = (null_mut(), device);
        // SAFETY: the context was retained and is never given up; the others take and write ints and handles.
        let before = unsafe {
            match driver.kind {
                Kind::Cuda => {
                    let primary = self.primary()?;
                    call!(driver, device, context_current(&mut now))?;
                    if now == primary {
                        Before::Same
                    } else {
                        call!(driver, device, context_set(primary))?;
                        Before::Context(now)
                    }
                }
                Kind::Hip => {
                    call!(driver, device, get_device(&mut number))?;
                    if number == device {
                        Before::Same
                    } else {
                        call!(driver, device, set_device(device))?;
                        Before::Device(number)
                    }
                }
            }
        };
        // Whatever other threads capture into a graph, our calls are not meant by it, and must not spoil it.
        let mut mode = CAPTURE_MODE_RELAXED;
        // SAFETY: takes and writes an int.
        let changed = unsafe { call!(driver, device, exchange_capture_mode(&mut mode)) };
        let capture = changed.is_ok().then_some(mode);
        let capture = capture.filter(|mode| *mode != CAPTURE_MODE_RELAXED);
        Ok(Current { context: self, before, capture })
    }

    /// The device's name.
    pub(crate) fn name(&self) -> String {
        let mut text = [0u8; 256];
        // SAFETY: the driver writes at most 255 bytes and a NUL.
        let named = unsafe {
            call!(self.driver, self.device, device_name(text.as_mut_ptr().cast(), 255, self.device))
        };
        let name = named.ok().and_then(|()| CStr::from_bytes_until_nul(&text).ok());
        name.map_or_else(|| String::from("a device without a name"), |n| n.to_string_lossy().into_owned())
    }

    /// Total and free bytes of its memory.
    pub(crate) fn memory(&self) -> Result<(usize, usize)> {
        let _current = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two sizes.
        unsafe { call!(self.driver, self.device, memory_info(&mut free, &mut total)) }?;
        Ok((total, free))
    }
}
