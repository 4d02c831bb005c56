//! What large programs have shown, each in a small one: how it was found is in docs/PROGRAMS.md.

mod common;

use common::{compile, passes};

/// Found with perl and with GNU as, at minimum size 0.
#[test]
fn mappings_are_not_used_up_by_small_blocks() {
    let (program, _) = compile("many");
    let settings = [("HMMRT_MIN_SIZE", "0"), ("HMMRT_CHAOS", "1"), ("HMMRT_VMA_BUDGET", "4000")];
    passes(&program, &[], &settings);
}

/// Found by reading: 2 MiB came with each byte.
#[test]
fn few_pages_of_large_blocks_are_few() {
    let (program, _) = compile("sparse");
    passes(&program, &[], &[]);
    passes(&program, &[], &[("HMMRT_CHAOS", "1")]);
}
