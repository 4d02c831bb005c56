//! `auto`: no page that is not needed, no fault that could be spared. A page costs little and a fault much, so
//! up to 64 KiB come along at once; a chunk comes as a whole where chunks are touched in many pages, which each allocation
//! learns by opening some of them with one page; who reads on is read ahead of, with twice as many chunks each time; strides
//! are followed (Leap's vote). Devices give up what is needed again last, as far as the past tells.

use super::{Bring, Candidate, History, Order, PageMask, Pattern, Policy, Regular, Touch};

/// Pages of a chunk.
const PAGES: u64 = 512;
/// Copying so many pages costs less than the next fault.
const CHEAP: usize = 16;
/// So many places by faults of their own have cost as much as the rest of a chunk would (some 20 us each, 105 us for 2 MiB).
const FULL_ENOUGH: usize = 5;
/// The same in the round in which touches come back, in a few chunks: which places they are is worth knowing, and can be
/// remembered. From then on each of them is brought before it is touched, for a third of what a fault costs.
const WORTH_KNOWING: usize = 12;
/// The same of places that are taken without a copy (5 us each, and 4 for a piece that has to be protected by itself again; 84 us
/// for the copy of a chunk). Half as many where others have had so many.
const TAKEN_ENOUGH: usize = 10;
/// A run that goes on goes on for so many pages: copying them costs less than the next fault and its wait.
const RUN: usize = 64;
/// A run of so many pages, and the rest of the chunk is expected to be part of it.
const LONG: usize = 64;
/// Who has read on page by page is read ahead of as if that many chunks had been foreseen.
const SURE: u32 = 2;
/// The most chunks to read ahead: the spare pool's default size.
const MOST_AHEAD: u32 = 32;

/// See the head of the file.
pub struct Auto;

impl Policy for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn bring(&self, touch: &Touch, history: &mut History, regular: &mut Regular) -> Bring {
        let one = PageMask::span(touch.page, 1);
        let round = history.rounds;
        let p = if touch.fetch { &mut history.fetch } else { &mut history.take };
        let expected = p.touched(touch.chunk * PAGES + touch.page as u64, round);
        if touch.order == Order::Random {
            return Bring::only(one);
        }
        if touch.order == Order::Sequential {
            return whole(touch, p, true);
        }
        if touch.alike.count() <= if touch.fetch { CHEAP } else { RUN } {
            let mut bring = Bring::only(touch.alike);
            bring.behind = !touch.fetch && expected && p.streak > 1;
            p.next = (touch.chunk + 1) * PAGES;
            return bring;
        }
        let may_learn = [p.returns > 0 && p.streak < SURE, p.is_filled()];
        if touch.whole
            && let Some((pages, learn)) = regular.touched(touch, &mut p.habit, round, may_learn)
        {
            (p.next, p.streak) = (0, 0); // it is no reader who goes on
            return Bring { learn, ..Bring::only(pages & touch.alike | one) };
        }
        let like = match touch.fetch {
            true => history.places.touched(touch.chunk, touch.page, touch.write),
            false => PageMask::EMPTY,
        };
        let mut bring = opening(touch, p, regular, round, expected);
        bring.pages = bring.pages | like & touch.alike;
        if touch.fetch {
            match bring.pages == touch.alike {
                true => history.places.all_of_it(),
                false => history.places.came(bring.pages, touch.write),
            }
        }
        bring
    }

    fn reached(&self, chunk: u64, history: &mut History) -> Option<(u64, u32)> {
        let p = &mut history.fetch;
        let end = p.next / PAGES;
        let left = u32::try_from(end.checked_sub(chunk + 1)?).ok()?;
        // Half of what there was ahead is behind the reader: so that it need not wait at the end of it.
        if left > p.most_ahead(MOST_AHEAD) / 2 {
            return None;
        }
        p.streak = p.streak.saturating_add(1);
        let more = p.most_ahead(MOST_AHEAD) - left;
        p.next = (end + u64::from(more)) * PAGES;
        (more > 0).then_some((end, more))
    }

    fn give_up(&self, candidate: &Candidate, now: u64) -> u64 {
        if candidate.empty {
            return u64::MAX;
        }
        // What is clean costs half.
        candidate.used.distance(now) * if candidate.clean { 2 } else { 1 }
    }

    fn predicts(&self) -> bool {
        true
    }
}

