//! A case in its process, what its parent makes of it, and all cases of a test side by side.

use super::common::{self, double::Double};
#[cfg(feature = "inject")]
use super::places;
use super::region::Look;
use super::script::World;
use super::{drivers, steps, touch};
use hmmrt::{inject, raw};
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};

/// Settings of the environment.
pub type Settings = Vec<(&'static str, String)>;

/// Whose calls fail.
pub enum Failing {
    #[cfg(feature = "inject")]
    System,
    Host,
    Driver(Double),
    /// Nobody's: a device has little memory.
    Nobody,
}

impl Failing {
    fn of(name: &str) -> Failing {
        match name {
            #[cfg(feature = "inject")]
            "system" => Failing::System,
            "host" => Failing::Host,
            "memory" => Failing::Nobody,
            _ => Failing::Driver(Double::of_case()),
        }
    }

    pub fn arm(&self, spec: &str) {
        match self {
            #[cfg(feature = "inject")]
            Failing::System => assert!(hmmrt::refusal::arm(spec), "{spec}"),
            Failing::Host => inject::arm(spec).unwrap(),
            Failing::Driver(double) => double.arm(spec),
            Failing::Nobody => {}
        }
    }

    pub fn calls(&self) -> Vec<(String, u64)> {
        match self {
            #[cfg(feature = "inject")]
            Failing::System => {
                let calls = |n: &&str| (n.to_string(), hmmrt::refusal::calls(n));
                hmmrt::refusal::NAMES.iter().map(calls).collect()
            }
            Failing::Host => inject::KINDS.iter().map(|k| (k.to_string(), inject::calls(k))).collect(),
            Failing::Driver(double) => double.all_calls(),
            Failing::Nobody => Vec::new(),
        }
    }

    /// How many calls have failed of those that were to, `spec`.
    fn failed(&self, spec: &str) -> u64 {
        match self {
            #[cfg(feature = "inject")]
            Failing::System => hmmrt::refusal::failed(),
            Failing::Host => {
                let (name, number) = spec.trim_end_matches('+').split_once(':').unwrap();
                u64::from(inject::calls(name) >= number.parse().unwrap())
            }
            Failing::Driver(double) => double.failed(),
            Failing::Nobody => 0,
        }
    }
}

/// What a case says that this machine lacks its fault engine for.
const NO_ENGINE: &str = "no engine: ";

/// A setting of a case: huge pages are asked for once a device is open, as the preload library has it.
pub const HUGE_LATER: &str = "HMMRT_TEST_HUGE_LATER";

/// The case, in its own process: `whose` calls fail as `spec` says.
fn child(whose: &str, spec: &str) {
    common::end_if_it_hangs();
    touch::watch();
    if std::env::var_os(HUGE_LATER).is_some() {
        raw::preload::ask_for_huge_pages_later();
    }
    let failing = Rc::new(Failing::of(whose));
    let lost = spec.contains("=lost") || spec.contains("=async");
    let gpu = matches!(*failing, Failing::Driver(_));
    let config = common::config();
    // The host backend reads what fails from its settings when it opens its devices.
    let config =
        hmmrt::Config { host_fail: if whose == "host" { spec.into() } else { String::new() }, ..config };
    let mut begins = steps::watch(&failing, spec);
    let look = match whose {
        _ if spec.is_empty() => Look::Strict,
        "system" => Look::Loose,
        _ => Look::Host,
    };
    // What a lost device had is gone for the second run, too.
    let little = std::env::var("HMMRT_DOUBLE_MEMORY").is_ok_and(|m| m == drivers::LITTLE);
    let small = whose == "memory" || lost && little;
    begins("open");
    let started = raw::init(Some(config.clone()));
    if let Err(hmmrt::Error::Unsupported { what: "HMMRT_FAULT", why }) = &started
        && spec.is_empty()
    {
        return eprintln!("{NO_ENGINE}{why}");
    }
    assert!(started.is_ok() || look != Look::Strict, "{started:?}");
    let mut w = World::new(look, small || look != Look::Strict, begins);
    w.run();
    w.step("shutdown");
    let down = raw::shutdown();
    w.step(steps::LAST);
    assert!(down.is_ok() || look != Look::Strict, "{down:?}");
    w.check_all("after shutdown");
    let calls: Vec<String> = failing.calls().iter().map(|(name, n)| format!("{name}={n}")).collect();
    #[cfg(feature = "inject")]
    places::tell();
    if !spec.is_empty() {
        eprintln!("failed {}", failing.failed(spec));
    }
    eprintln!("calls {}", calls.join(" "));
    eprintln!("found {} {}", w.errors, w.unreadable);
    failing.arm("");
    // A driver that has failed for long is given up, as one that is lost.
    let lost = lost || gpu && spec.contains('+');
    w.mended(lost);
    if down.is_err() {
        w.synchronize();
        w.check_all("mended");
        let again = raw::shutdown();
        if again.is_err() {
            assert!(lost, "{again:?}");
            w.free();
            w.give_up();
            raw::shutdown().unwrap();
        }
    }
    w.mended(lost);
    w.check_all("mended, after shutdown");
    if !lost {
        w.write_all();
    }
    assert!(w.free(), "something can't be freed");
    assert_eq!(raw::stats().device_bytes, 0);
    // The same again, with nothing that fails.
    raw::init(Some(hmmrt::Config { host_fail: String::new(), ..config })).unwrap();
    let mut again = World::new(Look::Strict, small, Box::new(|_| {}));
    again.run();
    raw::shutdown().unwrap();
    again.check_all("again");
    assert!(again.free());
    eprintln!("survived");
}

/// Runs the case that this process was started for, if it was: `WHOSE SPEC`.
pub fn is_case() -> bool {
    let Some(case) = common::case() else { return false };
    let (whose, spec) = case.split_once(' ').unwrap();
    child(whose, spec);
    true
}

/// What became of a case.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It went on to the end; with errors or signals that were told, or without.
    Survived { told: bool },
    /// It ended where the runtime says that it can't go on, and said so; [`may_end`] says when it may.
    Ended,
}

