//! Graphs of HIP's: launching them, and nodes with parameters of their own, whose managed memory is brought whenever a
//! graph is launched. Any thread.

use super::code;
use super::driver::{ANY, DRIVER, LIBRARIES};
use super::launches::END;
use super::queue;
use super::spaces::Spaces;
use crate::gpu::is_managed;
use crate::gpu::launch;
use crate::gpu::params::Params;
use crate::gpu::solids::record_3d;
use crate::gpu::symbols::wraps;

/// `hipKernelNodeParams` by words, and which of them are the list of values, the function, the values.
type Kernel = [usize; 8];
const EXTRA: usize = 2;
const FUNCTION: usize = 3;
const EACH: usize = 6;
/// `hipMemsetParams` by words; the first is where.
type Fill = [usize; 6];

/// # Safety
/// As the functions of HIP's with such parameters.
unsafe fn kernel(given: *const Kernel, real: &mut dyn FnMut(*const Kernel) -> i32) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    unsafe {
        let mut words = given.read_unaligned();
        let list = |at: usize| core::ptr::with_exposed_provenance_mut(at);
        let (each, extra) = (list(words[EACH]), list(words[EXTRA]));
        let params = Params::new(each, extra, END, || code::sizes(words[FUNCTION]), true);
        launch::node(&DRIVER, END, &params, &mut |copied| {
            if let Some(copied) = copied {
                words[EACH] = copied.each().expose_provenance();
                words[EXTRA] = copied.list().expose_provenance();
            }
            real(&words)
        })
    }
}

/// # Safety
/// As the functions of HIP's with such parameters.
unsafe fn fill(given: *const Fill, real: &mut dyn FnMut(*const Fill) -> i32) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    let mut words = unsafe { given.read_unaligned() };
    launch::record(&DRIVER, None, [words[0]], &mut |[at]| {
        words[0] = at;
        real(&words)
    })
}

/// A copy in a row; with managed memory, of what is the device's by then.
fn row(to: usize, from: usize, kind: i32, real: &mut dyn FnMut(usize, usize, i32) -> i32) -> i32 {
    if !is_managed(to) && !is_managed(from) {
        return real(to, from, kind);
    }
    launch::record(&DRIVER, None, [to, from], &mut |[to, from]| real(to, from, ANY))
}

wraps! {
    hipGraphLaunch / hipGraphLaunch_spt fn (graph: usize, stream: usize) => real, per_thread {
        launch::graph(&DRIVER, queue(stream, per_thread), &mut || real(graph, stream))
    }

    hipGraphAddKernelNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const Kernel,
    ) => real, per_thread {
        kernel(given, &mut |given| real(out, graph, after, count, given))
    }

    hipGraphKernelNodeSetParams fn (node: usize, given: *const Kernel) => real, per_thread {
        kernel(given, &mut |given| real(node, given))
    }

    hipGraphExecKernelNodeSetParams fn (graph: usize, node: usize, given: *const Kernel) => real, per_thread {
        kernel(given, &mut |given| real(graph, node, given))
    }

    hipGraphAddMemcpyNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const Spaces,
    ) => real, per_thread {
        record_3d(&DRIVER, None, given, &mut |given| real(out, graph, after, count, given))
    }

    hipGraphMemcpyNodeSetParams fn (node: usize, given: *const Spaces) => real, per_thread {
        record_3d(&DRIVER, None, given, &mut |given| real(node, given))
    }

    hipGraphExecMemcpyNodeSetParams fn (graph: usize, node: usize, given: *const Spaces) => real, per_thread {
        record_3d(&DRIVER, None, given, &mut |given| real(graph, node, given))
    }

    hipGraphAddMemcpyNode1D fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, to: usize, from: usize, n: usize, kind: i32,
    ) => real, per_thread {
        row(to, from, kind, &mut |to, from, kind| real(out, graph, after, count, to, from, n, kind))
    }

    hipGraphMemcpyNodeSetParams1D fn (
        node: usize, to: usize, from: usize, n: usize, kind: i32,
    ) => real, per_thread {
        row(to, from, kind, &mut |to, from, kind| real(node, to, from, n, kind))
    }

    hipGraphExecMemcpyNodeSetParams1D fn (
        graph: usize, node: usize, to: usize, from: usize, n: usize, kind: i32,
    ) => real, per_thread {
        row(to, from, kind, &mut |to, from, kind| real(graph, node, to, from, n, kind))
    }

    hipGraphAddMemsetNode fn (
        out: *mut usize, graph: usize, after: *const usize, count: usize, given: *const Fill,
    ) => real, per_thread {
        fill(given, &mut |given| real(out, graph, after, count, given))
    }

    hipGraphMemsetNodeSetParams fn (node: usize, given: *const Fill) => real, per_thread {
        fill(given, &mut |given| real(node, given))
    }

    hipGraphExecMemsetNodeSetParams fn (graph: usize, node: usize, given: *const Fill) => real, per_thread {
        fill(given, &mut |given| real(graph, node, given))
    }
}
