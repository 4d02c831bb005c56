//! What the fuzzer runs (`fuzz/`), as functions of bytes: each may do anything but panic, hang or read what is not its own.
//! `tests/corpus.rs` runs them over everything that the fuzzer has found to be worth keeping. No unstable feature is used
//! here: the fuzzer alone needs them.

#[path = "../../ffi/cli/src/size.rs"]
#[allow(dead_code, unreachable_pub, reason = "the command's file, of which one function is tried")]
mod command_size;
mod interface;
mod launches;
#[path = "../../ffi/preload/src/gpu/hip/object.rs"]
#[allow(unreachable_pub, missing_docs, reason = "the preload library's file")]
mod object;
mod os;
#[path = "../../ffi/preload/src/gpu/params.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the preload library's file")]
mod params;
#[path = "../../ffi/preload/src/size.rs"]
#[allow(unreachable_pub, reason = "the preload library's file")]
mod preload_size;
mod settings;
mod symbols;

// As the preload library calls it.
extern crate hmmrt as hmmrt_core;

pub use interface::interface;
pub use launches::{across_pages, launches};
pub use settings::settings;

/// A trace of any content: as it is, and with the head's empty bytes put in, which no input should have to carry.
pub fn traces(bytes: &[u8]) {
    /// The words of the head that mean something.
    const TOLD: usize = 28 * 8;
    trace(bytes);
    if let Some((head, records)) = bytes.split_at_checked(TOLD) {
        let mut whole = head.to_vec();
        whole.resize(4096, 0);
        whole.extend(records);
        trace(&whole);
    }
}

/// What is read of it is within what the file has.
fn trace(bytes: &[u8]) {
    let Ok(trace) = hmmrt::trace::Trace::parse(bytes) else { return };
    // A head is a page, a record 64 bytes.
    let room = bytes.len().saturating_sub(4096) / 64;
    assert!(trace.events.len() as u64 + trace.unreadable <= room as u64, "more records than the file has");
    assert!(trace.events.is_sorted_by_key(|event| event.time));
    for event in &trace.events {
        assert!(!format!("{event:?}").is_empty());
    }
}

/// Device code of any content, as a program would register or load it.
pub fn objects(bytes: &[u8]) {
    let largest = std::cell::Cell::new(0);
    let kernels = object::kernels(&|offset, len| {
        let start = usize::try_from(offset).ok()?;
        let part = bytes.get(start..start.checked_add(len)?)?;
        largest.set(largest.get().max(part.len()));
        Some(part.to_vec())
    });
    // A kernel's name and its parameters all come from the image.
    assert!(kernels.len() <= bytes.len() * 1024 * 1024);
    assert!(kernels.values().all(|sizes| sizes.len() <= bytes.len()));
}
