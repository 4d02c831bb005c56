//! What launches are followed by: the next launch, what the CPU writes between the two, and what it reads of their results,
//! whenever it does; and what of its sources the CPU writes again, which is taken from the device ahead and goes back behind the
//! writer. A launch is known by its kernel and its ranges (`key`). Each time it comes, what followed last time is the
//! prediction (`expect`). Fixed memory; signal-safe. Positions are page numbers through the address space.

use super::expect::Expect;
use super::recency::place;

/// Pages in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub start: u64,
    /// How many.
    pub pages: u32,
    /// CPU: it wrote them. Device: it writes them.
    pub write: bool,
    /// CPU: they had to come home. Device: it reads them.
    pub read: bool,
}

impl Range {
    /// The page after the last.
    pub(super) fn end(&self) -> u64 {
        self.start + u64::from(self.pages)
    }
    /// Whether the same is done with both.
    pub(super) fn is_like(&self, other: &Range) -> bool {
        (self.write, self.read) == (other.write, other.read)
    }
    /// Whether the two share a page.
    pub fn meets(&self, start: u64, end: u64) -> bool {
        self.start < end && start < self.end()
    }
}

/// How many ranges a launch is known by.
const USES: usize = 12;
/// How many ranges of touches are remembered for a launch.
const TOUCHES: usize = 48;
/// How many of the CPU's writes to its sources.
const TAKES: usize = 8;
/// How many of its writes between two launches.
const WRITES: usize = 24;
/// So often a launch has to come before anything is predicted: by then the fault path has learnt what is touched. What was touched
/// from page to page within a chunk is predicted after the first time.
const LEARNT: u32 = 2;
/// The same of launches whose sources are rewritten twice, or came late: so often until it is tried again.
const RETRY: u32 = 16;
/// A launch that waits for more chunks than the last two that a writer left: they were sent too late.
const LATE: u32 = 2;

#[derive(Clone, Copy)]
struct Site {
    key: u64,
    next: u64,
    seen: u32,
    uses: Few<USES>,
    /// What of its results the CPU fetches after it, and what it writes of its sources.
    home: Expect<TOUCHES>,
    take: Expect<TAKES>,
    /// Until it has come so often: every chunk that is written has to tell; nothing is sent behind the writer, who comes twice.
    dense_until: u32,
    whole_until: u32,
    /// What the CPU wrote before the next launch, likewise.
    wrote: Few<WRITES>,
    writes: Few<WRITES>,
}

impl Site {
    /// It counts for a little less beside those that come: so much earlier is what it waits for.
    fn age(&mut self) {
        let by = self.seen / 4;
        for n in [&mut self.seen, &mut self.dense_until, &mut self.whole_until] {
            *n = n.saturating_sub(by);
        }
        self.home.age(by);
        self.take.age(by);
    }
    fn is_dense(&self) -> bool {
        self.seen <= self.dense_until
    }
    /// This launch comes for the first time: what followed the last of its kind, which had other ranges of the same lengths, follows
    /// this one at the same places of its own (two buffers in turn, a ring, tiles).
    fn learn_from(&mut self, other: &Site) {
        let pairs = || self.uses.all().iter().zip(other.uses.all());
        if self.uses.len != other.uses.len || !pairs().all(|(u, o)| u.is_like(o) && u.pages == o.pages) {
            return;
        }
        let within = |r: &Range, write: bool| {
            let has = |(_, o): &(&Range, &Range)| {
                (if write { o.write } else { o.read }) && o.start <= r.start && r.end() <= o.end()
            };
            pairs().find(has).map(|(u, o)| Range { start: r.start - o.start + u.start, ..*r })
        };
        let (home, take) = (other.home.moved(|r| within(r, true)), other.take.moved(|r| within(r, false)));
        (self.seen, self.home, self.take) = (other.seen, home, take);
    }
    fn is_rewritten(&self) -> bool {
        self.seen < self.whole_until || self.take.was_again()
    }
}

/// A few ranges.
#[derive(Clone, Copy)]
struct Few<const N: usize> {
    len: usize,
    of: [Range; N],
}

