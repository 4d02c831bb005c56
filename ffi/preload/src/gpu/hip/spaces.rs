//! HIP's copies in three dimensions. Any thread.

use super::driver::{ANY, DRIVER};
use crate::gpu::copies::{NOT_SUPPORTED, Rows, copy_rows};
use crate::gpu::{Queue, is_managed, launch};

/// `hipPitchedPtr`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pitched {
    at: usize,
    pitch: usize,
    width: usize,
    height: usize,
}

impl Pitched {
    /// Where it begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The same somewhere else.
    pub fn moved(self, at: usize) -> Pitched {
        Pitched { at, ..self }
    }
}

/// `hipExtent`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Extent {
    width: usize,
    height: usize,
    depth: usize,
}

/// A side of a copy; places are in bytes unless one of both is an array.
#[derive(Clone, Copy)]
#[repr(C)]
struct Space {
    array: usize,
    x: usize,
    y: usize,
    z: usize,
    memory: Pitched,
}

impl Space {
    /// What is at that depth.
    fn plane(&self, z: usize) -> Rows {
        let Pitched { at, pitch, height, .. } = self.memory;
        if self.array != 0 {
            return Rows { start: 0, pitch: 0 };
        }
        let row = self.z.wrapping_add(z).wrapping_mul(height).wrapping_add(self.y);
        Rows { start: at.wrapping_add(row.wrapping_mul(pitch)).wrapping_add(self.x), pitch }
    }

    fn base(&self) -> usize {
        if self.array == 0 { self.memory.at } else { 0 }
    }
}

/// `hipMemcpy3DParms`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Spaces {
    from: Space,
    to: Space,
    width: usize,
    height: usize,
    depth: usize,
    kind: i32,
}

/// A copy in three dimensions: one plane after the other.
///
/// # Safety
/// As `hipMemcpy3D`.
pub unsafe fn copy_3d(queue: Queue, given: *const Spaces, real: &mut dyn FnMut(*const Spaces) -> i32) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    let spaces = unsafe { *given };
    let managed_from = is_managed(spaces.from.base());
    if !managed_from && !is_managed(spaces.to.base()) {
        return real(&spaces);
    }
    if (DRIVER.is_recording)(queue.native()) {
        // SAFETY: as above.
        return unsafe { record_3d(Some(queue), given, real) };
    }
    // Beside an array the width is in elements, of which we know no size.
    if spaces.from.array != 0 || spaces.to.array != 0 {
        return NOT_SUPPORTED;
    }
    for z in 0..spaces.depth {
        let mut band = |at, first, rows| {
            let mut part = Spaces { height: rows, depth: 1, ..spaces };
            let (managed, other) = match managed_from {
                true => (&mut part.from, &mut part.to),
                false => (&mut part.to, &mut part.from),
            };
            let memory = Pitched { at, pitch: spaces.width, width: spaces.width, height: rows };
            *managed = Space { array: 0, x: 0, y: 0, z: 0, memory };
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

/// A copy in a graph: what is managed is the device's when it is launched.
///
/// # Safety
/// As `hipGraphAddMemcpyNode`.
pub unsafe fn record_3d(
    queue: Option<Queue>,
    given: *const Spaces,
    real: &mut dyn FnMut(*const Spaces) -> i32,
) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    let mut spaces = unsafe { *given };
    let bases = [spaces.to.base(), spaces.from.base()];
    if !bases.iter().any(|at| is_managed(*at)) {
        return real(&spaces);
    }
    launch::record(&DRIVER, queue, bases, &mut |[to, from]| {
        for (side, at) in [(&mut spaces.to, to), (&mut spaces.from, from)] {
            if side.array == 0 {
                side.memory.at = at;
            }
        }
        real(&Spaces { kind: ANY, ..spaces })
    })
}
