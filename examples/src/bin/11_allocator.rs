//! Lesson 11: containers in managed memory, through the allocator.

use allocator_api2::vec::Vec;
use hmmrt::{Error, HmmAlloc, raw};

fn main() -> Result<(), Error> {
    let mut words: Vec<u64, HmmAlloc> = Vec::new_in(HmmAlloc);
    words.extend(0..1_000_000);
    assert!(raw::owns(words.as_ptr().cast()));

    // What the vector knows nothing of: its elements go to the device. It goes on as if they were here.
    let moved = raw::migrate(words.as_ptr().cast(), size_of_val(&words[..]), 0)?;
    println!("{moved} pages went to the device");
    words.extend(1_000_000..2_000_000); // grows: a realloc moves what is on the device without a trip over the host
    let sum: u64 = words.iter().sum();
    assert_eq!(sum, 1_999_999_000_000);
    println!("sum of {} words: {sum}", words.len());
    Ok(())
}

// > ... pages went to the device
// > sum of 2000000 words: 1999999000000
