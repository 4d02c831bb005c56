//! Where what leaves a full device goes, if it is asked for (`HMMRT_SPILL=peer`): to another device that has room without
//! sending anything away itself. Only what would have to be copied home goes there; what the host has anyway is dropped.
//! Asked by `evict` with no chunk's lock held. API context.

use crate::addr::CHUNK;
use crate::config::SpillTo;
use crate::device::Devices;
use core::sync::atomic::{AtomicBool, Ordering::*};

static TO_PEERS: AtomicBool = AtomicBool::new(false);

/// Chooses, at start.
pub(crate) fn choose(to: SpillTo) {
    TO_PEERS.store(to == SpillTo::Peer, Relaxed);
}

/// The devices that can take in what leaves `device`.
pub(crate) fn peers(devices: &Devices, device: usize) -> Vec<usize> {
    if !TO_PEERS.load(Relaxed) {
        return Vec::new();
    }
    (0..devices.count()).filter(|d| *d != device && devices.at(*d).check().is_ok()).collect()
}

/// Of `peers` the one with the most free memory, if a chunk fits.
pub(crate) fn choose_peer(peers: &[usize], devices: &Devices) -> Option<usize> {
    let room = |d: usize| devices.at(d).memory_free();
    let (room, peer) = peers.iter().map(|d| (room(*d), *d)).max_by_key(|(room, _)| *room)?;
    (room >= CHUNK as u64).then_some(peer)
}