impl<const N: usize> Few<N> {
    const NONE: Few<N> = Few { len: 0, of: [Range { start: 0, pages: 0, write: false, read: false }; N] };

    fn all(&self) -> &[Range] {
        &self.of[..self.len]
    }
    fn add(&mut self, r: Range) {
        if self.len < N {
            self.of[self.len] = r;
            self.len += 1;
        }
    }
    fn push(&mut self, r: Range) {
        // What goes on where another ends is one with it.
        let like = |o: &&mut Range| o.is_like(&r);
        if let Some(o) = self.of[..self.len]
            .iter_mut()
            .filter(like)
            .find(|o| o.end() == r.start || o.start <= r.start && r.end() <= o.end())
        {
            o.pages = (r.end().max(o.end()) - o.start) as u32;
        } else {
            self.add(r);
        }
    }
}

const SETS: usize = 64;
const WAYS: usize = 4;
const UNKNOWN: Site = Site {
    key: 0,
    next: 0,
    seen: 0,
    uses: Few::NONE,
    home: Expect::NONE,
    take: Expect::NONE,
    dense_until: 0,
    whole_until: 0,
    wrote: Few::NONE,
    writes: Few::NONE,
};
/// So many launches back a result's maker is looked for.
const RECENT: usize = 16;

/// The table.
pub struct Launches {
    sites: [[Site; WAYS]; SETS],
    /// The keys of the last launches, the last first.
    recent: [u64; RECENT],
    /// For how many chunks the launch that comes had to wait.
    late: u32,
}

impl Default for Launches {
    fn default() -> Self {
        Launches::new()
    }
}

impl Launches {
    /// An empty one.
    pub const fn new() -> Launches {
        Launches { sites: [[UNKNOWN; WAYS]; SETS], recent: [0; RECENT], late: 0 }
    }

    /// What a launch is known by; never 0. Its upper half is the same for all launches of the kernel with ranges of the same
    /// lengths, whichever of them it writes.
    pub fn key(kernel: u64, uses: impl Iterator<Item = Range>) -> u64 {
        let mix = |h: u64, x: u64| (h ^ x).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        let new = (mix(0xcbf2_9ce4_8422_2325, kernel), 1);
        let at = |r: &Range| r.start << 2 | u64::from(r.write) << 1 | u64::from(r.read);
        let (kind, place) = uses.fold(new, |(k, p), r| (mix(k, r.pages.into()), mix(p, at(&r))));
        let fold = |h: u64| h.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (fold(kind) << 32 | fold(place)).max(1)
    }

    fn site(&self, key: u64) -> Option<&Site> {
        self.sites[place(key, SETS)].iter().find(|s| s.key == key && key != 0)
    }
    fn site_mut(&mut self, key: u64) -> Option<&mut Site> {
        self.sites[place(key, SETS)].iter_mut().find(|s| s.key == key && key != 0)
    }

    /// So many chunks that the launch which is to come next reads were not there in time: to be said before [`Launches::launched`].
    pub fn late(&mut self, chunks: u32) {
        self.late = chunks;
    }

