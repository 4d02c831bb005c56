//! The process-wide runtime: starting, opening devices at first use, and shutting down. One mutex for changes; the
//! checks on every call are two atomic loads.

use crate::ahead::{self, Ahead};
use crate::calls::{self, Call};
use crate::config::Config;
use crate::crew::Crew;
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::log::log;
use crate::pool::Keeper;
use crate::service::Service;
use crate::sys::signal::Blocked;
use crate::sys::{self, segv, sigaction, thread};
use crate::trace::{self, Why};
use crate::uffd::Delivery;
use crate::{
    access, adopt, fault, fork, guard, heap, inflight, launch, migrate, moves, policy, pool, service, spill,
    stats, stream, uffd, warm, window,
};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::*};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

const UNSET: u8 = 0;
const RUNNING: u8 = 1;
const DOWN: u8 = 2;
static PHASE: AtomicU8 = AtomicU8::new(UNSET);
/// Whether opening the devices is over, and shutdown has not begun to forget them.
static READY: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
struct State {
    config: Option<Config>,
    threads: Option<Threads>,
}

struct Threads {
    service: Option<Service>,
    uffd: Option<uffd::Threads>,
    crew: Crew,
    keeper: Option<Keeper>,
    ahead: Option<Ahead>,
}

static STATE: Mutex<State> = Mutex::new(State { config: None, threads: None });
/// The thread that has it, or 0.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

/// The state, locked.
struct Held(MutexGuard<'static, State>);

impl core::ops::Deref for Held {
    type Target = State;
    fn deref(&self) -> &State {
        &self.0
    }
}

impl core::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HOLDER.store(0, Relaxed);
    }
}

/// Locks the state. A child that is forked while another thread has it knows that it is one, and does not wait for it.
fn state() -> Held {
    thread::claim_process();
    fork::arrange();
    let state = STATE.lock().unwrap_or_else(|e| e.into_inner());
    HOLDER.store(thread::id(), Relaxed);
    Held(state)
}

/// Whether this thread starts or ends the runtime: it can't allocate managed memory now. Signal-safe.
pub(crate) fn is_locked_by_me() -> bool {
    HOLDER.load(Relaxed) == thread::id()
}

/// Starts the runtime with `config`, or with the environment's settings. Nothing is opened yet.
pub(crate) fn init(config: Option<Config>) -> Result<()> {
    if thread::forked() {
        return Err(Error::Forked { call: "hmm_init" });
    }
    let mut state = state();
    if PHASE.load(Acquire) == RUNNING {
        return match config {
            None => Ok(()),
            Some(_) => Err(Error::InvalidArgument { arg: "config", why: "the runtime is running already" }),
        };
    }
    start(&mut state, config)
}

fn start(state: &mut State, config: Option<Config>) -> Result<()> {
    let config = config.map_or_else(Config::from_env, Ok)?;
    if sys::page_size() != crate::addr::PAGE {
        return Err(Error::Unsupported { what: "hmm_init", why: "this machine's pages are not 4 KiB" });
    }
    uffd::probe(config.fault)?;
    crate::device::host::inject::check("HMMRT_HOST_FAIL", &config.host_fail)?;
    crate::log::set_level(config.log);
    let budget = if config.vma_budget == 0 { sys::max_map_count() / 2 } else { config.vma_budget };
    migrate::set_vma_budget(budget);
    fork::set_mode(config.fork);
    policy::choose(config.policy.name());
    spill::choose(config.spill);
    warm::set_limit(config.spare_bytes);
    stats::start(&config);
    trace::start(&config);
    state.config = Some(config);
    PHASE.store(RUNNING, Release);
    Ok(())
}

/// The program ends, and with it the drivers, whose exit handlers were registered before this one. What is on a device only
/// comes home, for those who touch memory until the very end: destructors of static objects, and threads that still run. Not
/// what running kernels use, nor more than half of what the machine has free; and nothing from a driver that does not answer.
extern "C" fn driver_ends() {
    if !thread::forked()
        && !service::is_stuck()
        && Devices::get().is_some_and(|d| d.all().any(|d| !d.serves_faults_directly()))
    {
        core::mem::forget(ahead::pause()); // for good: nobody calls the driver any more but for who touches memory
        moves::copy_all_home(moves::Patience::Skip, sys::available_memory() / 2, Why::Exit, "exit");
    }
}

