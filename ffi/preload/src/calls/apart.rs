//! Calls that wait long for a few words: a child, a signal, a time. Of managed memory they are given copies of their own, which are
//! copied back if the call has changed them. Nothing is held meanwhile, so that a device may have it, and one that is opened meanwhile
//! too; and none is made once more, since what has been waited for is gone. A new terminal's size and modes are
//! copied likewise: the C library does not say that it could not set them, and forks meanwhile. Any context.

use crate::{cancel, holds, names};
use core::cell::{Cell, UnsafeCell};
use core::ffi::{c_char, c_int, c_uint};
use hmmrt_core::raw::{owns, preload};
use libc::{clockid_t, pid_t, rusage, siginfo_t, sigset_t, termios, timespec, winsize};

/// The most bytes of one.
const MOST: usize = 144;

#[repr(C, align(16))]
struct Bytes([u8; MOST]);

/// What one pointer of a call's points to.
struct Copied {
    /// NULL: there is no copy to give back.
    theirs: Cell<*mut u8>,
    len: Cell<usize>,
    own: UnsafeCell<Bytes>,
    before: UnsafeCell<Bytes>,
}

impl Copied {
    const fn new() -> Copied {
        Copied {
            theirs: Cell::new(core::ptr::null_mut()),
            len: Cell::new(0),
            own: UnsafeCell::new(Bytes([0; MOST])),
            before: UnsafeCell::new(Bytes([0; MOST])),
        }
    }

    /// The place of a copy of `len` bytes at `at`, or `at` itself: where it is not managed, or the kernel is to say that it can't be had.
    fn take(&self, at: *mut u8, len: usize, write: bool) -> *mut u8 {
        if !owns(at) {
            return at;
        }
        let own = self.own.get().cast::<u8>();
        let copy = || {
            if !preload::is_accessible(at, len, write) {
                return at;
            }
            // SAFETY: the program's, which can be read, and as many bytes of ours.
            unsafe {
                core::ptr::copy(at, own, len);
                core::ptr::copy_nonoverlapping(own, self.before.get().cast(), len);
            }
            if write {
                self.theirs.set(at);
                self.len.set(len);
            }
            own
        };
        let hold = |h: &mut holds::Holds| if write { h.writes(at, len) } else { h.reads(at, len) };
        holds::around(true, hold, copy, |_| false)
    }

    /// Gives back what the call has changed.
    fn give(&self) {
        let (to, len) = (self.theirs.get(), self.len.get());
        if to.is_null() {
            return;
        }
        // SAFETY: the call is over: nobody else has them.
        let (own, before) = unsafe { (&(&(*self.own.get()).0)[..len], &(&(*self.before.get()).0)[..len]) };
        if own != before {
            // SAFETY: the program's memory, written as a touch.
            holds::around(
                true,
                |h| h.writes(to, len),
                || unsafe { core::ptr::copy(own.as_ptr(), to, len) },
                |()| false,
            );
        }
    }
}

/// What the pointers of one call point to.
struct Apart([Copied; 2], Cell<usize>);

impl Apart {
    const fn new() -> Apart {
        Apart([Copied::new(), Copied::new()], Cell::new(0))
    }

    fn next<T>(&self, at: *mut T, write: bool) -> *mut T {
        const { assert!(size_of::<T>() <= MOST) };
        let i = self.1.replace(self.1.get() + 1);
        self.0[i].take(at.cast(), size_of::<T>(), write).cast()
    }

    /// What the call reads.
    fn reads<T>(&self, at: *const T) -> *const T {
        self.next(at.cast_mut(), false)
    }

    /// What the call writes, and may read.
    fn writes<T>(&self, at: *mut T) -> *mut T {
        self.next(at, true)
    }

    fn give(&self) {
        let saved = names::errno();
        self.0.iter().for_each(Copied::give);
        names::set_errno(saved);
    }
}

macro_rules! aparts {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty = $($way:ident $own:ident),+;)+) => {
        crate::names::reals! { real, resolve: $($name)+ }

        $(
            /// The C library's function of this name, with copies of what is managed memory.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($arg: $type),*) -> $ret {
                let at = real::$name.address();
                if at == 0 {
                    names::set_errno(libc::ENOSYS);
                    return <$ret as holds::Failed>::FAILED;
                }
                // SAFETY: the function of this name and type; the arguments are the caller's, or copies of what they point to.
                unsafe {
                    let f: unsafe extern "C-unwind" fn($($type),*) -> $ret =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    if $(holds::stays($own, 1))&&+ || holds::is_confined() {
                        return f($($arg),*);
                    }
                    cancel::deferred(|kind| {
                        let apart = Apart::new();
                        let saved = names::errno();
                        $(let $own = apart.$way($own);)+
                        names::set_errno(saved);
                        let answer = cancel::as_it_was(kind, || f($($arg),*));
                        apart.give();
                        answer
                    })
                }
            }
        )+
    };
}

aparts! {
    fn wait(status: *mut c_int) -> pid_t = writes status;
    fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t = writes status;
    fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t = writes status, writes usage;
    fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t = writes status, writes usage;
    fn waitid(kind: c_int, id: c_uint, info: *mut siginfo_t, options: c_int) -> c_int = writes info;
    fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int = reads time, writes rest;
    fn clock_nanosleep(clock: clockid_t, flags: c_int, time: *const timespec, rest: *mut timespec) -> c_int =
        reads time, writes rest;
    fn thrd_sleep(time: *const timespec, rest: *mut timespec) -> c_int = reads time, writes rest;
    fn openpty(main: *mut c_int, other: *mut c_int, name: *mut c_char, terminal: *const termios, size: *const winsize) -> c_int =
        reads terminal, reads size;
    fn forkpty(main: *mut c_int, name: *mut c_char, terminal: *const termios, size: *const winsize) -> pid_t =
        reads terminal, reads size;
    fn sigwait(set: *const sigset_t, to: *mut c_int) -> c_int = reads set, writes to;
    fn sigwaitinfo(set: *const sigset_t, to: *mut siginfo_t) -> c_int = reads set, writes to;
}
