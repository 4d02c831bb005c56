//! Device code that AMD's programs register.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hmmrt_trials::objects(bytes));
