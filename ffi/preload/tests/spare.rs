//! The memory that a fork in a signal handler allocates in: a part of it that something stays in is left alone, and another is used.

#[path = "../src/spare.rs"]
#[allow(dead_code, reason = "the library uses all of it")]
mod spare;

/// What `spare` needs of the library's module of that name.
mod names {
    /// A system call.
    ///
    /// # Safety
    /// As the call's.
    pub unsafe fn bare(number: libc::c_long, a: [usize; 6]) -> isize {
        // SAFETY: the caller's promise.
        unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) as isize }
    }
}

use spare::Use;

#[test]
fn what_stays_takes_one_part_and_others_wait() {
    assert!(!spare::is_used());
    let used = Use::begin().unwrap();
    assert!(spare::is_used() && Use::begin().is_none(), "a handler inside of it goes on with the same");
    let (first, second) = (spare::allocate(100, 1).unwrap(), spare::allocate(5000, 4096).unwrap());
    assert!(first.addr() % 16 == 0 && second.addr() % 4096 == 0 && second.addr() >= first.addr() + 100);
    // SAFETY: so many bytes.
    unsafe { (first.write_bytes(1, 100), second.write_bytes(2, 5000)) };
    assert!(spare::owns(first) && spare::owns(second) && !spare::owns((&raw const used).cast()));
    assert_eq!(spare::allocate(1 << 40, 1), None);
    // Another thread's use begins when this one is over.
    let other = std::thread::spawn(|| {
        let _used = Use::begin().unwrap();
        let at = spare::allocate(8, 8).unwrap();
        spare::free(at);
        at.expose_provenance()
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!other.is_finished());
    spare::free(first);
    drop(used);
    let elsewhere = other.join().unwrap();
    assert!(!(first.addr()..second.addr() + 5000).contains(&elsewhere), "the second is still in use");
    // Again and again, as long as it stays.
    for _ in 0..100 {
        let _used = Use::begin().unwrap();
        let at = spare::allocate(20 << 20, 16).unwrap();
        spare::free(at);
    }
    // SAFETY: as above.
    assert!((0..5000).all(|i| unsafe { second.add(i).read() } == 2));
    spare::free(second);
    // Each part can keep something; then there is none, and it says so.
    let kept: Vec<*mut u8> = std::iter::from_fn(|| {
        let _used = Use::begin()?;
        spare::allocate(10, 1)
    })
    .collect();
    assert!(kept.len() > 1 && !spare::is_used());
    kept.into_iter().for_each(|at| spare::free(at));
    assert!(Use::begin().is_some());
}
