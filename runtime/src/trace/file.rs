//! The trace's file: making it, and cutting it at exit. API context and the exit handler.

use super::format::{HEAD, MAGIC, Name, RECORD, VERSION, What, head};
use super::{AT, ON, ROOM, START, STEP, in_head};
use crate::addr::PAGE;
use crate::config::Config;
use crate::device::Devices;
use crate::log::log;
use crate::sys::{self, clock, library, thread, tracefile};
use core::sync::atomic::Ordering::*;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Why a file can't be a trace's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The system says so.
    #[error("{0}")]
    System(#[from] io::Error),
    /// A folder, a device, a link, or somebody's file.
    #[error("there is something else that is no trace")]
    NotATrace,
    /// A process still writes it.
    #[error("another process records into it (%p in the name makes one for each process)")]
    InUse,
}

/// The file that is open, for the end.
struct Open {
    path: PathBuf,
    device: u64,
    inode: u64,
    mapped: usize,
}

static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// The name with `%p` replaced by the process's number, from the root on.
fn path_of(name: &str) -> io::Result<PathBuf> {
    std::path::absolute(name.replace("%p", &std::process::id().to_string()))
}

/// Whether `name` can be given to `HMMRT_TRACE`, as far as can be seen: nothing is there that is not to be replaced, and its
/// folder is there.
pub fn check(name: &str) -> Result<(), CheckError> {
    let path = path_of(name)?;
    replaceable(&path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory).into());
    }
    Ok(())
}

/// Whether there is a file that may be replaced: an empty one, or a trace that nobody writes any more.
fn replaceable(path: &Path) -> Result<bool, CheckError> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    if !there.is_file() {
        return Err(CheckError::NotATrace); // not opened: opening a pipe would wait
    }
    let mut file = OpenOptions::new().read(true).custom_flags(tracefile::NO_FOLLOW).open(path)?;
    let mut first = [0; 8];
    let is_trace = file.read_exact(&mut first).is_ok() && u64::from_le_bytes(first) == MAGIC;
    if !is_trace && there.len() != 0 {
        return Err(CheckError::NotATrace);
    }
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(CheckError::InUse),
        _ => Ok(true),
    }
}

/// Starts the process's trace, if the settings ask for one; the first that does decides. What goes wrong is said, and the
/// program runs without.
pub(crate) fn start(config: &Config) {
    if config.trace.is_empty() || library::is_privileged() {
        return;
    }
    let mut open = OPEN.lock().unwrap_or_else(|e| e.into_inner());
    if open.is_some() {
        return;
    }
    match make(&config.trace, config.trace_size) {
        Ok(made) => {
            log!(Info, "trace: {}", made.path.display());
            *open = Some(made);
            sys::at_exit(finish);
            START.store(clock::now_ns(), Relaxed);
            ON.store(true, Release);
        }
        Err(e) => log!(Error, "HMMRT_TRACE={}: not recorded: {e}", config.trace),
    }
}

fn make(name: &str, size: u64) -> Result<Open, CheckError> {
    let path = path_of(name)?;
    if replaceable(&path)? {
        fs::remove_file(&path)?;
    }
    // New, whatever was there in between: no link is followed, and nobody else has it open.
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    prepare(&file, &path, size).inspect_err(|_| {
        let _ = fs::remove_file(&path);
    })
}

fn prepare(file: &File, path: &Path, size: u64) -> Result<Open, CheckError> {
    // The lock lasts as long as the mapping: until the process ends or becomes another program.
    file.try_lock().map_err(|_| CheckError::InUse)?;
    // A longer file would be a signal.
    let size = size.min(tracefile::most_file_bytes()) as usize & !(PAGE - 1);
    let records = size.saturating_sub(HEAD) / RECORD;
    if records == 0 {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    file.set_len(size as u64)?;
    let at = tracefile::map(file, size)?;
    let ready = (records * RECORD).min(STEP - HEAD);
    if let Err(errno) = tracefile::back(at, HEAD + ready) {
        tracefile::unmap(at, size);
        return Err(io::Error::from_raw_os_error(errno).into());
    }
    AT.store(at, Relaxed);
    ROOM.store(records as u64, Relaxed);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    for (number, value) in [
        (head::VERSION, u64::from(VERSION) | (HEAD as u64) << 32),
        (head::RECORD, RECORD as u64 | u64::from(std::process::id()) << 32),
        (head::STARTED, since_1970.as_nanos() as u64),
        (head::CAPACITY, records as u64),
        (head::READY, ready as u64),
    ] {
        in_head(number).store(value, Relaxed);
    }
    put_text(head::LIBRARY, crate::version());
    put_text(head::PROGRAM, fs::read_to_string("/proc/self/comm").unwrap_or_default().trim_end());
    in_head(head::MAGIC).store(MAGIC, Release);
    let facts = file.metadata()?;
    Ok(Open { path: path.to_owned(), device: facts.dev(), inode: facts.ino(), mapped: size })
}

fn put_text(at: usize, text: &str) {
    for (i, word) in Name::new(text).0.into_iter().enumerate() {
        in_head(at + i).store(word, Relaxed);
    }
}

/// Devices were opened: which kind, and how much memory each has.
pub(crate) fn devices_opened(devices: &Devices) {
    if super::is_on() && thread::is_owner() {
        put_text(head::BACKEND, devices.at(0).backend());
        for (number, device) in devices.all().enumerate() {
            let memory = device.info().memory_total;
            super::record(|| What::Device { device: number as u16, memory });
        }
    }
}

/// The process ends: nothing more is recorded, and the file is cut to what was used.
extern "C" fn finish() {
    if !thread::is_owner() || !ON.swap(false, AcqRel) {
        return;
    }
    let Some(open) = OPEN.lock().unwrap_or_else(|e| e.into_inner()).take() else { return };
    let (begun, capacity) = (in_head(head::BEGUN).load(Relaxed), in_head(head::CAPACITY).load(Relaxed));
    let room = in_head(head::READY).load(Relaxed) / RECORD as u64;
    let used = HEAD as u64 + begun.min(capacity).min(room) * RECORD as u64;
    in_head(head::CLOSED).store(1, Release);
    // Threads that are still recording get memory that is nobody's: the cut file is not there for them any more.
    if !tracefile::detach(AT.load(Relaxed), open.mapped) {
        return;
    }
    let opened = OpenOptions::new().write(true).custom_flags(tracefile::NO_FOLLOW).open(&open.path);
    // Another file may have its name meanwhile.
    if let Ok(file) = opened
        && file.metadata().is_ok_and(|f| (f.dev(), f.ino()) == (open.device, open.inode))
    {
        let _ = file.set_len(used);
    }
}
