//! The bare loops (c/engines.c), in a child that never starts the runtime.

use crate::Found;
use crate::case::{self, Case, Way, What};
use hmmrt_bench::floors::{self, Map, PAGE};
use hmmrt_bench::sample::Random;
use std::error::Error;
use std::ffi::{c_int, c_void};
use std::io;

unsafe extern "C" {
    fn engine_begin(way: c_int) -> c_int;
    fn engine_arm(
        base: *mut c_void,
        slots: *mut c_void,
        source: *mut c_void,
        granule: usize,
        stride: usize,
        count: usize,
        what: c_int,
    ) -> c_int;
    fn engine_disarm() -> u64;
}

/// How often each case is armed and touched through: the first time is thrown away.
const TIMES: usize = 3;

pub fn measure(way: Way, quick: bool) -> Result<Found, Box<dyn Error>> {
    let mut found = Found { cases: Vec::new(), missing: None, machine: None };
    let number = match way {
        Way::Segv => 0,
        Way::Uffd => 1,
        Way::UffdThread => 2,
    };
    // SAFETY: installs a handler or starts a thread that only knows of ranges that are armed.
    let error = unsafe { engine_begin(number) };
    if error != 0 {
        found.missing = Some(io::Error::from_raw_os_error(error).to_string());
        return Ok(found);
    }
    let mut random = Random::new();
    let mut whats = vec![What::Write, What::PutOnly, What::LetWrite];
    if way != Way::Segv {
        whats.push(What::Copied);
    }
    for (case, count) in case::cases(&whats, quick) {
        let mut samples = Vec::new();
        for time in 0..TIMES {
            let ns = once(way, case, count, &mut random)?;
            if time > 0 {
                samples.extend(ns);
            }
        }
        found.cases.push((case, samples));
    }
    Ok(found)
}

/// Fresh memory, so that no case finds what another has left.
fn once(way: Way, case: Case, count: usize, random: &mut Random) -> Result<Vec<f64>, Box<dyn Error>> {
    let len = case.granule * count;
    let huge = case.granule == floors::CHUNK;
    let (mut base, mut slots, mut source) =
        (Map::new(len, huge)?, Map::new(len, huge)?, Map::new(len, huge)?);
    base.dirty();
    slots.dirty();
    source.dirty();
    let what = match case.what {
        What::PutOnly => 1,
        What::LetWrite => 2,
        What::Copied => 3,
        _ => 0,
    };
    // SAFETY: the three maps are `len` bytes, present, and nobody else's; they live until `engine_disarm`.
    let error = unsafe {
        let (base, slots, source) = (base.ptr().cast(), slots.ptr().cast(), source.ptr().cast());
        engine_arm(base, slots, source, case.granule, case.granule, count, what)
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error).into());
    }
    // Never the first bytes: what `dirty` wrote is looked at afterwards.
    let order: Vec<usize> = random.order(count).iter().map(|&i| i * case.granule + 64).collect();
    let at = base.ptr() as usize;
    let ns = case::touches(case.threads, &order, |mine| {
        // SAFETY: the offsets lie in the map, and each touch is served by what was armed.
        unsafe { floors::touch(at as *mut u8, mine, true) }
    })?;
    // SAFETY: closes what was armed; all threads have ended.
    let served = unsafe { engine_disarm() };
    // Page by page where a huge page did not come as one.
    if served < count as u64 || served > (count * case.granule / PAGE) as u64 {
        return Err(format!("{served} faults for {count} touches").into());
    }
    if case.what != What::PutOnly && !base.is_dirty() || way == Way::Segv && !base.is_dirty() {
        return Err("a granule came home with other bytes".into());
    }
    Ok(ns)
}
