//! A launch of the program's: which managed memory it needs, and having that on its device from before the kernel runs
//! until it has run. What the parameters point to is needed as a whole, and may be written; what pointers inside of data
//! lead to is decided by `HMMRT_PRELOAD_DATA`. Any thread.

use super::params::{Copied, Params};
use super::{Driver, Place, Queue, code_of, is_managed, pointer, streams};
use crate::names;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::*};
use hmmrt_core::raw::native::Quiet;
use hmmrt_core::{Access, AccessMode, Error, StreamId, raw};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// What pointers inside of data may lead to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Data {
    /// Nothing that the parameters do not point to.
    Args = 1,
    /// What the device has used before.
    Used,
    /// Anything.
    All,
}

fn data() -> Data {
    static DATA: AtomicU8 = AtomicU8::new(0);
    let read = || {
        let data = match names::variable("HMMRT_PRELOAD_DATA") {
            Some(b"args") => Data::Args,
            Some(b"all") => Data::All,
            None | Some(b"" | b"used") => Data::Used,
            Some(_) => {
                names::say("hmmrt error: HMMRT_PRELOAD_DATA is not one of: args used all\n");
                Data::Used
            }
        };
        DATA.store(data as u8, Relaxed);
        data
    };
    match DATA.load(Relaxed) {
        1 => Data::Args,
        2 => Data::Used,
        3 => Data::All,
        _ => read(),
    }
}

/// How long a launch waits for system calls that use what it may need, or not.
const PATIENCE_NS: u64 = 100_000_000;

/// A block: its start and its length.
type Block = (usize, usize);

/// What each device has used.
static USED: Mutex<BTreeMap<(i32, usize), usize>> = Mutex::new(BTreeMap::new());

fn used() -> MutexGuard<'static, BTreeMap<(i32, usize), usize>> {
    USED.lock().unwrap_or_else(|e| e.into_inner())
}

/// What graphs of each device's use: each time that one is launched.
static RECORDED: Mutex<BTreeMap<(i32, usize), usize>> = Mutex::new(BTreeMap::new());
/// Something was recorded of which it can't be said what it uses.
static RECORDED_UNKNOWN: AtomicBool = AtomicBool::new(false);

/// What is done with the blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Used at once, or whenever a graph is launched if the stream is recorded into one.
    Now,
    /// Used whenever a graph is launched.
    Node,
    /// A graph is launched.
    Graph,
}

/// The device uses blocks: later launches on it bring them, too.
pub fn note(device: i32, blocks: &[Block]) {
    used().extend(blocks.iter().map(|(start, len)| ((device, *start), *len)));
}

/// The block around an address.
pub fn block_of(at: usize) -> Option<Block> {
    let (start, len) = raw::native::block_of(pointer(at))?;
    Some((start.expose_provenance(), len))
}

/// What the device has used, as far as it is still there.
fn used_by(device: i32) -> Vec<Block> {
    live(&mut used(), device)
}

fn recorded() -> MutexGuard<'static, BTreeMap<(i32, usize), usize>> {
    RECORDED.lock().unwrap_or_else(|e| e.into_inner())
}

/// Those of a device's that are still there.
fn live(used: &mut BTreeMap<(i32, usize), usize>, device: i32) -> Vec<Block> {
    used.retain(|(_, start), len| block_of(*start) == Some((*start, *len)));
    used.range((device, 0)..=(device, usize::MAX)).map(|((_, start), len)| (*start, *len)).collect()
}

/// A block that a launch needs, and how far the device's address for it is from the host's.
struct Needed {
    block: Block,
    shift: usize,
}

fn needed(device: i32, block: Block) -> Result<Needed, Error> {
    let there = raw::device_ptr(pointer(block.0), device)?.addr();
    Ok(Needed { block, shift: there.wrapping_sub(block.0) })
}

fn access(n: &Needed) -> Access {
    Access { ptr: pointer(n.block.0), len: n.block.1, mode: AccessMode::ReadWrite }
}

/// Launches: `real` calls the driver, with its own parameters for `None`.
pub fn launch(
    driver: &Driver,
    queue: Queue,
    end: usize,
    params: &Params,
    real: &mut dyn FnMut(Option<&mut Copied>) -> i32,
) -> i32 {
    with_params(driver, queue, Work::Now, end, params, real)
}

