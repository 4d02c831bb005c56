//! CUDA's copies and fills. Any thread.

use super::driver::{DRIVER, LIBRARIES};
use super::planes::{Planes, Spaces, copy_2d};
use super::queue;
use crate::gpu::copies::{Side, copy, copy_hidden};
use crate::gpu::launch::fill;
use crate::gpu::solids::copy_3d;
use crate::gpu::symbols::wraps;
use crate::gpu::{Queue, is_managed};
use core::ptr::null_mut;

/// Where copies go to and come from, how long each is, and how many there are.
type Batch = (*const usize, *const usize, *const usize, usize);

/// Several copies: one after the other if any has a managed side; `real` is the driver's way.
///
/// # Safety
/// As `cuMemcpyBatchAsync`; `failed` is NULL or room for a number.
unsafe fn batch(
    queue: Queue,
    (to, from, n, count): Batch,
    failed: *mut usize,
    real: &mut dyn FnMut() -> i32,
) -> i32 {
    if to.is_null() || from.is_null() || n.is_null() {
        return real();
    }
    // SAFETY: the caller's promise.
    let one = |i: usize| unsafe { (*to.add(i), *from.add(i), *n.add(i)) };
    if !(0..count).any(|i| is_managed(one(i).0) || is_managed(one(i).1)) {
        return real();
    }
    for i in 0..count {
        let (to, from, n) = one(i);
        let code = copy(&DRIVER, queue, Side::Host(to), Side::Host(from), n, &mut || {
            (DRIVER.copy)(to, from, n, queue.native())
        });
        if code != 0 {
            if !failed.is_null() {
                // SAFETY: the caller's promise.
                unsafe { *failed = i };
            }
            return code;
        }
    }
    0
}

