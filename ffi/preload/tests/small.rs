//! Small objects in managed memory (`HMMRT_SMALL=1`): the rules of malloc again, the kernel's own accesses, forks, and what a
//! setting does. What is freed on a device is in `gpu.rs`.

mod common;

use common::{compile, passes, preloaded, run};
use std::path::Path;

const SMALL: (&str, &str) = ("HMMRT_SMALL", "1");
const CHAOS: (&str, &str) = ("HMMRT_CHAOS", "1");
const INDIRECT: (&str, &str) = ("HMMRT_HOST_DIRECT", "0");

#[test]
fn rules_of_malloc_for_small_objects() {
    let (program, _) = compile("rules");
    // jemalloc does not tell its objects from pointers into them: the program asks it of large blocks only.
    let least = [Path::new("1048576")];
    for least_size in ["", "64K"] {
        let size = ("HMMRT_MIN_SIZE", least_size);
        passes(&program, &least, &[SMALL, size]);
        passes(&program, &least, &[SMALL, size, CHAOS]);
    }
    passes(&program, &least, &[SMALL, CHAOS, INDIRECT]);
}

#[test]
fn objects_forks_and_borders() {
    let (program, _) = compile("small");
    for settings in
        [&[SMALL][..], &[SMALL, CHAOS], &[SMALL, CHAOS, INDIRECT], &[SMALL, ("HMMRT_ADOPT_MMAP", "1"), CHAOS]]
    {
        passes(&program, &[], settings);
    }
    // Without the setting the first part finds the C library's objects.
    let output = run(&mut preloaded(&program, &[]));
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn what_the_kernel_is_given() {
    for name in ["kernel", "print", "async", "masks"] {
        let (program, dir) = compile(name);
        passes(&program, &[&dir], &[SMALL, CHAOS, ("HMMRT_MIN_SIZE", "16K")]);
    }
}

/// Catches: settings of other programs' jemalloc that reach this one, which would write into what is free.
#[test]
fn nobody_else_configures_it() {
    let (program, _) = compile("small");
    let mut command = preloaded(&program, &[SMALL]);
    let output = run(command.env("_RJEM_MALLOC_CONF", "junk:true,stats_print:true,narenas:4,retain:false"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
