//! What a system call is given: managed memory among it is brought home before the call and stays there until it is over,
//! because the kernel's own access to a page that is away fails with EFAULT and raises no signal. Any thread;
//! costs a load where no device is open, and a look-up for each argument where none of them is managed.

use crate::{given, names, settings};
use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering::*};
use hmmrt_core::raw;
use hmmrt_core::raw::preload::{self, Caller, Held, Want};

/// So many ranges are held without allocating: a signal handler's call has fewer.
const FEW: usize = 8;

/// So many elements of an array are read at once.
const PART: usize = 16;
const PAGE: usize = 4096;
/// No call uses more bytes of a buffer.
const MOST: usize = 1 << 31;
/// A range is looked for among so many before it.
const LAST: usize = 16;

const _: () = assert!(core::mem::offset_of!(libc::mmsghdr, msg_hdr) == 0);

/// The program has put itself into a sandbox.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// From now on the kernel may kill for calls that the program does not make itself (seccomp). A child of vfork says so of its parent, too.
pub fn confine() {
    CONFINED.store(true, Relaxed);
}

/// Whether calls are made as they are, whatever they use: in a sandbox, for as long as no device is open.
#[inline]
pub fn is_confined() -> bool {
    CONFINED.load(Relaxed) && !preload::is_active()
}

/// Managed memory that is held for a call.
pub struct Holds {
    count: usize,
    /// The first `count` of each were written, but for when there are more.
    wants: [MaybeUninit<Want>; FEW],
    held: [MaybeUninit<Held>; FEW],
    /// All of them, when there are more.
    more: Option<Box<(Vec<Want>, Vec<Held>)>>,
    /// So many are held already.
    taken: usize,
    /// They are held when all are known, not one by one.
    at_once: bool,
    /// The call's place on the stack.
    frame: usize,
    /// The pages that a message, and a vector, were read from last.
    seen: [usize; 2],
}

/// What is read one after the other, each from its own pages.
#[derive(Clone, Copy)]
enum Read {
    Message = 0,
    Vectors = 1,
}

impl Holds {
    /// Nothing is held.
    #[inline]
    pub fn new() -> Holds {
        preload::tidy_up(settings::is_own_process);
        let here = 0_u8;
        Holds {
            count: 0,
            wants: [MaybeUninit::uninit(); FEW],
            held: [MaybeUninit::uninit(); FEW],
            more: None,
            taken: 0,
            at_once: false,
            frame: (&raw const here).addr(),
            seen: [usize::MAX; 2],
        }
    }

    /// The same; what is wanted is held by [`Holds::take`].
    #[inline]
    fn at_once() -> Holds {
        let mut holds = Holds::new();
        holds.at_once = true;
        holds
    }

    /// Whether anything is held.
    pub fn any(&self) -> bool {
        self.count > 0
    }

    #[inline]
    fn part(&mut self, ptr: *const u8, len: usize, write: bool) {
        // In what is longer than a page both ends may be others'.
        if raw::owns(ptr) || len > PAGE || len > 1 && raw::owns(ptr.wrapping_add(len - 1)) {
            self.managed(ptr, len, write);
        }
    }

    #[cold]
    fn managed(&mut self, ptr: *const u8, len: usize, write: bool) {
        // On a stack in managed memory, which is there as we run on it, the runtime's own calls come by here too, with
        // its locks held: what is in the stack's block is left alone.
        let here = 0_u8;
        let stack = preload::block(&raw const here);
        let len = len.min(MOST);
        let mut at = ptr;
        while let Some(want) = preload::want(at, len - (at.addr() - ptr.addr()), write) {
            let start = ptr.wrapping_add(want.start() - ptr.addr());
            if stack.is_none() || preload::block(start) != stack {
                self.add(want);
            }
            at = ptr.wrapping_add(want.end() - ptr.addr());
        }
    }

