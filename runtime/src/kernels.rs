//! The built-in kernels as typed functions: each checks its slices against each other and launches `hmm_<name>` on the
//! stream, with what it does to each slice. What they compute is in `kernels/README.md`. API context only.
//!
//! The slices lie in managed memory, or it is [`Error::NotManaged`]. The functions return once the kernel is queued;
//! the memory can be used again at once, and a CPU access that could see the kernel at work waits for it. A slice that
//! does not fit the others is [`Error::InvalidArgument`], which names it, and nothing is queued. Other errors are
//! those of [`Stream::launch`]. With nothing to do, nothing is queued.
//!
//! ```
//! use hmmrt::{ManagedVec, Runtime, kernels};
//!
//! let stream = Runtime::new()?.device(0)?.stream()?;
//! let mut x = ManagedVec::<u32>::zeroed(100_000)?;
//! let mut sum = ManagedVec::<u64>::zeroed(1)?;
//! kernels::fill(&stream, &mut x, 7)?;
//! kernels::sum(&stream, &mut sum, &x)?; // after the fill: a stream keeps the order
//! assert_eq!(sum[0], 700_000); // waits
//! # Ok::<(), hmmrt::Error>(())
//! ```

use crate::error::{Error, Result};
use crate::guard::Arg;
use crate::handle::Stream;
use crate::launch::LaunchConfig;
use bytemuck::{Pod, Zeroable};

/// A node of [`list_walk`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ListNode {
    /// The host address of the next node; 0 ends the list.
    pub next: u64,
    /// What is summed up.
    pub value: u64,
}

