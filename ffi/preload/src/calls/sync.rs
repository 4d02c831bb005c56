//! Locks and what is like them, in managed memory: a thread that waits for one gives its address to futex(2), whose
//! EFAULT the C library takes for a reason to abort. Programs take locks all the time: where no device is open, those that
//! nobody waits long for go straight on. A time to wait until is the kernel's to read in some, and held in all: C11's names have
//! structs of the same sizes. POSIX mutexes are in `mutex`, and what is done once is in `once`.

use super::mutex::relocked;
use core::ffi::{c_int, c_void};
use hmmrt_core::raw::preload::is_active;
use libc::{clockid_t, pthread_cond_t, pthread_mutex_t, pthread_rwlock_t, pthread_t, sem_t, timespec};

crate::holds::wraps! {
    fn sem_wait(s: *mut sem_t) -> c_int |h| if always { h.one(s) }
    fn sem_timedwait(s: *mut sem_t, time: *const timespec) -> c_int |h| if always { until(h, s, time) }
    fn sem_clockwait(s: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int |h| if always { until(h, s, time) }
    fn pthread_cond_wait(c: *mut pthread_cond_t, m: *mut pthread_mutex_t) -> c_int |h| if always {
        h.one(c);
        h.one(m);
    } then |answer| { relocked(m, answer) }
    fn pthread_cond_timedwait(c: *mut pthread_cond_t, m: *mut pthread_mutex_t, time: *const timespec) -> c_int |h| if always {
        h.one(m);
        until(h, c, time);
    } then |answer| { relocked(m, answer) }
    fn pthread_cond_clockwait(
        c: *mut pthread_cond_t, m: *mut pthread_mutex_t, clock: clockid_t, time: *const timespec,
    ) -> c_int |h| if always {
        h.one(m);
        until(h, c, time);
    } then |answer| { relocked(m, answer) }
    fn pthread_cond_destroy(c: *mut pthread_cond_t) -> c_int |h| plain if !is_active() => { h.one(c) }
    fn pthread_cond_signal(c: *mut pthread_cond_t) -> c_int |h| plain if !is_active() => { h.one(c) }
    fn pthread_cond_broadcast(c: *mut pthread_cond_t) -> c_int |h| plain if !is_active() => { h.one(c) }
    fn pthread_rwlock_rdlock(l: *mut pthread_rwlock_t) -> c_int |h| plain if !is_active() => { h.one(l) }
    fn pthread_rwlock_wrlock(l: *mut pthread_rwlock_t) -> c_int |h| plain if !is_active() => { h.one(l) }
    fn pthread_rwlock_timedrdlock(l: *mut pthread_rwlock_t, time: *const timespec) -> c_int |h| if always { until(h, l, time) }
    fn pthread_rwlock_timedwrlock(l: *mut pthread_rwlock_t, time: *const timespec) -> c_int |h| if always { until(h, l, time) }
    fn pthread_rwlock_clockrdlock(
        l: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec,
    ) -> c_int |h| if always { until(h, l, time) }
    fn pthread_rwlock_clockwrlock(
        l: *mut pthread_rwlock_t, clock: clockid_t, time: *const timespec,
    ) -> c_int |h| if always { until(h, l, time) }
    fn pthread_barrier_wait(b: *mut c_void) -> c_int |h| if always { h.writes(b, 32) }
    fn pthread_barrier_destroy(b: *mut c_void) -> c_int |h| if always { h.writes(b, 32) }
    fn pthread_timedjoin_np(thread: pthread_t, to: *mut *mut c_void, time: *const timespec) -> c_int |h| if always {
        h.one(time)
    }
    fn pthread_clockjoin_np(
        thread: pthread_t, to: *mut *mut c_void, clock: clockid_t, time: *const timespec,
    ) -> c_int |h| if always { h.one(time) }
    fn mtx_lock(m: *mut pthread_mutex_t) -> c_int |h| plain if !is_active() => { h.one(m) }
    fn mtx_timedlock(m: *mut pthread_mutex_t, time: *const timespec) -> c_int |h| if always { until(h, m, time) }
    fn cnd_wait(c: *mut pthread_cond_t, m: *mut pthread_mutex_t) -> c_int |h| if always {
        h.one(c);
        h.one(m);
    }
    fn cnd_timedwait(c: *mut pthread_cond_t, m: *mut pthread_mutex_t, time: *const timespec) -> c_int |h| if always {
        h.one(m);
        until(h, c, time);
    }
}

/// A wait for `what`, until `time`.
fn until<T>(h: &mut crate::holds::Holds, what: *const T, time: *const timespec) {
    h.one(what);
    h.one(time);
}
