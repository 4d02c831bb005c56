//! What goes wrong: a poisoned context, injected failures, a lost device, calls too early, without a context, in a child.
//! Whatever makes a device sick runs in a process of its own.

mod common;

use std::ffi::{CStr, CString};
use std::ptr;

use common::*;

/// What every call of this kind answers on a device, from the current thread.
fn answers(on: &On, stream: u64, event: u64, at: u64) -> Vec<i32> {
    let (c, host) = (on.cuda, [0u8; 16]);
    vec![
        c.cuCtxSynchronize(),
        c.cuStreamSynchronize(stream),
        c.cuStreamQuery(stream),
        c.cuEventQuery(event),
        c.cuEventSynchronize(event),
        c.cuEventRecord(event, stream),
        c.cuStreamWaitEvent(stream, event, 0),
        c.cuMemcpyHtoD_v2(at, host.as_ptr().cast(), 16),
        c.cuMemcpyHtoDAsync_v2(at, host.as_ptr().cast(), 16, stream),
        c.cuMemsetD8Async(at, 0, 16, stream),
        c.cuMemFree_v2(at),
        made(|out: *mut u64| c.cuMemAlloc_v2(out, 16)).err().unwrap_or(0),
        made(|out: *mut u64| c.cuMemCreate(out, BLOCK, &on.prop(), 0)).err().unwrap_or(0),
        made(|out: *mut u64| c.cuStreamCreate(out, 0)).err().unwrap_or(0),
    ]
}

#[test]
fn touching_what_is_not_mapped_poisons_the_context() {
    if !child(&[]) {
        return;
    }
    // By a kernel, a copy and a fill; never mapped, not yet accessible, unmapped again, beyond the end.
    for what in 0..7 {
        let other = on(1);
        let on = on(0);
        let c = on.cuda;
        let (stream, event, at) = (on.stream(), on.event(), on.alloc(16));
        let size = 2 * BLOCK as u64;
        let range = on.reserve(4 * BLOCK);
        let handle = on.create(2 * BLOCK);
        if what > 0 {
            assert_eq!(c.cuMemMap(range, 2 * BLOCK, 0, handle, 0), SUCCESS);
        }
        if what > 1 {
            assert_eq!(on.access(range, 2 * BLOCK, if what == 2 { 1 } else { 3 }), SUCCESS);
        }
        let add = on.function("test_add_bytes");
        match what {
            0..=2 => assert_eq!(on.launch(add, stream, &mut [range, size, 1]), SUCCESS),
            3 => assert_eq!(on.launch(add, stream, &mut [range + 1, size, 1]), SUCCESS),
            4 => {
                assert_eq!(c.cuMemUnmap(range, 2 * BLOCK), SUCCESS);
                assert_eq!(c.cuMemcpyDtoDAsync_v2(range, at, 16, stream), SUCCESS);
            }
            5 => assert_eq!(c.cuMemsetD8Async(range, 1, 2 * BLOCK + 1, stream), SUCCESS),
            _ => assert_eq!(on.launch(add, stream, &mut [0x1000, 1, 1]), SUCCESS),
        }
        assert_eq!(c.cuStreamSynchronize(stream), ILLEGAL_ADDRESS, "{what}");
        assert!(answers(&on, stream, event, at).iter().all(|&code| code == ILLEGAL_ADDRESS), "{what}");
        // The other device is well.
        assert_eq!(c.cuCtxPushCurrent_v2(other.context), SUCCESS);
        assert_eq!(c.cuCtxSynchronize(), SUCCESS);
        assert_eq!(c.cuCtxPopCurrent_v2(ptr::null_mut()), SUCCESS);
        // A new context is well again, since the last one goes here.
    }
}

#[test]
fn unmapping_before_a_kernel_runs_is_found_out() {
    if !child(&[]) {
        return;
    }
    let on = on(0);
    let (at, stream) = (on.blocks(1), on.stream());
    let gate = gate(&on, stream);
    assert_eq!(on.launch(on.function("inc"), stream, &mut [at, 1024]), SUCCESS);
    assert_eq!(on.cuda.cuMemUnmap(at, BLOCK), SUCCESS);
    gate.open();
    assert_eq!(on.cuda.cuCtxSynchronize(), ILLEGAL_ADDRESS);
}

