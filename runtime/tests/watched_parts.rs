//! userfaultfd watches a block when some of it first leaves, not what lies beside it in the same chunk; and all of the
//! block, also chunks of it that never left. Each case is one that the stress program found.

mod common;

use hmmrt::raw;
use hmmrt::{AccessMode, Advice, Config, Error, FaultEngine, LaunchArg, LaunchConfig, Page, StreamId};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const CHUNK: usize = 2 << 20;
const PAGE: usize = 4096;

/// Fresh memory at a chunk's boundary, which stays mapped.
fn chunks(count: usize) -> *mut u8 {
    let len = (count + 1) * CHUNK;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    assert!(p != libc::MAP_FAILED);
    p.cast::<u8>().map_addr(|a| a.next_multiple_of(CHUNK))
}

fn page(at: *mut u8, n: usize) -> *mut u8 {
    // SAFETY: the callers stay inside of their memory.
    unsafe { at.add(n * PAGE) }
}

fn neighbours() {
    let at = chunks(1);
    // SAFETY: memory of this test's own, which stays mapped.
    unsafe {
        raw::adopt(page(at, 8), 8 * PAGE).unwrap();
        page(at, 8).write_volatile(1);
        raw::migrate(page(at, 8), PAGE, 0).unwrap(); // pages 8 to 15 are watched from here on
        raw::adopt(at, 8 * PAGE).unwrap();
        assert_eq!(page(at, 10).read_volatile(), 0, "an untouched page beside pages that are not watched");
        raw::host_ready(at, 8 * PAGE, AccessMode::ReadWrite).unwrap();
        raw::pin(at, PAGE).unwrap();
        raw::unpin(at, PAGE).unwrap();
        assert_eq!(page(at, 8).read_volatile(), 1);
        raw::disown(at, 16 * PAGE).or_else(|_| raw::disown(at, 8 * PAGE)).unwrap();
    }
}

fn given_back() {
    let at = chunks(2);
    // SAFETY: as above.
    unsafe {
        raw::adopt(at, 2 * CHUNK).unwrap();
        at.write_volatile(2);
        raw::migrate(at, PAGE, 0).unwrap(); // both chunks are watched, and only the first was ever away
        raw::disown(at, 2 * CHUNK).unwrap();
        assert_eq!(page(at, 512 + 3).read_volatile(), 0, "an untouched page that is the program's own again");
        assert_eq!(at.read_volatile(), 2);
    }
}

/// What a system call of the program's own can write there: `len` bytes of zeros.
fn read_zeros(at: *mut u8, len: usize) -> Result<(), std::io::Error> {
    // SAFETY: memory of this test's own.
    unsafe {
        let zeros = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY);
        assert!(zeros >= 0);
        let n = libc::read(zeros, at.cast(), len);
        let e = std::io::Error::last_os_error();
        libc::close(zeros);
        if n == len as isize { Ok(()) } else { Err(e) }
    }
}

/// Memory is there for the kernel once it was made so, also in chunks that never left, of a block that is watched because
/// another did, before or after; and what is away stays what it is.
fn for_the_kernel() {
    let (block, own) = (raw::calloc(3 * CHUNK, 1).unwrap(), chunks(4));
    // SAFETY: memory of this test's own.
    unsafe { raw::adopt(page(own, 256), 4 * CHUNK - CHUNK / 2).unwrap() };
    for at in [block, page(own, 512)] {
        // SAFETY: as above.
        unsafe {
            at.write_volatile(5);
            page(at, 512 + 4).write_volatile(6);
        }
        let (second, third) = (page(at, 512), page(at, 1024));
        raw::pin(page(third, 256), CHUNK / 2).unwrap();
        raw::migrate(at, CHUNK, 0).unwrap(); // from here on all of the block is watched
        read_zeros(page(third, 256), CHUNK / 2).expect("pinned before");
        raw::host_ready(second, CHUNK, AccessMode::ReadWrite).unwrap();
        read_zeros(page(second, 5), 50 * PAGE).expect("made ready");
        raw::pin(third, CHUNK / 2).unwrap();
        read_zeros(third, CHUNK).expect("pinned");
        raw::unpin(third, CHUNK / 2).unwrap();
        raw::unpin(page(third, 256), CHUNK / 2).unwrap();
        raw::host_ready(page(at, 1), PAGE, AccessMode::Read).unwrap();
        read_zeros(page(second, 5), PAGE).expect("as before");
        // SAFETY: as above.
        unsafe {
            assert_eq!((at.read_volatile(), page(second, 4).read_volatile()), (5, 6));
        }
    }
    // Half of the first chunk is not watched: mappings of both kinds in a chunk that never left.
    // SAFETY: as above.
    unsafe { raw::adopt(own, CHUNK / 2).unwrap() };
    raw::host_ready(own, CHUNK, AccessMode::Write).unwrap();
    read_zeros(own, CHUNK).expect("made ready");
    // SAFETY: a block of ours; memory that stays.
    unsafe {
        raw::free(block).unwrap();
        raw::disown(own, 4 * CHUNK).unwrap();
    }
}

