//! Programs that end by SIGSYS when they make something that others could open, be it for a moment: a file, a link, a folder, a
//! socket, shared memory, a queue. Included by the tests of each library.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};

/// What makes something whatever the arguments are; and openat2(2), whose flags a filter can't see.
const MAKING: &[libc::c_long] = &[
    libc::SYS_openat2,
    libc::SYS_mknodat,
    libc::SYS_mkdirat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
];

/// What makes something if its flags say so, and which argument they are.
const OPENING: &[(libc::c_long, u32)] = &[
    (libc::SYS_openat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
];

/// Such flags: O_CREAT, and O_TMPFILE without what it has in common with O_DIRECTORY.
const CREATES: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;

/// The filter, as seccomp(2) has it.
fn filter() -> Vec<libc::sock_filter> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let load = |at| step(0x20, 0, 0, at);
    let (end, allow) = (step(0x06, 0, 0, 0x8000_0000), step(0x06, 0, 0, 0x7fff_0000));
    let is = |call: libc::c_long, skip| step(0x15, 0, skip, call as u32);
    let mut all = vec![load(0)];
    MAKING.iter().for_each(|call| all.extend([is(*call, 1), end]));
    for (call, argument) in OPENING {
        let flags = 16 + 8 * argument;
        all.extend([is(*call, 4), load(flags), step(0x45, 0, 1, CREATES), end, allow]);
    }
    all.push(allow);
    all
}

/// The command's program, and whatever it starts, may make nothing; it has begun with `first`.
fn forbid(command: &mut Command, first: impl Fn() + Send + Sync + 'static) {
    let mut filter = filter();
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: a program of that length.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if !done {
            return Err(std::io::Error::last_os_error());
        }
        first();
        Ok(())
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(install) };
}

/// The command's program, and whatever it starts, may make nothing.
pub fn nothing(command: &mut Command) {
    forbid(command, || ());
}

/// Programs that make something are seen: else the others are not either. `folder` stays empty.
pub fn is_seen(folder: &Path) {
    let end = |first: fn(&std::ffi::CStr) -> i32| -> ExitStatus {
        let path = folder.join("made").into_os_string().into_encoded_bytes();
        let path = std::ffi::CString::new(path).expect("a path");
        let mut command = Command::new("true");
        forbid(&mut command, move || _ = first(&path));
        command.status().expect("true")
    };
    assert!(end(|_| 0).success(), "what makes nothing passes");
    // SAFETY: calls with arguments that are right.
    let making: [fn(&std::ffi::CStr) -> i32; 7] = unsafe {
        [
            |path| libc::open(path.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600),
            |_| libc::open(c".".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600),
            |path| libc::mkdir(path.as_ptr(), 0o700),
            |path| libc::symlink(c"there".as_ptr(), path.as_ptr()),
            |_| libc::memfd_create(c"made".as_ptr(), 0),
            |_| libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0),
            |_| libc::shmget(libc::IPC_PRIVATE, 4096, 0o600),
        ]
    };
    for (i, first) in making.into_iter().enumerate() {
        assert_eq!(end(first).signal(), Some(libc::SIGSYS), "{i}");
    }
    assert_eq!(std::fs::read_dir(folder).expect("the folder").count(), 0);
}
