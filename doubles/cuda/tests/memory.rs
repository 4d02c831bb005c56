//! Memory: allocations and what they are charged, virtual memory management and its rules, what the driver makes of
//! pointers, pinned and managed memory.

mod common;

use std::ptr;

use common::*;

/// What new memory is full of.
const NEW: u8 = 0xdb;

/// The host's mapping at an address, as the list of mappings has it: permissions and name.
fn mapped(at: u64) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        (start..end).contains(&at).then(|| rest.to_owned())
    })
}

/// Puts the program's own memory over a range, as the runtime does over its reservations.
fn overlay(at: u64, size: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the range is a reservation of this test.
    let p = unsafe { libc::mmap(at as *mut _, size, prot, flags, -1, 0) };
    assert_eq!(p as u64, at);
    p.cast()
}

#[test]
fn allocations_are_charged_and_out_of_the_cpus_reach() {
    let _turn = alone();
    let on = on(1);
    let c = on.cuda;
    let before = c.hmmrt_double_used(1);
    let a = on.alloc(1000);
    let b = on.alloc(3 * BLOCK);
    assert_eq!(c.hmmrt_double_used(1) - before, 1024 + 3 * BLOCK as u64);
    let (mut free, mut total) = (0, 0);
    assert_eq!(c.cuMemGetInfo_v2(&mut free, &mut total), SUCCESS);
    assert_eq!((total - free) as u64, c.hmmrt_double_used(1));
    assert!(mapped(a).unwrap().starts_with("---p") && mapped(b).unwrap().starts_with("---p"));
    for (at, n) in [(a, 1000), (b, 3 * BLOCK)] {
        assert!(on.get::<u8>(at, n).iter().all(|&v| v == NEW));
    }

    assert_eq!(made(|out| c.cuMemAlloc_v2(out, 0)), Err(INVALID_VALUE));
    assert_eq!(made(|out| c.cuMemAlloc_v2(out, total + 1)), Err(OUT_OF_MEMORY));
    assert_eq!(made(|out| c.cuMemAlloc_v2(out, usize::MAX)), Err(OUT_OF_MEMORY));
    assert_eq!(c.cuMemFree_v2(a + 8), INVALID_VALUE);
    assert_eq!([a, b, 0].map(|at| c.cuMemFree_v2(at)), [SUCCESS; 3]);
    assert_eq!(c.cuMemFree_v2(a), INVALID_VALUE);
    assert_eq!(c.hmmrt_double_used(1), before);
}

#[test]
fn memory_lives_until_released_and_unmapped() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let before = c.hmmrt_double_used(0);
    let block = BLOCK as u64;
    let at = on.reserve(4 * BLOCK);
    let memory = on.create(2 * BLOCK);
    assert_eq!(c.hmmrt_double_used(0) - before, 2 * block);
    assert_eq!(c.cuMemMap(at, 2 * BLOCK, 0, memory, 0), SUCCESS);
    assert_eq!(on.access(at, 2 * BLOCK, 3), SUCCESS);
    assert!(on.get::<u8>(at, 2 * BLOCK).iter().all(|&v| v == NEW));
    on.run("test_fill_bytes", &mut [at, 2 * block, 7]);

    // The same memory at another address, too.
    assert_eq!(c.cuMemMap(at + 2 * block, 2 * BLOCK, 0, memory, 0), SUCCESS);
    assert_eq!(on.access(at + 2 * block, 2 * BLOCK, 1), SUCCESS);
    assert!(on.get::<u8>(at + 3 * block, BLOCK).iter().all(|&v| v == 7));

    assert_eq!(c.cuMemRelease(memory), SUCCESS);
    assert_eq!(c.cuMemRelease(memory), INVALID_VALUE);
    assert_eq!(c.cuMemUnmap(at, 2 * BLOCK), SUCCESS);
    assert_eq!(c.hmmrt_double_used(0) - before, 2 * block);
    assert_eq!(c.cuMemUnmap(at + 2 * block, 2 * BLOCK), SUCCESS);
    assert_eq!(c.hmmrt_double_used(0), before);
    assert_eq!(c.cuMemAddressFree(at, 4 * BLOCK), SUCCESS);
}

