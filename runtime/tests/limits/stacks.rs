//! Stacks: the smallest that threads can have, small alternate ones, hardly anything left, none at all; and a stack that
//! really overflows, which is the segfault that it was.

use crate::common::{self, Block};
use crate::room::{WAYS, child, dies, on_gpu, passes};
use crate::touch::install;
use hmmrt::raw;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::*};

fn on_device(len: usize) -> Block {
    let b = Block::new(len);
    (0..b.words()).for_each(|i| b.word(i).store(i as u64 + 1, Relaxed));
    raw::migrate(b.ptr, b.len, 0).unwrap();
    b
}

/// A stack of the test's own, with pages around it that nobody may touch.
struct Stack {
    low: usize,
    len: usize,
}

impl Stack {
    fn new(len: usize) -> Stack {
        let len = len.next_multiple_of(4096);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, of which the middle is opened.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), len + 2 * 65536, 0, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            let low = at as usize + 65536;
            assert_eq!(libc::mprotect(low as *mut c_void, len, libc::PROT_READ | libc::PROT_WRITE), 0);
            Stack { low, len }
        }
    }
}

/// Makes `size` bytes that end at the top of `stack` the calling thread's alternate stack.
fn alternate(stack: &Stack, size: usize) {
    let low = stack.low + stack.len - size;
    let new = libc::stack_t { ss_sp: low as *mut c_void, ss_flags: 0, ss_size: size };
    // SAFETY: the stack lives as long as the process.
    assert_eq!(unsafe { libc::sigaltstack(&new, std::ptr::null_mut()) }, 0);
}

fn no_alternate() {
    let off = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: switches it off.
    assert_eq!(unsafe { libc::sigaltstack(&off, std::ptr::null_mut()) }, 0);
}

/// Runs `body(argument)` in a thread of the C library's own making: no alternate stack, and that much stack.
fn thread(stack: usize, body: extern "C" fn(*mut c_void) -> *mut c_void, argument: usize) {
    // SAFETY: the attributes are made before they are used; the argument lives until the thread ends.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
        assert_eq!(libc::pthread_attr_setstacksize(&mut attributes, stack), 0);
        let mut id = std::mem::zeroed();
        assert_eq!(libc::pthread_create(&mut id, &attributes, body, argument as *mut c_void), 0);
        let mut answer = std::ptr::null_mut();
        assert_eq!(libc::pthread_join(id, &mut answer), 0);
        assert!(answer.is_null(), "word {answer:?} is wrong");
    }
}

/// Reads a word here, writes one there: in a frame that is as small as can be. NULL, or which word is wrong.
extern "C" fn touches(block: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's block.
    let b = unsafe { &*block.cast::<Block>() };
    let step = (700_000 / 8) | 1;
    let mut i = 3;
    while i < b.words() {
        if b.word(i).load(Relaxed) != i as u64 + 1 {
            return i as *mut c_void;
        }
        b.word(i / 2).fetch_add(0, Relaxed);
        i += step;
    }
    std::ptr::null_mut()
}

/// Stacks of the least size, no alternate one.
fn least() {
    let b = on_device(8 << 20);
    // SAFETY: only asks.
    let least = (unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) } as usize).max(libc::PTHREAD_STACK_MIN);
    for _ in 0..30 {
        thread(least, touches, std::ptr::from_ref(&b) as usize);
        raw::migrate(b.ptr, b.len, 0).unwrap();
    }
    assert!((0..b.words()).all(|i| b.word(i).load(Relaxed) == i as u64 + 1));
    eprintln!("  stacks of {least} bytes");
}

/// The kernel's own frame: on an alternate stack of no more than that no handler can run.
fn least_alternate() -> usize {
    // SAFETY: only asks.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    frame.max(2048)
}

/// Loads a word with the stack pointer `left` bytes above the lowest byte of `stack`.
#[cfg(target_arch = "x86_64")]
fn load_with_left(stack: &Stack, left: usize, word: *const u64) -> u64 {
    let (mut value, sp) = (0_u64, stack.low + left);
    // SAFETY: the stack pointer is elsewhere only while the word is loaded.
    unsafe {
        std::arch::asm!(
            "mov {old}, rsp",
            "mov rsp, {sp}",
            "mov {value}, qword ptr [{word}]",
            "mov rsp, {old}",
            old = out(reg) _, sp = in(reg) sp, word = in(reg) word, value = inout(reg) value,
        );
    }
    value
}

