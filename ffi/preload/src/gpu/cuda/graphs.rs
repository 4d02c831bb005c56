//! Graphs of CUDA's: launching them, and nodes with parameters of their own, whose managed memory is brought whenever a
//! graph is launched. Any thread.

use super::driver::{DRIVER, LIBRARIES, sizes};
use super::planes::Spaces;
use super::queue;
use crate::gpu::launch;
use crate::gpu::params::Params;
use crate::gpu::solids::record_3d;
use crate::gpu::symbols::wraps;
use core::ffi::c_void;

/// `CU_LAUNCH_PARAM_END`.
const END: usize = 0;
/// Words of `CUDA_KERNEL_NODE_PARAMS_v1` and `_v2`, and of `CUgraphNodeParams`.
const KERNEL: usize = 7;
const KERNEL_V2: usize = 9;
const ANY: usize = 32;
/// Words of `CUDA_MEMSET_NODE_PARAMS`.
const FILL: usize = 5;

/// What `real` gets in the place of parameters that the program gave.
type Real<'a> = &'a mut dyn FnMut(*const c_void) -> i32;

/// A kernel's parameters, which begin at the word `base` of `N`: the function, the shape, where the values are; in the
/// second version a kernel for want of a function.
///
/// # Safety
/// As the driver's functions with such parameters.
unsafe fn kernel<const N: usize>(given: *const c_void, base: usize, real: Real) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    unsafe {
        let mut words = given.cast::<[usize; N]>().read_unaligned();
        let function = match words[base] {
            0 if N > KERNEL => words[base + 7],
            function => function,
        };
        let list = |at: usize| core::ptr::with_exposed_provenance_mut(at);
        let (each, extra) = (list(words[base + 5]), list(words[base + 6]));
        let params = Params::new(each, extra, END, || sizes(function), false);
        launch::node(&DRIVER, END, &params, &mut |copied| {
            if let Some(copied) = copied {
                words[base + 5] = copied.each().expose_provenance();
                words[base + 6] = copied.list().expose_provenance();
            }
            real(words.as_ptr().cast())
        })
    }
}

/// A fill's parameters: the word `base` of `N` is where.
///
/// # Safety
/// As the driver's functions with such parameters.
unsafe fn fill<const N: usize>(given: *const c_void, base: usize, real: Real) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    let mut words = unsafe { given.cast::<[usize; N]>().read_unaligned() };
    launch::record(&DRIVER, None, [words[base]], &mut |[at]| {
        words[base] = at;
        real(words.as_ptr().cast())
    })
}

/// The parameters of a node of any kind: the kind, and from the third word on what it takes.
///
/// # Safety
/// As `cuGraphAddNode`.
unsafe fn any(given: *const c_void, real: Real) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise. A copy's are flags, a context, and what `cuMemcpy3D` takes.
    unsafe {
        match *given.cast::<i32>() {
            0 => kernel::<ANY>(given, 2, real),
            1 => record_3d(&DRIVER, None, given.cast::<usize>().add(4).cast::<Spaces>(), &mut |spaces| {
                let mut words = given.cast::<[usize; ANY]>().read_unaligned();
                let to = words.as_mut_ptr().add(4).cast::<Spaces>();
                to.write_unaligned(spaces.read_unaligned());
                real(words.as_ptr().cast())
            }),
            2 => fill::<ANY>(given, 2, real),
            _ => real(given),
        }
    }
}

wraps! {
    cuGraphLaunch / cuGraphLaunch_ptsz fn (graph: usize, stream: usize) => real, per_thread {
        launch::graph(&DRIVER, queue(stream, per_thread), &mut || real(graph, stream))
    }

    cuGraphAddKernelNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const c_void,
    ) => real, per_thread {
        kernel::<KERNEL>(given, 0, &mut |given| real(out, graph, after, count, given))
    }

    cuGraphAddKernelNode_v2 fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const c_void,
    ) => real, per_thread {
        kernel::<KERNEL_V2>(given, 0, &mut |given| real(out, graph, after, count, given))
    }

    cuGraphKernelNodeSetParams fn (node: usize, given: *const c_void) => real, per_thread {
        kernel::<KERNEL>(given, 0, &mut |given| real(node, given))
    }

    cuGraphKernelNodeSetParams_v2 fn (node: usize, given: *const c_void) => real, per_thread {
        kernel::<KERNEL_V2>(given, 0, &mut |given| real(node, given))
    }

    cuGraphExecKernelNodeSetParams fn (graph: usize, node: usize, given: *const c_void) => real, per_thread {
        kernel::<KERNEL>(given, 0, &mut |given| real(graph, node, given))
    }

    cuGraphExecKernelNodeSetParams_v2 fn (graph: usize, node: usize, given: *const c_void) => real, per_thread {
        kernel::<KERNEL_V2>(given, 0, &mut |given| real(graph, node, given))
    }

    cuGraphAddMemcpyNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const Spaces, context: usize,
    ) => real, per_thread {
        record_3d(&DRIVER, None, given, &mut |given| real(out, graph, after, count, given, context))
    }

    cuGraphMemcpyNodeSetParams fn (node: usize, given: *const Spaces) => real, per_thread {
        record_3d(&DRIVER, None, given, &mut |given| real(node, given))
    }

    cuGraphExecMemcpyNodeSetParams fn (
        graph: usize, node: usize, given: *const Spaces, context: usize,
    ) => real, per_thread {
        record_3d(&DRIVER, None, given, &mut |given| real(graph, node, given, context))
    }

    cuGraphAddMemsetNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const c_void, context: usize,
    ) => real, per_thread {
        fill::<FILL>(given, 0, &mut |given| real(out, graph, after, count, given, context))
    }

    cuGraphMemsetNodeSetParams fn (node: usize, given: *const c_void) => real, per_thread {
        fill::<FILL>(given, 0, &mut |given| real(node, given))
    }

    cuGraphExecMemsetNodeSetParams fn (
        graph: usize, node: usize, given: *const c_void, context: usize,
    ) => real, per_thread {
        fill::<FILL>(given, 0, &mut |given| real(graph, node, given, context))
    }

    cuGraphAddNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const c_void,
    ) => real, per_thread {
        any(given, &mut |given| real(out, graph, after, count, given))
    }

    cuGraphAddNode_v2 fn (
        out: *mut usize, graph: usize, after: *const usize, edges: usize, count: usize, given: *const c_void,
    ) => real, per_thread {
        any(given, &mut |given| real(out, graph, after, edges, count, given))
    }

    cuGraphNodeSetParams fn (node: usize, given: *const c_void) => real, per_thread {
        any(given, &mut |given| real(node, given))
    }

    cuGraphExecNodeSetParams fn (graph: usize, node: usize, given: *const c_void) => real, per_thread {
        any(given, &mut |given| real(graph, node, given))
    }
}
