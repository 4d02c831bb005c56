//! HIP's launches, and what a program asks of the last one. Any thread.

use super::driver::{DRIVER, LIBRARIES};
use super::{code, queue};
use crate::gpu::params::Params;
use crate::gpu::symbols::{self, wraps};
use crate::gpu::{Queue, launch};
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering::*};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// `HIP_LAUNCH_PARAM_END`.
pub const END: usize = 3;

/// What launches of a thread came to that the driver knows nothing of: programs ask for it afterwards.
static FAILED: Mutex<BTreeMap<u32, i32>> = Mutex::new(BTreeMap::new());
static ANY_FAILED: AtomicBool = AtomicBool::new(false);

fn failed(forget: bool) -> Option<i32> {
    if !ANY_FAILED.load(Acquire) {
        return None;
    }
    let mut failed = FAILED.lock().unwrap_or_else(|e| e.into_inner());
    let me = symbols::thread();
    if forget { failed.remove(&me) } else { failed.get(&me).copied() }
}

/// Launches with what `real` makes of the two ways to give parameters.
///
/// # Safety
/// As `hipModuleLaunchKernel`.
unsafe fn run(
    function: usize,
    queue: Queue,
    each: *mut *mut c_void,
    extra: *mut *mut c_void,
    real: &mut dyn FnMut(*mut *mut c_void, *mut *mut c_void) -> i32,
) -> i32 {
    // SAFETY: the caller's promise.
    let params = unsafe { Params::new(each, extra, END, || code::sizes(function), true) };
    let mut reached = false;
    let code = launch::launch(&DRIVER, queue, END, &params, &mut |copied| {
        reached = true;
        match copied {
            None => real(each, extra),
            Some(copied) => real(copied.each(), copied.list()),
        }
    });
    if !reached && code != 0 {
        FAILED.lock().unwrap_or_else(|e| e.into_inner()).insert(symbols::thread(), code);
        ANY_FAILED.store(true, Release);
    }
    code
}

/// `dim3`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

wraps! {
    hipModuleLaunchKernel fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void, extra: *mut *mut c_void,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, extra, &mut |params, extra| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra)
        })
    }

    hipModuleLaunchCooperativeKernel fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params)
        })
    }

    hipExtModuleLaunchKernel / hipHccModuleLaunchKernel fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: usize, stream: usize,
        params: *mut *mut c_void, extra: *mut *mut c_void, start: usize, stop: usize, flags: u32,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, extra, &mut |params, extra| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra, start, stop, flags)
        })
    }

    hipLaunchKernel / hipLaunchKernel_spt fn (
        f: usize, grid: Dim3, block: Dim3, params: *mut *mut c_void, shared: usize, stream: usize,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, grid, block, params, shared, stream)
        })
    }

    hipLaunchCooperativeKernel / hipLaunchCooperativeKernel_spt fn (
        f: usize, grid: Dim3, block: Dim3, params: *mut *mut c_void, shared: u32, stream: usize,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, grid, block, params, shared, stream)
        })
    }

    hipExtLaunchKernel fn (
        f: usize, grid: Dim3, block: Dim3, params: *mut *mut c_void, shared: usize, stream: usize,
        start: usize, stop: usize, flags: i32,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, grid, block, params, shared, stream, start, stop, flags)
        })
    }

    hipGetLastError fn () => real, per_thread {
        match failed(true) {
            Some(code) => {
                real();
                code
            }
            None => real(),
        }
    }

    hipPeekAtLastError fn () => real, per_thread {
        failed(false).unwrap_or_else(|| real())
    }
}
