//! Reading ahead, case by case: what comes home in the background and what must not, what is counted, and that it is quiet
//! while the process forks. Each case has a process of its own, under the policy `auto` on the host backend.

#[path = "../common/mod.rs"]
mod common;
mod edges;
mod places;
#[path = "../common/stack.rs"]
mod stack;
#[path = "../common/traces.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod traces;
mod writers;

use common::{Block, is_watched, kernels};
use hmmrt::raw::{self, Advice, HMM_HOST};
use hmmrt::trace::{Trace, What, Why};
use hmmrt::{AccessMode, Config, KernelId, LaunchArg, LaunchConfig, Page, StreamId};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const CHUNK: usize = 2 << 20;
const WORDS: usize = CHUNK / 8;
static NOTHING: u64 = 0;

fn fill(b: &Block, salt: u64) {
    (0..b.words()).step_by(512).for_each(|i| b.word(i).store(i as u64 ^ salt, Relaxed));
}

/// Reads one word of each page of a chunk.
fn read(b: &Block, chunk: usize, salt: u64) {
    for i in (chunk * WORDS..(chunk + 1) * WORDS).step_by(512) {
        assert_eq!(b.word(i).load(Relaxed), i as u64 ^ salt, "word {i} of chunk {chunk}");
    }
}

/// Which chunks are home.
fn home(b: &Block) -> Vec<usize> {
    let pages = b.pages();
    (0..b.len / CHUNK).filter(|c| pages[c * 512].flags & Page::HOST != 0).collect()
}

/// How a case ends in which something did not move early. Nobody promises that it does: who says what is to move does not wait for
/// a thread that is at the list and has no processor. It is run again; wrong bytes end a case otherwise.
const MISSED: i32 = 77;

