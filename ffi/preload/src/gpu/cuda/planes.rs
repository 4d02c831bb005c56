//! CUDA's copies in two dimensions. Any thread.

use super::driver::DRIVER;
use crate::gpu::copies::{Rows, copy_rows};
use crate::gpu::{Queue, is_managed};

/// A side of a `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Plane {
    x: usize,
    y: usize,
    kind: u32,
    host: usize,
    device: usize,
    array: usize,
    pitch: usize,
}

impl Plane {
    const HOST: u32 = 1;

    fn rows(&self) -> Rows {
        let base = match self.kind {
            Plane::HOST => self.host,
            2 | 4 => self.device, // or either's
            _ => return Rows { start: 0, pitch: 0 },
        };
        let start = base.wrapping_add(self.y.wrapping_mul(self.pitch)).wrapping_add(self.x);
        Rows { start, pitch: self.pitch }
    }
}

/// `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Planes {
    from: Plane,
    to: Plane,
    width: usize,
    height: usize,
}

/// A copy in two dimensions.
///
/// # Safety
/// As `cuMemcpy2D`.
pub unsafe fn copy_2d(
    queue: Queue,
    planes: *const Planes,
    real: &mut dyn FnMut(*const Planes) -> i32,
) -> i32 {
    if planes.is_null() {
        return real(planes);
    }
    // SAFETY: the caller's promise.
    let planes = unsafe { *planes };
    let (to, from) = (planes.to.rows(), planes.from.rows());
    let mut again = |at, first, rows| {
        let mut part = Planes { height: rows, ..planes };
        let (managed, other) = match is_managed(from.start) {
            true => (&mut part.from, &mut part.to),
            false => (&mut part.to, &mut part.from),
        };
        *managed =
            Plane { x: 0, y: 0, kind: Plane::HOST, host: at, device: 0, array: 0, pitch: planes.width };
        other.y += first;
        real(&part)
    };
    let mut whole = None;
    let code = copy_rows(
        &DRIVER,
        queue,
        (to, from),
        (planes.width, planes.height),
        &mut || *whole.insert(0),
        &mut again,
    );
    if whole.is_some() { real(&planes) } else { code }
}
