//! Few mappings left: the program itself has used up all but a thousand. With a budget that fits, nothing fails and mappings
//! stay bounded; without one, what the kernel refuses is an error or SIGBUS, and no byte is lost.

use crate::common::{self, Block, Rng};
use crate::room::{WAYS, child, on_gpu, passes, with_mount};
use crate::touch;
use crate::work::{MORE, STEPS, Step, Work};
use hmmrt::raw::{self, HMM_HOST};
use hmmrt::{Advice, Error, Protection};
use std::ffi::CStr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::*};

const LEFT: usize = 1000;
/// Of the runtime, where it has one: what a touch may need has to fit into the rest.
const BUDGET: usize = 400;

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// The area whose mappings are in the way: start and length.
static FILLER: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

fn make_room() {
    let (at, len) = (FILLER[0].load(SeqCst), FILLER[1].load(SeqCst));
    if len < 100 * 4096 {
        return;
    }
    // A hundred mappings fewer each time. SAFETY: pages of the filler, which nobody uses.
    unsafe { libc::munmap(at as *mut _, 100 * 4096) };
    FILLER[0].store(at + 100 * 4096, SeqCst);
    FILLER[1].store(len - 100 * 4096, SeqCst);
}

/// `vm.max_map_count`.
fn most_mappings() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap()
}

/// Uses up all mappings but `left`.
fn use_up(left: usize) {
    common::others_sleep(); // a thread that begins makes mappings
    let most = most_mappings();
    let pages = (most - left).saturating_sub(mappings());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, of which every other page becomes one of its own.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), pages * 4096, 0, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        for i in (0..pages).step_by(2) {
            assert_eq!(libc::mprotect(at.wrapping_add(i * 4096), 4096, libc::PROT_READ), 0);
        }
        FILLER[0].store(at as usize, SeqCst);
        FILLER[1].store(pages * 4096, SeqCst);
    }
    let now = mappings();
    assert!(now + left + 2 >= most && now < most, "{now} of {most}");
}

fn moves(budget: Option<usize>) {
    touch::take_bus(make_room);
    let blocks: Vec<Block> = [48 << 20, 8 << 20, 3 << 20, 700_000, 300_000, 40_960].map(Block::new).into();
    blocks.iter().for_each(|b| (0..b.words()).for_each(|i| b.word(i).store(i as u64 ^ 0x5A5A, Relaxed)));
    raw::advise(blocks[0].ptr, 16 << 20, Advice::Random, HMM_HOST).unwrap();
    raw::device_count().unwrap();
    let start = mappings();
    if LEFT < most_mappings() {
        use_up(LEFT);
    }
    let filler = mappings() - start;
    let mut rng = Rng(common::seed());
    let (mut refused, mut most) = (0, 0);
    let rounds = (8_000.0 * common::scale()) as usize + 1000;
    for i in 0..rounds {
        let b = &blocks[rng.below(blocks.len())];
        let from = rng.below(b.words());
        let len = (1 + rng.below(16 * 4096)).min(b.len - from * 8);
        let p = b.ptr.wrapping_add(from * 8);
        let moved = match rng.below(4) {
            0 | 1 => raw::migrate(p, len, 0),
            2 => raw::migrate(p, len, HMM_HOST),
            _ => {
                assert_eq!(b.word(from).load(Relaxed), from as u64 ^ 0x5A5A, "round {i}");
                Ok(0)
            }
        };
        match moved {
            Ok(_) => {}
            Err(Error::NoMemory { .. } | Error::DeviceMemory { .. } | Error::System { .. }) => refused += 1,
            Err(e) => panic!("round {i}: {e}"),
        }
        if i % 200 == 0 {
            most = most.max(mappings());
        }
    }
    // Every byte, with the filler still there.
    for b in &blocks {
        let wrong = (0..b.words()).find(|i| b.word(*i).load(Relaxed) != *i as u64 ^ 0x5A5A);
        assert_eq!(wrong, None, "{:p}", b.ptr);
    }
    let (buses, _) = touch::buses();
    eprintln!(
        "  {rounds} moves, {refused} refused, {buses} touches, {most} mappings, {filler} of them the program's"
    );
    if let Some(budget) = budget {
        assert_eq!(buses, 0, "within the budget every touch is served");
        assert!(
            most < start + filler + budget + budget * 3 / 4,
            "{most} of {start} and {filler} with {budget}"
        );
    }
    drop(blocks);
}

