//! Device code for CUDA: PTX text, cubins and fat binaries, as the driver takes them. API context only.

/// The built-in kernels, as PTX that every driver since CUDA 9 compiles for its GPU.
pub(super) const BUILTIN: &[u8] = include_bytes!("../../../../kernels/kernels.ptx");

/// The image with a NUL behind it, which the driver needs of text and does not mind of binaries. A copy of our own: the
/// caller's may lie in managed memory, on which the driver must not fault.
pub(super) fn terminated(image: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(image.len() + 1);
    copy.extend_from_slice(image);
    copy.push(0);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_kernels_are_text_that_ends() {
        let image = terminated(BUILTIN);
        assert!(image.ends_with(b"\0") && !BUILTIN.contains(&0));
        let text = std::str::from_utf8(BUILTIN).unwrap();
        for kernel in crate::device::host::kernels::BUILTIN {
            assert!(text.contains(&format!(".visible .entry {}(", kernel.name)), "{}", kernel.name);
        }
    }
}