/// A range that the program moves with a part that is away, and the rest of which is watched at the new place only.
fn moved() {
    let (at, to) = (chunks(2), chunks(2));
    // SAFETY: memory of this test's own, and the target's pages are nobody's.
    unsafe {
        raw::adopt(at, 2 * CHUNK).unwrap();
        (0..1024).for_each(|n| page(at, n).write_volatile(n as u8 | 1));
        raw::migrate(at, CHUNK, 0).unwrap();
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        assert_eq!(raw::mapping::remap(at.addr(), 2 * CHUNK, 2 * CHUNK, flags, to.addr()), Ok(to.addr()));
        raw::migrate(page(to, 512), CHUNK, 0).unwrap();
        raw::advise(to, 2 * CHUNK, Advice::Random, 0).unwrap();
        for n in (0..1024).step_by(2) {
            assert_eq!(page(to, n).read_volatile(), n as u8 | 1);
        }
        raw::migrate(to, 2 * CHUNK, raw::HMM_HOST).unwrap();
        (0..1024).for_each(|n| assert_eq!(page(to, n).read_volatile(), n as u8 | 1));
        raw::disown(to, 2 * CHUNK).unwrap();
    }
}

/// A block whose first chunk moves by its pages, away and back to where it was, beside another that is away: the kernel takes its
/// watch from all of what a moved mapping becomes one with.
fn resized_beside_another() {
    let [before, block] = [1, 4].map(|n| raw::calloc(n, CHUNK).unwrap());
    assert_eq!(before.wrapping_add(CHUNK), block, "one behind the other");
    // SAFETY: blocks of this test's own.
    unsafe {
        (0..512).for_each(|n| page(before, n).write_volatile(n as u8 | 1));
        (0..2048).for_each(|n| page(block, n).write_volatile(n as u8 | 2));
        raw::migrate(before, CHUNK, 0).unwrap();
        raw::migrate(page(block, 512), PAGE, 0).unwrap();
        let elsewhere = raw::realloc(block, 2 * CHUNK).unwrap();
        assert_ne!(elsewhere, block);
        let back = raw::realloc(elsewhere, 4 * CHUNK).unwrap();
        assert_eq!(back, block, "it lies where there is room first");
        (0..512).for_each(|n| assert_eq!(page(before, n).read_volatile(), n as u8 | 1, "page {n}"));
        (0..1024).for_each(|n| assert_eq!(page(back, n).read_volatile(), n as u8 | 2, "page {n}"));
        raw::free(back).unwrap();
        raw::free(before).unwrap();
    }
}

/// The same of what the program moves away and back.
fn remapped_beside_another() {
    let (at, other) = (chunks(3), chunks(1));
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let right = || {
        // SAFETY: memory of this test's own.
        (0..1536).for_each(|n| unsafe { assert_eq!(page(at, n).read_volatile(), n as u8 | 1, "page {n}") });
    };
    // SAFETY: memory of this test's own; what is moved goes to places that nobody else has.
    unsafe {
        raw::adopt(at, 3 * CHUNK).unwrap();
        (0..1536).for_each(|n| page(at, n).write_volatile(n as u8 | 1));
        for round in 0..4 {
            raw::migrate(page(at, 512), 2 * CHUNK, 0).unwrap();
            let moves =
                |from: *mut u8, to: *mut u8| raw::mapping::remap(from.addr(), CHUNK, CHUNK, flags, to.addr());
            assert_eq!(moves(at, other), Ok(other.addr()));
            raw::migrate(other, PAGE, 0).unwrap(); // watched there, too
            assert_eq!(moves(other, at), Ok(at.addr()));
            if round % 2 == 1 {
                raw::migrate(at, PAGE, 0).unwrap();
            }
            right();
        }
        raw::disown(at, 3 * CHUNK).unwrap();
    }
}

