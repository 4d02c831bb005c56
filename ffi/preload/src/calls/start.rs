//! Starting programs. The list forms (`execl`) are not here: they have variable arguments.

use crate::holds::Holds;
use core::ffi::{c_char, c_int, c_void};
use libc::{FILE, pid_t};

type Texts = *const *const c_char;

crate::holds::wraps! {
    fn execve(path: *const c_char, argv: Texts, env: Texts) -> c_int |h| { spawning(h, path, argv, env) }
    fn fexecve(fd: c_int, argv: Texts, env: Texts) -> c_int |h| { spawning(h, core::ptr::null(), argv, env) }
    fn execv(path: *const c_char, argv: Texts) -> c_int |h| { spawning(h, path, argv, libc::environ.cast()) }
    fn execvp(path: *const c_char, argv: Texts) -> c_int |h| { spawning(h, path, argv, libc::environ.cast()) }
    fn execvpe(path: *const c_char, argv: Texts, env: Texts) -> c_int |h| { spawning(h, path, argv, env) }
    fn posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void, argv: Texts, env: Texts,
    ) -> c_int |h| { spawning(h, path, argv, env) }
    fn posix_spawnp(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void, argv: Texts, env: Texts,
    ) -> c_int |h| { spawning(h, path, argv, env) }
    fn system(command: *const c_char) -> c_int |h| {
        h.text(command);
        h.texts(libc::environ.cast());
    }
    fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE |h| {
        h.text(command);
        h.texts(libc::environ.cast());
    }
}

/// # Safety
/// As [`Holds::texts`], for both.
unsafe fn spawning(h: &mut Holds, path: *const c_char, argv: Texts, env: Texts) {
    h.text(path);
    // SAFETY: the caller's promise.
    unsafe {
        h.texts(argv);
        h.texts(env);
    }
}
