//! The parameters of a launch: where their values are, which words among them may be pointers, and a copy of them with
//! other pointers. CUDA's driver says how large each is; HIP's does not, nor how many there are, so that there what can be
//! read is taken for what is meant: a word too many is looked at, never one too few. Any thread.

use super::symbols;
use core::ffi::c_void;
use hmmrt_core::raw;
use std::sync::Arc;

const WORD: usize = size_of::<u64>();
/// The most bytes that all values of a launch have: both drivers'.
const MOST_BYTES: usize = 4096;
/// The most values that are guessed at.
const MOST_VALUES: usize = 128;
/// What is looked at of the value that no other one lies behind.
const LAST_VALUE: usize = 64;

/// What a launch was given.
pub enum Params {
    /// A pointer to each value, and the sizes.
    Known { each: *mut *mut c_void, sizes: Arc<[usize]> },
    /// A pointer to each value; what could be read of them.
    Guessed { each: *mut *mut c_void, values: Vec<Guess> },
    /// Nothing is known of the values.
    Unknown,
    /// One buffer with all of them, and the list that it came in.
    Buffer { list: *mut *mut c_void, at: *mut u8, size: usize },
    /// There are none.
    None,
}

/// A value whose size is not known.
pub struct Guess {
    at: usize,
    /// What can be read of it, up to the next value.
    words: Vec<u64>,
}

/// Values in memory of ours.
pub struct Copied {
    each: Vec<*mut c_void>,
    list: Vec<*mut c_void>,
    values: Vec<Vec<u64>>,
    _size: Option<Box<usize>>,
}

impl Copied {
    /// The pointers to each value, or NULL.
    pub fn each(&mut self) -> *mut *mut c_void {
        if self.each.is_empty() { core::ptr::null_mut() } else { self.each.as_mut_ptr() }
    }

    /// The list with a buffer, or NULL.
    pub fn list(&mut self) -> *mut *mut c_void {
        if self.list.is_empty() { core::ptr::null_mut() } else { self.list.as_mut_ptr() }
    }
}

fn is_managed<T>(at: *const T) -> bool {
    raw::owns(at.cast())
}

impl Params {
    /// The parameters of a launch that was given pointers to them, or a list that ends with `end`.
    ///
    /// # Safety
    /// One of both is NULL, or both; they are what the driver asks for.
    pub unsafe fn new(
        each: *mut *mut c_void,
        list: *mut *mut c_void,
        end: usize,
        sizes: impl FnOnce() -> Option<Arc<[usize]>>,
        guess: bool,
    ) -> Params {
        // SAFETY: the caller's promise.
        unsafe {
            if !each.is_null() {
                return match sizes() {
                    Some(sizes) if sizes.is_empty() => Params::None,
                    Some(sizes) => Params::Known { each, sizes },
                    None if guess => Params::guess(each),
                    None => Params::Unknown,
                };
            }
            let (mut at, mut size, mut next) = (core::ptr::null_mut(), 0, list);
            while !next.is_null() && (*next).addr() != end {
                match (*next).addr() {
                    1 => at = *next.add(1),
                    2 => size = *(*next.add(1)).cast::<usize>(),
                    // The driver will say that it does not know that.
                    _ => return Params::None,
                }
                next = next.add(2);
            }
            if at.is_null() { Params::None } else { Params::Buffer { list, at: at.cast(), size } }
        }
    }

    /// Takes what can be read for values.
    fn guess(each: *mut *mut c_void) -> Params {
        let mut pointers = [0_u8; MOST_VALUES * WORD];
        let got = look(each.expose_provenance(), &mut pointers) / WORD;
        if got == 0 {
            return Params::Unknown;
        }
        let mut values: Vec<Guess> = Vec::new();
        for pointer in pointers.chunks_exact(WORD).take(got) {
            let at = usize::from_ne_bytes(pointer.try_into().unwrap_or_default());
            // Nothing that a compiler makes room for lies in the first page.
            if at < 4096 {
                break;
            }
            match readable(at, LAST_VALUE) {
                words if words.is_empty() => break,
                words => values.push(Guess { at, words }),
            }
        }
        let mut starts: Vec<usize> = values.iter().map(|v| v.at).collect();
        starts.sort_unstable();
        for value in &mut values {
            // Up to the next value.
            if let Some(next) = starts.iter().find(|s| **s > value.at) {
                let len = (next - value.at).min(MOST_BYTES);
                if len > LAST_VALUE {
                    value.words = readable(value.at, len);
                }
                value.words.truncate(len.div_ceil(WORD));
            }
        }
        Params::Guessed { each, values }
    }

