//! From chunk records to the policy's plain values. Asked by the fault path with the chunk's lock held: signal-safe.

use super::histories::Histories;
use super::{ALL, Bring, History, Learn, Order, Policy, Regulars, Touch, advised};
use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE, PAGES};
use crate::ahead;
use crate::chunk::{Chunk, Guard, Kind};
use crate::mask::PageMask;
use crate::sys::futex::Locked;
use crate::table;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::*};

/// Advice bits of a chunk.
pub(crate) mod advice {
    /// The device gets copies; the host's stay valid.
    pub(crate) const READ_MOSTLY: u32 = 1;
    /// The CPU reads it in order.
    pub(crate) const SEQUENTIAL: u32 = 2;
    /// The CPU touches it here and there: bring single pages home.
    pub(crate) const RANDOM: u32 = 4;
    /// The host is where it should be.
    pub(crate) const PREFER_HOST: u32 = 8;
    /// Some device is where it should be; its number is in the bits from `DEVICE_SHIFT`.
    pub(crate) const PREFER_DEVICE: u32 = 16;
    /// The CPU will access it, wherever it is.
    pub(crate) const ACCESSED_BY_HOST: u32 = 32;
    /// Where the preferred device's number starts.
    pub(crate) const DEVICE_SHIFT: u32 = 8;
    /// All bits that a preferred location is made of.
    pub(crate) const PREFERENCE: u32 = PREFER_HOST | PREFER_DEVICE | 0xff << DEVICE_SHIFT;
    /// Where the bits of the devices that will access it start.
    pub(crate) const ACCESSED_SHIFT: u32 = 16;
    /// Any of these.
    pub(crate) const ACCESSED: u32 = 0xff << ACCESSED_SHIFT;
}

/// The number of the chosen policy: at first `chunk`.
static CHOSEN: AtomicUsize = AtomicUsize::new(2);

/// Chooses a policy by its name, one of [`ALL`].
pub(crate) fn choose(name: &str) {
    if let Some(number) = ALL.iter().position(|p| p.name() == name) {
        CHOSEN.store(number, Relaxed);
    }
}

/// The chosen policy. Signal-safe.
pub(crate) fn the() -> &'static dyn Policy {
    ALL[CHOSEN.load(Relaxed)]
}

/// The pages of the chunk that belong to the same block as `page`: moving one block never moves another. Of adopted memory
/// those with no gap in between, which are one range, or ranges side by side.
pub(crate) fn same_block(chunk: &Chunk, page: usize) -> PageMask {
    let managed = chunk.managed.get();
    match (chunk.kind(), chunk.unit.load(Relaxed) as usize) {
        (Kind::Slab, unit) if unit > 0 => PageMask::span(page / unit * unit, unit) & managed,
        (Kind::Adopted, _) if !managed.is_full() => {
            let run = managed.runs().find(|(first, count)| (*first..first + count).contains(&page));
            run.map_or(managed, |(first, count)| PageMask::span(first, count))
        }
        _ => managed,
    }
}

/// The address by which the allocation is known that `page` of the chunk at `at` belongs to: where its block or adopted range
/// begins, as far as that is seen from here. Signal-safe.
pub(crate) fn allocation_of(chunk: &Chunk, at: HostAddr, page: usize) -> u64 {
    match (chunk.kind(), chunk.block()) {
        (Kind::Large, _) => chunk.head.load(Relaxed) as u64,
        (Kind::Adopted, Some(block)) => block.range().start as u64,
        (kind, _) => start_of_part(chunk, at, page, kind == Kind::Adopted),
    }
}

/// The same of a block in a slab, or of a part of a chunk at an edge of an adopted range, which may go on from the chunk before.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn start_of_part(chunk: &Chunk, at: HostAddr, page: usize, adopted: bool) -> u64 {
    let start = |chunk, at: HostAddr, page| at.add(same_block(chunk, page).first().unwrap_or(0) * PAGE);
    let here = start(chunk, at, page);
    let goes_on = adopted && here == at && chunk.unit.load(Relaxed) != 0;
    let before = HostAddr(at.0.saturating_sub(CHUNK));
    let is_its = |c: &&Chunk| goes_on && c.kind() == Kind::Adopted && c.managed.has(PAGES - 1);
    let start = match table::get(before).filter(is_its) {
        Some(c) => c.block().map_or_else(|| start(c, before, PAGES - 1).0, |b| b.range().start),
        None => here.0,
    };
    start as u64
}

/// The address by which the allocation is known that the chunk at `at` begins with. Signal-safe.
pub(crate) fn allocation(chunk: &Chunk, at: HostAddr) -> u64 {
    allocation_of(chunk, at, chunk.managed.get().first().unwrap_or(0))
}

/// How many runs of pages that come with one touch are learnt as what a launch is followed by.
const MOST_LEARNT: usize = 12;

/// Holders touch no managed memory and have signals blocked, or are the signal handler.
static PAST: Locked<Past> = Locked::new(Past { histories: Histories::new(), regulars: Regulars::new() });

/// What the policy remembers of the CPU's touches.
struct Past {
    histories: Histories,
    regulars: Regulars,
}

fn with_history<T>(key: u64, f: impl FnOnce(&mut History) -> T) -> T {
    with_past(key, |history, _| f(history))
}

fn with_past<T>(key: u64, f: impl FnOnce(&mut History, &mut Regulars) -> T) -> T {
    let mut past = PAST.lock();
    let Past { histories, regulars } = &mut *past;
    f(histories.of(key), regulars)
}

/// How often a device got something: the number of a launch or acquire.
static USES: AtomicU32 = AtomicU32::new(1);

