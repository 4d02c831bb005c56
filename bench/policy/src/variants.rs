//! `auto` with UVM's density tree in the place of its own rules about how much of a chunk a CPU fault brings: to see what those
//! rules are worth. All else is `auto`'s: reading ahead, what launches are followed by, who leaves a full device.

use crate::costs::Costs;
use crate::replay::{Contender, Side, ideal, replay};
use crate::trace::{PAGES, Trace};
use hmmrt::policy::{Auto, Bring, Candidate, History, Order, PageMask, Policy, Regular, Touch, Uvm};

/// Where the tree decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// In chunks of which some has come, instead of counting runs.
    Within,
    /// There, and what opens a chunk with a page opens it with a leaf of 64 KiB.
    Leaves,
    /// Always: also where `auto` knows that whole chunks are touched.
    Alone,
}

/// So few pages come at once, whoever decides.
const CHEAP: usize = 16;
/// A run of so many pages is one that goes on; and who goes on is read ahead of as if this much had been foreseen.
const LONG: usize = 64;
const SURE: u32 = 2;

static VARIANTS: [Tree; 3] = [Tree::Within, Tree::Leaves, Tree::Alone];

impl Policy for Tree {
    fn name(&self) -> &'static str {
        match self {
            Tree::Within => "within",
            Tree::Leaves => "within, leaves",
            Tree::Alone => "alone",
        }
    }

    fn bring(&self, touch: &Touch, history: &mut History, regular: &mut Regular) -> Bring {
        let known = touch.order != Order::Unknown || touch.alike.count() <= CHEAP;
        let grown = Uvm::grow(PageMask::span(touch.page, 1), touch.done) & touch.alike;
        if known {
            return Auto.bring(touch, history, regular);
        }
        if touch.done.is_empty() {
            let mut bring = Auto.bring(touch, history, regular);
            match self {
                Tree::Within => {}
                Tree::Leaves => bring.pages = bring.pages | grown,
                Tree::Alone => bring.pages = grown,
            }
            return bring;
        }
        let round = history.rounds;
        let p = if touch.fetch { &mut history.fetch } else { &mut history.take };
        p.touched(touch.chunk * PAGES + touch.page as u64, round);
        if grown == touch.alike {
            let mut runs = touch.done.runs();
            let goes_on = runs.any(|(first, count)| first + count == touch.page && count >= LONG);
            p.filled(goes_on);
            p.streak = if goes_on { p.streak.max(SURE) } else { p.streak };
            p.next = (touch.chunk + 1) * PAGES;
        }
        let mut bring = Bring::only(grown);
        if touch.fetch {
            let like = history.places.touched(touch.chunk, touch.page, touch.write);
            bring.pages = bring.pages | like & touch.alike;
            match bring.pages == touch.alike {
                true => history.places.all_of_it(),
                false => history.places.came(bring.pages, touch.write),
            }
        }
        bring
    }

    fn reached(&self, chunk: u64, history: &mut History) -> Option<(u64, u32)> {
        Auto.reached(chunk, history)
    }
    fn give_up(&self, candidate: &Candidate, now: u64) -> u64 {
        Auto.give_up(candidate, now)
    }
    fn predicts(&self) -> bool {
        true
    }
}

/// One trace's stall in nanoseconds: `auto`'s, and each variant's.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The trace's name.
    pub trace: String,
    /// Ours as it is.
    pub auto: u64,
    /// Its variants, by name.
    pub of: Vec<(&'static str, u64)>,
}

impl Variants {
    /// Runs all; `None` if a launch is larger than the device.
    pub fn new(trace: &Trace, costs: &Costs) -> Option<Variants> {
        let ideal = ideal(trace);
        let stall = |policy: &'static dyn Policy| {
            let who = Contender { name: policy.name(), policy, side: Side::Acquire };
            replay(trace, costs, who).ok().map(|o| o.total - ideal)
        };
        let of = VARIANTS.iter().map(|tree| Some((tree.name(), stall(tree)?))).collect::<Option<_>>()?;
        Some(Variants { trace: trace.name.clone(), auto: stall(&Auto)?, of })
    }
}

/// The table in Markdown's form, a line a shape: `auto`'s stall in the middle, and for each variant the least, the middle and the worst ratio
/// to it. `rows` come shape by shape.
pub fn table(rows: &[Variants]) -> String {
    let mut text = String::from("| trace | auto, ms |");
    VARIANTS.iter().for_each(|tree| text += &format!(" {} |", tree.name()));
    text += "\n|---|---|---|---|---|\n";
    for of in rows.chunk_by(|a, b| a.trace == b.trace) {
        let spread = |by: &dyn Fn(&Variants) -> f64| {
            let mut all: Vec<f64> = of.iter().map(by).collect();
            all.sort_by(f64::total_cmp);
            [all[0], all[all.len() / 2], all[all.len() - 1]]
        };
        let [_, auto, _] = spread(&|v| v.auto as f64 / 1e6);
        text += &format!("| {} | {auto:.1} |", of[0].trace);
        for i in 0..VARIANTS.len() {
            let [least, middle, worst] = spread(&|v| v.of[i].1 as f64 / v.auto.max(1) as f64);
            text += &format!(" {least:.2} {middle:.2} {worst:.2} |");
        }
        text.push('\n');
    }
    text
}
