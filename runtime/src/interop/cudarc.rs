//! Managed memory and the crate [`cudarc`]: its stream as a stream of ours, acquired memory as its views. API
//! context only.

use super::common::{Native, adopt, part};
use crate::error::{Error, Result};
use crate::guard::AccessGuard;
use crate::handle::{Device, Stream};
use ::cudarc::driver::sys::{CUdeviceptr, cuGetErrorName};
use ::cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtrMut, DeviceRepr, DriverError};
use bytemuck::Pod;
use core::ffi::CStr;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use std::sync::Arc;

const CUDARC: Native = Native {
    backend: "cuda",
    why: "cudarc speaks to NVIDIA's driver: the device must be of the cuda backend",
};

/// A stream of cudarc's as a [`Stream`]. It keeps theirs alive; dropping it waits for its work and leaves theirs alone.
///
/// ```no_run
/// use cudarc::driver::{CudaContext, DevicePtr};
/// use hmmrt::interop::cudarc::CudarcStream;
/// use hmmrt::{ManagedVec, Runtime, Use};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let theirs = CudaContext::new(0)?.new_stream()?;
/// let mut x = ManagedVec::<u32>::zeroed(4096)?;
/// let y = theirs.clone_htod(&[7_u32; 4096])?;
///
/// let stream = CudarcStream::new(&Runtime::new()?.device(0)?, &theirs)?;
/// let guard = stream.acquire(vec![Use::write(&mut x)])?;
/// {
///     let mut x = stream.lend_mut::<u32>(&guard, 0)?;
///     theirs.memcpy_dtod(&y, &mut x.view_mut())?; // or launch_builder(..).arg(&mut x.view_mut())
/// }
/// guard.release()?; // the device is done with x when the stream gets here
/// assert_eq!(x[4095], 7); // the touch waits for the copy
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CudarcStream {
    // Dropped first.
    stream: Stream,
    theirs: Arc<CudaStream>,
    /// Where theirs is a default stream: cudarc has streams wait for each other only while a context has others, so it has one.
    _other: Option<Arc<CudaStream>>,
}

impl CudarcStream {
    /// Takes a stream of cudarc's, which may be a default stream, on the same device.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the device is not of the cuda backend, for streams of a context that is not the device's
    /// primary one, and for the per-thread default stream; [`Error::InvalidArgument`] if the stream is another device's.
    pub fn new(device: &Device, theirs: &Arc<CudaStream>) -> Result<CudarcStream> {
        let context = theirs.context();
        if !context.is_primary() {
            return Err(Error::Unsupported {
                what: "theirs",
                why: "it is not of the device's primary context",
            });
        }
        // SAFETY: a stream of cudarc's is a live one of the CUDA driver, and is kept alive below.
        let stream = unsafe { adopt(device, &CUDARC, theirs.cu_stream().cast()) }?;
        if usize::try_from(device.number()) != Ok(context.ordinal()) {
            return Err(Error::InvalidArgument { arg: "theirs", why: "it is not of the device" });
        }
        let mut both = CudarcStream { stream, theirs: Arc::clone(theirs), _other: None };
        if theirs.cu_stream().is_null() {
            both._other = Some(context.new_stream().map_err(|e| both.error("cuStreamCreate", e))?);
        }
        Ok(both)
    }

    /// Use number `index` of the guard as a device address, for calls of the driver. 0 for empty memory.
    ///
    /// Only device work that is queued on this stream before the guard's release may use it, in the way that the memory
    /// was acquired for.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the guard is of another stream, if it has fewer uses, or if the memory is not aligned
    /// for `T` or not a whole number of them.
    pub fn pointer<T: DeviceRepr>(&self, guard: &AccessGuard<'_>, index: usize) -> Result<CUdeviceptr> {
        Ok(part::<T>(&self.stream, guard, index, false)?.0)
    }