    /// A launch has been queued. What is to come home after it is handed to `home`, with whether the CPU will write it; a range
    /// of which nothing is `read` is at home already, and to be taken from the device. What the launch after it is expected to
    /// read, and the CPU not to write in between, goes to `out`.
    pub fn launched(
        &mut self,
        key: u64,
        uses: impl Iterator<Item = Range>,
        mut home: impl FnMut(Range),
        mut out: impl FnMut(Range),
    ) {
        let late = core::mem::take(&mut self.late);
        let last = self.recent[0];
        if let Some(before) = self.site_mut(last) {
            before.next = key;
            before.wrote = before.writes;
            before.writes = Few::NONE;
        }
        let alike = if self.site(key).is_none() { self.alike(key) } else { None };
        self.recent.rotate_right(1);
        self.recent[0] = key;
        let set = &mut self.sites[place(key, SETS)];
        let site = match set.iter().position(|s| s.key == key) {
            Some(i) => &mut set[i],
            None => {
                // The one that came least often makes room, and all get a little older.
                set.iter_mut().for_each(Site::age);
                let Some(i) = (0..WAYS).min_by_key(|&i| set[i].seen) else { return };
                set[i] = Site { key, ..UNKNOWN };
                uses.for_each(|r| set[i].uses.add(r));
                if let Some(other) = &alike {
                    set[i].learn_from(other);
                }
                &mut set[i]
            }
        };
        let is_new = alike.is_some();
        let was_dense = site.is_dense();
        site.seen = site.seen.saturating_add(1);
        let seen = site.seen;
        // What nobody foresaw comes late whoever writes it: only what could go behind its writer says that he is too quick.
        if late > LATE && site.take.could_go() {
            let until = seen.saturating_add(if was_dense { 1 } else { RETRY });
            site.dense_until = site.dense_until.max(until);
        }
        if site.take.was_again() {
            site.whole_until = seen.saturating_add(RETRY);
        }
        let dense = [was_dense, site.is_dense()];
        site.home.again(seen, LEARNT, dense, &mut home);
        site.take.again(seen, LEARNT, dense, &mut home);
        if is_new && site.home.all().is_empty() && site.take.all().is_empty() {
            site.seen = 1; // it has to learn for itself
        }
        let (wrote, next) = (site.wrote, site.next);
        let Some(next) = self.site(next) else { return };
        for r in next.uses.all().iter().filter(|r| r.read) {
            let written = wrote.all().iter().any(|w| w.meets(r.start, r.end()));
            if !written && !next.take.meets(r.start, r.end()) {
                out(*r);
            }
        }
    }

    /// The CPU touched pages that were not there for it; with `read` they had to come home.
    pub fn touched(&mut self, pages: Range) {
        let last = self.recent[0];
        if pages.write
            && let Some(site) = self.site_mut(last)
        {
            site.writes.push(pages);
        }
        let (start, end) = (pages.start, pages.end());
        if pages.read {
            let maker = self.latest(|u| u.write && u.meets(start, end)).unwrap_or(last);
            if let Some(site) = self.site_mut(maker) {
                site.home.note(pages);
            }
        } else if pages.write
            && let Some(reader) = self.latest(|u| u.read && u.meets(start, end))
            && let Some(site) = self.site_mut(reader)
        {
            site.take.note(pages);
        }
    }

    /// The last launch of the same kind.
    fn alike(&self, key: u64) -> Option<Site> {
        self.recent.iter().filter(|k| **k >> 32 == key >> 32).find_map(|k| self.site(*k)).copied()
    }

    /// The last launch that has such a use.
    fn latest(&self, is: impl Fn(&Range) -> bool) -> Option<u64> {
        let of = |s: &&Site| s.uses.all().iter().any(&is);
        self.recent.iter().filter_map(|key| self.site(*key)).find(of).map(|s| s.key)
    }

    /// The CPU has come to the page `at`, writing, and takes it from the device: the pages that it has left behind since it was
    /// last seen to come along, if a launch is expected to read them. They can go.
    pub fn left_behind(&self, at: u64) -> Option<Range> {
        let site = self.site(self.latest(|u| u.read && u.meets(at, at + 1))?)?;
        if site.is_rewritten() { None } else { site.take.left_behind(at, site.is_dense()) }
    }

    /// Whether a launch is expected to read pages of `start..end` as the CPU has left them: the next one does, or one that came
    /// not long ago, and the CPU does not come back first.
    pub fn next_reads(&self, start: u64, end: u64) -> bool {
        let reads = |u: &Range| u.read && u.meets(start, end);
        let next = self.site(self.recent[0]).and_then(|s| self.site(s.next));
        let next = next.filter(|s| s.uses.all().iter().any(reads));
        let reader = next.or_else(|| self.site(self.latest(reads)?));
        reader.is_some_and(|s| !s.is_rewritten())
    }
}

#[cfg(test)]
#[path = "launches_tests.rs"]
mod tests;
