//! HIP's streams, devices and modules, and looking functions up. Any thread.

use super::code;
use super::driver::{DRIVER, LIBRARIES};
use crate::gpu::symbols::{instead_of, wraps};
use crate::gpu::{launch, streams};
use crate::holds::Holds;
use core::ffi::{c_char, c_void};

fn rest(h: &mut Holds, at: *const c_void) {
    if let Some((start, len)) = launch::block_of(at.addr()) {
        h.reads(at, start + len - at.addr());
    }
}

wraps! {
    hipStreamDestroy fn (stream: usize) => real, per_thread {
        streams::forget(stream);
        real(stream)
    }

    hipDeviceReset fn () => real, per_thread {
        // It would take the addresses away that host memory lies over.
        if hmmrt_core::raw::preload::is_active() { (DRIVER.wait_all)() } else { real() }
    }

    hipModuleLoad fn (out: *mut usize, file: *const c_char) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(file);
        let code = real(out, file);
        if code == 0 {
            code::loaded_file(*out, file);
        }
        code
    }

    hipModuleLoadData fn (out: *mut usize, image: *const c_void) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        let code = real(out, image);
        if code == 0 {
            code::loaded(*out, image.expose_provenance());
        }
        code
    }

    hipModuleLoadDataEx fn (
        out: *mut usize, image: *const c_void, count: u32, options: *mut c_void, values: *mut *mut c_void,
    ) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        rest(&mut h, image);
        rest(&mut h, options);
        rest(&mut h, values.cast());
        let code = real(out, image, count, options, values);
        if code == 0 {
            code::loaded(*out, image.expose_provenance());
        }
        code
    }

    hipModuleGetFunction fn (out: *mut usize, module: usize, name: *const c_char) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        h.text(name);
        let code = real(out, module, name);
        if code == 0 {
            code::found(*out, module, name);
        }
        code
    }

    hipGetFuncBySymbol fn (out: *mut usize, symbol: usize) => real, per_thread {
        let code = real(out, symbol);
        if code == 0 {
            code::found_symbol(*out, symbol);
        }
        code
    }

    hipModuleUnload fn (module: usize) => real, per_thread {
        code::unloaded(module);
        real(module)
    }

    hipStreamCreate / hipEventCreate fn (out: *mut usize) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out)
    }

    hipStreamCreateWithFlags / hipEventCreateWithFlags fn (out: *mut usize, flags: u32) => real, per_thread {
        let mut h = Holds::new();
        h.one(out);
        real(out, flags)
    }

    hipGetProcAddress fn (
        name: *const c_char, out: *mut usize, version: i32, flags: u64, status: *mut i32,
    ) => real, per_thread {
        let code = real(name, out, version, flags, status);
        // By address only: the names of HIP's functions say nothing of their version.
        if code == 0 && !out.is_null() && *out != 0 {
            match instead_of(super::ENTRIES, *out, None) {
                0 => {}
                ours => *out = ours,
            }
        }
        code
    }
}