#[test]
fn copies_of_what_no_device_has_are_refused() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let mut host = [0u8; 64];
    let at = on.alloc(64);
    let here = host.as_mut_ptr() as u64;
    assert_eq!(c.cuMemcpyHtoD_v2(here, host.as_ptr().cast(), 16), INVALID_VALUE);
    assert_eq!(c.cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), here, 16), INVALID_VALUE);
    assert_eq!(c.cuMemcpyDtoDAsync_v2(at, 0x1000, 16, 0), INVALID_VALUE);
    assert_eq!(c.cuMemsetD8_v2(here, 0, 16), INVALID_VALUE);
    assert_eq!(c.cuMemcpyHtoDAsync_v2(0, ptr::null(), 0, 0), SUCCESS);
    // cuMemcpy takes any pointer.
    assert_eq!(c.cuMemsetD32_v2(at, 0x0102_0304, 16), SUCCESS);
    assert_eq!(c.cuMemcpy(here, at, 64), SUCCESS);
    assert_eq!(host[63], 1);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn the_nth_call_fails() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let alloc = || made(|out: *mut u64| c.cuMemAlloc_v2(out, 512)).err().unwrap_or(0);
    let before = c.hmmrt_double_used(0);
    c.arm("cuMemAlloc:2");
    assert_eq!([alloc(), alloc(), alloc()], [0, 999, 0]);
    c.arm("cuMemAlloc_v2:2+=2");
    assert_eq!([alloc(), alloc(), alloc()], [0, 2, 2]);
    assert_eq!(c.hmmrt_double_used(0) - before, 3 * 512); // failed calls did nothing
    assert_eq!([c.calls("cuMemAlloc"), c.calls("cuMemFree"), c.calls("nothing")], [3, 0, 0]);
    c.arm("any:3=1, cuMemAlloc:1=700");
    assert_eq!([alloc(), c.cuCtxSynchronize(), c.cuCtxSynchronize(), c.cuCtxSynchronize()], [700, 0, 1, 0]);
    assert_eq!(c.hmmrt_double_failed(), 2);
    // Names and versions can't fail.
    c.arm("any:1+");
    assert_eq!(made(|out| c.cuDriverGetVersion(out)), Ok(12080));
    assert_eq!(c.cuInit(0), 999);
    assert_eq!(c.hmmrt_double_arm(c"what".as_ptr()), 1);
    c.arm("");
    assert_eq!(c.cuCtxSynchronize(), SUCCESS);
    assert_eq!([c.hmmrt_double_calls_total(), c.hmmrt_double_failed()], [1, 0]);
    let mut text = [0; 64];
    assert_eq!(c.hmmrt_double_call_names(text.as_mut_ptr(), 64), "cuCtxSynchronize 1\n".len());
    // SAFETY: the call ended the text.
    assert_eq!(unsafe { CStr::from_ptr(text.as_ptr()) }, c"cuCtxSynchronize 1\n");
}

#[test]
fn a_lost_device_stays_lost() {
    if !child(&[]) {
        return;
    }
    let on = on(0);
    let c = on.cuda;
    let (stream, waiting, event) = (on.stream(), on.stream(), on.event());
    let at = on.alloc(4096);
    // A kernel that would take an hour, begun by all that is known of it, and work behind it.
    let slow = on.function("test_slow_increment");
    let before = on.event();
    assert_eq!(c.cuEventRecord(before, stream), SUCCESS);
    assert_eq!(on.launch(slow, stream, &mut [at, 1, 3_600_000_000_000]), SUCCESS);
    assert_eq!(c.cuEventRecord(event, stream), SUCCESS);
    assert_eq!(c.cuEventSynchronize(before), SUCCESS);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(c.cuStreamWaitEvent(waiting, event, 0), SUCCESS);
    let host = on.pinned(&[1; 16]);
    assert_eq!(c.cuMemcpyDtoHAsync_v2(host.cast(), at, 16, waiting), SUCCESS);
    c.arm("cuMemGetInfo:1=lost");
    let (mut free, mut total) = (0, 0);
    assert_eq!(c.cuMemGetInfo_v2(&mut free, &mut total), LAUNCH_FAILED);
    assert!(answers(&on, stream, event, at).iter().all(|&code| code == LAUNCH_FAILED));
    // The work behind it was dropped.
    // SAFETY: pinned memory that no copy writes any more.
    assert_eq!(unsafe { *host }, 1);
    // A new context does not help.
    drop(on);
    let on = common::on(0);
    assert_eq!(on.cuda.cuCtxSynchronize(), LAUNCH_FAILED);
    on.cuda.arm("");
    assert_eq!(on.cuda.cuCtxSynchronize(), SUCCESS);
}

