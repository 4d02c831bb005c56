//! `hmmrt-stress`: random threads against the runtime, every word checked against what it must be. Runs on whatever engine
//! and backend the environment names; prints figures every ten seconds, and on a failure all that is needed to look for
//! its cause. README.md says what it does, docs/TESTING.md what it has found.

mod field;
mod habit;
mod history;
mod kernels;
mod os;
mod private;
mod random;
mod worker;

use clap::Parser;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use field::Field;
use history::{fail, note, op};
use hmmrt::{Config, Error, LogLevel, raw};
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use worker::{CHECKED, CHILDREN, REFUSED, Worker};

#[derive(Parser, Clone)]
#[command(about = "Random threads against libhmmrt, every word checked (HMMRT_ variables as ever)")]
struct Cli {
    /// The seed: each thread's operations follow from it [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// How long to run
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Threads, up to 64
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// Devices of the host backend, 1 to 8
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=8))]
    devices: u64,
    /// Memory of each of them in MiB; the fields are 30 MiB
    #[arg(long, default_value_t = 24)]
    memory: u64,
    /// Operations of each thread between two looks at everything
    #[arg(long, default_value_t = 3000)]
    round: u64,
    /// Seconds without an operation after which a thread counts as stuck
    #[arg(long, default_value_t = 120)]
    patience: u64,
    /// Do not fork
    #[arg(long)]
    no_fork: bool,
}

/// Sizes of the fields: whole chunks, odd sizes, small ones that share a chunk; every third is adopted.
const FIELDS: [usize; 9] =
    [4096, 12 << 10, 64 << 10, 700 << 10, 2 << 20, (2 << 20) + 40_960, 3 << 20, 8 << 20, 14 << 20];
/// The runtime is stopped and started after so many rounds.
const ROUNDS: u64 = 4;

static ROUND: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicBool = AtomicBool::new(false);
static AGAIN: AtomicBool = AtomicBool::new(false);
/// The runtime is being stopped and started under the others' calls.
static RESTARTING: AtomicBool = AtomicBool::new(false);
/// A call may be told of a shutdown: until all have ended that were made meanwhile.
static MAY_BE_DOWN: AtomicBool = AtomicBool::new(false);

fn config(cli: &Cli) -> hmmrt::Result<Config> {
    let from_env = Config::from_env()?;
    // Full devices are what this is about: a line for each prefetch that finds no room is none.
    let log = if std::env::var_os("HMMRT_LOG").is_some() { from_env.log } else { LogLevel::Error };
    let (host_devices, host_memory) = (cli.devices as usize, (cli.memory << 20) as usize);
    Ok(Config { host_devices, host_memory, log, ..from_env })
}

fn work(me: usize, cli: &Cli, fields: &[Field], meet: &Barrier, stop: &AtomicBool) {
    let threads = cli.threads as usize;
    let mut worker = Worker::new(me, history::SEED.load(Relaxed), fields, !cli.no_fork);
    let wait = || {
        note(me, const { op("wait at the barrier") }, 0, 0, 0);
        meet.wait();
    };
    worker.open();
    loop {
        (0..cli.round).for_each(|_| worker.step());
        worker.rest();
        wait();
        worker.sweep(threads);
        if me == 0 {
            // Between two barriers: what is decided holds for all.
            let round = ROUND.fetch_add(1, SeqCst) + 1;
            LAST.store(stop.load(SeqCst), SeqCst);
            AGAIN.store(round.is_multiple_of(ROUNDS), SeqCst);
        }
        wait();
        if LAST.load(SeqCst) {
            break;
        }
        if AGAIN.load(SeqCst) {
            worker.close();
            MAY_BE_DOWN.store(true, SeqCst);
            RESTARTING.store(true, SeqCst);
            wait();
            if me == 0 {
                for _ in 0..5 {
                    restart(cli);
                    os::sleep_ms(5);
                }
                RESTARTING.store(false, SeqCst);
            } else {
                worker.meanwhile(cli.devices as usize);
            }
            wait();
            if me == 0 {
                MAY_BE_DOWN.store(false, SeqCst);
                restart(cli);
            }
            wait();
            worker.open();
        }
    }
    worker.close();
    worker.end();
}

