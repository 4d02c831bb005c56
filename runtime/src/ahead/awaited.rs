//! Chunks that a touch waits for, until a kernel ends: the touch then brings its chunk home itself, at once, and the background
//! thread, which the same end wakes, leaves it alone. Else the two meet at the chunk's lock, and who was there first sleeps
//! once more. Written by the fault path; a hint, for which there may be no room. Signal-safe.

use crate::addr::HostAddr;
use core::sync::atomic::{AtomicUsize, Ordering::*};

/// Addresses of chunks; 0: free.
static PLACES: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

/// A touch waits for the chunk until this is dropped.
pub(crate) struct Awaited(Option<&'static AtomicUsize>);

impl Awaited {
    /// If there is room.
    pub(crate) fn new(chunk: HostAddr) -> Awaited {
        let taken = |place: &&AtomicUsize| place.compare_exchange(0, chunk.0, AcqRel, Relaxed).is_ok();
        Awaited(PLACES.iter().find(taken))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(0, Release);
        }
    }
}

/// Whether some touch waits for the chunk.
pub(super) fn is_awaited(chunk: HostAddr) -> bool {
    PLACES.iter().any(|place| place.load(Acquire) == chunk.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_is_room_for() {
        let at = |i: usize| HostAddr((i + 1) << 40);
        let mut all: Vec<Awaited> = (0..9).map(|i| Awaited::new(at(i))).collect();
        assert_eq!((0..10).filter(|i| is_awaited(at(*i))).count(), 8);
        drop(all.remove(3));
        assert!(!is_awaited(at(3)) && is_awaited(at(4)));
        let again = Awaited::new(at(4));
        drop(all);
        assert!(is_awaited(at(4)), "another touch waits for it still");
        drop(again);
        assert!(!is_awaited(at(4)));
    }
}
