//! The program's own time in a recording: what its threads did between what the runtime did for them. Where several computed
//! at once it counts once. Waits that are not recorded (`hmm_stream_synchronize`) are taken for it. Asked by `record` alone.

use hmmrt::trace::{Event, What};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Own {
    threads: BTreeMap<u32, Thread>,
    /// What lies before has been counted.
    counted: u64,
}

struct Thread {
    /// It has computed since then, but for these waits: their ends, and how long they took.
    since: u64,
    waits: Vec<(u64, u64)>,
}

impl Own {
    /// Takes note of an event, whatever it is: a thread is known from its first one on.
    pub(super) fn sees(&mut self, event: &Event) {
        let new = || Thread { since: event.time, waits: Vec::new() };
        let thread = self.threads.entry(event.thread).or_insert_with(new);
        if let What::Wait { took, .. } = event.what {
            thread.waits.push((event.time, took));
        }
    }

    /// How long a thread has computed up to `at`, when it asked for something that it had at `next`. A fault's moves and waits are
    /// recorded before it is, and end behind `at`.
    pub(super) fn until(&mut self, thread: u32, at: u64, next: u64) -> u64 {
        let Some(thread) = self.threads.get_mut(&thread) else { return 0 };
        let from = thread.since.max(self.counted);
        let before = thread.waits.drain(..).filter(|(end, _)| *end <= at);
        let waited: u64 = before.map(|(end, took)| end.saturating_sub(from).min(took)).sum();
        thread.since = next;
        self.counted = self.counted.max(at);
        at.saturating_sub(from).saturating_sub(waited)
    }
}
