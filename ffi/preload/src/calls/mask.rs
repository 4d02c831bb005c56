//! Signal masks and stacks: a fault that comes while SIGSEGV is blocked kills, and so does one on a signal stack that is
//! away. What the program blocks is blocked, but for SIGSEGV and SIGBUS; it is told that those are, too, if it has asked for
//! that. A signal stack in managed memory stays on the host. Any context.

use crate::{cancel, given, names};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::*};
use hmmrt_core::raw;
use hmmrt_core::raw::preload;
use libc::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, sigset_t};

const fn bit(signum: c_int) -> u64 {
    1 << (signum - 1)
}

/// What a touch of managed memory may raise.
const FAULTS: u64 = bit(libc::SIGSEGV) | bit(libc::SIGBUS);
/// What is never blocked.
static NEVER: AtomicU64 = AtomicU64::new(FAULTS);
/// The C library's own, which programs neither block nor see. The runtime blocks the first in place of SIGSEGV while a
/// handler of the program's for that runs.
const OWN: u64 = IN_PLACE_OF_SIGSEGV | bit(33);
const IN_PLACE_OF_SIGSEGV: u64 = bit(32);

/// What of [`NEVER`] each thread has asked to be blocked: a key of the C library's. A thread begins with nothing, whatever the
/// one that started it had.
static ASKED: Key = Key::new();
/// What a child of vfork has asked for, which shares the thread's keys with its parent: with the number of its process above.
static CHILDS: Key = Key::new();
const PROCESS: u32 = 32;

/// A word for each thread, while there is a key: -1 before.
pub struct Key(AtomicI32);

impl Key {
    /// The first keys need no memory.
    const FIRST: libc::pthread_key_t = 32;

    /// There is none yet.
    pub const fn new() -> Key {
        Key(AtomicI32::new(-1))
    }

    /// Makes it, if it can be one of the first: the constructor.
    pub fn make(&self) {
        let mut key = 0;
        // SAFETY: the key is valid; it has no destructor.
        unsafe {
            if libc::pthread_key_create(&mut key, None) == 0 {
                match key < Key::FIRST {
                    true => self.0.store(key as i32, Relaxed),
                    false => drop(libc::pthread_key_delete(key)),
                }
            }
        }
    }

    /// Whether it was made.
    pub fn is_there(&self) -> bool {
        self.0.load(Relaxed) != -1
    }

    /// This thread's word, 0 at first.
    pub fn get(&self) -> u64 {
        match self.0.load(Relaxed) {
            -1 => 0,
            // SAFETY: a key that is never deleted.
            key => unsafe { libc::pthread_getspecific(key as u32).addr() as u64 },
        }
    }

    /// Changes this thread's word.
    pub fn set(&self, word: u64) {
        let key = self.0.load(Relaxed);
        if key != -1 && word != self.get() {
            // SAFETY: as above; the value is no pointer.
            unsafe { libc::pthread_setspecific(key as u32, core::ptr::without_provenance(word as usize)) };
        }
    }
}

/// Makes the keys, and unblocks what the process was started with: the constructor.
pub fn start() {
    ASKED.make();
    CHILDS.make();
    // A handler that started this program may have left its mark.
    if let Ok(before) = kernel(SIG_UNBLOCK, Some(FAULTS | IN_PLACE_OF_SIGSEGV)) {
        set_asked(before & FAULTS);
    }
}

/// This process's number as [`CHILDS`] has it, in a child of vfork.
fn child() -> Option<u64> {
    preload::is_vforked().then(|| (names::process() as u64) << PROCESS)
}

fn asked() -> u64 {
    // Mostly nothing, and no system call needed to say so.
    let (own, childs) = (ASKED.get(), CHILDS.get());
    match (own | childs != 0).then(child).flatten() {
        Some(child) if childs >> PROCESS == child >> PROCESS => childs & !(!0 << PROCESS),
        _ => own, // a child has what its parent has asked for, until it asks for something else
    }
}

fn set_asked(set: u64) {
    if set == asked() {
        return;
    }
    match child() {
        Some(child) => CHILDS.set(child | set),
        None => {
            ASKED.set(set);
            CHILDS.set(0);
        }
    }
}

/// The kernel's set as a handler or a call may have it: one bit for each signal.
pub fn without_faults(set: u64) -> u64 {
    set & !(NEVER.load(Relaxed) | OWN)
}

/// A mask that a handler returns to: it may have the runtime's mark.
pub fn keeping(set: u64) -> u64 {
    set & !NEVER.load(Relaxed)
}

/// From now on this signal is not blocked, either, and not now.
pub fn never_block(signum: c_int) {
    NEVER.fetch_or(bit(signum), Relaxed);
    if let Ok(before) = kernel(SIG_UNBLOCK, Some(bit(signum))) {
        set_asked(asked() | before & bit(signum));
    }
}