wraps! {
    cuMemcpy / cuMemcpy_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Host(to), Side::Host(from), n, &mut || real(to, from, n))
    }

    cuMemcpyAsync / cuMemcpyAsync_ptsz fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Host(to), Side::Host(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyHtoD_v2 / cuMemcpyHtoD_v2_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n))
    }

    cuMemcpyHtoDAsync_v2 / cuMemcpyHtoDAsync_v2_ptsz fn (
        to: usize, from: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyDtoH_v2 / cuMemcpyDtoH_v2_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    cuMemcpyDtoHAsync_v2 / cuMemcpyDtoHAsync_v2_ptsz fn (
        to: usize, from: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyDtoD_v2 / cuMemcpyDtoD_v2_ptds fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    cuMemcpyDtoDAsync_v2 / cuMemcpyDtoDAsync_v2_ptsz fn (
        to: usize, from: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    cuMemcpyPeer / cuMemcpyPeer_ptds fn (
        to: usize, there: usize, from: usize, here: usize, n: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n)
        })
    }

    cuMemcpyPeerAsync / cuMemcpyPeerAsync_ptsz fn (
        to: usize, there: usize, from: usize, here: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n, s)
        })
    }

    cuMemcpy2D_v2 / cuMemcpy2D_v2_ptds / cuMemcpy2DUnaligned_v2 / cuMemcpy2DUnaligned_v2_ptds fn (
        planes: *const Planes,
    ) => real, per_thread {
        copy_2d(queue(0, per_thread), planes, &mut |planes| real(planes))
    }

    cuMemcpy2DAsync_v2 / cuMemcpy2DAsync_v2_ptsz fn (planes: *const Planes, s: usize) => real, per_thread {
        copy_2d(queue(s, per_thread), planes, &mut |planes| real(planes, s))
    }

    cuMemcpy3D_v2 / cuMemcpy3D_v2_ptds / cuMemcpy3DPeer / cuMemcpy3DPeer_ptds fn (
        spaces: *const Spaces,
    ) => real, per_thread {
        copy_3d(&DRIVER, queue(0, per_thread), spaces, &mut |spaces| real(spaces))
    }

    cuMemcpy3DAsync_v2 / cuMemcpy3DAsync_v2_ptsz / cuMemcpy3DPeerAsync / cuMemcpy3DPeerAsync_ptsz fn (
        spaces: *const Spaces, s: usize,
    ) => real, per_thread {
        copy_3d(&DRIVER, queue(s, per_thread), spaces, &mut |spaces| real(spaces, s))
    }

    cuMemcpyHtoA_v2 / cuMemcpyHtoA_v2_ptds fn (to: usize, at: usize, from: usize, n: usize) => real, per_thread {
        copy_hidden(&DRIVER, queue(0, per_thread), Side::Host(from), n, true, &mut |from, done, n| real(to, at + done, from, n))
    }

    cuMemcpyHtoAAsync_v2 / cuMemcpyHtoAAsync_v2_ptsz fn (
        to: usize, at: usize, from: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy_hidden(&DRIVER, queue(s, per_thread), Side::Host(from), n, true, &mut |from, done, n| real(to, at + done, from, n, s))
    }

    cuMemcpyAtoH_v2 / cuMemcpyAtoH_v2_ptds fn (to: usize, from: usize, at: usize, n: usize) => real, per_thread {
        copy_hidden(&DRIVER, queue(0, per_thread), Side::Host(to), n, false, &mut |to, done, n| real(to, from, at + done, n))
    }

    cuMemcpyAtoHAsync_v2 / cuMemcpyAtoHAsync_v2_ptsz fn (
        to: usize, from: usize, at: usize, n: usize, s: usize,
    ) => real, per_thread {
        copy_hidden(&DRIVER, queue(s, per_thread), Side::Host(to), n, false, &mut |to, done, n| real(to, from, at + done, n, s))
    }

    cuMemcpyWithAttributesAsync / cuMemcpyWithAttributesAsync_ptsz fn (
        to: usize, from: usize, n: usize, attributes: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Host(to), Side::Host(from), n, &mut || {
            real(to, from, n, attributes, s)
        })
    }

    cuMemcpyBatchAsync / cuMemcpyBatchAsync_ptsz fn (
        to: *const usize, from: *const usize, n: *const usize, count: usize, attributes: usize, which: usize,
        kinds: usize, failed: *mut usize, s: usize,
    ) => real, per_thread {
        batch(queue(s, per_thread), (to, from, n, count), failed, &mut || {
            real(to, from, n, count, attributes, which, kinds, failed, s)
        })
    }

    cuMemcpyBatchAsync_v2 / cuMemcpyBatchAsync_v2_ptsz fn (
        to: *const usize, from: *const usize, n: *const usize, count: usize, attributes: usize, which: usize,
        kinds: usize, s: usize,
    ) => real, per_thread {
        batch(queue(s, per_thread), (to, from, n, count), null_mut(), &mut || {
            real(to, from, n, count, attributes, which, kinds, s)
        })
    }

    cuMemsetD2D8_v2 / cuMemsetD2D8_v2_ptds fn (
        at: usize, pitch: usize, value: u8, w: usize, h: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, pitch, value, w, h))
    }

    cuMemsetD2D16_v2 / cuMemsetD2D16_v2_ptds fn (
        at: usize, pitch: usize, value: u16, w: usize, h: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, pitch, value, w, h))
    }

    cuMemsetD2D32_v2 / cuMemsetD2D32_v2_ptds fn (
        at: usize, pitch: usize, value: u32, w: usize, h: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, pitch, value, w, h))
    }

    cuMemsetD2D8Async / cuMemsetD2D8Async_ptsz fn (
        at: usize, pitch: usize, value: u8, w: usize, h: usize, s: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, pitch, value, w, h, s))
    }

    cuMemsetD2D16Async / cuMemsetD2D16Async_ptsz fn (
        at: usize, pitch: usize, value: u16, w: usize, h: usize, s: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, pitch, value, w, h, s))
    }

    cuMemsetD2D32Async / cuMemsetD2D32Async_ptsz fn (
        at: usize, pitch: usize, value: u32, w: usize, h: usize, s: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, pitch, value, w, h, s))
    }

    cuMemsetD8_v2 / cuMemsetD8_v2_ptds fn (at: usize, value: u8, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    cuMemsetD16_v2 / cuMemsetD16_v2_ptds fn (at: usize, value: u16, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    cuMemsetD32_v2 / cuMemsetD32_v2_ptds fn (at: usize, value: u32, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    cuMemsetD8Async / cuMemsetD8Async_ptsz fn (at: usize, value: u8, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    cuMemsetD16Async / cuMemsetD16Async_ptsz fn (at: usize, value: u16, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    cuMemsetD32Async / cuMemsetD32Async_ptsz fn (at: usize, value: u32, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }
}
