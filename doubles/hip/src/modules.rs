//! Modules, functions, launches. An image is an ELF file, a bundle of them, or what [`crate::compiler`] makes of a source.

use core::ffi::c_void;

use hmmrt_double_core::argument::{In, Out, Text};
use hmmrt_double_core::call::Frame;
use hmmrt_double_core::launch::{Shape, Values};
use hmmrt_double_core::{Error, Result, entries, modules};

use crate::compiler::MAGIC;

/// Loads an image.
///
/// # Safety
/// It is one of the above, or at least a text.
unsafe fn load(frame: &Frame, image: *const c_void) -> Result<u64> {
    if image.is_null() {
        return Err(Error::INVALID_VALUE);
    }
    let begins = |with: &[u8]| {
        // SAFETY: byte by byte, and not past one that differs, so not past a text's end.
        with.iter().enumerate().all(|(i, byte)| unsafe { *image.cast::<u8>().add(i) } == *byte)
    };
    // A source is not code, though the names stand in it.
    if ![MAGIC.as_bytes(), b"\x7fELF", b"__CLANG_OFFLOAD_BUNDLE__"].into_iter().any(begins) {
        return Err(Error::INVALID_IMAGE);
    }
    // SAFETY: the caller's promise.
    unsafe { modules::load(frame, image) }
}

entries! {
    Health fn hipModuleLoadData(frame, out: Out<u64>, image: *const c_void) {
        out.check()?;
        // SAFETY: the caller's image.
        out.put(unsafe { load(frame, image) }?)
    }

    Health fn hipModuleLoadDataEx(
        frame,
        out: Out<u64>,
        image: *const c_void,
        _count: u32,
        _options: In<i32>,
        _values: In<u64>,
    ) {
        out.check()?;
        // SAFETY: the caller's image.
        out.put(unsafe { load(frame, image) }?)
    }

    Health fn hipModuleUnload(_, module: u64) {
        modules::unload(module)
    }

    Health fn hipModuleGetFunction(_, out: Out<u64>, module: u64, name: Text) {
        out.check()?;
        out.put(modules::function(module, &name.get()?)?)
    }

    Health fn hipModuleLaunchKernel(
        frame,
        function: u64,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: u64,
        values: *mut *mut c_void,
        extra: *mut *mut c_void,
    ) {
        if !values.is_null() && !extra.is_null() {
            return Err(Error::INVALID_VALUE);
        }
        let grid = [grid_x, grid_y, grid_z];
        let shape = Shape { grid, block: [block_x, block_y, block_z], shared };
        // SAFETY: the caller's parameters.
        unsafe { modules::launch(frame, function, shape, stream, Values { each: values, extra }) }
    }
}