/// Stops the runtime and starts it again.
fn restart(cli: &Cli) {
    note(0, const { op("shutdown and init") }, 0, 0, 0);
    let done = raw::shutdown().and_then(|()| raw::init(Some(config(cli)?)));
    if let Err(e) = done {
        fail(format_args!("shutdown and init: {e}"), 0);
    }
}

fn figures(begun: Instant) {
    let s = raw::stats();
    println!(
        "{:>6.0} s: {} operations, {} M words, {} faults, {} MiB out, {} MiB home, early {} out, {} home, {} used, {} wasted, {} waits, \
         {} refused, {} forks, {} rounds",
        begun.elapsed().as_secs_f64(),
        (0..history::USED.load(Relaxed)).map(history::begun).sum::<u64>(),
        CHECKED.load(Relaxed) >> 20,
        s.faults,
        s.bytes_to_device >> 20,
        s.bytes_to_host >> 20,
        s.ahead_bytes_to_device >> 20,
        s.ahead_bytes_to_host >> 20,
        s.prefetched_bytes_used >> 20,
        s.prefetched_bytes_wasted >> 20,
        s.waits,
        REFUSED.load(Relaxed),
        CHILDREN.load(Relaxed),
        ROUND.load(Relaxed)
    );
}

/// Prints figures, ends the run when its time is over, and sees when a thread is stuck.
fn watch(cli: &Cli, begun: Instant, stop: &AtomicBool, ended: &AtomicBool) {
    let end = begun + Duration::from_secs_f64(cli.minutes * 60.0);
    let threads = cli.threads as usize;
    let mut last = vec![(u64::MAX, Instant::now()); threads];
    let mut said = begun;
    while !ended.load(SeqCst) {
        os::sleep_ms(100);
        let now = Instant::now();
        if now >= end {
            stop.store(true, SeqCst);
        }
        if now - said >= Duration::from_secs(10) {
            figures(begun);
            said = now;
        }
        for (t, (count, since)) in last.iter_mut().enumerate() {
            let n = history::begun(t);
            if n != *count {
                (*count, *since) = (n, now);
            }
        }
        // Threads wait at barriers for the slowest: it is a hang when nobody moves.
        let newest = last.iter().map(|l| l.1).max().unwrap_or(now);
        if now - newest > Duration::from_secs(cli.patience) {
            let oldest = last.iter().enumerate().min_by_key(|(_, l)| l.1).map_or(0, |(t, _)| t);
            history::hang(oldest, cli.patience);
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let seed = cli.seed.unwrap_or_else(now);
    history::SEED.store(seed, Relaxed);
    history::USED.store(cli.threads as usize, Relaxed);
    os::watch_signals();
    match config(&cli).and_then(|c| raw::init(Some(c))).and_then(|()| raw::device_count()) {
        Ok(_) => {}
        Err(e @ Error::Unsupported { .. }) => {
            println!("skipped: {e}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::FAILURE;
        }
    }
    println!("seed {seed}, {} threads, {:.1} minutes", cli.threads, cli.minutes);
    let threads = cli.threads as usize;
    let fields: Vec<Field> =
        FIELDS.iter().enumerate().map(|(n, len)| Field::new(n, *len, threads, n % 3 == 2)).collect();
    let (stop, ended) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let (begun, meet) = (Instant::now(), Barrier::new(threads));
    std::thread::scope(|s| {
        let (cli, fields, meet, stop, ended) = (&cli, &fields, &meet, &stop, &ended);
        s.spawn(move || watch(cli, begun, stop, ended));
        let workers: Vec<_> =
            (0..threads).map(|t| s.spawn(move || work(t, cli, fields, meet, stop))).collect();
        for w in workers {
            if w.join().is_err() {
                fail(format_args!("a thread of this program panicked"), 0);
            }
        }
        ended.store(true, SeqCst);
    });
    figures(begun);
    drop(fields);
    if let Err(e) = raw::shutdown() {
        fail(format_args!("shutdown: {e}"), 0);
    }
    println!("seed {seed}: no failure");
    ExitCode::SUCCESS
}
