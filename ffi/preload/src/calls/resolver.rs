//! Questions to name servers: the C library sends and receives them itself, in the program's memory. Held always: an answer that could
//! not be received is gone. Programs linked before glibc 2.34
//! call them by other names, which newer ones have for these alone. Any thread.

use crate::holds::{Holds, stays};
use core::ffi::{c_char, c_int, c_void};

/// `struct __res_state`, which has the servers' addresses.
const STATE: usize = 568;
/// No message of this kind has more bytes.
const MOST: usize = 1 << 16;

fn answered(h: &mut Holds, to: *mut u8, n: c_int) {
    h.writes(to, n.max(0) as usize);
}

crate::holds::wraps! {
    fn res_query(name: *const c_char, class: c_int, kind: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(to, MOST) => {
        answered(h, to, n)
    }
    fn res_nquery(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(state, STATE) && stays(to, MOST) => {
        h.writes(state, STATE);
        answered(h, to, n);
    }
    fn res_search(name: *const c_char, class: c_int, kind: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(to, MOST) => {
        answered(h, to, n)
    }
    fn res_nsearch(state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(state, STATE) && stays(to, MOST) => {
        h.writes(state, STATE);
        answered(h, to, n);
    }
    fn res_querydomain(name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(to, MOST) => {
        answered(h, to, n)
    }
    fn res_nquerydomain(state: *mut c_void, name: *const c_char, domain: *const c_char, class: c_int, kind: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(state, STATE) && stays(to, MOST) => {
        h.writes(state, STATE);
        answered(h, to, n);
    }
    fn res_send(what: *const u8, len: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(what, MOST) && stays(to, MOST) => {
        h.reads(what, len.max(0) as usize);
        answered(h, to, n);
    }
    fn res_nsend(state: *mut c_void, what: *const u8, len: c_int, to: *mut u8, n: c_int) -> c_int |h| if always plain if stays(state, STATE) && stays(what, MOST) && stays(to, MOST) => {
        h.writes(state, STATE);
        h.reads(what, len.max(0) as usize);
        answered(h, to, n);
    }
}