/// Waits for what should move early.
fn await_early(what: impl Fn() -> String, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > Duration::from_secs(20) {
            eprintln!("{}", what());
            std::process::exit(MISSED);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a chunk has come home, which nobody here touches.
fn await_home(b: &Block, chunk: usize) {
    await_early(|| format!("chunk {chunk} does not come: {:?}", home(b)), || home(b).contains(&chunk));
}

/// Gives what should not happen the time to.
fn let_it_happen() {
    std::thread::sleep(Duration::from_millis(100));
}

/// Two chunks in order, and four more come; no more than that while the reader stands still, and more when it goes on. What
/// it has touched was of use, and what goes back untouched was not.
fn a_reader_is_read_ahead_of() {
    let b = Block::new(32 * CHUNK);
    fill(&b, 1);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    raw::stats_reset();
    raw::advise(b.ptr, b.len, Advice::Sequential, HMM_HOST).unwrap();
    read(&b, 0, 1);
    await_home(&b, 2);
    let_it_happen();
    assert_eq!(home(&b), [0, 1, 2], "the reader stands still");
    let faults = raw::stats().faults;
    if is_watched() {
        (1..=3).for_each(|c| read(&b, c, 1));
        await_home(&b, 7);
        // Where threads answer touches one may be counted after who touched has gone on, and so has the reading ahead.
        common::until("the fault's count", || raw::stats().faults > faults);
        assert_eq!(raw::stats().faults - faults, 1, "at the end of what there was ahead");
    } else {
        read(&b, 1, 1);
        await_home(&b, 5);
        read(&b, 2, 1);
        assert_eq!(raw::stats().faults - faults, 2, "each is seen, and nothing is copied for it");
        let_it_happen();
        assert_eq!(home(&b), (0..=5).collect::<Vec<_>>());
    }
    let s = raw::stats();
    assert_eq!(s.bytes_to_host as usize, home(&b).len() * CHUNK, "each once");
    raw::migrate(b.ptr, b.len, 0).unwrap();
    let s = raw::stats();
    let (used, wasted) = (s.prefetched_bytes_used as usize, s.prefetched_bytes_wasted as usize);
    // By userfaultfd what is home is open, and touches of it are not seen: nothing is said then.
    assert_eq!((used, wasted), if is_watched() { (0, 0) } else { (2 * CHUNK, 3 * CHUNK) });
    assert_eq!(s.errors, 0);
    (0..32).for_each(|c| read(&b, c, 1));
}

/// Touches here and there bring nothing in the background.
fn no_order_no_reading_ahead() {
    let b = Block::new(32 * CHUNK);
    fill(&b, 2);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    for chunk in [3, 17, 5, 29, 11, 8, 24] {
        let i = chunk * WORDS;
        assert_eq!(b.word(i).load(Relaxed), i as u64 ^ 2);
    }
    let_it_happen();
    let mut home = home(&b);
    home.sort_unstable();
    assert_eq!(home, [3, 5, 8, 11, 17, 24, 29]);
}

/// What a kernel may be writing is left where it is.
fn kernels_keep_what_they_write() {
    let b = Block::new(16 * CHUNK);
    fill(&b, 3);
    let kernel = kernels::kernel(0, "test_slow_increment");
    for round in 0..3 {
        raw::migrate(b.ptr, b.len, 0).unwrap();
        let (n, ns) = (WORDS as u64 * 2, 300_000_000_u64);
        let ptr = b.ptr.wrapping_add(5 * CHUNK);
        let args = [
            LaunchArg::Pointer { ptr, len: CHUNK, mode: AccessMode::ReadWrite },
            LaunchArg::Value { data: (&raw const n).cast(), size: 8 },
            LaunchArg::Value { data: (&raw const ns).cast(), size: 8 },
        ];
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(kernel, &LaunchConfig::default(), &args).unwrap() };
        raw::advise(b.ptr, b.len, Advice::Sequential, HMM_HOST).unwrap();
        (0..5).for_each(|c| read(&b, c, 3));
        let_it_happen();
        // Each half of each word has been counted up.
        for i in (5 * WORDS..6 * WORDS).step_by(512) {
            let now = b.word(i).load(Relaxed);
            let before = (i as u64 ^ 3) as u32;
            assert_eq!((now as u32, (now >> 32) as u32), (before + round + 1, round + 1), "word {i}");
        }
        (6..16).for_each(|c| read(&b, c, 3));
    }
}

/// What has been read ahead may be freed, discarded, protected, pinned, sent back: nothing of it is odd.
fn what_came_early_is_like_any_other() {
    let run = |b: &Block| {
        fill(b, 4);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        raw::advise(b.ptr, b.len, Advice::Sequential, HMM_HOST).unwrap();
        (0..4).for_each(|c| read(b, c, 4));
        await_home(b, 5);
    };
    drop({
        let b = Block::new(8 * CHUNK);
        run(&b);
        b
    });
    let b = Block::new(8 * CHUNK);
    run(&b);
    let at = |chunk: usize| b.ptr.wrapping_add(chunk * CHUNK);
    // SAFETY: nobody relies on the bytes.
    unsafe { raw::discard(at(2), CHUNK).unwrap() };
    assert_eq!(b.word(2 * WORDS).load(Relaxed), 0);
    // SAFETY: no reference into it exists.
    unsafe { raw::protect(at(3), CHUNK, hmmrt::Protection::Read).unwrap() };
    read(&b, 3, 4);
    // SAFETY: as above.
    unsafe { raw::protect(at(3), CHUNK, hmmrt::Protection::ReadWrite).unwrap() };
    raw::pin(at(4), CHUNK).unwrap();
    read(&b, 4, 4);
    raw::unpin(at(4), CHUNK).unwrap();
    // A system call uses what nobody has touched.
    raw::host_ready(at(5), CHUNK, AccessMode::Read).unwrap();
    let mut pipe = [0; 2];
    let mut got = [0_u8; 8];
    // SAFETY: a pipe of our own, and memory that is there.
    unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        assert_eq!(libc::write(pipe[1], at(5).cast(), 8), 8);
        assert_eq!(libc::read(pipe[0], got.as_mut_ptr().cast(), 8), 8);
    }
    assert_eq!(u64::from_ne_bytes(got), (5 * WORDS) as u64 ^ 4);
    (0..b.words()).step_by(512).for_each(|i| b.word(i).store(9, Relaxed));
    raw::migrate(b.ptr, b.len, 0).unwrap();
    assert!((0..b.words()).step_by(512).all(|i| b.word(i).load(Relaxed) == 9));
}

