//! What the lessons and the tour share: where memory is, in one character for each 2 MiB chunk.
//!
//! It is read with `raw::query`, which has no side effects.

use hmmrt::{Page, raw};

const CHUNK: usize = 2 << 20;
const PAGE: usize = 4 << 10;

/// The characters and what they mean.
pub const SIGNS: [(char, &str); 5] =
    [('.', "untouched"), ('H', "host"), ('D', "device"), ('=', "both"), ('%', "mixed")];

/// One of [`SIGNS`] for each chunk that the memory touches; empty for empty memory.
pub fn signs<T>(memory: &[T]) -> hmmrt::Result<String> {
    signs_at(memory.as_ptr().cast(), size_of_val(memory))
}

/// The same for memory that other threads may be writing, which is why there is no slice of it.
pub fn signs_at(start: *const u8, len: usize) -> hmmrt::Result<String> {
    if len == 0 {
        return Ok(String::new());
    }
    let first_page = start.addr() / PAGE;
    let mut pages = vec![Page::default(); (start.addr() + len).div_ceil(PAGE) - first_page];
    raw::query(start, len, &mut pages)?;
    let mut text = String::new();
    let mut last_chunk = None;
    for (index, page) in pages.iter().enumerate() {
        let chunk = (first_page + index) / (CHUNK / PAGE);
        let sign = sign(page);
        if last_chunk != Some(chunk) {
            text.push(sign);
        } else if !text.ends_with([sign, '%']) {
            text.pop();
            text.push('%');
        }
        last_chunk = Some(chunk);
    }
    Ok(text)
}

fn sign(page: &Page) -> char {
    match (page.flags & Page::HOST != 0, page.flags & Page::DEVICE != 0) {
        (false, false) => '.',
        (true, false) => 'H',
        (false, true) => 'D',
        (true, true) => '=',
    }
}

/// The Rust program in README.md is compiled and run with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
