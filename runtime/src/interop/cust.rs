//! Managed memory and the crate [`cust`]: its stream as a stream of ours, acquired memory as its device pointer and
//! device slice. API context only.

use super::common::{Native, adopt, part};
use crate::error::Result;
use crate::guard::AccessGuard;
use crate::handle::{Device, Stream};
use ::cust::error::CudaResult;
use ::cust::memory::{CopyDestination, DeviceCopy, DevicePointer, DeviceSlice};
use bytemuck::Pod;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

const CUST: Native =
    Native { backend: "cuda", why: "cust speaks to NVIDIA's driver: the device must be of the cuda backend" };

/// A stream of cust's as a [`Stream`]. It borrows theirs; dropping it waits for its work and leaves theirs alone.
///
/// ```no_run
/// use cust::prelude::*;
/// use hmmrt::interop::cust::CustStream;
/// use hmmrt::{ManagedVec, Runtime, Use};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ptx = "";
/// let _context = cust::quick_init()?; // the first device's primary context, which the runtime uses too
/// let module = Module::from_ptx(ptx, &[])?;
/// let inc = module.get_function("inc")?;
/// let theirs = cust::stream::Stream::new(StreamFlags::DEFAULT, None)?;
///
/// let mut x = ManagedVec::from_slice(&[41_u32; 4096])?;
/// let stream = CustStream::new(&Runtime::new()?.device(0)?, &theirs)?;
/// let guard = stream.acquire(vec![Use::read_write(&mut x)])?;
/// let p = stream.pointer::<u32>(&guard, 0)?;
/// // SAFETY: the kernel adds 1 to the first 4096 words at p.
/// unsafe { launch!(inc<<<16, 256, 0, theirs>>>(p, 4096_u64))? };
/// guard.release()?; // the device is done with x when the stream gets here
/// assert_eq!(x[4095], 42); // the touch waits for the kernel
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CustStream<'s> {
    stream: Stream,
    _theirs: PhantomData<&'s ::cust::stream::Stream>,
}

impl<'s> CustStream<'s> {
    /// Takes a stream of cust's on the same device.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) if the device is not of the cuda backend;
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the stream is not of the device's primary context.
    pub fn new(device: &Device, theirs: &'s ::cust::stream::Stream) -> Result<CustStream<'s>> {
        // SAFETY: a stream of cust's is a live one of the CUDA driver, and the borrow keeps it alive.
        let stream = unsafe { adopt(device, &CUST, theirs.as_inner().cast()) }?;
        Ok(CustStream { stream, _theirs: PhantomData })
    }

    /// Use number `index` of the guard as a device pointer: an argument for kernels. Null for empty memory.
    ///
    /// Only device work that is queued on this stream before the guard's release may use it, in the way that the memory
    /// was acquired for; all that takes a device pointer is `unsafe`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the guard is of another stream, if it has fewer uses,
    /// or if the memory is not aligned for `T` or not a whole number of them.
    pub fn pointer<T: DeviceCopy>(&self, guard: &AccessGuard<'_>, index: usize) -> Result<DevicePointer<T>> {
        let (at, _) = part::<T>(&self.stream, guard, index, false)?;
        Ok(DevicePointer::from_raw(at))
    }

    /// Use number `index` of the guard as a device slice: the source of copies.
    ///
    /// # Errors
    /// As [`CustStream::pointer`].
    pub fn slice<'g, T: Pod + DeviceCopy>(
        &self,
        guard: &'g AccessGuard<'_>,
        index: usize,
    ) -> Result<Slice<'g, T>> {
        self.part(guard, index, false)
    }

    /// Use number `index` of the guard as a device slice that can be written: the source and destination of copies.
    ///
    /// # Errors
    /// As [`CustStream::pointer`], and [`Error::InvalidArgument`](crate::Error::InvalidArgument) for memory that was
    /// acquired for reading.
    pub fn slice_mut<'g, T: Pod + DeviceCopy>(
        &self,
        guard: &'g AccessGuard<'_>,
        index: usize,
    ) -> Result<SliceMut<'g, T>> {
        Ok(SliceMut(self.part(guard, index, true)?))
    }

    fn part<'g, T: Pod + DeviceCopy>(
        &self,
        guard: &'g AccessGuard<'_>,
        index: usize,
        write: bool,
    ) -> Result<Slice<'g, T>> {
        let (at, len) = part::<T>(&self.stream, guard, index, write)?;
        // SAFETY: device memory of so many elements for as long as the guard lives, to which the result is bound.
        let slice = unsafe { DeviceSlice::from_raw_parts(DevicePointer::from_raw(at), len) };
        Ok(Slice { slice, _guard: PhantomData })
    }
}

