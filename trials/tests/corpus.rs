//! Everything that the fuzzer has found to be worth keeping, and random bytes, with an ordinary compiler. A single input:
//! `HMMRT_TRIAL=FILE cargo test -p hmmrt-trials --test corpus -- one`.

use std::path::Path;

/// Runs each input of a folder of the corpus; its name is printed before, so that it is known after a crash. Returns all of them.
fn replay(name: &str, trial: fn(&[u8])) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut inputs: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|e| e.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() >= 10, "{} inputs in {}", inputs.len(), folder.display());
    let run = |input: std::path::PathBuf| {
        println!("{}", input.display());
        let bytes = std::fs::read(&input).unwrap();
        trial(&bytes);
        bytes
    };
    inputs.into_iter().map(run).collect()
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

/// The corpus, and inputs of it with up to four bytes changed. `HMMRT_TEST_SEED` and `HMMRT_TEST_SCALE` as below.
#[test]
fn settings() {
    let all = replay("settings", hmmrt_trials::settings);
    for seed in seeds(20_000.0) {
        let random = random(seed, 10);
        let mut input = all[seed as usize % all.len()].clone();
        // Any variable's value may be another's.
        if let Some(first) = input.first_mut().filter(|first| !first.is_ascii_alphabetic() && random[0] < 128)
        {
            *first = random[0] % 32;
        }
        for change in random[2..].chunks(2).take(usize::from(random[1]) % 5) {
            let at = usize::from(change[0]) % (input.len() + 1);
            match change[1] % 3 {
                0 if at < input.len() => input[at] = change[1],
                1 if at < input.len() => drop(input.remove(at)),
                _ => input.insert(at, change[1]),
            }
        }
        let tried = std::panic::catch_unwind(|| hmmrt_trials::settings(&input));
        assert!(tried.is_ok(), "HMMRT_TEST_SEED={seed}: {:?}", String::from_utf8_lossy(&input));
    }
}

/// The random tests' seeds, so many unless the environment says otherwise.
fn seeds(count: f64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<f64>().ok());
    let first = number("HMMRT_TEST_SEED").unwrap_or(1.0) as u64;
    first..first + (count * number("HMMRT_TEST_SCALE").unwrap_or(1.0)) as u64
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
    for seed in seeds(30.0) {
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
