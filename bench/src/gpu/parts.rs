//! The groups, each in a process of its own with a time limit: this program again, with `--part`. What it has written by
//! the time it ends, or is ended, is taken over.

use crate::Outcome;
use crate::results::{Bench, Part};
use crate::rows::Group;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A group that does not even get this long is not started.
const LEAST: Duration = Duration::from_secs(3);
/// What a group gets above its share before it is ended: its last turn may be long.
const GRACE: Duration = Duration::from_secs(20);

/// Measures the groups one after the other, in about `limit` seconds, and writes all that there is after each.
pub fn run(groups: &[Group], quick: bool, runs: usize, limit: u64, file: Option<&Path>) -> Outcome<Bench> {
    let end = Instant::now() + Duration::from_secs(limit);
    let mut bench = Bench::new(quick, groups.iter().map(|group| group.name()).collect());
    let mut all = true;
    if let Some(file) = file {
        bench.write(file)?;
    }
    for (done, group) in groups.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        // What earlier groups did not use is for the later ones.
        let share = left / (groups.len() - done) as u32;
        if left < LEAST {
            bench.failures.push(format!("{}: no time was left", group.name()));
            all = false;
        } else {
            eprintln!("measuring {} ...", group.name());
            let time = [share, (share + GRACE).min(left)];
            all &= part(*group, quick, runs, time, &mut bench, file)?;
        }
        if let Some(file) = file {
            bench.write(file)?;
        }
    }
    bench.complete = all;
    if let Some(file) = file {
        bench.write(file)?;
    }
    Ok(bench)
}

/// One group: whether it ended by itself.
fn part(
    group: Group,
    quick: bool,
    runs: usize,
    time: [Duration; 2],
    bench: &mut Bench,
    file: Option<&Path>,
) -> Outcome<bool> {
    let [share, limit] = time;
    let own = std::env::temp_dir().join(format!("hmmrt-gpu-bench-{}.json", std::process::id()));
    fs::remove_file(&own).ok();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--only", &group.name(), "--runs", &runs.to_string()]);
    command.args(["--limit", &share.as_secs().max(1).to_string(), "--part"]).arg(&own);
    if quick {
        command.arg("--quick");
    }
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let mut seen = None;
    // Should this process be ended itself, the file has what the group has found so far.
    let status = wait(&mut child, limit, || {
        let changed = fs::metadata(&own).and_then(|metadata| metadata.modified()).ok();
        if let (true, Some(file), Ok(part)) = (changed > seen, file, read(&own)) {
            seen = changed;
            let mut so_far = bench.clone();
            so_far.add(part);
            so_far.write(file)?;
        }
        Ok(())
    })?;
    let found = read(&own);
    fs::remove_file(&own).ok();
    match (found, status) {
        (Ok(part), _) => bench.add(part),
        (Err(error), Some(status)) if status.success() => {
            bench.failures.push(format!("{}: its results can't be read: {error}", group.name()));
        }
        (Err(_), _) => {}
    }
    match status {
        None => bench.failures.push(format!("{}: ended after {} s", group.name(), limit.as_secs())),
        Some(status) if !status.success() => bench.failures.push(format!("{}: {status}", group.name())),
        Some(_) => {}
    }
    Ok(status.is_some())
}

fn read(file: &Path) -> Outcome<Part> {
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

/// Waits for the end, or makes it; `meanwhile` is called now and then.
fn wait(
    child: &mut Child,
    limit: Duration,
    mut meanwhile: impl FnMut() -> Outcome,
) -> Outcome<Option<ExitStatus>> {
    const SLEEP: Duration = Duration::from_millis(10);
    let start = Instant::now();
    for turn in 1_u32.. {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            break;
        }
        thread::sleep(SLEEP);
        if turn.is_multiple_of(50) {
            meanwhile()?;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Whether there is a card, found out in a process of its own: this one opens no driver.
pub fn try_card() -> Outcome {
    let output = Command::new(std::env::current_exe()?).arg("--card").stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.trim().trim_start_matches("hmmrt-gpu-bench: ").to_owned().into())
}
