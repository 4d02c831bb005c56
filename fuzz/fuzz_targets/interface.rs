//! The C interface, by a sequence of calls.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hmmrt_trials::interface(bytes));
