//! The built-in kernels as host functions: the twins of `kernels/kernels.cu`, with the same names, arguments and
//! results bit for bit (NaN payloads aside). A stream's thread of the host backend calls one per launch, holding no lock;
//! one call does the whole launch, so the grid and block of the configuration make no difference.
//!
//! The buffers may be written by others at the same time (a program that races with its kernel), so everything goes
//! through raw pointers. As on a GPU, pointers must be aligned for their type.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::device::Param;
use crate::launch::{HostFunction, LaunchConfig};

/// One kernel of the host backend's built-in module.
#[derive(Debug)]
pub(crate) struct Builtin {
    /// The name, the same on every backend.
    pub name: &'static str,
    /// Runs one launch.
    pub function: HostFunction,
    /// The arguments, in order.
    pub params: &'static [Param],
}

/// A type that arguments can have.
trait Argument: Copy {
    const PARAM: Param;
}

impl<T> Argument for *const T {
    const PARAM: Param = Param::Pointer;
}

impl<T> Argument for *mut T {
    const PARAM: Param = Param::Pointer;
}

macro_rules! values {
    ($($kind:ty),*) => {
        $(impl Argument for $kind {
            const PARAM: Param = Param::Value(size_of::<Self>());
        })*
    };
}

values!(u32, u64, f32);

/// Reads the argument that `*at` stands at and steps to the next.
///
/// # Safety
/// `*at` points at a pointer to a readable `T` of any alignment.
unsafe fn take<T: Argument>(at: &mut *const *mut c_void) -> T {
    // SAFETY: the caller's promise; the step stays within the array or one past its end.
    unsafe {
        let value = (**at).cast::<T>().read_unaligned();
        *at = at.add(1);
        value
    }
}

/// Makes a host function of each typed function below, and the table: one signature says both how the arguments
/// are read and what a launch has to pass.
macro_rules! builtins {
    ($($name:ident = $body:ident($($arg:ident: $kind:ty),*);)*) => {
        $(
            #[doc = concat!("[`", stringify!($body), "`] as a launch calls it.")]
            ///
            /// # Safety
            /// `args` has one entry per argument in the table, each pointing at a value of that type, and the
            /// typed function's own conditions hold for them.
            pub(crate) unsafe extern "C" fn $name(_config: *const LaunchConfig, args: *const *mut c_void) {
                let mut at = args;
                // SAFETY: the caller's promise, argument by argument in the table's order.
                unsafe {
                    $(let $arg = take::<$kind>(&mut at);)*
                    $body($($arg),*)
                }
            }
        )*

        /// Every built-in kernel.
        pub(crate) static BUILTIN: &[Builtin] = &[
            $(Builtin {
                name: stringify!($name),
                function: $name,
                params: &[$(<$kind as Argument>::PARAM),*],
            }),*
        ];
    };
}

builtins! {
    hmm_fill = fill(dst: *mut u32, value: u32, n: u64);
    hmm_copy = copy(dst: *mut u8, src: *const u8, n: u64);
    hmm_saxpy = saxpy(y: *mut f32, x: *const f32, a: f32, n: u64);
    hmm_sum = sum(out: *mut u64, x: *const u32, n: u64);
    hmm_histogram = histogram(bins: *mut u64, x: *const u8, n: u64);
    hmm_stencil = stencil(out: *mut f32, input: *const f32, width: u64, height: u64);
    hmm_list_walk = list_walk(out: *mut u64, nodes: *const Node, nodes_host: u64, head: u64, max: u64);
    hmm_checksum = checksum(out: *mut u64, x: *const u8, n: u64);
}

/// A node of [`list_walk`]: host address of the next node (0 at the end), and a value.
#[repr(C)]
struct Node {
    next: u64,
    value: u64,
}

/// `*out += value`, at once for other launches on the same cell.
///
/// # Safety
/// `out` is aligned and writable, and touched by nobody else except atomically.
unsafe fn add(out: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(out) }.fetch_add(value, Ordering::Relaxed);
}

/// `dst[i] = value`
///
/// # Safety
/// `dst` is writable for `n` words.
unsafe fn fill(dst: *mut u32, value: u32, n: u64) {
    for i in 0..n as usize {
        // SAFETY: i < n.
        unsafe { dst.add(i).write(value) };
    }
}

/// `dst[i] = src[i]`
///
/// # Safety
/// `dst` is writable and `src` readable for `n` bytes.
unsafe fn copy(dst: *mut u8, src: *const u8, n: u64) {
    if n != 0 {
        // SAFETY: the caller's promise. `copy` is as fast as `copy_nonoverlapping` and keeps a program that lets
        // the two overlap (undefined bytes on a GPU) from being undefined behaviour here.
        unsafe { ptr::copy(src, dst, n as usize) };
    }
}

