//! Lesson 10: system calls. The kernel cannot fault a page home by itself: make memory ready before you hand it over.

use std::error::Error;
use std::fs::File;
use std::io::Read;

use hmmrt::{AccessMode, Location, ManagedVec, Residency, raw};

const SIZE: usize = 2 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut x = ManagedVec::<u8>::zeroed(SIZE)?;
    let mut zero = File::open("/dev/zero")?;

    // New memory needs nothing: it is on the host.
    zero.read_exact(&mut x)?;
    println!("new memory: read(2) fills it");

    // Memory that went to a device is made ready; Write alone would do for what is overwritten completely.
    x.fill(b'x');
    x.migrate(Location::Device(0))?;
    raw::host_ready(x.as_ptr(), x.len(), AccessMode::ReadWrite)?;
    zero.read_exact(&mut x[..SIZE / 2])?;
    assert_eq!(x[SIZE / 2 - 1..=SIZE / 2], [0, b'x']);
    println!("made ready: read(2) fills it, the rest is as it was");

    // While another thread may move pages, pin them for as long as the call lasts.
    x.migrate(Location::Device(0))?;
    raw::pin(x.as_ptr(), x.len())?;
    zero.read_exact(&mut x)?;
    raw::unpin(x.as_ptr(), x.len())?;
    assert_eq!(x[SIZE - 1], 0);
    println!("pinned: nobody moves it meanwhile");
    Ok(())
}

// > new memory: read(2) fills it
// > made ready: read(2) fills it, the rest is as it was
// > pinned: nobody moves it meanwhile