    fn add(&mut self, want: Want) {
        let taken = self.taken;
        let (wants, _) = self.all();
        // Neighbours are one, and what is held already needs nothing.
        for (i, old) in wants.iter_mut().enumerate().rev().take(LAST) {
            if let Some(both) = old.with(want).filter(|both| i >= taken || *both == *old) {
                *old = both;
                return;
            }
        }
        match &mut self.more {
            Some(more) => {
                more.0.push(want);
                more.1.push(Held::NONE);
            }
            None if self.count == FEW => {
                let (wants, held) = self.all();
                let mut more = Box::new((wants.to_vec(), held.to_vec()));
                more.0.push(want);
                more.1.push(Held::NONE);
                self.more = Some(more);
            }
            None => {
                self.wants[self.count].write(want);
                self.held[self.count].write(Held::NONE);
                self.count += 1;
            }
        }
        if !self.at_once {
            self.take();
        }
    }

    /// Holds what is wanted. What can't be had is left out.
    #[cold]
    fn take(&mut self) {
        let vforked = !preload::in_child() && !settings::is_own_process();
        let caller = Caller { frame: self.frame, vforked };
        let mut taken = self.taken;
        let (wants, held) = self.all();
        let mut count = wants.len();
        while taken < count {
            if preload::hold(&wants[..=taken], caller, &mut held[..=taken]) {
                taken += 1;
            } else {
                count -= 1;
                wants.swap(taken, count);
            }
        }
        self.taken = taken;
        match &mut self.more {
            Some(more) => {
                more.0.truncate(taken);
                more.1.truncate(taken);
            }
            None => self.count = taken,
        }
    }

