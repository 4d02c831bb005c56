//! Chapters 2 to 5: the file's bytes are read by the device, sent away, read and written by the CPU.
//!
//! Called by `main` in this order; each chapter starts from where the pages lie after the one before.

use hmmrt::{Location, ManagedVec, Residency, kernels};

use crate::input::Data;
use crate::meter::{Meter, size};
use crate::{Outcome, Tour, plain, resident};

/// One byte in each of these is written in chapter 5: the size of a chunk.
const STEP: usize = 2 << 20;

/// Histogram and checksum by kernels that only read: the pages are then valid on both sides.
pub fn device_reads(tour: &mut Tour, data: &Data) -> Outcome {
    let mut bins = ManagedVec::<u64>::zeroed(256)?;
    let mut sum = ManagedVec::<u64>::zeroed(1)?;
    tour.report.title("The device counts the bytes and makes a checksum");
    tour.report.map("before", data.managed())?;
    let meter = Meter::start();
    kernels::histogram(&tour.stream, &mut bins, data.managed())?;
    kernels::checksum(&tour.stream, &mut sum, data.managed())?;
    // Both calls return at once; the CPU's first touch of a result waits for its kernel.
    let (bins, sum) = (bins.to_vec(), sum[0]);
    let moved = meter.moved();
    tour.report.map("after", data.managed())?;
    tour.report.moved(&moved, 2 * data.plain.len());
    let commonest = (0..256).max_by_key(|&byte| bins[byte]).unwrap_or(0);
    println!("   commonest byte {commonest:#04x}, {} times; checksum {sum:016x}", bins[commonest]);
    tour.report.check("the histogram equals the plain one", bins == plain::histogram(&data.plain));
    tour.report.check("the checksum equals the plain one", sum == plain::checksum(&data.plain));
    Ok(())
}

/// Only the device keeps the pages: the host's RAM is given back.
pub fn goes_away(tour: &mut Tour, data: &Data) -> Outcome {
    tour.report.title("The pages go to the device for good, and the host's RAM is free");
    tour.report.map("before", data.managed())?;
    let before = resident::bytes(data.managed())?;
    let meter = Meter::start();
    data.managed().migrate(Location::Device(0))?;
    let moved = meter.moved();
    tour.report.map("after", data.managed())?;
    tour.report.moved(&moved, 0);
    let after = resident::bytes(data.managed())?;
    println!("   RAM behind them, says the kernel: {} before, {} after", size(before), size(after));
    // A partial page at either end may share its chunk with other memory; the rest must be gone.
    tour.report.check("at least 95 % of the RAM was given back", after * 20 <= before);
    Ok(())
}

/// The CPU just reads the first half: faults bring it home, the rest stays away.
pub fn half_comes_home(tour: &mut Tour, data: &Data) -> Outcome {
    let half = data.plain.len().div_ceil(2);
    tour.report.title("The CPU reads the first half, as if nothing had happened");
    tour.report.map("before", data.managed())?;
    let meter = Meter::start();
    let sum = plain::sum(&data.managed()[..half]);
    let moved = meter.moved();
    tour.report.map("after", data.managed())?;
    tour.report.moved(&moved, half);
    tour.report.check("the sum of its bytes is right", sum == plain::sum(&data.plain[..half]));
    Ok(())
}

/// The CPU writes into every chunk; the device then sees what was written.
pub fn cpu_writes(tour: &mut Tour, data: &mut Data) -> Outcome {
    tour.report.title("The CPU writes one byte into every chunk, then the device makes the checksum anew");
    tour.report.map("before", data.managed())?;
    let mut sum = ManagedVec::<u64>::zeroed(1)?;
    let meter = Meter::start();
    for at in (0..data.plain.len()).step_by(STEP) {
        data.managed_mut()[at] ^= 0xFF;
        data.plain[at] ^= 0xFF;
    }
    tour.report.map("written", data.managed())?;
    kernels::checksum(&tour.stream, &mut sum, data.managed())?;
    let sum = sum[0];
    let moved = meter.moved();
    tour.report.map("after", data.managed())?;
    tour.report.moved(&moved, data.plain.len());
    tour.report.check("the device saw every written byte", sum == plain::checksum(&data.plain));
    tour.report.check("no other byte changed", data.managed() == &data.plain[..]);
    Ok(())
}
