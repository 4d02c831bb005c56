//! The row hmm_gup_test of docs/CONFORMANCE.md, through the wrappers, with the fault engine and backend of the environment: the C program
//! is `c/hmm_gup_test.c`. `cargo xtask conformance` runs it with each engine, and has the outcome noted.

mod common;

use common::{compile, passes, spoken};
use hmmrt_core::{Config, Error, raw};
use std::io::Write;
use std::path::Path;

/// Whether this machine has the engine that the environment asks for; if not, why.
fn engine() -> Result<(), &'static str> {
    match raw::init(Some(Config::from_env().expect("settings"))).and_then(|()| raw::device_count()) {
        Err(Error::Unsupported { what: "HMMRT_FAULT", why }) => Err(why),
        other => other.map(|_| ()).map_err(|e| panic!("{e}")),
    }
}

#[test]
fn hmm_gup_test() {
    let missing = engine().err();
    let mut cases = 1; // of a row that was not run, as the other rows say
    if let Some(why) = missing {
        common::skipped("hmm_gup_test", why);
    } else {
        let fault = std::env::var("HMMRT_FAULT").unwrap_or_default();
        let raw = if fault == "uffd-thread" { "works" } else { "efault" };
        let (program, dir) = compile("hmm_gup_test");
        // The backend, and its driver: a double's, in another place than a driver's.
        let given = ["HMMRT_BACKEND", "HMMRT_CUDA_LIBRARY", "HMMRT_HIP_LIBRARY"]
            .map(|name| (name, std::env::var(name).unwrap_or_default()));
        let on_host = given[0].1.is_empty() || given[0].1 == "host";
        let mut ran = Vec::new();
        for direct in if on_host { &["1", "0"][..] } else { &["1"] } {
            let mut settings = vec![
                ("HMMRT_MIN_SIZE", "16K"),
                ("HMMRT_CHAOS", "1"),
                ("HMMRT_HOST_DIRECT", direct),
                ("HMMRT_FAULT", fault.as_str()),
            ];
            settings.extend(given.iter().filter(|(_, v)| !v.is_empty()).map(|(name, v)| (*name, v.as_str())));
            let output = passes(&program, &[Path::new(raw), &dir], &settings);
            ran.push(spoken("hmm_gup_test", &output));
        }
        cases = ran.into_iter().min().expect("a run");
    }
    let Some(path) = std::env::var_os("HMMRT_TEST_RECORD") else { return };
    let (outcome, why) = missing.map_or(("passed", ""), |why| ("no engine", why));
    let differs = "the same under the preload library's wrappers, while memory moves at random; the bare call is EFAULT with segv \
         and uffd, and works with uffd-thread";
    let line = format!("calls::hmm_gup_test, preloaded\tB\t{cases}\t{outcome}\t{why}\t{differs}\n");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("the record");
    file.write_all(line.as_bytes()).expect("the record");
}
