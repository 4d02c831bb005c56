//! mlock(2) and its kind: locked memory stays on the host. Locks do not count: one munlock undoes any number of mlocks of
//! a page. Each run of managed pages that is locked has one pin. Not from signal handlers: the list of what is locked
//! allocates.

use super::spans::managed;
use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::sys::futex;
use crate::sys::program::{self, Answer};
use crate::sys::signal::Blocked;
use crate::{heap, pins};

/// What is locked, each with a pin of its own; none overlaps another.
static LOCKED: futex::Locked<Vec<ByteRange>> = futex::Locked::new(Vec::new());

/// Pins for the time of a call.
pub(super) struct Pinned(Vec<ByteRange>);

/// Pins what is managed of `range` until the result is dropped.
pub(super) fn pinned(range: ByteRange) -> Result<Pinned, i32> {
    let mut pinned = Pinned(Vec::new());
    for run in managed(range) {
        pin(run)?;
        pinned.0.push(run);
    }
    Ok(pinned)
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _blocked = Blocked::new();
        for run in &self.0 {
            let _ = pins::unpin(*run); // gone already if the program unmapped it meanwhile
        }
    }
}

fn pin(range: ByteRange) -> Result<(), i32> {
    let _blocked = Blocked::new();
    pins::pin(range).map_err(|_| program::EAGAIN)
}

/// Keeps what is managed of `range` on the host until it is freed or unmapped; all of it or nothing.
pub(crate) fn keep(range: ByteRange) -> Result<(), i32> {
    managed(range).try_for_each(|run| {
        pin(run).inspect_err(|_| keep_no_more(ByteRange { end: run.start, ..range })) // what was kept before it
    })
}

/// Undoes [`keep`] of the same range: what it was for has failed.
pub(super) fn keep_no_more(range: ByteRange) {
    let _blocked = Blocked::new();
    managed(range).for_each(|run| {
        let _ = pins::unpin(run); // freed meanwhile
    });
}

/// mlock(2) and mlock2(2). What fails leaves what was locked before as it is.
pub(crate) fn lock_pages(range: ByteRange, flags: u32) -> Answer {
    let runs: Vec<ByteRange> = managed(range).collect();
    let _pins = meanwhile(&runs)?;
    let answer = program::lock(range, flags)?;
    runs.into_iter().try_for_each(enter).inspect_err(|_| {
        let _ = program::unlock(range);
        leave(range);
    })?;
    Ok(answer)
}

/// munlock(2).
pub(crate) fn unlock_pages(range: ByteRange) -> Answer {
    let answer = program::unlock(range)?;
    leave(range);
    Ok(answer)
}

/// mlockall(2) has locked all that there is: everything managed stays on the host.
pub(crate) fn lock_all() -> Result<(), i32> {
    let blocks = heap::chunks_in_use().into_iter().map(|at: HostAddr| at.range(CHUNK));
    let all: Vec<ByteRange> = blocks.chain(super::all()).collect();
    let runs: Vec<ByteRange> = all.into_iter().flat_map(managed).collect();
    let _pins = meanwhile(&runs)?;
    runs.into_iter().try_for_each(enter)
}

/// munlockall(2) was called.
pub(crate) fn unlock_all() {
    leave(ByteRange { start: 0, end: usize::MAX });
}

/// Pins runs that are about to be entered: what is locked already is at no moment free to go. By other ranges: a lock of a block
/// that was freed since may have left the same one behind, without its pin.
fn meanwhile(runs: &[ByteRange]) -> Result<Pinned, i32> {
    let mut pinned = Pinned(Vec::with_capacity(runs.len()));
    for run in runs.iter().map(|run| ByteRange { end: run.end - 1, ..*run }) {
        pin(run)?;
        pinned.0.push(run);
    }
    Ok(pinned)
}

/// Pins a run for good, instead of the locked parts that it meets. It is pinned [`meanwhile`].
fn enter(run: ByteRange) -> Result<(), i32> {
    leave(run);
    pin(run)?;
    let _blocked = Blocked::new();
    LOCKED.lock().push(run);
    Ok(())
}

/// Nothing of `range` is locked any more. What was freed since has no pin left.
fn leave(range: ByteRange) {
    let _blocked = Blocked::new();
    let mut locked = LOCKED.lock();
    let met: Vec<ByteRange> = locked.extract_if(.., |r| r.overlaps(range)).collect();
    for run in met {
        locked.extend(pins::unpin_part(run, range));
    }
}
