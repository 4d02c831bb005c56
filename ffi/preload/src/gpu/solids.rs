//! Copies in three dimensions, whatever a driver's description of one looks like: plane by plane where managed memory is on
//! one side, by the device's addresses where they are recorded into a graph. Any thread.

use super::copies::{NOT_SUPPORTED, Rows, by_bands, on_host};
use super::{Driver, Queue, is_managed, launch};

/// A driver's description of a copy in three dimensions.
pub trait Solid: Copy {
    /// Where each side's memory begins, the target's first; 0 of what has no address.
    fn bases(&self) -> [usize; 2];

    /// Both sides at that depth, the target's first.
    fn plane(&self, z: usize) -> (Rows, Rows);

    /// Width, height and depth.
    fn size(&self) -> [usize; 3];

    /// Whether planes and rows of it can be copied one by one.
    fn is_divisible(&self) -> bool {
        true
    }

    /// The same for one band of it, with a side in host memory without gaps.
    fn band(&self, band: &Band) -> Self;

    /// The same with what is managed where the device has it.
    fn on_device(&self, bases: [usize; 2]) -> Self;
}

/// Some rows of one plane.
pub struct Band {
    /// Whether the source is the side that is in host memory, or the target.
    pub of_source: bool,
    /// Where that is.
    pub at: usize,
    /// Which plane.
    pub z: usize,
    /// The first row.
    pub first: usize,
    /// How many.
    pub rows: usize,
}

impl Band {
    /// The side in host memory of these, and the other.
    pub fn sides<'a, S>(&self, to: &'a mut S, from: &'a mut S) -> (&'a mut S, &'a mut S) {
        if self.of_source { (from, to) } else { (to, from) }
    }
}

/// A copy: one plane after the other.
///
/// # Safety
/// `given` is NULL, which is the driver's to refuse, or a description of memory that may be copied.
pub unsafe fn copy_3d<S: Solid>(
    driver: &Driver,
    queue: Queue,
    given: *const S,
    real: &mut dyn FnMut(*const S) -> i32,
) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    let solid = unsafe { *given };
    let (to, from) = solid.plane(0);
    let managed @ (_, of_source) = (is_managed(to.start), is_managed(from.start));
    let [width, height, depth] = solid.size();
    if [width, height, depth].contains(&0) || managed == (false, false) {
        return real(&solid);
    }
    if (driver.is_recording)(queue.native()) {
        // SAFETY: as above.
        return unsafe { record_3d(driver, Some(queue), &solid, real) };
    }
    if to.is_plain()
        && from.is_plain()
        && let Some(code) = on_host(&extents(&solid), &mut || real(&solid))
    {
        return code;
    }
    if !solid.is_divisible() {
        return NOT_SUPPORTED;
    }
    for z in 0..depth {
        let mut band = |at, first, rows| real(&solid.band(&Band { of_source, at, z, first, rows }));
        let code = by_bands(driver, queue, solid.plane(z), managed, (width, height), &mut band);
        if code != 0 {
            return code;
        }
    }
    0
}

/// Where each side is, with what is between its rows and planes: the block, where its size can't be told.
fn extents<S: Solid>(solid: &S) -> [(usize, usize); 2] {
    let [width, height, depth] = solid.size();
    let (first, last) = (solid.plane(0), solid.plane(depth - 1));
    [(first.0, last.0), (first.1, last.1)].map(|(first, last)| {
        if !solid.is_divisible() {
            return launch::block_of(first.start).unwrap_or((first.start, 0));
        }
        let (start, len) = last.extent((width, height));
        (first.start, start.wrapping_sub(first.start).saturating_add(len))
    })
}

/// A copy in a graph, or in the one that `queue` is recorded into: what is managed is the device's when it is launched.
///
/// # Safety
/// As [`copy_3d`].
pub unsafe fn record_3d<S: Solid>(
    driver: &Driver,
    queue: Option<Queue>,
    given: *const S,
    real: &mut dyn FnMut(*const S) -> i32,
) -> i32 {
    if given.is_null() {
        return real(given);
    }
    // SAFETY: the caller's promise.
    let solid = unsafe { *given };
    let bases = solid.bases();
    if !bases.iter().any(|at| is_managed(*at)) {
        return real(&solid);
    }
    launch::record(driver, queue, bases, &mut |bases| real(&solid.on_device(bases)))
}
