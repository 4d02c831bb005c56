//! `HMMRT_SYSCALLS=trap`: every system call of the program, also one that does not go through the C library, stops before
//! the kernel does it (Syscall User Dispatch, Linux 5.11), and is done by the handler of SIGSYS with what it uses held on the
//! host. `entry` is the assembly, `handler` what each call needs, `spawn` those that make threads and processes. The kernel
//! lets through what this library's own code calls. Each thread has it from its start: those that make threads are trapped,
//! too. x86-64 only; elsewhere the setting is answered with a message, and calls are wrapped as ever.

use crate::names;

#[cfg(target_arch = "x86_64")]
mod actions;
#[cfg(target_arch = "x86_64")]
mod entry;
#[cfg(target_arch = "x86_64")]
mod handler;
#[cfg(target_arch = "x86_64")]
mod spawn;

/// Starts trapping if that is wanted, in this thread and all that come from it: the constructor, after everything else.
pub fn start() {
    if names::is_secure() {
        return;
    }
    match names::variable("HMMRT_SYSCALLS") {
        None | Some(b"" | b"wrap") => {}
        Some(b"trap") => {
            let saved = names::errno();
            if let Err(why) = begin() {
                names::say("hmmrt warning: HMMRT_SYSCALLS=trap: ");
                names::say(why);
                names::say("; system calls are wrapped\n");
            }
            names::set_errno(saved);
        }
        Some(_) => {
            names::say("hmmrt error: HMMRT_SYSCALLS is neither wrap nor trap; system calls are wrapped\n")
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn begin() -> Result<(), &'static str> {
    Err("not on this architecture")
}

#[cfg(target_arch = "x86_64")]
fn begin() -> Result<(), &'static str> {
    use core::sync::atomic::Ordering::Relaxed;
    let here = start as fn() as usize;
    names::objects(|name, low, high| {
        if (low..high).contains(&here) {
            entry::ALLOWED[0].store(low, Relaxed);
            entry::ALLOWED[1].store(high - low, Relaxed);
        }
        if name.to_bytes().windows(9).any(|part| part == b"libc.so.6") {
            actions::C_LIBRARY[0].store(low, Relaxed);
            actions::C_LIBRARY[1].store(high, Relaxed);
        }
    });
    if names::has_note_of_go() {
        // Its stacks are too small for a signal's frame.
        return Err("the program is written in Go");
    }
    actions::install().map_err(|_| "SIGSYS can't be handled")?;
    crate::calls::never_block(libc::SIGSYS);
    if entry::enable() != 0 {
        actions::uninstall();
        return Err("the kernel has no Syscall User Dispatch");
    }
    Ok(())
}