/// The same while another thread has the rest leave and come back, watched anew each time.
fn remapped_while_the_rest_moves() {
    let (at, other) = (chunks(4), chunks(1));
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let places = [at, other].map(|p| p.expose_provenance());
    let done = AtomicBool::new(false);
    // SAFETY: memory of this test's own; each thread has its part of it.
    unsafe {
        raw::adopt(at, 4 * CHUNK).unwrap();
        (0..2048).for_each(|n| page(at, n).write_volatile(n as u8 | 1));
    }
    let right = |pages: std::ops::Range<usize>| {
        let at: *mut u8 = std::ptr::with_exposed_provenance_mut(places[0]);
        // SAFETY: as above.
        pages.for_each(|n| unsafe { assert_eq!(page(at, n).read_volatile(), n as u8 | 1, "page {n}") });
    };
    std::thread::scope(|s| {
        s.spawn(|| {
            let rest = std::ptr::with_exposed_provenance_mut(places[0] + CHUNK);
            for _ in 0..80 {
                // SAFETY: as above.
                unsafe {
                    raw::disown(rest, 3 * CHUNK).unwrap();
                    raw::adopt(rest, 3 * CHUNK).unwrap();
                }
                raw::migrate(rest, 3 * CHUNK, 0).unwrap();
                right(512..2048);
            }
            done.store(true, Relaxed);
        });
        s.spawn(|| {
            while !done.load(Relaxed) {
                for [from, to] in [places, [places[1], places[0]]] {
                    raw::migrate(std::ptr::with_exposed_provenance(from), PAGE, 0).unwrap();
                    // SAFETY: as above.
                    assert_eq!(unsafe { raw::mapping::remap(from, CHUNK, CHUNK, flags, to) }, Ok(to));
                }
                right(0..512);
            }
        });
    });
    // SAFETY: as above.
    unsafe {
        raw::disown(at, CHUNK).unwrap();
        raw::disown(page(at, 512), 3 * CHUNK).unwrap();
    }
}

/// A range of which one part leaves when its stream gets there, and another is the program's own again by then.
fn disowned_behind_a_prefetch() {
    let at = chunks(2);
    let slow = common::kernels::kernel(0, "test_slow_increment");
    let (word, one, time) = (raw::calloc(1, 4).unwrap(), 1_u64, 300_000_000_u64);
    let args = [
        LaunchArg::Pointer { ptr: word, len: 4, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const one).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const time).cast(), size: 8 },
    ];
    // SAFETY: memory of this test's own; the arguments fit the kernel.
    unsafe {
        libc::madvise(at.cast(), 2 * CHUNK, libc::MADV_NOHUGEPAGE);
        raw::adopt(at, 2 * CHUNK).unwrap();
        at.write_volatile(4);
        page(at, 512).write_volatile(5);
        raw::launch(slow, &LaunchConfig::default(), &args).unwrap();
        raw::prefetch(at, CHUNK, 0, StreamId::DEFAULT).unwrap();
        raw::disown(page(at, 512), CHUNK).unwrap();
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        let mut state = [Page::default()];
        raw::query(at, 1, &mut state).unwrap();
        assert_eq!((state[0].flags & 7, word.read_volatile()), (Page::DEVICE, 1));
        read_zeros(page(at, 514), PAGE).expect("nobody watches it");
        assert_eq!((page(at, 512).read_volatile(), page(at, 513).read_volatile()), (5, 0));
        assert_eq!(at.read_volatile(), 4);
        raw::free(word).unwrap();
        raw::disown(at, CHUNK).unwrap();
    }
}

