//! Where bytes are and should be. API context.

use super::{Advice, counted, location};
use crate::access::AccessMode;
use crate::addr::{ByteRange, CHUNK, HostAddr};
use crate::error::Result;
use crate::moves::{self, Patience};
use crate::policy::{advice, advised};
use crate::prefetch::{self, Target};
use crate::stream::{Stream, StreamId};
use crate::trace::{self, What, Why};
use crate::{ahead, pins, runtime, span, table};
use core::sync::atomic::Ordering::*;

/// Starts moving a range to `location` in the order of `stream` and returns at once. A hint: pages that are in use or
/// pinned stay.
pub fn prefetch(ptr: *const u8, len: usize, to: i32, stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices("hmm_prefetch")?;
        let span = span::find(HostAddr::from(ptr), len, "ptr")?;
        let (target, device) = match location(to, devices.count())? {
            Some(d) => (Target::Device(d), d),
            // Home in the order of the device that has it.
            None => (Target::Host, holder(span.range).unwrap_or(0)),
        };
        let stream = match stream {
            StreamId::DEFAULT => Stream::find(&devices, device, stream)?,
            id => Stream::from_id(id)?,
        };
        if span.range.len() == 0 { Ok(()) } else { prefetch::prefetch(&devices, span, target, stream) }
    })())
}

/// The first device that has some page of the range.
fn holder(range: ByteRange) -> Option<usize> {
    range.chunks().find_map(|(at, _)| {
        let chunk = table::get(at)?;
        (0..crate::chunk::device_count()).find(|d| !chunk.copies[*d].valid.get().is_empty())
    })
}

/// Moves a range to `to` now; returns how many pages were not there before. Waits for kernels that may write it.
pub fn migrate(ptr: *const u8, len: usize, to: i32) -> Result<usize> {
    counted((|| {
        let devices = runtime::devices("hmm_migrate")?;
        let span = span::find(HostAddr::from(ptr), len, "ptr")?;
        let to = location(to, devices.count())?;
        ahead::withdraw(span.range);
        match to {
            Some(device) => moves::to_device(span, device, Patience::Wait, Why::Migrate, "ptr"),
            None => moves::to_host(span.range, true, Patience::Wait, Why::Migrate, "ptr"),
        }
    })())
}

/// Makes a range usable by the CPU and by the kernel's own accesses (a read(2) into it) now, in the given way.
pub fn host_ready(ptr: *const u8, len: usize, mode: AccessMode) -> Result<()> {
    counted((|| {
        runtime::ensure_started("hmm_host_ready")?;
        let span = span::find(HostAddr::from(ptr), len, "ptr")?;
        ahead::withdraw(span.range);
        moves::to_host(span.range, mode.writes(), Patience::Wait, Why::HostReady, "ptr").map(|_| ())
    })())
}

/// Brings a range home, writable, and keeps it there until [`unpin`] of the same range.
pub fn pin(ptr: *const u8, len: usize) -> Result<()> {
    counted((|| {
        runtime::ensure_started("hmm_pin")?;
        pins::pin(span::find(HostAddr::from(ptr), len, "ptr")?.range)
    })())
}

/// Undoes one [`pin`] of exactly this range.
pub fn unpin(ptr: *const u8, len: usize) -> Result<()> {
    counted((|| {
        runtime::check_process("hmm_unpin")?; // what was pinned outlives a shutdown
        match ByteRange::new(HostAddr::from(ptr).0, len).map(pins::unpin) {
            Some(Ok(())) => Ok(()), // part of it may be managed no longer
            _ => pins::unpin(span::find(HostAddr::from(ptr), len, "ptr")?.range),
        }
    })())
}

/// Gives up the contents of the whole pages in a range: they read as zeros; nothing is copied.
///
/// # Safety
/// Nobody relies on the bytes.
pub unsafe fn discard(ptr: *mut u8, len: usize) -> Result<()> {
    counted((|| {
        runtime::ensure_started("hmm_discard")?;
        moves::discard(span::find(HostAddr::from(ptr.cast_const()), len, "addr")?.range)
    })())
}

/// Says how a range will be used.
pub fn advise(ptr: *const u8, len: usize, what: Advice, to: i32) -> Result<()> {
    let devices = runtime::devices_quietly("hmm_advise")?;
    let span = span::find(HostAddr::from(ptr), len, "ptr")?;
    let (clear, set) = match what {
        Advice::ReadMostly => (0, advice::READ_MOSTLY),
        Advice::UnsetReadMostly => (advice::READ_MOSTLY, 0),
        Advice::PreferredLocation => {
            let prefer = match location(to, devices.count())? {
                None => advice::PREFER_HOST,
                Some(d) => advised::preferred(d),
            };
            (advice::PREFERENCE, prefer)
        }
        Advice::UnsetPreferredLocation => {
            location(to, devices.count())?;
            (advice::PREFERENCE, 0)
        }
        Advice::AccessedBy | Advice::UnsetAccessedBy => {
            let who = location(to, devices.count())?.map_or(advice::ACCESSED_BY_HOST, advised::accessed_by);
            if what == Advice::AccessedBy { (0, who) } else { (who, 0) }
        }
        Advice::Sequential => (advice::RANDOM, advice::SEQUENTIAL),
        Advice::Random => (advice::SEQUENTIAL, advice::RANDOM),
        Advice::UnsetPattern => (advice::RANDOM | advice::SEQUENTIAL, 0),
    };
    for (at, _) in span.range.chunks() {
        let bits = &table::known(at).advice;
        let _ = bits.try_update(SeqCst, SeqCst, |b| Some(b & !clear | set));
    }
    trace::record(|| {
        let (addr, len) = trace::place(span.range);
        What::Advice { addr, len, device: u16::try_from(to).ok(), advice: what as u32 }
    });
    debug_assert!(span.range.len() == 0 || span.range.chunks().all(|(at, _)| at.0.is_multiple_of(CHUNK)));
    Ok(())
}
