//! Asynchronous input and output: POSIX's, which threads of the C library's do, with calls that do not pass by here and
//! with SIGSEGV blocked; and the kernel's own (io_submit). The buffer and the control block stay on the host until the
//! program is told that the operation is over.

use super::flight::{self, Pins};
use crate::given;
use crate::names::{self, Real};
use core::ffi::c_int;
use libc::{aiocb, sigevent};

/// Defines functions that take a control block: `begins` an operation, or `asks` how it is.
macro_rules! posix {
    ($($name:ident $how:ident -> $ret:ty;)+) => {
        crate::names::reals! { real, resolve_posix: $($name)+ }

        $(
            /// The C library's function of this name; what the operation uses is pinned to the host.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name(block: *mut aiocb) -> $ret {
                // SAFETY: the function of that name; the caller's promise.
                unsafe {
                    let f: unsafe extern "C-unwind" fn(*mut aiocb) -> $ret =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(real::$name.address()));
                    $how(block, || f(block))
                }
            }
        )+
    };
}

posix! {
    aio_read begins -> c_int;
    aio_read64 begins -> c_int;
    aio_write begins -> c_int;
    aio_write64 begins -> c_int;
    aio_return ends -> isize;
    aio_return64 ends -> isize;
}

/// # Safety
/// A valid control block.
unsafe fn begins(block: *mut aiocb, call: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the caller's promise.
    let managed = unsafe { pin_block(block) };
    let answer = call();
    if answer != 0 && managed {
        let saved = names::errno();
        flight::end(block.addr());
        names::set_errno(saved);
    }
    answer
}

/// # Safety
/// A valid control block.
unsafe fn ends(block: *mut aiocb, call: impl FnOnce() -> isize) -> isize {
    let answer = call();
    let saved = names::errno();
    flight::end(block.addr());
    names::set_errno(saved);
    answer
}

/// Pins what an operation uses; whether any of it is managed.
///
/// # Safety
/// NULL or a valid control block.
unsafe fn pin_block(block: *mut aiocb) -> bool {
    if block.is_null() {
        return false;
    }
    let saved = names::errno();
    let mut pins = Pins::default();
    // SAFETY: the caller's promise.
    unsafe { pins.range((*block).aio_buf.expose_provenance(), (*block).aio_nbytes) };
    pins.range(block.expose_provenance(), size_of::<aiocb>());
    let any = !pins.0.is_empty();
    flight::begin(block.addr(), pins.0);
    names::set_errno(saved);
    any
}

type ListIo = unsafe extern "C-unwind" fn(c_int, *const *mut aiocb, c_int, *mut sigevent) -> c_int;
static LIO_LISTIO: Real = Real::new(c"lio_listio");

/// lio_listio(3). A block stays pinned until it is asked for with aio_return(3), whatever comes of the call.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lio_listio(
    mode: c_int,
    list: *const *mut aiocb,
    count: c_int,
    event: *mut sigevent,
) -> c_int {
    // SAFETY: the function of that name; an array of so many blocks or NULLs.
    unsafe {
        for i in 0..count.max(0) as usize {
            let block = *list.add(i);
            if !block.is_null() && (*block).aio_lio_opcode != libc::LIO_NOP {
                pin_block(block);
            }
        }
        let f: ListIo = core::mem::transmute(core::ptr::with_exposed_provenance::<()>(LIO_LISTIO.address()));
        f(mode, list, count, event)
    }
}

/// The same: these are one on 64-bit machines.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lio_listio64(
    mode: c_int,
    list: *const *mut aiocb,
    count: c_int,
    event: *mut sigevent,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lio_listio(mode, list, count, event) }
}

static AIO_FSYNC: Real = Real::new(c"aio_fsync");

/// aio_fsync(3): only the control block is used.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_fsync(how: c_int, block: *mut aiocb) -> c_int {
    let saved = names::errno();
    let pins = flight::pin(block.expose_provenance(), size_of::<aiocb>());
    flight::begin(block.addr(), pins.into_iter().collect());
    names::set_errno(saved);
    // SAFETY: the function of that name; the caller's promise.
    unsafe {
        let f: unsafe extern "C-unwind" fn(c_int, *mut aiocb) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(AIO_FSYNC.address()));
        f(how, block)
    }
}

/// The same.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn aio_fsync64(how: c_int, block: *mut aiocb) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { aio_fsync(how, block) }
}

/// Looks up what this file needs.
pub fn resolve() {
    resolve_posix();
    LIO_LISTIO.address();
    AIO_FSYNC.address();
}

/// The kernel's control block (linux/aio_abi.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Iocb {
    data: u64,
    key: u32,
    flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buf: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    event: u64,
}

/// The kernel's event.
#[repr(C)]
struct Event {
    data: u64,
    block: u64,
    answer: i64,
    more: i64,
}

/// io_submit(2): pins what each operation uses.
///
/// # Safety
/// An array of so many valid control blocks.
pub unsafe fn submitting(count: usize, list: usize) {
    const PREADV: u16 = 7;
    const PWRITEV: u16 = 8;
    if count > 1 << 20 {
        return;
    }
    for i in 0..count {
        // What can't be read the kernel refuses, and all behind it.
        let list = core::ptr::with_exposed_provenance::<usize>(list).wrapping_add(i);
        let Some(at) = given::read(list) else { return };
        let Some(block) = given::read(core::ptr::with_exposed_provenance::<Iocb>(at)) else { return };
        // SAFETY: the caller's promise.
        unsafe {
            let mut pins = Pins::default();
            pins.range(at, size_of::<Iocb>());
            match block.opcode {
                PREADV | PWRITEV => pins.vectors(block.buf as usize, block.bytes as usize),
                _ => pins.range(block.buf as usize, block.bytes as usize),
            }
            flight::begin(at, pins.0);
        }
    }
}

/// io_submit(2) has answered: those that it did not take are over.
///
/// # Safety
/// As [`submitting`].
pub unsafe fn submitted(answer: isize, count: usize, list: usize) {
    if count > 1 << 20 {
        return;
    }
    let saved = names::errno();
    for i in answer.max(0) as usize..count {
        let list = core::ptr::with_exposed_provenance::<usize>(list).wrapping_add(i);
        let Some(at) = given::read(list) else { break };
        flight::end(at);
    }
    names::set_errno(saved);
}

/// io_getevents(2) has answered: these are over.
///
/// # Safety
/// `answer` valid events at `events`, if it is positive.
pub unsafe fn reaped(answer: isize, events: usize) {
    for i in 0..answer.max(0) as usize {
        // SAFETY: the caller's promise.
        let event = unsafe { core::ptr::with_exposed_provenance::<Event>(events).add(i).read_unaligned() };
        flight::end(event.block as usize);
    }
}

const _: () = assert!(size_of::<Iocb>() == 64 && size_of::<Event>() == 32);
