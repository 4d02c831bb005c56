//! `HmmAlloc` called directly: as an allocator of containers, and as a global one.

use allocator_api2::alloc::{Allocator, GlobalAlloc, Layout};
use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use hmmrt::{HmmAlloc, Location, Residency, raw};
use std::ptr::NonNull;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

#[test]
fn containers_grow_on_the_device_and_shrink() {
    let mut x: Vec<u64, HmmAlloc> = Vec::new_in(HmmAlloc);
    assert!(!raw::owns(x.as_ptr().cast()));
    for i in 0..300_000 {
        x.push(i);
        if i % 50_000 == 0 {
            x.migrate(Location::Device(0)).unwrap();
        }
    }
    x.truncate(1000);
    x.shrink_to_fit();
    assert_eq!(raw::usable_size(x.as_ptr().cast()), 8192);
    assert!(x.iter().enumerate().all(|(i, v)| *v == i as u64));
    x.clear();
    x.shrink_to_fit();
    assert!(!raw::owns(x.as_ptr().cast()));
    let boxed = Box::new_in([7_u8; 10], HmmAlloc);
    assert!(raw::owns(boxed.as_ptr()) && boxed.iter().sum::<u8>() == 70);
    let units: Vec<(), HmmAlloc> = Vec::with_capacity_in(10, HmmAlloc);
    drop(units);
}

#[test]
fn layouts_of_all_kinds() {
    for align in [1, 8, 4096, 8192, 1 << 20, 4 << 20] {
        for size in [0, 1, 4096, 100_000, 5 << 20] {
            let l = layout(size, align);
            // SAFETY: each block is used and freed as the allocator's contract says.
            unsafe {
                let dirty = HmmAlloc.allocate(l).unwrap();
                assert!(dirty.len() >= size && dirty.cast::<u8>().addr().get().is_multiple_of(align));
                dirty.cast::<u8>().write_bytes(0xff, size);
                HmmAlloc.deallocate(dirty.cast(), l);
                let zeroed = HmmAlloc.allocate_zeroed(l).unwrap();
                assert!(zeroed.cast::<u8>().addr().get().is_multiple_of(align));
                let bytes = std::slice::from_raw_parts(zeroed.cast::<u8>().as_ptr(), size);
                assert!(bytes.iter().all(|b| *b == 0), "{l:?}");
                HmmAlloc.deallocate(zeroed.cast(), l);
            }
        }
    }
    assert!(HmmAlloc.allocate(layout(isize::MAX as usize, 1)).is_err());
}

#[test]
fn resizing_keeps_the_bytes_also_across_alignments() {
    // SAFETY: each block is used, resized and freed as the allocator's contract says.
    unsafe {
        let bytes = |at: NonNull<[u8]>, n| std::slice::from_raw_parts(at.cast::<u8>().as_ptr(), n);
        let at = HmmAlloc.allocate(layout(0, 8)).unwrap();
        let at = HmmAlloc.grow(at.cast(), layout(0, 8), layout(3000, 8)).unwrap();
        at.cast::<u8>().write_bytes(5, 3000);
        let at = HmmAlloc.grow(at.cast(), layout(3000, 8), layout(70_000, 1 << 20)).unwrap();
        assert!(at.cast::<u8>().addr().get().is_multiple_of(1 << 20));
        assert!(bytes(at, 3000).iter().all(|b| *b == 5));
        at.cast::<u8>().write_bytes(6, 70_000);
        let at = HmmAlloc.grow_zeroed(at.cast(), layout(70_000, 1 << 20), layout(3 << 20, 8)).unwrap();
        assert!(bytes(at, 70_000).iter().all(|b| *b == 6));
        assert!(bytes(at, 3 << 20)[70_000..].iter().all(|b| *b == 0));
        assert!(HmmAlloc.grow(at.cast(), layout(3 << 20, 8), layout(isize::MAX as usize - 7, 8)).is_err());
        let at = HmmAlloc.shrink(at.cast(), layout(3 << 20, 8), layout(100, 8192)).unwrap();
        assert!(bytes(at, 100).iter().all(|b| *b == 6) && at.cast::<u8>().addr().get().is_multiple_of(8192));
        let end = HmmAlloc.shrink(at.cast(), layout(100, 8192), layout(0, 16)).unwrap();
        assert!(!raw::owns(end.cast().as_ptr()) && end.is_empty());
        HmmAlloc.deallocate(end.cast(), layout(0, 16));
        let zeros = HmmAlloc.grow_zeroed(end.cast(), layout(0, 16), layout(20, 16)).unwrap();
        assert_eq!(bytes(zeros, 20), [0; 20]);
        HmmAlloc.deallocate(zeros.cast(), layout(20, 16));
    }
}

#[test]
fn globally_pages_are_managed_and_less_is_the_systems() {
    // SAFETY: each block is used, resized and freed as the allocator's contract says.
    unsafe {
        let mut size = 100;
        let mut at = HmmAlloc.alloc(layout(size, 16));
        at.write_bytes(1, size);
        for next in [200, 4095, 4096, 9000, 3 << 20, 5 << 20, 10_000, 4096, 50, 1 << 20] {
            at = HmmAlloc.realloc(at, layout(size, 16), next);
            assert_eq!(raw::owns(at), next >= 4096, "{next}");
            let kept = std::slice::from_raw_parts(at, size.min(next));
            assert!(kept.iter().all(|b| *b == 1));
            at.write_bytes(1, next);
            size = next;
            if next >= 4096 {
                raw::migrate(at, size, 0).unwrap();
            }
        }
        HmmAlloc.dealloc(at, layout(size, 16));

        for align in [1, 4096, 1 << 16, 4 << 20] {
            let l = layout(5000, align);
            let at = HmmAlloc.alloc_zeroed(l);
            assert!(raw::owns(at) && at.addr().is_multiple_of(align));
            assert!(std::slice::from_raw_parts(at, 5000).iter().all(|b| *b == 0));
            at.write(3);
            let to = HmmAlloc.realloc(at, l, 1 << 20);
            assert!(to.addr().is_multiple_of(align) && to.read() == 3);
            HmmAlloc.dealloc(to, layout(1 << 20, align));
        }
        let small = layout(8, 8);
        let at = HmmAlloc.alloc_zeroed(small);
        assert!(!raw::owns(at) && at.cast::<u64>().read() == 0);
        HmmAlloc.dealloc(at, small);
        assert!(HmmAlloc.alloc(layout(isize::MAX as usize, 1)).is_null());
    }
}
