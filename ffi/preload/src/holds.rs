//! What a system call is given: managed memory among it is brought home before the call and stays there until it is over,
//! because the kernel's own access to a page that is away fails with EFAULT and raises no signal. And the macro that
//! defines the functions that do so. Any thread; costs a load where no device is open, and a look-up for each argument
//! where none of them is managed.

use crate::{names, settings};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering::*};
use hmmrt_core::raw;
use hmmrt_core::raw::preload::{self, Held};
use std::sync::Mutex;

/// What children of vfork hold, and the thread that each comes from, which stands still meanwhile. They share the runtime
/// with their parent, and when they start their program they leave without a word: the next call of that thread lets go.
static LEFT: Mutex<Vec<(usize, Held)>> = Mutex::new(Vec::new());
static ANY_LEFT: AtomicBool = AtomicBool::new(false);

/// Lets go of what children of vfork have left behind.
#[cold]
fn tidy_up() {
    if settings::is_own_process() {
        // Not to wait: waiting comes by here again, as a system call.
        let Ok(mut left) = LEFT.try_lock() else { return };
        let me = names::thread();
        left.extract_if(.., |(thread, _)| *thread == me).for_each(|(_, held)| preload::release(held));
        ANY_LEFT.store(!left.is_empty(), Relaxed);
    }
}

/// Managed memory that is held for a call.
pub struct Holds(Vec<Held>);

impl Holds {
    /// Nothing is held.
    pub fn new() -> Holds {
        if ANY_LEFT.load(Acquire) {
            tidy_up();
        }
        Holds(Vec::new())
    }

    /// Whether anything is held.
    pub fn any(&self) -> bool {
        !self.0.is_empty()
    }

    #[inline]
    fn part(&mut self, ptr: *const u8, len: usize, write: bool) {
        if raw::owns(ptr) {
            self.managed(ptr, len, write);
        }
    }

    #[cold]
    fn managed(&mut self, ptr: *const u8, len: usize, write: bool) {
        // On a stack in managed memory, which is there as we run on it, the runtime's own calls come by here too, with
        // its locks held: what is in the stack's block is left alone.
        let here = 0_u8;
        if let (Some(of), Some(stack)) = (preload::block(ptr), preload::block(&raw const here))
            && of == stack
        {
            return;
        }
        let held = preload::hold(ptr, len, write);
        if preload::in_child() || settings::is_own_process() {
            self.0.extend(held);
        } else if let Some(held) = held {
            LEFT.lock().unwrap_or_else(|e| e.into_inner()).push((names::thread(), held));
            ANY_LEFT.store(true, Release);
        }
    }

    /// The call reads `len` bytes.
    pub fn reads<T>(&mut self, ptr: *const T, len: usize) {
        self.part(ptr.cast(), len, false);
    }

    /// The call writes `len` bytes, and may read them.
    pub fn writes<T>(&mut self, ptr: *const T, len: usize) {
        self.part(ptr.cast(), len, true);
    }

    /// The call writes one of these.
    pub fn one<T>(&mut self, ptr: *const T) {
        self.writes(ptr, size_of::<T>());
    }

    /// The call reads a string.
    pub fn text(&mut self, text: *const c_char) {
        if !text.is_null() && raw::owns(text.cast()) {
            // SAFETY: a C string, by the caller's promise; touching it brings it home.
            let len = unsafe { CStr::from_ptr(text) }.to_bytes_with_nul().len();
            self.reads(text, len);
        }
    }

    /// The call reads strings, and the array that ends with NULL.
    ///
    /// # Safety
    /// `all` is NULL or such an array.
    pub unsafe fn texts(&mut self, all: *const *const c_char) {
        if all.is_null() {
            return;
        }
        // SAFETY: the caller's promise; touching the array brings it home.
        unsafe {
            let mut count = 0;
            while !(*all.add(count)).is_null() {
                self.text(*all.add(count));
                count += 1;
            }
            self.reads(all, (count + 1) * size_of::<*const c_char>());
        }
    }

    /// The call writes a buffer whose length is in `len`, and writes that too.
    ///
    /// # Safety
    /// `len` is NULL or valid.
    pub unsafe fn answer(&mut self, ptr: *const c_void, len: *const libc::socklen_t) {
        self.one(len);
        if !len.is_null() {
            // SAFETY: the caller's promise.
            self.writes(ptr, unsafe { *len } as usize);
        }
    }

