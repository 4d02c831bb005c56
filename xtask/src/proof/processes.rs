//! Processes that a run has left behind: daemons, children in sessions of their own. They are known by a variable of their
//! environment, and ended.

use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// The variable; each run has a value of its own.
pub const MARK: &str = "PROOF_RUN";

/// How long they may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends all processes of a run that are still there. How many there were.
pub fn end_all(mark: &str) -> usize {
    let wanted = format!("{MARK}={mark}");
    let (mut ended, start) = (HashSet::new(), Instant::now());
    // One may start another while this looks, and one that is killed is there until it has run once more.
    while start.elapsed() < PATIENCE {
        let found = with_variable(wanted.as_bytes());
        if found.is_empty() {
            break;
        }
        // The shell's own kill: a small system has no program of that name.
        Command::new("sh").args(["-c", "kill -KILL \"$@\"", "sh"]).args(&found).status().ok();
        ended.extend(found);
        std::thread::sleep(Duration::from_millis(20));
    }
    ended.len()
}

fn with_variable(wanted: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_process = name.bytes().all(|b| b.is_ascii_digit());
        let environment = if is_process { fs::read(entry.path().join("environ")) } else { continue };
        // One that has ended and was not waited for has none.
        if environment.is_ok_and(|e| e.split(|b| *b == 0).any(|variable| variable == wanted)) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{MARK, end_all};
    use std::process::Command;

    #[test]
    fn what_left_its_group_is_found() {
        let mark = format!("test-{}", std::process::id());
        // Ends when the other one is what it will be.
        let script = "setsid sleep 600 </dev/null >/dev/null 2>&1 &
            for _ in $(seq 1200); do
                grep -qs sleep /proc/$!/comm && grep -qs PROOF_RUN= /proc/$!/environ && break
                sleep 0.05
            done";
        Command::new("sh").args(["-c", script]).env(MARK, &mark).status().unwrap();
        assert_eq!(end_all(&mark), 1);
        assert_eq!(end_all(&mark), 0);
    }
}
