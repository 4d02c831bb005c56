//! The HIP front-end: what is HIP's own. The device model behind it is tested through the CUDA front-end.

mod common;

use std::ptr;

use common::*;

const IN: i32 = 1;
const OUT: i32 = 2;
/// What new memory is full of.
const NEW: u8 = 0xdb;

fn prop(device: i32) -> Prop {
    Prop { kind: 1, handles: 0, location: [1, device], win32: ptr::null_mut(), flags: 0 }
}

/// Reserved addresses with memory of a device behind them.
fn mapped(device: i32, size: usize) -> u64 {
    let h = hip();
    let at = made(|out| h.hipMemAddressReserve(out, size, 0, 0, 0)).expect("addresses");
    let memory = made(|out| h.hipMemCreate(out, size, &prop(device), 0)).expect("memory");
    assert_eq!(h.hipMemMap(at, size, 0, memory, 0), SUCCESS);
    let access = Access { location: [1, device], flags: 3 };
    assert_eq!(h.hipMemSetAccess(at, size, &access, 1), SUCCESS);
    assert_eq!(h.hipMemRelease(memory), SUCCESS);
    at
}

fn get(at: u64, n: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; n];
    assert_eq!(hip().hipMemcpy(bytes.as_mut_ptr() as u64, at, n, OUT), SUCCESS);
    bytes
}

#[test]
fn it_starts_by_itself() {
    if !child(&[]) {
        return;
    }
    let h = hip();
    assert_eq!(made(|out| h.hipGetDeviceCount(out)), Ok(2));
    assert_eq!(made(|out| h.hipDriverGetVersion(out)), Ok(60_342_134));
    assert_eq!(made(|out| h.hipDeviceTotalMem(out, 0)), Ok(8 << 30));
    let attribute = |name| made(|out| h.hipDeviceGetAttribute(out, name, 0)).unwrap();
    // Memory mapping, pageable memory, unified addressing, warps.
    assert_eq!([89, 65, 85, 87].map(attribute), [1, 0, 1, 64]);
    let mut name = [0; 64];
    assert_eq!(h.hipDeviceGetName(name.as_mut_ptr(), 64, 1), SUCCESS);
    assert_eq!(text(name.as_ptr()), "libhmmrt HIP double 1");

    assert_eq!(made(|out| h.hipGetDevice(out)), Ok(0));
    assert_eq!(h.hipSetDevice(1), SUCCESS);
    assert_eq!(made(|out| h.hipGetDevice(out)), Ok(1));
    assert_eq!(h.hipSetDevice(2), 101);
    // Each thread has its own.
    std::thread::spawn(move || assert_eq!(made(|out| h.hipGetDevice(out)), Ok(0))).join().unwrap();
}

#[test]
fn without_a_device_there_is_nothing() {
    if !child(&[("HMMRT_DOUBLE_DEVICES", "0")]) {
        return;
    }
    assert_eq!(hip().hipInit(0), 100);
    assert_eq!(made(|out| hip().hipGetDeviceCount(out)), Err(100));
    assert_eq!(made(|out| hip().hipMalloc(out, 16)), Err(100));
    assert_eq!(text(hip().hipGetErrorName(100)), "hipErrorNoDevice");
    // The compiler needs none.
    assert!(compile("hmm_fill").is_ok());
}

#[test]
fn errors_have_names_and_the_last_is_kept() {
    let _turn = alone();
    let h = hip();
    let names = [0, 2, 600, 700, 719, 12345].map(|code| text(h.hipGetErrorName(code)));
    let own = ["hipSuccess", "hipErrorOutOfMemory", "hipErrorNotReady", "hipErrorIllegalAddress"];
    assert_eq!(names[..4], own);
    assert_eq!(names[4..], ["hipErrorLaunchFailure", "hipErrorUnknown"]);
    assert_eq!(text(h.hipGetErrorString(2)), "out of memory");
    h.hipGetLastError();
    assert_eq!(made(|out| h.hipMalloc(out, 1 << 50)), Err(2));
    assert_eq!([h.hipPeekAtLastError(), h.hipGetLastError(), h.hipGetLastError()], [2, 2, 0]);
}

