//! What `hmm_advise` changes, the same under every policy: pure functions of a chunk's advice bits. Asked by the fault path
//! (signal-safe), by moves, and when a device is full.

use super::ask::advice::*;
use crate::mask::PageMask;
use crate::migrate::FEW; // so many pages come along where few are to: 64 KiB cost hardly more than one

/// The bit of "device `d` will access it".
pub(crate) fn accessed_by(device: usize) -> u32 {
    1 << (ACCESSED_SHIFT + device as u32)
}

/// The bits of "the preferred location is device `d`".
pub(crate) fn preferred(device: usize) -> u32 {
    PREFER_DEVICE | (device as u32) << DEVICE_SHIFT
}

/// The pages that a touch of `page` brings, where the policy would bring `pages` of `alike`. With `fetch` they are away, else
/// they are valid on both sides and a write takes them from the device. Signal-safe.
pub(super) fn pages(bits: u32, page: usize, fetch: bool, alike: PageMask, pages: PageMask) -> PageMask {
    let near = PageMask::span(page / FEW * FEW, FEW) & alike;
    match () {
        () if bits & RANDOM != 0 => PageMask::span(page, 1),
        () if bits & SEQUENTIAL != 0 => alike,
        // It should stay where it is: no more than is touched comes, or is taken.
        () if bits & PREFER_DEVICE != 0 => pages & near,
        () if bits & PREFER_HOST != 0 && fetch => alike,
        // The device will want it again: what it has stays valid as far as can be.
        () if bits & ACCESSED != 0 && !fetch => pages & near,
        () => pages,
    }
}

/// Whether a device's copy is to stay valid when the CPU reads: where userfaultfd has the choice, it costs time. Signal-safe.
pub(crate) fn keeps_copies(bits: u32) -> bool {
    bits & (READ_MOSTLY | PREFER_DEVICE | ACCESSED) != 0
}

/// Whether the host's copy is to stay valid when a device gets one that it need not write.
pub(crate) fn keeps_host(bits: u32) -> bool {
    bits & (READ_MOSTLY | PREFER_HOST | ACCESSED_BY_HOST) != 0
}

/// Who leaves `device` first, whatever the policy says among equals: the highest.
pub(crate) fn rank(bits: u32, device: usize) -> u8 {
    let wanted_here = bits & (PREFERENCE & !PREFER_HOST) == preferred(device);
    match () {
        () if bits & PREFER_HOST != 0 => 2,
        () if wanted_here || bits & accessed_by(device) != 0 => 0,
        () => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_says_how_much_comes() {
        let all = PageMask::FULL;
        let bring = |bits, fetch| pages(bits, 100, fetch, all, all).count();
        let both = |bits| (bring(bits, true), bring(bits, false));
        assert_eq!(both(0), (512, 512));
        assert_eq!(both(RANDOM | PREFER_HOST), (1, 1));
        assert_eq!(both(preferred(0)), (FEW, FEW));
        assert_eq!(both(accessed_by(3)), (512, FEW));
        let one = PageMask::span(100, 1);
        assert_eq!(pages(SEQUENTIAL, 100, true, all, one), all);
        assert_eq!(pages(PREFER_HOST, 100, true, all, one), all);
        assert_eq!(pages(PREFER_HOST, 100, false, all, one), one);
        assert_eq!(pages(preferred(1), 100, true, all, one), one);
    }

    #[test]
    fn what_should_be_elsewhere_leaves_before_what_should_be_here() {
        assert_eq!((rank(PREFER_HOST, 0), rank(0, 0), rank(preferred(0), 0)), (2, 1, 0));
        assert_eq!((rank(preferred(1), 0), rank(preferred(1), 1)), (1, 0));
        assert_eq!((rank(accessed_by(1), 0), rank(accessed_by(1), 1)), (1, 0));
        assert_eq!(rank(preferred(1) | accessed_by(0), 0), 0);
    }
}