#[test]
fn a_device_is_lost_when_the_work_runs() {
    if !child(&[]) {
        return;
    }
    let on = on(0);
    let c = on.cuda;
    let (stream, at) = (on.stream(), on.alloc(4096));
    on.run("test_fill_bytes", &mut [at, 8, 0]);
    let add = on.function("test_add_word");
    c.arm("cuLaunchKernel:2=async");
    assert_eq!(on.launch(add, stream, &mut [at]), SUCCESS);
    assert_eq!(c.cuStreamSynchronize(stream), SUCCESS);
    assert_eq!(on.launch(add, stream, &mut [at]), SUCCESS);
    assert_eq!(c.cuStreamSynchronize(stream), LAUNCH_FAILED);
    c.arm("");
    assert_eq!(on.get::<u64>(at, 1), [1]);
    for call in ["cuMemcpyDtoDAsync:1=async", "cuEventRecord:1=async", "cuMemAlloc:1=async"] {
        let (stream, event) = (on.stream(), on.event());
        c.arm(call);
        assert_eq!(c.cuMemcpyDtoDAsync_v2(at + 64, at, 64, stream), SUCCESS, "{call}");
        if call.contains("Event") {
            assert_eq!(c.cuEventRecord(event, stream), SUCCESS);
        }
        if call.contains("Alloc") {
            on.alloc(16);
        }
        assert_eq!(c.cuStreamSynchronize(stream), LAUNCH_FAILED, "{call}");
        c.arm("");
    }
}

#[test]
fn contexts_are_asked_for() {
    if !child(&[]) {
        return;
    }
    let c = bare();
    let mut out = 0u64;
    assert_eq!(c.cuMemAlloc_v2(&mut out, 16), NOT_INITIALIZED);
    assert_eq!(c.cuDevicePrimaryCtxRetain(&mut out, 0), NOT_INITIALIZED);
    assert_eq!(c.cuInit(1), INVALID_VALUE);
    assert_eq!(c.cuInit(0), SUCCESS);
    assert_eq!(c.cuMemAlloc_v2(&mut out, 16), INVALID_CONTEXT);
    assert_eq!(c.cuDevicePrimaryCtxRetain(&mut out, 2), INVALID_DEVICE);
    assert_eq!(c.cuCtxPushCurrent_v2(1234), INVALID_CONTEXT);
    assert_eq!(c.cuCtxPopCurrent_v2(&mut out), INVALID_CONTEXT);
    assert_eq!(c.cuDevicePrimaryCtxRelease_v2(0), INVALID_CONTEXT);

    let (first, second) = (on(0), on(1));
    assert_eq!(made(|out| c.cuCtxGetCurrent(out)), Ok(second.context));
    assert_eq!(made(|out| c.cuCtxGetDevice(out)), Ok(1));
    let stream = second.stream();
    assert_eq!(c.cuCtxPopCurrent_v2(ptr::null_mut()), SUCCESS);
    assert_eq!(made(|out| c.cuCtxGetDevice(out)), Ok(0));
    assert_eq!(made(|out| c.cuStreamGetCtx(stream, out)), Ok(second.context));
    // A function runs on its own device's streams only, events are recorded there only.
    let function = first.function("test_add_word");
    assert_eq!(first.launch(function, stream, &mut [0]), INVALID_HANDLE);
    assert_eq!(c.cuEventRecord(first.event(), stream), INVALID_HANDLE);
    // Each thread has its own.
    std::thread::spawn(move || assert_eq!(c.cuCtxSynchronize(), INVALID_CONTEXT)).join().unwrap();

    let own = made(|out| c.cuCtxCreate_v2(out, 0, 1)).unwrap();
    assert_eq!(made(|out| c.cuCtxGetCurrent(out)), Ok(own));
    assert_eq!(c.cuCtxDestroy_v2(own), SUCCESS);
    assert_eq!(made(|out| c.cuCtxGetCurrent(out)), Ok(first.context));
    assert_eq!(c.cuCtxSetCurrent(0), SUCCESS);
    assert_eq!(c.cuCtxSynchronize(), INVALID_CONTEXT);
    assert_eq!(c.cuCtxSetCurrent(first.context), SUCCESS);

    // The last release ends the context, and what was in it.
    let before = c.hmmrt_double_used(0);
    first.alloc(BLOCK);
    assert_eq!(c.cuDevicePrimaryCtxRelease_v2(0), SUCCESS);
    assert_eq!(c.cuCtxSynchronize(), DESTROYED);
    assert_eq!(c.hmmrt_double_used(0), before);
    std::mem::forget((first, second));
}