/// Launches a test kernel on a range, with a number and a number of bytes.
fn launch(kernel: KernelId, b: &Block, range: Range<usize>, mode: AccessMode, values: &[&[u8]]) {
    let ptr = b.ptr.wrapping_add(range.start * CHUNK);
    let mut args = vec![LaunchArg::Pointer { ptr, len: range.len() * CHUNK, mode }];
    args.extend(values.iter().map(|v| LaunchArg::Value { data: v.as_ptr().cast(), size: v.len() }));
    // SAFETY: the arguments are the kernel's.
    unsafe { raw::launch(kernel, &LaunchConfig::default(), &args).unwrap() };
}

/// What is read of a launch's results each time is home before it is touched; when it is not wanted any more, it stays away.
fn results_come_home_behind_their_launch() {
    let b = Block::new(6 * CHUNK);
    let kernel = kernels::kernel(0, "test_fill_bytes");
    let n = (6 * CHUNK) as u64;
    let fill = |v: u8| launch(kernel, &b, 0..6, AccessMode::ReadWrite, &[&n.to_ne_bytes(), &[v]]);
    let check = |v: u8| {
        let word = u64::from_ne_bytes([v; 8]);
        assert!((WORDS..5 * WORDS).step_by(512).all(|i| b.word(i).load(Relaxed) == word), "{v}");
    };
    raw::migrate(b.ptr, b.len, 0).unwrap();
    for v in 1..=4 {
        fill(v);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        check(v);
    }
    let mut faults = Vec::new();
    // With the second chunk the third is opened, unless the thread that brought it still has it.
    let opens = |faults: &[u64]| is_watched() || faults.iter().min() == Some(&3);
    let mut v = 4;
    while v < 12 || !opens(&faults) {
        v += 1;
        assert!(v < 100, "{faults:?}");
        fill(v);
        (1..5).for_each(|c| await_home(&b, c));
        // What comes by userfaultfd ahead of the reader counts as read.
        assert!(!home(&b).contains(&0) && (is_watched() || !home(&b).contains(&5)), "{:?}", home(&b));
        let before = raw::stats().faults;
        let (used, frame) = stack::used_by(|| check(v));
        assert!(used < frame + 4608, "{used} bytes are more than `reserve` takes to be enough");
        faults.push(raw::stats().faults - before);
    }
    let used = raw::stats().prefetched_bytes_used as usize;
    assert!(is_watched() || used >= 4 * 4 * CHUNK, "{used}");
    // Not wanted any more. What is home by userfaultfd is open, and nobody knows that it is not touched: it is left out by turns.
    let first = v + 1;
    loop {
        v += 1;
        fill(v);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        if v == first {
            (1..5).for_each(|c| await_home(&b, c)); // else the next launch may be quicker
        }
        if v > first + 36 {
            let_it_happen();
            if home(&b).is_empty() {
                break;
            }
            assert!(v < first + 100, "{:?}", home(&b));
        }
    }
    assert!(is_watched() || raw::stats().prefetched_bytes_wasted > 0);
    check(v);
}

