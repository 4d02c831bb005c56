//! Where the program's allocator is `HmmAlloc`, lists of the runtime are managed memory, too: none is touched under a lock that its fault
//! would need. Catches: `hmm_realloc` of a block on a device wrote its list with the block's chunk locked.

mod common;

use hmmrt::{HmmAlloc, raw};
use std::os::unix::process::ExitStatusExt;

#[global_allocator]
static ALLOCATOR: HmmAlloc = HmmAlloc;

#[test]
fn a_block_grows_on_its_device() {
    if common::case().is_none() {
        for engine in ["segv", "uffd", "uffd-thread"] {
            let out = common::run_case("a_block_grows_on_its_device", engine, &[("HMMRT_FAULT", engine)]);
            let err = String::from_utf8_lossy(&out.stderr);
            let missing = engine != "segv" && err.contains("skipped");
            assert!(out.status.success() || missing, "{engine}: {:?} {err}", out.status.signal());
        }
        return;
    }
    common::end_if_it_hangs();
    if let Err(e) = raw::device_count() {
        assert!(matches!(e, hmmrt::Error::Unsupported { .. }), "{e}");
        return common::skipped("a_block_grows_on_its_device", e);
    }
    for round in 0..20 {
        let mut v = vec![7_u8; 8192];
        assert!(raw::owns(v.as_ptr()));
        raw::migrate(v.as_ptr(), v.len(), 0).unwrap();
        // Until the list has no other place than the same chunk.
        let held: Vec<Vec<u8>> = (0..round * 5).map(|_| Vec::with_capacity(8192)).collect();
        v.reserve_exact(8192);
        assert!(v.iter().all(|b| *b == 7) && held.iter().all(Vec::is_empty));
    }
}
