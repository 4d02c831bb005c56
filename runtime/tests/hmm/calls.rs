//! hmm_gup_test: the kernel itself touches pages that are on a device. What the wrappers of the preload library make of it is
//! tested by the program of the same name there; here the calls are bare.

use crate::memory::{Kind::*, Memory, PAGE, pattern};
use crate::ring;
use crate::row::{Kind, row};
use hmmrt::{AccessMode, Page, raw};
use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const LEN: usize = 64 << 10;
/// A call's answer: bytes, or the error.
type Answer = Result<usize, i32>;

fn answer(n: isize) -> Answer {
    usize::try_from(n).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn memfd() -> OwnedFd {
    // SAFETY: a name that ends; the descriptor is ours.
    unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"hmm".as_ptr(), 0)) }
}

/// A file of this test's on a disk, for O_DIRECT.
fn direct() -> Option<OwnedFd> {
    let path = format!("{}/hmm-direct-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let c_path = std::ffi::CString::new(path).unwrap();
    // SAFETY: a path that ends; the descriptor is ours.
    unsafe {
        let fd = libc::open(c_path.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_DIRECT, 0o600);
        libc::unlink(c_path.as_ptr());
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

fn ring(operation: u8, fd: i32, at: *mut u8) -> isize {
    // SAFETY: LEN bytes, as the caller has them.
    let (answer, error) = match unsafe { ring::once(operation, fd, at, LEN) } {
        None => (-1, libc::EOPNOTSUPP),
        Some(n) if n < 0 => (-1, -n),
        Some(n) => (n as isize, 0),
    };
    // SAFETY: this thread's own.
    unsafe { *libc::__errno_location() = error };
    answer
}

/// What a call does with `LEN` bytes of the pattern at its address; in `plain`, memory that is not managed, is the other side.
struct Call {
    name: &'static str,
    /// Whether the kernel writes the memory.
    fills: bool,
    make: fn(at: *mut u8, plain: &mut [u8]) -> Answer,
}

fn io(at: *mut u8) -> libc::iovec {
    libc::iovec { iov_base: at.cast::<c_void>(), iov_len: LEN }
}

fn through_file(at: *mut u8, plain: &mut [u8], f: impl Fn(i32, *mut u8) -> isize, fills: bool) -> Answer {
    let fd = memfd();
    let (fd, p) = (fd.as_raw_fd(), plain.as_mut_ptr());
    // SAFETY: `plain` has LEN bytes.
    unsafe {
        if fills {
            assert_eq!(libc::pwrite(fd, p.cast(), LEN, 0), LEN as isize);
        }
        let done = answer(f(fd, at));
        if !fills && done.is_ok() {
            assert_eq!(libc::pread(fd, p.cast(), LEN, 0), LEN as isize);
        }
        done
    }
}

fn through_socket(at: *mut u8, plain: &mut [u8], fills: bool) -> Answer {
    let mut ends = [0; 2];
    // SAFETY: places for two descriptors; messages with buffers of LEN bytes.
    unsafe {
        assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, ends.as_mut_ptr()), 0);
        let ends = ends.map(|fd| OwnedFd::from_raw_fd(fd));
        let message = |vector: *mut libc::iovec| {
            let mut m: libc::msghdr = std::mem::zeroed();
            (m.msg_iov, m.msg_iovlen) = (vector, 1);
            m
        };
        let (mut ours, mut theirs) = (io(at), io(plain.as_mut_ptr()));
        let (ours, theirs) = (message(&mut ours), message(&mut theirs));
        let (out, back) = if fills { (theirs, ours) } else { (ours, theirs) };
        let sent = answer(libc::sendmsg(ends[0].as_raw_fd(), &out, 0));
        let mut back = back;
        match sent {
            Ok(_) => answer(libc::recvmsg(ends[1].as_raw_fd(), &mut back, 0)),
            error => error,
        }
    }
}

fn direct_io(at: *mut u8, plain: &mut [u8], fills: bool) -> Answer {
    let Some(fd) = direct() else { return Err(libc::EOPNOTSUPP) };
    let fd = fd.as_raw_fd();
    let aligned = crate::memory::map(LEN, false); // stays
    // SAFETY: LEN bytes each.
    unsafe {
        if fills {
            aligned.copy_from(plain.as_ptr(), LEN);
            if libc::pwrite(fd, aligned.cast(), LEN, 0) != LEN as isize {
                return Err(libc::EOPNOTSUPP);
            }
            return answer(libc::pread(fd, at.cast(), LEN, 0));
        }
        let done = answer(libc::pwrite(fd, at.cast(), LEN, 0))?;
        assert_eq!(libc::pread(fd, aligned.cast(), LEN, 0), LEN as isize);
        plain.as_mut_ptr().copy_from(aligned, LEN);
        Ok(done)
    }
}

/// fread(3) and fwrite(3) of a stream without a buffer.
fn stdio(at: *mut u8, plain: &mut [u8], fills: bool) -> Answer {
    let call = |fd: i32, at: *mut u8| {
        // SAFETY: a stream of its own descriptor, and LEN bytes.
        unsafe {
            let file = libc::fdopen(libc::dup(fd), c"r+".as_ptr());
            libc::setvbuf(file, std::ptr::null_mut(), libc::_IONBF, 0);
            libc::rewind(file);
            let n = if fills {
                libc::fread(at.cast(), 1, LEN, file)
            } else {
                libc::fwrite(at.cast(), 1, LEN, file)
            };
            let error = *libc::__errno_location();
            libc::fclose(file);
            *libc::__errno_location() = error;
            if n == LEN { n as isize } else { -1 }
        }
    };
    through_file(at, plain, call, fills)
}

// SAFETY of the calls: LEN bytes at each address, as the calls are told.
const CALLS: [Call; 15] = [
    Call {
        name: "read",
        fills: true,
        make: |at, p| {
            // SAFETY: as said above the table.
            through_file(
                at,
                p,
                |fd, at| unsafe {
                    libc::lseek(fd, 0, libc::SEEK_SET);
                    libc::read(fd, at.cast(), LEN)
                },
                true,
            )
        },
    },
    Call {
        name: "write",
        fills: false,
        make: |at, p| {
            // SAFETY: as above.
            through_file(at, p, |fd, at| unsafe { libc::write(fd, at.cast(), LEN) }, false)
        },
    },
    Call {
        name: "pread",
        fills: true,
        make: |at, p| {
            // SAFETY: as above.
            through_file(at, p, |fd, at| unsafe { libc::pread(fd, at.cast(), LEN, 0) }, true)
        },
    },
    Call {
        name: "pwrite",
        fills: false,
        make: |at, p| {
            // SAFETY: as above.
            through_file(at, p, |fd, at| unsafe { libc::pwrite(fd, at.cast(), LEN, 0) }, false)
        },
    },
    Call {
        name: "readv",
        fills: true,
        make: |at, p| {
            // SAFETY: as above.
            through_file(
                at,
                p,
                |fd, at| unsafe {
                    libc::lseek(fd, 0, libc::SEEK_SET);
                    libc::readv(fd, &io(at), 1)
                },
                true,
            )
        },
    },
    Call {
        name: "writev",
        fills: false,
        make: |at, p| {
            // SAFETY: as above.
            through_file(at, p, |fd, at| unsafe { libc::writev(fd, &io(at), 1) }, false)
        },
    },
    Call { name: "read, O_DIRECT", fills: true, make: |at, p| direct_io(at, p, true) },
    Call { name: "write, O_DIRECT", fills: false, make: |at, p| direct_io(at, p, false) },
    Call { name: "recvmsg", fills: true, make: |at, p| through_socket(at, p, true) },
    Call { name: "sendmsg", fills: false, make: |at, p| through_socket(at, p, false) },
    Call {
        name: "process_vm_readv",
        fills: true,
        make: |at, p| {
            // SAFETY: as above; the process is this one.
            answer(unsafe { libc::process_vm_readv(libc::getpid(), &io(at), 1, &io(p.as_mut_ptr()), 1, 0) })
        },
    },
    Call { name: "fread", fills: true, make: |at, p| stdio(at, p, true) },
    Call { name: "fwrite", fills: false, make: |at, p| stdio(at, p, false) },
    Call {
        name: "io_uring, read",
        fills: true,
        make: |at, p| through_file(at, p, |fd, at| ring(ring::READ, fd, at), true),
    },
    Call {
        name: "io_uring, write",
        fills: false,
        make: |at, p| through_file(at, p, |fd, at| ring(ring::WRITE, fd, at), false),
    },
];

/// Catches: an engine that promises the kernel's own accesses and does not keep it, or fails them in another way than it says.
#[test]
fn hmm_gup_test() {
    let differs = "system calls instead of a test driver. uffd-thread: all of them work. segv and uffd: EFAULT, nothing is lost, \
         and after hmm_host_ready they work";
    let Some(row) = row("calls::hmm_gup_test", Kind::Changed, differs) else { return };
    let mut run = 0;
    let serves_the_kernel = std::env::var("HMMRT_FAULT").is_ok_and(|v| v == "uffd-thread");
    for call in &CALLS {
        let m = Memory::filled(Small, LEN, 1);
        let bytes =
            |salt| -> Vec<u8> { pattern(0, LEN, salt).into_iter().flat_map(u32::to_ne_bytes).collect() };
        let mut plain = if call.fills { bytes(2) } else { vec![0; LEN] };
        m.send();
        let mut got = (call.make)(m.ptr, &mut plain);
        if got == Err(libc::EOPNOTSUPP) {
            row.left_out(call.name);
            continue;
        }
        run += 1;
        if !serves_the_kernel {
            assert_eq!(got, Err(libc::EFAULT), "{}", call.name);
            assert!(m.all_are(Page::DEVICE), "{}: still away", call.name);
            assert!(m.holds(1), "{}: nothing is lost", call.name);
            m.migrate(0);
            let mode = if call.fills { AccessMode::ReadWrite } else { AccessMode::Read };
            raw::host_ready(m.ptr, LEN, mode).unwrap();
            got = (call.make)(m.ptr, &mut plain);
        }
        assert_eq!(got, Ok(LEN), "{}", call.name);
        if call.fills {
            assert!(m.holds(2), "{}: what the kernel wrote", call.name);
            assert_eq!(m.migrate(0), LEN / PAGE);
            assert!(m.holds(2), "{}: after a round trip", call.name);
        } else {
            assert!(plain == bytes(1) && m.holds(1), "{}: what the kernel read", call.name);
        }
    }
    row.cases(run);
}
