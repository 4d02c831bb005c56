//! Why the CPU stood still: each wait of a replay by its reason, apart for what came for the first times and what had come before.

/// What the CPU waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Being answered when bytes have to come home, without the copy.
    ReadFault,
    /// The copy that such a fault asks for.
    CopyHome,
    /// A copy home that was begun earlier.
    InFlight,
    /// Being answered when pages are taken from the device.
    WriteFault,
    /// Being answered at a chunk that came early, whose touch is to be seen.
    Opening,
    /// A launch's protections.
    Protect,
    /// Copies to the device that a launch needs, early ones too.
    CopyOut,
    /// Room on the device.
    Room,
    /// Kernels. Some of it is the program's own.
    Kernel,
}

/// All, and their names in tables.
pub const REASONS: [(Reason, &str); 9] = [
    (Reason::ReadFault, "read faults"),
    (Reason::CopyHome, "copies home"),
    (Reason::InFlight, "in flight"),
    (Reason::WriteFault, "write faults"),
    (Reason::Opening, "openings"),
    (Reason::Protect, "protections"),
    (Reason::CopyOut, "copies out"),
    (Reason::Room, "room"),
    (Reason::Kernel, "kernels"),
];

/// Nanoseconds and times, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    ns: [u64; REASONS.len()],
    times: [u64; REASONS.len()],
}

impl Waits {
    /// Adds a wait.
    pub fn add(&mut self, reason: Reason, ns: u64) {
        self.ns[reason as usize] += ns;
        self.times[reason as usize] += u64::from(ns > 0);
    }
    /// How long, and how often.
    pub fn of(&self, reason: Reason) -> (u64, u64) {
        (self.ns[reason as usize], self.times[reason as usize])
    }
    /// How long for all but kernels.
    pub fn moves(&self) -> u64 {
        self.ns.iter().sum::<u64>() - self.ns[Reason::Kernel as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_kept_apart() {
        let mut w = Waits::default();
        REASONS.iter().enumerate().for_each(|(i, (reason, _))| w.add(*reason, 1 << i));
        w.add(Reason::Room, 0);
        for (i, (reason, _)) in REASONS.iter().enumerate() {
            assert_eq!(w.of(*reason), (1 << i, 1));
        }
        assert_eq!(w.moves(), (1 << 8) - 1);
    }
}
