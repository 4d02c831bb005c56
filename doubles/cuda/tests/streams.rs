//! Order: streams, the default stream, events, host functions; and which copies are asynchronous.

mod common;

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::*;

fn add(on: &On, stream: u64, at: u64, n: u64, v: u64) {
    assert_eq!(on.launch(on.function("test_add_bytes"), stream, &mut [at, n, v]), SUCCESS);
}

/// Memory of that size, cleared.
fn zeros(on: &On, size: usize) -> u64 {
    let at = on.alloc(size);
    on.run("test_fill_bytes", &mut [at, size as u64, 0]);
    at
}

#[test]
fn a_stream_does_one_thing_after_the_other() {
    let _turn = alone();
    let on = on(0);
    let (c, stream) = (on.cuda, on.stream());
    let (at, host) = (on.alloc(BLOCK), on.pinned(&vec![1u8; BLOCK]));
    assert_eq!(c.cuMemcpyHtoDAsync_v2(at, host.cast(), BLOCK, stream), SUCCESS);
    add(&on, stream, at, BLOCK as u64, 4);
    assert_eq!(c.cuMemcpyDtoHAsync_v2(host.cast(), at, BLOCK, stream), SUCCESS);
    assert_eq!(c.cuMemsetD8Async(at, 9, BLOCK, stream), SUCCESS);
    assert_eq!(c.cuStreamSynchronize(stream), SUCCESS);
    assert_eq!(c.cuStreamQuery(stream), SUCCESS);
    // SAFETY: pinned memory, and the copy is done.
    assert_eq!(unsafe { [*host, *host.add(BLOCK - 1)] }, [5, 5]);
    assert_eq!(on.get::<u8>(at, 1), [9]);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn copies_of_pinned_memory_are_asynchronous_and_of_pageable_not() {
    let _turn = alone();
    let on = on(0);
    let (c, stream) = (on.cuda, on.stream());
    let at = on.alloc(BLOCK);
    let pinned = on.pinned(&vec![1u8; BLOCK]);
    let mut pageable = vec![1u8; BLOCK];
    c.arm("");

    let gate_ = gate(&on, stream);
    // Read when its turn comes.
    assert_eq!(c.cuMemcpyHtoDAsync_v2(at, pinned.cast(), BLOCK, stream), SUCCESS);
    // SAFETY: pinned memory; the copy waits at the gate.
    unsafe { pinned.write_bytes(2, BLOCK) };
    assert_eq!(c.cuStreamQuery(stream), NOT_READY);
    gate_.open();
    assert_eq!(c.cuStreamSynchronize(stream), SUCCESS);
    assert_eq!(on.get::<u8>(at, 2), [2, 2]);
    assert_eq!(c.calls("pageable"), 1); // that of the line above

    let gate_ = gate(&on, stream);
    // Read at once, though it gets there when its turn comes.
    assert_eq!(c.cuMemcpyHtoDAsync_v2(at, pageable.as_ptr().cast(), BLOCK, stream), SUCCESS);
    pageable.fill(7);
    assert_eq!(c.cuStreamQuery(stream), NOT_READY);
    gate_.open();
    // Complete when it returns.
    assert_eq!(c.cuMemcpyDtoHAsync_v2(pageable.as_mut_ptr().cast(), at, BLOCK, stream), SUCCESS);
    assert!(pageable.iter().all(|&v| v == 1));
    assert_eq!(c.calls("pageable"), 3);
    assert_eq!(c.calls("cuMemcpyHtoDAsync"), 2);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn a_fault_in_a_pageable_copy_has_the_drivers_lock() {
    static BASE: AtomicUsize = AtomicUsize::new(0);
    static STATE: AtomicUsize = AtomicUsize::new(0);
    const FAULTED: usize = 1;
    const ANSWERED: usize = 2;
    extern "C" fn handler(_: i32) {
        // Another thread asks the driver now. It may not have asked yet, but if it is answered the lock was not held.
        STATE.store(FAULTED, SeqCst);
        let pause = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
        // SAFETY: both are allowed in a handler, and the page is the test's.
        unsafe {
            libc::nanosleep(&pause, ptr::null_mut());
            if STATE.load(SeqCst) == ANSWERED {
                libc::_exit(1);
            }
            libc::mprotect(BASE.load(SeqCst) as *mut _, 4096, libc::PROT_READ);
        }
    }
    if !child(&[]) {
        return;
    }
    let on = on(0);
    let at = on.alloc(4096);
    // SAFETY: a new mapping, and a handler that only does what handlers may.
    let host = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let host = libc::mmap(ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0);
        BASE.store(host as usize, SeqCst);
        libc::signal(libc::SIGSEGV, handler as *const () as usize);
        host
    };
    let other = std::thread::spawn(|| {
        while STATE.load(SeqCst) != FAULTED {
            std::thread::yield_now();
        }
        let count = made(|out| bare().cuDeviceGetCount(out));
        STATE.store(ANSWERED, SeqCst);
        count
    });
    assert_eq!(on.cuda.cuMemcpyHtoDAsync_v2(at, host, 4096, on.stream()), SUCCESS);
    assert_eq!(other.join().unwrap(), Ok(2));
}

#[test]
fn the_default_stream_is_ordered_against_blocking_streams() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let blocking = made(|out| c.cuStreamCreate(out, 0)).unwrap();
    let other = on.stream();
    let at = zeros(&on, 64);

    // After what is in a blocking stream.
    let gate_ = gate(&on, blocking);
    add(&on, blocking, at, 1, 3);
    assert_eq!(c.cuMemcpyDtoDAsync_v2(at + 1, at, 1, 0), SUCCESS);
    assert_eq!(c.cuStreamQuery(0), NOT_READY);
    // A stream that does not block does not wait.
    add(&on, other, at + 8, 1, 1);
    assert_eq!(c.cuStreamSynchronize(other), SUCCESS);
    gate_.open();
    assert_eq!(c.cuStreamSynchronize(0), SUCCESS);
    assert_eq!(on.get::<u8>(at, 2), [3, 3]);

    // And before what comes into one later.
    let gate_ = gate(&on, 0);
    add(&on, 0, at, 1, 4);
    assert_eq!(c.cuMemcpyDtoDAsync_v2(at + 2, at, 1, blocking), SUCCESS);
    assert_eq!(c.cuStreamQuery(blocking), NOT_READY);
    gate_.open();
    assert_eq!(c.cuStreamSynchronize(blocking), SUCCESS);
    assert_eq!(on.get::<u8>(at, 3), [7, 3, 7]);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn events_stand_for_a_point_of_a_stream() {
    let _turn = alone();
    let on = on(0);
    let (c, a, b) = (on.cuda, on.stream(), on.stream());
    let at = zeros(&on, 64);
    let event = on.event();
    // Never recorded: reached, and nothing to wait for.
    assert_eq!(c.cuEventQuery(event), SUCCESS);
    assert_eq!(c.cuStreamWaitEvent(b, event, 0), SUCCESS);
    assert_eq!(c.cuStreamSynchronize(b), SUCCESS);
    assert_eq!(made(|out| c.cuEventElapsedTime(out, event, event)), Err(INVALID_HANDLE));

    let first = gate(&on, a);
    add(&on, a, at, 1, 3);
    assert_eq!(c.cuEventRecord(event, a), SUCCESS);
    assert_eq!(c.cuEventQuery(event), NOT_READY);
    // Waits for the record as it is now...
    assert_eq!(c.cuStreamWaitEvent(b, event, 0), SUCCESS);
    assert_eq!(c.cuMemcpyDtoDAsync_v2(at + 1, at, 1, b), SUCCESS);
    let second = gate(&on, a);
    // ...and not for this one.
    assert_eq!(c.cuEventRecord(event, a), SUCCESS);
    assert_eq!(c.cuStreamQuery(b), NOT_READY);
    first.open();
    assert_eq!(c.cuStreamSynchronize(b), SUCCESS);
    assert_eq!(c.cuEventQuery(event), NOT_READY);
    second.open();
    assert_eq!(c.cuEventSynchronize(event), SUCCESS);
    assert_eq!(c.cuEventQuery(event), SUCCESS);
    assert_eq!(on.get::<u8>(at, 2), [3, 3]);

    let later = on.event();
    assert_eq!(c.cuEventRecord(later, b), SUCCESS);
    assert_eq!(c.cuEventSynchronize(later), SUCCESS);
    assert!(made(|out| c.cuEventElapsedTime(out, event, later)).unwrap() >= 0.0);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn streams_and_events_may_go_with_work_pending() {
    let _turn = alone();
    let on = on(0);
    let (c, a, b) = (on.cuda, on.stream(), on.stream());
    let at = zeros(&on, 64);
    let event = on.event();
    let gate_ = gate(&on, a);
    add(&on, a, at, 1, 3);
    assert_eq!(c.cuEventRecord(event, a), SUCCESS);
    assert_eq!(c.cuStreamWaitEvent(b, event, 0), SUCCESS);
    add(&on, b, at, 1, 4);
    assert_eq!(c.cuStreamDestroy_v2(a), SUCCESS);
    assert_eq!(c.cuEventDestroy_v2(event), SUCCESS);
    assert_eq!([c.cuStreamQuery(a), c.cuEventQuery(event)], [INVALID_HANDLE; 2]);
    assert_eq!(c.cuStreamDestroy_v2(a), INVALID_HANDLE);
    gate_.open();
    assert_eq!(c.cuStreamSynchronize(b), SUCCESS);
    assert_eq!(on.get::<u8>(at, 1), [7]);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn parameters_are_taken_at_the_call() {
    let _turn = alone();
    let on = on(0);
    let (c, stream) = (on.cuda, on.stream());
    let at = zeros(&on, 64);
    let gate_ = gate(&on, stream);
    let function = on.function("test_add_bytes");
    let mut values = [at, 1, 3];
    assert_eq!(on.launch(function, stream, &mut values), SUCCESS);
    values.fill(0);

    // As one buffer, too; the last parameter is one byte.
    let mut buffer = [0u8; 17];
    buffer[..8].copy_from_slice(&at.to_ne_bytes());
    buffer[8] = 1;
    buffer[16] = 4;
    let mut size = buffer.len();
    let mut extra =
        [1 as Ptr, buffer.as_mut_ptr().cast(), 2 as Ptr, ptr::from_mut(&mut size).cast(), ptr::null_mut()];
    let none = ptr::null_mut();
    let launch = |values, extra, grid, block, shared| {
        c.cuLaunchKernel(function, grid, 1, 1, block, 1, 1, shared, stream, values, extra)
    };
    assert_eq!(launch(none, extra.as_mut_ptr(), 1, 1, 0), SUCCESS);
    buffer.fill(0);
    assert_eq!(launch(none, none, 1, 1, 0), INVALID_VALUE);

    let mut values = [at, 1, 0].map(|value| Box::into_raw(Box::new(value)).cast::<c_void>());
    let values = values.as_mut_ptr();
    assert_eq!(launch(values, extra.as_mut_ptr(), 1, 1, 0), INVALID_VALUE); // one or the other
    assert_eq!(launch(values, none, 0, 1, 0), INVALID_VALUE);
    assert_eq!(launch(values, none, 1, 1025, 0), INVALID_VALUE);
    assert_eq!(launch(values, none, 1, 1024, (48 << 10) + 1), INVALID_VALUE);
    assert_eq!(c.cuFuncSetAttribute(function, 8, 64 << 10), SUCCESS);
    assert_eq!(launch(values, none, 1, 1024, (48 << 10) + 1), SUCCESS);
    assert_eq!(c.cuFuncSetAttribute(function, 8, 1 << 20), INVALID_VALUE);
    gate_.open();
    assert_eq!(c.cuStreamSynchronize(stream), SUCCESS);
    assert_eq!(on.get::<u8>(at, 1), [7]);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn host_functions_may_not_call_the_driver() {
    let _turn = alone();
    /// # Safety
    /// `answer` is an `i32` that nobody else uses until the stream is done.
    unsafe extern "C" fn calls(answer: *mut c_void) {
        let mut count = 0;
        // SAFETY: the test's own variable, which it reads when the stream is done.
        unsafe { *answer.cast::<i32>() = bare().cuDeviceGetCount(&mut count) };
    }
    let on = on(0);
    let mut answer = -1i32;
    let at = ptr::from_mut(&mut answer);
    assert_eq!(on.cuda.cuLaunchHostFunc(0, Some(calls), at.cast()), SUCCESS);
    assert_eq!(on.cuda.cuStreamSynchronize(0), SUCCESS);
    // SAFETY: the function has run.
    assert_eq!(unsafe { *at }, 800);
}
