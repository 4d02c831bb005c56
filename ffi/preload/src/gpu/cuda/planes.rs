//! CUDA's copies in two and three dimensions. Any thread.

use super::driver::DRIVER;
use crate::gpu::copies::{Rows, copy_rows};
use crate::gpu::solids::{Band, Solid};
use crate::gpu::{Queue, is_managed};
use core::cell::RefCell;

/// What kind of memory a side is in: `CUmemorytype`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
struct Kind(u32);

impl Kind {
    const HOST: Kind = Kind(1);
    const DEVICE: Kind = Kind(2);
    const EITHER: Kind = Kind(4);

    /// Which of a side's addresses counts; `None`: it is an array.
    fn base(self, host: usize, device: usize) -> Option<usize> {
        match self {
            Kind::HOST => Some(host),
            Kind::DEVICE | Kind::EITHER => Some(device),
            _ => None,
        }
    }
}

/// Rows of a side from the given one on, and from the byte `x` of each.
fn rows(kind: Kind, base: Option<usize>, row: usize, x: usize, pitch: usize) -> Rows {
    let start = |base: usize| base.wrapping_add(row.wrapping_mul(pitch)).wrapping_add(x);
    base.map_or(Rows::HIDDEN, |base| Rows { start: start(base), pitch, is_device: kind == Kind::DEVICE })
}

/// A side of a `CUDA_MEMCPY2D`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Plane {
    x: usize,
    y: usize,
    kind: Kind,
    host: usize,
    device: usize,
    array: usize,
    pitch: usize,
}

impl Plane {
    fn rows(&self) -> Rows {
        rows(self.kind, self.kind.base(self.host, self.device), self.y, self.x, self.pitch)
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
    let real = RefCell::new(real);
    let mut band = |at, first, rows| {
        let mut part = Planes { height: rows, ..planes };
        let (managed, other) = match is_managed(from.start) {
            true => (&mut part.from, &mut part.to),
            false => (&mut part.to, &mut part.from),
        };
        *managed = Plane { x: 0, y: 0, kind: Kind::HOST, host: at, device: 0, array: 0, pitch: planes.width };
        other.y += first;
        (real.borrow_mut())(&part)
    };
    let mut whole = || (real.borrow_mut())(&planes);
    copy_rows(&DRIVER, queue, (to, from), (planes.width, planes.height), &mut whole, &mut band)
}

/// A side of a `CUDA_MEMCPY3D`, or of a `CUDA_MEMCPY3D_PEER`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Space {
    x: usize,
    y: usize,
    z: usize,
    level: usize,
    kind: Kind,
    host: usize,
    device: usize,
    array: usize,
    context: usize,
    pitch: usize,
    height: usize,
}

impl Space {
    fn base(&self) -> Option<usize> {
        self.kind.base(self.host, self.device)
    }

    /// What is at that depth.
    fn plane(&self, z: usize) -> Rows {
        let row = self.z.wrapping_add(z).wrapping_mul(self.height).wrapping_add(self.y);
        rows(self.kind, self.base(), row, self.x, self.pitch)
    }

    /// The same, where what is managed is the device's at that address.
    fn on_device(self, at: usize) -> Space {
        match self.base().is_some_and(is_managed) {
            true => Space { kind: Kind::EITHER, host: 0, device: at, ..self },
            false => self,
        }
    }
}

/// `CUDA_MEMCPY3D` and `CUDA_MEMCPY3D_PEER`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Spaces {
    from: Space,
    to: Space,
    width: usize,
    height: usize,
    depth: usize,
}

impl Solid for Spaces {
    fn bases(&self) -> [usize; 2] {
        [&self.to, &self.from].map(|side| side.base().unwrap_or(0))
    }

    fn plane(&self, z: usize) -> (Rows, Rows) {
        (self.to.plane(z), self.from.plane(z))
    }

    fn size(&self) -> [usize; 3] {
        [self.width, self.height, self.depth]
    }

    fn band(&self, band: &Band) -> Spaces {
        let mut part = Spaces { height: band.rows, depth: 1, ..*self };
        let (managed, other) = band.sides(&mut part.to, &mut part.from);
        *managed = Space {
            x: 0,
            y: 0,
            z: 0,
            level: 0,
            kind: Kind::HOST,
            host: band.at,
            device: 0,
            array: 0,
            context: 0,
            pitch: self.width,
            height: band.rows,
        };
        other.y += band.first;
        other.z += band.z;
        part
    }

    fn on_device(&self, [to, from]: [usize; 2]) -> Spaces {
        Spaces { to: self.to.on_device(to), from: self.from.on_device(from), ..*self }
    }
}