/// What the next launch reads goes to the device while this one runs.
fn inputs_go_ahead_of_their_launch() {
    let (x, y) = (Block::new(CHUNK), Block::new(4 * CHUNK));
    let [first, second] = ["test_slow_increment", "test_add_bytes"].map(|k| kernels::kernel(0, k));
    let (words, ns, none) = (1_u64, 50_000_000_u64, 0_u64);
    fill(&y, 6);
    for round in 0..8 {
        raw::migrate(y.ptr, y.len, HMM_HOST).unwrap();
        launch(first, &x, 0..1, AccessMode::ReadWrite, &[&words.to_ne_bytes(), &ns.to_ne_bytes()]);
        if round > 4 {
            let is_there = || y.pages().iter().all(|p| p.flags & Page::DEVICE != 0);
            await_early(|| format!("round {round}: it does not go"), is_there);
            assert!(y.pages().iter().all(|p| p.flags & Page::HOST != 0), "a copy");
        }
        launch(second, &y, 0..4, AccessMode::Read, &[&none.to_ne_bytes(), &[0]]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        (0..4).for_each(|c| read(&y, c, 6));
    }
    let used = raw::stats().prefetched_bytes_used as usize;
    assert!(used >= 2 * 4 * CHUNK, "{used}");
}

/// On a device of eight chunks, three things in turn that need nine: what is needed last makes room for what is needed next, while
/// the kernel before runs.
fn room_is_made_ahead_of_a_launch() {
    let [x, y, z] = [1, 4, 4].map(|chunks| Block::new(chunks * CHUNK));
    let [first, second] = ["test_slow_increment", "test_add_bytes"].map(|k| kernels::kernel(0, k));
    let (words, ns, none) = (1_u64, 50_000_000_u64, 0_u64);
    fill(&y, 6);
    fill(&z, 7);
    for round in 0..10 {
        launch(first, &x, 0..1, AccessMode::ReadWrite, &[&words.to_ne_bytes(), &ns.to_ne_bytes()]);
        if round > 5 {
            let is_there = || y.pages().iter().all(|p| p.flags & Page::DEVICE != 0);
            await_early(|| format!("round {round}: it does not go"), is_there);
            assert_eq!(raw::stats().device_bytes as usize, 8 * CHUNK);
        }
        for b in [&y, &z] {
            launch(second, b, 0..4, AccessMode::Read, &[&none.to_ne_bytes(), &[0]]);
        }
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    }
    for (b, salt) in [(&y, 6), (&z, 7)] {
        (0..4).for_each(|c| read(b, c, salt));
    }
    assert_eq!(x.word(0).load(Relaxed), 10);
}

/// What the program has asked for to be ready for a system call that writes it is not sent ahead: it would be read-only then.
fn what_is_asked_for_is_not_sent_ahead() {
    let (x, y) = (Block::new(CHUNK), Block::new(4 * CHUNK));
    let [first, second] = ["test_slow_increment", "test_add_bytes"].map(|k| kernels::kernel(0, k));
    let (words, ns, none) = (1_u64, 50_000_000_u64, 0_u64);
    let zeros = std::fs::File::open("/dev/zero").unwrap();
    for round in 0..10 {
        let asked = round > 5 && round != 8;
        raw::migrate(y.ptr, y.len, HMM_HOST).unwrap();
        fill(&y, round);
        if asked {
            raw::host_ready(y.ptr, y.len, AccessMode::Write).unwrap();
        }
        let behind = raw::stats().ahead_bytes_to_device;
        launch(first, &x, 0..1, AccessMode::ReadWrite, &[&words.to_ne_bytes(), &ns.to_ne_bytes()]);
        let begun = Instant::now();
        while asked && begun.elapsed() < Duration::from_millis(40) {
            // SAFETY: into the block, which nobody else uses now.
            let got =
                unsafe { libc::read(zeros.as_raw_fd(), y.ptr.wrapping_add(3 * CHUNK).cast(), CHUNK / 8) };
            assert_eq!(got, (CHUNK / 8) as isize, "round {round}: {}", std::io::Error::last_os_error());
        }
        if round == 8 {
            let is_there = || y.pages().iter().all(|p| p.flags & Page::DEVICE != 0);
            await_early(|| "what nobody asks for does not go any more".to_owned(), is_there);
        } else if asked {
            assert_eq!(raw::stats().ahead_bytes_to_device, behind);
        }
        launch(second, &y, 0..4, AccessMode::Read, &[&none.to_ne_bytes(), &[0]]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        (0..3).for_each(|c| read(&y, c, round));
    }
}

/// The same of a small block, while another in the same chunk is used by a launch.
fn nor_with_what_is_beside_it() {
    const LEN: usize = 256 << 10;
    let blocks = [(); 8].map(|()| Block::new(LEN));
    let chunk = |b: &Block| b.ptr.addr() / CHUNK;
    let beside = |i: usize, k: usize| chunk(&blocks[i]) == chunk(&blocks[k]);
    let (x, y) = (1..8).find(|i| beside(*i, 0)).map(|i| (&blocks[0], &blocks[i])).expect("in one chunk");
    let [first, second] = ["test_slow_increment", "test_add_bytes"].map(|k| kernels::kernel(0, k));
    let z = Block::new(CHUNK);
    let use_of = |kernel, b: &Block, mode, values: [&[u8]; 2]| {
        let value = |v: &[u8]| LaunchArg::Value { data: v.as_ptr().cast(), size: v.len() };
        let args = [LaunchArg::Pointer { ptr: b.ptr, len: LEN, mode }, value(values[0]), value(values[1])];
        // SAFETY: the arguments are the kernel's.
        unsafe { raw::launch(kernel, &LaunchConfig::default(), &args).unwrap() };
    };
    let (words, ns, none) = (1_u64.to_ne_bytes(), 50_000_000_u64.to_ne_bytes(), 0_u64.to_ne_bytes());
    for round in 0..12 {
        let asked = round > 6 && round % 2 == 0;
        raw::migrate(x.ptr, LEN, HMM_HOST).unwrap();
        raw::migrate(y.ptr, LEN, HMM_HOST).unwrap();
        fill(y, round);
        if asked {
            raw::host_ready(y.ptr, LEN, AccessMode::Write).unwrap();
        }
        use_of(second, x, AccessMode::Read, [&none, &[0]]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap(); // while its chunk is in use, nothing goes
        launch(first, &z, 0..1, AccessMode::ReadWrite, &[&words, &ns]);
        let is_there = || y.pages().iter().any(|p| p.flags & Page::DEVICE != 0);
        if asked {
            let_it_happen();
            assert!(!is_there(), "round {round}");
        } else if round > 6 {
            await_early(|| format!("round {round}: it does not go"), is_there);
        }
        use_of(second, y, AccessMode::Read, [&none, &[0]]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
    }
}

/// Of chunks that go to and fro for one word each, one word's page comes in the end, and nothing for nothing.
fn to_and_fro_with_what_is_touched() {
    let b = Block::new(12 * CHUNK);
    let kernel = kernels::kernel(0, "test_add_word");
    // Where the threads in the background are late, a whole chunk comes home in some round.
    let is_little = |home: &[usize]| home.iter().all(|bytes| *bytes <= 12 * 16 * 4096);
    let (mut home, mut round) = (Vec::new(), 0);
    while round < 16 || !is_little(&home[home.len() - 8..]) {
        assert!(round < 60, "{home:?}");
        round += 1;
        let before = raw::stats().bytes_to_host;
        launch(kernel, &b, 0..12, AccessMode::ReadWrite, &[]);
        raw::stream_synchronize(StreamId::DEFAULT).unwrap();
        for chunk in 0..12 {
            let expected = if chunk == 0 { 2 * round - 1 } else { round - 1 };
            assert_eq!(b.word(chunk * WORDS).fetch_add(1, Relaxed), expected, "chunk {chunk}");
        }
        home.push((raw::stats().bytes_to_host - before) as usize);
    }
}

/// Forks while much is on its way; what the trace says of it is looked at by the parent.
fn forks() {
    let b = Block::new(32 * CHUNK);
    fill(&b, 5);
    raw::migrate(b.ptr, b.len, 0).unwrap();
    raw::advise(b.ptr, b.len, Advice::Sequential, HMM_HOST).unwrap();
    (0..9).for_each(|c| read(&b, c, 5));
    // SAFETY: the child looks at memory, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        (0..32).for_each(|c| read(&b, c, 5));
        // SAFETY: no more is to be done.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    // The parent goes on, and is read ahead of as before.
    raw::migrate(b.ptr, b.len, 0).unwrap();
    (0..4).for_each(|c| read(&b, c, 5));
    await_home(&b, 5);
    (0..32).for_each(|c| read(&b, c, 5));
}

/// A slow bus, so that the fork comes while there is something to do in the background.
fn nothing_moves_early_while_a_fork_copies() {
    let file = traces::scratch("quiet");
    let settings = [("HMMRT_POLICY", "auto"), ("HMMRT_HOST_BANDWIDTH", "200M")];
    let out = traces::record("forks", &file, &settings);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let events = Trace::read(&file).unwrap().events;
    let homes: Vec<Why> = events
        .iter()
        .filter_map(|e| match e.what {
            What::Home { why, .. } => Some(why),
            _ => None,
        })
        .collect();
    let first = homes.iter().position(|w| *w == Why::Fork).expect("the fork copies");
    let last = homes.iter().rposition(|w| *w == Why::Fork).unwrap();
    assert!(last - first > 8, "{homes:?}");
    assert!(homes[first..last].iter().all(|w| *w == Why::Fork), "{homes:?}");
    assert!(homes.contains(&Why::Ahead), "{homes:?}");
}

/// Shutdown with much to do, and a new start.
fn restarts() {
    for round in 0..5 {
        raw::init(None).unwrap();
        let b = Block::new(24 * CHUNK);
        fill(&b, round);
        raw::migrate(b.ptr, b.len, 0).unwrap();
        (0..4).for_each(|c| read(&b, c, round));
        raw::shutdown().unwrap();
        (0..24).for_each(|c| read(&b, c, round));
    }
}

/// What was learnt of a device's launches is not acted upon by a runtime that has no such device.
fn restarts_with_fewer_devices() {
    let start = |devices| Config { host_devices: devices, ..Config::from_env().unwrap() };
    raw::init(Some(start(2))).unwrap();
    let b = Block::new(8 * CHUNK);
    for devices in [2, 1] {
        let _ = raw::init(Some(start(devices))); // the first runs already
        let device = devices as i32 - 1;
        let stream = raw::stream_create(device).unwrap();
        let kernel = kernels::kernel(device, "test_add_bytes");
        for round in 0..6 {
            fill(&b, round);
            let args = [
                LaunchArg::Pointer { ptr: b.ptr, len: b.len, mode: AccessMode::Read },
                LaunchArg::Value { data: (&raw const NOTHING).cast(), size: 8 },
                LaunchArg::Value { data: (&raw const NOTHING).cast(), size: 1 },
            ];
            // SAFETY: the arguments are the kernel's.
            unsafe {
                raw::launch(kernel, &LaunchConfig { stream, ..LaunchConfig::default() }, &args).unwrap();
            }
            raw::stream_synchronize(stream).unwrap();
        }
        raw::stream_destroy(stream).unwrap();
        raw::shutdown().unwrap();
    }
    (0..8).for_each(|c| read(&b, c, 5));
}

const CASES: [(&str, fn()); 21] = [
    ("a_reader_is_read_ahead_of", a_reader_is_read_ahead_of),
    ("no_order_no_reading_ahead", no_order_no_reading_ahead),
    ("kernels_keep_what_they_write", kernels_keep_what_they_write),
    ("what_came_early_is_like_any_other", what_came_early_is_like_any_other),
    ("results_come_home_behind_their_launch", results_come_home_behind_their_launch),
    ("inputs_go_ahead_of_their_launch", inputs_go_ahead_of_their_launch),
    ("room_is_made_ahead_of_a_launch", room_is_made_ahead_of_a_launch),
    ("what_is_rewritten_of_an_input_goes_ahead", edges::what_is_rewritten_of_an_input_goes_ahead),
    (
        "where_the_end_is_not_known_nothing_is_waited_for",
        edges::where_the_end_is_not_known_nothing_is_waited_for,
    ),
    ("what_is_written_goes_behind_the_writer", writers::what_is_written_goes_behind_the_writer),
    ("what_is_filled_again_is_taken_ahead", writers::what_is_filled_again_is_taken_ahead),
    ("what_is_to_stay_is_not_taken", writers::what_is_to_stay_is_not_taken),
    ("where_launches_wait_nothing_is_taken", writers::where_launches_wait_nothing_is_taken),
    ("what_is_asked_for_is_not_sent_ahead", what_is_asked_for_is_not_sent_ahead),
    ("nor_with_what_is_beside_it", nor_with_what_is_beside_it),
    ("to_and_fro_with_what_is_touched", to_and_fro_with_what_is_touched),
    ("what_is_touched_again_is_all_that_moves", places::what_is_touched_again_is_all_that_moves),
    ("restarts", restarts),
    ("restarts_with_fewer_devices", restarts_with_fewer_devices),
    ("forks", forks),
    ("service", a_reader_is_read_ahead_of),
];

#[test]
fn cases() {
    if let Some(name) = common::case() {
        let (_, case) = CASES.iter().find(|(n, _)| *n == name).unwrap();
        return case();
    }
    for (name, _) in CASES {
        let mut command: Command = common::case_command("cases", name);
        command.env("HMMRT_BACKEND", "host").env("HMMRT_POLICY", "auto").env("HMMRT_LOG", "warn");
        if name == "service" {
            command.env("HMMRT_HOST_DIRECT", "0");
        }
        if name == "room_is_made_ahead_of_a_launch" {
            command.env("HMMRT_HOST_MEMORY", "16M");
        }
        let mut out = command.output().unwrap();
        for _ in 0..5 {
            if out.status.code() == Some(MISSED) {
                eprintln!("{name} once more: {}", String::from_utf8_lossy(&out.stderr));
                out = command.output().unwrap();
            }
        }
        assert!(out.status.success(), "{name}: {:?}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    nothing_moves_early_while_a_fork_copies();
}