#[test]
fn sources_are_compiled_to_modules() {
    let _turn = alone();
    let h = hip();
    let (code, log) = compile("__global__ void mine() {}").unwrap_err();
    assert_eq!((code, text(h.hiprtcGetErrorString(code))), (6, "HIPRTC_ERROR_COMPILATION"));
    assert!(log.starts_with("test.hip: error"), "{log}");
    // The runtime's own source; as it is it is no code.
    let source =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/kernels.cu")).unwrap();
    let code = compile(&source).unwrap();
    let module = made(|out| h.hipModuleLoadData(out, code.as_ptr().cast())).unwrap();
    let find =
        |name: &std::ffi::CStr| made(|out: *mut u64| h.hipModuleGetFunction(out, module, name.as_ptr()));
    for name in [c"hmm_fill", c"hmm_list_walk", c"hmm_checksum"] {
        assert!(find(name).is_ok());
    }
    assert_eq!(find(c"triad"), Err(500));
    assert_eq!(h.hipModuleUnload(module), SUCCESS);
    let source = std::ffi::CString::new(source).unwrap();
    assert_eq!(made(|out: *mut u64| h.hipModuleLoadData(out, source.as_ptr().cast())), Err(200));
}

#[test]
fn work_runs_in_streams() {
    let _turn = alone();
    let h = hip();
    let [a, b] = [1, 1].map(|flags| made(|out| h.hipStreamCreateWithFlags(out, flags)).unwrap());
    let event = made(|out| h.hipEventCreateWithFlags(out, 2 | 0x4000_0000)).unwrap();
    let at = mapped(0, BLOCK);
    let mut host = ptr::null_mut();
    assert_eq!(h.hipHostMalloc(&mut host, BLOCK, 1), SUCCESS);
    h.arm("");
    assert_eq!(h.hipMemsetD8Async(at, 5, BLOCK, a), SUCCESS);
    assert_eq!(launch(function("test_add_bytes"), a, &mut [at, BLOCK as u64, 2]), SUCCESS);
    assert_eq!(h.hipEventRecord(event, a), SUCCESS);
    assert_eq!(h.hipStreamWaitEvent(b, event, 0), SUCCESS);
    assert_eq!(h.hipMemcpyDtoHAsync(host, at, BLOCK, b), SUCCESS);
    assert_eq!(h.hipStreamSynchronize(b), SUCCESS);
    assert_eq!([h.hipEventQuery(event), h.hipEventSynchronize(event)], [SUCCESS; 2]);
    // SAFETY: pinned memory, and the copy is done.
    assert_eq!(unsafe { *host.cast::<u8>().add(BLOCK - 1) }, 7);
    assert_eq!([h.calls("pageable"), h.calls("hipMemcpyDtoHAsync")], [0, 1]);

    // Between devices; their addresses differ, and a device other than the thread's.
    let to = mapped(1, BLOCK);
    assert_eq!(h.hipMemcpyPeerAsync(to, 1, at, 0, BLOCK, a), SUCCESS);
    assert_eq!(h.hipDeviceSynchronize(), SUCCESS);
    assert_eq!(h.hipSetDevice(1), SUCCESS);
    assert_eq!(get(to, 3), [7; 3]);
    assert_eq!(h.hipSetDevice(0), SUCCESS);

    let mut pointer = [0u64; 4];
    assert_eq!(h.hipPointerGetAttributes(&mut pointer, to as *const _), SUCCESS);
    assert_eq!(pointer, [1 << 32 | 2, to, 0, 0]); // device memory, device 1
    for at in [at, to] {
        assert_eq!(h.hipMemUnmap(at, BLOCK), SUCCESS);
        assert_eq!(h.hipMemAddressFree(at, BLOCK), SUCCESS);
    }
    assert_eq!(h.hipHostFree(host), SUCCESS);
    assert_eq!([a, b].map(|stream| h.hipStreamDestroy(stream)), [SUCCESS; 2]);
    assert_eq!(h.hipEventDestroy(event), SUCCESS);
}

