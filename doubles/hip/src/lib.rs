//! A double of libamdhip64.so.6: the names, error names and attribute numbers of AMD's driver in front of the device model
//! of `hmmrt-double-core`, and the run-time compiler that is in the same library. Test only; see `doubles/README.md`.

mod compiler;
mod copies;
mod current;
mod devices;
mod memory;
mod modules;
mod names;
mod pointers;
mod programs;
mod streams;
mod symbols;
mod vmm;

hmmrt_double_core::controls!();
