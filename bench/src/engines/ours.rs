//! libhmmrt on the engine that the environment names, in a child of its own. The states and bytes are checked: a row
//! whose pages were not where it claims fails.

use crate::Found;
use crate::case::{self, Case, Way, What};
use hmmrt::{AccessMode, Config, Error as HmmError, Page, PolicyChoice, raw};
use hmmrt_bench::floors::{self, CHUNK, PAGE};
use hmmrt_bench::managed::Block;
use hmmrt_bench::sample::{Random, time_ns};
use std::error::Error;

const DEVICE: i32 = 0;
/// How often each case is prepared and touched through: the first time is thrown away.
const TIMES: usize = 3;
/// Of a round.
const ROUND: usize = 64 << 20;

pub fn measure(way: Way, quick: bool) -> Result<Found, Box<dyn Error>> {
    let mut found = Found { cases: Vec::new(), missing: None, machine: None };
    // About the moving of a granule, not about how much comes with a touch.
    match raw::init(Some(Config { policy: PolicyChoice::Chunk, ..Config::from_env()? })) {
        Err(error @ HmmError::Unsupported { .. }) if way != Way::Segv => {
            found.missing = Some(error.to_string());
            return Ok(found);
        }
        other => other?,
    }
    found.machine = Some(crate::machine_line()?);
    let mut random = Random::new();
    for (case, count) in case::cases(&[What::Read, What::Write, What::LetWrite], quick) {
        let memory = Memory::new(case.granule, count)?;
        let mut samples = Vec::new();
        for time in 0..TIMES {
            let ns = memory.once(case, &random.order(count))?;
            if time > 0 {
                samples.extend(ns);
            }
        }
        found.cases.push((case, samples));
    }
    round(&mut found)?;
    mappings(&mut found, if quick { 256 } else { 4096 })?;
    raw::shutdown()?;
    Ok(found)
}

/// Granules that move by themselves: blocks of that size, or the chunks of one block.
struct Memory {
    blocks: Vec<Block>,
    granule: usize,
    count: usize,
}

impl Memory {
    fn new(granule: usize, count: usize) -> Result<Memory, HmmError> {
        let blocks = match granule {
            CHUNK => vec![Block::filled(granule * count)?],
            _ => (0..count).map(|_| Block::filled(granule)).collect::<Result<_, _>>()?,
        };
        let memory = Memory { blocks, granule, count };
        memory.blocks.iter().for_each(Block::dirty);
        Ok(memory)
    }

    fn place(&self, i: usize) -> (&Block, usize) {
        if self.granule == CHUNK { (&self.blocks[0], i * CHUNK) } else { (&self.blocks[i], 0) }
    }

    fn once(&self, case: Case, order: &[usize]) -> Result<Vec<f64>, Box<dyn Error>> {
        for block in &self.blocks {
            match case.what {
                What::LetWrite => block.use_once(DEVICE, AccessMode::Read)?,
                _ => block.migrate(DEVICE).map(|_| ())?,
            }
        }
        let state = |i: usize| {
            let (block, offset) = self.place(i);
            block.valid(offset)
        };
        let before = (case.what == What::LetWrite, true);
        for i in 0..self.count {
            if state(i)? != before {
                return Err(format!("granule {i} is not where the row says").into());
            }
        }
        let writes = case.what != What::Read;
        let places: Vec<usize> = order
            .iter()
            .map(|&i| {
                let (block, offset) = self.place(i);
                block.ptr() as usize + offset + 64
            })
            .collect();
        let ns = case::touches(case.threads, &places, |mine| {
            // SAFETY: each place lies in a block, whose faults are the runtime's to serve.
            unsafe { floors::touch(std::ptr::null_mut(), mine, writes) }
        })?;
        // Not the count of faults, which a handler thread adds to after the touch goes on.
        for i in 0..self.count {
            let (here, _) = state(i)?;
            let (block, offset) = self.place(i);
            // SAFETY: the word lies in the block; it is home.
            let word = unsafe { block.ptr().add(offset).cast::<u64>().read_volatile() };
            if !here || word != offset as u64 {
                return Err(format!("granule {i} came home as {word:#x}").into());
            }
        }
        Ok(ns)
    }
}

/// The device writes, the CPU reads, the device reads: whether the copy that the device had is still good then is what
/// the engines differ in.
fn round(found: &mut Found) -> Result<(), Box<dyn Error>> {
    let block = Block::filled(ROUND)?;
    let (sum, case) = (block.sum(), Case { what: What::Round, granule: CHUNK, threads: 1 });
    let (mut times, mut bytes) = (Vec::new(), Vec::new());
    for time in 0..=TIMES {
        let before = raw::stats();
        let mut wrong = Ok(());
        let ns = time_ns(|| {
            wrong = (|| {
                block.use_once(DEVICE, AccessMode::ReadWrite)?;
                let right = block.sum() == sum;
                block.use_once(DEVICE, AccessMode::Read)?;
                if right { Ok(()) } else { Err(Box::<dyn Error>::from("the sum is wrong")) }
            })();
        });
        wrong?;
        let after = raw::stats();
        if time > 0 {
            times.push(ns);
            let copied = |s: &hmmrt::Stats| s.bytes_to_device + s.bytes_to_host;
            bytes.push((copied(&after) - copied(&before)) as f64);
        }
    }
    found.cases.push((case, times));
    found.cases.push((Case { what: What::RoundBytes, ..case }, bytes));
    Ok(())
}

/// How many mappings it takes that every other page of a large block is home.
fn mappings(found: &mut Found, pages: usize) -> Result<(), Box<dyn Error>> {
    let block = Block::filled(pages * PAGE)?;
    raw::advise(block.ptr(), block.len(), hmmrt::Advice::Random, DEVICE)?;
    block.migrate(DEVICE)?;
    let before = lines()?;
    let every_other: Vec<usize> = (0..pages).step_by(2).map(|page| page * PAGE).collect();
    block.touch(&every_other, false);
    let after = lines()?;
    let home = block.pages(0, pages)?.iter().filter(|page| page.flags & Page::HOST != 0).count();
    if home != pages / 2 {
        return Err(format!("{home} pages of {pages} are home").into());
    }
    let case = Case { what: What::Mappings, granule: PAGE, threads: 1 };
    found.cases.push((case, vec![after.saturating_sub(before) as f64]));
    Ok(())
}

fn lines() -> Result<usize, std::io::Error> {
    Ok(std::fs::read_to_string("/proc/self/maps")?.lines().count())
}
