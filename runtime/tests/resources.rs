//! Host memory is given back, mappings stay bounded, and large numbers work. Each case has a process of its own.

mod common;

use common::{Block, Rng, case, run_case};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Access, AccessMode, Advice, Page, Protection, StreamId};
use std::sync::atomic::Ordering::Relaxed;

/// Resident bytes of `start..end`, page by page (a line of smaps may cover neighbours too).
fn resident(start: usize, end: usize) -> usize {
    use std::os::unix::fs::FileExt;
    let pagemap = std::fs::File::open("/proc/self/pagemap").unwrap();
    let mut entries = vec![0u8; (end - start) / 4096 * 8];
    pagemap.read_exact_at(&mut entries, (start / 4096 * 8) as u64).unwrap();
    entries.chunks(8).filter(|e| e[7] & 0x80 != 0).count() * 4096
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// The process's resident bytes.
fn process() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn fill(b: &Block) {
    (0..b.words()).step_by(64).for_each(|i| b.word(i).store(i as u64 + 1, Relaxed));
}

fn check(b: &Block) {
    assert!((0..b.words()).step_by(64).all(|i| b.word(i).load(Relaxed) == i as u64 + 1));
}

fn memory_falls() {
    let big = Block::new(512 << 20);
    let small: Vec<Block> = (0..64).map(|_| Block::new(1 << 20)).collect();
    for b in small.iter().chain([&big]) {
        fill(b);
        let span = (b.ptr as usize, b.ptr as usize + b.len);
        assert_eq!(resident(span.0, span.1), b.len);
    }
    let with_host = process();
    for b in small.iter().chain([&big]) {
        assert_eq!(raw::migrate(b.ptr, b.len, 0).unwrap(), b.len / 4096);
    }
    let all = small.iter().chain([&big]).map(|b| b.len).sum::<usize>();
    let left = resident(big.ptr as usize, big.ptr as usize + big.len);
    assert!(left * 20 <= big.len, "{left} of {} bytes are still resident", big.len);
    let left: usize = small.iter().map(|b| resident(b.ptr as usize, b.ptr as usize + b.len)).sum();
    assert!(left * 20 <= 64 << 20, "{left} of the small blocks' bytes are still resident");
    // The stand-in's device memory is in RAM too; without it the process has shrunk by what was moved.
    let stats = raw::stats();
    let now = process() - stats.device_bytes as usize;
    let fell = with_host - now.min(with_host);
    assert!(
        fell + stats.spare_bytes as usize >= all / 100 * 95,
        "fell by {fell} of {all}, {} spare",
        stats.spare_bytes
    );
    assert!(stats.spare_bytes <= 64 << 20);
    small.iter().chain([&big]).for_each(check);
    drop((big, small));
    let stats = raw::stats();
    assert_eq!((stats.managed_bytes, stats.device_bytes), (0, 0));
}

/// Random migrations of random parts: the number of mappings stays under the budget, and the bytes stay right.
fn mappings_are_bounded(budget: Option<usize>) {
    let blocks: Vec<Block> = [64 << 20, 8 << 20, 3 << 20, 700_000, 300_000, 40_960].map(Block::new).into();
    blocks.iter().for_each(fill);
    raw::advise(blocks[0].ptr, 16 << 20, Advice::Random, HMM_HOST).unwrap();
    let mut rng = Rng(common::seed());
    common::others_sleep();
    let start = mappings();
    let (mut most, moves) = (start, (100_000.0 * common::scale()) as usize);
    for i in 0..moves {
        let b = &blocks[rng.below(blocks.len())];
        let from = rng.below(b.len);
        let len = (1 + rng.below(16 * 4096)).min(b.len - from);
        // SAFETY: inside the block.
        let p = unsafe { b.ptr.add(from) };
        match rng.below(4) {
            0 | 1 => match raw::migrate(p, len, 0) {
                // Part of a small block's chunk at the limit: refused, nothing changed.
                Err(hmmrt::Error::NoMemory { .. }) if budget.is_some() && b.len < 2 << 20 => {}
                moved => drop(moved.unwrap()),
            },
            2 => drop(raw::migrate(p, len, HMM_HOST).unwrap()),
            _ => drop(b.word(from / 8).load(Relaxed)),
        }
        if i % 500 == 0 {
            most = most.max(mappings());
        }
    }
    blocks.iter().for_each(check);
    let stats = raw::stats();
    eprintln!("{moves} moves: {start} to {most} mappings, {} estimated", stats.vmas);
    match budget {
        Some(n) => assert!(most < start + n + n * 3 / 4, "{most} mappings with a budget of {n}"),
        // Missing and write-protected pages split no mapping; devices and the spare pool have some.
        None if common::is_watched() => assert!(most < start + 64, "{start} to {most} mappings"),
        None => assert!(most < 20_000, "{most} mappings"),
    }
    drop(blocks);
    assert!(mappings() < start + 200, "{} mappings are left behind", mappings());
}

/// Every other page of a block is home, which splits its mapping at each page where that is by protection, and not at all where
/// it is by userfaultfd.
fn every_other_page() {
    const PAGES: usize = 2048;
    let b = Block::new(PAGES * 4096);
    fill(&b);
    raw::advise(b.ptr, b.len, Advice::Random, HMM_HOST).unwrap();
    raw::migrate(b.ptr, b.len, 0).unwrap();
    common::others_sleep();
    let start = mappings();
    (0..PAGES)
        .step_by(2)
        .for_each(|page| assert_eq!(b.word(page * 512).load(Relaxed), page as u64 * 512 + 1));
    let home = b.pages().iter().filter(|p| p.flags & Page::HOST != 0).count();
    assert_eq!(home, PAGES / 2);
    let more = mappings().saturating_sub(start);
    eprintln!("{more} more mappings");
    assert!(if common::is_watched() { more < 16 } else { more > PAGES / 2 }, "{more} more mappings");
    check(&b);
}

/// Few pages here and there are written, and a device reads all: what that splits is one mapping again after each round,
/// and is not thought to be more and more of them, until a small block is refused.
fn rounds_do_not_add_up() {
    let (big, small) = (Block::new(8 << 20), Block::new(4096));
    fill(&big);
    let read = [Access { ptr: big.ptr, len: big.len, mode: AccessMode::Read }];
    common::others_sleep(); // a thread that begins makes mappings
    let start = mappings();
    for round in 0..60 {
        // SAFETY: nothing is given up.
        unsafe { raw::acquire(0, StreamId::DEFAULT, &read).unwrap() };
        raw::release(0, StreamId::DEFAULT).unwrap();
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        for page in (0..big.len / 4096).step_by(16) {
            big.word(page * 512 + 1).store(round, Relaxed);
        }
        let (real, believed) = (mappings() - start, raw::stats().vmas as usize);
        assert!(believed <= 2 * real + 100, "round {round}: {believed} mappings, and really {real} more");
        assert!(real <= believed + 60, "round {round}: {real} more mappings, and thought to be {believed}");
        assert_eq!(raw::migrate(small.ptr, small.len, 0).unwrap(), 1, "round {round}");
        small.word(0).store(round, Relaxed);
    }
    check(&big);
}

/// Small blocks leave by the chunk and come home one by one: that is bounded, too, and so is what it is thought to be.
fn small_blocks() {
    const BUDGET: usize = 2000;
    let blocks: Vec<Block> = (0..10_000).map(|_| Block::new(4096)).collect();
    let mut words = vec![0_u64; blocks.len()];
    let mut rng = Rng(common::seed());
    common::others_sleep();
    let start = mappings();
    for chunk in 0..100 {
        raw::preload::stir(chunk << 32 | 4); // all of it
    }
    for i in (0..blocks.len()).step_by(2) {
        words[i] = i as u64;
        blocks[i].word(3).store(words[i], Relaxed);
    }
    let (mut most, mut least) = (mappings(), usize::MAX);
    assert!(most < start + BUDGET + BUDGET * 3 / 4, "{most} mappings");
    for i in 0..(10_000.0 * common::scale()) as usize {
        raw::preload::stir(rng.next());
        for _ in 0..4 {
            let b = rng.below(blocks.len());
            assert_eq!(blocks[b].word(3).load(Relaxed), words[b], "{i}");
            if rng.below(2) == 0 {
                words[b] = rng.next();
                blocks[b].word(3).store(words[b], Relaxed);
            }
        }
        if i % 500 == 0 {
            most = most.max(mappings());
            least = least.min(raw::stats().vmas as usize);
        }
    }
    assert!(blocks.iter().zip(&words).all(|(b, w)| b.word(3).load(Relaxed) == *w));
    let stats = raw::stats();
    eprintln!("{start} to {most} mappings, estimated {least} and more, {} moves", stats.moves_to_device);
    assert!(stats.moves_to_device > 100);
    assert!(most < start + BUDGET + BUDGET * 3 / 4, "{most} mappings");
}

/// Near the limit a slab comes home whole; when that can't be, because of pages that nobody asked for, what was asked for
/// does as ever.
fn neighbours_do_not_harm() {
    let (both, away) = (Block::new(4096), Block::new(4096));
    assert_eq!(both.ptr as usize >> 21, away.ptr as usize >> 21, "one slab");
    both.word(3).store(7, Relaxed);
    away.word(3).store(8, Relaxed);
    let read = [Access { ptr: both.ptr, len: 4096, mode: AccessMode::Read }];
    // SAFETY: nothing is given up.
    unsafe { raw::acquire(0, StreamId::DEFAULT, &read).unwrap() };
    raw::release(0, StreamId::DEFAULT).unwrap();
    raw::migrate(away.ptr, 4096, 0).unwrap();
    let place = |b: &Block| b.pages()[0].flags & (Page::HOST | Page::DEVICE);
    assert_eq!((place(&both), place(&away)), (Page::HOST | Page::DEVICE, Page::DEVICE));
    if common::on_host_backend() {
        hmmrt::inject::arm("copy_out:1+").unwrap();
        both.word(3).store(9, Relaxed);
        assert_eq!((place(&both), place(&away)), (Page::HOST, Page::DEVICE));
        hmmrt::inject::arm("").unwrap();
    }
    // Nor do they lose a protection that the program gave them itself.
    let guarded = Block::new(4096);
    assert_eq!(both.ptr as usize >> 21, guarded.ptr as usize >> 21, "one slab");
    let mut ends = [0; 2];
    // SAFETY: a page of the test's; room for two descriptors.
    unsafe {
        assert_eq!(libc::mprotect(guarded.ptr.cast(), 4096, libc::PROT_READ), 0);
        assert_eq!((libc::pipe(ends.as_mut_ptr()), libc::write(ends[1], b"x".as_ptr().cast(), 1)), (0, 1));
    }
    assert_eq!(away.word(3).load(Relaxed), 8);
    let read = if common::is_watched() { Page::HOST | Page::DEVICE } else { Page::HOST };
    assert_eq!((place(&both), place(&away)), (Page::HOST, read));
    // SAFETY: the kernel refuses to write there.
    unsafe {
        assert_eq!(libc::read(ends[0], guarded.ptr.cast(), 1), -1);
        assert_eq!(libc::mprotect(guarded.ptr.cast(), 4096, libc::PROT_READ | libc::PROT_WRITE), 0);
        assert_eq!(libc::read(ends[0], guarded.ptr.cast(), 1), 1);
    }
}

fn many_blocks() {
    let tib = raw::malloc(1 << 40).unwrap();
    // SAFETY: inside the block.
    unsafe { tib.add((1 << 40) - 5).write_volatile(7) };
    let mut rng = Rng(5);
    let blocks: Vec<Block> = (0..100_000).map(|_| Block::new(1 + rng.below(20_000))).collect();
    for (i, b) in blocks.iter().enumerate() {
        // SAFETY: inside the block.
        unsafe { b.ptr.cast::<u32>().write_unaligned(i as u32) };
        assert!(raw::usable_size(b.ptr) >= b.len);
    }
    for i in (0..blocks.len()).step_by(100) {
        raw::migrate(blocks[i].ptr, blocks[i].len, 0).unwrap();
    }
    for (i, b) in blocks.iter().enumerate() {
        // SAFETY: inside the block.
        assert_eq!(unsafe { b.ptr.cast::<u32>().read_unaligned() }, i as u32);
    }
    // SAFETY: as above.
    unsafe {
        raw::migrate(tib.add((1 << 40) - 4096), 4096, 0).unwrap();
        let mut page = [Page::default()];
        raw::query(tib.add((1 << 40) - 4096), 1, &mut page).unwrap();
        assert_eq!(page[0].flags & 7, Page::DEVICE);
        assert_eq!(tib.add((1 << 40) - 5).read_volatile(), 7);
        let stats = raw::stats();
        assert!(
            stats.table_bytes * 1000 <= stats.managed_bytes,
            "{} for {}",
            stats.table_bytes,
            stats.managed_bytes
        );
        raw::free(tib).unwrap();
    }
}

/// The caller's own memory, adopted in place: whole chunks and odd edges, next to memory that stays the caller's.
fn adoption() {
    let len = 7 << 20;
    // SAFETY: a new mapping; all writes stay inside it.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let p = libc::mmap(std::ptr::null_mut(), len, 3, flags, -1, 0).cast::<u8>();
        for i in 0..len / 8 {
            p.cast::<u64>().add(i).write(i as u64);
        }
        let (a, n) = (p.add(5 * 4096), len - 12 * 4096);
        raw::adopt(a, n).unwrap();
        raw::adopt(a.add(n), 3 * 4096).unwrap(); // the next one, in the same chunk
        assert!(raw::adopt(a, 4096).is_err() && raw::owns(a) && !raw::owns(p));
        for round in 0..20 {
            assert_eq!(raw::migrate(a, n, 0).unwrap(), n / 4096, "round {round}");
            raw::migrate(a.add(n), 4096, 0).unwrap();
            p.add(17).write(round); // not managed, stays where it is
            for i in (0..len / 8).step_by(100).skip(1) {
                assert_eq!(p.cast::<u64>().add(i).read(), i as u64);
            }
            a.cast::<u64>().write(5 * 512);
        }
        raw::migrate(a, n, 0).unwrap();
        raw::disown(a.add(1 << 20), 2 << 20).unwrap(); // out of the middle
        assert!(raw::owns(a) && !raw::owns(a.add(1 << 20)) && raw::owns(a.add(3 << 20)));
        for i in (0..len / 8).step_by(10).skip(1) {
            assert_eq!(p.cast::<u64>().add(i).read(), i as u64);
        }
        raw::disown(a, 1 << 20).unwrap();
        raw::disown(a.add(3 << 20), n - (3 << 20) + 3 * 4096).unwrap();
        assert_eq!(raw::stats().managed_bytes, 0);
        assert_eq!(raw::stats().device_bytes, 0);
        p.write_bytes(1, len);
        libc::munmap(p.cast(), len);
    }
}