/// A device gets something of these managed ranges, for one launch or acquire. Signals are blocked.
pub(crate) fn device_uses(ranges: impl Iterator<Item = ByteRange>) {
    let launch = USES.fetch_add(1, Relaxed);
    for range in ranges {
        let (mut at, mut last) = (range.start, None);
        while at < range.end {
            let (chunk, here) = (table::known(HostAddr(at)), HostAddr(at).chunk_start());
            let key = allocation_of(chunk, here, HostAddr(at).page_in_chunk());
            if last.replace(key) != Some(key) {
                PAST.lock().histories.device_uses(key, launch);
                ahead::end_of_reader(key);
            }
            // The whole chunks of a block are known by the same.
            at = chunk.block().map_or(0, |b| b.range().end & !(CHUNK - 1)).max(here.0 + CHUNK);
        }
    }
}

/// `pages` of a chunk are about to be moved before they are touched (`fetch`: they have to come): which are worth it.
pub(crate) fn moved_early(g: &Guard, pages: PageMask, fetch: bool) -> PageMask {
    if pages.is_empty() || !same_block(g.chunk, 0).is_full() {
        return pages;
    }
    let chunk = (g.at.0 / CHUNK) as u64;
    with_past(allocation(g.chunk, g.at), |h, regulars| regulars.moved_early(chunk, pages, fetch, h))
}

/// A chunk that came home early was touched, or left without having been. Signal-safe.
pub(crate) fn early_ended(g: &Guard, used: bool) {
    with_history(allocation(g.chunk, g.at), |h| h.early_ended(used));
}

/// How many of the chunks behind one that came early, and is touched, are to be opened with it. Signal-safe.
pub(crate) fn opens(g: &Guard) -> u32 {
    with_history(allocation(g.chunk, g.at), |h| h.opens((g.at.0 / CHUNK) as u64))
}

/// Pages came home ahead of a reader whose touches will not be seen: they count as touched.
pub(crate) fn came_open(g: &Guard, pages: PageMask, write: bool) {
    if the().predicts() {
        ahead::touched(g.span_of(pages), write, true);
    }
}

/// The CPU is at a chunk that was read ahead for it: how far is to be gone on. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
pub(crate) fn reached(g: &Guard, write: bool) {
    let key = allocation(g.chunk, g.at);
    let number = (g.at.0 / CHUNK) as u64;
    let more = with_history(key, |h| the().reached(number, h));
    if let Some((from, count)) = more {
        ahead::read_ahead(key, HostAddr(from as usize * CHUNK), count, write);
    }
    if the().predicts() {
        ahead::touched(g.span_of(g.chunk.managed.get()), write, true);
    }
}

/// What to do about the CPU's touch of `page`: the pages to bring home contain it. Signal-safe.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn bring(g: &Guard, page: usize, write: bool) -> Bring {
    let chunk = g.chunk;
    let block = same_block(chunk, page);
    let (here, both) = (chunk.host.get(), chunk.on_devices());
    let fetch = !here.has(page);
    // A write to a page that is valid on both sides takes others like it along: they will be written too.
    let (alike, done) =
        if fetch { (block & !here, block & here) } else { (block & here & both, block & !both) };
    let advice = chunk.advice.load(Relaxed);
    let order = match () {
        () if advice & advice::RANDOM != 0 => Order::Random,
        () if advice & advice::SEQUENTIAL != 0 => Order::Sequential,
        () => Order::Unknown,
    };
    let key = allocation_of(chunk, g.at, page);
    let one = PageMask::span(page, 1);
    if fetch && ahead::awaits(key, g.at) {
        // The reader has come before the chunk, which is no new touch.
        reached(g, write);
        let pages = if write { alike & !chunk.user_read_only.get() } else { alike };
        return Bring::only(pages | one);
    }
    let whole = block.is_full();
    let touch = Touch { chunk: (g.at.0 / CHUNK) as u64, page, write, fetch, alike, done, whole, order };
    let mut bring = with_past(key, |h, regulars| the().bring(&touch, h, regulars.of(&touch)));
    if bring.ahead > 0 {
        ahead::read_ahead(key, HostAddr(g.at.0 + CHUNK), bring.ahead, write);
    }
    bring.pages = bring.pages & alike | one;
    if write {
        bring.pages = bring.pages & !chunk.user_read_only.get() | one;
    }
    if the().predicts() {
        let touched = match bring.learn {
            Learn::Pages => bring.pages,
            Learn::Chunk => block,
            Learn::Nothing => PageMask::EMPTY,
        };
        for (first, count) in touched.runs().take(MOST_LEARNT) {
            ahead::touched(g.page(first).range(count * PAGE), write, fetch);
        }
        if !fetch {
            ahead::written_behind(key, g.at, page, bring.behind && key < g.at.0 as u64);
        }
    }
    bring
}

/// The pages to bring home when the CPU touches `page`. Contains `page`. Signal-safe.
pub(crate) fn pages_to_bring(g: &Guard, page: usize, write: bool) -> PageMask {
    let pages = bring(g, page, write).pages;
    match g.chunk.advice.load(Relaxed) {
        0 => pages,
        bits => advised_pages(g, page, write, bits, pages),
    }
}

/// The same with what was advised.
#[inline(never)] // the signal stack may be 8 KiB: no frame holds what another path needs
fn advised_pages(g: &Guard, page: usize, write: bool, bits: u32, pages: PageMask) -> PageMask {
    let chunk = g.chunk;
    let (here, block) = (chunk.host.get(), same_block(chunk, page));
    let fetch = !here.has(page);
    let alike = if fetch { block & !here } else { block & here & chunk.on_devices() };
    let alike = if write { alike & !chunk.user_read_only.get() } else { alike };
    advised::pages(bits, page, fetch, alike, pages) | PageMask::span(page, 1)
}