/// This thread, which is the C library's, is about to run the program's code: faults come through from now on.
pub fn open_to_faults() {
    let _ = kernel(SIG_UNBLOCK, Some(NEVER.load(Relaxed) | IN_PLACE_OF_SIGSEGV));
}

/// A set of the program's, as a call may have it. `None` if there is none, or it can't be read.
pub fn allowed(set: *const sigset_t) -> Option<sigset_t> {
    if set.is_null() {
        return None;
    }
    let given = given::read(set.cast::<u64>())?;
    // SAFETY: zeroed is the empty set; the kernel's is the first 8 bytes of the C library's.
    unsafe {
        let mut copy: sigset_t = core::mem::zeroed();
        (&raw mut copy).cast::<u64>().write(without_faults(given));
        Some(copy)
    }
}

/// rt_sigprocmask(2); the set before, or the error.
fn kernel(how: c_int, set: Option<u64>) -> Result<u64, c_int> {
    let pointer = set.as_ref().map_or(0, |set| core::ptr::from_ref(set).expose_provenance());
    let mut before = 0_u64;
    let to = (&raw mut before).expose_provenance();
    // SAFETY: NULL or valid, both of 8 bytes.
    match unsafe { names::bare(libc::SYS_rt_sigprocmask, [how as usize, pointer, to, 8, 0, 0]) } {
        0 => Ok(before),
        error => Err(-error as c_int),
    }
}

/// Changes the mask as the program wants it, and gives the one before as the program knows it.
pub fn change(how: c_int, set: Option<u64>) -> Result<u64, c_int> {
    change_all_but(OWN, how, set)
}

/// The same for the C library itself, whose threads wait for its own signals with those blocked.
pub fn change_for_the_c_library(how: c_int, set: Option<u64>) -> Result<u64, c_int> {
    change_all_but(0, how, set)
}

fn change_all_but(hidden: u64, how: c_int, set: Option<u64>) -> Result<u64, c_int> {
    let wanted = set.map(|set| match how {
        // With SIGSEGV its mark goes.
        SIG_UNBLOCK if set & bit(libc::SIGSEGV) != 0 => set & !hidden | IN_PLACE_OF_SIGSEGV,
        SIG_UNBLOCK => set & !hidden,
        _ => keeping(set) & !hidden,
    });
    let mut before = kernel(how, wanted)?;
    let was_asked = asked();
    match (how, set) {
        (SIG_BLOCK, Some(set)) => set_asked(was_asked | set & NEVER.load(Relaxed)),
        (SIG_UNBLOCK, Some(set)) => set_asked(was_asked & !set),
        (SIG_SETMASK, Some(set)) => {
            set_asked(set & NEVER.load(Relaxed));
            if before & IN_PLACE_OF_SIGSEGV != 0 && set & bit(libc::SIGSEGV) != 0 {
                // In the program's handler of SIGSEGV: its mark stays.
                let _ = kernel(SIG_BLOCK, Some(IN_PLACE_OF_SIGSEGV));
            }
        }
        _ => {}
    }
    if before & IN_PLACE_OF_SIGSEGV != 0 {
        before |= bit(libc::SIGSEGV);
    }
    Ok(before & !hidden | was_asked)
}

/// As the C library's functions for it.
///
/// # Safety
/// Both are NULL or valid.
unsafe fn change_sets(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> Result<(), c_int> {
    // The program's sets may be managed: we touch them, not the kernel.
    // SAFETY: the caller's promise; the kernel's set is the first 8 bytes of the C library's.
    unsafe {
        let before = change(how, (!set.is_null()).then(|| set.cast::<u64>().read()))?;
        let mut told: sigset_t = core::mem::zeroed();
        (&raw mut told).cast::<u64>().write(before);
        if old.is_null() || given::write(old, told) { Ok(()) } else { Err(libc::EFAULT) }
    }
}

/// Keeps the program's signal handlers from this thread while it lives.
pub struct Quiet(u64);

impl Quiet {
    /// Until dropped; what the CPU raises comes through.
    pub fn new() -> Quiet {
        const RAISED: u64 =
            FAULTS | bit(libc::SIGFPE) | bit(libc::SIGILL) | bit(libc::SIGTRAP) | bit(libc::SIGSYS);
        Quiet(kernel(SIG_BLOCK, Some(!RAISED)).unwrap_or(0))
    }
}
impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = kernel(SIG_SETMASK, Some(self.0));
    }
}

/// pthread_sigmask(3) that never blocks SIGSEGV and SIGBUS.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_sigmask(
    how: c_int,
    set: *const sigset_t,
    old: *mut sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    cancel::deferred(|_| unsafe { change_sets(how, set, old) }).err().unwrap_or(0)
}

/// sigprocmask(2) that never blocks SIGSEGV and SIGBUS.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the caller's promise.
    match cancel::deferred(|_| unsafe { change_sets(how, set, old) }) {
        Ok(()) => 0,
        Err(error) => {
            names::set_errno(error);
            -1
        }
    }
}

static SIGALTSTACK: names::Real = names::Real::new(c"sigaltstack");

