//! The kernels that the double knows: the built-in ones of libhmmrt (`kernels/kernels.cu`, the same results bit for bit)
//! and some for tests. A stream's thread runs one for the whole grid; its pointers are device addresses, translated here
//! and read and written through raw pointers, since other streams may touch the same bytes.

use core::array;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::table::{Kernel, Run};
use crate::view::View;
use crate::{Error, Result};

crate::table::kernels! {
    hmm_fill(dst: u64, value: u32, n: u64);
    hmm_copy(dst: u64, src: u64, n: u64);
    hmm_saxpy(y: u64, x: u64, a: f32, n: u64);
    hmm_sum(out: u64, x: u64, n: u64);
    hmm_histogram(bins: u64, x: u64, n: u64);
    hmm_stencil(out: u64, input: u64, width: u64, height: u64);
    hmm_list_walk(out: u64, nodes: u64, nodes_host: u64, head: u64, max: u64);
    hmm_checksum(out: u64, x: u64, n: u64);
    test_add_bytes(p: u64, n: u64, v: u8);
    test_fill_bytes(p: u64, n: u64, v: u8);
    test_add_word(p: u64);
    test_slow_increment(p: u64, n: u64, ns: u64);
    test_slow_copy(to: u64, from: u64, n: u64, ns: u64);
    triad(a: u64, b: u64, c: u64, s: f64, n: u64);
    inc(p: u64, n: u64);
}

/// The most elements between two looks at the device's health.
const STEP: u64 = 1 << 20;

/// Calls `f` for stretches of elements that lie in a row in every view, each of which has elements of its size.
fn each<const N: usize>(
    run: &Run,
    views: [&View; N],
    sizes: [u64; N],
    n: u64,
    mut f: impl FnMut([*mut u8; N], usize),
) -> Result {
    let mut done = 0;
    while done < n {
        run.device.check()?;
        let mut count = (n - done).min(STEP);
        let at = array::from_fn(|k| {
            let (_, at, left) = views[k].run(done * sizes[k]);
            count = count.min(left / sizes[k]);
            at
        });
        if count == 0 {
            return Err(Error::MISALIGNED);
        }
        f(at, count as usize);
        done += count;
    }
    Ok(())
}

/// `*out += value`, at once for other kernels.
fn add(run: &Run, out: u64, value: u64) -> Result {
    let out = run.write::<u64>(out, 1)?;
    let at = out.row().ok_or(Error::MISALIGNED)?;
    // SAFETY: eight aligned bytes of the view; kernels of the double change such cells like this.
    unsafe { AtomicU64::from_ptr(at.cast()) }.fetch_add(value, Relaxed);
    Ok(())
}

fn hmm_fill(run: &Run, dst: u64, value: u32, n: u64) -> Result {
    let dst = run.write::<u32>(dst, n)?;
    each(run, [&dst], [4], n, |[dst], n| {
        for i in 0..n {
            // SAFETY: the stretch has n words.
            unsafe { dst.cast::<u32>().add(i).write(value) };
        }
    })
}

fn hmm_copy(run: &Run, dst: u64, src: u64, n: u64) -> Result {
    let (dst, src) = (run.write::<u8>(dst, n)?, run.read::<u8>(src, n)?);
    // SAFETY: both stretches have n bytes.
    each(run, [&dst, &src], [1, 1], n, |[dst, src], n| unsafe { ptr::copy(src, dst, n) })
}

fn hmm_saxpy(run: &Run, y: u64, x: u64, a: f32, n: u64) -> Result {
    let (y, x) = (run.write::<f32>(y, n)?, run.read::<f32>(x, n)?);
    each(run, [&y, &x], [4, 4], n, |[y, x], n| {
        let (y, x) = (y.cast::<f32>(), x.cast::<f32>());
        for i in 0..n {
            // SAFETY: both stretches have n floats. Two roundings: Rust makes no fused operation of them.
            unsafe { *y.add(i) += a * *x.add(i) };
        }
    })
}

fn hmm_sum(run: &Run, out: u64, x: u64, n: u64) -> Result {
    let x = run.read::<u32>(x, n)?;
    let mut total = 0u64;
    each(run, [&x], [4], n, |[x], n| {
        for i in 0..n {
            // SAFETY: the stretch has n words.
            total = total.wrapping_add(u64::from(unsafe { *x.cast::<u32>().add(i) }));
        }
    })?;
    add(run, out, total)
}

