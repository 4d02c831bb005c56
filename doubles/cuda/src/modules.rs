//! Modules, functions, launches.

use core::ffi::c_void;

use hmmrt_double_core::argument::{In, Out, Text};
use hmmrt_double_core::launch::{Shape, Values};
use hmmrt_double_core::{Error, entries, modules};

/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MAX_DYNAMIC_SHARED: i32 = 8;
/// `CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK`.
const MAX_THREADS: i32 = 0;

entries! {
    Health fn cuModuleLoadData(frame, out: Out<u64>, image: *const c_void) {
        out.check()?;
        // SAFETY: the caller's image.
        out.put(unsafe { modules::load(frame, image) }?)
    }

    Health fn cuModuleLoadDataEx(
        frame,
        out: Out<u64>,
        image: *const c_void,
        _count: u32,
        _options: In<i32>,
        _values: In<u64>,
    ) {
        out.check()?;
        // SAFETY: the caller's image.
        out.put(unsafe { modules::load(frame, image) }?)
    }

    Health fn cuModuleUnload(_, module: u64) {
        modules::unload(module)
    }

    Health fn cuModuleGetFunction(_, out: Out<u64>, module: u64, name: Text) {
        out.check()?;
        out.put(modules::function(module, &name.get()?)?)
    }

    Health fn cuFuncSetAttribute(_, function: u64, attribute: i32, value: i32) {
        modules::is_function(function)?;
        if attribute == MAX_DYNAMIC_SHARED { modules::allow_shared(function, value) } else { Ok(()) }
    }

    Health fn cuFuncGetAttribute(_, out: Out<i32>, attribute: i32, function: u64) {
        modules::is_function(function)?;
        out.put(if attribute == MAX_THREADS { 1024 } else { 0 })
    }

    Health fn cuFuncGetParamInfo(_, function: u64, index: usize, offset: Out<usize>, size: Out<usize>) {
        let (at, bytes) = modules::param(function, index)?;
        offset.put(at)?;
        size.put_if(bytes);
        Ok(())
    }

    Health fn cuLaunchKernel(
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
