//! Lesson 6: memory that you already have. Adopted in place, it moves like the rest; disowned, it is yours again.

use hmmrt::{Error, raw};

const SIZE: usize = 6 << 20;
const PAGE: usize = 4 << 10;

fn main() -> Result<(), Error> {
    // A block of this size has private anonymous memory of its own. What is adopted is whole pages of it.
    let mut x: Vec<u8> = (0..SIZE + PAGE).map(|i| (i % 251) as u8).collect();
    let from = x.as_ptr().align_offset(PAGE);
    let start = x[from..].as_mut_ptr();
    assert!(!raw::owns(start));

    // SAFETY: the vector is neither freed nor resized until `disown`.
    unsafe { raw::adopt(start, SIZE)? };
    let moved = raw::migrate(start, SIZE, 0)?;
    println!("adopted: {moved} pages went to the device");
    assert!(raw::owns(&raw const x[SIZE / 2]));
    assert_eq!(x[SIZE / 2], (SIZE / 2 % 251) as u8); // and one chunk comes home

    // SAFETY: no device uses the range. All of it comes home.
    unsafe { raw::disown(start, SIZE)? };
    assert!(!raw::owns(start));
    assert!(x.iter().enumerate().all(|(i, byte)| *byte == (i % 251) as u8));
    println!("disowned: all {} bytes are as they were", x.len());

    // Only private anonymous memory moves. A program's code is a file's: refused, and nothing is changed.
    let code = (main as fn() -> Result<(), Error> as *mut u8).map_addr(|address| address & !(PAGE - 1));
    // SAFETY: it stays mapped; nothing else is asked of it.
    let refused = unsafe { raw::adopt(code, PAGE) };
    println!("a file's memory: {}", refused.expect_err("must be refused").code());
    Ok(())
}

// > adopted: 1536 pages went to the device
// > disowned: all 6295552 bytes are as they were
// > a file's memory: -10