/// Threads whose calls are the first that need a device, all at once: what the quick ones send must not leave before the engine
/// runs, or it is away by protection, in a block that the others have watched.
fn many_are_first(config: &Config) {
    const THREADS: usize = 4;
    let at = chunks(THREADS);
    // SAFETY: memory of this test's own.
    unsafe { raw::adopt(at, THREADS * CHUNK).unwrap() };
    (0..THREADS * 512).for_each(|n| {
        // SAFETY: as above.
        unsafe { page(at, n).write_volatile(n as u8 | 1) };
    });
    let before = mappings();
    for round in 0..40 {
        raw::shutdown().unwrap();
        raw::init(Some(config.clone())).unwrap();
        let start = Barrier::new(THREADS);
        std::thread::scope(|s| {
            for t in 0..THREADS {
                let (start, part) = (&start, page(at, t * 512).expose_provenance());
                s.spawn(move || {
                    let part = std::ptr::with_exposed_provenance_mut(part);
                    start.wait();
                    (0..t * 4000).for_each(|_| std::hint::spin_loop());
                    raw::migrate(part, CHUNK, 0).unwrap();
                });
            }
        });
        raw::advise(at, THREADS * CHUNK, Advice::Random, 0).unwrap();
        for n in (0..THREADS * 512).step_by(2) {
            // SAFETY: a managed page.
            assert_eq!(unsafe { page(at, n).read_volatile() }, n as u8 | 1, "round {round}, page {n}");
        }
        let now = mappings();
        assert!(now < before + 200, "round {round}: {before} mappings, then {now}: not all of it is watched");
    }
    // SAFETY: as above.
    unsafe { raw::disown(at, THREADS * CHUNK).unwrap() };
}

/// A child that keeps all descriptors: no handlers at fork run for it.
fn bare_child() -> i32 {
    // SAFETY: the child does nothing but wait, by system calls.
    unsafe {
        match libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) {
            0 => loop {
                libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                libc::syscall(libc::SYS_pause);
            },
            child => child as i32,
        }
    }
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// The kernel's watch outlives the engine where a child has not closed its descriptor: the next one must not find it there.
fn restarted(config: Config) {
    let (block, own) = (raw::malloc(2 * CHUNK).unwrap(), chunks(2));
    let fill = |at: *mut u8, mark: u8| {
        for n in 0..1024 {
            // SAFETY: the pages are the test's own.
            unsafe { page(at, n).write_volatile(mark ^ n as u8) };
        }
    };
    // SAFETY: memory of this test's own.
    unsafe { raw::adopt(own, 2 * CHUNK).unwrap() };
    for (at, mark) in [(block, 3), (own, 7)] {
        fill(at, mark);
        raw::migrate(at, CHUNK, 0).unwrap();
    }
    let child = bare_child();
    raw::shutdown().unwrap();
    raw::init(Some(config)).unwrap();
    for (at, mark) in [(block, 3), (own, 7)] {
        raw::advise(at, 2 * CHUNK, Advice::Random, 0).unwrap();
        raw::migrate(at, 2 * CHUNK, 0).unwrap();
        let before = mappings();
        for n in (0..1024).step_by(2) {
            // SAFETY: a managed page.
            assert_eq!(unsafe { page(at, n).read_volatile() }, mark ^ n as u8);
        }
        assert!(
            mappings() < before + 100,
            "{before} mappings, then {}: it is not watched any more",
            mappings()
        );
    }
    // SAFETY: a child of ours; a block of ours; memory that stays.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        raw::free(block).unwrap();
        raw::disown(own, 2 * CHUNK).unwrap();
    }
}

#[test]
fn what_is_watched_is_not_what_the_chunk_is() {
    for fault in [FaultEngine::Uffd, FaultEngine::UffdThread] {
        let config = Config { fault, ..common::config() };
        match raw::init(Some(config.clone())).and_then(|()| raw::device_count()) {
            Ok(_) => {}
            Err(e @ Error::Unsupported { .. }) => {
                common::skipped("what_is_watched_is_not_what_the_chunk_is", e);
                let _ = raw::shutdown();
                continue;
            }
            Err(e) => panic!("{e}"),
        }
        neighbours();
        given_back();
        for_the_kernel();
        moved();
        resized_beside_another();
        remapped_beside_another();
        remapped_while_the_rest_moves();
        disowned_behind_a_prefetch();
        many_are_first(&config);
        restarted(config);
        raw::shutdown().unwrap();
    }
}
