//! fork: children get a snapshot of managed memory, whatever moves meanwhile, and parents do not notice. Each case has a
//! process of its own.

#[path = "../common/mod.rs"]
mod common;

mod bare;
mod handlers;

use common::{Block, Rng, case, filter, kernels, run_case};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{AccessMode, LaunchArg, LaunchConfig, Page, StreamId};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Runs `f` in a forked child and gives its wait status.
fn child(f: impl FnOnce() -> bool) -> i32 {
    // SAFETY: no preconditions.
    child_of(|| unsafe { libc::fork() }, f)
}

fn child_of(fork: impl FnOnce() -> i32, f: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child runs `f`, which uses memory only, and ends.
    unsafe {
        let pid = fork();
        assert!(pid >= 0);
        if pid == 0 {
            libc::_exit(if f() { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status
    }
}

fn fill(b: &Block, salt: u64) {
    (0..b.words()).step_by(8).for_each(|i| b.word(i).store(i as u64 ^ salt, Relaxed));
}

fn holds(b: &Block, salt: u64) -> bool {
    (0..b.words()).step_by(8).all(|i| b.word(i).load(Relaxed) == i as u64 ^ salt)
}

/// What is where does not matter to the child, nor what it does to the parent.
fn snapshot() {
    let (home, away, both, part) =
        (Block::new(5 << 20), Block::new(5 << 20), Block::new(3 << 20), Block::new(6 << 20));
    let all = [&home, &away, &both, &part];
    for round in 0..5 {
        all.iter().for_each(|b| fill(b, round));
        raw::migrate(away.ptr, away.len, 0).unwrap();
        raw::migrate(both.ptr, both.len, 0).unwrap();
        assert!(holds(&both, round));
        raw::migrate(part.ptr, 3 << 20, common::two_devices()[1]).unwrap();
        let before = raw::stats().bytes_to_host;
        let status = child(|| {
            let right = all.iter().all(|b| holds(b, round));
            all.iter().for_each(|b| fill(b, 99));
            right && all.iter().all(|b| holds(b, 99)) && child(|| all.iter().all(|b| holds(b, 99))) == 0
        });
        assert_eq!(status, 0, "round {round}");
        let brought = raw::stats().bytes_to_host - before;
        assert_eq!(brought, (5 << 20) + (3 << 20), "only what the host had not");
        assert!(away.pages().iter().all(|p| p.flags & Page::DEVICE != 0), "the device keeps its copy");
        let again = raw::stats().bytes_to_host;
        assert_eq!(child(|| all.iter().all(|b| holds(b, round))), 0);
        assert_eq!(raw::stats().bytes_to_host, again, "nothing to bring the second time");
        assert!(all.iter().all(|b| holds(b, round)));
    }
}

/// Whether a mapping of the block has the flag, as /proc/self/smaps abbreviates it.
fn has_flag(b: &Block, flag: &str) -> bool {
    let (mut inside, block) = (false, b.ptr.addr()..b.ptr.addr() + b.len);
    std::fs::read_to_string("/proc/self/smaps").unwrap().lines().any(|line| {
        let ends = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let number = |s| usize::from_str_radix(s, 16).ok();
        if let Some((start, end)) = ends.and_then(|(a, z)| number(a).zip(number(z))) {
            inside = start < block.end && block.start < end;
        }
        inside && line.strip_prefix("VmFlags:").is_some_and(|flags| flags.split(' ').any(|f| f == flag))
    })
}

/// What the program has asked the kernel for is about its own block: not about the next one that comes home in the pages that the
/// first has left. Catches: a child that reads zeros in another block, or has none there.
fn advice_of_others() {
    for (advice, flag) in
        [(libc::MADV_WIPEONFORK, "wf"), (libc::MADV_DONTFORK, "dc"), (libc::MADV_DONTDUMP, "dd")]
    {
        let [first, second] = [1, 2].map(|salt| {
            let b = Block::new(8 << 20);
            fill(&b, salt);
            b
        });
        raw::migrate(second.ptr, second.len, 0).unwrap();
        // SAFETY: a block of the test's, which no child looks at.
        assert_eq!(unsafe { libc::madvise(first.ptr.cast(), first.len, advice) }, 0);
        assert!(has_flag(&first, flag) && !has_flag(&second, flag));
        raw::migrate(first.ptr, first.len, 0).unwrap();
        raw::migrate(second.ptr, second.len, HMM_HOST).unwrap();
        assert_eq!(child(|| holds(&second, 2)), 0, "advice {advice}");
        assert!(!has_flag(&second, flag), "advice {advice}");
        assert!(holds(&first, 1) && holds(&second, 2));
    }
}

/// The child has what a kernel wrote that was running when the process forked; the parent's kernels go on.
fn kernels_finish_first() {
    let b = Block::new(4 << 20);
    let (n, ns) = (b.len as u64 / 4, 60_000_000_u64);
    let increment = kernels::kernel(0, "test_slow_increment");
    let args = [
        LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::ReadWrite },
        LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
        LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
    ];
    for round in 1..4_u64 {
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(increment, &LaunchConfig::linear(1 << 16, 256), &args).unwrap() };
        let expected = round | round << 32;
        assert_eq!(child(|| (0..b.words()).all(|i| b.word(i).load(Relaxed) == expected)), 0, "round {round}");
    }
    raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    assert_eq!(b.word(100).load(Relaxed), 3 | 3 << 32);
}

/// Threads move and fault while others fork. Each block is all of one value at any time that a fork can see: a writer changes
/// it word by word with the value before and the value after being neighbours.
fn while_all_moves() {
    let rounds = (60.0 * common::scale()).max(5.0) as usize;
    raw::device_count().unwrap();
    let blocks: Vec<Block> = [2 << 20, (4 << 20) + 8192, 64 << 10, 4096].map(Block::new).into();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let (blocks, stop) = (&blocks, &stop);
        for t in 0..2 {
            s.spawn(move || {
                let mut rng = Rng(17 + t);
                while !stop.load(Relaxed) {
                    let b = &blocks[rng.below(blocks.len())];
                    let to = [HMM_HOST, 0, common::two_devices()[1]][rng.below(3)];
                    raw::migrate(b.ptr, b.len, to).unwrap();
                }
            });
        }
        s.spawn(move || {
            let mut value = 1;
            while !stop.load(Relaxed) {
                for b in blocks {
                    (0..b.words()).step_by(64).for_each(|i| b.word(i).store(value, Relaxed));
                }
                value += 1;
            }
        });
        for round in 0..rounds {
            let status = child(|| {
                blocks.iter().all(|b| {
                    // The writer was somewhere in the block: new values, then old ones, one apart.
                    let values: Vec<u64> =
                        (0..b.words()).step_by(64).map(|i| b.word(i).load(Relaxed)).collect();
                    let (first, last) = (values[0], values[values.len() - 1]);
                    let ordered = values.windows(2).all(|w| w[0] == w[1] || w[0] == w[1] + 1);
                    ordered && first - last <= 1 && {
                        b.word(1).store(5, Relaxed);
                        b.word(1).load(Relaxed) == 5
                    }
                })
            });
            assert_eq!(status, 0, "round {round}");
        }
        stop.store(true, Relaxed);
    });
    assert!(
        blocks.iter().all(|b| b.words() < 2 || b.word(1).load(Relaxed) == 0),
        "a child wrote into its parent"
    );
}

