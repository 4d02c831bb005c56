//! Lesson 2: where memory is, page by page. Looking moves nothing.

use hmmrt::{Error, Location, ManagedVec, Page, Residency};
use hmmrt_examples::signs;

const CHUNK: usize = 2 << 20;
const PAGE: usize = 4 << 10;

fn main() -> Result<(), Error> {
    // A large vector starts at a multiple of 2 MiB.
    let mut x = ManagedVec::<u8>::zeroed(5 * CHUNK)?;
    x[..4 * CHUNK].fill(1); // chunk 4 is never touched: it takes no memory
    x[PAGE..2 * PAGE].migrate(Location::Device(0))?; // one page of chunk 0: the others stay
    x[2 * CHUNK..4 * CHUNK].migrate(Location::Device(0))?;
    assert_eq!(x[2 * CHUNK], 1); // chunk 2 is then valid on both sides
    println!("map  {}", signs(&x)?);

    for (number, page) in x[..2 * PAGE].pages()?.iter().enumerate() {
        let (host, device) = (page.flags & Page::HOST != 0, page.flags & Page::DEVICE != 0);
        println!("page {number}: host {host}, device {device}");
    }
    // A range of one byte touches one page.
    let page = x[3 * CHUNK..][..1].pages()?[0];
    println!("chunk 3: on device {}, the program may write {}", page.device, page.flags & Page::WRITE != 0);

    // Pinned memory is at home and stays there: for system calls and DMA.
    let part = &x[3 * CHUNK..][..PAGE];
    let pin = part.pin()?;
    assert!(matches!(part.migrate(Location::Device(0)), Err(error) if error.code() == -11));
    drop(pin);
    Ok(())
}

// > map  %H=D.
// > page 0: host true, device false
// > page 1: host false, device true
// > chunk 3: on device 0, the program may write true
