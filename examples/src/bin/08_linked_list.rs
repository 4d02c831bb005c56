//! Lesson 8: pointers inside the data. A list built by the CPU is walked by the device, with the same pointers.

use hmmrt::{Error, ListNode, Location, ManagedVec, Residency, Runtime, kernels};

const N: usize = 100_000;

fn main() -> Result<(), Error> {
    let mut nodes = ManagedVec::<ListNode>::zeroed(N)?;
    let start = nodes.as_ptr();
    // 0, 7, 14, ...: every node once, because 7 does not divide N. The pointers are ordinary addresses.
    let place = |i: usize| i * 7 % N;
    for i in 0..N {
        let next = if i + 1 < N { start.wrapping_add(place(i + 1)).addr() as u64 } else { 0 };
        nodes[place(i)] = ListNode { next, value: i as u64 };
    }

    let stream = Runtime::new()?.device(0)?.stream()?;
    let mut found = ManagedVec::<u64>::zeroed(2)?;
    // SAFETY: every pointer in the list is 0 or that of an element of `nodes`.
    unsafe { kernels::list_walk(&stream, &mut found, &nodes, start, 2 * N as u64)? };
    println!("device: {} nodes, sum {}", found[0], found[1]);

    nodes.migrate(Location::Device(0))?;
    let (mut count, mut sum, mut at) = (0, 0, start);
    while !at.is_null() {
        // SAFETY: as above. The list comes home as it is walked.
        let node = unsafe { at.read() };
        (count, sum) = (count + 1, sum + node.value);
        at = start.with_addr(node.next as usize);
    }
    println!("CPU:    {count} nodes, sum {sum}");
    assert_eq!([count, sum], found[..]);
    Ok(())
}

// > device: 100000 nodes, sum 4999950000
// > CPU:    100000 nodes, sum 4999950000
