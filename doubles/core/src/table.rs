//! What a kernel is to the double: a name, the sizes of its parameters, a function. The kernels are in [`crate::kernels`].

use crate::device::Device;
use crate::space::{self, Found};
use crate::view::{By, View};
use crate::{Error, Result};

/// A kernel.
pub struct Kernel {
    /// As in modules.
    pub name: &'static str,
    /// Bytes of each parameter.
    pub params: &'static [usize],
    pub(crate) run: fn(&Run, &Args) -> Result,
}

impl Kernel {
    /// Where a parameter is in the kernel's parameter buffer, and its size; each is aligned to its size.
    pub fn param(&self, index: usize) -> Option<(usize, usize)> {
        let size = *self.params.get(index)?;
        let step = |at: usize, size: &usize| at.next_multiple_of(*size) + size;
        Some((self.params[..index].iter().fold(0, step).next_multiple_of(size), size))
    }

    /// Bytes of the parameter buffer.
    pub fn bytes(&self) -> usize {
        (0..self.params.len()).filter_map(|i| self.param(i)).map(|(at, size)| at + size).max().unwrap_or(0)
    }
}

/// Parameter values as they were at the call.
pub struct Args {
    pub(crate) kernel: &'static Kernel,
    pub(crate) bytes: Vec<u8>,
}

/// A type that parameters can have.
pub(crate) trait Value: Sized {
    fn of(bytes: &[u8]) -> Self;
}

macro_rules! values {
    ($($kind:ty),*) => {
        $(impl Value for $kind {
            fn of(bytes: &[u8]) -> $kind {
                bytes.try_into().map_or_else(|_| <$kind>::default(), <$kind>::from_ne_bytes)
            }
        })*
    };
}
values!(u8, u32, u64, f32, f64);

impl Args {
    pub(crate) fn get<T: Value>(&self, index: usize) -> T {
        let (at, size) = self.kernel.param(index).unwrap_or((0, 0));
        T::of(&self.bytes[at..at + size])
    }
}

/// A launch as the kernel sees it.
pub struct Run {
    /// Where it runs.
    pub(crate) device: &'static Device,
    /// Threads in the grid.
    pub(crate) threads: u64,
}

impl Run {
    fn view<T>(&self, at: u64, n: u64, write: bool) -> Result<View> {
        let size = size_of::<T>() as u64;
        let bytes = n.checked_mul(size).ok_or(Error::ILLEGAL_ADDRESS)?;
        if !at.is_multiple_of(size) {
            return Err(Error::MISALIGNED);
        }
        View::new(self.device, at, bytes, By::Kernel, write)
    }

    /// `n` elements to be read.
    pub(crate) fn read<T>(&self, at: u64, n: u64) -> Result<View> {
        self.view::<T>(at, n, false)
    }

    /// `n` elements to be written, and perhaps read.
    pub(crate) fn write<T>(&self, at: u64, n: u64) -> Result<View> {
        self.view::<T>(at, n, true)
    }

    /// `len` bytes at `at` and more from the same mapping: where the view begins, and the view.
    pub(crate) fn around(&self, at: u64, len: u64, align: u64) -> Result<(u64, View)> {
        let (start, end) = match space::find(at) {
            Found::Device(start, size, _) => (start, start + size),
            Found::Host(block) if !block.foreign() => (block.start, block.start + block.len),
            _ => (at, at.checked_add(len).ok_or(Error::ILLEGAL_ADDRESS)?),
        };
        let start = start.next_multiple_of(align).min(at);
        let end = end.max(at.checked_add(len).ok_or(Error::ILLEGAL_ADDRESS)?);
        Ok((start, View::new(self.device, start, end - start, By::Kernel, false)?))
    }
}

/// Makes the table out of functions: their parameters, with these types, are the kernel's.
macro_rules! kernels {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        /// Every kernel.
        pub static ALL: &[Kernel] = &[$(Kernel {
            name: stringify!($name),
            params: &[$(size_of::<$kind>()),*],
            run: |run, args| {
                let mut next = 0..;
                $(let $arg: $kind = args.get(next.next().unwrap_or(0));)*
                $name(run, $($arg),*)
            },
        }),*];
    };
}
pub(crate) use kernels;
