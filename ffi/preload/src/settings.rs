//! This library's own settings, and who calls. Read from the environment without the C library's help, by the
//! constructor or by the first allocation that asks, whichever comes first; two threads that do it at once store the
//! same. Before the C library is up, and in setuid programs, nothing is managed.

use crate::size::size;
use crate::{names, rival, small};
use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::*};

/// Blocks from this many bytes up may be managed. 0 until the environment was read: then every block asks.
static LEAST: AtomicUsize = AtomicUsize::new(0);
/// Larger blocks are left to the C library, which refuses them as it always does.
static MOST: AtomicUsize = AtomicUsize::new(0);
static READ: AtomicBool = AtomicBool::new(false);
/// Another malloc has all blocks.
static RIVAL: AtomicBool = AtomicBool::new(false);
static CHAOS: AtomicBool = AtomicBool::new(false);
static ADOPT: AtomicBool = AtomicBool::new(false);
static TAKE: AtomicBool = AtomicBool::new(false);
static SMALL: AtomicBool = AtomicBool::new(false);
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
    is_read() && is_large(size) && size <= MOST.load(Relaxed) && !is_c_library(caller)
}

/// Whether blocks that are not large enough are managed as small objects. The one test that others pay for.
#[cfg(feature = "small-objects")]
#[inline]
pub fn has_small_objects() -> bool {
    SMALL.load(Relaxed)
}

/// Whether a block of `size` bytes, which is not large enough, that `caller` asks for may be a small object.
#[cfg(feature = "small-objects")]
pub fn allow_small(size: usize, caller: usize) -> bool {
    LEAST.load(Relaxed) != usize::MAX && size <= MOST.load(Relaxed) && !is_c_library(caller)
}

/// Whether the environment was read, now if not before. `false`: the C library is not up.
#[inline]
pub fn is_read() -> bool {
    READ.load(Acquire) || read()
}

/// Whether anything may ever be managed: not in setuid programs, and with another malloc only mappings and
/// drivers' managed memory.
pub fn is_wanted() -> bool {
    let beside_a_rival = || RIVAL.load(Relaxed) && (adopts_mappings() || takes_managed());
    READ.load(Relaxed) && (LEAST.load(Relaxed) != usize::MAX || beside_a_rival())
}

/// Whether drivers' managed memory is to be ours.
pub fn takes_managed() -> bool {
    TAKE.load(Relaxed)
}

/// Whether the program's large mappings are to be managed.
pub fn adopts_mappings() -> bool {
    ADOPT.load(Relaxed)
}

/// Nothing more is managed, until [`resume`].
pub fn pause() {
    if is_read() {
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
    let parts = (0..SLOTS).map(|i| (STARTS[i].load(Relaxed), ENDS[i].load(Relaxed)));
    parts.take_while(|(_, end)| *end != 0).any(|(start, end)| start <= caller && caller < end)
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
        TAKE.store(names::variable("HMMRT_TAKE_MANAGED") == Some(b"1"), Relaxed);
        match names::variable("HMMRT_ADOPT_MMAP") {
            None | Some(b"" | b"0") => {}
            Some(b"1") => ADOPT.store(true, Relaxed),
            Some(_) => names::say("hmmrt error: HMMRT_ADOPT_MMAP is neither 0 nor 1\n"),
        }
        match names::variable("HMMRT_SMALL") {
            None | Some(b"" | b"0") => {}
            Some(b"1") if small::IS_BUILT => SMALL.store(true, Relaxed),
            Some(b"1") => names::say(
                "hmmrt error: HMMRT_SMALL=1 needs a library that was built with the feature small-objects\n",
            ),
            Some(_) => names::say("hmmrt error: HMMRT_SMALL is neither 0 nor 1\n"),
        }
    }
    let mut slot = 0;
    names::objects(|name, start, end| {
        if file_of(name).starts_with(b"libamdhip64.so") {
            refuse_small_objects();
        }
        if slot < SLOTS && is_part(name) {
            STARTS[slot].store(start, Relaxed);
            ENDS[slot].store(end, Relaxed);
            slot += 1;
        }
    });
    if rival::look() {
        RIVAL.store(true, Relaxed);
        SMALL.store(false, Relaxed);
        least = usize::MAX;
        if matches!(names::variable("HMMRT_LOG"), Some(b"info" | b"debug")) {
            names::say("hmmrt info: the program has a malloc of its own: none of its blocks are managed\n");
        }
    }
    PROCESS.store(names::process(), Relaxed);
    MOST.store(names::total_memory(), Relaxed);
    LEAST.store(least, Relaxed);
    READ.store(true, Release);
    names::set_errno(saved);
    true
}

/// AMD's runtime is there. What it allocates by the C++ library can't be told from the program's, and would go to the device
/// with it: there are no small objects from now on.
pub fn refuse_small_objects() {
    if SMALL.swap(false, Relaxed) {
        names::say("hmmrt warning: HMMRT_SMALL: AMD's runtime is loaded; no small objects are managed\n");
    }
}

/// A path's last part.
fn file_of(path: &CStr) -> &[u8] {
    let path = path.to_bytes();
    path.iter().rposition(|b| *b == b'/').map_or(path, |slash| &path[slash + 1..])
}

fn is_part(path: &CStr) -> bool {
    let file = file_of(path);
    PARTS.iter().any(|part| file.starts_with(part.as_bytes()))
}