/// Whether a case may end: where two calls to the system fail, or one for good. Whatever else fails, the process goes on.
fn may_end(whose: &str, spec: &str) -> bool {
    whose == "system" && (spec.contains("+=") || spec.trim_end_matches(',').contains(','))
}

/// Where the runtime can't go on and says so; every other "internal error" is one.
const ENDINGS: [&str; 4] = [
    "hmmrt: internal error: pages of an mremap could not be put back",
    "hmmrt: internal error: a touch that can't be answered can't be told either",
    "hmmrt: internal error: a forking thread can't be told of its touch",
    "hmmrt: internal error: a forked child can't be kept from memory that it does not have",
];

/// Whether nothing has failed in a case.
fn is_idle(out: &Output) -> bool {
    String::from_utf8_lossy(&out.stderr).lines().any(|l| l == "failed 0")
}

/// What a case that was right came to; else what was wrong.
fn judge(out: &Output) -> Result<End, String> {
    let err = String::from_utf8_lossy(&out.stderr);
    let mut named = HashSet::new();
    let address =
        |text: &str| usize::from_str_radix(text.split(|c: char| !c.is_ascii_hexdigit()).next()?, 16).ok();
    let mut told = false;
    for line in err.lines() {
        if let Some(at) = line.strip_prefix("hmmrt: SIGBUS at 0x").and_then(address) {
            named.insert(at);
        }
        if let Some(at) = line.strip_prefix("caught SIGBUS at 0x").and_then(address) {
            told = true;
            if !named.contains(&at) {
                return Err(format!("no message names the SIGBUS at {at:#x}"));
            }
        }
        if line.starts_with("caught SIGSEG") {
            return Err("a touch was SIGSEGV".to_owned());
        }
        if let Some(found) = line.strip_prefix("found ") {
            told |= found != "0 0";
        }
    }
    match out.status.signal() {
        None if out.status.success() && err.contains("\nsurvived") => Ok(End::Survived { told }),
        Some(libc::SIGBUS) if !named.is_empty() => Ok(End::Ended),
        Some(libc::SIGABRT) if ENDINGS.iter().any(|why| err.contains(why)) => Ok(End::Ended),
        _ => Err(format!("{:?}", out.status)),
    }
}

