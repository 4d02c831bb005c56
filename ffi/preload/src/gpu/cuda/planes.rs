//! CUDA's copies in two and three dimensions. Any thread.

use super::driver::DRIVER;
use crate::gpu::copies::{Rows, copy_rows};
use crate::gpu::{Queue, is_managed, launch};

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
    const DEVICE: u32 = 2;
    const EITHER: u32 = 4;

    fn rows(&self) -> Rows {
        let base = match self.kind {
            Plane::HOST => self.host,
            Plane::DEVICE | Plane::EITHER => self.device,
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

/// A side of a `CUDA_MEMCPY3D`, or of a `CUDA_MEMCPY3D_PEER`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Space {
    x: usize,
    y: usize,
    z: usize,
    level: usize,
    kind: u32,
    host: usize,
    device: usize,
    array: usize,
    context: usize,
    pitch: usize,
    height: usize,
}

impl Space {
    /// What is at that depth.
    fn plane(&self, z: usize) -> Rows {
        let base = match self.kind {
            Plane::HOST => self.host,
            Plane::DEVICE | Plane::EITHER => self.device,
            _ => return Rows { start: 0, pitch: 0 },
        };
        let row = (self.z.wrapping_add(z)).wrapping_mul(self.height).wrapping_add(self.y);
        Rows {
            start: base.wrapping_add(row.wrapping_mul(self.pitch)).wrapping_add(self.x),
            pitch: self.pitch,
        }
    }

    fn base(&self) -> usize {
        match self.kind {
            Plane::HOST => self.host,
            Plane::DEVICE | Plane::EITHER => self.device,
            _ => 0,
        }
    }

    /// The same, where what is managed is the device's at that address.
    fn on_device(self, at: usize) -> Space {
        match is_managed(self.base()) {
            true => Space { kind: Plane::EITHER, host: 0, device: at, ..self },
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

/// A copy in three dimensions: one plane after the other.
///
/// # Safety
/// As `cuMemcpy3D`.
pub unsafe fn copy_3d(
    queue: Queue,
    spaces: *const Spaces,
    real: &mut dyn FnMut(*const Spaces) -> i32,
) -> i32 {
    if spaces.is_null() {
        return real(spaces);
    }
    // SAFETY: the caller's promise.
    let spaces = unsafe { *spaces };
    let first = (spaces.to.plane(0), spaces.from.plane(0));
    let managed_from = is_managed(first.1.start);
    if !managed_from && !is_managed(first.0.start) {
        return real(&spaces);
    }
    if (DRIVER.is_recording)(queue.native()) {
        // SAFETY: as above.
        return unsafe { record_3d(Some(queue), &spaces, real) };
    }
    for z in 0..spaces.depth {
        let mut band = |at, first, rows| {
            let mut part = Spaces { height: rows, depth: 1, ..spaces };
            let (managed, other) = match managed_from {
                true => (&mut part.from, &mut part.to),
                false => (&mut part.to, &mut part.from),
            };
            let (kind, pitch) = (Plane::HOST, spaces.width);
            *managed = Space {
                x: 0,
                y: 0,
                z: 0,
                level: 0,
                kind,
                host: at,
                device: 0,
                array: 0,
                context: 0,
                pitch,
                height: rows,
            };
            other.y += first;
            other.z += z;
            real(&part)
        };
        let rows = (spaces.to.plane(z), spaces.from.plane(z));
        let code = copy_rows(&DRIVER, queue, rows, (spaces.width, spaces.height), &mut || 0, &mut band);
        if code != 0 {
            return code;
        }
    }
    0
}

/// A copy in a graph: both sides are the device's when it is launched.
///
/// # Safety
/// As `cuGraphAddMemcpyNode`.
pub unsafe fn record_3d(
    queue: Option<Queue>,
    spaces: *const Spaces,
    real: &mut dyn FnMut(*const Spaces) -> i32,
) -> i32 {
    if spaces.is_null() {
        return real(spaces);
    }
    // SAFETY: the caller's promise.
    let spaces = unsafe { *spaces };
    let bases = [spaces.to.base(), spaces.from.base()];
    if !bases.iter().any(|at| is_managed(*at)) {
        return real(&spaces);
    }
    launch::record(&DRIVER, queue, bases, &mut |[to, from]| {
        let (to, from) = (spaces.to.on_device(to), spaces.from.on_device(from));
        real(&Spaces { to, from, ..spaces })
    })
}