/// Hardly any stack is left where the touch is made.
#[cfg(target_arch = "x86_64")]
fn hardly_any(with_alternate: bool) {
    let (stack, other) = (Stack::new(64 << 10), Stack::new(64 << 10));
    let b = on_device(8 << 20);
    if with_alternate {
        alternate(&other, 8192);
    } else {
        no_alternate();
        install(libc::SIGSEGV, libc::SIG_DFL, 0);
        raw::migrate(b.ptr, 1, 0).unwrap();
    }
    for round in 0..20 {
        for left in [512, 128, 0] {
            let i = (round * 30_000 + left) % b.words();
            assert_eq!(load_with_left(&stack, left, b.word(i).as_ptr()), i as u64 + 1);
        }
        raw::migrate(b.ptr, b.len, 0).unwrap();
    }
    eprintln!("  served");
    if with_alternate {
        no_alternate();
    }
}

static LOW: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_overflow(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel's siginfo; ends the process.
    unsafe {
        let at = (*info).si_addr() as usize;
        let expected = LOW.load(SeqCst).wrapping_sub(at) <= 65536 && (*info).si_code > 0;
        libc::_exit(if signal == libc::SIGSEGV && expected { 42 } else { 43 });
    }
}

#[inline(never)]
extern "C" fn deeper(n: u64) -> u64 {
    let room = std::hint::black_box([n; 64]);
    if n == u64::MAX { 0 } else { deeper(n + 1) + room[n as usize % 64] }
}

extern "C" fn overflows(with_handler: *mut c_void) -> *mut c_void {
    if !with_handler.is_null() {
        alternate(&Stack::new(32 << 10), 32 << 10);
    }
    // SAFETY: zeroed is overwritten; the attributes are this thread's.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &mut attributes), 0);
        let (mut low, mut len) = (std::ptr::null_mut(), 0);
        assert_eq!(libc::pthread_attr_getstack(&attributes, &mut low, &mut len), 0);
        LOW.store(low as usize, SeqCst);
    }
    deeper(0);
    std::ptr::null_mut()
}

/// A stack that overflows, in a thread without the standard library's guard; with an action of the program's, or the default.
fn overflow(with_handler: bool, before: bool) {
    let set = || match with_handler {
        true => {
            install(libc::SIGSEGV, on_overflow as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK)
        }
        false => install(libc::SIGSEGV, libc::SIG_DFL, 0),
    };
    if before {
        set();
    }
    let b = on_device(4 << 20);
    assert_eq!(b.word(77).load(Relaxed), 78);
    if !before {
        set();
    }
    raw::migrate(b.ptr, b.len, 0).unwrap();
    thread(256 << 10, overflows, usize::from(with_handler));
}

/// A small alternate stack serves the touch, and nothing below it is written.
fn small_alternate(size: usize) {
    let stack = Stack::new(64 << 10);
    // SAFETY: the stack's lower part, which nobody uses.
    let below = unsafe { std::slice::from_raw_parts_mut(stack.low as *mut u8, stack.len - size) };
    below.fill(0xAB);
    let b = on_device(8 << 20);
    alternate(&stack, size);
    let wrong = touches(std::ptr::from_ref(&b) as *mut c_void);
    no_alternate();
    assert!(wrong.is_null());
    let first = below.iter().position(|byte| *byte != 0xAB);
    assert_eq!(first.map(|at| below.len() - at), None, "written below an alternate stack of {size} bytes");
    eprintln!("  served on {size} bytes");
}

#[test]
fn small_stacks() {
    match common::case().as_deref() {
        Some("least") => return least(),
        Some(case) if case.starts_with("alternate ") => {
            return small_alternate(case.strip_prefix("alternate ").unwrap().parse().unwrap());
        }
        #[cfg(target_arch = "x86_64")]
        Some("hardly any") => return hardly_any(true),
        #[cfg(target_arch = "x86_64")]
        Some("none") => return hardly_any(false),
        _ => {}
    }
    let name = "stacks::small_stacks";
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    for way in ways {
        passes(child(name, "least", way));
        for size in [16 << 10, 8192, 6000, least_alternate() + 1024] {
            passes(child(name, &format!("alternate {size}"), way));
        }
        if cfg!(target_arch = "x86_64") {
            passes(child(name, "hardly any", way));
            if common::is_messaged() {
                passes(child(name, "none", way));
            } else {
                let err = dies(child(name, "none", way), libc::SIGSEGV);
                assert!(!err.contains("served") && !err.contains("panicked"), "{err}");
            }
        }
    }
}

#[test]
fn an_overflow_is_a_segfault() {
    let name = "stacks::an_overflow_is_a_segfault";
    match common::case().as_deref() {
        Some("default") => return overflow(false, true),
        Some("default later") => return overflow(false, false),
        Some("handler") => return overflow(true, true),
        Some("handler later") => return overflow(true, false),
        _ => {}
    }
    for case in ["default", "default later"] {
        dies(child(name, case, &[]), libc::SIGSEGV);
    }
    for case in ["handler", "handler later"] {
        let out = child(name, case, &[]).output().unwrap();
        assert_eq!(out.status.code(), Some(42), "{case}: {:?} {}", out.status, crate::room::text(&out));
    }
}