    /// The call reads or writes what an array of vectors describes.
    ///
    /// # Safety
    /// `iov` is NULL or has `count` valid elements.
    pub unsafe fn vectors(&mut self, iov: *const libc::iovec, count: usize, write: bool) {
        // The kernel takes no more than 1,024.
        if iov.is_null() || count > 1024 {
            return;
        }
        self.reads(iov, count * size_of::<libc::iovec>());
        for i in 0..count {
            // SAFETY: the caller's promise.
            let part = unsafe { &*iov.add(i) };
            self.part(part.iov_base.cast_const().cast(), part.iov_len, write);
        }
    }

    /// The call sends or (`write`) receives a message.
    ///
    /// # Safety
    /// `message` is NULL or valid, with all it points to.
    pub unsafe fn message(&mut self, message: *const libc::msghdr, write: bool) {
        if message.is_null() {
            return;
        }
        self.one(message);
        // SAFETY: the caller's promise.
        unsafe {
            let m = &*message;
            self.part(m.msg_name.cast_const().cast(), m.msg_namelen as usize, write);
            self.part(m.msg_control.cast_const().cast(), m.msg_controllen as _, write);
            self.vectors(m.msg_iov, m.msg_iovlen as _, write);
        }
    }

    /// The call sends or receives `count` messages.
    ///
    /// # Safety
    /// As [`Holds::message`], for each.
    pub unsafe fn messages(&mut self, all: *const libc::mmsghdr, count: usize, write: bool) {
        if all.is_null() || count > 1024 {
            return;
        }
        self.writes(all, count * size_of::<libc::mmsghdr>());
        for i in 0..count {
            // SAFETY: the caller's promise.
            unsafe { self.message(&raw const (*all.add(i)).msg_hdr, write) };
        }
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        let saved = names::errno();
        self.0.drain(..).for_each(preload::release);
        names::set_errno(saved);
    }
}

/// What a function answers that the C library does not have.
pub trait Failed {
    /// The value; errno is set beside.
    const FAILED: Self;
}
impl Failed for c_int {
    const FAILED: c_int = -1;
}
impl Failed for isize {
    const FAILED: isize = -1;
}
impl Failed for usize {
    const FAILED: usize = 0;
}
impl<T> Failed for *mut T {
    const FAILED: *mut T = core::ptr::null_mut();
}

/// Defines exported functions, each of which holds what its block says, with `h` for the [`Holds`], and then calls the
/// function that it stands for. They unwind: some are cancellation points. `if always`: holds where no device is open, too,
/// because one may be opened before the call is over, and what fails then can't be repeated.
macro_rules! wraps {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty |$h:ident| $(if $always:ident)? $body:block)+) => {
        #[allow(non_upper_case_globals, reason = "named as the functions are")]
        mod real {
            $(pub static $name: crate::names::Real = crate::names::Real::new(
                match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!(),
                });)+
        }

        /// Looks all of them up: the constructor, so that nothing has to in a signal handler.
        pub fn resolve() {
            $(real::$name.address();)+
        }

        $(
            /// The C library's function of this name, with managed memory among its arguments held for the call.
            ///
            /// # Safety
            /// As the C library's.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $name($($arg: $type),*) -> $ret {
                let at = real::$name.address();
                if at == 0 {
                    crate::names::set_errno(libc::ENOSYS);
                    return <$ret as crate::holds::Failed>::FAILED;
                }
                // SAFETY: the function of this name and type; the arguments are the caller's.
                unsafe {
                    let f: unsafe extern "C-unwind" fn($($type),*) -> $ret =
                        core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
                    let hold = || {
                        let saved = crate::names::errno();
                        let mut holds = crate::holds::Holds::new();
                        {
                            let $h = &mut holds;
                            $body
                        }
                        crate::names::set_errno(saved);
                        holds
                    };
                    // What holds nothing unwinds through a plain frame.
                    if $(stringify!($always) == "always" ||)? hmmrt_core::raw::preload::is_active() {
                        let holds = hold();
                        if holds.any() {
                            return f($($arg),*);
                        }
                    }
                    let answer = f($($arg),*);
                    // The devices may have been opened during the call, and memory gone that was not held: once more.
                    if answer == <$ret as crate::holds::Failed>::FAILED
                        && crate::names::errno() == libc::EFAULT
                        && hmmrt_core::raw::preload::is_active()
                    {
                        let holds = hold();
                        if holds.any() {
                            return f($($arg),*);
                        }
                    }
                    answer
                }
            }
        )+
    };
}
pub(crate) use wraps;
