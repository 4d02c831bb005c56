//! Lesson 4: streams and prefetch. While the device works on one half, the other half is already on its way.

use hmmrt::{Error, Location, ManagedVec, Residency, Runtime, kernels};

fn main() -> Result<(), Error> {
    let numbers: Vec<u32> = (0..2 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761)).collect();
    let x = ManagedVec::from_slice(&numbers)?;
    let mut sum = ManagedVec::<u64>::zeroed(1)?;
    let (first, second) = x.split_at(x.len() / 2);

    let device = Runtime::new()?.device(0)?;
    let (work, ahead) = (device.stream()?, device.stream()?);
    second.prefetch(Location::Device(0), &ahead)?; // returns at once
    kernels::sum(&work, &mut sum, first)?;
    kernels::sum(&work, &mut sum, second)?;

    // Not needed for the result; an error of the work would be reported here.
    work.synchronize()?;
    assert_eq!(sum[0], numbers.iter().map(|&number| u64::from(number)).sum());
    println!("sum of {} numbers: {}", x.len(), sum[0]);

    // The way home can be asked for as well.
    x.prefetch(Location::Host, &ahead)?;
    ahead.synchronize()
}

// > sum of 2097152 numbers: ...
