//! Counting of calls, and failures at the n-th call of a function: `FUNCTION:N[+][=CODE|=lost|=async|=stuck]`, several with
//! commas. A version suffix of a name (`_v2`) makes no difference. Counters are global; stream threads never look here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, Once, PoisonError};

use crate::lock::held;
use crate::{Error, settings};

/// One function of the driver, or something else that is counted.
pub struct Counter {
    name: &'static str,
    /// Whether it is one that can fail, which `any` counts.
    fails: bool,
    count: AtomicU64,
    listed: AtomicBool,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing special.
    Usual,
    /// It answers this and does nothing.
    Fail(Error),
    /// The device is lost, and it says so.
    Lose,
    /// It says that all is well; the device is lost when its work would run.
    LoseLater,
    /// It does not return before the failures are replaced; then it is as usual.
    Stick,
}

struct Rule {
    name: String,
    at: u64,
    onwards: bool,
    fate: Fate,
}

static COUNTERS: Mutex<Vec<&'static Counter>> = Mutex::new(Vec::new());
static RULES: Mutex<Vec<Rule>> = Mutex::new(Vec::new());
/// Goes with [`RULES`]: they have been replaced.
static REPLACED: Condvar = Condvar::new();
/// How often.
static REPLACEMENTS: AtomicU64 = AtomicU64::new(0);
/// Whether there are rules: the usual call takes no lock for them.
static ARMED: AtomicBool = AtomicBool::new(false);
/// Calls that can fail.
static ANY: AtomicU64 = AtomicU64::new(0);
/// Calls that a rule was for.
static FAILED: AtomicU64 = AtomicU64::new(0);

impl Counter {
    /// A counter of calls of the function `name`.
    pub const fn new(name: &'static str, fails: bool) -> Counter {
        Counter { name, fails, count: AtomicU64::new(0), listed: AtomicBool::new(false) }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Counts, and says what is to become of this call.
    pub fn count(&'static self) -> Fate {
        start();
        if !self.listed.swap(true, SeqCst) {
            held(&COUNTERS).push(self);
        }
        let own = self.count.fetch_add(1, Relaxed) + 1;
        let any = if self.fails { ANY.fetch_add(1, Relaxed) + 1 } else { 0 };
        if !self.fails || !ARMED.load(SeqCst) {
            return Fate::Usual;
        }
        let rules = held(&RULES);
        let due = rules.iter().find(|rule| {
            let n = if rule.name == "any" { any } else { own };
            (rule.name == "any" || rule.name == base(self.name))
                && (n == rule.at || rule.onwards && n > rule.at)
        });
        FAILED.fetch_add(u64::from(due.is_some()), Relaxed);
        due.map_or(Fate::Usual, |rule| rule.fate)
    }
}

/// A function's name without its version.
pub fn base(name: &str) -> &str {
    match name.rsplit_once("_v") {
        Some((base, version)) if version.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => name,
    }
}

/// The rules of the environment, once.
fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let text = &settings::get().fail;
        if !text.is_empty() && !set(text) {
            eprintln!("driver double: HMMRT_DOUBLE_FAIL={text} is not understood");
        }
    });
}

/// Replaces the rules and starts all counters at 0. False, and nothing has changed, if the text is not understood.
pub fn arm(text: &str) -> bool {
    start();
    let ok = set(text);
    if ok {
        ANY.store(0, Relaxed);
        FAILED.store(0, Relaxed);
        held(&COUNTERS).iter().for_each(|counter| counter.count.store(0, Relaxed));
    }
    ok
}

fn set(text: &str) -> bool {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let Some(rules) = words.map(rule).collect::<Option<Vec<Rule>>>() else { return false };
    let mut now = held(&RULES);
    ARMED.store(!rules.is_empty(), SeqCst);
    *now = rules;
    REPLACEMENTS.fetch_add(1, SeqCst);
    REPLACED.notify_all();
    true
}

/// Waits until the rules are replaced.
pub fn stick() {
    let rules = held(&RULES);
    let before = REPLACEMENTS.load(SeqCst);
    let until = REPLACED.wait_while(rules, |_| REPLACEMENTS.load(SeqCst) == before);
    drop(until.unwrap_or_else(PoisonError::into_inner));
}

fn rule(word: &str) -> Option<Rule> {
    let (call, fate) = match word.split_once('=') {
        None => (word, Fate::Fail(Error::UNKNOWN)),
        Some((call, "lost")) => (call, Fate::Lose),
        Some((call, "async")) => (call, Fate::LoseLater),
        Some((call, "stuck")) => (call, Fate::Stick),
        Some((call, code)) => (call, Fate::Fail(Error(code.parse().ok().filter(|code| *code != 0)?))),
    };
    let (name, at) = call.split_once(':')?;
    let (at, onwards) = at.strip_suffix('+').map_or((at, false), |at| (at, true));
    let at = at.parse().ok().filter(|at| *at != 0)?;
    (!name.is_empty()).then(|| Rule { name: base(name).to_owned(), at, onwards, fate })
}

/// How often `name` was called.
pub fn calls(name: &str) -> u64 {
    let counters = held(&COUNTERS);
    counters.iter().filter(|c| base(c.name) == base(name)).map(|c| c.count.load(Relaxed)).sum()
}

/// Calls that a rule was for, since the counters began.
pub fn failed() -> u64 {
    FAILED.load(Relaxed)
}

/// Calls of all functions.
pub fn total() -> u64 {
    held(&COUNTERS).iter().filter(|counter| counter.name != PAGEABLE).map(|c| c.count.load(Relaxed)).sum()
}

/// The functions that were called, one a line: name, blank, number.
pub fn list() -> String {
    let mut lines: Vec<String> = held(&COUNTERS)
        .iter()
        .map(|counter| (counter.name, counter.count.load(Relaxed)))
        .filter(|(_, count)| *count != 0)
        .map(|(name, count)| format!("{name} {count}\n"))
        .collect();
    lines.sort();
    lines.concat()
}

/// The name of the counter of copies from or to pageable memory.
pub const PAGEABLE: &str = "pageable";

/// Counts a copy from or to pageable memory.
pub fn pageable() {
    static COUNTER: Counter = Counter::new(PAGEABLE, false);
    COUNTER.count();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let r = rule("cuMemCreate_v2:3+=2").unwrap();
        assert_eq!(
            (r.name.as_str(), r.at, r.onwards, r.fate),
            ("cuMemCreate", 3, true, Fate::Fail(Error(2)))
        );
        assert_eq!(rule("any:1").unwrap().fate, Fate::Fail(Error::UNKNOWN));
        assert_eq!(rule("any:1=lost").unwrap().fate, Fate::Lose);
        assert_eq!(rule("any:1=async").unwrap().fate, Fate::LoseLater);
        assert_eq!(rule("any:2+=stuck").unwrap().fate, Fate::Stick);
        for wrong in ["x", "x:0", "x:", ":1", "x:1=", "x:1=gone", "x:1=0", "x:+"] {
            assert!(rule(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn versions_make_no_difference() {
        assert_eq!(["a_v2", "a", "a_b", "a_vx"].map(base), ["a", "a", "a_b", "a_vx"]);
    }
}