#[test]
fn a_forked_child_has_no_driver() {
    if !child(&[]) {
        return;
    }
    let on = on(0);
    // SAFETY: the child only calls the double, which answers before it takes any lock, and ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let codes = [on.cuda.cuCtxSynchronize(), on.cuda.cuInit(0)];
            libc::_exit(if codes == [NOT_INITIALIZED; 2] { 7 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7);
    }
}

#[test]
fn after_exit_began_the_driver_is_gone() {
    extern "C" fn check() {
        if bare().cuCtxSynchronize() != 4 {
            // SAFETY: ends the process with a status that is not success.
            unsafe { libc::_exit(1) };
        }
    }
    if !child(&[]) {
        return;
    }
    // Before init, so called after the driver's own.
    // SAFETY: the function has the right type.
    unsafe { libc::atexit(check) };
    let on = on(0);
    assert_eq!(on.cuda.cuCtxSynchronize(), SUCCESS);
}

#[test]
fn errors_and_functions_have_names() {
    let _turn = alone();
    let c = cuda();
    let name = |code| {
        let mut text = ptr::null();
        let found = c.cuGetErrorName(code, &mut text);
        // SAFETY: a text of the library, or NULL.
        (found, (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap()))
    };
    assert_eq!(name(0), (0, Some("CUDA_SUCCESS")));
    assert_eq!(name(700), (0, Some("CUDA_ERROR_ILLEGAL_ADDRESS")));
    assert_eq!(name(12345), (1, None));

    let find = |name: &str, version| {
        let name = CString::new(name).unwrap();
        let (mut at, mut status) = (ptr::null_mut(), -1);
        let code = c.cuGetProcAddress_v2(name.as_ptr(), &mut at, version, 0, &mut status);
        (code, status, !at.is_null())
    };
    assert_eq!(find("cuMemAlloc", 12000), (0, 0, true));
    assert_eq!(find("cuLaunchKernel", 12000), (0, 0, true));
    assert_eq!(find("cuFuncGetParamInfo", 12000), (NOT_FOUND, 2, false));
    assert_eq!(find("cuNothing", 12000), (NOT_FOUND, 1, false));
}

#[test]
fn modules_hold_what_they_name() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let load = |text: &str| {
        let text = CString::new(text).unwrap();
        made(|out: *mut u64| c.cuModuleLoadData(out, text.as_ptr().cast()))
    };
    assert_eq!(load(""), Err(INVALID_PTX));
    assert_eq!(load("nothing known"), Err(INVALID_IMAGE));
    assert_eq!(load(".version 6.0\n.target sm_50\n.entry inc() {"), Err(INVALID_PTX));
    let module = load(".version 6.0\n.target sm_50\n.entry inc() {}\n.entry mine() {}").unwrap();
    let function = |name: &CStr| made(|out: *mut u64| c.cuModuleGetFunction(out, module, name.as_ptr()));
    assert_eq!([function(c"mine"), function(c"triad")], [Err(NOT_FOUND); 2]);
    let inc = function(c"inc").unwrap();
    let (mut at, mut size) = (0, 0);
    assert_eq!(c.cuFuncGetParamInfo(inc, 1, &mut at, &mut size), SUCCESS);
    assert_eq!((at, size), (8, 8));
    assert_eq!(c.cuFuncGetParamInfo(inc, 2, &mut at, &mut size), INVALID_VALUE);
    assert_eq!(c.cuModuleUnload(module), SUCCESS);
    assert_eq!(on.launch(inc, 0, &mut [0, 0]), INVALID_HANDLE);
    // The runtime's own.
    let ptx =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/kernels.ptx")).unwrap();
    let module = load(&ptx).unwrap();
    assert!(made(|out: *mut u64| c.cuModuleGetFunction(out, module, c"hmm_checksum".as_ptr())).is_ok());
}