fn hmm_histogram(run: &Run, bins: u64, x: u64, n: u64) -> Result {
    let (bins_view, x) = (run.write::<u64>(bins, 256)?, run.read::<u8>(x, n)?);
    // Four tables: equal bytes in a row would else wait for each other's count.
    let mut counts = [[0u64; 256]; 4];
    each(run, [&x], [1], n, |[x], n| {
        for i in 0..n {
            // SAFETY: the stretch has n bytes.
            counts[i % 4][usize::from(unsafe { *x.add(i) })] += 1;
        }
    })?;
    drop(bins_view);
    for b in 0..256 {
        let count = counts.iter().map(|table| table[b]).sum::<u64>();
        if count != 0 {
            add(run, bins + 8 * b as u64, count)?;
        }
    }
    Ok(())
}

/// Five-point mean of a row-major picture, `(c + l + r + u + d) * 0.2` added in that order; the border is copied.
fn hmm_stencil(run: &Run, out: u64, input: u64, width: u64, height: u64) -> Result {
    let cells = width.checked_mul(height).ok_or(Error::ILLEGAL_ADDRESS)?;
    let (to, input) = (run.write::<f32>(out, cells)?, run.read::<f32>(input, cells)?);
    let mut copy = Vec::new();
    let from = in_row(run, &input, &mut copy)?.cast::<f32>();
    let (w, h, mut at) = (width as usize, height as usize, 0);
    each(run, [&to], [4], cells, |[to], n| {
        let mut done = 0;
        while done < n {
            // The rest of this row, or of this stretch.
            let (row, col) = ((at + done) / w, (at + done) % w);
            let count = (w - col).min(n - done);
            let edge = row == 0 || row + 1 == h || w < 3;
            // SAFETY: `count` cells from here on lie in both pictures; the inner ones of an inner row have all neighbours.
            unsafe { stencil_row(to.cast::<f32>().add(done), from.add(at + done), w, col, count, edge) };
            done += count;
        }
        at += n;
    })
}

/// `count` cells of a row from column `col` on; all of them copied on the edge.
///
/// # Safety
/// `to` and `from` have `count` floats. Off the edge, `from` also has the row above and the row below.
unsafe fn stencil_row(to: *mut f32, from: *const f32, w: usize, col: usize, count: usize, edge: bool) {
    // SAFETY: the caller's promise; inner columns have neighbours in their row.
    unsafe {
        let (first, last) = (usize::from(col == 0), count - usize::from(col + count == w));
        if edge || first >= last {
            return ptr::copy(from, to, count);
        }
        let (above, below) = (from.sub(w), from.add(w));
        if first == 1 {
            *to = *from;
        }
        for i in first..last {
            let mut v = *from.add(i) + *from.sub(1).add(i);
            v += *from.add(i + 1);
            v += *above.add(i);
            v += *below.add(i);
            *to.add(i) = v * 0.2;
        }
        if last < count {
            *to.add(last) = *from.add(last);
        }
    }
}

/// The bytes of a view in a row: as they are, or else copied.
fn in_row(run: &Run, view: &View, copy: &mut Vec<u8>) -> Result<*const u8> {
    if let Some(at) = view.row() {
        return Ok(at);
    }
    // Of words, so that it is aligned for whatever is in it.
    copy.reserve_exact(view.len() as usize + 8);
    let start = copy.as_mut_ptr().wrapping_add(copy.as_ptr().align_offset(8));
    let mut done = 0;
    each(run, [view], [1], view.len(), |[at], n| {
        // SAFETY: the stretch has n bytes, and the copy has room for all stretches and what alignment takes.
        unsafe { ptr::copy_nonoverlapping(at, start.add(done), n) };
        done += n;
    })?;
    Ok(start)
}

/// Follows host addresses through the device's copy of the nodes: `out[0]` = nodes visited, `out[1]` = sum of values.
fn hmm_list_walk(run: &Run, out: u64, nodes: u64, nodes_host: u64, head: u64, max: u64) -> Result {
    let out = run.write::<u64>(out, 2)?;
    let (mut count, mut total, mut next) = (0u64, 0u64, head);
    // The mapping that the last node was in, from its first word on.
    let mut near: Option<(u64, View)> = None;
    while next != 0 && count < max {
        let at = nodes.wrapping_add(next.wrapping_sub(nodes_host));
        let inside = |(start, view): &(u64, View)| at >= *start && at - start + 16 <= view.len();
        if !near.as_ref().is_some_and(inside) {
            run.device.check()?;
            near = Some(run.around(at, 16, 8)?);
        }
        let Some((start, view)) = &near else { return Err(Error::ILLEGAL_ADDRESS) };
        let (_, node, _) = view.run(at - start);
        if at % 8 != 0 {
            return Err(Error::MISALIGNED);
        }
        // SAFETY: sixteen aligned bytes of the view, which lies in a row.
        let (after, value) = unsafe { (*node.cast::<u64>(), *node.cast::<u64>().add(1)) };
        total = total.wrapping_add(value);
        count += 1;
        next = after;
        if count % STEP == 0 {
            run.device.check()?;
        }
    }
    let mut values = [count, total].into_iter();
    each(run, [&out], [8], 2, |[out], n| {
        for (i, value) in values.by_ref().take(n).enumerate() {
            // SAFETY: the stretch has n words.
            unsafe { out.cast::<u64>().add(i).write(value) };
        }
    })
}

