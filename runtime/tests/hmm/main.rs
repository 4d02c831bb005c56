//! The cases by which the Linux kernel tests its own HMM (tools/testing/selftests/mm/hmm-tests.c), as tests of this library:
//! one test for each row, of the same name, in files by family. The code is ours. Settings come from the environment, so that
//! one binary is run on every backend and with every fault engine; `cargo xtask conformance` does that, and makes
//! docs/CONFORMANCE.md of the outcome and of the texts that are beside the tests.

#[path = "../common/mod.rs"]
mod common;

mod anon;
mod bench;
mod calls;
mod child;
mod device;
mod errors;
mod exclusive;
mod files;
mod huge;
mod life;
mod memory;
mod migrate;
mod mixed;
mod os;
mod remap;
mod ring;
mod row;
mod snapshot;
mod teardown;
