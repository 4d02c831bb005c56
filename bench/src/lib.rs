//! What the two benchmarks share: `bench` (host backend, against floors in C) and `hmmrt-gpu-bench` (a GPU, against its
//! driver's own ways). README.md beside this crate says what each measures.

pub mod floors;
pub mod machine;
pub mod managed;
pub mod sample;
