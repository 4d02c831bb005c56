//! An experiment for a decision, nothing of the runtime depends on it: how to bring 2 MiB from the device into a huge page
//! that is not pinned. By staging (DMA into a pinned buffer, then memcpy), or by registering the block with the driver and
//! DMA straight into it. Every row stands against staging in four slots of 512 KiB, which is what the runtime does.

use crate::Outcome;
use crate::driver::Driver;
use crate::kernels::blocks;
use crate::memory::{DeviceMemory, Pinned};
use crate::report::{Peer, Row, Unit::Nanoseconds};
use crate::run::Run;
use hmmrt_bench::floors::{self, CHUNK, Map};
use hmmrt_bench::sample::{Samples, time_ns};

const SLOTS: usize = 4;

/// The ways, in the order of their rows.
const NAMES: [&str; 5] = [
    "2 MiB home: DMA into pinned memory alone",
    "2 MiB home: staged, one slot of 2 MiB",
    "2 MiB home: register, DMA, unregister",
    "2 MiB home: DMA into a registered block",
    "2 MiB block: register, unregister",
];

pub fn run(r: &mut Run) -> Outcome {
    let (count, peer, words) = (r.sizes.blocks, r.peer, CHUNK / 4);
    debug_assert!(blocks(words) > 0);
    let memory = peer.device_memory(CHUNK)?;
    let pinned = peer.pinned(CHUNK)?;
    pinned.fill();
    let target = Map::filled(count * CHUNK, true)?;
    let mut ways = [const { Samples::new() }; 5];
    let mut staged = Peer::new("staged, 4 slots of 512 KiB");
    let mut failed: Option<String> = None;
    for turn in r.turns() {
        let keep = turn > 0;
        let value = turn as u32 + 1;
        r.kernels.fill(&memory, value, words)?;
        peer.synchronize()?;
        let expected = (CHUNK as u64 / 8).wrapping_mul(u64::from(value) << 32 | u64::from(value));
        for i in 0..count {
            // SAFETY: block i lies in the map.
            let block = unsafe { target.ptr().add(i * CHUNK) };
            let checked = |ns: f64| {
                // SAFETY: block i of the map, which the copy has just filled.
                let sum = unsafe { floors::scan(block, CHUNK) };
                // SAFETY: as above; the next way must fill it anew.
                unsafe { block.write_bytes(0, CHUNK) };
                if sum == expected { Ok(ns) } else { Err("wrong bytes came home".into()) }
            };
            staged.turn(keep, || timed(|| in_slots(peer, &memory, &pinned, block)).and_then(checked));
            let alone = timed(|| {
                peer.copy_out(&pinned, 0, &memory, 0, CHUNK)?;
                peer.synchronize()
            })?;
            let one = timed(|| {
                peer.copy_out(&pinned, 0, &memory, 0, CHUNK)?;
                peer.synchronize()?;
                // SAFETY: the buffer is CHUNK long and the device is done with it; the block is ours alone.
                unsafe { block.copy_from_nonoverlapping(pinned.host(), CHUNK) };
                Ok(())
            })
            .and_then(checked)?;
            if keep {
                ways[0].push(alone);
                ways[1].push(one);
            }
            if failed.is_none() {
                match registering(peer, &memory, block, checked) {
                    Ok(times) if keep => {
                        times.into_iter().zip(&mut ways[2..]).for_each(|(ns, way)| way.push(ns))
                    }
                    Ok(_) => {}
                    Err(error) => failed = Some(error.to_string()),
                }
            }
        }
    }
    for (name, samples) in NAMES.iter().zip(&ways) {
        if samples.values().is_empty() {
            continue; // registering does not work here: the first row's note says why
        }
        let note =
            failed.as_ref().map(|why| format!("registering a block failed: {why}")).unwrap_or_default();
        r.row(Row::new(*name, Nanoseconds, samples, &staged).note(note))?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Outcome) -> Outcome<f64> {
    let mut result = Ok(());
    let ns = time_ns(|| result = work());
    result.map(|()| ns)
}

/// DMA into one slot while the CPU empties another.
fn in_slots(peer: &Driver, memory: &DeviceMemory, pinned: &Pinned, block: *mut u8) -> Outcome {
    const SLOT: usize = CHUNK / SLOTS;
    peer.copy_out(pinned, 0, memory, 0, SLOT)?;
    for slot in 0..SLOTS {
        peer.synchronize()?;
        let at = slot * SLOT;
        if slot + 1 < SLOTS {
            peer.copy_out(pinned, at + SLOT, memory, at + SLOT, SLOT)?;
        }
        // SAFETY: the slot is filled, and the device writes the next one; the block is CHUNK bytes and ours alone.
        unsafe { block.add(at).copy_from_nonoverlapping(pinned.host().add(at), SLOT) };
    }
    Ok(())
}

/// Times with registration inside, without, and of registration alone.
fn registering(
    peer: &'static Driver,
    memory: &DeviceMemory,
    block: *mut u8,
    checked: impl Fn(f64) -> Outcome<f64>,
) -> Outcome<[f64; 3]> {
    let copy = || {
        // SAFETY: the block is CHUNK bytes, registered while this is called, and nobody else's.
        unsafe { peer.copy_out_to(block, memory, 0, CHUNK)? };
        peer.synchronize()
    };
    let all = timed(|| {
        // SAFETY: a block of the map, which outlives the registration.
        let registered = unsafe { peer.register(block, CHUNK)? };
        copy()?;
        drop(registered);
        Ok(())
    })
    .and_then(&checked)?;
    let alone = timed(|| {
        // SAFETY: as above.
        drop(unsafe { peer.register(block, CHUNK)? });
        Ok(())
    })?;
    // SAFETY: as above.
    let registered = unsafe { peer.register(block, CHUNK)? };
    let without = timed(copy);
    drop(registered);
    Ok([all, without.and_then(&checked)?, alone])
}
