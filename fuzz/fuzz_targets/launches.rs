//! The parameters of programs' launches.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hmmrt_trials::launches(bytes));