/// Children that only call exec need nothing brought home.
fn exec_only() {
    let away = Block::new(8 << 20);
    fill(&away, 3);
    raw::migrate(away.ptr, away.len, 0).unwrap();
    let before = raw::stats().bytes_to_host;
    let status = child(|| holds(&away, 3));
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "{status:#x}");
    assert!(std::process::Command::new("true").status().unwrap().success());
    assert_eq!(raw::stats().bytes_to_host, before);
    assert!(holds(&away, 3));
}

/// Programs that are started without fork's handlers cost nothing.
fn spawned() {
    let away = Block::new(8 << 20);
    fill(&away, 3);
    raw::migrate(away.ptr, away.len, 0).unwrap();
    let before = raw::stats().bytes_to_host;
    for _ in 0..5 {
        // SAFETY: a command without arguments from here.
        assert_eq!(unsafe { libc::system(c"true".as_ptr()) }, 0);
        assert!(std::process::Command::new("true").status().unwrap().success());
    }
    assert_eq!(raw::stats().bytes_to_host, before);
    assert!(holds(&away, 3));
}

/// From here on no process can be made, only threads: fork answers EAGAIN, as where RLIMIT_NPROC is reached.
fn forbid_processes() {
    filter::install(&mut [
        filter::load_number(),
        filter::step(0x15, 0, 3, libc::SYS_clone as u32),
        filter::step(0x20, 0, 0, 16), // the low half of the flags
        filter::step(0x45, 1, 0, libc::CLONE_VM as u32),
        filter::refuse(libc::EAGAIN),
        filter::allow(),
    ]);
}

fn mask() -> u64 {
    let mut set = 0_u64;
    // SAFETY: the kernel writes its set.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, 0, &mut set, 8) };
    set
}

