//! Reading traces. Whatever the file holds: what is no record is counted, and nothing is believed that the file's length
//! does not bear out. Not used while recording.

use super::format::{Event, HEAD, MAGIC, Name, RECORD, VERSION, WORDS, head};
use std::io::Read;
use std::path::Path;

/// A trace that was read.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The process that was recorded.
    pub process: u32,
    /// Its program's name, as the kernel has it.
    pub program: String,
    /// The version of the library that recorded it.
    pub library: String,
    /// The kind of device; empty if none was opened.
    pub backend: String,
    /// When it began, nanoseconds since 1970.
    pub started: u64,
    /// What happened, in the order of time.
    pub events: Vec<Event>,
    /// Whether the process ended it in order: else it was killed or became another program, or runs still.
    pub closed: bool,
    /// Events for which there was no room in the file.
    pub dropped: u64,
    /// Why the disk had no room for more, the system's error number; 0: it had, up to the limit.
    pub errno: i32,
    /// Records that a thread had begun and not finished, or that make no sense.
    pub unreadable: u64,
    /// Records that the head promises and the file does not have: it was cut off.
    pub missing: u64,
}

/// Why a file can't be read as a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system says so.
    #[error("cannot be read: {0}")]
    System(#[from] std::io::Error),
    /// Something else.
    #[error("is not a trace of hmmrt")]
    NotATrace,
    /// Its head is not whole.
    #[error("is cut off inside of its head: there is nothing to read")]
    Short,
    /// A later version's.
    #[error(
        "was made by a newer hmmrt: it has version {0} of the format, and this one reads up to {VERSION}"
    )]
    Newer(u32),
}

impl Trace {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Trace, ReadError> {
        Trace::parse(std::fs::File::open(path)?)
    }

    /// Reads bytes.
    pub fn parse(bytes: impl Read) -> Result<Trace, ReadError> {
        let mut bytes = std::io::BufReader::with_capacity(1 << 20, bytes);
        let mut raw = [0; HEAD];
        let got = fill(&mut bytes, &mut raw)?;
        let word = |i: usize| word(&raw, i);
        if got < 16 || word(head::MAGIC) != MAGIC {
            return Err(if got < 8 || word(head::MAGIC) != MAGIC {
                ReadError::NotATrace
            } else {
                ReadError::Short
            });
        }
        let version = word(head::VERSION) as u32;
        if version > VERSION {
            return Err(ReadError::Newer(version));
        }
        if got < HEAD {
            return Err(ReadError::Short);
        }
        if version == 0
            || word(head::VERSION) >> 32 != HEAD as u64
            || word(head::RECORD) as u32 != RECORD as u32
        {
            return Err(ReadError::NotATrace);
        }
        let text = |at: usize| Name(core::array::from_fn(|i| word(at + i))).to_string();
        let mut trace = Trace {
            process: (word(head::RECORD) >> 32) as u32,
            program: text(head::PROGRAM),
            library: text(head::LIBRARY),
            backend: text(head::BACKEND),
            started: word(head::STARTED),
            events: Vec::new(),
            closed: word(head::CLOSED) == 1,
            dropped: word(head::DROPPED),
            errno: i32::try_from(word(head::ERRNO)).unwrap_or(0),
            unreadable: 0,
            missing: 0,
        };
        let room = word(head::READY) / RECORD as u64;
        let records = word(head::BEGUN).min(word(head::CAPACITY)).min(room);
        for number in 1..=records {
            let mut record = [0; RECORD];
            if fill(&mut bytes, &mut record)? < RECORD {
                trace.missing = records - number + 1;
                break;
            }
            let whole = self::word(&record, WORDS - 1) == number;
            match Event::unpack(core::array::from_fn(|i| self::word(&record, i))).filter(|_| whole) {
                Some(event) => trace.events.push(event),
                None => trace.unreadable += 1,
            }
        }
        trace.events.sort_by_key(|e| e.time);
        Ok(trace)
    }
}

fn word(bytes: &[u8], number: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[number * 8..number * 8 + 8]);
    u64::from_le_bytes(word)
}

/// Reads until `to` is full or there is no more. How many bytes that was.
fn fill(from: &mut impl Read, to: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < to.len() {
        match from.read(&mut to[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