/// `y[i] += a * x[i]`, rounded after the product and after the sum; `y` and `x` may be the same.
///
/// # Safety
/// `y` is writable and `x` readable for `n` floats.
unsafe fn saxpy(y: *mut f32, x: *const f32, a: f32, n: u64) {
    for i in 0..n as usize {
        // SAFETY: i < n. Rust never contracts the two operations into one.
        unsafe { *y.add(i) += a * *x.add(i) };
    }
}

/// `*out += sum of x[i]`
///
/// # Safety
/// As [`add`] for `out`; `x` is readable for `n` words.
unsafe fn sum(out: *mut u64, x: *const u32, n: u64) {
    let mut total = 0u64;
    for i in 0..n as usize {
        // SAFETY: i < n.
        total = total.wrapping_add(u64::from(unsafe { *x.add(i) }));
    }
    // SAFETY: the caller's promise.
    unsafe { add(out, total) };
}

/// `bins[b] += how often byte b occurs in x`, for 256 bins.
///
/// # Safety
/// As [`add`] for each of the 256 `bins`; `x` is readable for `n` bytes.
unsafe fn histogram(bins: *mut u64, x: *const u8, n: u64) {
    // Four tables: equal bytes in a row would else wait for each other's count.
    let mut counts = [[0u64; 256]; 4];
    let n = n as usize;
    let words = n / 8;
    for i in 0..words {
        // SAFETY: the eight bytes from 8 * i lie below n.
        let bytes = unsafe { x.add(i * 8).cast::<[u8; 8]>().read() };
        for (k, byte) in bytes.into_iter().enumerate() {
            counts[k % 4][usize::from(byte)] += 1;
        }
    }
    for i in words * 8..n {
        // SAFETY: i < n.
        counts[0][usize::from(unsafe { *x.add(i) })] += 1;
    }
    for b in 0..256 {
        let count = counts.iter().map(|table| table[b]).sum::<u64>();
        if count != 0 {
            // SAFETY: b < 256.
            unsafe { add(bins.add(b), count) };
        }
    }
}

/// Five-point mean of a row-major picture, `(c + l + r + u + d) * 0.2` added in that order; the border is copied.
///
/// # Safety
/// `out` is writable and `input` readable for `width * height` floats, and they are apart.
unsafe fn stencil(out: *mut f32, input: *const f32, width: u64, height: u64) {
    let (width, height) = (width as usize, height as usize);
    if width == 0 {
        return;
    }
    for row in 0..height {
        // SAFETY: row < height, so the row's `width` cells lie in both pictures.
        let (to, from) = unsafe { (out.add(row * width), input.add(row * width)) };
        if row == 0 || row + 1 == height || width < 3 {
            // SAFETY: as above.
            unsafe { ptr::copy(from, to, width) };
            continue;
        }
        // SAFETY: neither the first nor the last row, so both neighbours are rows of the picture, and each column
        // from 1 to width - 2 has neighbours in its row.
        unsafe {
            let (above, below) = (from.sub(width), from.add(width));
            *to = *from;
            for col in 1..width - 1 {
                let mut v = *from.add(col) + *from.add(col - 1);
                v += *from.add(col + 1);
                v += *above.add(col);
                v += *below.add(col);
                *to.add(col) = v * 0.2;
            }
            *to.add(width - 1) = *from.add(width - 1);
        }
    }
}

/// Follows host addresses from `head` through the device's copy of the nodes, until 0 or `max` nodes.
/// `out[0]` = nodes visited, `out[1]` = sum of their values.
///
/// # Safety
/// `out` is writable for two words; every node reached, taken `nodes_host` bytes back and `nodes` bytes forth, is readable.
unsafe fn list_walk(out: *mut u64, nodes: *const Node, nodes_host: u64, head: u64, max: u64) {
    let (mut count, mut total, mut at) = (0u64, 0u64, head);
    while at != 0 && count < max {
        let node = nodes.wrapping_byte_add(at.wrapping_sub(nodes_host) as usize);
        // SAFETY: the caller's promise.
        let (next, value) = unsafe { ((*node).next, (*node).value) };
        total = total.wrapping_add(value);
        count += 1;
        at = next;
    }
    // SAFETY: the caller's promise.
    unsafe {
        *out = count;
        *out.add(1) = total;
    }
}