/// The program changes its protection of pages while a prefetch is at work on others of the same mapping: what the prefetch
/// learnt of the mapping before does not hold for them.
fn protected_meanwhile() {
    let stream = raw::stream_create(0).unwrap();
    // Older kernels answer questions about a mapping too slowly to be asked for each chunk.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|n| n.trim().parse().unwrap_or(0));
    let quick = (numbers.next(), numbers.next()) >= (Some(6), Some(11));
    for behind_our_back in [false, true].into_iter().filter(|behind| quick || !behind) {
        let mut tries = 0;
        let b = loop {
            let b = Block::new(48 << 20);
            fill(&b);
            let part = b.ptr.wrapping_add(40 << 20);
            raw::prefetch(b.ptr, b.len, 0, stream).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(8 - tries % 8)); // a copy takes 4: it is at one of the first chunks
            // SAFETY: nobody writes this part meanwhile.
            unsafe {
                if behind_our_back {
                    assert_eq!(libc::mprotect(part.cast(), 2 << 20, libc::PROT_READ), 0);
                } else {
                    raw::protect(part, 2 << 20, Protection::Read).unwrap();
                }
            }
            // Unless this thread had to wait: the part must not have left yet.
            let mut pages = [Page::default(); 512];
            raw::query(part, 2 << 20, &mut pages).unwrap();
            let is_in_time = pages.iter().all(|p| p.flags & Page::DEVICE == 0);
            raw::stream_synchronize(stream).unwrap();
            if is_in_time {
                break b;
            }
            tries += 1;
            assert!(tries < 1000);
        };
        assert!(b.pages().iter().all(|p| p.flags & Page::DEVICE != 0));
        raw::migrate(b.ptr, b.len, HMM_HOST).unwrap();
        for (i, page) in b.pages().iter().enumerate() {
            let read_only = (40 * 256..42 * 256).contains(&i);
            assert_eq!(
                page.flags & Page::WRITE == 0,
                read_only,
                "page {i} of {:p}, {behind_our_back}",
                b.ptr
            );
        }
        check(&b);
    }
}

