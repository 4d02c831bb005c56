//! What a program does that finds out how a driver treats one address on both sides: reserve with a hint, put host memory
//! over it, map device memory behind it, run a kernel there, copy through another view of the host memory, take it down.

mod common;

use std::ptr;

use common::*;

/// Shared memory of the program, and a first view of it.
fn shared(size: usize) -> (i32, *mut u8) {
    // SAFETY: a new file of no name, and a new mapping of it.
    unsafe {
        let file = libc::memfd_create(c"double-probe".as_ptr(), libc::MFD_CLOEXEC);
        assert_eq!(libc::ftruncate(file, size as i64), 0);
        (file, view(file, ptr::null_mut(), size, 0))
    }
}

/// A view of the shared memory.
///
/// # Safety
/// With MAP_FIXED, nothing at `at` is needed any more.
unsafe fn view(file: i32, at: Ptr, size: usize, fixed: i32) -> *mut u8 {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the caller's promise.
    let p = unsafe { libc::mmap(at, size, prot, libc::MAP_SHARED | fixed, file, 0) };
    assert_ne!(p, libc::MAP_FAILED);
    p.cast()
}

#[test]
fn one_address_on_both_sides() {
    let _turn = alone();
    let on = on(0);
    let c = on.cuda;
    const HINT: u64 = 0x2000_0000_0000;
    const LARGE: usize = 256 << 30;
    let size = 4 * BLOCK;
    let base = made(|out| c.cuMemAddressReserve(out, LARGE, BLOCK, HINT, 0)).unwrap();
    assert_eq!(base, HINT);

    // The program's memory there, and a second view of it.
    let (file, alias) = shared(size);
    // SAFETY: the reservation is this test's.
    let app = unsafe { view(file, base as Ptr, size, libc::MAP_FIXED) }.cast::<u32>();
    assert_eq!(app as u64, base);
    let words = size / 4;
    for i in 0..words {
        // SAFETY: the view has that many words.
        unsafe { app.add(i).write(i as u32) };
    }

    // The device's memory behind the same address.
    let handle = on.create(size);
    assert_eq!(c.cuMemMap(base, size, 0, handle, 0), SUCCESS);
    assert_eq!(on.access(base, size, 3), SUCCESS);
    // SAFETY: as above.
    assert_eq!(unsafe { [*app.add(5), *app.add(words - 1)] }, [5, words as u32 - 1]);

    // In through the other view, a kernel, and out again while the first one is closed.
    assert_eq!(c.cuMemcpyHtoD_v2(base, alias.cast(), size), SUCCESS);
    let inc = on.function("inc");
    let mut values = [base, words as u64].map(|v| Box::into_raw(Box::new(v)).cast());
    let none = ptr::null_mut();
    let grid = (words as u32).div_ceil(256);
    assert_eq!(c.cuLaunchKernel(inc, grid, 1, 1, 256, 1, 1, 0, 0, values.as_mut_ptr(), none), SUCCESS);
    assert_eq!(c.cuCtxSynchronize(), SUCCESS);
    // SAFETY: as above.
    assert_eq!(unsafe { *app.add(5) }, 5);
    // SAFETY: the first view's own memory; what is read of it is read after it is open again.
    unsafe {
        assert_eq!(libc::mprotect(app.cast(), size, libc::PROT_NONE), 0);
        assert_eq!(c.cuMemcpyDtoH_v2(alias.cast(), base, size), SUCCESS);
        assert_eq!(libc::mprotect(app.cast(), size, libc::PROT_READ | libc::PROT_WRITE), 0);
        assert_eq!([*app.add(5), *app.add(words - 1)], [6, words as u32]);
    }

    // The second view can be pinned, and is its own device pointer.
    assert_eq!(c.cuMemHostRegister_v2(alias.cast(), size, 0), SUCCESS);
    assert_eq!(made(|out| c.cuMemHostGetDevicePointer_v2(out, alias.cast(), 0)), Ok(alias as u64));
    assert_eq!(c.cuMemcpyHtoD_v2(base, alias.cast(), size), SUCCESS);
    assert_eq!(c.cuMemHostUnregister(alias.cast()), SUCCESS);
    assert_eq!(on.get::<u32>(base, 6)[5], 6);

    // The program's memory outlives the mapping, and goes with the reservation.
    assert_eq!(c.cuMemUnmap(base, size), SUCCESS);
    assert_eq!(c.cuMemRelease(handle), SUCCESS);
    // SAFETY: as above.
    assert_eq!(unsafe { *app.add(5) }, 6);
    assert_eq!(c.cuMemAddressFree(base, LARGE), SUCCESS);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("200000000000-"), "{maps}");
    // SAFETY: this test's mapping and file.
    unsafe {
        libc::munmap(alias.cast(), size);
        libc::close(file);
    }
}