    fn all(&mut self) -> (&mut [Want], &mut [Held]) {
        match &mut self.more {
            Some(more) => (&mut more.0, &mut more.1),
            // SAFETY: the first `count` were written.
            None => unsafe {
                (self.wants[..self.count].assume_init_mut(), self.held[..self.count].assume_init_mut())
            },
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
            // SAFETY: a C string, by the caller's promise; touching it brings it home. No reference to it is made: other
            // threads may change it.
            let len = unsafe { libc::strlen(text) };
            self.reads(text, len + 1);
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
        const SIZE: usize = size_of::<*const c_char>();
        let mut count = 0;
        loop {
            // Up to the end of a page: behind it there may be nothing.
            let at = all.wrapping_add(count);
            let mut some = [MaybeUninit::uninit(); PART];
            let some = &mut some[..((PAGE - at.addr() % PAGE) / SIZE).clamp(1, PART)];
            if !given::fill(at, some) {
                return; // the kernel says so
            }
            for text in some {
                // SAFETY: it was read.
                let text = unsafe { text.assume_init() };
                count += 1;
                if text.is_null() {
                    return self.reads(all, count * SIZE);
                }
                self.text(text);
            }
        }
    }

    /// The call writes a buffer whose length is in `len`, and writes that too.
    ///
    /// # Safety
    /// `len` is NULL or valid.
    pub unsafe fn answer(&mut self, ptr: *const c_void, len: *const libc::socklen_t) {
        self.one(len);
        if !len.is_null()
            && let Some(len) = given::read(len)
        {
            self.writes(ptr, len as usize);
        }
    }

    /// As [`given::fill`]; the page of what was read before is there still.
    fn fill<T: Copy>(&mut self, what: Read, at: *const T, to: &mut [MaybeUninit<T>]) -> bool {
        let seen = &mut self.seen[what as usize];
        let last = at.addr().wrapping_add(size_of_val(to)).wrapping_sub(1) / PAGE;
        if *seen == at.addr() / PAGE && *seen == last {
            // SAFETY: it could be read for this call, and is the program's, which says that there are so many.
            unsafe { given::fill_from(at, to) };
            return true;
        }
        let is_there = given::fill(at, to);
        *seen = if is_there { last } else { usize::MAX };
        is_there
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
        for first in (0..count).step_by(PART) {
            let mut some = [MaybeUninit::uninit(); PART];
            let some = &mut some[..PART.min(count - first)];
            if !self.fill(Read::Vectors, iov.wrapping_add(first), some) {
                return; // the kernel says so
            }
            for part in some {
                // SAFETY: it was read.
                let part = unsafe { part.assume_init() };
                self.part(part.iov_base.cast_const().cast(), part.iov_len, write);
            }
        }
    }

    /// The call sends or (`write`) receives a message.
    ///
    /// # Safety
    /// `message` is NULL or valid, with all it points to.
    pub unsafe fn message(&mut self, message: *const libc::msghdr, write: bool) {
        if !message.is_null() {
            self.one(message);
            // SAFETY: the caller's promise.
            unsafe { self.within(message, write) };
        }
    }

    /// What a message points to; whether it could be read.
    ///
    /// # Safety
    /// As [`Holds::message`].
    unsafe fn within(&mut self, message: *const libc::msghdr, write: bool) -> bool {
        let mut m = [MaybeUninit::<libc::msghdr>::uninit()];
        if !self.fill(Read::Message, message, &mut m) {
            return false;
        }
        // SAFETY: it was read; the caller's promise.
        unsafe {
            let m = m[0].assume_init();
            self.part(m.msg_name.cast_const().cast(), m.msg_namelen as usize, write);
            self.part(m.msg_control.cast_const().cast(), m.msg_controllen as _, write);
            self.vectors(m.msg_iov, m.msg_iovlen as _, write);
        }
        true
    }

    /// The call sends or receives `count` messages.
    ///
    /// # Safety
    /// As [`Holds::message`], for each.
    pub unsafe fn messages(&mut self, all: *const libc::mmsghdr, count: usize, write: bool) {
        if all.is_null() {
            return;
        }
        // The kernel sends no more at once, but receives what there is room for.
        let count = if write { count } else { count.min(1024) };
        self.writes(all, count.saturating_mul(size_of::<libc::mmsghdr>()));
        for i in 0..count {
            // SAFETY: the caller's promise; the header comes first.
            if !unsafe { self.within(all.wrapping_add(i).cast(), write) } {
                return; // the kernel says so
            }
        }
    }
}

impl Drop for Holds {
    #[inline]
    fn drop(&mut self) {
        if self.any() {
            self.release();
        }
    }
}

impl Holds {
    #[cold]
    fn release(&mut self) {
        let saved = names::errno();
        preload::release(self.all().1);
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

/// Whether a function of the C library's says that the kernel could not get at what it was given.
pub fn has_failed<R: Failed + PartialEq>(answer: &R) -> bool {
    *answer == R::FAILED && names::errno() == libc::EFAULT
}

/// Whether a call goes straight on that can't be made once more: none of `len` bytes from `at` is managed, so that no device has it, nor
/// one that is opened meanwhile. Costs a look-up for each end, and for what is longer than a page one for each 2 MiB of it.
/// Ends what children of vfork held, as [`Holds::new`].
#[inline]
pub fn stays<T>(at: *const T, len: usize) -> bool {
    #[cold]
    fn any(at: *const u8, len: usize) -> bool {
        preload::want(at, len.min(MOST), true).is_some()
    }
    preload::tidy_up(settings::is_own_process);
    let at = at.cast::<u8>();
    !raw::owns(at) && (len <= 1 || !raw::owns(at.wrapping_add(len - 1))) && (len <= PAGE || !any(at, len))
}

/// What `hold` names, held. errno is kept.
#[inline(always)]
fn held(hold: impl Fn(&mut Holds)) -> Holds {
    let saved = names::errno();
    let mut holds = Holds::at_once();
    hold(&mut holds);
    if holds.any() {
        holds.take();
    }
    names::set_errno(saved);
    holds
}

/// Makes a call once more that has failed because memory was not there, which may have gone during the call; if there is any.
#[inline(always)]
pub fn again<R>(hold: impl Fn(&mut Holds), call: impl Fn() -> R) -> Option<R> {
    let holds = held(hold);
    holds.any().then(call)
}

/// Makes a call with what `hold` names held: where a device is open, or `always` but in a sandbox. What holds nothing unwinds through a plain
/// frame. `has_failed` tells from the answer that memory was not there. Inlined, so that what is held has its caller's place on
/// the stack. errno is the call's.
#[inline(always)]
pub fn around<R>(
    always: bool,
    hold: impl Fn(&mut Holds),
    call: impl Fn() -> R,
    has_failed: impl Fn(&R) -> bool,
) -> R {
    if always && !is_confined() || preload::is_active() {
        let holds = held(&hold);
        if holds.any() {
            return call();
        }
    }
    let answer = call();
    if has_failed(&answer) && preload::is_active() {
        return again(hold, call).unwrap_or(answer);
    }
    answer
}

pub(crate) use crate::wraps::wraps;