/// Checks that memory calls may be made; starts the runtime at first use.
#[inline]
pub(crate) fn ensure_started(call: &'static str) -> Result<()> {
    if PHASE.load(Acquire) == RUNNING && !thread::forked() { Ok(()) } else { start_or_refuse(call) }
}

#[cold]
fn start_or_refuse(call: &'static str) -> Result<()> {
    if thread::forked() {
        return Err(Error::Forked { call });
    }
    let mut state = state();
    match PHASE.load(Acquire) {
        RUNNING => Ok(()),
        DOWN => Err(Error::Shutdown { call }),
        _ => start(&mut state, None),
    }
}

/// Whether memory calls that need no device are answered: also after shutdown, for blocks that outlive it.
pub(crate) fn check_process(call: &'static str) -> Result<()> {
    if thread::forked() { Err(Error::Forked { call }) } else { Ok(()) }
}

/// The devices, for as long as a call uses them: shutdown waits for that.
pub(crate) struct Using {
    devices: &'static Devices,
    _call: Call,
}

impl core::ops::Deref for Using {
    type Target = Devices;
    fn deref(&self) -> &Devices {
        self.devices
    }
}

/// The devices, opened at the first call. Also sees to it that our signal handler is the installed one.
pub(crate) fn devices(call: &'static str) -> Result<Using> {
    let using = devices_quietly(call)?;
    install_handlers();
    Ok(using)
}

/// As [`devices`], for calls that protect nothing.
pub(crate) fn devices_quietly(call: &'static str) -> Result<Using> {
    loop {
        ensure_started(call)?;
        if ready().is_none() {
            open(call)?;
        }
        let in_progress = enter(call)?;
        // Not if there was a shutdown meanwhile.
        if let Some(devices) = ready() {
            uffd::look_after();
            return Ok(Using { devices, _call: in_progress });
        }
    }
}

/// A call that moves memory between devices begins; shutdown waits for its end.
pub(crate) fn enter(call: &'static str) -> Result<Call> {
    loop {
        ensure_started(call)?;
        match calls::enter() {
            Some(in_progress) if PHASE.load(SeqCst) == RUNNING => return Ok(in_progress),
            Some(_) => {}
            None => drop(state()), // until it is known whether shutdown is possible
        }
    }
}

/// The devices, once all is there that using them needs: what left before the engine ran would be away by another way.
fn ready() -> Option<&'static Devices> {
    if READY.load(Acquire) { Devices::get() } else { None }
}

/// Sees to it that our handlers are the installed ones.
fn install_handlers() {
    segv::ensure_installed(fault::on_fault, uffd::delivery() == Delivery::Signal);
}

fn open(call: &'static str) -> Result<&'static Devices> {
    let mut state = state();
    if let Some(devices) = ready() {
        return Ok(devices);
    }
    // A shutdown has come between: what the next runtime is to be is not known.
    let config = state.config.clone().ok_or(Error::Shutdown { call })?;
    pool::start(config.spare_bytes)?;
    let devices = Devices::open(&config)?;
    let direct = (0..devices.count()).all(|d| devices.at(d).serves_faults_directly());
    thread::set_private_files(devices.at(0).backend() == "host");
    // Before the other threads: those with descriptors of their own keep this one.
    let uffd = match uffd::start(config.fault, config.uffd_move) {
        Ok(uffd) => uffd,
        Err(e) => {
            Devices::close();
            return Err(e);
        }
    };
    let threads = (|| {
        Ok(Threads {
            service: if direct { None } else { Some(Service::start(config.driver_timeout)?) },
            uffd: None,
            crew: Crew::start(helpers(devices)),
            keeper: if config.spare_bytes == 0 { None } else { Keeper::start() },
            ahead: if policy::the().predicts() { Ahead::start() } else { None },
        })
    })();
    match threads {
        Ok(threads) => state.threads = Some(Threads { uffd, ..threads }),
        Err(e) => {
            let e: std::io::Error = e;
            if let Some(threads) = uffd {
                uffd::stop(threads, core::iter::empty()); // nothing was watched yet
            }
            Devices::close();
            return Err(Error::System { call: "starting a thread", errno: e.raw_os_error().unwrap_or(0) });
        }
    }
    heap::devices_opened(devices);
    fork::devices_opened(devices);
    if !direct {
        sys::at_exit(driver_ends);
    }
    install_handlers();
    trace::devices_opened(devices);
    for device in devices.all() {
        log!(Info, "device {}: {} ({})", device.number(), device.name(), device.backend());
    }
    log!(Info, "faults: {}", uffd::describe());
    READY.store(true, Release);
    Ok(devices)
}

/// How many threads help a thread that moves much: the host backend's copies share the memory's bandwidth with them, a
/// GPU's bus takes what several cores can copy.
fn helpers(devices: &Devices) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let most = if devices.all().all(|d| d.runs_host_functions()) { 1 } else { 7 };
    (cores - 1).min(most)
}