impl Deref for CustStream<'_> {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.stream
    }
}

/// Acquired memory as a [`DeviceSlice`]: a reference, which owns and frees nothing, bound to the guard.
///
/// Copies through it wait for what was queued on the stream, as all of cust's synchronous copies do.
///
/// ```no_run
/// use cust::memory::DeviceBuffer;
/// # use hmmrt::interop::cust::CustStream;
/// # use hmmrt::{ManagedVec, Use};
/// # fn f(stream: CustStream<'_>) -> Result<(), Box<dyn std::error::Error>> {
/// let x = ManagedVec::from_slice(&[5_u64; 512])?;
/// let mut buffer = DeviceBuffer::<u64>::zeroed(512)?;
/// let guard = stream.acquire(vec![Use::read(&x)])?;
/// stream.slice(&guard, 0)?.copy_to(&mut buffer)?; // from device memory to device memory
/// guard.release()?;
/// # Ok(())
/// # }
/// ```
///
/// It can't outlive the access:
///
/// ```compile_fail,E0505
/// # use hmmrt::interop::cust::CustStream;
/// # use hmmrt::{ManagedVec, Use};
/// # fn f(stream: CustStream<'_>) -> Result<(), Box<dyn std::error::Error>> {
/// # let x = ManagedVec::from_slice(&[5_u64; 512])?;
/// let guard = stream.acquire(vec![Use::read(&x)])?;
/// let slice = stream.slice::<u64>(&guard, 0)?;
/// guard.release()?;
/// slice.copy_to(&mut [0; 512])?;
/// # Ok(())
/// # }
/// ```
pub struct Slice<'g, T: DeviceCopy> {
    slice: DeviceSlice<T>,
    // A guard stays on its thread, and so does this.
    _guard: PhantomData<&'g AccessGuard<'g>>,
}

impl<T: Pod + DeviceCopy> Slice<'_, T> {
    /// How many elements.
    pub fn len(&self) -> usize {
        self.slice.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slice.is_empty()
    }

    /// Copies to host memory, a device slice or a device buffer of the same length. The host memory must not be managed.
    ///
    /// # Errors
    /// cust's.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn copy_to<D: ?Sized>(&self, to: &mut D) -> CudaResult<()>
    where
        DeviceSlice<T>: CopyDestination<D>,
    {
        self.slice.copy_to(to)
    }

    /// The slice itself, for all that cust can do with one.
    ///
    /// # Safety
    /// Neither it nor a copy is used after the guard's release, nor in another way than the memory was acquired for, nor
    /// on another stream than the guard's.
    pub unsafe fn get(&self) -> DeviceSlice<T> {
        self.slice
    }
}

impl<T: DeviceCopy> fmt::Debug for Slice<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} elements at device address {:#x}",
            self.slice.len(),
            self.slice.as_device_ptr().as_raw()
        )
    }
}

/// As [`Slice`], and can be written.
#[derive(Debug)]
pub struct SliceMut<'g, T: DeviceCopy>(Slice<'g, T>);

impl<'g, T: Pod + DeviceCopy> SliceMut<'g, T> {
    /// Copies from host memory, a device slice or a device buffer of the same length. The host memory must not be managed.
    ///
    /// # Errors
    /// cust's.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn copy_from<S: ?Sized>(&mut self, from: &S) -> CudaResult<()>
    where
        DeviceSlice<T>: CopyDestination<S>,
    {
        self.0.slice.copy_from(from)
    }
}

impl<'g, T: DeviceCopy> Deref for SliceMut<'g, T> {
    type Target = Slice<'g, T>;

    fn deref(&self) -> &Slice<'g, T> {
        &self.0
    }
}
