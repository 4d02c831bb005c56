//! Steps that run side by side, each list's one after the other: as programs of their own, whose output is shown when they have ended.
//!
//! Called by `check`. On a machine with one core the lists run one after the other.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::check::Outcome;
use crate::skips;

/// What the last line of a step begins with.
const PASSED: &str = "step passed: ";
const SKIPPED: &str = "step skipped: ";

/// A step that has ended.
pub struct Done {
    /// Its number.
    pub step: usize,
    /// Since when it has been running.
    pub begun: Instant,
    /// What it wrote.
    pub output: String,
    /// What came of it.
    pub outcome: Result<Outcome>,
}

enum News {
    Begins(usize),
    Ended(Done),
}

/// The last line of a step.
pub fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(count) => format!("{PASSED}{count}"),
        Outcome::Skipped(why) => format!("{SKIPPED}{why}"),
    }
}

/// Runs the lists of steps. After one that `ended` is not content with none begins, and its error is the answer.
pub fn run(
    lists: &[Vec<usize>],
    begins: impl Fn(usize),
    mut ended: impl FnMut(Done) -> Result<()>,
) -> Result<()> {
    let side_by_side = thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    let all: Vec<usize> = lists.concat();
    let lanes: Vec<&[usize]> =
        if side_by_side { lists.iter().map(Vec::as_slice).collect() } else { vec![&all] };
    let (tell, news) = mpsc::channel();
    let stop = AtomicBool::new(false);
    let mut result = Ok(());
    thread::scope(|s| {
        for lane in lanes {
            let (tell, stop) = (tell.clone(), &stop);
            s.spawn(move || one_after_the_other(lane, stop, &tell));
        }
        drop(tell);
        for new in news {
            match new {
                News::Begins(step) => begins(step),
                News::Ended(done) if result.is_ok() => {
                    result = ended(done);
                    stop.store(result.is_err(), SeqCst);
                    if let Err(e) = &result {
                        eprintln!("{e:#}"); // the other step is waited for
                    }
                }
                News::Ended(_) => {}
            }
        }
    });
    result
}

fn one_after_the_other(steps: &[usize], stop: &AtomicBool, tell: &Sender<News>) {
    for &step in steps {
        if stop.load(SeqCst) {
            return;
        }
        tell.send(News::Begins(step)).ok();
        let begun = Instant::now();
        let (output, outcome) = execute(step).unwrap_or_else(|e| (String::new(), Err(e)));
        let failed = outcome.is_err();
        tell.send(News::Ended(Done { step, begun, output, outcome })).ok();
        if failed {
            return;
        }
    }
}

/// Runs a step: what it wrote, in order, and what came of it.
fn execute(step: usize) -> Result<(String, Result<Outcome>)> {
    let (mut from, to) = std::io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["check", "--step", &step.to_string()]);
    if let Some(file) = skips::file() {
        command.env(skips::VARIABLE, file);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(to.try_clone()?)
        .stderr(to)
        .spawn()
        .context("cannot start a step")?;
    drop(command); // the pipe's end that is ours
    let mut output = Vec::new();
    std::io::Read::read_to_end(&mut from, &mut output)?;
    let status = child.wait()?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let (output, outcome) = outcome(text);
    match (status.success(), outcome) {
        (true, Some(outcome)) => Ok((output, Ok(outcome))),
        (true, None) => bail!("step {step} did not say what came of it"),
        (false, _) => Ok((output, Err(anyhow::anyhow!("the step failed: {status}")))),
    }
}

/// A step's output without its last line, and what that says.
fn outcome(mut text: String) -> (String, Option<Outcome>) {
    let begin = text.trim_end().rfind('\n').map_or(0, |i| i + 1);
    let last = text[begin..].trim_end();
    let outcome = match (last.strip_prefix(PASSED), last.strip_prefix(SKIPPED)) {
        (Some(count), _) => count.parse().ok().map(Outcome::Passed),
        (_, Some(why)) => Some(Outcome::Skipped(why.to_owned())),
        _ => None,
    };
    if outcome.is_some() {
        text.truncate(begin);
    }
    (text, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_came_of_it() {
        for it in [Outcome::Passed(12), Outcome::Skipped("not installed: cc".to_owned())] {
            for before in ["", "a line\n", "two\nlines\n"] {
                let text = format!("{before}{}\n", line(&it));
                assert_eq!(outcome(text), (before.to_owned(), Some(it.clone())));
            }
        }
        for none in ["", "a line\n", "step passed: x\n"] {
            assert_eq!(outcome(none.to_owned()), (none.to_owned(), None));
        }
    }
}
