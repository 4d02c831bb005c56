//! When a recording's streams got where, and so how long kernels ran: without the time for which they stood behind others of
//! their stream. Asked by `record` alone.

use hmmrt::trace::{Event, What};
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Streams(BTreeMap<u16, Stream>);

#[derive(Default)]
struct Stream {
    /// Tickets and when they were reached, ascending.
    reached: Vec<(u64, u64)>,
    /// The end of the last kernel that was asked for.
    busy: u64,
}

impl Streams {
    /// All of them first: a short kernel's end may be recorded before its release is.
    pub(super) fn of(events: &[Event]) -> Streams {
        let mut streams = Streams::default();
        for event in events {
            if let What::Reached { stream, ticket } = event.what {
                let reached = &mut streams.0.entry(stream).or_default().reached;
                if reached.last().is_none_or(|(last, _)| *last < ticket) {
                    reached.push((ticket, event.time));
                }
            }
        }
        streams
    }

    /// How long the stream worked on what was launched at `launched` and released with `ticket`; 0 if the end is not recorded. Of
    /// several that were found to be over at once the first has it all.
    pub(super) fn ran(&mut self, stream: u16, ticket: u64, launched: u64) -> u64 {
        let Some(stream) = self.0.get_mut(&stream) else { return 0 };
        let i = stream.reached.partition_point(|(t, _)| *t < ticket);
        let Some(&(_, end)) = stream.reached.get(i) else { return 0 };
        let before = i.checked_sub(1).map_or(0, |i| stream.reached[i].1);
        let begun = launched.max(before).max(stream.busy);
        stream.busy = stream.busy.max(end);
        end.saturating_sub(begun)
    }
}
