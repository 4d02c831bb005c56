//! CUDA's launches. Any thread.

use super::driver::{DRIVER, LIBRARIES, sizes};
use super::queue;
use crate::gpu::params::Params;
use crate::gpu::symbols::wraps;
use crate::gpu::{Queue, launch};
use core::ffi::c_void;
use core::ptr::null_mut;

/// `CU_LAUNCH_PARAM_END`.
const END: usize = 0;

/// Launches with what `real` makes of the two ways to give parameters.
///
/// # Safety
/// As `cuLaunchKernel`.
unsafe fn run(
    function: usize,
    queue: Queue,
    each: *mut *mut c_void,
    extra: *mut *mut c_void,
    real: &mut dyn FnMut(*mut *mut c_void, *mut *mut c_void) -> i32,
) -> i32 {
    // SAFETY: the caller's promise. With both, the driver says what is wrong.
    let params = unsafe { Params::new(each, extra, END, || sizes(function), false) };
    launch::launch(&DRIVER, queue, END, &params, &mut |copied| match copied {
        None => real(each, extra),
        Some(copied) => real(copied.each(), copied.list()),
    })
}

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Config {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: usize,
    attributes: *const Attribute,
    count: u32,
}

/// `CUlaunchAttribute`.
type Attribute = [u64; 9];

wraps! {
    cuLaunchKernel / cuLaunchKernel_ptsz fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void, extra: *mut *mut c_void,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, extra, &mut |params, extra| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra)
        })
    }

    cuLaunchCooperativeKernel / cuLaunchCooperativeKernel_ptsz fn (
        f: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void,
    ) => real, per_thread {
        run(f, queue(stream, per_thread), params, null_mut(), &mut |params, _| {
            real(f, gx, gy, gz, bx, by, bz, shared, stream, params)
        })
    }

    cuLaunchKernelEx / cuLaunchKernelEx_ptsz fn (
        config: *const Config, f: usize, params: *mut *mut c_void, extra: *mut *mut c_void,
    ) => real, per_thread {
        if config.is_null() {
            return real(config, f, params, extra);
        }
        let mut config = *config;
        let attributes: Vec<Attribute> =
            (0..config.count as usize).map(|i| config.attributes.add(i).read_unaligned()).collect();
        config.attributes = attributes.as_ptr();
        run(f, queue(config.stream, per_thread), params, extra, &mut |params, extra| {
            real(&config, f, params, extra)
        })
    }
}
