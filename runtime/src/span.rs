//! From a caller's pointer and length to managed bytes. API context; takes no lock for heap blocks.

use crate::addr::{ByteRange, HostAddr};
use crate::error::{Error, Result};
use crate::{adopt, heap};

/// Managed bytes that a caller named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The bytes; may be empty.
    pub(crate) range: ByteRange,
    /// The block or adopted range they are in.
    pub(crate) around: ByteRange,
}

/// Checks that `len` bytes from `ptr` are managed: inside one block, or inside adopted memory. A zero length is fine
/// wherever it points.
pub(crate) fn find(ptr: HostAddr, len: usize, arg: &'static str) -> Result<Span> {
    let empty = ByteRange { start: ptr.0, end: ptr.0 };
    if len == 0 {
        return Ok(Span { range: empty, around: empty });
    }
    if ptr.0 == 0 {
        return Err(Error::NullPointer { arg });
    }
    let range = ByteRange::new(ptr.0, len)
        .ok_or(Error::InvalidArgument { arg: "len", why: "pointer plus length wraps around" })?;
    let around = match heap::find(ptr) {
        Some(found) => found.range,
        None => adopt::around(range).ok_or(Error::NotManaged { arg, addr: ptr.0 })?,
    };
    if range.end > around.end {
        return Err(Error::OutOfRange { arg: "len", addr: ptr.0, len, end: around.end });
    }
    Ok(Span { range, around })
}
