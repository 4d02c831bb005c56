//! The slots of `service.rs`: post, take, answer, give up. A copy of the order of its steps (the statics and the faults behind
//! them are not loom's); the slot's answer is handed over by its state alone, and no slot is lost or used by two.

use crate::atomic::{AtomicU32, Ordering::*};
use crate::explore;
use crate::sys::futex;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const POSTED: u32 = 2;
const TAKEN: u32 = 3;
const DONE: u32 = 4;
const GIVEN_UP: u32 = 5;

struct Slot {
    state: AtomicU32,
    posts: AtomicU32,
    answer: UnsafeCell<u32>,
}

// SAFETY: the answer is handed over through `state`; that this is enough is what the model looks at.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

impl Slot {
    fn new() -> Slot {
        Slot { state: AtomicU32::new(FREE), posts: AtomicU32::new(0), answer: UnsafeCell::new(0) }
    }

    /// `service::ask`; with `patience` 0 it gives up at its first look. The answer, if it waited for it.
    fn ask(&self, patient: bool) -> Option<u32> {
        if self.state.compare_exchange(FREE, CLAIMED, SeqCst, Relaxed).is_err() {
            return None; // the next slot
        }
        self.state.store(POSTED, SeqCst);
        self.posts.fetch_add(1, SeqCst);
        futex::wake(&self.posts, 1);
        loop {
            let state = self.state.load(SeqCst);
            if state == DONE {
                break;
            }
            if !patient {
                let next = if state == POSTED { FREE } else { GIVEN_UP };
                if self.state.compare_exchange(state, next, SeqCst, SeqCst).is_ok() {
                    return None;
                }
                continue;
            }
            futex::wait(&self.state, state, None);
        }
        // SAFETY: DONE: the service thread is through with the slot.
        let answer = self.answer.with_mut(|a| unsafe { core::mem::take(&mut *a) });
        self.state.store(FREE, SeqCst);
        Some(answer)
    }

    /// `service::serve_posted`, where the chunk can't be had.
    fn put_back(&self) {
        if self.state.compare_exchange(POSTED, TAKEN, SeqCst, Relaxed).is_ok()
            && self.state.compare_exchange(TAKEN, POSTED, SeqCst, SeqCst).is_err()
        {
            self.state.store(FREE, SeqCst);
        }
    }

    /// `service::serve_posted`.
    fn serve(&self, answer: u32) -> bool {
        if self.state.load(SeqCst) != POSTED
            || self.state.compare_exchange(POSTED, TAKEN, SeqCst, Relaxed).is_err()
        {
            return false;
        }
        // SAFETY: the poster does not touch the slot until DONE.
        self.answer.with_mut(|a| unsafe { *a = answer });
        if self.state.compare_exchange(TAKEN, DONE, SeqCst, SeqCst).is_ok() {
            futex::wake(&self.state, 1);
        } else {
            self.state.store(FREE, SeqCst);
        }
        true
    }

    /// `service::run`, until it has served once.
    fn run(&self, answer: u32) {
        loop {
            let seen = self.posts.load(SeqCst);
            if self.serve(answer) {
                return;
            }
            futex::wait(&self.posts, seen, None);
        }
    }
}

fn is_answered(taken_before: bool) {
    explore(3, move || {
        let slot = Arc::new(Slot::new());
        let service = {
            let slot = slot.clone();
            thread::spawn(move || {
                if taken_before {
                    slot.put_back();
                }
                slot.run(9);
            })
        };
        assert_eq!(slot.ask(true), Some(9));
        service.join().unwrap();
        assert_eq!(slot.state.load(SeqCst), FREE);
    });
}

#[test]
fn who_waits_is_answered() {
    is_answered(false);
}

#[test]
fn what_is_put_back_is_answered() {
    is_answered(true);
}

fn gets_free(taken_before: bool) {
    explore(3, move || {
        let slot = Arc::new(Slot::new());
        let service = {
            let slot = slot.clone();
            thread::spawn(move || {
                if taken_before {
                    slot.put_back();
                }
                slot.serve(9);
            })
        };
        let answered = slot.ask(false);
        assert!(answered.is_none_or(|a| a == 9), "an answer that nobody gave");
        // Whoever has the slot next has it alone, though the service thread may still be at the one before.
        if slot.state.compare_exchange(FREE, CLAIMED, SeqCst, Relaxed).is_ok() {
            assert_eq!(slot.state.load(SeqCst), CLAIMED, "a slot has two posters");
            assert_eq!(slot.state.swap(FREE, SeqCst), CLAIMED, "a slot has two posters");
        }
        service.join().unwrap();
        assert_eq!(slot.state.load(SeqCst), FREE, "a slot is lost");
    });
}

#[test]
fn who_gives_up_leaves_a_slot_that_gets_free() {
    gets_free(false);
}

#[test]
fn a_slot_that_is_put_back_gets_free() {
    gets_free(true);
}
