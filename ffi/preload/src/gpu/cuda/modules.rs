//! CUDA's streams, contexts and modules, and looking functions up. Any thread.

use super::driver::{DRIVER, LIBRARIES, forget_sizes};
use super::versions::answer;
use crate::gpu::symbols::wraps;
use crate::gpu::{launch, streams};
use crate::holds::Holds;
use core::ffi::{c_char, c_void};

/// Holds what is managed from there to the end of its block: data whose length only the driver knows.
fn rest(h: &mut Holds, at: *const c_void) {
    if let Some((start, len)) = launch::block_of(at.addr()) {
        h.reads(at, start + len - at.addr());
    }
}

wraps! {
    cuStreamDestroy_v2 fn (stream: usize) => real, per_thread {
        streams::forget(stream);
        real(stream)
    }

    cuModuleUnload fn (module: usize) => real, per_thread {
        forget_sizes();
        real(module)
    }

    cuLibraryUnload fn (library: usize) => real, per_thread {
        forget_sizes();
        real(library)
    }

    cuDevicePrimaryCtxReset_v2 fn (device: i32) => real, per_thread {
        // It would take the addresses away that host memory lies over.
        if hmmrt_core::raw::preload::is_active() { (DRIVER.wait_all)() } else { real(device) }
    }

    cuModuleLoad fn (out: *mut usize, file: *const c_char) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(file);
        real(out, file)
    }

    cuModuleLoadData / cuModuleLoadFatBinary fn (out: *mut usize, image: *const c_void) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        real(out, image)
    }

    cuModuleLoadDataEx fn (
        out: *mut usize, image: *const c_void, count: u32, options: *mut c_void, values: *mut *mut c_void,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        rest(&mut h, options);
        rest(&mut h, values.cast());
        real(out, image, count, options, values)
    }

    cuLibraryLoadData fn (
        out: *mut usize, image: *const c_void, options: *mut c_void, values: *mut *mut c_void, count: u32,
        more: *mut c_void, more_values: *mut *mut c_void, more_count: u32,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        for at in [image, options, values.cast(), more, more_values.cast()] {
            rest(&mut h, at);
        }
        real(out, image, options, values, count, more, more_values, more_count)
    }

    cuModuleGetFunction / cuLibraryGetKernel fn (
        out: *mut usize, module: usize, name: *const c_char,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(name);
        real(out, module, name)
    }

    cuModuleGetGlobal_v2 fn (
        out: *mut usize, size: *mut usize, module: usize, name: *const c_char,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.one(size);
        h.text(name);
        real(out, size, module, name)
    }

    cuStreamCreate / cuEventCreate fn (out: *mut usize, flags: u32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, flags)
    }

    cuStreamCreateWithPriority fn (out: *mut usize, flags: u32, priority: i32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, flags, priority)
    }

    cuGetProcAddress fn (name: *const c_char, out: *mut usize, version: i32, flags: u64) => real, per_thread {
        let code = real(name, out, version, flags);
        answer(code, name, out, version, flags);
        code
    }

    cuGetProcAddress_v2 fn (
        name: *const c_char, out: *mut usize, version: i32, flags: u64, status: *mut i32,
    ) => real, per_thread {
        let code = real(name, out, version, flags, status);
        answer(code, name, out, version, flags);
        code
    }
}
