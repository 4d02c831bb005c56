//! What owned memory becomes when its owner is dropped, in every way there is. A process of its own: it counts the
//! bytes that are managed.

use allocator_api2::alloc::{GlobalAlloc, Layout};
use allocator_api2::vec::Vec;
use hmmrt::{HmmAlloc, Location, Managed, ManagedVec, Residency, Runtime, Use, kernels, raw};

const DEVICE: Location = Location::Device(0);

/// Does it twice; the second time nothing must be left over, and nothing given back that was not taken.
fn leaves_nothing(what: &str, mut act: impl FnMut()) {
    act();
    let before = raw::stats().managed_bytes;
    act();
    assert_eq!(raw::stats().managed_bytes, before, "{what}");
}

/// One test, so that nobody else allocates meanwhile.
#[test]
fn everything_is_freed_once() {
    let stream = Runtime::new().unwrap().device(0).unwrap().stream().unwrap();
    leaves_nothing("a vector", || {
        let mut x = ManagedVec::new();
        (0..100_000_u32).for_each(|i| x.push(i).unwrap());
        x.migrate(DEVICE).unwrap();
        let at = x.as_ptr();
        drop(x);
        assert!(!raw::owns(at.cast()));
    });
    leaves_nothing("a boxed one", || drop(ManagedVec::from_slice(&[1_u8; 9]).unwrap().into_boxed()));
    leaves_nothing("one with room only", || {
        let x = ManagedVec::<u8>::with_capacity(10).unwrap();
        let at = x.as_ptr();
        let boxed = x.into_boxed();
        assert!(boxed.is_empty() && !raw::owns(at), "given back at once");
    });
    leaves_nothing("nothing", || drop((Managed::<[u64]>::zeroed(0), ManagedVec::<()>::zeroed(7))));
    leaves_nothing("growth that fails", || {
        let mut x = ManagedVec::from_slice(&[1_u64; 3000]).unwrap();
        x.reserve(1 << 58).unwrap_err();
    });
    leaves_nothing("what is away", || {
        let mut x = ManagedVec::<u32>::zeroed(2 << 20).unwrap();
        kernels::fill(&stream, &mut x[5..], 1).unwrap();
        let y = ManagedVec::from_slice(&x[..100]).unwrap();
        x.prefetch(DEVICE, &stream).unwrap();
        kernels::fill(&stream, &mut x, 2).unwrap(); // still at work when it is dropped
        assert_eq!(y[99], 1);
    });
    leaves_nothing("a pin that was forgotten", || {
        let x = ManagedVec::<u8>::zeroed(3 << 20).unwrap();
        std::mem::forget(x.pin().unwrap());
    });
    leaves_nothing("a guard before its memory", || {
        let mut x = ManagedVec::<u8>::zeroed(3 << 20).unwrap();
        let inner = stream.device().stream().unwrap();
        let _guard = inner.acquire(vec![Use::write(&mut x)]).unwrap();
        // Dropped in this order: guard, stream, memory.
    });
    leaves_nothing("containers", || {
        let mut x: Vec<u64, HmmAlloc> = (0..10_000).fold(Vec::new_in(HmmAlloc), |mut v, i| {
            v.push(i);
            v
        });
        x.truncate(10);
        x.shrink_to_fit();
        let mut y = x.clone();
        y.clear();
        y.shrink_to_fit();
    });
    leaves_nothing("the global allocator", || {
        // SAFETY: used as the allocator's contract says.
        unsafe {
            let layout = |size| Layout::from_size_align(size, 8).unwrap();
            let at = HmmAlloc.realloc(HmmAlloc.alloc(layout(50)), layout(50), 5000);
            let at = HmmAlloc.realloc(at, layout(5000), 1 << 20);
            HmmAlloc.dealloc(HmmAlloc.realloc(at, layout(1 << 20), 50), layout(50));
        }
    });
}
