//! Which arguments of each system call are buffers of the program's, how long, and whether the kernel writes them. What is
//! not here takes no buffer, or none that a program would keep in managed memory; `docs/SYSTEM_CALLS.md` says which.

use super::futexes::{of_futex, of_many_futexes};
use super::number::{GETRLIMIT, IO_PGETEVENTS, RENAMEAT, SETRLIMIT, of_fcntl, other_process, size_of_ioctl};
use super::path::of_handle;
use super::process::{of_attributes, of_prctl};
use super::queue::{OF_IPC, of_semctl};
use super::wait::of_set;
use crate::holds::Holds;
use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong};

fn at<T>(address: usize) -> *const T {
    core::ptr::with_exposed_provenance(address)
}

fn text(h: &mut Holds, address: usize) {
    h.text(at::<c_char>(address));
}

fn reads(h: &mut Holds, address: usize, len: usize) {
    h.reads(at::<u8>(address), len);
}

fn writes(h: &mut Holds, address: usize, len: usize) {
    h.writes(at::<u8>(address), len);
}

const TIME: usize = size_of::<libc::timespec>();
const STAT: usize = size_of::<libc::stat>();
const QUEUE: usize = size_of::<libc::mq_attr>();
const SET: usize = 8; // the kernel's set of signals
// The same on all architectures, and not in the `libc` crate for all.
const CACHESTAT: c_long = 451;
const FCHMODAT2: c_long = 452;
const FUTEX_WAIT: c_long = 455;

