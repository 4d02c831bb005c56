//! Lesson 1: one vector, one pointer. It goes to the device, and comes home when the CPU touches it.

use hmmrt::{Location, ManagedVec, Residency};
use hmmrt_examples::signs;

fn main() -> Result<(), hmmrt::Error> {
    // 4 MiB: two chunks. Nothing has touched them yet.
    let mut x = ManagedVec::<u64>::zeroed(512 << 10)?;
    println!("new       {}", signs(&x)?);

    for (i, word) in x.iter_mut().enumerate() {
        *word = i as u64;
    }
    println!("written   {}", signs(&x)?);

    let moved = x.migrate(Location::Device(0))?;
    println!("migrated  {}  {moved} pages moved", signs(&x)?);

    // An ordinary read. The page is on the device: a fault brings it home, filled, and the read goes on.
    assert_eq!(x[1000], 1000);
    println!("read      {}", signs(&x)?);

    x[1000] = 7;
    println!("changed   {}", signs(&x)?);

    let stats = hmmrt::stats();
    println!("{} read fault, {} write fault", stats.read_faults, stats.write_faults);
    Ok(())
}

// > new       ..
// > written   HH
// > migrated  DD  1024 pages moved
// > read      =D
// > changed   HD
// > 1 read fault, 1 write fault