    /// Whether it can't be said which words there are.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Params::Unknown)
    }

    /// Calls `word` with each word that may be a pointer.
    pub fn words(&self, word: &mut dyn FnMut(usize)) {
        // SAFETY: the values are there, as the driver's sizes say: the caller of `new` promised.
        unsafe {
            match self {
                Params::Known { each, sizes } => {
                    for (i, size) in sizes.iter().enumerate() {
                        let value = *each.add(i);
                        (0..if value.is_null() { 0 } else { size / WORD })
                            .for_each(|n| word(value.cast::<usize>().add(n).read_unaligned()));
                    }
                }
                Params::Guessed { values, .. } => {
                    for value in values {
                        value.words.iter().for_each(|w| word(*w as usize));
                    }
                }
                Params::Buffer { at, size, .. } => {
                    (0..size / WORD).for_each(|n| word(at.cast::<usize>().add(n).read_unaligned()));
                }
                Params::Unknown | Params::None => {}
            }
        }
    }

    /// Whether the driver would have to read managed memory to get at the values.
    pub fn are_managed(&self) -> bool {
        match self {
            Params::Known { each, sizes } => {
                // SAFETY: as for `words`.
                is_managed(*each) || (0..sizes.len()).any(|i| is_managed(unsafe { *each.add(i) }))
            }
            Params::Guessed { each, values } => {
                is_managed(*each)
                    || values.iter().any(|v| is_managed(core::ptr::with_exposed_provenance::<u8>(v.at)))
            }
            Params::Buffer { list, at, .. } => is_managed(*list) || is_managed(*at),
            Params::Unknown | Params::None => false,
        }
    }

    /// A copy of the values, in memory of ours. Values in a list come with `end`.
    pub fn copy(&self, end: usize) -> Copied {
        let mut copied = Copied { each: Vec::new(), list: Vec::new(), values: Vec::new(), _size: None };
        match self {
            Params::Known { each, sizes } => {
                for (i, size) in sizes.iter().enumerate() {
                    // SAFETY: as for `words`.
                    let value = unsafe { *each.add(i) };
                    let at = match value.is_null() {
                        true => value,
                        // SAFETY: as for `words`.
                        false => unsafe { copied.add(value.cast(), *size) },
                    };
                    copied.each.push(at);
                }
            }
            Params::Guessed { values, .. } => {
                for value in values {
                    // Whatever its size is.
                    let words = readable(value.at, MOST_BYTES);
                    copied.keep(words);
                }
                copied.each = copied.values.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
                copied.each.push(core::ptr::null_mut());
            }
            Params::Buffer { at, size, .. } => {
                // SAFETY: as for `words`.
                let buffer = unsafe { copied.add(*at, *size) };
                let number = core::ptr::without_provenance_mut;
                let mut size = Box::new(*size);
                let room: *mut usize = &mut *size;
                copied.list = vec![number(1), buffer, number(2), room.cast(), number(end)];
                copied._size = Some(size);
            }
            Params::Unknown | Params::None => {}
        }
        copied
    }
}

/// Reads what is readable from `at` on; how many bytes. Managed memory comes home first, and on both pages if it lies across
/// two: the kernel's own access would end at what is away, and what lies there be taken for nothing.
fn look(at: usize, into: &mut [u8]) -> usize {
    const { assert!(MOST_BYTES <= 4096 && MOST_VALUES * WORD <= 4096) };
    for byte in [at, at.saturating_add(into.len().saturating_sub(1))] {
        if is_managed(core::ptr::with_exposed_provenance::<u8>(byte)) {
            // SAFETY: a byte of managed memory; touching it brings it home.
            unsafe { core::ptr::with_exposed_provenance::<u8>(byte).read_volatile() };
        }
    }
    symbols::peek(at, into)
}

/// What is readable of `len` bytes.
fn readable(at: usize, len: usize) -> Vec<u64> {
    let mut bytes = [0_u8; MOST_BYTES];
    let got = look(at, &mut bytes[..len.min(MOST_BYTES)]);
    let words = bytes[..got.next_multiple_of(WORD)].chunks_exact(WORD);
    words.map(|w| u64::from_ne_bytes(w.try_into().unwrap_or_default())).collect()
}

impl Copied {
    /// Replaces each word for which `translate` knows another.
    pub fn translate(&mut self, translate: &dyn Fn(usize) -> usize) {
        self.values.iter_mut().flatten().for_each(|w| *w = translate(*w as usize) as u64);
    }

    /// # Safety
    /// `size` bytes are readable there.
    unsafe fn add(&mut self, from: *const u8, size: usize) -> *mut c_void {
        let mut words = vec![0_u64; size.div_ceil(WORD).max(1)];
        // SAFETY: the caller's promise, and as many bytes of our own.
        unsafe { core::ptr::copy_nonoverlapping(from, words.as_mut_ptr().cast(), size) };
        self.keep(words)
    }

    fn keep(&mut self, mut words: Vec<u64>) -> *mut c_void {
        let at = words.as_mut_ptr().cast();
        self.values.push(words);
        at
    }
}