#[test]
fn mappings_have_rules() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let block = BLOCK as u64;
    assert_eq!(made(|out| c.cuMemGetAllocationGranularity(out, &on.prop(), 0)), Ok(BLOCK));
    assert_eq!(made(|out| c.cuMemGetAllocationGranularity(out, &on.prop(), 7)), Err(INVALID_VALUE));
    for (size, align) in [(0, 0), (4096, 0), (BLOCK, 3)] {
        assert_eq!(made(|out| c.cuMemAddressReserve(out, size, align, 0, 0)), Err(INVALID_VALUE));
    }
    let wide = made(|out| c.cuMemAddressReserve(out, BLOCK, 64 * BLOCK, 0, 0)).unwrap();
    assert_eq!(wide % (64 * block), 0);
    assert_eq!(c.cuMemAddressFree(wide, BLOCK), SUCCESS);

    assert_eq!(made(|out| c.cuMemCreate(out, BLOCK + 1, &on.prop(), 0)), Err(INVALID_VALUE));
    assert_eq!(made(|out| c.cuMemCreate(out, BLOCK, ptr::null(), 0)), Err(INVALID_VALUE));
    let nowhere = Prop { location: [1, 77], ..on.prop() };
    assert_eq!(made(|out| c.cuMemCreate(out, BLOCK, &nowhere, 0)), Err(INVALID_DEVICE));
    assert_eq!(made(|out| c.cuMemCreate(out, 1 << 40, &on.prop(), 0)), Err(OUT_OF_MEMORY));

    let at = on.reserve(4 * BLOCK);
    let (one, two) = (on.create(BLOCK), on.create(2 * BLOCK));
    let map = |at, size, offset, handle| c.cuMemMap(at, size, offset, handle, 0);
    assert_eq!(map(at, BLOCK, 0, 12345), INVALID_VALUE);
    assert_eq!(map(at + 4096, BLOCK, 0, one), INVALID_VALUE);
    assert_eq!(map(at, 2 * BLOCK, 0, one), INVALID_VALUE); // more than there is
    assert_eq!(map(at + 3 * block, 2 * BLOCK, 0, two), INVALID_VALUE); // beyond the reservation
    assert_eq!(map(at + block, 2 * BLOCK, 0, two), SUCCESS);
    assert_eq!(map(at + 2 * block, BLOCK, 0, one), INVALID_VALUE); // something is there
    assert_eq!(map(at, 2 * BLOCK, 0, two), INVALID_VALUE);
    assert_eq!(map(at, BLOCK, 0, one), SUCCESS);

    assert_eq!(on.access(at, 4 * BLOCK, 3), INVALID_VALUE); // the last block has no memory
    assert_eq!(on.access(at, 2 * BLOCK, 3), INVALID_VALUE); // half a mapping
    assert_eq!(on.access(at, 3 * BLOCK, 2), INVALID_VALUE);
    let other = Access { location: [1, 77], flags: 3 };
    assert_eq!(c.cuMemSetAccess(at, BLOCK, &other, 1), INVALID_DEVICE);
    assert_eq!(on.access(at, 3 * BLOCK, 3), SUCCESS);

    assert_eq!(c.cuMemUnmap(at, 2 * BLOCK), INVALID_VALUE);
    assert_eq!(c.cuMemAddressFree(at, 4 * BLOCK), INVALID_VALUE);
    assert_eq!(c.cuMemUnmap(at, 3 * BLOCK), SUCCESS); // two mappings at once
    assert_eq!(c.cuMemUnmap(at, BLOCK), INVALID_VALUE);
    assert_eq!(c.cuMemAddressFree(at, BLOCK), INVALID_VALUE);
    assert_eq!(c.cuMemAddressFree(at, 4 * BLOCK), SUCCESS);
    assert_eq!(c.cuMemAddressFree(at, 4 * BLOCK), INVALID_VALUE);
    assert_eq!([one, two].map(|handle| c.cuMemRelease(handle)), [SUCCESS; 2]);
}

#[test]
fn large_hints_are_honoured_where_nothing_is() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let reserve = |size, hint| made(|out| c.cuMemAddressReserve(out, size, 0, hint, 0)).unwrap();
    const LARGE: usize = 256 << 30;
    const HINT: u64 = 0x3000_0000_0000;
    assert_ne!(reserve(BLOCK, HINT), HINT);
    let at = reserve(LARGE, HINT);
    assert_eq!(at, HINT);
    assert!(mapped(at).unwrap().starts_with("---p"));
    let second = reserve(LARGE, HINT + BLOCK as u64); // taken by the first
    assert_ne!(second, HINT + BLOCK as u64);
    assert_eq!(c.cuMemAddressFree(second, LARGE), SUCCESS);

    // What the program put over it goes with it.
    overlay(at, 4096);
    assert_eq!(c.cuMemAddressFree(at, LARGE), SUCCESS);
    assert_eq!(mapped(at), None);

    // Over somebody's placeholder it is not honoured.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping where nothing is.
    let own = unsafe { libc::mmap(HINT as *mut _, LARGE, libc::PROT_NONE, flags, -1, 0) };
    assert_eq!(own as u64, HINT);
    let third = reserve(LARGE, HINT);
    assert_ne!(third, HINT);
    assert_eq!(c.cuMemAddressFree(third, LARGE), SUCCESS);
    // SAFETY: this test's mapping.
    unsafe { libc::munmap(own, LARGE) };
}