/// SplitMix64's finalizer (Steele, Lea, Flood 2014) over a word and its place.
fn mix(word: u64, index: u64) -> u64 {
    let z = word.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn hmm_checksum(run: &Run, out: u64, x: u64, n: u64) -> Result {
    let view = run.read::<u8>(x, n)?;
    let (words, tail) = (n / 8, (n % 8) as usize);
    let (mut total, mut index) = (0u64, 0);
    let mut take = |at: *const u8, n: usize| {
        for i in 0..n {
            // SAFETY: the stretch has 8 * n bytes.
            let bytes = unsafe { at.add(i * 8).cast::<[u8; 8]>().read() };
            total = total.wrapping_add(mix(u64::from_le_bytes(bytes), index));
            index += 1;
        }
    };
    let mut copy = Vec::new();
    if x.is_multiple_of(8) {
        each(run, [&view], [8], words, |[at], n| take(at, n))?;
    } else {
        // A word may lie across two pieces.
        take(in_row(run, &view, &mut copy)?, words as usize);
    }
    if tail != 0 {
        let mut bytes = [0u8; 8];
        for (i, byte) in bytes[..tail].iter_mut().enumerate() {
            // SAFETY: a byte of the view.
            *byte = unsafe { *view.run(words * 8 + i as u64).1 };
        }
        total = total.wrapping_add(mix(u64::from_le_bytes(bytes), words));
    }
    add(run, out, total)
}

fn test_add_bytes(run: &Run, p: u64, n: u64, v: u8) -> Result {
    let p = run.write::<u8>(p, n)?;
    each(run, [&p], [1], n, |[p], n| {
        for i in 0..n {
            // SAFETY: the stretch has n bytes.
            unsafe { *p.add(i) = (*p.add(i)).wrapping_add(v) };
        }
    })
}

fn test_fill_bytes(run: &Run, p: u64, n: u64, v: u8) -> Result {
    let p = run.write::<u8>(p, n)?;
    // SAFETY: the stretch has n bytes.
    each(run, [&p], [1], n, |[p], n| unsafe { ptr::write_bytes(p, v, n) })
}

fn test_add_word(run: &Run, p: u64) -> Result {
    add(run, p, 1)
}

fn test_slow_increment(run: &Run, p: u64, n: u64, ns: u64) -> Result {
    run.device.pause(Instant::now() + Duration::from_nanos(ns));
    increment(run, p, n)
}

fn test_slow_copy(run: &Run, to: u64, from: u64, n: u64, ns: u64) -> Result {
    run.device.pause(Instant::now() + Duration::from_nanos(ns));
    let bytes = n.checked_mul(4).ok_or(Error::ILLEGAL_ADDRESS)?;
    hmm_copy(run, to, from, bytes)
}

fn triad(run: &Run, a: u64, b: u64, c: u64, s: f64, n: u64) -> Result {
    let (a, b, c) = (run.write::<f64>(a, n)?, run.read::<f64>(b, n)?, run.read::<f64>(c, n)?);
    each(run, [&a, &b, &c], [8; 3], n, |[a, b, c], n| {
        let (a, b, c) = (a.cast::<f64>(), b.cast::<f64>(), c.cast::<f64>());
        for i in 0..n {
            // SAFETY: each stretch has n numbers.
            unsafe { *a.add(i) = *b.add(i) + s * *c.add(i) };
        }
    })
}

/// One thread for each word, so no more words than threads.
fn inc(run: &Run, p: u64, n: u64) -> Result {
    increment(run, p, n.min(run.threads))
}

fn increment(run: &Run, p: u64, n: u64) -> Result {
    let p = run.write::<u32>(p, n)?;
    each(run, [&p], [4], n, |[p], n| {
        let p = p.cast::<u32>();
        for i in 0..n {
            // SAFETY: the stretch has n words.
            unsafe { *p.add(i) = (*p.add(i)).wrapping_add(1) };
        }
    })
}
