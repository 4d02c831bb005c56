//! The settings, each in a process of its own.

mod common;

use std::ffi::CStr;

use common::*;

fn attribute(name: i32) -> i32 {
    made(|out| cuda().cuDeviceGetAttribute(out, name, 0)).unwrap()
}

#[test]
fn as_it_comes() {
    if !child(&[]) {
        return;
    }
    let c = cuda();
    assert_eq!(made(|out| c.cuDeviceGetCount(out)), Ok(2));
    assert_eq!(made(|out| c.cuDeviceGet(out, 2)), Err(INVALID_DEVICE));
    assert_eq!(made(|out| c.cuDeviceTotalMem_v2(out, 1)), Ok(8 << 30));
    assert_eq!([75, 76, 41, 102, 88, 89, 100, 101].map(attribute), [9, 0, 1, 1, 0, 0, 0, 0]);
    let mut name = [0; 64];
    assert_eq!(c.cuDeviceGetName(name.as_mut_ptr(), 64, 1), SUCCESS);
    // SAFETY: the call ended the text.
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }, c"libhmmrt CUDA double 1");
}

#[test]
fn fewer_devices_less_memory_not_filled_no_vmm() {
    let settings = [
        ("HMMRT_DOUBLE_DEVICES", "1"),
        ("HMMRT_DOUBLE_MEMORY", "4M"),
        ("HMMRT_DOUBLE_VMM", "0"),
        ("HMMRT_DOUBLE_FILL", "0"),
        ("HMMRT_DOUBLE_VERSION", "11040"),
        ("HMMRT_DOUBLE_FAIL", "cuMemFree:1=999"),
    ];
    if !child(&settings) {
        return;
    }
    let on = on(0);
    let c = on.cuda;
    assert_eq!(made(|out| c.cuDeviceGetCount(out)), Ok(1));
    assert_eq!(made(|out| c.cuDriverGetVersion(out)), Ok(11040));
    assert_eq!(attribute(102), 0);
    assert_eq!(made(|out| c.cuMemAddressReserve(out, BLOCK, 0, 0, 0)), Err(NOT_SUPPORTED));
    assert_eq!(made(|out| c.cuMemCreate(out, BLOCK, &on.prop(), 0)), Err(NOT_SUPPORTED));
    let at = on.alloc(3 << 20);
    assert!(on.get::<u8>(at, 3 << 20).iter().all(|&v| v == 0));
    assert_eq!(made(|out| c.cuMemAlloc_v2(out, 2 << 20)), Err(OUT_OF_MEMORY));
    assert_eq!([c.cuMemFree_v2(at), c.cuMemFree_v2(at)], [999, 0]);
    on.alloc(4 << 20);
    // Managed memory goes beyond the device's.
    assert!(made(|out| c.cuMemAllocManaged(out, 8 << 20, 1)).is_ok());
    let (mut free, mut total) = (1, 0);
    assert_eq!(c.cuMemGetInfo_v2(&mut free, &mut total), SUCCESS);
    assert_eq!((free, total), (0, 4 << 20));
}

#[test]
fn no_device() {
    if !child(&[("HMMRT_DOUBLE_DEVICES", "0")]) {
        return;
    }
    assert_eq!(bare().cuInit(0), 100);
    assert_eq!(made(|out| bare().cuDeviceGetCount(out)), Err(NOT_INITIALIZED));
}

#[test]
fn init_fails() {
    if !child(&[("HMMRT_DOUBLE_INIT", "802")]) {
        return;
    }
    assert_eq!([bare().cuInit(0), bare().cuInit(0)], [802, 802]);
}

#[test]
fn kernels_reach_the_programs_memory() {
    if !child(&[("HMMRT_DOUBLE_PAGEABLE", "1")]) {
        return;
    }
    assert_eq!([88, 89, 100].map(attribute), [1; 3]);
    let on = on(0);
    let mut here = vec![1u8; BLOCK];
    let at = here.as_mut_ptr();
    on.run("test_add_bytes", &mut [at as u64, BLOCK as u64, 4]);
    // SAFETY: the vector's memory, and the kernel is done.
    assert_eq!(unsafe { [*at, *at.add(BLOCK - 1)] }, [5, 5]);
    // What the program itself can't have the kernel can't either.
    let nothing = on.reserve(BLOCK);
    assert_eq!(on.launch(on.function("test_add_bytes"), 0, &mut [nothing, 1, 1]), SUCCESS);
    assert_eq!(on.cuda.cuCtxSynchronize(), ILLEGAL_ADDRESS);
}

#[test]
fn copies_take_time() {
    // 1 GB/s and 1 ms: never less than that, however fast the machine; no word about more.
    if !child(&[("HMMRT_DOUBLE_BANDWIDTH", "1G"), ("HMMRT_DOUBLE_LATENCY", "1000000")]) {
        return;
    }
    let on = on(0);
    let (stream, at) = (on.stream(), on.alloc(4 * BLOCK));
    let host = on.pinned(&vec![1u8; 4 * BLOCK]);
    let start = std::time::Instant::now();
    assert_eq!(on.cuda.cuMemcpyHtoDAsync_v2(at, host.cast(), 4 * BLOCK, stream), SUCCESS);
    assert_eq!(on.cuda.cuStreamSynchronize(stream), SUCCESS);
    assert!(start.elapsed().as_micros() >= 8800);
}