/// Gives a kernel in a graph its parameters, as [`launch`].
pub fn node(
    driver: &Driver,
    end: usize,
    params: &Params,
    real: &mut dyn FnMut(Option<&mut Copied>) -> i32,
) -> i32 {
    let none = Queue { handle: 0, per_thread: false };
    with_params(driver, none, Work::Node, end, params, real)
}

fn with_params(
    driver: &Driver,
    queue: Queue,
    work: Work,
    end: usize,
    params: &Params,
    real: &mut dyn FnMut(Option<&mut Copied>) -> i32,
) -> i32 {
    let mut blocks: Vec<Block> = Vec::new();
    params.words(&mut |word| {
        if is_managed(word)
            && let Some(block) = block_of(word)
            && !blocks.contains(&block)
        {
            blocks.push(block);
        }
    });
    let everything = params.is_unknown() || data() == Data::All;
    // Before any of it is the device's.
    let mut copied = params.are_managed().then(|| params.copy(end));
    // Without a pointer to managed memory, too: one may be in memory of the driver's.
    let more = everything || data() == Data::Used && !used().is_empty();
    if blocks.is_empty() && !more {
        return real(copied.as_mut());
    }
    let code = around(driver, queue, work, &blocks, everything, &mut |needed| {
        if needed.iter().any(|n| n.shift != 0) {
            copied.get_or_insert_with(|| params.copy(end)).translate(&|word| {
                let inside = |n: &&Needed| word.wrapping_sub(n.block.0) < n.block.1;
                needed.iter().find(inside).map_or(word, |n| word.wrapping_add(n.shift))
            });
        }
        real(copied.as_mut())
    });
    code.unwrap_or_else(|| real(copied.as_mut()))
}

/// Has a graph run: what its kernels need was noted when they were recorded.
pub fn graph(driver: &Driver, queue: Queue, real: &mut dyn FnMut() -> i32) -> i32 {
    let everything = data() == Data::All || RECORDED_UNKNOWN.load(Acquire);
    if used().is_empty() && !everything {
        return real();
    }
    around(driver, queue, Work::Graph, &[], everything, &mut |_| real()).unwrap_or_else(real)
}

/// Puts what uses managed memory into a graph: into the one that `queue` is recorded into, or for `None` by itself. `real`
/// gets the device's addresses of `all`. It is brought whenever a graph is launched.
pub fn record<const N: usize>(
    driver: &Driver,
    queue: Option<Queue>,
    all: [usize; N],
    real: &mut dyn FnMut([usize; N]) -> i32,
) -> i32 {
    let blocks: Vec<Block> =
        all.iter().filter(|at| is_managed(**at)).filter_map(|at| block_of(*at)).collect();
    let work = if queue.is_some() { Work::Now } else { Work::Node };
    let queue = queue.unwrap_or(Queue { handle: 0, per_thread: false });
    let code = around(driver, queue, work, &blocks, false, &mut |needed| {
        let inside = |at: usize| needed.iter().find(|n| at.wrapping_sub(n.block.0) < n.block.1);
        real(all.map(|at| inside(at).map_or(at, |n| at.wrapping_add(n.shift))))
    });
    code.unwrap_or_else(|| real(all))
}

/// Has the driver write managed memory by `real`, which gets the device's address of `at`.
pub fn fill(driver: &Driver, queue: Queue, at: usize, real: &mut dyn FnMut(usize) -> i32) -> i32 {
    let Some(block) = Some(at).filter(|at| is_managed(*at)).and_then(block_of) else { return real(at) };
    around(driver, queue, Work::Now, &[block], false, &mut |needed| real(at.wrapping_add(needed[0].shift)))
        .unwrap_or_else(|| real(at))
}

/// Calls `real` with blocks on the device that is current. `None`: the runtime has nothing to do with it.
fn around(
    driver: &Driver,
    queue: Queue,
    work: Work,
    blocks: &[Block],
    everything: bool,
    real: &mut dyn FnMut(&[Needed]) -> i32,
) -> Option<i32> {
    let place = (driver.place)().ok()?;
    if !driver.is_ready() {
        return None;
    }
    Some(
        prepared(driver, place, queue, work, blocks, everything, real)
            .unwrap_or_else(|e| code_of("a launch", e)),
    )
}

