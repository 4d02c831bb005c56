//! What each thread did last, in a ring of its own outside of managed memory, and the report that ends the program: seed,
//! operations of all threads, the address and what the runtime says of its pages. Also called by the signal handler:
//! no allocation, no lock.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use hmmrt::{Page, raw};

const THREADS: usize = 64;
const ENTRIES: usize = 24;

struct Entry {
    name: AtomicUsize,
    values: [AtomicU64; 3],
}

struct Ring {
    count: AtomicU64,
    entries: [Entry; ENTRIES],
}

static RINGS: [Ring; THREADS] = [const {
    Ring {
        count: AtomicU64::new(0),
        entries: [const { Entry { name: AtomicUsize::new(0), values: [const { AtomicU64::new(0) }; 3] } };
            ENTRIES],
    }
}; THREADS];
/// The seed, for the report.
pub static SEED: AtomicU64 = AtomicU64::new(0);
/// How many threads there are.
pub static USED: AtomicUsize = AtomicUsize::new(0);
static REPORTING: AtomicUsize = AtomicUsize::new(0);

/// The names of operations: what the rings keep is an index.
pub const NAMES: [&str; 40] = [
    "-",
    "read words",
    "write words",
    "atomic adds",
    "migrate",
    "prefetch",
    "launch: add word",
    "launch: verify (reads)",
    "launch: bump (reads and writes)",
    "launch: fill (writes)",
    "launch: copy",
    "launch: sum",
    "acquire and release",
    "pin and unpin",
    "discard",
    "advise",
    "hmm_protect",
    "fork",
    "adopt",
    "disown and adopt again",
    "mremap",
    "munmap of the tail",
    "mprotect",
    "malloc",
    "realloc",
    "free",
    "host_ready",
    "query",
    "synchronize",
    "check a block",
    "write a block",
    "evict (fill the device)",
    "sweep",
    "shutdown and init",
    "wait at the barrier",
    "relaunch on another device",
    "rounds of a habit",
    "read a field in order",
    "migrate during shutdown",
    "mremap there and back",
];

/// The index of a name in [`NAMES`], at compile time.
pub const fn op(name: &str) -> usize {
    let mut i = 0;
    while i < NAMES.len() {
        let (a, b) = (NAMES[i].as_bytes(), name.as_bytes());
        let mut same = a.len() == b.len();
        let mut k = 0;
        while same && k < a.len() {
            same = a[k] == b[k];
            k += 1;
        }
        if same {
            return i;
        }
        i += 1;
    }
    panic!("no such operation")
}

/// Notes what thread `thread` begins: the operation, an address, a length, and a number more.
pub fn note(thread: usize, name: usize, addr: usize, len: usize, more: u64) {
    let ring = &RINGS[thread % THREADS];
    let n = ring.count.load(Relaxed);
    let e = &ring.entries[n as usize % ENTRIES];
    e.name.store(name, Relaxed);
    e.values[0].store(addr as u64, Relaxed);
    e.values[1].store(len as u64, Relaxed);
    e.values[2].store(more, Relaxed);
    ring.count.store(n + 1, Release);
}

/// How many operations a thread has begun.
pub fn begun(thread: usize) -> u64 {
    RINGS[thread % THREADS].count.load(Acquire)
}

/// Standard error, without a lock.
pub struct Err2;

impl Write for Err2 {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        crate::os::write_stderr(s.as_bytes());
        Ok(())
    }
}

fn print_rings(last: u64) {
    for (t, ring) in RINGS.iter().enumerate().take(USED.load(Relaxed)) {
        let n = ring.count.load(Acquire);
        let _ = writeln!(Err2, "  thread {t}, {n} operations, the last:");
        for i in n.saturating_sub(last)..n {
            let e = &ring.entries[i as usize % ENTRIES];
            let v = |k: usize| e.values[k].load(Relaxed);
            let name = NAMES[e.name.load(Relaxed) % NAMES.len()];
            let _ = writeln!(Err2, "    {i:>8} {name:<32} {:#x} + {:#x}, {}", v(0), v(1), v(2) as i64);
        }
    }
}

/// Ends the program with all that is known. `addr` 0: no address.
pub fn fail(what: core::fmt::Arguments, addr: usize) -> ! {
    let me = crate::os::thread();
    if let Err(reporter) = REPORTING.compare_exchange(0, me, SeqCst, SeqCst) {
        if reporter == me {
            crate::os::abort(); // what it looked at for the report was too much for the signal's stack, say
        }
        // Another thread is at it: it ends the program.
        loop {
            crate::os::sleep_ms(1000);
        }
    }
    let _ = writeln!(Err2, "\nFAILED: {what}\n  seed {} (--seed)", SEED.load(Relaxed));
    print_rings(12);
    if addr != 0 {
        let page = addr & !4095;
        let mut out = [Page::default(); 3];
        let from = page.saturating_sub(4096);
        match raw::query(core::ptr::with_exposed_provenance(from), 3 * 4096, &mut out) {
            Ok(()) => out.iter().enumerate().for_each(|(i, p)| {
                let _ = writeln!(
                    Err2,
                    "  page {:#x}: flags {:#04x}, device {}",
                    from + i * 4096,
                    p.flags,
                    p.device
                );
            }),
            Err(e) => drop(writeln!(Err2, "  query: {e}")),
        }
    }
    crate::os::abort()
}

/// Ends the program because nothing goes on.
pub fn hang(thread: usize, seconds: u64) -> ! {
    REPORTING.store(crate::os::thread(), SeqCst);
    let seed = SEED.load(Relaxed);
    let _ = writeln!(Err2, "\nFAILED: thread {thread} has not moved for {seconds} s\n  seed {seed} (--seed)");
    print_rings(6);
    crate::os::abort()
}
