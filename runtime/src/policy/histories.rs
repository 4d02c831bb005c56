//! The histories of the allocations that the CPU touches, by their keys: a table of fixed size, in which the one of a set that was
//! asked for longest ago makes room. Asked by the fault path. Signal-safe.

use super::History;
use super::recency::place;

const SETS: usize = 128;
const WAYS: usize = 4;

/// Keys that share a place; what is searched comes first, and is one line of the cache.
#[repr(align(64))]
struct Set {
    /// 0: unused.
    keys: [u64; WAYS],
    /// The launch that was counted last.
    launches: [u32; WAYS],
    /// The numbers of the ways, the last asked for first.
    order: [u8; WAYS],
    of: [History; WAYS],
}

/// The table.
pub struct Histories {
    sets: [Set; SETS],
}

impl Default for Histories {
    fn default() -> Self {
        Histories::new()
    }
}

impl Histories {
    /// An empty one.
    pub const fn new() -> Histories {
        const EMPTY: Set =
            Set { keys: [0; WAYS], launches: [0; WAYS], order: [0, 1, 2, 3], of: [History::NEW; WAYS] };
        Histories { sets: [EMPTY; SETS] }
    }

    /// The history of the allocation `key`: a new one if none is remembered.
    pub fn of(&mut self, key: u64) -> &mut History {
        let set = &mut self.sets[place(key, SETS)];
        let found = set.keys.iter().position(|k| *k == key);
        let way = found.unwrap_or(set.order[WAYS - 1].into());
        if usize::from(set.order[0]) != way {
            let rank = set.order.iter().position(|w| usize::from(*w) == way).unwrap_or(WAYS - 1);
            set.order[..=rank].rotate_right(1);
        }
        if found.is_none() {
            (set.keys[way], set.launches[way], set.of[way]) = (key, 0, History::NEW);
        }
        &mut set.of[way]
    }

    /// Launch number `launch`, not 0, uses the allocation `key`, which counts once. What the CPU has not touched has no history, and
    /// needs none: it takes nobody's place.
    pub fn device_uses(&mut self, key: u64, launch: u32) {
        let set = &mut self.sets[place(key, SETS)];
        if let Some(way) = set.keys.iter().position(|k| *k == key)
            && core::mem::replace(&mut set.launches[way], launch) != launch
        {
            set.of[way].device_uses();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of chunks that share a set.
    fn rivals() -> impl Iterator<Item = u64> {
        (1_u64..).map(|n| n << 21).filter(|key| place(*key, SETS) == 5)
    }

    #[test]
    fn as_many_as_a_set_has_room_for_do_not_wipe_each_other() {
        let mut all = Histories::new();
        for _ in 0..10 {
            rivals().take(WAYS).for_each(|key| all.of(key).rounds += 1);
        }
        assert!(rivals().take(WAYS).all(|key| all.of(key).rounds == 10));
    }

    #[test]
    fn who_was_asked_for_longest_ago_makes_room() {
        let mut all = Histories::new();
        let keys: Vec<u64> = rivals().take(WAYS + 1).collect();
        keys[..WAYS].iter().for_each(|key| all.of(*key).rounds = 7);
        all.of(keys[0]);
        assert_eq!(all.of(keys[WAYS]).rounds, 0, "a new one begins with nothing");
        let left: Vec<u64> = keys.iter().copied().filter(|key| all.sets[5].keys.contains(key)).collect();
        assert_eq!(left, [keys[0], keys[2], keys[3], keys[4]]);
        assert!([0, 2, 3].iter().all(|i| all.of(keys[*i]).rounds == 7));
    }

    #[test]
    fn a_launch_counts_once_for_each_allocation() {
        let mut all = Histories::new();
        let keys: Vec<u64> = rivals().take(2).collect();
        keys.iter().for_each(|key| _ = all.of(*key));
        for launch in 1..=3 {
            [0, 1, 0, 0].iter().for_each(|i| all.device_uses(keys[*i], launch));
        }
        assert_eq!(keys.iter().map(|key| all.of(*key).rounds).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn what_only_devices_use_takes_nobodys_place() {
        let mut all = Histories::new();
        let keys: Vec<u64> = rivals().take(3 * WAYS).collect();
        keys[..WAYS].iter().for_each(|key| all.of(*key).rounds = 7);
        keys.iter().for_each(|key| all.device_uses(*key, 1));
        assert!(keys[..WAYS].iter().all(|key| all.of(*key).rounds == 8));
    }
}
