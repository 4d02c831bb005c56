//! What launches are followed by: the next launch, what the CPU writes between the two, and what it reads of their results,
//! whenever it does. A launch is known by its kernel and its ranges (`key`). Each time it comes, what followed last time is the
//! prediction. What was brought home early faults no more, so a part of each prediction is left out in turn: what is not
//! touched then is forgotten. Fixed memory; signal-safe. Positions are page numbers through the address space.

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
    fn end(&self) -> u64 {
        self.start + u64::from(self.pages)
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
/// One in so many predicted ranges is left out.
const LEAVE_OUT: u32 = 16;
/// So often a launch has to come before anything is predicted: by then the fault path has learnt what is touched.
const LEARNT: u32 = 2;

#[derive(Clone, Copy)]
struct Site {
    key: u64,
    next: u64,
    seen: u32,
    uses: Few<USES>,
    /// What of its results the CPU fetched the last time, and since it came last.
    then: Few<TOUCHES>,
    now: Few<TOUCHES>,
    /// What the CPU wrote before the next launch, likewise.
    wrote: Few<TOUCHES>,
    writes: Few<TOUCHES>,
}

impl Site {
    /// The launch comes again and again, and nothing in between: there is nothing to learn, and all that it reads is there.
    fn comes_again(&mut self) -> bool {
        let alone =
            self.next == self.key && [self.then.len, self.now.len, self.wrote.len, self.writes.len] == [0; 4];
        self.seen = self.seen.saturating_add(u32::from(alone));
        alone
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
    fn forget(&mut self, r: Range) {
        let mut i = 0;
        while i < self.len {
            if self.of[i].meets(r.start, r.end()) {
                self.len -= 1;
                self.of[i] = self.of[self.len];
            } else {
                i += 1;
            }
        }
    }
    fn push(&mut self, r: Range) {
        // What goes on where another ends is one with it.
        let like = |o: &&mut Range| (o.write, o.read) == (r.write, r.read);
        if let Some(o) = self.of[..self.len]
            .iter_mut()
            .filter(like)
            .find(|o| o.end() == r.start || o.start <= r.start && r.end() <= o.end())
        {
            o.pages = (r.end().max(o.end()) - o.start) as u32;
        } else if self.len < N {
            self.of[self.len] = r;
            self.len += 1;
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
    then: Few::NONE,
    now: Few::NONE,
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
}

impl Default for Launches {
    fn default() -> Self {
        Launches::new()
    }
}

impl Launches {
    /// An empty one.
    pub const fn new() -> Launches {
        Launches { sites: [[UNKNOWN; WAYS]; SETS], recent: [0; RECENT] }
    }

    /// What a launch is known by; never 0.
    pub fn key(kernel: u64, uses: impl Iterator<Item = Range>) -> u64 {
        let mix = |h: u64, x: u64| (h ^ x).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        uses.fold(mix(0xcbf2_9ce4_8422_2325, kernel), |h, r| mix(mix(h, r.start), u64::from(r.pages))).max(1)
    }

    fn site(&self, key: u64) -> Option<&Site> {
        self.sites[place(key, SETS)].iter().find(|s| s.key == key && key != 0)
    }
    fn site_mut(&mut self, key: u64) -> Option<&mut Site> {
        self.sites[place(key, SETS)].iter_mut().find(|s| s.key == key && key != 0)
    }

    /// A launch has been queued. What is to come home after it is handed to `home`, with whether the CPU will write it; what
    /// the launch after it is expected to read, and the CPU not to write in between, to `out`.
    pub fn launched(
        &mut self,
        key: u64,
        uses: impl Iterator<Item = Range>,
        mut home: impl FnMut(Range),
        mut out: impl FnMut(Range),
    ) {
        let last = self.recent[0];
        if last == key && self.site_mut(key).is_some_and(Site::comes_again) {
            return;
        }
        if let Some(before) = self.site_mut(last) {
            before.next = key;
            before.wrote = before.writes;
            before.writes = Few::NONE;
        }
        self.recent.rotate_right(1);
        self.recent[0] = key;
        let set = &mut self.sites[place(key, SETS)];
        let site = match set.iter().position(|s| s.key == key) {
            Some(i) => &mut set[i],
            None => {
                // The one that came least often makes room, and all get a little older.
                set.iter_mut().for_each(|s| s.seen -= s.seen / 4);
                let Some(i) = (0..WAYS).min_by_key(|&i| set[i].seen) else { return };
                set[i] = Site { key, ..UNKNOWN };
                uses.for_each(|r| set[i].uses.push(r));
                &mut set[i]
            }
        };
        site.seen = site.seen.saturating_add(1);
        site.then = site.now;
        site.now = Few::NONE;
        let (seen, then, wrote, next) = (site.seen, site.then, site.wrote, site.next);
        for (i, r) in then.all().iter().enumerate() {
            if seen > LEARNT && (seen.wrapping_add(i as u32)) % LEAVE_OUT != 0 {
                site.now.push(*r);
                home(*r);
            }
        }
        let Some(next) = self.site(next) else { return };
        for r in next.uses.all().iter().filter(|r| r.read) {
            if !wrote.all().iter().any(|w| w.meets(r.start, r.end())) {
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
        if pages.read {
            let made = |s: &&Site| s.uses.all().iter().any(|u| u.write && u.meets(pages.start, pages.end()));
            let maker =
                self.recent.iter().filter_map(|key| self.site(*key)).find(made).map_or(last, |s| s.key);
            if let Some(site) = self.site_mut(maker) {
                site.now.push(pages);
            }
        }
    }

    /// Pages that had come home early went back untouched: they are not what any launch is followed by.
    pub fn in_vain(&mut self, pages: Range) {
        for site in self.sites.iter_mut().flatten().filter(|s| s.key != 0) {
            site.now.forget(pages);
        }
    }

    /// Whether the launch that is expected next reads pages of `start..end`.
    pub fn next_reads(&self, start: u64, end: u64) -> bool {
        let next = self.site(self.recent[0]).and_then(|s| self.site(s.next));
        next.is_some_and(|s| s.uses.all().iter().any(|r| r.read && r.meets(start, end)))
    }
}

#[cfg(test)]
#[path = "launches_tests.rs"]
mod tests;
