//! Which bytes of a range are managed, in the order of addresses: looks without a lock. A program that changes a mapping
//! while another of its threads does so has no right to more.

use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::chunk::{Chunk, Kind};
use crate::mask::PageMask;
use crate::{arenas, table};

/// The records come in leaves for this much memory; where one is missing, nothing is managed.
const LEAF: usize = 1 << 30;

/// Consecutive parts of `range`: each within one chunk that has a record, or without any record.
fn parts(range: ByteRange) -> impl Iterator<Item = (ByteRange, Option<&'static Chunk>)> {
    let mut at = range.start;
    core::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let chunk = table::get(HostAddr(at));
        let unit = if chunk.is_some() { CHUNK } else { LEAF };
        let end = (at & !(unit - 1)).saturating_add(unit).min(range.end);
        let part = ByteRange { start: at, end };
        at = end;
        Some((part, chunk))
    })
}

/// Whether any page of `range` is managed. Signal-safe.
pub(crate) fn any_managed(range: ByteRange) -> bool {
    parts(range).any(|(part, chunk)| {
        chunk.is_some_and(|c| c.kind() != Kind::Unused && c.managed.get().meets(PageMask::of(part)))
    })
}

/// What a part of a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Address space of the heap.
    Heap,
    /// Everything else, adopted or not.
    Program,
}

/// The parts of `range` by owner, each as long as can be.
pub(super) fn by_owner(range: ByteRange) -> impl Iterator<Item = (ByteRange, Owner)> {
    let owner = |part: ByteRange, chunk: Option<&'static Chunk>| match chunk.map(Chunk::kind) {
        Some(Kind::Slab | Kind::Large) => Owner::Heap,
        _ if arenas::is_in_arena(HostAddr(part.start)) => Owner::Heap,
        _ => Owner::Program,
    };
    let mut rest = parts(range).map(move |(part, chunk)| (part, owner(part, chunk))).peekable();
    core::iter::from_fn(move || {
        let (mut part, owner) = rest.next()?;
        while let Some((more, _)) = rest.next_if(|(_, o)| *o == owner) {
            part.end = more.end;
        }
        Some((part, owner))
    })
}

/// The managed runs of `range`, each as long as can be.
pub(super) fn managed(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    let runs = parts(range).flat_map(|(part, chunk)| {
        let pages = chunk.map_or(PageMask::EMPTY, |c| c.managed.get() & PageMask::of(part));
        let at = HostAddr(part.start).chunk_start();
        pages.runs().map(move |(first, count)| at.add(first * PAGE).range(count * PAGE))
    });
    let mut runs = runs.peekable();
    core::iter::from_fn(move || {
        let mut run = runs.next()?;
        while let Some(more) = runs.next_if(|m| m.start == run.end) {
            run.end = more.end;
        }
        Some(run)
    })
}

/// What there is to do with a part of a range.
pub(super) enum Step {
    /// No page of it has a record that says it is managed.
    Plain(ByteRange),
    /// Part of one chunk, some page of which is managed.
    Chunk(HostAddr, &'static Chunk, ByteRange),
}

/// The steps for following a call over `range`.
pub(super) fn steps(range: ByteRange) -> impl Iterator<Item = Step> {
    let is_plain = |part: ByteRange, chunk: Option<&'static Chunk>| {
        chunk.is_none_or(|c| !c.managed.get().meets(PageMask::of(part)))
    };
    let mut rest = parts(range).peekable();
    core::iter::from_fn(move || {
        let (mut part, chunk) = rest.next()?;
        if let Some(chunk) = chunk.filter(|_| !is_plain(part, chunk)) {
            return Some(Step::Chunk(HostAddr(part.start).chunk_start(), chunk, part));
        }
        while let Some((more, _)) = rest.next_if(|(p, c)| is_plain(*p, *c)) {
            part.end = more.end;
        }
        Some(Step::Plain(part))
    })
}