/// Holds what the call of that number uses.
///
/// # Safety
/// As the system call: its arguments are the program's.
pub unsafe fn hold(h: &mut Holds, number: c_long, a: [usize; 6]) {
    // SAFETY: the caller's promise, for each as its manual page has it.
    unsafe {
        match number {
            // Files.
            libc::SYS_read | libc::SYS_pread64 | libc::SYS_getdents64 => writes(h, a[1], a[2]),
            libc::SYS_write | libc::SYS_pwrite64 => reads(h, a[1], a[2]),
            libc::SYS_readv | libc::SYS_preadv | libc::SYS_preadv2 => h.vectors(at(a[1]), a[2], true),
            libc::SYS_writev | libc::SYS_pwritev | libc::SYS_pwritev2 => h.vectors(at(a[1]), a[2], false),
            libc::SYS_vmsplice => h.vectors(at(a[1]), a[2], true),
            libc::SYS_process_vm_readv => {
                h.vectors(at(a[1]), a[2], true);
                other_process(h, a[0] as c_int, at(a[3]), a[4], false);
            }
            libc::SYS_process_vm_writev => {
                h.vectors(at(a[1]), a[2], false);
                other_process(h, a[0] as c_int, at(a[3]), a[4], true);
            }
            libc::SYS_getrandom => writes(h, a[0], a[1]),
            libc::SYS_sendfile => writes(h, a[2], 8),
            libc::SYS_copy_file_range | libc::SYS_splice => {
                writes(h, a[1], 8);
                writes(h, a[3], 8);
            }
            libc::SYS_pipe2 => writes(h, a[0], 8),
            libc::SYS_ioctl => writes(h, a[2], size_of_ioctl(a[1] as c_ulong)),
            libc::SYS_fcntl => writes(h, a[2], of_fcntl(a[1] as c_int)),
            // Paths.
            libc::SYS_openat
            | libc::SYS_mkdirat
            | libc::SYS_mknodat
            | libc::SYS_unlinkat
            | libc::SYS_fchmodat
            | libc::SYS_fchownat
            | libc::SYS_faccessat
            | libc::SYS_faccessat2
            | libc::SYS_inotify_add_watch
            | libc::SYS_open_tree
            | libc::SYS_fspick
            | FCHMODAT2 => text(h, a[1]),
            libc::SYS_fsopen => text(h, a[0]),
            libc::SYS_fsconfig => {
                super::path::of_option(h, a[1] as c_uint, at(a[2]), at(a[3]), a[4] as c_int)
            }
            libc::SYS_mount_setattr => {
                text(h, a[1]);
                reads(h, a[3], a[4]);
            }
            libc::SYS_openat2 => {
                text(h, a[1]);
                reads(h, a[2], a[3]);
            }
            libc::SYS_chdir
            | libc::SYS_chroot
            | libc::SYS_truncate
            | libc::SYS_memfd_create
            | libc::SYS_acct
            | libc::SYS_swapon
            | libc::SYS_swapoff
            | libc::SYS_umount2
            | libc::SYS_mq_unlink => text(h, a[0]),
            libc::SYS_renameat2 | libc::SYS_linkat | libc::SYS_move_mount | RENAMEAT => {
                text(h, a[1]);
                text(h, a[3]);
            }
            libc::SYS_quotactl => {
                text(h, a[1]);
                writes(h, a[3], 4096);
            }
            libc::SYS_symlinkat => {
                text(h, a[0]);
                text(h, a[2]);
            }
            libc::SYS_readlinkat => {
                text(h, a[1]);
                writes(h, a[2], a[3]);
            }
            libc::SYS_newfstatat => {
                text(h, a[1]);
                writes(h, a[2], STAT);
            }
            libc::SYS_fstat => writes(h, a[1], STAT),
            libc::SYS_statx => {
                text(h, a[1]);
                writes(h, a[4], size_of::<libc::statx>());
            }
            libc::SYS_statfs => {
                text(h, a[0]);
                writes(h, a[1], size_of::<libc::statfs>());
            }
            libc::SYS_fstatfs => writes(h, a[1], size_of::<libc::statfs>()),
            libc::SYS_utimensat => {
                text(h, a[1]);
                reads(h, a[2], 2 * TIME);
            }
            libc::SYS_getcwd => writes(h, a[0], a[1]),
            libc::SYS_getxattr | libc::SYS_lgetxattr | libc::SYS_fgetxattr => {
                attribute(h, number == libc::SYS_fgetxattr, a[0], a[1]);
                writes(h, a[2], a[3]);
            }
            libc::SYS_setxattr | libc::SYS_lsetxattr | libc::SYS_fsetxattr => {
                attribute(h, number == libc::SYS_fsetxattr, a[0], a[1]);
                reads(h, a[2], a[3]);
            }
            libc::SYS_removexattr | libc::SYS_lremovexattr | libc::SYS_fremovexattr => {
                attribute(h, number == libc::SYS_fremovexattr, a[0], a[1]);
            }
            libc::SYS_listxattr | libc::SYS_llistxattr => {
                text(h, a[0]);
                writes(h, a[1], a[2]);
            }
            libc::SYS_flistxattr => writes(h, a[1], a[2]),
            libc::SYS_name_to_handle_at => {
                text(h, a[1]);
                writes(h, a[2], of_handle(at(a[2])));
                writes(h, a[3], 4);
            }
            libc::SYS_open_by_handle_at => writes(h, a[1], of_handle(at(a[1]))),
            libc::SYS_fanotify_mark => text(h, a[4]),
            libc::SYS_pivot_root => {
                text(h, a[0]);
                text(h, a[1]);
            }
            libc::SYS_mount => {
                text(h, a[0]);
                text(h, a[1]);
                text(h, a[2]);
                reads(h, a[4], 4096);
            }
            // Sockets.
            libc::SYS_sendto => {
                reads(h, a[1], a[2]);
                reads(h, a[4], a[5]);
            }
            libc::SYS_recvfrom => {
                writes(h, a[1], a[2]);
                h.answer(at(a[4]), at(a[5]));
            }
            libc::SYS_sendmsg => h.message(at(a[1]), false),
            libc::SYS_recvmsg => h.message(at(a[1]), true),
            libc::SYS_sendmmsg => h.messages(at(a[1]), a[2], false),
            libc::SYS_recvmmsg => {
                h.messages(at(a[1]), a[2], true);
                writes(h, a[4], TIME);
            }
            libc::SYS_accept | libc::SYS_accept4 | libc::SYS_getsockname | libc::SYS_getpeername => {
                h.answer(at(a[1]), at(a[2]));
            }
            libc::SYS_connect | libc::SYS_bind => reads(h, a[1], a[2]),
            libc::SYS_getsockopt => h.answer(at(a[3]), at(a[4])),
            libc::SYS_setsockopt => reads(h, a[3], a[4]),
            libc::SYS_socketpair => writes(h, a[3], 8),
            // Waiting.
            libc::SYS_ppoll => {
                writes(h, a[0], a[1].saturating_mul(8));
                writes(h, a[2], TIME);
            }
            libc::SYS_pselect6 => {
                (1..4).for_each(|i| writes(h, a[i], of_set(a[0] as c_int)));
                writes(h, a[4], TIME);
            }
            libc::SYS_epoll_ctl => reads(h, a[3], size_of::<libc::epoll_event>()),
            libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => {
                writes(h, a[1], a[2].min(1 << 20) * size_of::<libc::epoll_event>());
                if number == libc::SYS_epoll_pwait2 {
                    reads(h, a[3], TIME);
                }
            }
            FUTEX_WAIT => {
                writes(h, a[0], 8);
                reads(h, a[4], TIME);
            }
            libc::SYS_futex => of_futex(h, a),
            libc::SYS_futex_waitv => of_many_futexes(h, a),
            libc::SYS_nanosleep => {
                reads(h, a[0], TIME);
                writes(h, a[1], TIME);
            }
            libc::SYS_clock_nanosleep => {
                reads(h, a[2], TIME);
                writes(h, a[3], TIME);
            }
            libc::SYS_wait4 => {
                writes(h, a[1], 4);
                writes(h, a[3], size_of::<libc::rusage>());
            }
            libc::SYS_waitid => {
                writes(h, a[2], size_of::<libc::siginfo_t>());
                writes(h, a[4], size_of::<libc::rusage>());
            }
            libc::SYS_rt_sigtimedwait => {
                reads(h, a[0], SET);
                writes(h, a[1], size_of::<libc::siginfo_t>());
                reads(h, a[2], TIME);
            }
            libc::SYS_rt_sigpending => writes(h, a[0], SET),
            libc::SYS_rt_sigqueueinfo => reads(h, a[2], size_of::<libc::siginfo_t>()),
            libc::SYS_rt_tgsigqueueinfo => reads(h, a[3], size_of::<libc::siginfo_t>()),
            libc::SYS_signalfd4 => reads(h, a[1], SET),
            // Times, limits, and what else says something of the process.
            libc::SYS_clock_gettime
            | libc::SYS_clock_getres
            | libc::SYS_clock_settime
            | libc::SYS_sched_rr_get_interval => writes(h, a[1], TIME),
            libc::SYS_clock_adjtime => writes(h, a[1], size_of::<libc::timex>()),
            libc::SYS_adjtimex => writes(h, a[0], size_of::<libc::timex>()),
            libc::SYS_settimeofday => {
                reads(h, a[0], TIME);
                reads(h, a[1], 8);
            }
            libc::SYS_gettimeofday => {
                writes(h, a[0], TIME);
                writes(h, a[1], 8);
            }
            libc::SYS_timer_create => {
                reads(h, a[1], size_of::<libc::sigevent>());
                writes(h, a[2], 4);
            }
            libc::SYS_timer_settime | libc::SYS_timerfd_settime => {
                reads(h, a[2], 2 * TIME);
                writes(h, a[3], 2 * TIME);
            }
            libc::SYS_timer_gettime | libc::SYS_timerfd_gettime | libc::SYS_getitimer => {
                writes(h, a[1], 2 * TIME)
            }
            libc::SYS_setitimer => {
                reads(h, a[1], 2 * TIME);
                writes(h, a[2], 2 * TIME);
            }
            libc::SYS_getrusage => writes(h, a[1], size_of::<libc::rusage>()),
            GETRLIMIT | SETRLIMIT => writes(h, a[1], 16),
            libc::SYS_prlimit64 => {
                reads(h, a[2], 16);
                writes(h, a[3], 16);
            }
            libc::SYS_uname => writes(h, a[0], size_of::<libc::utsname>()),
            libc::SYS_sysinfo => writes(h, a[0], size_of::<libc::sysinfo>()),
            libc::SYS_times => writes(h, a[0], size_of::<libc::tms>()),
            libc::SYS_sched_setaffinity | libc::SYS_sched_getaffinity => writes(h, a[2], a[1]),
            libc::SYS_sched_getparam | libc::SYS_sched_setparam => writes(h, a[1], 4),
            libc::SYS_sched_setscheduler => reads(h, a[2], 4),
            libc::SYS_sched_getattr => writes(h, a[1], a[2]),
            libc::SYS_sched_setattr => writes(h, a[1], of_attributes(at(a[1]))),
            libc::SYS_capget | libc::SYS_capset => {
                writes(h, a[0], 8);
                writes(h, a[1], 24);
            }
            libc::SYS_sethostname | libc::SYS_setdomainname => reads(h, a[0], a[1]),
            libc::SYS_syslog => writes(h, a[1], a[2]),
            libc::SYS_getgroups => writes(h, a[1], a[0].saturating_mul(4)),
            libc::SYS_setgroups => reads(h, a[1], a[0].saturating_mul(4)),
            libc::SYS_getresuid | libc::SYS_getresgid => (0..3).for_each(|i| writes(h, a[i], 4)),
            libc::SYS_getcpu => (0..2).for_each(|i| writes(h, a[i], 4)),
            libc::SYS_mincore => writes(h, a[2], a[1].div_ceil(4096)),
            libc::SYS_prctl => of_prctl(h, a[0] as c_int, [a[1], a[2], a[3], a[4]]),
            libc::SYS_ptrace => super::process::of_ptrace(h, a[0] as c_int, at(a[2]), at(a[3])),
            libc::SYS_pidfd_send_signal => reads(h, a[2], size_of::<libc::siginfo_t>()),
            libc::SYS_seccomp if a[0] == libc::SECCOMP_SET_MODE_FILTER as usize => {
                super::process::of_filter(h, at(a[2]))
            }
            libc::SYS_seccomp => writes(h, a[2], 8),
            libc::SYS_add_key => {
                text(h, a[0]);
                text(h, a[1]);
                reads(h, a[2], a[3]);
            }
            libc::SYS_request_key => (0..3).for_each(|i| text(h, a[i])),
            libc::SYS_init_module => {
                reads(h, a[0], a[1]);
                text(h, a[2]);
            }
            libc::SYS_finit_module => text(h, a[1]),
            libc::SYS_move_pages => {
                reads(h, a[2], a[1].saturating_mul(8));
                reads(h, a[3], a[1].saturating_mul(4));
                writes(h, a[4], a[1].saturating_mul(4));
            }
            libc::SYS_process_madvise => reads(h, a[1], a[2].min(1024) * size_of::<libc::iovec>()),
            CACHESTAT => {
                reads(h, a[1], 16);
                writes(h, a[2], 40);
            }
            // Queues.
            libc::SYS_msgsnd => reads(h, a[1], a[2].saturating_add(8)),
            libc::SYS_msgrcv => writes(h, a[1], a[2].saturating_add(8)),
            libc::SYS_semop | libc::SYS_semtimedop => {
                reads(h, a[1], a[2].saturating_mul(6));
                if number == libc::SYS_semtimedop {
                    reads(h, a[3], TIME);
                }
            }
            libc::SYS_msgctl | libc::SYS_shmctl => writes(h, a[2], OF_IPC),
            libc::SYS_semctl => writes(h, a[3], of_semctl(a[0] as c_int, a[2] as c_int)),
            libc::SYS_mq_open => {
                text(h, a[0]);
                reads(h, a[3], QUEUE);
            }
            libc::SYS_mq_getsetattr => {
                reads(h, a[1], QUEUE);
                writes(h, a[2], QUEUE);
            }
            libc::SYS_mq_notify => reads(h, a[1], size_of::<libc::sigevent>()),
            libc::SYS_mq_timedsend => {
                reads(h, a[1], a[2]);
                reads(h, a[4], TIME);
            }
            libc::SYS_mq_timedreceive => {
                writes(h, a[1], a[2]);
                writes(h, a[3], 4);
                reads(h, a[4], TIME);
            }
            libc::SYS_io_setup => writes(h, a[1], 8),
            libc::SYS_io_submit => reads(h, a[2], a[1].min(1 << 20) * 8),
            libc::SYS_io_getevents | IO_PGETEVENTS => {
                writes(h, a[3], a[2].min(1 << 20) * 32);
                writes(h, a[4], TIME);
            }
            libc::SYS_io_uring_setup => writes(h, a[1], 256),
            libc::SYS_io_uring_enter => reads(h, a[4], a[5]),
            libc::SYS_execve => {
                text(h, a[0]);
                h.texts(at(a[1]));
                h.texts(at(a[2]));
            }
            libc::SYS_execveat => {
                text(h, a[1]);
                h.texts(at(a[2]));
                h.texts(at(a[3]));
            }
            #[cfg(target_arch = "x86_64")]
            _ => older(h, number, a),
            #[cfg(not(target_arch = "x86_64"))]
            _ => {}
        }
    }
}

