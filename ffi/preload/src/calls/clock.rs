//! Clocks and timers. Reading a clock mostly is no system call: those of CPU time are, and all are where the kernel's page of
//! time can't be used. What answers with what was before it has changed it holds always: made once more it would say what it has set. Any context: the runtime reads the clock here, too, in a fault.

use crate::names;
use core::ffi::{c_int, c_void};
use hmmrt_core::raw::{owns, preload::is_active};
use libc::{clockid_t, itimerspec, itimerval, timer_t, timespec, timeval, timex};

crate::holds::wraps! {
    fn clock_getres(clock: clockid_t, to: *mut timespec) -> c_int |h| { h.one(to) }
    fn clock_settime(clock: clockid_t, from: *const timespec) -> c_int |h| { h.one(from) }
    fn clock_adjtime(clock: clockid_t, x: *mut timex) -> c_int |h| { h.one(x) }
    fn adjtimex(x: *mut timex) -> c_int |h| { h.one(x) }
    fn __adjtimex(x: *mut timex) -> c_int |h| { h.one(x) }
    fn ntp_adjtime(x: *mut timex) -> c_int |h| { h.one(x) }
    fn gettimeofday(to: *mut timeval, zone: *mut c_void) -> c_int |h| plain if !is_active() || !owns(to.cast()) => {
        h.one(to);
        h.writes(zone, 8);
    }
    fn getitimer(which: c_int, to: *mut itimerval) -> c_int |h| { h.one(to) }
    fn setitimer(which: c_int, from: *const itimerval, old: *mut itimerval) -> c_int |h| if always {
        h.one(old);
        h.reads(from, size_of::<itimerval>());
    }
    fn timerfd_gettime(fd: c_int, to: *mut itimerspec) -> c_int |h| { h.one(to) }
    fn timerfd_settime(fd: c_int, flags: c_int, from: *const itimerspec, old: *mut itimerspec) -> c_int |h| if always {
        h.one(old);
        h.reads(from, size_of::<itimerspec>());
    }
    fn timer_gettime(timer: timer_t, to: *mut itimerspec) -> c_int |h| { h.one(to) }
    fn timer_settime(timer: timer_t, flags: c_int, from: *const itimerspec, old: *mut itimerspec) -> c_int |h| if always {
        h.one(old);
        h.reads(from, size_of::<itimerspec>());
    }
}

mod plain {
    use crate::names::Real;
    pub static CLOCK_GETTIME: Real = Real::new(c"clock_gettime");
}

/// clock_gettime(2). Before the C library's was found there is no device; then it is a system call, because to look it up
/// may need the allocator, which may be asking for the time.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn clock_gettime(clock: clockid_t, to: *mut timespec) -> c_int {
    // SAFETY: the function of that name; the rest is the caller's.
    unsafe {
        let at = plain::CLOCK_GETTIME.known();
        if at == 0 {
            let a = [clock as usize, to.expose_provenance(), 0, 0, 0, 0];
            return names::answer(names::bare(libc::SYS_clock_gettime, a)) as c_int;
        }
        let f: unsafe extern "C-unwind" fn(clockid_t, *mut timespec) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
        if !is_active() || !owns(to.cast_const().cast()) {
            return f(clock, to);
        }
        crate::cancel::deferred(|kind| {
            let call = || crate::cancel::as_it_was(kind, || f(clock, to));
            crate::holds::around(false, |h| h.one(to), call, crate::holds::has_failed)
        })
    }
}

/// Looks up what is not in the list above.
pub fn resolve_clock() {
    plain::CLOCK_GETTIME.address();
}
