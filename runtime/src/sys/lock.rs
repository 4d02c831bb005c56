//! A lock of one word. The fault path uses it: signal-safe. A thread that holds a [`FutexLock`] never touches managed memory,
//! and API calls hold one only with signals blocked (`sys::signal::Blocked`), so a faulting thread can never wait for itself.
//! `models/` explores this very file with loom.

use super::{futex, thread};
use crate::atomic::{AtomicU32, AtomicUsize, Ordering::*};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;
/// About 2 us: longer than a state change without a copy, much shorter than waking a thread (50 us).
const SPINS: u32 = 200;

/// A mutex of one word plus its owner. All-zero bytes are an unlocked lock.
#[derive(Default)]
pub(crate) struct FutexLock {
    word: AtomicU32,
    owner: AtomicUsize,
}

impl FutexLock {
    crate::atomic::const_fn! {
        /// An unlocked lock.
        pub(crate) fn new() -> Self {
            Self { word: AtomicU32::new(FREE), owner: AtomicUsize::new(0) }
        }
    }

    /// Takes the lock. A thread that takes a lock it holds is a bug of ours: says so and aborts. Signal-safe.
    pub(crate) fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow();
        }
    }

    /// Takes the lock if it is free. Signal-safe.
    pub(crate) fn try_lock(&self) -> bool {
        if self.word.compare_exchange(FREE, HELD, SeqCst, Relaxed).is_err() {
            return false;
        }
        self.owner.store(thread::id(), Relaxed);
        true
    }

    #[cold]
    fn lock_slow(&self) {
        let me = thread::id();
        if self.owner.load(Relaxed) == me {
            super::stderr::fatal("a thread waits for a lock that it holds", 0);
        }
        if self.spin() {
            return;
        }
        let mut waiting = thread::Waiting::default();
        while self.word.swap(CONTENDED, SeqCst) != FREE {
            if waiting.is_in_vain() {
                break; // a child of a system call: the holder is not there, and the lock is this thread's now
            }
            futex::wait(&self.word, CONTENDED, waiting.nap());
        }
        self.owner.store(me, Relaxed);
    }

    /// Takes the lock if it can be had within about `ns`. Signal-safe.
    pub(crate) fn lock_within(&self, ns: u64) -> bool {
        if self.try_lock() {
            return true;
        }
        if ns == 0 || self.held_by_me() {
            return false;
        }
        if self.spin() {
            return true;
        }
        if self.word.swap(CONTENDED, SeqCst) != FREE {
            futex::wait(&self.word, CONTENDED, Some(ns));
            // CONTENDED stays, for those behind: this one may have been woken in the place of another.
            if self.word.swap(CONTENDED, SeqCst) != FREE {
                return false;
            }
        }
        self.owner.store(thread::id(), Relaxed);
        true
    }

    /// Takes the lock if it gets free in a moment.
    fn spin(&self) -> bool {
        for _ in 0..crate::atomic::spins(SPINS) {
            if self.word.load(Relaxed) == FREE && self.try_lock() {
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }

    /// Gives the lock back. Only the holder calls it. Signal-safe.
    pub(crate) fn unlock(&self) {
        debug_assert!(self.held_by_me());
        self.owner.store(0, Relaxed);
        if self.word.swap(FREE, SeqCst) == CONTENDED {
            futex::wake(&self.word, 1);
        }
    }

    /// Whether this thread holds it. Signal-safe.
    pub(crate) fn held_by_me(&self) -> bool {
        self.owner.load(Relaxed) == thread::id()
    }

    /// Whether anybody holds it at this moment. Signal-safe.
    pub(crate) fn is_held(&self) -> bool {
        self.word.load(SeqCst) != FREE
    }
}

/// A value behind a [`FutexLock`].
pub(crate) struct Locked<T> {
    lock: FutexLock,
    value: core::cell::UnsafeCell<T>,
}

// SAFETY: the value is only reached through the guard, which holds the lock.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    crate::atomic::const_fn! {
        /// Wraps `value`.
        pub(crate) fn new(value: T) -> Self {
            Self { lock: FutexLock::new(), value: core::cell::UnsafeCell::new(value) }
        }
    }
    /// Takes the lock. Signal-safe where the callers keep the rule in the file's head.
    pub(crate) fn lock(&self) -> LockedGuard<'_, T> {
        self.lock.lock();
        LockedGuard { of: self, _not_send: core::marker::PhantomData }
    }
    /// The lock, if it is free. Signal-safe.
    pub(crate) fn try_lock(&self) -> Option<LockedGuard<'_, T>> {
        self.lock.try_lock().then(|| LockedGuard { of: self, _not_send: core::marker::PhantomData })
    }
    /// The lock, if it can be had within about `ns`. Signal-safe.
    pub(crate) fn lock_within(&self, ns: u64) -> Option<LockedGuard<'_, T>> {
        self.lock.lock_within(ns).then(|| LockedGuard { of: self, _not_send: core::marker::PhantomData })
    }
    /// Whether this thread holds the lock. Signal-safe.
    pub(crate) fn held_by_me(&self) -> bool {
        self.lock.held_by_me()
    }
}

/// Access to a [`Locked`] value; unlocks when dropped.
pub(crate) struct LockedGuard<'a, T> {
    of: &'a Locked<T>,
    _not_send: core::marker::PhantomData<*const ()>,
}

impl<T> core::ops::Deref for LockedGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.of.value.get() }
    }
}
impl<T> core::ops::DerefMut for LockedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and there is one guard.
        unsafe { &mut *self.of.value.get() }
    }
}
impl<T> Drop for LockedGuard<'_, T> {
    fn drop(&mut self) {
        self.of.lock.unlock();
    }
}