fn attribute(h: &mut Holds, descriptor: bool, file: usize, name: usize) {
    if !descriptor {
        text(h, file);
    }
    text(h, name);
}

/// The calls that newer architectures do not have.
///
/// # Safety
/// As [`hold`].
#[cfg(target_arch = "x86_64")]
unsafe fn older(h: &mut Holds, number: c_long, a: [usize; 6]) {
    match number {
        libc::SYS_open
        | libc::SYS_creat
        | libc::SYS_access
        | libc::SYS_mkdir
        | libc::SYS_rmdir
        | libc::SYS_unlink
        | libc::SYS_chmod
        | libc::SYS_chown
        | libc::SYS_lchown
        | libc::SYS_mknod => text(h, a[0]),
        libc::SYS_rename | libc::SYS_link | libc::SYS_symlink => {
            text(h, a[0]);
            text(h, a[1]);
        }
        libc::SYS_readlink => {
            text(h, a[0]);
            writes(h, a[1], a[2]);
        }
        libc::SYS_stat | libc::SYS_lstat => {
            text(h, a[0]);
            writes(h, a[1], STAT);
        }
        libc::SYS_utime | libc::SYS_utimes => {
            text(h, a[0]);
            reads(h, a[1], 2 * TIME);
        }
        libc::SYS_futimesat => {
            text(h, a[1]);
            reads(h, a[2], 2 * TIME);
        }
        libc::SYS_pipe => writes(h, a[0], 8),
        libc::SYS_poll => writes(h, a[0], a[1].saturating_mul(8)),
        libc::SYS_select => {
            (1..4).for_each(|i| writes(h, a[i], of_set(a[0] as c_int)));
            writes(h, a[4], TIME);
        }
        libc::SYS_epoll_wait => writes(h, a[1], a[2].min(1 << 20) * size_of::<libc::epoll_event>()),
        libc::SYS_getdents => writes(h, a[1], a[2]),
        libc::SYS_arch_prctl => writes(h, a[1], 8),
        libc::SYS_time => writes(h, a[0], 8),
        _ => {}
    }
}