    /// Use number `index` of the guard as something that gives views: for kernels that read it, and as the source of copies.
    ///
    /// # Errors
    /// As [`CudarcStream::pointer`], and [`Error::Device`] for an error that cudarc's context has on record.
    pub fn lend<'g, T: Pod + DeviceRepr>(
        &self,
        guard: &'g AccessGuard<'_>,
        index: usize,
    ) -> Result<Lent<'g, T>> {
        self.part(guard, index, false)
    }

    /// Use number `index` of the guard as something that gives views that can be written: for kernels, and as the
    /// destination of copies.
    ///
    /// # Errors
    /// As [`CudarcStream::lend`], and [`Error::InvalidArgument`] for memory that was acquired for reading.
    pub fn lend_mut<'g, T: Pod + DeviceRepr>(
        &self,
        guard: &'g AccessGuard<'_>,
        index: usize,
    ) -> Result<LentMut<'g, T>> {
        Ok(LentMut(self.part(guard, index, true)?))
    }

    fn part<'g, T: Pod + DeviceRepr>(
        &self,
        guard: &'g AccessGuard<'_>,
        index: usize,
        write: bool,
    ) -> Result<Lent<'g, T>> {
        let (at, len) = part::<T>(&self.stream, guard, index, write)?;
        // cudarc makes the slice's events with `unwrap`: whatever would fail there fails here first.
        let context = self.theirs.context();
        context.new_event(None).map_err(|e| self.error("cuEventCreate", e))?;
        // SAFETY: device memory of so many elements, which any bytes are, for as long as the guard lives, to which the
        // result is bound. The slice is never dropped: that would free it.
        let mut slice = ManuallyDrop::new(unsafe { self.theirs.upgrade_device_ptr::<T>(at, len) });
        // What cudarc queues on other streams is to wait for what the acquire has queued on this one.
        drop(slice.device_ptr_mut(&self.theirs).1);
        Ok(Lent { slice, _guard: PhantomData })
    }

    fn error(&self, call: &'static str, error: DriverError) -> Error {
        let mut name = core::ptr::null();
        // SAFETY: writes an address, which is NULL or a static text's.
        let name = unsafe {
            let _ = cuGetErrorName(error.0, &mut name);
            if name.is_null() { None } else { CStr::from_ptr(name).to_str().ok() }
        };
        let name = name.unwrap_or("a code that the driver has no name for");
        Error::Device { device: self.stream.device().number(), call, code: error.0 as i32, name }
    }
}

impl Deref for CudarcStream {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}

/// Acquired memory that is lent to cudarc: gives views, owns and frees nothing. Dropping it makes the guard's stream wait
/// for what was queued with its views on others; so it must be dropped before the guard is released. A forgotten one
/// leaves that wait out.
///
/// ```compile_fail,E0505
/// # use hmmrt::interop::cudarc::CudarcStream;
/// # use hmmrt::{ManagedVec, Use};
/// # fn f(stream: CudarcStream) -> Result<(), Box<dyn std::error::Error>> {
/// # let x = ManagedVec::from_slice(&[5_u64; 512])?;
/// let guard = stream.acquire(vec![Use::read(&x)])?;
/// let lent = stream.lend::<u64>(&guard, 0)?;
/// guard.release()?; // the view could still be used
/// let view = lent.view();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Lent<'g, T> {
    slice: ManuallyDrop<CudaSlice<T>>,
    // A guard stays on its thread, and so does this.
    _guard: PhantomData<&'g AccessGuard<'g>>,
}

impl<T> Lent<'_, T> {
    /// The memory as cudarc's `&[T]`.
    pub fn view(&self) -> CudaView<'_, T> {
        self.slice.as_view()
    }
}

impl<T> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        // SAFETY: taken out here only, and not used after this.
        let slice = unsafe { ManuallyDrop::take(&mut self.slice) };
        // Gives its events and its stream up and leaves the memory to whom it belongs.
        let _ = slice.leak();
    }
}

/// As [`Lent`], and can be written.
#[derive(Debug)]
pub struct LentMut<'g, T>(Lent<'g, T>);

impl<T> LentMut<'_, T> {
    /// The memory as cudarc's `&[T]`.
    pub fn view(&self) -> CudaView<'_, T> {
        self.0.view()
    }

    /// The memory as cudarc's `&mut [T]`.
    pub fn view_mut(&mut self) -> CudaViewMut<'_, T> {
        self.0.slice.as_view_mut()
    }
}
