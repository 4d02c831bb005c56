//! Functions of the program's that the C library calls in threads of its own, with all signals blocked: a fault there would
//! kill. Such a notification is given a function of ours, which unblocks what faults raise and calls the program's.

use super::mask;
use crate::given;
use crate::names::Real;
use core::ffi::c_int;
use libc::{clockid_t, mqd_t, timer_t};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// `struct sigevent`, with all of its words.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Event {
    value: usize,
    signal: c_int,
    how: c_int,
    function: usize,
    attributes: usize,
    rest: [usize; 4],
}
const _: () = assert!(size_of::<Event>() == size_of::<libc::sigevent>());

/// What is to be called, with what.
struct Notification {
    function: usize,
    value: usize,
}

/// Each that was ever asked for, by function and value, once: when the last call of one has ended nobody can say.
static KNOWN: Mutex<BTreeMap<(usize, usize), &'static Notification>> = Mutex::new(BTreeMap::new());

/// # Safety
/// The function is one that takes the value, as the program has promised where it asked to be notified.
unsafe extern "C-unwind" fn notify(to: &'static Notification) {
    mask::open_to_faults();
    // SAFETY: the program's function, which it has asked to be called with this value.
    unsafe {
        let f: unsafe extern "C-unwind" fn(usize) =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(to.function));
        f(to.value);
    }
}

/// The event as the C library is to have it; `None`: there is none, or it can't be read.
pub fn opened(event: *const Event) -> Option<Event> {
    let mut event = if event.is_null() { None } else { given::read(event) }?;
    if event.how == libc::SIGEV_THREAD && event.function != 0 {
        let _quiet = mask::Quiet::new();
        let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
        let (function, value) = (event.function, event.value);
        let new = || -> &'static Notification { Box::leak(Box::new(Notification { function, value })) };
        let known: &'static Notification = known.entry((function, value)).or_insert_with(new);
        event.value = core::ptr::from_ref(known).expose_provenance();
        event.function = notify as *const () as usize;
    }
    Some(event)
}

mod real {
    use crate::names::Real;
    pub static TIMER_CREATE: Real = Real::new(c"timer_create");
    pub static MQ_NOTIFY: Real = Real::new(c"mq_notify");
}

fn failed() -> c_int {
    crate::names::set_errno(libc::ENOSYS);
    -1
}

/// timer_create(2); what it calls can touch managed memory.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn timer_create(
    clock: clockid_t,
    event: *const Event,
    to: *mut timer_t,
) -> c_int {
    let at = real::TIMER_CREATE.address();
    if at == 0 {
        return failed();
    }
    let copy = opened(event);
    let event = copy.as_ref().map_or(event, core::ptr::from_ref);
    // SAFETY: the function of that name; the arguments are the caller's.
    unsafe {
        let f: unsafe extern "C-unwind" fn(clockid_t, *const Event, *mut timer_t) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
        f(clock, event, to)
    }
}

/// mq_notify(3), likewise.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_notify(queue: mqd_t, event: *const Event) -> c_int {
    let at = real::MQ_NOTIFY.address();
    if at == 0 {
        return failed();
    }
    let copy = opened(event);
    let event = copy.as_ref().map_or(event, core::ptr::from_ref);
    // SAFETY: the function of that name; the arguments are the caller's.
    unsafe {
        let f: unsafe extern "C-unwind" fn(mqd_t, *const Event) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
        f(queue, event)
    }
}

/// Looks up what this file needs.
pub fn resolve() {
    for function in [&real::TIMER_CREATE, &real::MQ_NOTIFY] {
        Real::address(function);
    }
}
