//! The programs: what the CPU and a device do in turn, as one would write it, and where `by_hand` what one would write who
//! moves things oneself. Each checks what it computed. One file, for each is a few lines; the policies never see it.

use clap::ValueEnum;
use hmmrt::{HMM_HOST, ManagedVec, Runtime, Stream, kernels, raw};
use hmmrt_bench::sample::{Random, time_ns};
use serde::{Deserialize, Serialize};
use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// A kernel writes 128 MiB, the CPU reads them in order
    Results,
    /// The CPU writes 128 MiB in order, a kernel reads them
    Inputs,
    /// The CPU fills a buffer of 64 MiB, a kernel makes another of it, the CPU reads that
    Stream,
    /// Two grids of 32 MiB; the CPU sets a border row and looks at another, twice a step
    Stencil,
    /// Kernels use two vectors of 32 MiB; the CPU looks at one number
    Solver,
    /// A kernel changes 128 MiB, the CPU looks at 2,000 words here and there
    Lookups,
    /// The CPU changes 2,000 words here and there of 128 MiB, a kernel reads all
    Updates,
    /// A kernel changes 64 MiB, the CPU six planes of 16 KiB in each 2 MiB of that
    Planes,
    /// CPU and device write the same 2 MiB in turn
    PingPong,
    /// Sixteen blocks of 64 KiB: the device uses eight, the CPU the others
    Neighbours,
    /// Eight tiles of 16 MiB one after the other, over a device of 96 MiB
    Sweep,
}

impl Program {
    /// How much memory its device has, if that matters.
    pub fn device_memory(self, quick: bool) -> Option<usize> {
        (self == Program::Sweep).then_some(if quick { 12 << 20 } else { 96 << 20 })
    }
}

struct World {
    stream: Stream,
    by_hand: bool,
    quick: bool,
}

/// Runs it, and says how long that took: from the first touch on, without what it takes to start.
pub fn run(program: Program, by_hand: bool, quick: bool) -> Result<f64> {
    let stream = Runtime::new()?.device(0)?.stream()?;
    let w = World { stream, by_hand, quick };
    match program {
        Program::Results => w.results(),
        Program::Inputs => w.inputs(),
        Program::Stream => w.stream(),
        Program::Stencil => w.stencil(),
        Program::Solver => w.solver(),
        Program::Lookups => w.lookups(),
        Program::Updates => w.updates(),
        Program::Planes => w.planes(),
        Program::PingPong => w.ping_pong(),
        Program::Neighbours => w.neighbours(),
        Program::Sweep => w.sweep(),
    }
}

impl World {
    /// A size: full, or an eighth.
    fn size(&self, mib: usize) -> usize {
        (mib << 20) / if self.quick { 8 } else { 1 }
    }

    fn rounds(&self, n: u32) -> u32 {
        if self.quick { 2 } else { n }
    }

    /// By hand only: the CPU will read this next. (What a kernel needs its launch brings, all of it at once.)
    fn bring_home<T>(&self, what: &[T]) -> Result<()> {
        if self.by_hand {
            raw::prefetch(what.as_ptr().cast(), size_of_val(what), HMM_HOST, self.stream.id())?;
        }
        Ok(())
    }

    /// Times `rounds` of `work`, with the kernels it leaves.
    fn time(&self, rounds: u32, mut work: impl FnMut(u32) -> Result<()>) -> Result<f64> {
        let mut result = Ok(());
        let ns = time_ns(|| {
            result = (0..rounds).try_for_each(&mut work);
            result = std::mem::replace(&mut result, Ok(())).and_then(|()| Ok(self.stream.synchronize()?));
        });
        result.map(|()| ns)
    }

    fn results(&self) -> Result<f64> {
        let mut out = ManagedVec::<u32>::zeroed(self.size(128) / 4)?;
        self.time(self.rounds(6), |round| {
            kernels::fill(&self.stream, &mut out, round + 1)?;
            self.bring_home(&out)?;
            same(total(&out), (u64::from(round) + 1) * out.len() as u64)
        })
    }

    fn inputs(&self) -> Result<f64> {
        let mut input = ManagedVec::<u32>::zeroed(self.size(128) / 4)?;
        let mut sum = ManagedVec::<u64>::zeroed(1)?;
        let n = input.len() as u64;
        let mut before = 0;
        self.time(self.rounds(6), |round| {
            input.fill(round);
            kernels::sum(&self.stream, &mut sum, &input)?;
            before += u64::from(round) * n;
            same(sum[0], before)
        })
    }

    fn stream(&self) -> Result<f64> {
        let mut input = ManagedVec::<u32>::zeroed(self.size(64) / 4)?;
        let mut out = ManagedVec::<u32>::zeroed(input.len())?;
        self.time(self.rounds(8), |round| {
            input.fill(round);
            kernels::copy(&self.stream, bytemuck::cast_slice_mut(&mut out), bytemuck::cast_slice(&input))?;
            self.bring_home(&out)?;
            same(total(&out), u64::from(round) * out.len() as u64)
        })
    }

    fn stencil(&self) -> Result<f64> {
        let width = 4096;
        let height = self.size(32) / 4 / width;
        let mut grids = [ManagedVec::<f32>::zeroed(width * height)?, ManagedVec::zeroed(width * height)?];
        self.time(self.rounds(30), |round| {
            for half in 0..2 {
                let hot = (round * 2 + half + 1) as f32;
                let [a, b] = &mut grids;
                a[..width].fill(hot);
                kernels::stencil(&self.stream, b, a, width, height)?;
                let row = (height - 1) * width..height * width;
                self.bring_home(&b[row.clone()])?;
                if b[0] != hot || b[row].iter().any(|cell| *cell != 0.0) {
                    return Err("a border cell is wrong".into());
                }
                grids.swap(0, 1);
            }
            Ok(())
        })
    }

