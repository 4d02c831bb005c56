//! What calls of futex(2) and its kind use, by number. Part of `table`.

use crate::given;
use crate::holds::Holds;
use core::ffi::c_int;

/// A word that is waited for, or woken.
fn writes(h: &mut Holds, address: usize) {
    h.writes(core::ptr::with_exposed_provenance::<u32>(address), size_of::<u32>());
}

fn time(h: &mut Holds, address: usize) {
    h.reads(core::ptr::with_exposed_provenance::<libc::timespec>(address), size_of::<libc::timespec>());
}

/// futex(2): which arguments it has, its operation says. In place of the others there is anything; who wakes may have a lock
/// that bringing such memory home waits for.
pub fn of_futex(h: &mut Holds, a: [usize; 6]) {
    const WAIT_REQUEUE_PI: c_int = 11;
    const LOCK_PI2: c_int = 13;
    let operation = a[1] as c_int & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    // A private one that is woken is not looked at.
    if operation != libc::FUTEX_WAKE || a[1] as c_int & libc::FUTEX_PRIVATE_FLAG == 0 {
        writes(h, a[0]);
    }
    if matches!(
        operation,
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET | libc::FUTEX_LOCK_PI | LOCK_PI2 | WAIT_REQUEUE_PI
    ) {
        time(h, a[3]);
    }
    if matches!(
        operation,
        libc::FUTEX_REQUEUE
            | libc::FUTEX_CMP_REQUEUE
            | libc::FUTEX_WAKE_OP
            | libc::FUTEX_CMP_REQUEUE_PI
            | WAIT_REQUEUE_PI
    ) {
        writes(h, a[4]);
    }
}

/// futex_waitv(2): an array of what is expected, where, and how.
pub fn of_many_futexes(h: &mut Holds, a: [usize; 6]) {
    const MOST: usize = 128;
    let all = core::ptr::with_exposed_provenance::<[u64; 3]>(a[0]);
    if a[0] == 0 || a[1] > MOST {
        return;
    }
    h.reads(all, a[1] * size_of::<[u64; 3]>());
    time(h, a[3]);
    for i in 0..a[1] {
        let Some([_, at, _]) = given::read(all.wrapping_add(i)) else { return };
        writes(h, at as usize);
    }
}