/// Launches the built-in kernel `name` with a thread for each of `n` items.
///
/// # Safety
/// As [`Stream::launch`].
unsafe fn start(stream: &Stream, name: &str, n: usize, args: &mut [Arg<'_>]) -> Result<()> {
    let kernel = stream.device().builtin_module()?.kernel(name)?;
    // SAFETY: the caller's promise; any grid and block will do.
    unsafe { stream.launch(&kernel, &LaunchConfig::linear(n, 256), args) }
}

fn check(fits: bool, arg: &'static str, why: &'static str) -> Result<()> {
    if fits { Ok(()) } else { Err(Error::InvalidArgument { arg, why }) }
}

/// Sets every word of `dst` to `value`.
///
/// # Errors
/// See the [module](self).
pub fn fill(stream: &Stream, dst: &mut [u32], value: u32) -> Result<()> {
    let n = dst.len() as u64;
    if n == 0 {
        return Ok(());
    }
    let items = dst.len();
    let mut args = [Arg::write(dst), Arg::value(&value), Arg::value(&n)];
    // SAFETY: hmm_fill's parameters; it writes n words of dst.
    unsafe { start(stream, "hmm_fill", items, &mut args) }
}

/// Copies `src` to `dst`, which is as long.
///
/// # Errors
/// See the [module](self).
pub fn copy(stream: &Stream, dst: &mut [u8], src: &[u8]) -> Result<()> {
    check(dst.len() == src.len(), "src", "its length is not dst's")?;
    let n = src.len() as u64;
    if n == 0 {
        return Ok(());
    }
    let mut args = [Arg::write(dst), Arg::read(src), Arg::value(&n)];
    // SAFETY: hmm_copy's parameters; it reads n bytes of src and writes n of dst.
    unsafe { start(stream, "hmm_copy", src.len(), &mut args) }
}

/// `y[i] += a * x[i]`, rounded after the product and after the sum. `x` is as long as `y`.
///
/// # Errors
/// See the [module](self).
pub fn saxpy(stream: &Stream, y: &mut [f32], a: f32, x: &[f32]) -> Result<()> {
    check(y.len() == x.len(), "x", "its length is not y's")?;
    let n = x.len() as u64;
    if n == 0 {
        return Ok(());
    }
    let mut args = [Arg::read_write(y), Arg::read(x), Arg::value(&a), Arg::value(&n)];
    // SAFETY: hmm_saxpy's parameters; it uses n floats of each.
    unsafe { start(stream, "hmm_saxpy", x.len(), &mut args) }
}

/// Adds the sum of `x` to `out[0]`, the only element, wrapping.
///
/// # Errors
/// See the [module](self).
pub fn sum(stream: &Stream, out: &mut [u64], x: &[u32]) -> Result<()> {
    check(out.len() == 1, "out", "it has not 1 element")?;
    let n = x.len() as u64;
    if n == 0 {
        return Ok(());
    }
    let mut args = [Arg::read_write(out), Arg::read(x), Arg::value(&n)];
    // SAFETY: hmm_sum's parameters; it reads n words of x and adds to one of out.
    unsafe { start(stream, "hmm_sum", x.len(), &mut args) }
}

/// Adds to each of the 256 `bins` how often that byte occurs in `x`.
///
/// # Errors
/// See the [module](self).
pub fn histogram(stream: &Stream, bins: &mut [u64], x: &[u8]) -> Result<()> {
    check(bins.len() == 256, "bins", "it has not 256 elements")?;
    let n = x.len() as u64;
    if n == 0 {
        return Ok(());
    }
    let mut args = [Arg::read_write(bins), Arg::read(x), Arg::value(&n)];
    // SAFETY: hmm_histogram's parameters; it reads n bytes of x and adds to 256 words of bins.
    unsafe { start(stream, "hmm_histogram", x.len(), &mut args) }
}

/// The five-point mean of a row-major picture of `width` by `height` cells: `out = (c + l + r + u + d) * 0.2`, added in
/// that order; border cells are copied. Both slices have `width * height` elements.
///
/// # Errors
/// See the [module](self).
pub fn stencil(stream: &Stream, out: &mut [f32], inp: &[f32], width: usize, height: usize) -> Result<()> {
    let cells = width.checked_mul(height);
    check(cells == Some(inp.len()), "inp", "its length is not width times height")?;
    check(out.len() == inp.len(), "out", "its length is not width times height")?;
    if inp.is_empty() {
        return Ok(());
    }
    let (w, h) = (width as u64, height as u64);
    let mut args = [Arg::write(out), Arg::read(inp), Arg::value(&w), Arg::value(&h)];
    // SAFETY: hmm_stencil's parameters; it reads w * h floats of inp and writes as many of out.
    unsafe { start(stream, "hmm_stencil", inp.len(), &mut args) }
}

/// Walks a list through `nodes` from `head`, until a `next` of 0 or `max` nodes, in one thread of the device.
/// `out[0]` becomes the number of nodes visited, `out[1]` the sum of their values, wrapping.
///
/// ```
/// use hmmrt::{ListNode, ManagedVec, Runtime, kernels};
///
/// let stream = Runtime::new()?.device(0)?.stream()?;
/// let mut nodes = ManagedVec::from_slice(&[ListNode { next: 0, value: 5 }; 2])?;
/// nodes[0].next = (&raw const nodes[1]).addr() as u64;
/// let mut found = ManagedVec::<u64>::zeroed(2)?;
/// // SAFETY: the list is nodes 0 and 1, and ends.
/// unsafe { kernels::list_walk(&stream, &mut found, &nodes, &raw const nodes[0], 100)? };
/// assert_eq!(found[..], [2, 10]);
/// # Ok::<(), hmmrt::Error>(())
/// ```
///
/// # Safety
/// `head` and the `next` of each of the first `max` nodes reached are 0 or the address of an element of `nodes`. The
/// kernel follows them unchecked: it has the place of `nodes`, but not its length.
///
/// # Errors
/// See the [module](self).
pub unsafe fn list_walk(
    stream: &Stream,
    out: &mut [u64],
    nodes: &[ListNode],
    head: *const ListNode,
    max: u64,
) -> Result<()> {
    check(out.len() == 2, "out", "it has not 2 elements")?;
    let inside = head.is_null() || nodes.as_ptr_range().contains(&head);
    check(inside, "head", "it is neither null nor in nodes")?;
    let (place, head) = (nodes.as_ptr().expose_provenance() as u64, head.addr() as u64);
    let mut args =
        [Arg::write(out), Arg::read(nodes), Arg::value(&place), Arg::value(&head), Arg::value(&max)];
    // SAFETY: hmm_list_walk's parameters; it writes two words of out, and stays in nodes by the caller's promise.
    unsafe { start(stream, "hmm_list_walk", 1, &mut args) }
}

/// Adds the checksum of `x` to `out[0]`, the only element, wrapping: the sum of a mix (SplitMix64's finalizer, Steele,
/// Lea, Flood 2014) of each little-endian 8-byte word and its place, the last one filled up with zeros.
///
/// # Errors
/// See the [module](self).
pub fn checksum(stream: &Stream, out: &mut [u64], x: &[u8]) -> Result<()> {
    check(out.len() == 1, "out", "it has not 1 element")?;
    let n = x.len() as u64;
    if n == 0 {
        return Ok(());
    }
    let mut args = [Arg::read_write(out), Arg::read(x), Arg::value(&n)];
    // SAFETY: hmm_checksum's parameters; it reads n bytes of x and adds to one word of out.
    unsafe { start(stream, "hmm_checksum", x.len(), &mut args) }
}
