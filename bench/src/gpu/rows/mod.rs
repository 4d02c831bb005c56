//! The groups of rows, in the order in which they run.

mod cpu_read;
mod fault;
mod first_touch;
mod launch;
mod memory;
mod prefetch;
mod registered;
mod triad;

use crate::Outcome;
use crate::run::Run;
use clap::ValueEnum;
use hmmrt::{Config, PolicyChoice};

/// What `--only` can name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// 1 GiB to the device and home, first and again
    Prefetch,
    /// home once more, with spare blocks for all of it
    HomeWarm,
    /// the CPU reads what a kernel wrote
    CpuRead,
    /// the CPU touches one chunk, one page
    Fault,
    /// a kernel launch with 1, 16, 256 resident ranges
    Launch,
    /// triad: CPU initialises, device computes, CPU checks
    Triad,
    /// host memory held after a move
    Memory,
    /// first move of 512 MiB, device memory made 2 MiB at a time
    #[value(name = "first-touch-2m")]
    FirstTouch2,
    /// the same, 8 MiB at a time
    #[value(name = "first-touch-8m")]
    FirstTouch8,
    /// the same, 32 MiB at a time
    #[value(name = "first-touch-32m")]
    FirstTouch32,
    /// the same, 128 MiB at a time
    #[value(name = "first-touch-128m")]
    FirstTouch128,
    /// experiment: registering a block against staging
    Registered,
}

impl Group {
    /// Its name on the command line and in results.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Settings that the group is about.
    pub fn settings(self, quick: bool, config: &mut Config) {
        match self {
            Self::HomeWarm => config.spare_bytes = if quick { 96 << 20 } else { 2 << 30 },
            // About the moving of one chunk, not about how much comes with a touch.
            Self::Fault => config.policy = PolicyChoice::Chunk,
            Self::FirstTouch2 => config.device_group = 2 << 20,
            Self::FirstTouch8 => config.device_group = 8 << 20,
            Self::FirstTouch32 => config.device_group = 32 << 20,
            Self::FirstTouch128 => config.device_group = 128 << 20,
            _ => {}
        }
    }

    /// Measures its rows.
    pub fn measure(self, run: &mut Run) -> Outcome {
        match self {
            Self::Prefetch => prefetch::run(run),
            Self::HomeWarm => prefetch::home_warm(run),
            Self::CpuRead => cpu_read::run(run),
            Self::Fault => fault::run(run),
            Self::Launch => launch::run(run),
            Self::Triad => triad::run(run),
            Self::Memory => memory::run(run),
            Self::FirstTouch2 => first_touch::run(run, "2 MiB"),
            Self::FirstTouch8 => first_touch::run(run, "8 MiB"),
            Self::FirstTouch32 => first_touch::run(run, "32 MiB, the default"),
            Self::FirstTouch128 => first_touch::run(run, "128 MiB"),
            Self::Registered => registered::run(run),
        }
    }
}