/// `hmm_init` and `hmm_shutdown` many times: handlers restored, no descriptor, thread or protection left.
fn start_and_stop() {
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    // SAFETY: only asks.
    let handler = || unsafe {
        let mut a: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGSEGV, std::ptr::null(), &mut a);
        a.sa_sigaction
    };
    let mut first = None;
    let b = std::mem::ManuallyDrop::new(Block::new(6 << 20));
    fill(&b);
    for _ in 0..50 {
        let before = handler();
        raw::init(None).unwrap();
        raw::migrate(b.ptr, b.len, 0).unwrap();
        assert_ne!(handler(), before);
        raw::shutdown().unwrap();
        assert_eq!(handler(), before);
        check(&b);
        assert!(matches!(raw::migrate(b.ptr, 1, 0), Err(hmmrt::Error::Shutdown { .. })));
        let now = || (count("/proc/self/fd"), count("/proc/self/task"));
        common::until_ended(&mut first, now);
    }
    // SAFETY: not used any more; freeing works after shutdown.
    unsafe { raw::free(b.ptr).unwrap() };
}

/// Catches: a scratch block that stays closed after a moment without room for writable memory, and is filled later.
fn closed_for_a_moment() {
    let b = Block::new(128 << 20);
    fill(&b);
    raw::advise(b.ptr, b.len, Advice::Random, 0).unwrap();
    raw::migrate(b.ptr, b.len, 0).unwrap();
    let limit = |to: Option<u64>| {
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: places for the numbers.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_DATA, &mut now), 0);
            now.rlim_cur = to.unwrap_or(now.rlim_max);
            assert_eq!(libc::setrlimit(libc::RLIMIT_DATA, &now), 0);
        }
    };
    let value = |page: usize| b.word(page * 512).load(Relaxed);
    common::others_sleep();
    // A page of one chunk after the other: every scratch block is used, and more than once.
    let mut right = true;
    limit(Some(4096)); // from here on nothing may allocate
    (0..20).for_each(|i| right &= value(i * 512) == (i * 512 * 512) as u64 + 1);
    limit(None);
    assert!(right);
    (20..64).for_each(|i| assert_eq!(value(i * 512), (i * 512 * 512) as u64 + 1));
    check(&b);
}

