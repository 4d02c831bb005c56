//! Numbers of bytes in this library's own settings. Called by `settings`, before the C library may be used: no allocation.
//! The fuzzer takes this file by itself and holds it against the runtime's.

/// A number of bytes, with K, M, G or T for powers of 1,024.
pub fn size(value: &[u8]) -> Option<usize> {
    let (digits, shift) = match value.split_last()? {
        (b'K' | b'k', digits) => (digits, 10),
        (b'M' | b'm', digits) => (digits, 20),
        (b'G' | b'g', digits) => (digits, 30),
        (b'T' | b't', digits) => (digits, 40),
        _ => (value, 0),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_usize, |n, d| {
        n.checked_mul(10)?.checked_add(usize::from(d.checked_sub(b'0').filter(|d| *d < 10)?))
    })?;
    number.checked_mul(1 << shift)
}
