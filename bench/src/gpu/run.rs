//! One group's run: starts the runtime with the group's settings, opens the driver for the peers, measures, and writes
//! what it found after each row.

use crate::Outcome;
use crate::driver::{Driver, Kind};
use crate::kernels::Kernels;
use crate::report::{Row, Target};
use crate::results::{Card, Part};
use crate::rows::Group;
use crate::sizes::Sizes;
use hmmrt::{Backend, Config, DeviceInfo, StreamId, raw};
use hmmrt_bench::machine::Machine;
use hmmrt_bench::sample::Random;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The device that is measured.
const DEVICE: i32 = 0;

/// What a row needs to know, and where it puts its results.
pub struct Run {
    pub device: i32,
    /// The runtime's stream.
    pub stream: StreamId,
    pub peer: &'static Driver,
    pub kernels: Kernels,
    pub sizes: Sizes,
    pub random: Random,
    /// The runtime's pool of spare blocks, bytes.
    pub spare: usize,
    runs: usize,
    deadline: Instant,
    group: String,
    part: Part,
    file: PathBuf,
}

impl Run {
    /// The turns of a row, the first of which is thrown away. At least two; no new one when the time is up.
    pub fn turns(&self) -> impl Iterator<Item = usize> + use<> {
        let deadline = self.deadline;
        (0..=self.runs).take_while(move |&turn| turn < 2 || Instant::now() < deadline)
    }

    /// Files a row.
    pub fn row(&mut self, row: Row) -> Outcome {
        let double = self.part.card.double && row.target.is_some();
        let verdict = if double { "double".to_owned() } else { row.verdict.clone() };
        self.part.rows.push(Row { group: self.group.clone(), verdict, ..row });
        self.write()
    }

    fn write(&self) -> Outcome {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, serde_json::to_string(&self.part)?)?;
        Ok(fs::rename(&fresh, &self.file)?)
    }
}

/// Rows that stop with an error leave it in the part's failures; an error here is one of the benchmark itself.
pub fn group(group: Group, quick: bool, runs: usize, limit: u64, file: &Path) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(limit);
    let mut config = Config::from_env()?;
    group.settings(quick, &mut config);
    let (info, peer) = open(&config)?;
    let free = peer.memory_free()?;
    let machine = Machine::look(&info);
    let part = Part {
        card: describe(&info, peer)?,
        heading: machine.line(),
        machine: serde_json::to_value(&machine)?,
        rows: Vec::new(),
        failures: Vec::new(),
    };
    let mut run = Run {
        device: DEVICE,
        stream: raw::stream_create(DEVICE)?,
        peer,
        kernels: Kernels::load(peer)?,
        sizes: Sizes::new(quick, free),
        random: Random::new(),
        spare: config.spare_bytes,
        runs,
        deadline,
        group: group.name(),
        part,
        file: file.to_path_buf(),
    };
    run.write()?;
    if let Err(error) = group.measure(&mut run) {
        run.part.failures.push(format!("{}: {error}", group.name()));
        run.write()?;
    }
    let stream = run.stream;
    let ended = raw::stream_destroy(stream).and_then(|()| raw::shutdown());
    if let Err(error) = ended {
        run.part.failures.push(format!("{}: at the end: {error}", group.name()));
        run.write()?;
    }
    Ok(())
}

/// The card, if there is one.
pub fn card() -> Outcome<Card> {
    let (info, peer) = open(&Config::from_env()?)?;
    let card = describe(&info, peer)?;
    raw::shutdown()?;
    Ok(card)
}

fn open(config: &Config) -> Outcome<(DeviceInfo, &'static Driver)> {
    if config.backend == Backend::Host {
        return Err("HMMRT_BACKEND=host: this benchmark is about GPUs".into());
    }
    raw::init(Some(config.clone()))?;
    let info = raw::device_info(DEVICE)?;
    let kind = match info.backend {
        "cuda" => Kind::Cuda,
        "hip" => Kind::Hip,
        _ => return Err("no GPU was found".into()),
    };
    let peer = Driver::open(kind, config, DEVICE)?;
    Ok((info, peer))
}

fn describe(info: &DeviceInfo, peer: &Driver) -> Outcome<Card> {
    let double = info.name.starts_with("libhmmrt ") && info.name.contains(" double");
    Ok(Card {
        name: info.name.clone(),
        backend: info.backend.to_owned(),
        double,
        driver_version: peer.version()?,
        memory_total: info.memory_total,
        memory_free: info.memory_free,
        same_address: info.same_address,
    })
}

/// The share of pinned copies that moves should reach.
pub const OF_PINNED: Target = Target::AtLeast(0.90);