#[test]
fn cases() {
    match case().as_deref() {
        Some("memory") => return memory_falls(),
        Some("mappings") => return mappings_are_bounded(None),
        Some("budget") => return mappings_are_bounded(Some(400)),
        Some("every_other_page") => return every_other_page(),
        Some("rounds") => return rounds_do_not_add_up(),
        Some("small") => return small_blocks(),
        Some("neighbours") => return neighbours_do_not_harm(),
        Some("many") => return many_blocks(),
        Some("adoption") => return adoption(),
        Some("restart") => return start_and_stop(),
        Some("closed") => return closed_for_a_moment(),
        Some("protected_meanwhile") => return protected_meanwhile(),
        _ => {}
    }
    let budget = [("HMMRT_VMA_BUDGET", "400")];
    let more = [("HMMRT_VMA_BUDGET", "2000")];
    let by_page = [("HMMRT_POLICY", "demand"), ("HMMRT_VMA_BUDGET", "1000")];
    let least = [("HMMRT_VMA_BUDGET", "64")];
    let slow = [("HMMRT_HOST_LATENCY", "4000000"), ("HMMRT_DOUBLE_LATENCY", "4000000")];
    let runs: [(&str, &[(&str, &str)]); 12] = [
        ("protected_meanwhile", &slow),
        ("memory", &[]),
        ("mappings", &[]),
        ("budget", &budget),
        ("every_other_page", &[]),
        ("rounds", &by_page),
        ("small", &more),
        ("neighbours", &least),
        ("many", &[]),
        ("adoption", &[]),
        ("restart", &[]),
        ("closed", &[]),
    ];
    for (name, env) in runs {
        let started = std::time::Instant::now();
        let out = run_case("cases", name, env);
        let text = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{name}: {:?}\n{text}", out.status);
        eprintln!(
            "{name}: {:.1} s {}",
            started.elapsed().as_secs_f64(),
            text.lines().find(|l| l.contains("mappings")).unwrap_or("")
        );
    }
}