/// The word's part in [`checksum`]: SplitMix64's finalizer (Steele, Lea, Flood 2014) over the word and its place.
fn mix(word: u64, index: u64) -> u64 {
    let z = word.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `*out += sum of mix(w_i, i)` over the little-endian 8-byte words of `x`, the last one filled up with zeroes.
/// Wrapping, so the order in which words are taken makes no difference.
///
/// # Safety
/// As [`add`] for `out`; `x` is readable for `n` bytes.
unsafe fn checksum(out: *mut u64, x: *const u8, n: u64) {
    let words = n / 8;
    let mut total = 0u64;
    for i in 0..words {
        // SAFETY: the eight bytes from 8 * i lie below n.
        let bytes = unsafe { x.add(i as usize * 8).cast::<[u8; 8]>().read() };
        total = total.wrapping_add(mix(u64::from_le_bytes(bytes), i));
    }
    let tail = (n % 8) as usize;
    if tail != 0 {
        let mut bytes = [0u8; 8];
        // SAFETY: the last `tail` bytes lie below n.
        unsafe { ptr::copy_nonoverlapping(x.add((words * 8) as usize), bytes.as_mut_ptr(), tail) };
        total = total.wrapping_add(mix(u64::from_le_bytes(bytes), words));
    }
    // SAFETY: the caller's promise.
    unsafe { add(out, total) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around the ends of words, vectors and pages.
    const LENGTHS: [usize; 12] = [0, 1, 2, 7, 8, 9, 15, 31, 33, 255, 4096, 5003];

    /// Calls a built-in by name, as a launch does: each argument by the address of its value, here an odd one.
    macro_rules! launch {
        ($name:literal, $($arg:expr),*) => {{
            let builtin = BUILTIN.iter().find(|b| b.name == $name).expect("a built-in of that name");
            let mut store = [$(odd($arg)),*];
            assert_eq!(store.each_ref().map(|(param, _)| *param), builtin.params);
            let args = store.each_mut().map(|(_, bytes)| bytes[1..].as_mut_ptr().cast::<c_void>());
            // SAFETY: the arguments are what the table says; the tests pass buffers of the right length.
            unsafe { (builtin.function)(ptr::null(), args.as_ptr()) }
        }};
    }

    fn odd<T: Argument>(value: T) -> (Param, Vec<u8>) {
        let mut bytes = vec![0u8; size_of::<T>() + 1];
        // SAFETY: the vector has room for the value behind its first byte.
        unsafe { bytes.as_mut_ptr().add(1).cast::<T>().write_unaligned(value) };
        (T::PARAM, bytes)
    }

    fn noise<T>(n: usize, of: impl Fn(u64) -> T) -> Vec<T> {
        (0..n as u64).map(|i| of(mix(0x5eed, i))).collect()
    }

    const BYTE: fn(u64) -> u8 = |v| v as u8;
    const FLOAT: fn(u64) -> f32 = |v| v as i32 as f32 * 1e-5;

    #[test]
    fn table_names_every_kernel_once() {
        use Param::{Pointer as P, Value as V};
        let expected: [(&str, &[Param]); 8] = [
            ("hmm_fill", &[P, V(4), V(8)]),
            ("hmm_copy", &[P, P, V(8)]),
            ("hmm_saxpy", &[P, P, V(4), V(8)]),
            ("hmm_sum", &[P, P, V(8)]),
            ("hmm_histogram", &[P, P, V(8)]),
            ("hmm_stencil", &[P, P, V(8), V(8)]),
            ("hmm_list_walk", &[P, P, V(8), V(8), V(8)]),
            ("hmm_checksum", &[P, P, V(8)]),
        ];
        assert_eq!(BUILTIN.iter().map(|b| (b.name, b.params)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fill_writes_n_words_and_no_more() {
        for n in LENGTHS {
            let mut dst = vec![7u32; n + 1];
            launch!("hmm_fill", dst.as_mut_ptr(), 0xdead_beef_u32, n as u64);
            assert!(dst[..n].iter().all(|&v| v == 0xdead_beef) && dst[n] == 7);
        }
    }

    #[test]
    fn copy_takes_any_length_and_alignment() {
        for n in LENGTHS {
            for (from, to) in [(0, 0), (1, 0), (3, 5)] {
                let src = noise(from + n, BYTE);
                let mut dst = vec![9u8; to + n + 1];
                launch!("hmm_copy", dst[to..].as_mut_ptr(), src[from..].as_ptr(), n as u64);
                assert_eq!(dst[to..to + n], src[from..]);
                assert_eq!(dst[to + n], 9);
            }
        }
        launch!("hmm_copy", ptr::null_mut::<u8>(), ptr::null::<u8>(), 0u64);
    }

    #[test]
    fn saxpy_rounds_twice() {
        for n in LENGTHS {
            let x = noise(n, FLOAT);
            let mut y: Vec<f32> = x.iter().map(|v| v * 0.37 - 1.0).collect();
            let expected: Vec<f32> = y.iter().zip(&x).map(|(y, x)| y + 1.1 * x).collect();
            launch!("hmm_saxpy", y.as_mut_ptr(), x.as_ptr(), 1.1f32, n as u64);
            assert_eq!(y, expected);
        }
        // (1 + e)(1 - e) = 1 - e^2 rounds to 1: a contracted operation would give -e^2.
        let (x, mut y) = ([1.0 - f32::EPSILON], [-1.0f32]);
        launch!("hmm_saxpy", y.as_mut_ptr(), x.as_ptr(), 1.0 + f32::EPSILON, 1u64);
        assert_eq!(y, [0.0]);
    }

    #[test]
    fn sum_adds_beyond_32_bits_and_wraps() {
        for n in LENGTHS {
            let x = noise(n, |v| v as u32 | 1 << 31);
            let mut out = [5u64];
            launch!("hmm_sum", out.as_mut_ptr(), x.as_ptr(), n as u64);
            assert_eq!(out[0], 5 + x.iter().map(|&v| u64::from(v)).sum::<u64>());
        }
        let mut out = [u64::MAX];
        launch!("hmm_sum", out.as_mut_ptr(), [3u32].as_ptr(), 1u64);
        assert_eq!(out, [2]);
    }

    #[test]
    fn histogram_adds_to_the_bins() {
        for n in LENGTHS {
            for skip in [0, 1] {
                let x = noise(n + skip, BYTE);
                let (mut bins, mut expected) = ([1u64; 256], [1u64; 256]);
                x[skip..].iter().for_each(|&b| expected[usize::from(b)] += 1);
                launch!("hmm_histogram", bins.as_mut_ptr(), x[skip..].as_ptr(), n as u64);
                assert_eq!(bins, expected);
            }
        }
    }

    #[test]
    fn stencil_copies_the_border() {
        for (w, h) in [(0, 3), (3, 0), (1, 1), (1, 5), (5, 1), (2, 4), (4, 2), (3, 3), (17, 5), (64, 33)] {
            let input = noise(w * h, FLOAT);
            let mut out = vec![f32::NAN; w * h];
            launch!("hmm_stencil", out.as_mut_ptr(), input.as_ptr(), w as u64, h as u64);
            for (i, &v) in out.iter().enumerate() {
                let (row, col) = (i / w, i % w);
                let border = row == 0 || col == 0 || row + 1 == h || col + 1 == w;
                let mean = || (input[i] + input[i - 1] + input[i + 1] + input[i - w] + input[i + w]) * 0.2;
                assert_eq!(v, if border { input[i] } else { mean() }, "{w}x{h} at {row},{col}");
            }
        }
    }

    #[test]
    fn list_walk_goes_through_the_copy() {
        // Host addresses that are nobody's: the walk must read the copy.
        const HOST: u64 = 0x7000_0000_0000;
        let node = |next: Option<u64>, value| Node { next: next.map_or(0, |i| HOST + 16 * i), value };
        let nodes = [node(Some(2), u64::MAX), node(None, 5), node(Some(1), 3)];
        let walk = |nodes: &[Node], head: u64, max: u64| {
            let mut out = [77u64; 2];
            launch!("hmm_list_walk", out.as_mut_ptr(), nodes.as_ptr(), HOST, head, max);
            out
        };
        assert_eq!(walk(&nodes, HOST, 100), [3, 7]); // the sum wraps
        assert_eq!([2, 0].map(|max| walk(&nodes, HOST, max)), [[2, 2], [0, 0]]);
        assert_eq!(walk(&nodes, 0, 100), [0, 0]);
        let ring = [node(Some(1), 1), node(Some(0), 10)];
        assert_eq!(walk(&ring, HOST, 7), [7, 34]);
    }

    #[test]
    fn checksum_is_the_definition() {
        for n in LENGTHS {
            for skip in [0, 3] {
                let x = noise(n + skip, BYTE);
                let words =
                    x[skip..].chunks(8).map(|c| c.iter().rev().fold(0, |w, &b| w << 8 | u64::from(b)));
                let expected = words.enumerate().fold(9, |s: u64, (i, w)| s.wrapping_add(mix(w, i as u64)));
                let mut out = [9u64];
                launch!("hmm_checksum", out.as_mut_ptr(), x[skip..].as_ptr(), n as u64);
                assert_eq!(out[0], expected);
            }
        }
        // Counted apart from this code, from the definition in kernels/README.md.
        let (x, mut out) = (Vec::from_iter(0..21u8), [0u64]);
        launch!("hmm_checksum", out.as_mut_ptr(), x.as_ptr(), 21u64);
        assert_eq!(out[0], 0xa3da_445b_5c89_a8ad);
    }
}
