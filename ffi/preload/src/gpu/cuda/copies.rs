//! CUDA's copies and fills. Any thread.

use super::driver::{DRIVER, LIBRARIES};
use super::planes::{Planes, copy_2d};
use super::queue;
use crate::gpu::copies::{Side, copy};
use crate::gpu::launch::fill;
use crate::gpu::symbols::wraps;

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
