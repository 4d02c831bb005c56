//! This library's own settings, and who calls. Read from the environment without the C library's help, by the
//! constructor or by the first allocation that asks, whichever comes first; two threads that do it at once store the
//! same. Before the C library is up, and in setuid programs, nothing is managed.

use crate::names;
use crate::size::size;
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::*};

/// Blocks from this many bytes up may be managed. 0 until the environment was read: then every block asks.
static LEAST: AtomicUsize = AtomicUsize::new(0);
/// Larger blocks are left to the C library, which refuses them as it always does.
static MOST: AtomicUsize = AtomicUsize::new(0);
static READ: AtomicBool = AtomicBool::new(false);
static CHAOS: AtomicBool = AtomicBool::new(false);
static ADOPT: AtomicBool = AtomicBool::new(false);
/// One more than `LEAST` was before [`pause`]; 0: not paused.
static PAUSED: AtomicUsize = AtomicUsize::new(0);
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// The default of `HMMRT_MIN_SIZE`.
const MIN_SIZE: usize = 1 << 20;

/// The C library's parts. What they allocate is theirs: buffers that they give to the kernel by themselves (stdio,
/// readdir), the tables of thread-local storage, what other threads' locks are in.
const PARTS: [&str; 9] = [
    "libc.so.",
    "ld-linux",
    "libpthread.so.",
    "libdl.so.",
    "librt.so.",
    "libm.so.",
    "libresolv.so.",
    "libnss_",
    "libanl.so.",
];
const SLOTS: usize = 16;
static STARTS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];
static ENDS: [AtomicUsize; SLOTS] = [const { AtomicUsize::new(0) }; SLOTS];

/// Whether a block of `size` bytes is large enough to be managed. The one test that small blocks pay for.
#[inline]
pub fn is_large(size: usize) -> bool {
    size >= LEAST.load(Relaxed)
}

/// Whether a block of `size` bytes, which is large enough, that `caller` asks for may be managed.
pub fn allow(size: usize, caller: usize) -> bool {
    (READ.load(Acquire) || read()) && is_large(size) && size <= MOST.load(Relaxed) && !is_c_library(caller)
}

/// Whether anything may ever be managed: not in setuid programs.
pub fn is_wanted() -> bool {
    READ.load(Relaxed) && LEAST.load(Relaxed) != usize::MAX
}

/// Whether the program's large mappings are to be managed.
pub fn adopts_mappings() -> bool {
    ADOPT.load(Relaxed)
}

/// Nothing more is managed, until [`resume`].
pub fn pause() {
    if READ.load(Acquire) || read() {
        let least = LEAST.swap(usize::MAX, Relaxed);
        if least != usize::MAX {
            PAUSED.store(least + 1, Relaxed);
        }
    }
}

/// Undoes [`pause`].
pub fn resume() {
    match PAUSED.swap(0, Relaxed) {
        0 => {}
        more => LEAST.store(more - 1, Relaxed),
    }
}

/// Whether the background thread of `HMMRT_CHAOS` is wanted.
pub fn chaos() -> bool {
    CHAOS.load(Relaxed)
}

/// Whether this is the process that read the settings, not one that came from it: vfork's children share all memory, and
/// differ in nothing else.
pub fn is_own_process() -> bool {
    names::process() == PROCESS.load(Relaxed)
}

/// From now on nothing more is managed.
pub fn refuse_all() {
    LEAST.store(usize::MAX, Relaxed);
}

fn is_c_library(caller: usize) -> bool {
    (0..SLOTS).any(|i| STARTS[i].load(Relaxed) <= caller && caller < ENDS[i].load(Relaxed))
}

/// Reads the environment, unless it is not there yet. Whether it was read.
#[cold]
pub fn read() -> bool {
    if !names::is_up() {
        return false;
    }
    let saved = names::errno();
    let mut least = usize::MAX;
    if !names::is_secure() {
        least = MIN_SIZE;
        if let Some(value) = names::variable("HMMRT_MIN_SIZE").filter(|v| !v.is_empty()) {
            match size(value) {
                Some(size) => least = size,
                None => {
                    names::say("hmmrt error: HMMRT_MIN_SIZE is not a number of bytes, such as 65536 or 64K\n")
                }
            }
        }
        CHAOS.store(names::variable("HMMRT_CHAOS") == Some(b"1"), Relaxed);
        match names::variable("HMMRT_ADOPT_MMAP") {
            None | Some(b"" | b"0") => {}
            Some(b"1") => ADOPT.store(true, Relaxed),
            Some(_) => names::say("hmmrt error: HMMRT_ADOPT_MMAP is neither 0 nor 1\n"),
        }
    }
    let mut slot = 0;
    names::objects(|name, start, end| {
        if slot < SLOTS && is_part(name) {
            STARTS[slot].store(start, Relaxed);
            ENDS[slot].store(end, Relaxed);
            slot += 1;
        }
    });
    PROCESS.store(names::process(), Relaxed);
    MOST.store(names::total_memory(), Relaxed);
    LEAST.store(least, Relaxed);
    READ.store(true, Release);
    names::set_errno(saved);
    true
}

fn is_part(path: &CStr) -> bool {
    let path = path.to_bytes();
    let file = path.iter().rposition(|b| *b == b'/').map_or(path, |slash| &path[slash + 1..]);
    PARTS.iter().any(|part| file.starts_with(part.as_bytes()))
}