/// sigaltstack(2); a managed stack is pinned to the host until it is freed.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaltstack(new: *const libc::stack_t, old: *mut libc::stack_t) -> c_int {
    // SAFETY: the caller's promise; the function of that name.
    unsafe {
        // Of ours: the kernel reads it. What can't be read is for the kernel to refuse.
        let ours = (!new.is_null()).then(|| given::read(new)).flatten();
        if let Some(stack) = ours.filter(|stack| stack.ss_flags & libc::SS_DISABLE == 0) {
            keep(stack.ss_sp, stack.ss_size);
        }
        let mut before: libc::stack_t = core::mem::zeroed();
        let f: unsafe extern "C" fn(*const libc::stack_t, *mut libc::stack_t) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(SIGALTSTACK.address()));
        let answer = f(ours.as_ref().map_or(new, core::ptr::from_ref), &raw mut before);
        if answer == 0 && !old.is_null() && !given::write(old, before) {
            names::set_errno(libc::EFAULT);
            return -1;
        }
        answer
    }
}

/// sigaltstack(2) by number, with copies; `call` makes it.
///
/// # Safety
/// As the system call.
pub unsafe fn alternate_stack(mut a: [usize; 6], call: impl Fn([usize; 6]) -> isize) -> isize {
    // What can't be read is for the kernel to refuse.
    let ours = given::read(core::ptr::with_exposed_provenance::<libc::stack_t>(a[0])).filter(|_| a[0] != 0);
    if let Some(stack) = &ours {
        if stack.ss_flags & libc::SS_DISABLE == 0 {
            keep(stack.ss_sp, stack.ss_size);
        }
        a[0] = core::ptr::from_ref(stack).expose_provenance();
    }
    // SAFETY: zeroed is a valid one.
    let mut before: libc::stack_t = unsafe { core::mem::zeroed() };
    let old = core::mem::replace(&mut a[1], (&raw mut before).expose_provenance());
    let answer = call(a);
    if answer == 0 && old != 0 && !given::write(core::ptr::with_exposed_provenance_mut(old), before) {
        return -(libc::EFAULT as isize);
    }
    answer
}

/// Pins managed memory for good, or until it is freed.
pub fn keep(at: *mut c_void, len: usize) {
    if raw::owns(at.cast_const().cast()) {
        let saved = names::errno();
        let _ = raw::pin(at.cast_const().cast(), len);
        names::set_errno(saved);
    }
}

static ATTR_SETSTACK: names::Real = names::Real::new(c"pthread_attr_setstack");

/// pthread_attr_setstack(3); a managed stack is pinned to the host until it is freed.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_attr_setstack(
    attributes: *mut libc::pthread_attr_t,
    stack: *mut c_void,
    len: usize,
) -> c_int {
    keep(stack, len);
    // SAFETY: the function of that name; the arguments are the caller's.
    unsafe {
        let f: unsafe extern "C" fn(*mut libc::pthread_attr_t, *mut c_void, usize) -> c_int =
            core::mem::transmute(core::ptr::with_exposed_provenance::<()>(ATTR_SETSTACK.address()));
        f(attributes, stack, len)
    }
}

static ATTR_SETSTACKADDR: names::Real = names::Real::new(c"pthread_attr_setstackaddr");

/// The older function, which is told where the stack begins, and not how long it is: its whole block is pinned.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_attr_setstackaddr(
    attributes: *mut libc::pthread_attr_t,
    top: *mut c_void,
) -> c_int {
    super::fork::keep_stack(top.expose_provenance());
    match ATTR_SETSTACKADDR.address() {
        0 => libc::ENOSYS,
        // SAFETY: the function of that name; the arguments are the caller's.
        at => unsafe {
            let f: unsafe extern "C" fn(*mut libc::pthread_attr_t, *mut c_void) -> c_int =
                core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
            f(attributes, top)
        },
    }
}

static ATTR_SETSIGMASK: names::Real = names::Real::new(c"pthread_attr_setsigmask_np");

/// pthread_attr_setsigmask_np(3) that never blocks SIGSEGV and SIGBUS. New in glibc 2.32.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_attr_setsigmask_np(
    attributes: *mut libc::pthread_attr_t,
    set: *const sigset_t,
) -> c_int {
    match ATTR_SETSIGMASK.address() {
        0 => libc::ENOSYS,
        // SAFETY: the function of that name; the arguments are the caller's.
        at => unsafe {
            let f: unsafe extern "C" fn(*mut libc::pthread_attr_t, *const sigset_t) -> c_int =
                core::mem::transmute(core::ptr::with_exposed_provenance::<()>(at));
            let copy = allowed(set);
            f(attributes, copy.as_ref().map_or(set, core::ptr::from_ref))
        },
    }
}

/// Looks up what this file needs.
pub fn resolve() {
    ATTR_SETSIGMASK.address();
    SIGALTSTACK.address();
    ATTR_SETSTACK.address();
    ATTR_SETSTACKADDR.address();
}