fn prepared(
    driver: &Driver,
    place: Place,
    queue: Queue,
    work: Work,
    blocks: &[Block],
    everything: bool,
    real: &mut dyn FnMut(&[Needed]) -> i32,
) -> Result<i32, Error> {
    let device = place.device;
    crate::calls::settle();
    let mut all = blocks.iter().map(|b| needed(device, *b)).collect::<Result<Vec<_>, _>>()?;
    let named = all.len();
    note(device, blocks);
    if work == Work::Node || (driver.is_recording)(queue.native()) {
        recorded().extend(blocks.iter().map(|(start, len)| ((device, *start), *len)));
        if everything {
            RECORDED_UNKNOWN.store(true, Release);
        }
        return Ok(real(&all));
    }
    // What a graph uses was said when it was made, by the device's addresses.
    let mut more = if work == Work::Graph { live(&mut recorded(), device) } else { Vec::new() };
    let said = more.len();
    let others = match (everything, data()) {
        (true, _) => {
            raw::native::blocks().into_iter().map(|(at, len)| (at.expose_provenance(), len)).collect()
        }
        (false, Data::Args) => Vec::new(),
        (false, _) => used_by(device),
    };
    let others: Vec<Block> = others.into_iter().filter(|block| !more.contains(block)).collect();
    more.extend(others);
    // Nothing is known to be needed: what can't be had at once is left out, and the launch is never worse for it.
    let may_do_without = named == 0 && said == 0;
    let patience = if may_do_without { 0 } else { PATIENCE_NS };
    for (i, block) in more.into_iter().enumerate() {
        // A pointer in data leads there only if it is the same on the device. What a system call goes on using is hardly
        // what the kernel uses.
        if !blocks.contains(&block)
            && (i < said || !raw::preload::is_held(pointer(block.0), block.1, patience))
            && let Ok(n) = needed(device, block)
            && (i < said || n.shift == 0)
        {
            all.push(n);
        }
    }
    if may_do_without && all.is_empty() {
        return Ok(real(&[]));
    }
    let begun = streams::number(place, queue).and_then(|number| {
        let stream = number.unwrap_or(StreamId::DEFAULT);
        Ok((number, stream, begin(device, stream, &all, named)?))
    });
    let (number, stream, quiet) = match begun {
        Err(_) if may_do_without => return Ok(real(&[])),
        begun => begun?,
    };
    let code = real(&all[..named]);
    // Nothing of ours says when the kernel has ended: what it may be using must not leave before.
    let waited = if number.is_none() { (driver.wait_all)() } else { 0 };
    // Its mark could not be set: whoever touches the memory finds out.
    let _ = raw::native::end_launch(device, stream);
    drop(quiet);
    Ok(if code == 0 { waited } else { code })
}

/// Makes all of it resident; of what is not `named` by the launch, what is in use elsewhere may be missing.
fn begin(device: i32, stream: StreamId, all: &[Needed], named: usize) -> Result<Quiet, Error> {
    let accesses: Vec<Access> = all.iter().map(access).collect();
    // SAFETY: nothing is given up.
    let begun = unsafe { raw::native::begin_launch(device, stream, &accesses) };
    match begun {
        Err(Error::DeviceMemory { .. } | Error::NoMemory { .. } | Error::Device { .. }) | Ok(_) => {
            return begun;
        }
        Err(_) if named == all.len() => return begun,
        Err(_) => {}
    }
    // SAFETY: as above.
    let quiet = unsafe { raw::native::begin_launch(device, stream, &accesses[..named]) }?;
    for one in accesses[named..].chunks(1) {
        // SAFETY: as above.
        let begun = unsafe { raw::native::begin_launch(device, stream, one) };
        // Else freed, pinned, or protected by the program meanwhile: a kernel that follows a pointer there fails.
        if let Err(Error::DeviceMemory { .. } | Error::NoMemory { .. } | Error::Device { .. }) = begun {
            let _ = raw::native::end_launch(device, stream);
            return begun;
        }
    }
    Ok(quiet)
}
