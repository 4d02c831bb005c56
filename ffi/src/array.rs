//! Arrays that come from C: copied into our own before anything else is done with them, because they may lie in managed
//! memory, where another thread or a device can change them. Called by the functions that take a pointer and a count.

use crate::guard::Failure;

/// Copies and converts `count` elements; the closure gets each one's index.
///
/// # Safety
/// `from` is NULL or points at `count` readable elements.
pub(crate) unsafe fn collect<C: Copy, R>(
    argument: &'static str,
    from: *const C,
    count: usize,
    convert: impl Fn(usize, C) -> Result<R, Failure>,
) -> Result<Vec<R>, Failure> {
    let mut all = Vec::new();
    if count == 0 {
        return Ok(all);
    }
    if from.is_null() {
        return Err(Failure::Null(argument));
    }
    reserve("count", &mut all, count)?;
    for index in 0..count {
        // SAFETY: `index < count`, and the caller promises that many.
        all.push(convert(index, unsafe { from.add(index).read() })?);
    }
    Ok(all)
}

/// Makes room for `count` elements in an empty vector.
pub(crate) fn reserve<T>(argument: &'static str, to: &mut Vec<T>, count: usize) -> Result<(), Failure> {
    to.try_reserve_exact(count).map_err(|_| Failure::NoMemory { argument, count })
}