    fn solver(&self) -> Result<f64> {
        let n = self.size(32) / 4;
        let (mut x, p) = (ManagedVec::<f32>::zeroed(n)?, ManagedVec::from_slice(&vec![1.0_f32; n])?);
        let mut residual = ManagedVec::<u64>::zeroed(1)?;
        self.time(self.rounds(40), |round| {
            kernels::saxpy(&self.stream, &mut x, 1.0, &p)?;
            residual[0] = 0;
            kernels::sum(&self.stream, &mut residual, bytemuck::cast_slice(&x))?;
            let bits = u64::from((round as f32 + 1.0).to_bits());
            same(residual[0], bits * n as u64)
        })
    }

    fn lookups(&self) -> Result<f64> {
        let n = self.size(128) / 4;
        let (mut x, p) = (ManagedVec::<f32>::zeroed(n)?, ManagedVec::from_slice(&vec![1.0_f32; n])?);
        let places = places(n);
        self.time(self.rounds(8), |round| {
            kernels::saxpy(&self.stream, &mut x, 1.0, &p)?;
            let right = places.iter().filter(|i| x[**i] == round as f32 + 1.0).count();
            same(right as u64, places.len() as u64)
        })
    }

    fn updates(&self) -> Result<f64> {
        let mut x = ManagedVec::<u32>::zeroed(self.size(128) / 4)?;
        let mut sum = ManagedVec::<u64>::zeroed(1)?;
        let places = places(x.len());
        let mut before = 0;
        self.time(self.rounds(8), |round| {
            places.iter().for_each(|i| x[*i] = round);
            kernels::sum(&self.stream, &mut sum, &x)?;
            before += u64::from(round) * places.len() as u64;
            same(sum[0], before)
        })
    }

    fn planes(&self) -> Result<f64> {
        let n = self.size(64) / 4;
        let (mut x, p) = (ManagedVec::<f32>::zeroed(n)?, ManagedVec::from_slice(&vec![1.0_f32; n])?);
        let (plane, apart, block) = ((16 << 10) / 4, (320 << 10) / 4, (2 << 20) / 4);
        let planes = || (0..n).step_by(block).flat_map(move |b| (0..6).map(move |i| b + i * apart));
        self.time(self.rounds(24), |round| {
            kernels::saxpy(&self.stream, &mut x, 1.0, &p)?;
            for at in planes() {
                self.bring_home(&x[at..at + plane])?;
            }
            for at in planes() {
                same(x[at + plane - 1] as u64, u64::from(2 * round + 1))?;
                x[at..at + plane].iter_mut().for_each(|v| *v += 1.0);
            }
            Ok(())
        })
    }

    fn ping_pong(&self) -> Result<f64> {
        let n = (2 << 20) / 4;
        let (mut x, p) = (ManagedVec::<f32>::zeroed(n)?, ManagedVec::from_slice(&vec![1.0_f32; n])?);
        self.time(self.rounds(200), |round| {
            kernels::saxpy(&self.stream, &mut x, 1.0, &p)?;
            self.bring_home(&x)?;
            x.iter_mut().step_by(1024).for_each(|v| *v += 1.0);
            let expected = [round as f32 * 2.0 + 2.0, round as f32 + 1.0];
            if x[..2] == expected { Ok(()) } else { Err(format!("{:?} is not {expected:?}", &x[..2]).into()) }
        })
    }

    fn neighbours(&self) -> Result<f64> {
        let n = (64 << 10) / 4;
        let mut blocks: Vec<ManagedVec<f32>> =
            (0..16).map(|_| ManagedVec::zeroed(n)).collect::<std::result::Result<_, _>>()?;
        let p = ManagedVec::from_slice(&vec![1.0_f32; n])?;
        self.time(self.rounds(200), |round| {
            for (i, block) in blocks.iter_mut().enumerate() {
                if i % 2 == 0 {
                    kernels::saxpy(&self.stream, block, 1.0, &p)?;
                } else {
                    block.iter_mut().for_each(|v| *v += 1.0);
                    same(u64::from(block[n - 1] == round as f32 + 1.0), 1)?;
                }
            }
            Ok(())
        })
    }

    fn sweep(&self) -> Result<f64> {
        let n = self.size(16) / 4;
        let mut tiles: Vec<ManagedVec<u32>> =
            (0..8).map(|_| ManagedVec::zeroed(n)).collect::<std::result::Result<_, _>>()?;
        self.time(self.rounds(6), |round| {
            tiles.iter_mut().try_for_each(|tile| kernels::fill(&self.stream, &mut tile[..n / 2], round))?;
            let mut sum = ManagedVec::<u64>::zeroed(1)?;
            tiles.iter().try_for_each(|tile| kernels::sum(&self.stream, &mut sum, tile))?;
            same(sum[0], u64::from(round) * (n / 2 * tiles.len()) as u64)
        })
    }
}

fn same(got: u64, expected: u64) -> Result<()> {
    if got == expected { Ok(()) } else { Err(format!("{got} is not {expected}").into()) }
}

/// Adds up, at about what one core reads from memory.
fn total(words: &[u32]) -> u64 {
    words.iter().map(|w| u64::from(*w)).sum()
}

/// 2,000 places in random order, the same in every run.
fn places(n: usize) -> Vec<usize> {
    let mut random = Random::new();
    let mut places = Vec::new();
    while places.len() < 2_000 {
        let place = random.below(n);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}
