//! HIP's copies and fills. Any thread.

use super::driver::{DRIVER, LIBRARIES};
use super::queue;
use super::spaces::{Extent, Pitched, Spaces, are_devices};
use crate::gpu::copies::{Rows, Side, copy, copy_hidden, copy_rows};
use crate::gpu::is_managed;
use crate::gpu::launch::fill;
use crate::gpu::solids::copy_3d;
use crate::gpu::symbols::wraps;

/// What a copy's kind says of its sides.
fn sides(to: usize, from: usize, kind: i32) -> (Side, Side) {
    let side = |at, device| if device { Side::Device(at) } else { Side::Host(at) };
    let [device_to, device_from] = are_devices(kind);
    (side(to, device_to), side(from, device_from))
}

/// The same for rows: where each side's first is, and how far apart they are.
fn rows((to, tp): (usize, usize), (from, fp): (usize, usize), kind: i32) -> (Rows, Rows) {
    let [device_to, device_from] = are_devices(kind);
    (
        Rows { start: to, pitch: tp, is_device: device_to },
        Rows { start: from, pitch: fp, is_device: device_from },
    )
}

wraps! {
    hipMemcpy / hipMemcpy_spt fn (to: usize, from: usize, n: usize, kind: i32) => real, per_thread {
        let (a, b) = sides(to, from, kind);
        copy(&DRIVER, queue(0, per_thread), a, b, n, &mut || real(to, from, n, kind))
    }

    hipMemcpyAsync / hipMemcpyAsync_spt fn (
        to: usize, from: usize, n: usize, kind: i32, s: usize,
    ) => real, per_thread {
        let (a, b) = sides(to, from, kind);
        copy(&DRIVER, queue(s, per_thread), a, b, n, &mut || real(to, from, n, kind, s))
    }

    hipMemcpyWithStream fn (to: usize, from: usize, n: usize, kind: i32, s: usize) => real, per_thread {
        let (a, b) = sides(to, from, kind);
        copy(&DRIVER, queue(s, per_thread), a, b, n, &mut || real(to, from, n, kind, s))
    }

    hipMemcpy2D / hipMemcpy2D_spt fn (
        to: usize, tp: usize, from: usize, fp: usize, w: usize, h: usize, kind: i32,
    ) => real, per_thread {
        let rows = rows((to, tp), (from, fp), kind);
        let managed_from = is_managed(from);
        copy_rows(&DRIVER, queue(0, per_thread), rows, (w, h), &mut || real(to, tp, from, fp, w, h, kind),
            &mut |at, y, n| match managed_from {
                true => real(to + y * tp, tp, at, w, w, n, kind),
                false => real(at, w, from + y * fp, fp, w, n, kind),
            })
    }

    hipMemcpy2DAsync / hipMemcpy2DAsync_spt fn (
        to: usize, tp: usize, from: usize, fp: usize, w: usize, h: usize, kind: i32, s: usize,
    ) => real, per_thread {
        let rows = rows((to, tp), (from, fp), kind);
        let managed_from = is_managed(from);
        copy_rows(&DRIVER, queue(s, per_thread), rows, (w, h), &mut || real(to, tp, from, fp, w, h, kind, s),
            &mut |at, y, n| match managed_from {
                true => real(to + y * tp, tp, at, w, w, n, kind, s),
                false => real(at, w, from + y * fp, fp, w, n, kind, s),
            })
    }

    hipMemcpy3D / hipMemcpy3D_spt fn (given: *const Spaces) => real, per_thread {
        copy_3d(&DRIVER, queue(0, per_thread), given, &mut |given| real(given))
    }

    hipMemcpy3DAsync / hipMemcpy3DAsync_spt fn (given: *const Spaces, s: usize) => real, per_thread {
        copy_3d(&DRIVER, queue(s, per_thread), given, &mut |given| real(given, s))
    }

    hipMemcpyToSymbol / hipMemcpyToSymbol_spt fn (
        symbol: usize, from: usize, n: usize, at: usize, kind: i32,
    ) => real, per_thread {
        copy_hidden(&DRIVER, queue(0, per_thread), sides(symbol, from, kind).1, n, true, &mut |from, done, n| {
            real(symbol, from, n, at + done, kind)
        })
    }

    hipMemcpyToSymbolAsync / hipMemcpyToSymbolAsync_spt fn (
        symbol: usize, from: usize, n: usize, at: usize, kind: i32, s: usize,
    ) => real, per_thread {
        copy_hidden(&DRIVER, queue(s, per_thread), sides(symbol, from, kind).1, n, true, &mut |from, done, n| {
            real(symbol, from, n, at + done, kind, s)
        })
    }

    hipMemcpyFromSymbol / hipMemcpyFromSymbol_spt fn (
        to: usize, symbol: usize, n: usize, at: usize, kind: i32,
    ) => real, per_thread {
        copy_hidden(&DRIVER, queue(0, per_thread), sides(to, symbol, kind).0, n, false, &mut |to, done, n| {
            real(to, symbol, n, at + done, kind)
        })
    }

    hipMemcpyFromSymbolAsync / hipMemcpyFromSymbolAsync_spt fn (
        to: usize, symbol: usize, n: usize, at: usize, kind: i32, s: usize,
    ) => real, per_thread {
        copy_hidden(&DRIVER, queue(s, per_thread), sides(to, symbol, kind).0, n, false, &mut |to, done, n| {
            real(to, symbol, n, at + done, kind, s)
        })
    }

    hipMemcpyHtoA fn (to: usize, at: usize, from: usize, n: usize) => real, per_thread {
        copy_hidden(&DRIVER, queue(0, per_thread), Side::Host(from), n, true, &mut |from, done, n| real(to, at + done, from, n))
    }

    hipMemcpyAtoH fn (to: usize, from: usize, at: usize, n: usize) => real, per_thread {
        copy_hidden(&DRIVER, queue(0, per_thread), Side::Host(to), n, false, &mut |to, done, n| real(to, from, at + done, n))
    }

    hipMemset2D / hipMemset2D_spt fn (at: usize, pitch: usize, value: i32, w: usize, h: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, pitch, value, w, h))
    }

    hipMemset3D / hipMemset3D_spt fn (to: Pitched, value: i32, size: Extent) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), to.at(), &mut |at| real(to.moved(at), value, size))
    }

    hipMemset3DAsync / hipMemset3DAsync_spt fn (
        to: Pitched, value: i32, size: Extent, s: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), to.at(), &mut |at| real(to.moved(at), value, size, s))
    }

    hipMemset2DAsync / hipMemset2DAsync_spt fn (
        at: usize, pitch: usize, value: i32, w: usize, h: usize, s: usize,
    ) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, pitch, value, w, h, s))
    }

    hipMemcpyHtoD fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n))
    }

    hipMemcpyHtoDAsync fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Host(from), n, &mut || real(to, from, n, s))
    }

    hipMemcpyDtoH fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    hipMemcpyDtoHAsync fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Host(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    hipMemcpyDtoD fn (to: usize, from: usize, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n))
    }

    hipMemcpyDtoDAsync fn (to: usize, from: usize, n: usize, s: usize) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || real(to, from, n, s))
    }

    hipMemcpyPeer fn (to: usize, there: i32, from: usize, here: i32, n: usize) => real, per_thread {
        copy(&DRIVER, queue(0, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n)
        })
    }

    hipMemcpyPeerAsync fn (
        to: usize, there: i32, from: usize, here: i32, n: usize, s: usize,
    ) => real, per_thread {
        copy(&DRIVER, queue(s, per_thread), Side::Device(to), Side::Device(from), n, &mut || {
            real(to, there, from, here, n, s)
        })
    }

    hipMemset / hipMemset_spt fn (at: usize, value: i32, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetAsync / hipMemsetAsync_spt fn (at: usize, value: i32, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    hipMemsetD8 fn (at: usize, value: u8, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetD16 fn (at: usize, value: u16, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetD32 fn (at: usize, value: i32, n: usize) => real, per_thread {
        fill(&DRIVER, queue(0, per_thread), at, &mut |at| real(at, value, n))
    }

    hipMemsetD8Async fn (at: usize, value: u8, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    hipMemsetD16Async fn (at: usize, value: u16, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }

    hipMemsetD32Async fn (at: usize, value: i32, n: usize, s: usize) => real, per_thread {
        fill(&DRIVER, queue(s, per_thread), at, &mut |at| real(at, value, n, s))
    }
}