#[test]
fn copies_lie_in_one_reservation() {
    let _turn = alone();
    let h = hip();
    let at = mapped(0, BLOCK);
    assert_eq!(get(at, BLOCK), vec![NEW; BLOCK]);
    let host = [3u8; 64];
    assert_eq!(h.hipMemcpy(at + BLOCK as u64 - 64, host.as_ptr() as u64, 64, IN), SUCCESS);
    assert_eq!(h.hipMemcpy(at + BLOCK as u64 - 32, host.as_ptr() as u64, 64, IN), INVALID_VALUE);
    assert_eq!(h.hipMemcpy(at, host.as_ptr() as u64, 64, 9), 21);
    assert_eq!(get(at + BLOCK as u64 - 1, 1), [3]);
    assert_eq!(h.hipMemUnmap(at, BLOCK), SUCCESS);
    assert_eq!(h.hipMemAddressFree(at, BLOCK), SUCCESS);
}

#[test]
fn allocations_managed_and_registered() {
    let _turn = alone();
    let h = hip();
    let before = h.hmmrt_double_used(0);
    assert_eq!(made(|out| h.hipMalloc(out, 0)), Ok(0));
    let at = made(|out| h.hipMalloc(out, 4096)).unwrap();
    let managed = made(|out| h.hipMallocManaged(out, 4096, 1)).unwrap();
    assert_eq!(h.hmmrt_double_used(0) - before, 8192);
    assert_eq!(get(at, 4096), [NEW; 4096]);
    assert_eq!(h.hipMemPrefetchAsync(managed, 4096, 0, 0), SUCCESS);
    assert_eq!(h.hipMemAdvise(managed, 4096, 3, 0), SUCCESS);
    assert_eq!(launch(function("test_fill_bytes"), 0, &mut [managed, 4096, 8]), SUCCESS);
    assert_eq!(h.hipDeviceSynchronize(), SUCCESS);
    // SAFETY: managed memory, and the kernel is done.
    assert_eq!(unsafe { *(managed as *const u8).add(4095) }, 8);
    assert_eq!([at, managed, 0].map(|at| h.hipFree(at)), [SUCCESS; 3]);
    assert_eq!(h.hmmrt_double_used(0), before);

    let mut host = vec![1u8; 4096];
    let host = host.as_mut_ptr().cast();
    assert_eq!(h.hipHostRegister(host, 4096, 0), SUCCESS);
    assert_eq!(h.hipHostRegister(host, 4096, 0), 712);
    assert_eq!([h.hipHostUnregister(host), h.hipHostUnregister(host)], [SUCCESS, 713]);
}

#[test]
fn a_sick_device_says_so() {
    if !child(&[]) {
        return;
    }
    let h = hip();
    let at = made(|out| h.hipMemAddressReserve(out, BLOCK, 0, 0, 0)).unwrap();
    assert_eq!(launch(function("inc"), 0, &mut [at, 1]), SUCCESS);
    assert_eq!(h.hipDeviceSynchronize(), ILLEGAL_ADDRESS);
    assert_eq!(made(|out: *mut u64| h.hipMalloc(out, 16)), Err(ILLEGAL_ADDRESS));
    h.arm("hipMalloc:1=lost");
    assert_eq!(made(|out: *mut u64| h.hipMalloc(out, 16)), Err(LAUNCH_FAILURE));
    assert_eq!(h.hipStreamSynchronize(0), LAUNCH_FAILURE);
    assert_eq!(h.hipSetDevice(1), SUCCESS);
    assert_eq!(h.hipDeviceSynchronize(), SUCCESS);
    h.arm("any:2=2");
    assert_eq!([h.hipDeviceSynchronize(), h.hipDeviceSynchronize()], [SUCCESS, 2]);
}
