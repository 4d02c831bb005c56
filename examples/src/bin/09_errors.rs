//! Lesson 9: what bad input gets: a code that never changes, a message that names the argument, and nothing changed.

use hmmrt::{Error, Location, ManagedVec, Residency, Runtime, kernels, raw};

fn show<T>(what: &str, result: Result<T, Error>) {
    let error = result.err().expect("must fail");
    println!("{what}\n  {}, {}\n  {error}", error.code(), Error::describe(error.code()));
}

fn main() -> Result<(), Error> {
    let x = ManagedVec::<u8>::zeroed(1 << 20)?;
    show("a null pointer", raw::migrate(std::ptr::null(), 1, 0));
    show("past the end", raw::migrate(x.as_ptr(), 64 << 20, 0));
    show("no such device", x.migrate(Location::Device(99)));
    show("too much", ManagedVec::<u64>::zeroed(usize::MAX / 2));

    // A kernel works on managed memory only.
    let stream = Runtime::new()?.device(0)?.stream()?;
    show("not managed", kernels::fill(&stream, &mut [0; 16], 1));
    assert!(x.iter().all(|byte| *byte == 0));
    Ok(())
}

// > a null pointer
// >   -2, ...
// >   ...
// > past the end
// >   -6, ...
// >   ...
// > no such device
// >   -12, ...
// >   ...
// > too much
// >   -3, ...
// >   ...
// > not managed
// >   -5, ...
// >   ...
