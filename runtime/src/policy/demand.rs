//! `demand`: each page when it is touched, and no other. The least bytes and the most faults; its traces have every touch.

use super::{Bring, History, PageMask, Policy, Regular, Touch};

/// See the head of the file.
pub struct Demand;

impl Policy for Demand {
    fn name(&self) -> &'static str {
        "demand"
    }
    fn bring(&self, touch: &Touch, _: &mut History, _: &mut Regular) -> Bring {
        Bring::only(PageMask::span(touch.page, 1))
    }
}