/// The calls that a case made, of those that can fail.
pub fn calls(test: &str, whose: &str, settings: &Settings) -> Vec<(String, u64)> {
    let out = run(test, whose, "", settings);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(judge(&out), Ok(End::Survived { told: false }), "{settings:?}\n{err}");
    let line = err.lines().find_map(|l| l.strip_prefix("calls ")).unwrap();
    line.split(' ').filter_map(|c| c.split_once('=')).map(|(n, c)| (n.into(), c.parse().unwrap())).collect()
}

/// The steps of a case in which nothing fails, and how many calls of the driver each made. `None`: this machine lacks the fault
/// engine.
pub fn steps(test: &str, whose: &str, settings: &Settings) -> Option<Vec<(String, u64)>> {
    let out = run(test, whose, "", settings);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    if let Some(why) = err.lines().find_map(|l| l.strip_prefix(NO_ENGINE)) {
        common::skipped(test, format_args!("{settings:?}: {why}"));
        return None;
    }
    assert_eq!(judge(&out), Ok(End::Survived { told: false }), "{settings:?}\n{err}");
    Some(steps::read(&err))
}

/// What a case wrote that was right.
#[cfg(feature = "inject")]
pub fn said(test: &str, spec: &str, settings: &Settings) -> Result<String, String> {
    let out = run(test, "system", spec, settings);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    let end = judge(&out).map_err(|why| format!("{spec} {settings:?}: {why}\n{err}"))?;
    if end == End::Ended && !may_end("system", spec) {
        return Err(format!("{spec} {settings:?}: the process has ended\n{err}"));
    }
    Ok(err)
}

/// How many errors and unreadable pages a case was told of, to whose end it goes on.
#[cfg(feature = "inject")]
pub fn told(test: &str, whose: &str, spec: &str, settings: &Settings) -> (usize, usize) {
    let out = run(test, whose, spec, settings);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(matches!(judge(&out), Ok(End::Survived { .. })), "{spec} {settings:?}\n{err}");
    assert!(!is_idle(&out), "{spec} {settings:?}: nothing has failed");
    let line = err.lines().find_map(|l| l.strip_prefix("found ")).unwrap();
    let (errors, unreadable) = line.split_once(' ').unwrap();
    (errors.parse().unwrap(), unreadable.parse().unwrap())
}

fn run(test: &str, whose: &str, spec: &str, settings: &Settings) -> Output {
    let mut command = common::case_command(test, &format!("{whose} {spec}"));
    command
        .envs(settings.iter().map(|(n, v)| (*n, v.as_str())))
        .env("RUST_BACKTRACE", "0")
        .env("HMMRT_HOST_DEVICES", "2");
    command.output().unwrap()
}

/// How many cases are run of a test, if not `usual`: `HMMRT_TEST_CASES`, a number or `all`.
fn wanted(usual: usize) -> usize {
    let text = std::env::var("HMMRT_TEST_CASES").unwrap_or_default();
    if text == "all" { usize::MAX } else { text.parse().unwrap_or(usual) }
}

/// Whether every case there is is to be run.
pub fn is_all() -> bool {
    wanted(0) == usize::MAX
}

/// What is chosen by chance is chosen by this: others in each run.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(common::seed)
}

/// Of the numbers up to `n` about `most`, or all if all cases are run: the first, the last, and some between.
pub fn numbers(n: u64, most: u64) -> Vec<u64> {
    let step = if is_all() { 1 } else { n.div_ceil(most.max(1)).max(1) };
    let between = if step == 1 { 0 } else { seed() % step };
    (1..=n).filter(|i| *i == 1 || *i == n || (i - 1) % step == between).collect()
}

/// Of the cases `most`: of as many parts of about the same length one each.
fn sample(cases: Vec<Case>, most: usize, seed: u64) -> Vec<Case> {
    let all = cases.len();
    if most >= all {
        return cases;
    }
    let mut rng = common::Rng(seed | 1);
    let begins = |part: usize| (part as u128 * all as u128 / most as u128) as usize;
    let picked: HashSet<usize> =
        (0..most).map(|part| begins(part) + rng.below(begins(part + 1) - begins(part))).collect();
    cases.into_iter().enumerate().filter(|(i, _)| picked.contains(i)).map(|(_, case)| case).collect()
}

