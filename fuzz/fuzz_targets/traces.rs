//! Files that may be traces.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hmmrt_trials::traces(bytes));
