//! Units as types: host addresses, device addresses and page ranges. Everything else in the crate takes these, never a
//! bare `usize` address. Plain values, usable in any context, signal handler included.

/// Bytes in a page: the granule of the residency table. Kernels with larger pages are refused at start.
pub const PAGE: usize = 4096;
/// Bytes in a chunk: one x86-64 or aarch64 huge page, the granule of placing memory.
pub const CHUNK: usize = 2 << 20;
/// Pages in a chunk.
pub const PAGES: usize = CHUNK / PAGE;

/// An address in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct HostAddr(pub usize);

impl HostAddr {
    /// As a raw pointer; the memory may be protected, so dereferencing it is the caller's business.
    pub fn ptr(self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.0)
    }
    /// The start of the chunk it lies in.
    pub fn chunk_start(self) -> HostAddr {
        HostAddr(self.0 & !(CHUNK - 1))
    }
    /// The page's number inside its chunk, `0..512`.
    pub fn page_in_chunk(self) -> usize {
        (self.0 & (CHUNK - 1)) / PAGE
    }
    /// The `len` bytes from here.
    pub fn range(self, len: usize) -> ByteRange {
        ByteRange { start: self.0, end: self.0 + len }
    }
    /// Address plus `bytes`.
    pub fn add(self, bytes: usize) -> HostAddr {
        HostAddr(self.0 + bytes)
    }
}

impl<T> From<*const T> for HostAddr {
    fn from(p: *const T) -> Self {
        HostAddr(p.expose_provenance())
    }
}

/// An address on a device. Zero is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct DeviceAddr(pub u64);

impl DeviceAddr {
    /// Address plus `bytes`.
    pub fn add(self, bytes: usize) -> DeviceAddr {
        DeviceAddr(self.0 + bytes as u64)
    }
}

/// A non-empty or empty span of host bytes that does not wrap; `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl ByteRange {
    /// `len` bytes from `start`, or `None` when that wraps.
    pub fn new(start: usize, len: usize) -> Option<ByteRange> {
        Some(ByteRange { start, end: start.checked_add(len)? })
    }
    /// Bytes in it.
    pub fn len(self) -> usize {
        self.end - self.start
    }
    /// Whether the two share a byte.
    pub fn overlaps(self, other: ByteRange) -> bool {
        self.start < other.end && other.start < self.end
    }
    /// All pages it touches.
    pub fn pages_out(self) -> ByteRange {
        ByteRange { start: self.start & !(PAGE - 1), end: self.end.saturating_add(PAGE - 1) & !(PAGE - 1) }
    }
    /// The pages that lie wholly in it (maybe none).
    pub fn pages_in(self) -> ByteRange {
        let start = self.start.saturating_add(PAGE - 1) & !(PAGE - 1);
        ByteRange { start, end: (self.end & !(PAGE - 1)).max(start) }
    }
    /// The chunks it touches, each with the part of the range inside it.
    pub fn chunks(self) -> impl Iterator<Item = (HostAddr, ByteRange)> {
        let mut at = self.start;
        core::iter::from_fn(move || {
            if at >= self.end {
                return None;
            }
            let chunk = HostAddr(at).chunk_start();
            let part = ByteRange { start: at, end: self.end.min(chunk.0.saturating_add(CHUNK)) };
            at = part.end;
            Some((chunk, part))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches: behind the last chunk comes the first.
    #[test]
    fn the_last_chunk_ends() {
        let last = ByteRange { start: usize::MAX - CHUNK - 5, end: usize::MAX - 7 };
        let chunks: Vec<_> = last.chunks().take(5).map(|(_, part)| part.len()).collect();
        assert_eq!((chunks.len(), chunks.iter().sum()), (2, last.len()));
    }

    #[test]
    fn ranges_round_outwards_and_inwards() {
        let r = ByteRange::new(PAGE + 1, PAGE).unwrap();
        assert_eq!(r.pages_out(), ByteRange { start: PAGE, end: 3 * PAGE });
        assert_eq!(r.pages_in().len(), 0);
        assert!(ByteRange::new(usize::MAX, 2).is_none());
    }

    #[test]
    fn chunks_split_at_boundaries() {
        let r = ByteRange::new(CHUNK - PAGE, CHUNK + 2 * PAGE).unwrap();
        let parts: Vec<_> = r.chunks().collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0].1.len(), PAGE);
        assert_eq!(parts[1].1.len(), CHUNK);
        assert_eq!(parts[2].0, HostAddr(2 * CHUNK));
    }
}
