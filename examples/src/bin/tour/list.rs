//! Chapter 7: a linked list with real pointers, in managed memory, in shuffled order, walked by the device and the CPU.
//!
//! Called by `main`. Each node holds a word of the file; the pointers are ordinary addresses, written by the CPU.

use hmmrt::{ListNode, Location, ManagedVec, Residency, kernels};

use crate::input::Data;
use crate::meter::Meter;
use crate::{Outcome, Tour, plain};

/// At most so many nodes (16 MiB of them).
const MOST: usize = 1 << 20;

/// Builds it, walks it on both sides.
pub fn walk(tour: &mut Tour, data: &Data) -> Outcome {
    // One node for each 64 bytes of the file, or less often in a large file.
    let stride = (data.plain.len() / MOST).max(64);
    let order = shuffled(data.plain.len().div_ceil(stride));
    let mut nodes = ManagedVec::<ListNode>::zeroed(order.len())?;
    tour.report.title("A linked list of the file's words, its nodes in shuffled order");
    tour.report.map("before", &nodes)?;
    let meter = Meter::start();
    let base = nodes.as_ptr().addr();
    let address = |index: usize| (base + index * size_of::<ListNode>()) as u64;
    for (at, value) in words(data.managed(), stride).into_iter().enumerate() {
        let next = order.get(at + 1).map_or(0, |&next| address(next));
        nodes[order[at]] = ListNode { next, value };
    }
    let head = &raw const nodes[order[0]];
    tour.report.map("built", &nodes)?;

    let mut found = ManagedVec::<u64>::zeroed(2)?;
    // SAFETY: `head` and every `next` that is not 0 point at an element of `nodes`.
    unsafe { kernels::list_walk(&tour.stream, &mut found, &nodes, head, order.len() as u64 + 1)? };
    let device = (found[0], found[1]);
    nodes.migrate(Location::Device(0))?;
    tour.report.map("walked", &nodes)?;
    let cpu = cpu_walk(&nodes, head);
    let moved = meter.moved();
    tour.report.map("after", &nodes)?;
    tour.report.moved(&moved, nodes.len() * size_of::<ListNode>());
    let words = words(&data.plain, stride);
    let plain = (words.len() as u64, words.iter().fold(0_u64, |sum, &word| sum.wrapping_add(word)));
    println!("   {} nodes, sum of their words {:016x}", plain.0, plain.1);
    tour.report.check("the device found every node and the right sum", device == plain);
    tour.report.check("so did the CPU, by the same pointers, as the list came home", cpu == plain);
    Ok(())
}

/// The first 8 bytes of each part of the file.
fn words(bytes: &[u8], stride: usize) -> Vec<u64> {
    let word = |part: &[u8]| part.iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte));
    bytes.chunks(stride).map(word).collect()
}

/// Count and sum, following the pointers.
fn cpu_walk(nodes: &[ListNode], head: *const ListNode) -> (u64, u64) {
    let (mut count, mut sum, mut at) = (0, 0_u64, head);
    while !at.is_null() && count <= nodes.len() as u64 {
        // SAFETY: `head` and every `next` that is not 0 point at an element of `nodes`, which is borrowed.
        let node = unsafe { at.read() };
        (count, sum) = (count + 1, sum.wrapping_add(node.value));
        at = nodes.as_ptr().with_addr(node.next as usize);
    }
    (count, sum)
}

/// 0..len in an order without pattern (Fisher and Yates 1938), the same in every run.
fn shuffled(len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for at in (1..len).rev() {
        order.swap(at, (plain::mix(at as u64) % (at as u64 + 1)) as usize);
    }
    order
}
