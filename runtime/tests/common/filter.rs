//! System calls that fail from here on, in all threads and for good, as under a container's filter or a limit (seccomp).

/// One instruction of a filter: what to do, how many to skip if it holds and if not, and with which number.
pub fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Loads the call's number.
pub fn load_number() -> libc::sock_filter {
    step(0x20, 0, 0, 0)
}

/// The call fails with this error (SECCOMP_RET_ERRNO).
pub fn refuse(errno: i32) -> libc::sock_filter {
    step(0x06, 0, 0, 0x0005_0000 | errno as u32)
}

/// The call is made (SECCOMP_RET_ALLOW).
pub fn allow() -> libc::sock_filter {
    step(0x06, 0, 0, 0x7FFF_0000)
}

/// From here on.
pub fn install(filter: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: a program of that length.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let (set_filter, all_threads) = (1, 1);
        assert_eq!(libc::syscall(libc::SYS_seccomp, set_filter, all_threads, &program), 0);
    }
}
