//! HIP's descriptions of copies in three dimensions. Any thread.

use super::driver::ANY;
use crate::gpu::copies::Rows;
use crate::gpu::solids::{Band, Solid};

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

/// Whether a copy's kind says of the target, and of the source, that it is a device's.
pub fn are_devices(kind: i32) -> [bool; 2] {
    [matches!(kind, 1 | 3), matches!(kind, 2 | 3)]
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
    fn plane(&self, z: usize, is_device: bool) -> Rows {
        let Pitched { at, pitch, height, .. } = self.memory;
        if self.array != 0 {
            return Rows::HIDDEN;
        }
        let row = self.z.wrapping_add(z).wrapping_mul(height).wrapping_add(self.y);
        Rows { start: at.wrapping_add(row.wrapping_mul(pitch)).wrapping_add(self.x), pitch, is_device }
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

impl Solid for Spaces {
    fn bases(&self) -> [usize; 2] {
        [self.to.base(), self.from.base()]
    }

    fn plane(&self, z: usize) -> (Rows, Rows) {
        let [to, from] = are_devices(self.kind);
        (self.to.plane(z, to), self.from.plane(z, from))
    }

    fn size(&self) -> [usize; 3] {
        [self.width, self.height, self.depth]
    }

    // Beside an array the width is in elements, of which we know no size.
    fn is_divisible(&self) -> bool {
        self.from.array == 0 && self.to.array == 0
    }

    fn band(&self, band: &Band) -> Spaces {
        let mut part = Spaces { height: band.rows, depth: 1, ..*self };
        let (managed, other) = band.sides(&mut part.to, &mut part.from);
        let memory = Pitched { at: band.at, pitch: self.width, width: self.width, height: band.rows };
        *managed = Space { array: 0, x: 0, y: 0, z: 0, memory };
        other.y += band.first;
        other.z += band.z;
        part
    }

    fn on_device(&self, bases: [usize; 2]) -> Spaces {
        let mut there = Spaces { kind: ANY, ..*self };
        for (side, at) in [&mut there.to, &mut there.from].into_iter().zip(bases) {
            if side.array == 0 {
                side.memory.at = at;
            }
        }
        there
    }
}
