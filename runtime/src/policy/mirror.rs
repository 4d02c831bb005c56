//! `mirror`: whole allocations, as UTPX ("Unified Transparent Programming for GPUs", mirrored allocations) moves them. To compare
//! with, in the lab only: `HMMRT_POLICY` has no such policy.

use super::{Bring, History, Policy, Regular, Touch};

/// See the head of the file.
pub struct Mirror;

impl Policy for Mirror {
    fn name(&self) -> &'static str {
        "mirror"
    }
    fn bring(&self, touch: &Touch, _: &mut History, _: &mut Regular) -> Bring {
        Bring { everything: true, ..Bring::only(touch.alike) }
    }
}