/// How long shutdown waits for calls of other threads: longer than those wait for each other.
const PATIENCE: Duration = Duration::from_secs(20);

fn synchronize_all(devices: &Devices) -> Result<()> {
    let mut started = stream::all(devices.count()).filter(|s| devices.at(s.device).is_started());
    started.try_for_each(|s| match access::synchronize(devices, s) {
        Err(Error::BadHandle { .. }) => Ok(()), // a call ends it, which has waited for it
        other => other,
    })
}

/// Brings everything home and ends the threads. Blocks stay valid as ordinary memory.
pub(crate) fn shutdown() -> Result<()> {
    check_process("hmm_shutdown")?;
    let mut state = state();
    match PHASE.load(Acquire) {
        DOWN => return Err(Error::Shutdown { call: "hmm_shutdown" }),
        UNSET => {
            PHASE.store(DOWN, Release);
            return Ok(());
        }
        _ => {}
    }
    if let Some(devices) = Devices::get() {
        uffd::look_after();
        // A handler that waits for what another thread has acquired must not find this thread with what a release needs.
        let blocked = Blocked::handlers();
        let closed = calls::close();
        // First, for calls may wait for kernels; and then for what those calls have queued. Meanwhile they end streams.
        synchronize_all(devices)?;
        if !closed.wait(PATIENCE) {
            let why = "a call of another thread does not end";
            return Err(Error::Busy { arg: "hmm_shutdown", addr: 0, why });
        }
        synchronize_all(devices)?;
        let paused = ahead::pause();
        inflight::forget_all();
        drop(blocked);
        let chunks = heap::chunks_in_use();
        let heap =
            chunks.iter().map(|at| crate::addr::ByteRange { start: at.0, end: at.0 + crate::addr::CHUNK });
        for range in heap.chain(adopt::all()) {
            moves::bring_home(range, Why::Shutdown, "hmm_shutdown")?;
        }
        PHASE.store(DOWN, Release);
        if let Some(threads) = state.threads.take() {
            if let Some(ahead) = threads.ahead {
                ahead.stop(paused);
            }
            threads.crew.stop();
            threads.keeper.into_iter().for_each(Keeper::stop);
            threads.service.into_iter().for_each(Service::stop);
            if let Some(threads) = threads.uffd {
                uffd::stop(threads, crate::arenas::all().chain(adopt::all()));
            }
        }
        READY.store(false, Release);
        moves::release_all(chunks, adopt::all());
        let ids = stream::all(devices.count()).map(stream::id_of);
        ids.filter_map(|id| stream::Stream::claim(id).ok()).for_each(|s| s.destroy(devices));
        Devices::close();
        window::forget();
        launch::forget();
        guard::forget();
        sigaction::uninstall();
        pool::drain();
        drop(closed);
    }
    warm::set_limit(0);
    heap::cool();
    PHASE.store(DOWN, Release);
    state.config = None;
    Ok(())
}

#[cfg(all(test, not(hmmrt_standin)))] // a real process
mod tests {
    use super::*;

    #[test]
    fn a_child_does_not_wait_for_who_starts_the_runtime() {
        let (locked, fork) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let refused = std::thread::scope(|s| {
            s.spawn(|| {
                let _state = state();
                locked.wait();
                fork.wait();
            });
            locked.wait();
            let refused = thread::is_so_in_child(|| {
                matches!(start_or_refuse("test"), Err(Error::Forked { call: "test" }))
            });
            fork.wait();
            refused
        });
        assert!(refused);
    }
}
