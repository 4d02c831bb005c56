//! getaddrinfo_a(3): threads of the C library's look names up, with all signals blocked. What a request uses stays on the host
//! from the call until the program is told that it is over, or it is freed.

use super::flight::{self, Pins};
use super::notify::{self, Event};
use crate::given;
use crate::names::{self, Real};
use core::ffi::{c_char, c_int};
use hmmrt_core::raw::owns;

/// `struct gaicb`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Request {
    name: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    result: *mut libc::addrinfo,
    answer: c_int,
    reserved: [c_int; 5],
}
const _: () = assert!(size_of::<Request>() == 56);

const GAI_WAIT: c_int = 0;
const EAI_INPROGRESS: c_int = -100;
const EAI_CANCELED: c_int = -101;
const EAI_ALLDONE: c_int = -103;
const EAI_INTR: c_int = -104;
const EAI_SYSTEM: c_int = -11;

static GETADDRINFO_A: Real = Real::new(c"getaddrinfo_a");
static GAI_ERROR: Real = Real::new(c"gai_error");
static GAI_CANCEL: Real = Real::new(c"gai_cancel");

/// Looks up what this file needs.
pub fn resolve() {
    for function in [&GETADDRINFO_A, &GAI_ERROR, &GAI_CANCEL] {
        function.address();
    }
}

/// Pins what a request uses.
fn pin(request: *mut Request) {
    let Some(of) = given::read(request.cast_const()) else { return };
    let mut pins = Pins::default();
    for text in [of.name, of.service] {
        if !text.is_null() && owns(text.cast()) {
            // SAFETY: a C string, by the caller's promise; touching it brings it home.
            pins.range(text.expose_provenance(), unsafe { libc::strlen(text) } + 1);
        }
    }
    pins.range(of.hints.expose_provenance(), size_of::<libc::addrinfo>());
    pins.range(request.expose_provenance(), size_of::<Request>());
    flight::begin(request.addr(), pins.0);
}

/// getaddrinfo_a(3).
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getaddrinfo_a(
    mode: c_int,
    list: *const *mut Request,
    count: c_int,
    event: *const Event,
) -> c_int {
    let at = GETADDRINFO_A.address();
    if at == 0 {
        names::set_errno(libc::ENOSYS);
        return EAI_SYSTEM;
    }
    let saved = names::errno();
    let all = |each: fn(*mut Request)| {
        for i in 0..count.max(0) as usize {
            if let Some(request) = given::read(list.wrapping_add(i)).filter(|request| !request.is_null()) {
                each(request);
            }
        }
    };
    all(pin);
    let copy = notify::opened(event);
    names::set_errno(saved);
    let event = copy.as_ref().map_or(event, core::ptr::from_ref);
    // SAFETY: the function of that name; the arguments are the caller's.
    let answer = unsafe {
        let f: unsafe extern "C-unwind" fn(c_int, *const *mut Request, c_int, *const Event) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
        f(mode, list, count, event)
    };
    if mode == GAI_WAIT && answer != EAI_INTR {
        let saved = names::errno();
        all(|request| flight::end(request.addr()));
        names::set_errno(saved);
    }
    answer
}

/// gai_error(3): a request that is no longer on its way lets go of what it used.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gai_error(request: *mut Request) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { asked(&GAI_ERROR, request, |answer| answer != EAI_INPROGRESS) }
}

/// gai_cancel(3), likewise.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn gai_cancel(request: *mut Request) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { asked(&GAI_CANCEL, request, |answer| matches!(answer, EAI_CANCELED | EAI_ALLDONE)) }
}

/// # Safety
/// As the function.
unsafe fn asked(function: &Real, request: *mut Request, is_over: impl FnOnce(c_int) -> bool) -> c_int {
    let at = function.address();
    if at == 0 {
        names::set_errno(libc::ENOSYS);
        return EAI_SYSTEM;
    }
    // SAFETY: the function; the caller's promise.
    let answer = unsafe {
        let f: unsafe extern "C-unwind" fn(*mut Request) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
        f(request)
    };
    if is_over(answer) && !request.is_null() {
        let saved = names::errno();
        flight::end(request.addr());
        names::set_errno(saved);
    }
    answer
}
