//! What `auto`'s own rules about chunks are worth beside the density tree.

use hmmrt_policy_lab::costs::Costs;
use hmmrt_policy_lab::traces::generate;
use hmmrt_policy_lab::variants::Variants;

fn of(name: &str, seed: u64) -> Variants {
    Variants::new(&generate(name, seed).unwrap(), &Costs::default()).unwrap()
}

/// Counting runs finds out sooner, where chunks are touched here and there, that all of one is wanted, or that none is. Replays
/// themselves check that no old byte is used.
#[test]
fn the_tree_is_worse_where_chunks_are_touched_here_and_there() {
    for seed in 1..=4 {
        for name in ["key-value", "pointer-chase"] {
            let v = of(name, seed);
            assert_eq!(v.of.len(), 3);
            assert!(v.of.iter().all(|(_, stall)| *stall > v.auto), "{seed}: {v:?}");
        }
    }
}
