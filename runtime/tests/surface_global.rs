//! `HmmAlloc` as the program's global allocator: under load from threads, through a shutdown and in a forked child.

use hmmrt::{HmmAlloc, Location, Residency, Runtime, kernels, raw};

#[global_allocator]
static ALLOCATOR: HmmAlloc = HmmAlloc;

/// One test: it ends the runtime.
#[test]
fn a_program_lives_on_managed_memory() {
    // Many blocks of each kind at once: the heap's own lists grow past a page while it is locked.
    let vecs: Vec<Vec<u64>> = (0..3000_u64).map(|i| vec![i; 512 + i as usize % 7 * 900]).collect();
    assert!(vecs.iter().all(|v| raw::owns(v.as_ptr().cast())));
    let large: Vec<Vec<u8>> = (0..700).map(|_| Vec::with_capacity(2 << 20)).collect();
    assert!(large.iter().all(|v| raw::owns(v.as_ptr())));
    drop(large); // hands back more blocks than a page has room for in their list

    std::thread::scope(|scope| {
        for t in 0..4 {
            let vecs = &vecs;
            scope.spawn(move || {
                for (i, v) in vecs.iter().enumerate().skip(t).step_by(4) {
                    if i % 16 == t {
                        v.migrate(Location::Device(0)).unwrap();
                    }
                    let mut copy = v.clone();
                    copy.extend_from_slice(v);
                    assert!(copy.iter().all(|x| *x == i as u64));
                }
            });
        }
    });

    let stream = Runtime::new().unwrap().device(0).unwrap().stream().unwrap();
    let (mut sum, numbers) = (vec![0_u64; 512], vec![3_u32; 1 << 20]);
    for _ in 0..500 {
        kernels::sum(&stream, &mut sum[..1], &numbers).unwrap(); // queues and lists of the runtime grow
    }
    assert_eq!(sum[0], 1500 << 20);
    let text: String = (0..10_000).map(|i| i.to_string()).collect();
    assert!(raw::owns(text.as_ptr()) && text.len() == 38_890);
    assert_eq!(std::process::Command::new("true").status().map(|s| s.success()).ok(), Some(true));

    // A forked child has the parent's blocks and the system's allocator.
    // SAFETY: the child makes no call that a thread left behind could hold up, and leaves without a trace.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let more = vec![5_u8; 1 << 20];
            let fine = !raw::owns(more.as_ptr()) && vecs[0][511] == 0 && more[1 << 19] == 5;
            drop(vecs);
            libc::_exit(if fine { 0 } else { 1 });
        }
        let mut status = -1;
        assert_eq!((libc::waitpid(child, &mut status, 0), status), (child, 0));
    }

    drop(stream);
    // Lists of chunks and of ranges grow past a page while the runtime ends.
    let len = 600 << 20;
    // SAFETY: a new mapping, of which a page is touched.
    let at = unsafe {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let at = libc::mmap(std::ptr::null_mut(), len, prot, flags | libc::MAP_NORESERVE, -1, 0);
        raw::adopt(at.cast(), len).unwrap();
        at.cast::<u8>().write(3);
        at.cast::<u8>()
    };
    raw::migrate(at, 4096, 0).unwrap();
    // SAFETY: a call; what waits for itself ends here.
    unsafe { libc::alarm(120) };
    raw::shutdown().unwrap();
    // SAFETY: as above.
    unsafe { libc::alarm(0) };
    // SAFETY: the mapping, not used again.
    assert_eq!(unsafe { (at.read(), libc::munmap(at.cast(), len)) }, (3, 0));
    let after = vec![1_u8; 1 << 20];
    assert!(!raw::owns(after.as_ptr()), "the system's");
    assert!(vecs.iter().enumerate().all(|(i, v)| v[511] == i as u64));
    drop(vecs);
    raw::init(None).unwrap();
    assert!(raw::owns(vec![1_u8; 1 << 20].as_ptr()));
}
