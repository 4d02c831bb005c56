//! For those who stand between a program and its GPU driver: what a launch that the program makes by itself needs. API
//! context.

use super::counted;
use crate::access::{self, Access};
use crate::addr::{ByteRange, CHUNK, HostAddr, PAGE};
use crate::error::Result;
use crate::stream::{Stream, StreamId};
use crate::sys::signal::Blocked;
use crate::{adopt, heap, runtime, span};

/// The managed block or adopted range that an address lies in: its first byte and its length. Looks only.
pub fn block_of(ptr: *const u8) -> Option<(*mut u8, usize)> {
    let at = HostAddr::from(ptr);
    let range = match heap::find(at) {
        Some(found) => found.range,
        None => span::find(at, 1, "ptr").ok()?.around,
    };
    Some((HostAddr(range.start).ptr(), range.len()))
}

/// All live blocks and adopted ranges: first byte and length of each.
pub fn blocks() -> Vec<(*mut u8, usize)> {
    let mut all: Vec<ByteRange> = Vec::new();
    for chunk in heap::chunks_in_use() {
        let (mut at, end) = (chunk.0, chunk.0 + CHUNK);
        while at < end {
            at = match heap::find(HostAddr(at)) {
                Some(found) => {
                    // A large block has several chunks.
                    if all.last() != Some(&found.range) {
                        all.push(found.range);
                    }
                    found.range.end.next_multiple_of(PAGE)
                }
                None => at + PAGE,
            };
        }
    }
    all.extend(adopt::all());
    all.into_iter().map(|range| (HostAddr(range.start).ptr(), range.len())).collect()
}

/// No handler of the program's runs on this thread, until this is dropped: of several the first comes last.
pub struct Quiet(#[allow(dead_code, reason = "dropped")] Blocked);

/// Makes ranges resident for a launch that the caller then makes on the stream, with the driver's own function. Launches of
/// different threads on one stream do not get into each other's way; each is ended by [`end_launch`] on its own thread. Signals
/// are blocked as long as the answer is kept: until then, for a handler that touches the memory would wait for this thread.
///
/// # Safety
/// The bytes of `Write` ranges are given up: the kernel writes all of them.
pub unsafe fn begin_launch(device: i32, stream: StreamId, accesses: &[Access]) -> Result<Quiet> {
    counted((|| {
        let devices = runtime::devices("begin_launch")?;
        let stream = Stream::find(&devices, devices.index(device)?, stream)?;
        access::acquire(&devices, stream, Some(0), accesses).map(Quiet)
    })())
}

/// The launches that this thread has begun are in the stream, or were not made: what they use is given back when the
/// stream gets here.
pub fn end_launch(device: i32, stream: StreamId) -> Result<()> {
    counted((|| {
        let devices = runtime::devices_quietly("end_launch")?;
        access::release(&devices, Stream::find(&devices, devices.index(device)?, stream)?, true)
    })())
}
