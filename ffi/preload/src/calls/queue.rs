//! System V's messages, semaphores and shared memory, POSIX's message queues, and event counters. What is taken out of a queue is
//! lost if it can't be written: such calls hold always.

use crate::names;
use core::ffi::{c_char, c_int, c_long, c_uint, c_void};
use libc::{mode_t, mq_attr, mqd_t, sembuf, timespec};

crate::holds::wraps! {
    fn msgsnd(queue: c_int, from: *const c_void, n: usize, flags: c_int) -> c_int |h| { h.reads(from, n.saturating_add(8)) }
    fn msgrcv(queue: c_int, to: *mut c_void, n: usize, kind: c_long, flags: c_int) -> isize |h| if always {
        h.writes(to, n.saturating_add(8))
    }
    fn msgctl(queue: c_int, command: c_int, arg: *mut c_void) -> c_int |h| { h.writes(arg, OF_IPC) }
    fn shmctl(memory: c_int, command: c_int, arg: *mut c_void) -> c_int |h| { h.writes(arg, OF_IPC) }
    fn semop(set: c_int, all: *mut sembuf, n: usize) -> c_int |h| { h.reads(all, n.saturating_mul(6)) }
    fn semtimedop(set: c_int, all: *mut sembuf, n: usize, time: *const timespec) -> c_int |h| {
        h.reads(all, n.saturating_mul(6));
        h.one(time);
    }
    // Its last is a variable argument: a union of a number and pointers, which is passed as any fourth argument.
    fn semctl(set: c_int, number: c_int, command: c_int, arg: *mut c_void) -> c_int |h| {
        h.writes(arg, of_semctl(set, command))
    }
    fn mq_open(name: *const c_char, flags: c_int, mode: mode_t, attributes: *const mq_attr) -> mqd_t |h| {
        h.text(name);
        h.reads(attributes, if flags & libc::O_CREAT != 0 { size_of::<mq_attr>() } else { 0 });
    }
    fn __mq_open_2(name: *const c_char, flags: c_int) -> mqd_t |h| { h.text(name) }
    fn mq_unlink(name: *const c_char) -> c_int |h| { h.text(name) }
    fn mq_getattr(queue: mqd_t, to: *mut mq_attr) -> c_int |h| { h.one(to) }
    fn mq_setattr(queue: mqd_t, from: *const mq_attr, old: *mut mq_attr) -> c_int |h| if always {
        h.one(old);
        h.reads(from, size_of::<mq_attr>());
    }
    fn mq_send(queue: mqd_t, from: *const c_char, n: usize, priority: c_uint) -> c_int |h| { h.reads(from, n) }
    fn mq_timedsend(queue: mqd_t, from: *const c_char, n: usize, priority: c_uint, time: *const timespec) -> c_int |h| {
        h.reads(from, n);
        h.one(time);
    }
    fn mq_receive(queue: mqd_t, to: *mut c_char, n: usize, priority: *mut c_uint) -> isize |h| if always {
        h.writes(to, n);
        h.one(priority);
    }
    fn mq_timedreceive(
        queue: mqd_t, to: *mut c_char, n: usize, priority: *mut c_uint, time: *const timespec,
    ) -> isize |h| if always {
        h.writes(to, n);
        h.one(priority);
        h.one(time);
    }
    fn eventfd_read(fd: c_int, to: *mut u64) -> c_int |h| if always { h.one(to) }
}

/// No struct of msgctl's and shmctl's has more.
pub const OF_IPC: usize = 256;

/// The bytes of semctl's argument.
pub fn of_semctl(set: c_int, command: c_int) -> usize {
    const GETALL: c_int = 13;
    const SETALL: c_int = 17;
    match command {
        GETALL | SETALL => {
            // SAFETY: all zeros is one; the kernel writes no more than it.
            unsafe {
                let mut of: libc::semid_ds = core::mem::zeroed();
                let a = [set as usize, 0, libc::IPC_STAT as usize, (&raw mut of).expose_provenance(), 0, 0];
                match names::bare(libc::SYS_semctl, a) {
                    0.. => (of.sem_nsems as usize).saturating_mul(2),
                    _ => 0,
                }
            }
        }
        // A number, or nothing.
        libc::IPC_RMID | 11..=16 => 0,
        _ => size_of::<libc::semid_ds>(),
    }
}