#[test]
fn hints_can_be_honoured_over_a_placeholder() {
    if !child(&[("HMMRT_DOUBLE_HINTS", "over")]) {
        return;
    }
    const LARGE: usize = 256 << 30;
    const HINT: u64 = 0x3000_0000_0000;
    let on = on(0);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping where nothing is.
    let own = unsafe { libc::mmap(HINT as *mut _, LARGE, libc::PROT_NONE, flags, -1, 0) };
    assert_eq!(own as u64, HINT);
    let reserve = || made(|out| on.cuda.cuMemAddressReserve(out, LARGE, 0, HINT, 0)).unwrap();
    assert_eq!(reserve(), HINT);
    assert_eq!(on.cuda.cuMemAddressFree(HINT, LARGE), SUCCESS);
    assert!(mapped(HINT).is_some()); // still the program's
    // Over more than a placeholder, too, which stays.
    let app = overlay(HINT + 4096, 4096);
    // SAFETY: the overlay's memory.
    unsafe { app.write(7) };
    assert_eq!(reserve(), HINT);
    // SAFETY: as above.
    assert_eq!(unsafe { app.read() }, 7);
    assert_eq!(on.cuda.cuMemAddressFree(HINT, LARGE), SUCCESS);
    // SAFETY: as above.
    assert_eq!(unsafe { app.read() }, 7);
}

#[test]
fn an_overlaid_pointer_is_device_memory() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let at = on.blocks(1);
    let app = overlay(at, BLOCK);
    // SAFETY: the overlay's memory.
    unsafe { app.write_bytes(0x11, BLOCK) };
    on.run("test_fill_bytes", &mut [at, BLOCK as u64, 0x22]);
    // SAFETY: as above.
    assert_eq!(unsafe { *app }, 0x11); // two memories at one address

    // A host pointer of the program, but the driver reads and writes the device's bytes.
    let to = on.alloc(4096);
    assert_eq!(c.cuMemcpyHtoD_v2(to, app.cast(), 4096), SUCCESS);
    assert!(on.get::<u8>(to, 4096).iter().all(|&v| v == 0x22));
    assert_eq!(c.cuMemsetD8_v2(to, 0x33, 4096), SUCCESS);
    assert_eq!(c.cuMemcpyDtoH_v2(app.cast(), to, 4096), SUCCESS);
    // SAFETY: as above.
    assert_eq!(unsafe { *app }, 0x11);
    assert_eq!(on.get::<u8>(at, 4097)[4095..], [0x33, 0x22]);

    let mut kind = 0i32;
    assert_eq!(c.cuPointerGetAttribute(ptr::from_mut(&mut kind).cast(), 2, at), SUCCESS);
    assert_eq!(kind, 2);
    let mut host = 0u64;
    assert_eq!(c.cuPointerGetAttribute(ptr::from_mut(&mut host).cast(), 4, at), INVALID_VALUE);
    assert_eq!(c.cuMemHostRegister_v2(app.cast(), BLOCK, 0), INVALID_VALUE);
    assert_eq!(c.cuMemFree_v2(to), SUCCESS);
    on.unblock(at, 1);
}

#[test]
fn pinned_memory_has_one_address() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let host = on.pinned(&[5u8; 8192]);
    assert_eq!(made(|out| c.cuMemHostGetDevicePointer_v2(out, host.cast(), 0)), Ok(host as u64));
    on.run("test_add_bytes", &mut [host as u64, 8192, 3]);
    // SAFETY: pinned memory of 8192 bytes, and the kernel is done.
    assert_eq!(unsafe { [*host, *host.add(8191)] }, [8, 8]);
    assert_eq!(c.cuMemFreeHost(host.wrapping_add(8).cast()), INVALID_VALUE);
    assert_eq!(c.cuMemFreeHost(host.cast()), SUCCESS);
    assert_eq!(c.cuMemFreeHost(host.cast()), INVALID_VALUE);
}

