//! Prefetch: moves that return at once and take their place in a stream. The stream's thread does the work when the
//! stream gets there, with the crew's help. API context and the streams' threads.

use crate::ahead;
use crate::device::Devices;
use crate::error::{Error, Result};
use crate::log::log;
use crate::moves::{self, Patience};
use crate::span::Span;
use crate::stats::STATS;
use crate::stream::Stream;
use crate::trace::{self, What, Why};

/// Where a prefetch goes.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Home.
    Host,
    /// Device number.
    Device(usize),
}

/// Queues the move of `span` on `stream`.
pub(crate) fn prefetch(devices: &Devices, span: Span, target: Target, stream: Stream) -> Result<()> {
    // Before it can happen.
    trace::record(|| {
        let (addr, len) = trace::place(span.range);
        let device = match target {
            Target::Host => None,
            Target::Device(d) => Some(d as u16),
        };
        What::Prefetch { addr, len, device, stream: stream.number }
    });
    devices.at(stream.device).callback(stream.native(), Box::new(move || run(span, target)))?;
    STATS.prefetches.add(1);
    Ok(())
}

fn run(span: Span, target: Target) {
    ahead::withdraw(span.range);
    let done = match target {
        Target::Host => moves::to_host(span.range, true, Patience::Skip, Why::Prefetch, "ptr"),
        Target::Device(d) => moves::to_device(span, d, Patience::Skip, Why::Prefetch, "ptr"),
    };
    if let Err(e) = done {
        // Only a hint: the pages stay where they are, and whoever needs them moves them or gets the error.
        if !matches!(e, Error::NotManaged { .. } | Error::Shutdown { .. }) {
            STATS.errors.add(1);
            log!(Warn, "prefetch: {e}");
        }
    }
}
