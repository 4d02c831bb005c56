//! Starting programs: with a time limit, and with the exit status and signal put into words.
//!
//! Used by every subcommand. Output is passed through as it comes; it can be kept (to compare it) or watched for
//! libtest's "test result:" lines (to count tests) on the way.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A program with its arguments.
pub struct Command {
    inner: process::Command,
    line: String,
    limit: Option<Duration>,
}

/// What a captured program wrote to its standard output.
pub struct Output {
    /// Standard output, complete.
    pub stdout: String,
    /// Standard error, complete.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Command {
    /// A program by name or path.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let name = Path::new(program).file_name().unwrap_or(program);
        Command {
            inner: process::Command::new(program),
            line: name.to_string_lossy().into_owned(),
            limit: None,
        }
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Command {
        for arg in args {
            self.line.push(' ');
            self.line.push_str(&arg.as_ref().to_string_lossy());
            self.inner.arg(arg);
        }
        self
    }

    /// Its working directory.
    pub fn dir(mut self, dir: &Path) -> Command {
        self.inner.current_dir(dir);
        self
    }

    /// One more environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Command {
        self.inner.env(name, value.into());
        self
    }

    /// One environment variable less.
    pub fn env_remove(mut self, name: &OsStr) -> Command {
        self.inner.env_remove(name);
        self
    }

    /// Kill the program, and what it started, when it runs longer than this.
    pub fn limit(mut self, limit: Duration) -> Command {
        self.limit = Some(limit);
        self
    }

    /// Runs it with its output shown; anything but success is an error that names the command.
    pub fn run(mut self) -> Result<()> {
        self.inner.stdin(Stdio::null());
        let child = self.spawn()?;
        let status = self.wait(child)?;
        self.expect_success(status)
    }

    /// Runs it with its output shown and adds up the "test result:" lines in it.
    pub fn run_counting_tests(mut self) -> Result<u64> {
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self.spawn()?;
        let out = child.stdout.take().context("no pipe")?;
        let reader = thread::spawn(move || {
            let mut passed = 0;
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                passed += tests_passed(&line).unwrap_or(0);
            }
            passed
        });
        let status = self.wait(child)?;
        let passed = reader.join().ok().context("the reading thread failed")?;
        self.expect_success(status)?;
        Ok(passed)
    }

    /// Runs it with its output kept. The status is the caller's to judge.
    pub fn capture(mut self) -> Result<Output> {
        self.inner.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let out = thread::spawn(move || drain(out));
        let err = thread::spawn(move || drain(err));
        let status = self.wait(child)?;
        let stdout = out.join().ok().context("the reading thread failed")?;
        let stderr = err.join().ok().context("the reading thread failed")?;
        Ok(Output { stdout, stderr, status })
    }

    fn spawn(&mut self) -> Result<process::Child> {
        std::io::stdout().flush().ok();
        if self.limit.is_some() {
            // A group of its own, so that the limit ends what it started as well.
            self.inner.process_group(0);
        }
        self.inner.spawn().with_context(|| format!("cannot start `{}`", self.line))
    }

    fn wait(&self, mut child: process::Child) -> Result<ExitStatus> {
        let Some(limit) = self.limit else { return Ok(child.wait()?) };
        let group = child.id().to_string();
        let (done, waiting) = mpsc::channel::<()>();
        let watcher = thread::spawn(move || {
            let late = waiting.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                // The shell's own kill: a small system has no program of that name.
                process::Command::new("sh").args(["-c", "kill -KILL -$0", &group]).status().ok();
            }
            late
        });
        let status = child.wait()?;
        drop(done);
        if watcher.join().unwrap_or(false) {
            bail!("`{}` was stopped: it ran longer than {} s", self.line, limit.as_secs());
        }
        Ok(status)
    }

    fn expect_success(&self, status: ExitStatus) -> Result<()> {
        if status.success() { Ok(()) } else { bail!("`{}` {}", self.line, ended(status)) }
    }
}

/// "exited with status 3", "was killed by signal 11".
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended strangely".to_owned(),
    }
}

/// Whether a program of this name is in one of PATH's folders.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn drain(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).ok();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `test result: ok. 12 passed; 0 failed; ...` gives 12.
fn tests_passed(line: &str) -> Option<u64> {
    let rest = line.trim_start().strip_prefix("test result: ")?;
    let (before, _) = rest.split_once(" passed")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Command, tests_passed};
    use std::time::{Duration, Instant};

    #[test]
    fn result_lines_are_counted() {
        assert_eq!(tests_passed("test result: ok. 12 passed; 0 failed; 1 ignored"), Some(12));
        assert_eq!(tests_passed("test result: FAILED. 3 passed; 1 failed"), Some(3));
        assert_eq!(tests_passed("test passed ... ok"), None);
    }

    #[test]
    fn a_program_that_hangs_is_stopped() {
        let start = Instant::now();
        let error = Command::new("sleep").args(["60"]).limit(Duration::from_millis(100)).run().unwrap_err();
        assert!(error.to_string().contains("ran longer"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn failure_names_the_command() {
        let error = Command::new("sh").args(["-c", "exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` exited with status 3");
    }
}