/// A fork that fails leaves nothing locked, blocked or paused: for the thread that tried it, and for all others.
fn refused() {
    common::end_if_it_hangs();
    // SAFETY: memory of the test's own, which stays.
    let adopted = unsafe {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let at = libc::mmap(std::ptr::null_mut(), 3 << 20, prot, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        raw::adopt(at.cast(), 3 << 20).unwrap();
        std::mem::ManuallyDrop::new(Block { ptr: at.cast(), len: 3 << 20 })
    };
    let [large, small] = [Block::new(5 << 20), Block::new(60 << 10)];
    let all = [&large, &small, &*adopted];
    let away = |salt| {
        for b in all {
            fill(b, salt);
            raw::migrate(b.ptr, b.len, 0).unwrap();
        }
    };
    // Everything that takes a chunk's lock, the heap's or the regions'.
    let work = |salt: u64| {
        assert!(all.iter().all(|b| holds(b, salt)));
        away(salt + 1);
        let new: Vec<Block> = [100, 4096, 60 << 10, 3 << 20].map(Block::new).into();
        new.iter().for_each(|b| fill(b, salt));
        raw::migrate(new[3].ptr, new[3].len, 0).unwrap();
        assert!(new.iter().all(|b| holds(b, salt)));
        let (large, adopted) = (all[0], all[2]);
        // SAFETY: the memory stays.
        unsafe {
            raw::disown(adopted.ptr, adopted.len).unwrap();
            raw::adopt(adopted.ptr, adopted.len).unwrap();
        }
        raw::prefetch(large.ptr, large.len, 0, StreamId::DEFAULT).unwrap();
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        assert!(all.iter().all(|b| holds(b, salt + 1)));
        away(salt + 2);
    };
    away(0);
    forbid_processes();
    let before = mask();
    for round in 0..10 {
        // SAFETY: there is no child.
        assert_eq!(unsafe { libc::fork() }, -1, "processes are forbidden");
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN));
        assert_eq!(mask(), before);
        // Others first: this thread would find what it had locked itself.
        std::thread::scope(|s| s.spawn(|| work(4 * round)).join().unwrap());
        work(4 * round + 2);
    }
    // SAFETY: nobody uses it.
    unsafe { raw::disown(adopted.ptr, adopted.len).unwrap() };
    drop((large, small));
    raw::shutdown().unwrap();
}

#[test]
fn cases() {
    match case().as_deref() {
        Some("snapshot") => return snapshot(),
        Some("advice_of_others") => return advice_of_others(),
        Some("kernels") => return kernels_finish_first(),
        Some("moving") => return while_all_moves(),
        Some("bare") => return bare::children(),
        Some("own_handlers") => return handlers::own(),
        Some("exec_only") => return exec_only(),
        Some("spawned") => return spawned(),
        Some("refused") => return refused(),
        Some("locked") => return handlers::locked(),
        Some("touched") => return handlers::touched(25, 20),
        Some("touched_by_many") => return handlers::touched(700, 5),
        _ => {}
    }
    let exec = [("HMMRT_FORK", "exec")];
    let two = [("HMMRT_HOST_DEVICES", "2")];
    let driver = [("HMMRT_HOST_DEVICES", "2"), ("HMMRT_HOST_DIRECT", "0")];
    // With userfaultfd such a child finds zeros.
    let segv = [("HMMRT_FAULT", "segv")];
    let segv_driver = [("HMMRT_FAULT", "segv"), ("HMMRT_HOST_DIRECT", "0")];
    let messages = [("HMMRT_FAULT", "uffd-thread")];
    let messages_driver = [("HMMRT_FAULT", "uffd-thread"), ("HMMRT_HOST_DIRECT", "0")];
    let runs: [(&str, &[(&str, &str)]); 21] = [
        ("own_handlers", &[]),
        ("snapshot", &two),
        ("snapshot", &driver),
        ("advice_of_others", &[]),
        ("kernels", &[]),
        ("moving", &two),
        ("moving", &driver),
        ("bare", &segv),
        ("bare", &segv_driver),
        ("exec_only", &exec),
        ("spawned", &[]),
        ("refused", &two),
        ("refused", &driver),
        ("locked", &[]),
        ("locked", &driver),
        ("locked", &messages_driver),
        ("touched", &[]),
        ("touched", &driver),
        ("touched", &messages),
        ("touched", &messages_driver),
        ("touched_by_many", &messages),
    ];
    for (name, env) in runs {
        let out = run_case("cases", name, env);
        assert!(
            out.status.success(),
            "{name} {env:?}: {:?}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
