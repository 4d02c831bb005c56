//! A double of libcuda.so.1: the names, contexts and error names of NVIDIA's driver in front of the device model of
//! `hmmrt-double-core`. Test only; see `doubles/README.md`. Each file holds one group of the driver's functions.

mod context;
mod copies;
mod current;
mod devices;
mod memory;
mod modules;
mod names;
mod pointers;
mod streams;
mod symbols;
mod vmm;

hmmrt_double_core::controls!();
