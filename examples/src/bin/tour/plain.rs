//! The same computations as the kernels', in plain code over ordinary memory. Nothing here knows the runtime.
//!
//! Called by the chapters for their checks.

/// How often each byte occurs.
pub fn histogram(bytes: &[u8]) -> Vec<u64> {
    let mut bins = vec![0; 256];
    for &byte in bytes {
        bins[byte as usize] += 1;
    }
    bins
}

/// Sum over 8-byte words of splitmix64's finalizer (Vigna 2015) of word and position.
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0_u64;
    for (index, chunk) in bytes.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let position = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum = sum.wrapping_add(mix(u64::from_le_bytes(word).wrapping_add(position)));
    }
    sum
}

/// splitmix64's finalizer.
pub fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The sum of all bytes.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}

/// The mean of each cell and its four neighbours; cells at the border stay.
pub fn stencil(out: &mut [f32], cells: &[f32], width: usize) {
    let height = cells.len() / width;
    out.copy_from_slice(cells);
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let at = y * width + x;
            let sum = cells[at] + cells[at - 1] + cells[at + 1] + cells[at - width] + cells[at + width];
            out[at] = sum * 0.2;
        }
    }
}
