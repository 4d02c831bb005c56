//! The values of settings.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hmmrt_trials::settings(bytes));
