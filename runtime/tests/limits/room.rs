//! Limits of this process, set and lifted; and running a case in a child.

use crate::common;
use std::ffi::CStr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};

/// How a limit's number is called: `libc::RLIMIT_...`.
pub type Limit = libc::__rlimit_resource_t;

/// Sets the soft limit.
pub fn limit(which: Limit, to: u64) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: places for the numbers.
    unsafe {
        assert_eq!(libc::getrlimit(which, &mut now), 0);
        now.rlim_cur = to.min(now.rlim_max);
        assert_eq!(libc::setrlimit(which, &now), 0);
    }
}

/// Sets the soft limit to what the hard one allows. Signal-safe.
pub fn lift(which: Limit) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: places for the numbers.
    unsafe {
        libc::getrlimit(which, &mut now);
        now.rlim_cur = now.rlim_max;
        libc::setrlimit(which, &now);
    }
}

/// How much of what `which` limits the process has, in bytes.
pub fn used(which: Limit) -> u64 {
    let name = if which == libc::RLIMIT_AS { "VmSize:" } else { "VmData:" };
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// The command that runs `case` of the test `test` (its path in this binary). The C library's allocator has room from the
/// start on: what is tested is what the runtime asks the kernel for.
pub fn child(test: &str, case: &str, env: &[(&str, &str)]) -> Command {
    let mut command = common::case_command(test, case);
    command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_TOP_PAD_", "67108864");
    command.env("MALLOC_MMAP_THRESHOLD_", "1073741824").env("MALLOC_TRIM_THRESHOLD_", "1073741824");
    command.envs(env.iter().copied());
    // What hangs is a failure. SAFETY: a system call, and it outlives exec.
    unsafe {
        command.pre_exec(|| {
            libc::alarm(900);
            Ok(())
        });
    }
    command
}

/// What it wrote.
pub fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Runs it, and expects it to succeed; what it wrote.
#[track_caller]
pub fn passes(mut command: Command) -> String {
    let out = command.output().unwrap();
    let all = text(&out);
    assert!(
        out.status.success(),
        "{command:?}: {:?}\n{all}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout)
    );
    all.lines().filter(|l| l.starts_with("  ")).for_each(|l| eprintln!("{l}"));
    all
}

/// Runs it, and expects the signal; what it wrote.
#[track_caller]
pub fn dies(mut command: Command, signal: i32) -> String {
    let out = command.output().unwrap();
    assert_eq!(out.status.signal(), Some(signal), "{command:?}: {:?}\n{}", out.status, text(&out));
    text(&out)
}

/// Backends of GPUs have drivers, and threads of theirs.
pub fn on_gpu() -> bool {
    ["cuda", "hip"].map(|b| Ok(b.into())).contains(&std::env::var("HMMRT_BACKEND"))
}

/// The ways in which touches reach a device: by the toucher, and by the service thread.
pub const WAYS: [&[(&str, &str)]; 2] = [&[], &[("HMMRT_HOST_DIRECT", "0")]];

/// The command with something else at a path, for itself alone; it can't be started where that can't be had.
pub fn with_mount(
    mut command: Command,
    what: &'static CStr,
    path: &'static CStr,
    kind: &'static CStr,
    flags: u64,
) -> Command {
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(move || {
            let none = std::ptr::null();
            let done = libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) == 0
                && libc::mount(what.as_ptr(), path.as_ptr(), kind.as_ptr(), flags, none.cast()) == 0;
            if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    command
}
