//! The safe types that own memory and say where it is: growth, sizes, residency, pins, and the errors of each.

use bytemuck::{Pod, Zeroable};
use hmmrt::{Advice, Error, Kernel, Location, Managed, ManagedVec, Page, Residency, Runtime, Stream, raw};

const DEVICE: Location = Location::Device(0);

fn stream() -> Stream {
    Runtime::new().unwrap().device(0).unwrap().stream().unwrap()
}

fn flags<T: Pod>(memory: &[T]) -> Vec<u32> {
    memory.pages().unwrap().iter().map(|p| p.flags & (Page::HOST | Page::DEVICE)).collect()
}

fn code<T>(result: Result<T, Error>) -> i32 {
    result.err().expect("must fail").code()
}

#[test]
fn owners_can_go_where_a_vec_can() {
    fn check<T: Send + Sync>() {}
    check::<ManagedVec<u64>>();
    check::<Managed<[u64]>>();
    check::<(Runtime, Stream, Kernel, hmmrt::PinGuard<'static>)>();
}

#[test]
fn vec_grows_and_keeps_its_elements() {
    let mut x = ManagedVec::<u64>::new();
    assert_eq!((x.len(), x.capacity(), raw::owns(x.as_ptr().cast())), (0, 0, false));
    for i in 0..3000_u64 {
        x.push(i).unwrap();
    }
    assert!(raw::owns(x.as_ptr().cast()) && x.capacity() >= 3000);
    x.extend_from_slice(&(3000..200_000).collect::<Vec<u64>>()).unwrap();
    x.extend_from_slice(&[]).unwrap();
    assert!(x.iter().enumerate().all(|(i, v)| *v == i as u64));
    x.truncate(10);
    x.truncate(100);
    let mut sum = 0;
    for v in &mut x {
        *v += 1;
        sum += *v;
    }
    assert_eq!((sum, x.len(), format!("{:?}", &x[..3])), (55, 10, "[1, 2, 3]".into()));
    assert_eq!(format!("{x:?}"), "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]");
}

#[test]
fn room_is_used_before_anything_moves() {
    let mut x = ManagedVec::<u32>::with_capacity(10_000).unwrap();
    x.push(1).unwrap();
    let (at, room) = (x.as_ptr(), x.capacity());
    assert!(room >= 10_000);
    x.extend_from_slice(&vec![2; room - 1]).unwrap();
    assert_eq!((x.as_ptr(), x.len(), x.capacity()), (at, room, room));
    x.reserve(1).unwrap();
    assert!(x.capacity() >= 2 * room && x[0] == 1 && x[room - 1] == 2);
}

#[test]
fn zeroed_is_zero_also_in_memory_that_was_used() {
    for n in [1_usize, 1000, 5000, 300_000, 1 << 20] {
        drop(ManagedVec::from_slice(&vec![!0_u32; n]).unwrap());
        assert!(ManagedVec::<u32>::zeroed(n).unwrap().iter().all(|v| *v == 0), "{n}");
        assert!(Managed::<[u32]>::zeroed(n).unwrap().iter().all(|v| *v == 0), "{n}");
    }
}

#[test]
fn grows_where_it_is_resident() {
    let mut x = ManagedVec::from_slice(&(0..1_u32 << 20).collect::<Vec<_>>()).unwrap();
    x.migrate(DEVICE).unwrap();
    let full = x.capacity() - x.len();
    x.extend_from_slice(&vec![7; full]).unwrap();
    x.migrate(DEVICE).unwrap();
    let before = x.as_ptr();
    x.reserve(1).unwrap();
    assert_ne!(x.as_ptr(), before);
    assert!(flags(&x).iter().all(|f| *f == Page::DEVICE), "{:?}", flags(&x));
    x.push(8).unwrap();
    let n = x.len();
    assert!(x[..1 << 20].iter().enumerate().all(|(i, v)| *v == i as u32));
    assert!(x[1 << 20..n - 1].iter().all(|v| *v == 7) && x[n - 1] == 8);
}

#[test]
fn boxed_and_vec_are_one_block() {
    let mut x = ManagedVec::from_slice(&[1_u8, 2, 3]).unwrap();
    x.reserve(100_000).unwrap();
    let at = x.as_ptr();
    let mut boxed = Managed::from(x);
    assert_eq!((boxed.as_ptr(), &boxed[..]), (at, &[1, 2, 3][..]));
    boxed[0] = 9;
    assert_eq!(format!("{boxed:?}"), "[9, 2, 3]");
    assert_eq!((&boxed).into_iter().count() + (&mut boxed).into_iter().count(), 6);
    assert!(ManagedVec::<u8>::with_capacity(10).unwrap().into_boxed().is_empty());
    assert!(Managed::<[u16]>::from_slice(&[5; 3]).unwrap().iter().all(|v| *v == 5));
}

#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(8192))]
struct Wide([u64; 1024]);

#[test]
fn nothing_and_alignment() {
    let mut units = ManagedVec::<()>::zeroed(5).unwrap();
    units.push(()).unwrap();
    assert_eq!((units.len(), units.capacity(), units.migrate(DEVICE)), (6, usize::MAX, Ok(0)));
    assert_eq!(units.into_boxed().len(), 6);
    let mut many = ManagedVec::<[u8; 0]>::zeroed(usize::MAX).unwrap();
    assert_eq!(code(many.push([])), -3);

    let empty = Managed::<[u64]>::zeroed(0).unwrap();
    assert_eq!((empty.migrate(DEVICE), empty.pages()), (Ok(0), Ok(vec![])));
    empty.prefetch(DEVICE, &stream()).unwrap();
    empty.advise(Advice::Random, Location::Host).unwrap();
    drop(empty.pin().unwrap());

    let mut wide = ManagedVec::<Wide>::new();
    for i in 0..20 {
        wide.push(Wide([i; 1024])).unwrap();
        assert!(wide.as_ptr().addr().is_multiple_of(8192));
        wide.migrate(DEVICE).unwrap();
    }
    assert!(wide.iter().enumerate().all(|(i, w)| w.0[1023] == i as u64));
    assert!(ManagedVec::<Wide>::zeroed(3).unwrap().iter().all(|w| w.0 == [0; 1024]));
}

#[test]
fn too_much_is_an_error() {
    for n in [usize::MAX, usize::MAX / 2, usize::MAX / 8, isize::MAX as usize / 8, 1 << 44] {
        assert_eq!(code(ManagedVec::<u64>::zeroed(n)), -3, "{n:#x}");
        assert_eq!(code(ManagedVec::<u64>::with_capacity(n)), -3, "{n:#x}");
        assert_eq!(code(Managed::<[u64]>::zeroed(n)), -3, "{n:#x}");
    }
    let mut x = ManagedVec::from_slice(&[1_u16]).unwrap();
    assert_eq!(code(x.reserve(usize::MAX)), -3);
    assert_eq!(x[..], [1]);
}

#[test]
fn parts_move_by_whole_pages() {
    let x = ManagedVec::from_slice(&vec![3_u8; 64 << 10]).unwrap();
    assert_eq!(x[4000..4200].migrate(DEVICE), Ok(2));
    assert_eq!(flags(&x)[..3], [Page::DEVICE, Page::DEVICE, Page::HOST]);
    assert_eq!(x[4095..4097].pages().unwrap().len(), 2);
    assert_eq!(x.migrate(Location::Host), Ok(2));
    assert!(flags(&x).iter().all(|f| *f == Page::HOST));
    // Looking is for any memory.
    let plain = [0_u8; 8];
    assert!(plain.pages().unwrap().iter().all(|p| p.flags & Page::FOREIGN != 0));
}

#[test]
fn hints_are_taken() {
    let (x, stream) = (ManagedVec::from_slice(&vec![1_u32; 1 << 20]).unwrap(), stream());
    x.advise(Advice::ReadMostly, Location::Host).unwrap();
    x.prefetch(DEVICE, &stream).unwrap();
    stream.synchronize().unwrap();
    assert!(flags(&x).iter().all(|f| *f == Page::DEVICE | Page::HOST));
    x.prefetch(Location::Host, &stream).unwrap();
    stream.synchronize().unwrap();
    assert!(x.iter().all(|v| *v == 1));
}

#[test]
fn moving_what_is_not_there() {
    let (plain, x) = (vec![0_u8; 10], ManagedVec::<u8>::zeroed(10).unwrap());
    assert_eq!(code(plain.migrate(DEVICE)), -5);
    assert_eq!(code(plain.prefetch(DEVICE, &stream())), -5);
    assert_eq!(code(plain.advise(Advice::Random, Location::Host)), -5);
    assert_eq!(code(plain.pin()), -5);
    for device in [i32::MIN, -1, 8, 99] {
        assert_eq!(code(x.migrate(Location::Device(device))), -12);
        assert_eq!(code(Runtime::new().unwrap().device(device)), -12);
    }
}

#[test]
fn pins_hold_until_the_last_is_dropped() {
    let x = ManagedVec::from_slice(&vec![4_u8; 3 << 20]).unwrap();
    x.migrate(DEVICE).unwrap();
    let (all, again, part) = (x.pin().unwrap(), x.pin().unwrap(), x[..5000].pin().unwrap());
    assert!(x.pages().unwrap().iter().all(|p| p.flags & (Page::PINNED | Page::DEVICE) == Page::PINNED));
    drop(all);
    assert_eq!(code(x.migrate(DEVICE)), -11);
    drop(again);
    assert_eq!(code(x.migrate(DEVICE)), -11);
    drop(part);
    assert_eq!(x.migrate(DEVICE), Ok(768));
}