#[test]
fn each_seed_picks_others_of_all_parts() {
    let cases: Vec<Case> = (0..100).map(|i| ("host", i.to_string(), Vec::new())).collect();
    let of = |seed| -> Vec<String> { sample(cases.clone(), 10, seed).into_iter().map(|c| c.1).collect() };
    let all: HashSet<String> = (0..200).flat_map(|seed| of(seed * 2 + 1)).collect();
    assert_eq!(all.len(), 100, "each case has its run");
    for seed in [1, 12345] {
        let picked: Vec<usize> = of(seed).iter().map(|text| text.parse::<usize>().unwrap() / 10).collect();
        assert_eq!(picked, (0..10).collect::<Vec<_>>());
        assert_eq!(of(seed), of(seed), "the same seed, the same cases");
    }
    assert_eq!(sample(cases.clone(), 100, 3).len(), 100);
}

/// A case to run: whose calls, which fail, and the settings.
pub type Case = (&'static str, String, Settings);

/// Runs cases, as many at a time as there are cores: `usual` of them, others with each seed, if it is not said otherwise. What is
/// wrong with one is shown, and fails the test.
pub fn run_all(test: &str, usual: usize, cases: Vec<Case>) {
    let only = std::env::var("HMMRT_TEST_ONLY").ok();
    let is_wanted = |(_, spec, settings): &Case| {
        let text = format!("{spec} {settings:?}");
        let has = |word: &str| match word.strip_prefix('-') {
            Some(not) => !text.contains(not),
            None => text.contains(word),
        };
        only.as_ref().is_none_or(|only| only.split(' ').all(has))
    };
    let mut cases: Vec<Case> = cases.into_iter().filter(is_wanted).collect();
    let (all, most) = (cases.len(), wanted(usual));
    if most < all {
        cases = sample(cases, most, seed());
    }
    eprintln!("{} of {all} cases", cases.len());
    let (next, idle) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let missed: Mutex<Vec<String>> = Mutex::default();
    let ended: Mutex<[usize; 3]> = Mutex::default();
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let work = || {
        while let Some((whose, spec, settings)) = cases.get(next.fetch_add(1, SeqCst)) {
            let mut out = run(test, whose, spec, settings);
            if (is_idle(&out) || steps::is_missed(&out)) && judge(&out).is_ok() {
                out = run(test, whose, spec, settings); // there may be a call more or less in each run
            }
            let mut spec = spec.clone();
            while steps::is_missed(&out)
                && judge(&out).is_ok()
                && let Some(earlier) = steps::earlier(&spec)
            {
                spec = earlier; // or many: who waits asks again and again
                out = run(test, whose, &spec, settings);
            }
            if steps::is_missed(&out) {
                missed.lock().unwrap().push(format!("{spec} {settings:?}"));
            }
            idle.fetch_add(usize::from(is_idle(&out)), SeqCst);
            match judge(&out) {
                Ok(End::Survived { told }) => ended.lock().unwrap()[usize::from(told)] += 1,
                Ok(End::Ended) => {
                    ended.lock().unwrap()[2] += 1;
                    let err = String::from_utf8_lossy(&out.stderr);
                    let last = err.lines().rfind(|l| l.starts_with("hmmrt: ")).unwrap_or("");
                    eprintln!("ended: {whose} {spec} {settings:?}: {last}");
                    if !may_end(whose, &spec) {
                        wrong.lock().unwrap().push(format!("ended: {whose} {spec} {settings:?}"));
                    }
                }
                Err(why) => {
                    let err = String::from_utf8_lossy(&out.stderr);
                    let lines: Vec<&str> = err.lines().collect();
                    let tail = lines[lines.len().saturating_sub(40)..].join("\n");
                    eprintln!("WRONG: {whose} {spec} {settings:?}: {why}\n{tail}\n");
                    wrong.lock().unwrap().push(format!("{whose} {spec} {settings:?}"));
                }
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|s| (0..workers).for_each(|_| drop(s.spawn(work))));
    let ([right, told, ended], wrong) = (ended.into_inner().unwrap(), wrong.into_inner().unwrap());
    eprintln!(
        "{} cases: {right} did without, {told} were told, {ended} ended, {} wrong",
        cases.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not in their step: {missed:#?}");
    assert!(only.is_some() || cases.len() > 10, "there must be cases");
    // How often some calls are made is not the same in each run.
    let idle = idle.into_inner();
    assert!(idle * 5 <= cases.len(), "in {idle} of {} cases nothing has failed", cases.len());
}
