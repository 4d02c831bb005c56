//! Everything that the fuzzer has found to be worth keeping, and random bytes, with an ordinary compiler. A single input:
//! `HMMRT_TRIAL=FILE cargo test -p hmmrt-trials --test corpus -- one`.

use std::path::Path;

/// Runs each input of a folder of the corpus; its name is printed before, so that it is known after a crash.
fn replay(name: &str, trial: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut inputs: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|e| e.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{} inputs in {}", inputs.len(), folder.display());
    for input in inputs {
        println!("{}", input.display());
        trial(&std::fs::read(&input).unwrap());
    }
}

/// xorshift64*.
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn interface() {
    replay("interface", hmmrt_trials::interface);
}

#[test]
fn settings() {
    replay("settings", hmmrt_trials::settings);
}

#[test]
fn traces() {
    replay("traces", hmmrt_trials::traces);
}

#[test]
fn objects() {
    replay("objects", hmmrt_trials::objects);
}

#[test]
fn launches() {
    replay("launches", hmmrt_trials::launches);
    (1..400).for_each(|seed| hmmrt_trials::launches(&random(seed, 700)));
}

/// Sequences that no fuzzer has chosen. `HMMRT_TEST_SEED` is the first one's, `HMMRT_TEST_SCALE` makes them more.
#[test]
fn random_sequences() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<f64>().ok());
    let first = number("HMMRT_TEST_SEED").unwrap_or(1.0) as u64;
    let count = (30.0 * number("HMMRT_TEST_SCALE").unwrap_or(1.0)) as u64;
    for seed in first..first + count {
        println!("HMMRT_TEST_SEED={seed}");
        hmmrt_trials::interface(&random(seed, 900));
    }
}

#[test]
fn one() {
    if let Some(path) = std::env::var_os("HMMRT_TRIAL") {
        hmmrt_trials::interface(&std::fs::read(path).unwrap());
    }
}
