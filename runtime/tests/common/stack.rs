//! How much of an alternate stack a signal handler uses.

const ROOM: usize = 64 << 10;

/// The most that handlers used of this thread's alternate stack while `f` ran; and the kernel's own frame, which is part of it.
pub fn used_by(f: impl FnOnce()) -> (usize, usize) {
    let mut stack = vec![0xAAu8; ROOM];
    let alt = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: ROOM };
    let mut before = libc::stack_t { ss_flags: libc::SS_DISABLE, ..alt };
    // SAFETY: the stack outlives its use.
    unsafe { libc::sigaltstack(&alt, &mut before) };
    f();
    // SAFETY: what it was.
    unsafe { libc::sigaltstack(&before, std::ptr::null_mut()) };
    let used = ROOM - stack.iter().position(|b| *b != 0xAA).unwrap_or(ROOM);
    // SAFETY: only asks.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    eprintln!("{used} bytes, of which the kernel's frame may be {frame}");
    (used, frame)
}
