//! The program's own handlers at fork, beside the runtime's.

use super::common::{self, Block};
use super::{child, fill, holds};
use hmmrt::Error;
use hmmrt::raw::{self, HMM_HOST};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The program's own handlers, which run inside of ours because they were there before: they may touch managed memory.
pub fn own() {
    static BLOCK: std::sync::OnceLock<Block> = std::sync::OnceLock::new();
    extern "C" fn touch() {
        if let Some(b) = BLOCK.get() {
            b.word(0).fetch_add(1, Relaxed);
        }
    }
    // SAFETY: the handler touches a live block.
    unsafe { libc::pthread_atfork(Some(touch), Some(touch), Some(touch)) };
    let b = BLOCK.get_or_init(|| Block::new(4 << 20));
    for round in 0..4 {
        raw::migrate(b.ptr, b.len, 0).unwrap();
        assert_eq!(child(|| b.word(0).load(Relaxed) == 2 * round + 2), 0, "round {round}");
        assert_eq!(b.word(0).load(Relaxed), 2 * round + 2);
    }
}

/// A library's lock, which its handlers keep across forks.
struct Lock(std::cell::UnsafeCell<libc::pthread_mutex_t>);
// SAFETY: it is one for threads.
unsafe impl Sync for Lock {}
static LOCK: Lock = Lock(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

extern "C" fn take() {
    // SAFETY: a mutex that is never moved.
    assert_eq!(unsafe { libc::pthread_mutex_lock(LOCK.0.get()) }, 0);
}

extern "C" fn give() {
    // SAFETY: as above; this thread has it, or its parent had.
    assert_eq!(unsafe { libc::pthread_mutex_unlock(LOCK.0.get()) }, 0);
}

/// A handler takes a lock whose holder waits for the runtime: it allocates, frees, touches what is away, fetches, and now
/// and then sends. The fork waits for it with nothing locked that it needs; and what leaves meanwhile, the child has all the same.
pub fn locked() {
    let rounds = (30.0 * common::scale()).max(15.0) as usize;
    // With a driver nothing can be fetched any more behind others' handlers.
    let on_a_driver = std::env::var("HMMRT_BACKEND").is_ok_and(|backend| backend != "host");
    let sends = !on_a_driver && std::env::var_os("HMMRT_HOST_DIRECT").is_none();
    let [own, shared] = [Block::new(4 << 20), Block::new(8 << 20)]; // starts the runtime, and opens no device
    common::end_if_it_hangs();
    // SAFETY: handlers with a mutex of their own.
    assert_eq!(unsafe { libc::pthread_atfork(Some(take), Some(give), Some(give)) }, 0);
    match raw::device_count() {
        Err(e @ Error::Unsupported { .. }) => return common::skipped("handlers", e),
        count => assert!(count.unwrap() > 0),
    }
    fill(&shared, 5);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let (stop, shared) = (&stop, &shared);
        s.spawn(move || {
            for i in 0.. {
                take();
                let new = Block::new([300 << 10, 3 << 20][i % 2]);
                fill(&new, 1);
                let word = i * 5000 % shared.words() / 8 * 8;
                assert_eq!(shared.word(word).load(Relaxed), word as u64 ^ 5);
                raw::migrate(shared.ptr, 2 << 20, if sends && i % 16 == 0 { 0 } else { HMM_HOST }).unwrap();
                drop(new);
                give();
                if stop.load(Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(50)); // or the fork never has the lock
            }
        });
        s.spawn(move || {
            while !stop.load(Relaxed) {
                raw::migrate(shared.ptr, shared.len, 0).unwrap();
            }
        });
        for round in 0..rounds as u64 {
            fill(&own, round);
            raw::migrate(own.ptr, own.len, 0).unwrap();
            assert_eq!(child(|| holds(&own, round) && holds(shared, 5)), 0, "round {round}");
        }
        stop.store(true, Relaxed);
    });
    assert!(holds(&shared, 5));
}

/// What a handler at fork touches that was there before the runtime's.
static AT_FORK: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
/// How long the other threads do nothing after each touch, in microseconds.
static PAUSE_US: AtomicU64 = AtomicU64::new(0);

extern "C" fn touch_at_fork() {
    let at = AT_FORK.load(Relaxed);
    if !at.is_null() {
        // The others are to have touched what they can't have.
        std::thread::sleep(Duration::from_micros(2 * PAUSE_US.load(Relaxed)));
        // SAFETY: a byte of a block that only this function uses.
        unsafe { at.write_volatile(at.read_volatile().wrapping_add(1)) };
    }
}

/// The forking thread touches memory with all chunks locked, in a handler of the program's, while others touch what is
/// away, perhaps more than there is room to remember: whoever answers touches must get to that one.
pub fn touched(threads: usize, rounds: u8) {
    PAUSE_US.store(threads as u64 * 70, Relaxed);
    common::end_if_it_hangs();
    // SAFETY: a handler with no state.
    assert_eq!(unsafe { libc::pthread_atfork(Some(touch_at_fork), None, None) }, 0);
    match raw::device_count() {
        Err(e @ Error::Unsupported { .. }) => return common::skipped("handlers", e),
        count => assert!(count.unwrap() > 0),
    }
    let [own, theirs] = [Block::new(2 << 20), Block::new(8 << 20)];
    fill(&own, 1);
    fill(&theirs, 2);
    let stop = AtomicBool::new(false);
    let (stop, shared) = (&stop, &theirs);
    std::thread::scope(|s| {
        for t in 0..threads {
            let touch = move || {
                let mut i = t * 8;
                while !stop.load(Relaxed) {
                    i = (i + 512 * 97) % shared.words();
                    let (word, value) = (shared.word(i - i % 8), (i - i % 8) as u64 ^ 2);
                    assert_eq!(word.load(Relaxed), value);
                    word.store(value, Relaxed); // not while a process forks
                    std::thread::sleep(Duration::from_micros(PAUSE_US.load(Relaxed)));
                }
            };
            std::thread::Builder::new().stack_size(64 << 10).spawn_scoped(s, touch).unwrap();
        }
        s.spawn(move || {
            while !stop.load(Relaxed) {
                raw::migrate(shared.ptr, shared.len, 0).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        AT_FORK.store(own.ptr, Relaxed);
        for round in 1..=rounds {
            raw::migrate(own.ptr, own.len, 0).unwrap();
            assert_eq!(child(|| own.word(0).load(Relaxed) as u8 == 1 + round), 0, "round {round}");
        }
        AT_FORK.store(std::ptr::null_mut(), Relaxed);
        stop.store(true, Relaxed);
    });
    assert!(holds(&theirs, 2));
}