#[test]
fn registered_memory_is_the_programs() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let at = on.alloc(BLOCK);
    // SAFETY: a new mapping wherever there is room.
    let host = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), BLOCK, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    assert_eq!(c.cuMemHostUnregister(host), 713);
    assert_eq!(c.cuMemHostRegister_v2(host, BLOCK, 0), SUCCESS);
    assert_eq!(c.cuMemHostRegister_v2(host.wrapping_byte_add(4096), 4096, 0), 712);
    // SAFETY: the mapping above.
    unsafe { host.cast::<u8>().write_bytes(0x44, BLOCK) };

    c.arm("");
    assert_eq!(c.cuMemcpyHtoD_v2(at, host, BLOCK), SUCCESS);
    assert_eq!(c.calls("pageable"), 0);
    on.run("test_add_bytes", &mut [at, BLOCK as u64, 1]);
    // DMA does not ask the process's page tables: the program may protect its view meanwhile.
    // SAFETY: the mapping above.
    assert_eq!(unsafe { libc::mprotect(host, BLOCK, libc::PROT_NONE) }, 0);
    assert_eq!(c.cuMemcpyDtoH_v2(host, at, BLOCK), SUCCESS);
    // SAFETY: the mapping above.
    unsafe {
        assert_eq!(libc::mprotect(host, BLOCK, libc::PROT_READ), 0);
        assert_eq!(*host.cast::<u8>().add(BLOCK - 1), 0x45);
    }
    assert_eq!(c.calls("pageable"), 0);
    assert_eq!(c.cuMemHostUnregister(host), SUCCESS);
    assert_eq!(c.cuMemHostRegister_v2(host, BLOCK, 0), INVALID_VALUE); // can't be written
    assert_eq!(c.cuMemcpyHtoD_v2(at, host, 1), SUCCESS);
    assert_eq!(c.calls("pageable"), 1);
    // SAFETY: the mapping above.
    unsafe { libc::munmap(host, BLOCK) };
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
}

#[test]
fn managed_memory_is_everywhere() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    let before = c.hmmrt_double_used(0);
    let at = made(|out| c.cuMemAllocManaged(out, BLOCK, 1)).unwrap();
    assert_eq!(c.hmmrt_double_used(0) - before, BLOCK as u64);
    let host = at as *mut u8;
    // SAFETY: managed memory is the host's, too.
    unsafe { host.write_bytes(1, BLOCK) };
    assert_eq!(c.cuMemPrefetchAsync(at, BLOCK, 0, 0), SUCCESS);
    assert_eq!(c.cuMemPrefetchAsync(at, BLOCK + 4096, 0, 0), INVALID_VALUE);
    assert_eq!(c.cuMemAdvise(at, BLOCK, 3, -1), SUCCESS);
    on.run("test_add_bytes", &mut [at, BLOCK as u64, 1]);
    // SAFETY: as above, and the kernel is done.
    assert_eq!(unsafe { *host.add(5) }, 2);
    let mut is = 0i32;
    assert_eq!(c.cuPointerGetAttribute(ptr::from_mut(&mut is).cast(), 8, at), SUCCESS);
    assert_eq!(is, 1);
    assert_eq!(c.cuMemFree_v2(at), SUCCESS);
    assert_eq!(c.hmmrt_double_used(0), before);
}

#[test]
fn copies_go_between_devices() {
    let _turn = alone();
    let (first, second) = (on(0), on(1));
    let c = first.cuda;
    let to = second.blocks(2);
    assert_eq!(c.cuCtxPopCurrent_v2(ptr::null_mut()), SUCCESS);
    let from = first.blocks(2);
    assert_eq!(made(|out| c.cuDeviceCanAccessPeer(out, 0, 1)), Ok(1));
    first.run("test_fill_bytes", &mut [from, 2 * BLOCK as u64, 9]);
    let stream = first.stream();
    // Not from the beginning, so that the pieces of the two sides differ.
    let (n, skip) = (BLOCK + 5, 100);
    let copy = |tc, fc| c.cuMemcpyPeerAsync(to, tc, from + skip, fc, n, stream);
    assert_eq!(copy(0, first.context), INVALID_CONTEXT);
    assert_eq!(copy(second.context, first.context), SUCCESS);
    assert_eq!(c.cuStreamSynchronize(stream), SUCCESS);
    assert_eq!(c.cuCtxPushCurrent_v2(second.context), SUCCESS);
    let got = second.get::<u8>(to, n + 1);
    assert!(got[..n].iter().all(|&v| v == 9) && got[n] == NEW);
    second.unblock(to, 2);
    first.unblock(from, 2);
}