/// What a touch brings where nothing was said and there is more than a little.
fn opening(touch: &Touch, p: &mut Pattern, regular: &mut Regular, round: u32, expected: bool) -> Bring {
    if !touch.done.is_empty() {
        return within(touch, p, regular, round);
    }
    // Nothing is known of the first chunk: a few faults for it, and it is of all of them.
    if p.is_dense() != Some(true) || p.is_time_to_look() {
        p.opened();
        return Bring { behind: !touch.fetch && expected, ..strided(touch, p, expected) };
    }
    whole(touch, p, expected)
}

/// All of the chunk, and more of them if the touches go on from chunk to chunk.
fn whole(touch: &Touch, p: &mut Pattern, expected: bool) -> Bring {
    let ahead = match expected || touch.order == Order::Sequential {
        true if touch.fetch => p.most_ahead(MOST_AHEAD),
        _ => 0,
    };
    p.window = (touch.chunk + 1) * PAGES;
    p.next = (touch.chunk + 1 + u64::from(ahead)) * PAGES;
    Bring { ahead, behind: !touch.fetch && expected, ..Bring::only(touch.alike) }
}

/// The chunk is open: the run that the page goes on with gets longer by 64 pages; many runs or a long one, and the rest comes.
fn within(touch: &Touch, p: &mut Pattern, regular: &mut Regular, round: u32) -> Bring {
    let enough = match () {
        () if !touch.fetch && p.have_filled() => TAKEN_ENOUGH / 2,
        () if !touch.fetch => TAKEN_ENOUGH,
        () if p.returns == 1 && p.are_few() => WORTH_KNOWING,
        () => FULL_ENOUGH,
    };
    let before =
        touch.done.runs().find(|(first, count)| first + count == touch.page).map_or(0, |(_, count)| count);
    if before == 0 && touch.whole {
        regular.has_places(touch.chunk, round);
    }
    if before >= LONG || touch.done.runs().count() >= enough {
        p.filled(before >= LONG);
        if before >= LONG {
            p.streak = p.streak.max(SURE);
        }
        p.next = (touch.chunk + 1) * PAGES;
        return Bring::only(touch.alike);
    }
    let len = if before == 0 { 1 } else { (3 * before).max(RUN) };
    let len = len.min(PAGES as usize - touch.page);
    Bring::only(PageMask::span(touch.page, len) & touch.alike | PageMask::span(touch.page, 1))
}

/// One page, or those of the stride that the last touches had: twice as many each time that it holds.
fn strided(touch: &Touch, p: &mut Pattern, expected: bool) -> Bring {
    let mut pages = PageMask::span(touch.page, 1);
    let stride = p.stride().filter(|s| (2..PAGES as u32).contains(&s.unsigned_abs()));
    let Some(stride) = stride else {
        p.next = (touch.chunk + 1) * PAGES;
        p.width = 1;
        return Bring::only(pages);
    };
    p.width = if expected { (p.width * 2).min(PAGES as u32) } else { 2 };
    let mut at = touch.page as i64 + i64::from(stride);
    for _ in 1..p.width {
        if !(0..PAGES as i64).contains(&at) {
            break;
        }
        pages = pages | PageMask::span(at as usize, 1);
        at += i64::from(stride);
    }
    p.next = (touch.chunk * PAGES).wrapping_add_signed(at);
    Bring::only(pages & touch.alike | PageMask::span(touch.page, 1))
}

#[cfg(test)]
#[path = "auto_tests.rs"]
mod tests;
