//! `chunk`: all of the chunk that is like the touched page, but for advice that says that touches come here and there. What
//! there was before there was a choice.

use super::{Bring, History, Order, PageMask, Policy, Regular, Touch};

/// See the head of the file.
pub struct WholeChunk;

impl Policy for WholeChunk {
    fn name(&self) -> &'static str {
        "chunk"
    }
    fn bring(&self, touch: &Touch, _: &mut History, _: &mut Regular) -> Bring {
        match touch.order {
            Order::Random => Bring::only(PageMask::span(touch.page, 1)),
            _ => Bring::only(touch.alike),
        }
    }
}
