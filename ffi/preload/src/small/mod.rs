//! Small objects: blocks below `HMMRT_MIN_SIZE` in managed memory, many to a page, with `HMMRT_SMALL=1`. They come from
//! jemalloc, whose extents are blocks of the runtime's heap and whose bookkeeping lies elsewhere, so that a free touches no
//! page of theirs. With the cargo feature `small-objects` only; without it there are none.
//!
//! `jemalloc` is the allocator, `extents` where its memory comes from, `none` what there is without the feature.

#[cfg(feature = "small-objects")]
mod extents;
#[cfg(feature = "small-objects")]
mod jemalloc;
#[cfg(not(feature = "small-objects"))]
mod none;

#[cfg(feature = "small-objects")]
pub use jemalloc::{IS_BUILT, allocate, free, grow, owns, usable_size};
#[cfg(not(feature = "small-objects"))]
pub use none::{IS_BUILT, allocate, free, grow, owns, usable_size};