/// Parts that are away become read-only, so that mappings are split, and open again.
fn protect(work: &mut Work) -> Result<(), Error> {
    let mut result = Ok(());
    for b in &work.blocks {
        result = result.and(raw::migrate(b.ptr, b.len, 0).map(drop));
        let part = |from: usize| (b.ptr.wrapping_add(from), 8192.min(b.len - from));
        for protection in [Protection::Read, Protection::ReadWrite] {
            for (at, len) in (0..b.len).step_by(160 << 10).map(part) {
                // SAFETY: nobody writes meanwhile.
                let mut done = unsafe { raw::protect(at, len, protection) };
                if done.is_err() && protection == Protection::ReadWrite {
                    make_room(); // the steps that follow write
                    // SAFETY: as above.
                    done = unsafe { raw::protect(at, len, protection) };
                    done.as_ref().unwrap();
                }
                result = result.and(done);
            }
        }
        b.check("protected");
    }
    result
}

/// So few mappings are left that a step may use them up.
const FEW: [usize; 3] = [4, 24, 80];

/// Each step of the script and what else a program does, with few mappings left for it alone.
fn steps() {
    touch::take_bus(make_room);
    raw::init(Some(common::config())).unwrap();
    raw::device_count().unwrap();
    let (most, last) = STEPS.split_at(13); // the memory that the others use goes with these
    let more = [("protect", protect as Step), MORE[0], MORE[1]];
    let all = [most, &more, last].concat();
    let (mut refused, mut runs) = (Vec::new(), 0);
    for left in if common::scale() < 1.0 { &FEW[..1] } else { &FEW[..] } {
        let mut work = Work::new();
        for (name, step) in &all {
            use_up(*left);
            let done = step(&mut work);
            work.check(name);
            // SAFETY: the filler's own pages, which nobody uses.
            unsafe { libc::munmap(FILLER[0].load(SeqCst) as *mut _, FILLER[1].load(SeqCst)) };
            runs += 1;
            match done {
                Ok(()) => {}
                Err(Error::NoMemory { .. } | Error::DeviceMemory { .. } | Error::System { .. })
                    if *name != "free" =>
                {
                    refused.push(*name)
                }
                Err(Error::Device { .. }) if on_gpu() => refused.push(*name),
                Err(e) => panic!("{name} with {left} left: {e}"),
            }
        }
        work.end();
    }
    let (buses, _) = touch::buses();
    eprintln!("  {runs} steps, {buses} touches, refused: {refused:?}");
    assert!(buses > 0 || !refused.is_empty(), "the limit must have been felt");
}

#[test]
fn a_thousand_are_left() {
    match common::case().as_deref() {
        Some("with a budget") => return moves(Some(BUDGET)),
        Some("without") => return moves(None),
        Some("steps") => return steps(),
        _ => {}
    }
    let name = "mappings::a_thousand_are_left";
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    for way in ways {
        let mut command = child(name, "with a budget", way);
        command.env("HMMRT_VMA_BUDGET", BUDGET.to_string());
        passes(command);
        passes(child(name, "without", way));
        passes(child(name, "steps", way));
    }
}

/// A machine with few mappings, as far as the runtime can see: its default budget follows from that.
#[test]
fn the_machine_has_a_thousand() {
    if common::case().is_some() {
        assert_eq!(most_mappings(), 1000);
        return moves(Some(1000 / 2));
    }
    const FILE: &CStr = c"/tmp/hmmrt-max-map-count";
    let own = format!("{}-{}", FILE.to_str().unwrap(), std::process::id());
    std::fs::write(&own, "1000\n").unwrap();
    std::fs::rename(own, FILE.to_str().unwrap()).unwrap(); // others may use it now
    let small = |command| with_mount(command, FILE, c"/proc/sys/vm/max_map_count", c"none", libc::MS_BIND);
    if let Err(e) = small(Command::new("true")).status() {
        return common::skipped(
            "mappings::the_machine_has_a_thousand",
            format_args!("another vm.max_map_count: {e}"),
        );
    }
    let ways = if on_gpu() { &WAYS[..1] } else { &WAYS[..] };
    ways.iter().for_each(|way| {
        drop(passes(small(child("mappings::the_machine_has_a_thousand", "thousand", way))));
    });
}
