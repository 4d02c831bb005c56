//! The steps of the script as a driver sees them: how many of its calls each makes, and a failure inside a certain one: `RULE in
//! NUMBER of STEP`, whose rule counts from the beginning of that step.

use super::cases::Failing;
use super::script::Begins;
use std::process::Output;
use std::rc::Rc;

/// What a case says of each step, and of a failure that was to come in a step and did not.
const STEP: &str = "step ";
const MISSED: &str = "missed the step";
/// What comes behind all steps.
pub const LAST: &str = "after shutdown";

/// Arms what `spec` says, now or at the beginning of its step; tells how many calls each step makes.
pub fn watch(failing: &Rc<Failing>, spec: &str) -> Begins {
    let failing = failing.clone();
    let total = |f: &Failing| f.calls().iter().map(|(_, n)| n).sum::<u64>();
    let Some((rule, place)) = spec.split_once(" in ") else {
        failing.arm(spec);
        if !spec.is_empty() || !matches!(*failing, Failing::Driver(_)) {
            return Box::new(|_| {});
        }
        let mut last: Option<(&str, u64)> = None;
        let mut ended = false;
        return Box::new(move |name| {
            if ended {
                return;
            }
            ended = name == LAST;
            let now = total(&failing);
            if let Some((name, since)) = last.replace((name, now)) {
                eprintln!("{STEP}{} {name}", now - since);
            }
        });
    };
    let (number, step) = place.split_once(" of ").unwrap();
    let (rule, step, number) = (rule.to_owned(), step.to_owned(), number.parse::<u64>().unwrap());
    let due: u64 = rule.strip_prefix("any:").and_then(|r| r.split('=').next()).unwrap().parse().unwrap();
    let (mut seen, mut armed, mut ended) = (0, false, false);
    failing.arm("");
    Box::new(move |name| {
        if armed && !ended {
            ended = true;
            if total(&failing) < due {
                eprintln!("{MISSED}");
            }
        }
        seen += u64::from(name == step);
        if !armed && seen == number {
            failing.arm(&rule); // counters begin anew
            armed = true;
        }
        if name == LAST && !armed {
            eprintln!("{MISSED}");
        }
    })
}

/// The steps that a case has told, in order, each with its calls.
pub fn read(err: &str) -> Vec<(String, u64)> {
    let told = err.lines().filter_map(|l| l.strip_prefix(STEP)?.split_once(' '));
    told.map(|(calls, name)| (name.to_owned(), calls.parse().unwrap())).collect()
}

/// Of the steps of a name the one with most calls: its number among them, from 1, and the calls. `None`: none makes any.
pub fn longest(steps: &[(String, u64)], name: &str) -> Option<(usize, u64)> {
    let of_name = steps.iter().filter(|(own, _)| own == name).map(|(_, calls)| *calls);
    of_name
        .zip(1..)
        .map(|(calls, i)| (i, calls))
        .max_by_key(|(_, calls)| *calls)
        .filter(|(_, calls)| *calls > 0)
}

/// The same failure of a call that comes in half the time, if there is one: `any:8=lost in 2 of launch` is `any:4=lost in 2 of launch`.
pub fn earlier(spec: &str) -> Option<String> {
    let (number, rest) = spec.strip_prefix("any:")?.split_once('=')?;
    let half = number.parse::<u64>().ok()? / 2;
    (half > 0).then(|| format!("any:{half}={rest}"))
}

/// Whether the failure did not come in its step.
pub fn is_missed(out: &Output) -> bool {
    String::from_utf8_lossy(&out.stderr).lines().any(|l| l == MISSED)
}
