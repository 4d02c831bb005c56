//! The peers' kernels: the same device code as the runtime's, loaded and launched through the driver's own functions.

use crate::Outcome;
use crate::compile;
use crate::driver::{Driver, Handle, Kind, call};
use crate::memory::OnDevice;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;

/// The triad: PTX for CUDA, source for HIP.
pub const TRIAD_PTX: &[u8] = include_bytes!("../../kernels/triad.ptx");
/// Its source.
pub const TRIAD_SOURCE: &[u8] = include_bytes!("../../kernels/triad.cu");
const BUILTIN_PTX: &[u8] = include_bytes!("../../../kernels/kernels.ptx");
const BUILTIN_SOURCE: &[u8] = include_bytes!("../../../kernels/kernels.cu");

/// Threads of a block, and the most blocks of a grid: enough for any GPU, and the kernels stride over what is left.
pub const THREADS: u32 = 256;
const BLOCKS: usize = 1 << 14;

/// Blocks for `n` threads.
pub fn blocks(n: usize) -> u32 {
    n.div_ceil(THREADS as usize).clamp(1, BLOCKS) as u32
}

/// The kernels that the peers use.
pub struct Kernels {
    driver: &'static Driver,
    fill: Handle,
    triad: Handle,
}

impl Kernels {
    /// Loads both modules, which stay loaded.
    pub fn load(driver: &'static Driver) -> Outcome<Self> {
        let [fill, triad] = match driver.kind {
            Kind::Cuda => [(BUILTIN_PTX, c"hmm_fill"), (TRIAD_PTX, c"triad")],
            Kind::Hip => [(BUILTIN_SOURCE, c"hmm_fill"), (TRIAD_SOURCE, c"triad")],
        };
        let kernel = |(code, name): (&[u8], &CStr)| {
            let mut image = match driver.kind {
                Kind::Cuda => code.to_vec(),
                Kind::Hip => compile::compile(driver, code)?,
            };
            image.push(0);
            let (mut module, mut function) = (null_mut(), null_mut());
            // SAFETY: PTX that ends with a NUL, or what the driver's compiler made; writes two handles.
            unsafe {
                call!(driver, module_load(&mut module, image.as_ptr().cast()))?;
                call!(driver, module_function(&mut function, module, name.as_ptr()))?;
            }
            Outcome::Ok(function)
        };
        Ok(Self { driver, fill: kernel(fill)?, triad: kernel(triad)? })
    }

    /// Queues `hmm_fill` of the first `words` words.
    pub fn fill(&self, memory: &dyn OnDevice, value: u32, words: usize) -> Outcome {
        assert!(words * 4 <= memory.len());
        let (mut address, mut value, mut n) = (memory.address(), value, words as u64);
        let mut args = [(&raw mut address).cast(), (&raw mut value).cast(), (&raw mut n).cast()];
        // SAFETY: hmm_fill's parameters, and the memory is long enough.
        unsafe { self.launch(self.fill, words, &mut args) }
    }

    /// Queues the triad over `n` elements.
    pub fn triad(&self, arrays: [&dyn OnDevice; 3], s: f64, n: usize) -> Outcome {
        assert!(arrays.iter().all(|a| n * 8 <= a.len()));
        let ([mut a, mut b, mut c], mut s, mut n64) = (arrays.map(|a| a.address()), s, n as u64);
        let mut args = [
            (&raw mut a).cast(),
            (&raw mut b).cast(),
            (&raw mut c).cast(),
            (&raw mut s).cast(),
            (&raw mut n64).cast(),
        ];
        // SAFETY: triad's parameters, and the arrays are long enough.
        unsafe { self.launch(self.triad, n, &mut args) }
    }

    /// # Safety
    /// The arguments fit the kernel, which stays inside of what they name.
    unsafe fn launch(&self, kernel: Handle, n: usize, args: &mut [*mut c_void]) -> Outcome {
        let driver = self.driver;
        // SAFETY: the caller's promise; values are copied before the call returns.
        unsafe {
            call!(
                driver,
                launch(
                    kernel,
                    blocks(n),
                    1,
                    1,
                    THREADS,
                    1,
                    1,
                    0,
                    driver.stream,
                    args.as_mut_ptr(),
                    null_mut()
                )
            )
        }
    }
}

/// Two events with time stamps, around what is queued between them.
pub struct Stopwatch {
    driver: &'static Driver,
    events: [Handle; 2],
}

impl Stopwatch {
    /// Makes the events, which stay.
    pub fn new(driver: &'static Driver) -> Outcome<Self> {
        let mut events = [null_mut(); 2];
        for event in &mut events {
            // SAFETY: writes a handle.
            unsafe { call!(driver, event_create(event, 0)) }?;
        }
        Ok(Self { driver, events })
    }

    /// Nanoseconds that the device takes for what `queue` queues.
    pub fn time(&self, queue: impl FnOnce() -> Outcome) -> Outcome<f64> {
        let (driver, [start, end]) = (self.driver, self.events);
        // SAFETY: our events and stream.
        unsafe { call!(driver, event_record(start, driver.stream)) }?;
        queue()?;
        let mut milliseconds = 0.0;
        // SAFETY: as above; writes a float.
        unsafe {
            call!(driver, event_record(end, driver.stream))?;
            call!(driver, event_synchronize(end))?;
            call!(driver, event_elapsed(&mut milliseconds, start, end))?;
        }
        Ok(f64::from(milliseconds) * 1e6)
    }
}
