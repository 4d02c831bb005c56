//! Whether a thread of ours is still there, however it ends: a word in which the kernel itself notes the end of the thread
//! that has it (a robust futex, set_robust_list(2)), and wakes who waits for it. A thread that is ended by a signal handler
//! of the program's runs no code of ours any more. Threads with a [`Life`] use none of the C library's robust mutexes, whose
//! list this replaces. Signal-safe.

use super::{futex, kernel, thread};
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};

const WAITERS: u32 = 1 << 31;
const OWNER_DIED: u32 = 1 << 30;

/// A thread's word, and the list of this one word as the kernel wants it: `struct robust_list_head`, then `struct robust_list`.
#[repr(C)]
pub(crate) struct Life {
    first: AtomicPtr<()>,
    offset: AtomicUsize,
    pending: AtomicPtr<()>,
    next: AtomicPtr<()>,
    word: AtomicU32,
}

impl Life {
    /// Nobody's.
    pub(crate) const fn new() -> Life {
        Life {
            first: AtomicPtr::new(core::ptr::null_mut()),
            offset: AtomicUsize::new(0),
            pending: AtomicPtr::new(core::ptr::null_mut()),
            next: AtomicPtr::new(core::ptr::null_mut()),
            word: AtomicU32::new(0),
        }
    }

    /// The calling thread's from here on, if it is nobody's.
    #[must_use]
    pub(crate) fn begin(&'static self) -> bool {
        const HEAD: usize = offset_of!(Life, next); // the head is all that lies before
        let node = self.next.as_ptr().expose_provenance();
        self.first.store(core::ptr::with_exposed_provenance_mut(node), Relaxed);
        self.next.store(core::ptr::from_ref(self).cast_mut().cast(), Relaxed); // the last points to the head
        self.offset.store(offset_of!(Life, word) - HEAD, Relaxed);
        let head = core::ptr::from_ref(self).expose_provenance();
        // SAFETY: the list lives as long as the process, and has the kernel's form.
        unsafe { kernel::raw(libc::SYS_set_robust_list, [head, HEAD, 0, 0, 0, 0]) };
        let begun = self.word.compare_exchange(0, thread::number() | WAITERS, SeqCst, SeqCst).is_ok();
        futex::wake_shared(&self.word);
        begun
    }

    /// The calling thread, whose it is, ends as it should.
    pub(crate) fn end(&self) {
        self.word.store(0, SeqCst);
        futex::wake_shared(&self.word);
    }

    /// Waits until a thread has begun to use it, for a moment at most.
    pub(crate) fn wait_for_begin(&self, timeout_ns: u64) {
        if self.word.load(SeqCst) == 0 {
            futex::wait_shared(&self.word, 0, Some(timeout_ns));
        }
    }

    /// The word, for who waits until it changes: as the kernel does it, for a shared futex.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Whether a thread has it, and lives.
    pub(crate) fn is_alive(&self) -> bool {
        let word = self.word.load(SeqCst);
        word & !WAITERS != 0 && word & OWNER_DIED == 0
    }

    /// Whether it is the calling thread's.
    pub(crate) fn is_mine(&self) -> bool {
        self.word.load(Relaxed) == thread::number() | WAITERS
    }

    /// Whether its last thread has ended as it should not.
    pub(crate) fn has_died(&self) -> bool {
        Life::says_died(self.word.load(SeqCst))
    }

    /// The same of a word that was read before.
    pub(crate) fn says_died(word: u32) -> bool {
        word & OWNER_DIED != 0
    }

    /// If nobody has begun to use it, nobody will: it is as if its thread had died.
    pub(crate) fn give_up(&self) {
        let _ = self.word.compare_exchange(0, OWNER_DIED, SeqCst, SeqCst);
    }

    /// It is nobody's again.
    pub(crate) fn reset(&self) {
        self.word.store(0, SeqCst);
    }
}

#[cfg(all(test, not(hmmrt_standin)))] // what the kernel itself does
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Runs `body` in a thread that has `life`, and waits for its end.
    fn run(life: &'static Life, body: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn("life", move || {
            assert!(life.begin());
            body();
        });
        let thread = thread.unwrap();
        life.wait_for_begin(SECOND);
        thread.join();
    }

    #[test]
    fn an_end_that_should_not_be_is_seen_and_wakes() {
        static LIFE: Life = Life::new();
        assert!(!LIFE.is_alive() && !LIFE.has_died());
        run(&LIFE, || LIFE.end());
        assert!(!LIFE.is_alive() && !LIFE.has_died());
        static GO: AtomicU32 = AtomicU32::new(0);
        std::thread::scope(|s| {
            let waiting = s.spawn(|| {
                while !LIFE.is_alive() {
                    LIFE.wait_for_begin(SECOND);
                }
                while LIFE.is_alive() {
                    let now = LIFE.word().load(SeqCst);
                    GO.store(1, SeqCst);
                    futex::wake(&GO, 1);
                    // For ever: only the kernel wakes it.
                    futex::wait_any(&GO, 1, &[(LIFE.word(), now)]);
                }
            });
            run(&LIFE, || {
                assert!(LIFE.is_alive());
                while GO.load(SeqCst) == 0 {
                    futex::wait(&GO, 0, None);
                }
                // SAFETY: ends the thread, and nothing of it is needed.
                unsafe { kernel::raw(libc::SYS_exit, [0; 6]) };
            });
            waiting.join().unwrap();
        });
        assert!(LIFE.has_died() && !LIFE.is_alive());
        LIFE.reset();
        assert!(!LIFE.is_alive() && !LIFE.has_died());
        run(&LIFE, || std::panic::resume_unwind(Box::new(()))); // without a word
        assert!(LIFE.has_died());
        LIFE.reset();
        LIFE.give_up();
        assert!(LIFE.has_died());
        static BEGAN: AtomicU32 = AtomicU32::new(2);
        let late = thread::spawn("life", || BEGAN.store(u32::from(LIFE.begin()), SeqCst));
        late.unwrap().join();
        assert!(BEGAN.load(SeqCst) == 0 && LIFE.has_died());
    }
}
