//! Starting programs and threads. The C library has signals blocked meanwhile, so that its own touches of what it is given
//! must not fault: that is held always.

use super::variadic::{List, variadic};
use crate::holds::Holds;
use core::ffi::{c_char, c_int, c_void};
use hmmrt_core::raw::owns;
use libc::{FILE, pid_t, pthread_attr_t, pthread_t};

type Texts = *const *const c_char;

crate::holds::wraps! {
    fn execve(path: *const c_char, argv: Texts, env: Texts) -> c_int |h| { spawning(h, path, argv, env) }
    fn fexecve(fd: c_int, argv: Texts, env: Texts) -> c_int |h| { spawning(h, core::ptr::null(), argv, env) }
    fn execveat(at: c_int, path: *const c_char, argv: Texts, env: Texts, flags: c_int) -> c_int |h| {
        spawning(h, path, argv, env)
    }
    fn execv(path: *const c_char, argv: Texts) -> c_int |h| { spawning(h, path, argv, libc::environ.cast()) }
    fn execvp(path: *const c_char, argv: Texts) -> c_int |h| { spawning(h, path, argv, libc::environ.cast()) }
    fn execvpe(path: *const c_char, argv: Texts, env: Texts) -> c_int |h| { spawning(h, path, argv, env) }
    fn posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void, argv: Texts, env: Texts,
    ) -> c_int |h| if always {
        spawning(h, path, argv, env);
        h.one(pid);
        h.reads(actions, size_of::<libc::posix_spawn_file_actions_t>());
        h.reads(attributes, size_of::<libc::posix_spawnattr_t>());
    }
    fn posix_spawnp(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void, argv: Texts, env: Texts,
    ) -> c_int |h| if always {
        spawning(h, path, argv, env);
        h.one(pid);
        h.reads(actions, size_of::<libc::posix_spawn_file_actions_t>());
        h.reads(attributes, size_of::<libc::posix_spawnattr_t>());
    }
    fn pthread_create(
        thread: *mut pthread_t, attributes: *const pthread_attr_t, start: *const c_void, argument: *mut c_void,
    ) -> c_int |h| if always plain if !owns(thread.cast()) && !owns(attributes.cast()) => {
        h.one(thread);
        h.reads(attributes, size_of::<pthread_attr_t>());
    }
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

/// Arguments up to this many are put on the stack, as the C library does with all: no memory is asked for in a child.
const FEW: usize = 1024;

/// Calls `start` with the arguments from `first` on as an array, up to NULL, and the argument after that, if it is asked for.
///
/// # Safety
/// The list has NULL in it, and another argument behind it if there is to be one.
unsafe fn with_array(
    first: usize,
    list: *mut List,
    env: bool,
    start: impl FnOnce(Texts, Texts) -> c_int,
) -> c_int {
    // SAFETY: the caller's promise; the array has room for what was counted.
    unsafe {
        let mut counting = *list;
        let mut count = 1;
        let mut last = first;
        while last != 0 {
            last = counting.next();
            count += 1;
        }
        let env = match env {
            true => core::ptr::with_exposed_provenance(counting.next()),
            false => libc::environ.cast_const().cast(),
        };
        let mut few = [core::ptr::null::<c_char>(); FEW];
        let mut many = Vec::new();
        let array = if count <= FEW {
            &mut few[..]
        } else {
            many.resize(count, core::ptr::null());
            &mut many[..]
        };
        let mut next = first;
        for place in array.iter_mut().take(count) {
            *place = core::ptr::with_exposed_provenance(next);
            if next != 0 {
                next = (*list).next();
            }
        }
        start(array.as_ptr(), env)
    }
}

/// # Safety
/// `path` is a C string, and `first` and the list are arguments as execl's: addresses of C strings, then NULL.
unsafe extern "C-unwind" fn execl_list(path: *const c_char, first: usize, list: *mut List) -> c_int {
    // SAFETY: the caller's promise, as execl's.
    unsafe { with_array(first, list, false, |argv, env| execve(path, argv, env)) }
}

/// # Safety
/// As [`execl_list`].
unsafe extern "C-unwind" fn execlp_list(file: *const c_char, first: usize, list: *mut List) -> c_int {
    // SAFETY: the caller's promise, as execlp's.
    unsafe { with_array(first, list, false, |argv, env| execvpe(file, argv, env)) }
}

/// # Safety
/// As [`execl_list`]; behind NULL comes the environment.
unsafe extern "C-unwind" fn execle_list(path: *const c_char, first: usize, list: *mut List) -> c_int {
    // SAFETY: the caller's promise, as execle's.
    unsafe { with_array(first, list, true, |argv, env| execve(path, argv, env)) }
}

variadic! {
    execl(2) -> execl_list;
    execlp(2) -> execlp_list;
    execle(2) -> execle_list;
}
