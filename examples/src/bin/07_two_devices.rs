//! Lesson 7: two devices. Pages go from one to the other; the CPU reads on and need not know where they are.

use hmmrt::{Backend, Config, Error, ManagedVec, Residency, Runtime, kernels, raw};

fn main() -> Result<(), Error> {
    let config = Config { backend: Backend::Host, host_devices: 2, ..Config::default() };
    raw::init(Some(config))?;
    let runtime = Runtime::new()?;
    assert_eq!(runtime.devices().len(), 2);

    let n = 1 << 20;
    let mut x = ManagedVec::<u32>::zeroed(n)?;
    // Device 0 fills all of it, device 1 then the second half: those pages go from device to device.
    kernels::fill(&runtime.device(0)?.default_stream(), &mut x, 1)?;
    kernels::fill(&runtime.device(1)?.default_stream(), &mut x[n / 2..], 2)?;
    for device in runtime.devices() {
        device.default_stream().synchronize()?;
    }

    println!("the first page is on device {}", x[..1].pages()?[0].device);
    println!("the last page is on device {}", x[n - 1..].pages()?[0].device);
    assert!(x[..n / 2].iter().all(|&number| number == 1));
    assert!(x[n / 2..].iter().all(|&number| number == 2));
    println!("the CPU read {} and {}", x[0], x[n - 1]);
    Ok(())
}

// > the first page is on device 0
// > the last page is on device 1
// > the CPU read 1 and 2
