//! Read, write or fetch: how an instruction touched memory, from what the kernel says of the processor at a fault. `segv` asks.
//! Signal-safe.

/// How an instruction touched memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    Write,
    Execute,
}

/// How the instruction that faulted touched memory. Signal-safe.
#[cfg(target_arch = "x86_64")]
pub(super) fn touch(context: &libc::ucontext_t) -> Touch {
    x86_64(context.uc_mcontext.gregs[libc::REG_ERR as usize] as u64)
}

/// How the instruction that faulted touched memory. Signal-safe.
#[cfg(target_arch = "aarch64")]
pub(super) fn touch(context: &libc::ucontext_t) -> Touch {
    // fault_address, x0..x30, sp, pc, pstate: 35 words, then the records, aligned to 16.
    let at = (&raw const context.uc_mcontext).cast::<u8>();
    // SAFETY: the kernel puts 4,096 bytes of records behind the registers.
    aarch64(unsafe { core::slice::from_raw_parts(at.add(288), 4096) })
}

/// From the page-fault error code: bit 1 write, bit 4 instruction fetch (Intel SDM 3A, 4.7).
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "tested on every machine"))]
fn x86_64(error: u64) -> Touch {
    if error & 1 << 4 != 0 {
        Touch::Execute
    } else if error & 1 << 1 != 0 {
        Touch::Write
    } else {
        Touch::Read
    }
}

/// From the ESR record (magic "ESR\x01") of the signal frame: exception class, and WnR (Arm ARM, D17.2.37).
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "tested on every machine"))]
fn aarch64(mut records: &[u8]) -> Touch {
    while let Some((head, _)) = records.split_first_chunk::<16>() {
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (magic, size) = (word(0), word(4) as usize);
        if magic == 0x4553_5201 {
            let esr = u64::from(word(8)) | u64::from(word(12)) << 32;
            return match esr >> 26 & 0x3f {
                0x20 | 0x21 => Touch::Execute,
                _ if esr >> 6 & 1 != 0 && esr >> 8 & 1 == 0 => Touch::Write, // a cache operation (CM) is no write
                _ => Touch::Read,
            };
        }
        if magic == 0 || size < 8 || size > records.len() {
            break;
        }
        records = &records[size..];
    }
    Touch::Write // unknown: a page that may be written can be read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_both_architectures() {
        assert_eq!(x86_64(0b0_0110), Touch::Write);
        assert_eq!(x86_64(0b0_0100), Touch::Read);
        assert_eq!(x86_64(0b1_0101), Touch::Execute);
        let record = |esr: u64| {
            let mut r = vec![0u8; 64];
            r[..4].copy_from_slice(&0x4650_8001u32.to_le_bytes()); // some other record first
            r[4..8].copy_from_slice(&16u32.to_le_bytes());
            r[16..20].copy_from_slice(&0x4553_5201u32.to_le_bytes());
            r[20..24].copy_from_slice(&16u32.to_le_bytes());
            r[24..32].copy_from_slice(&esr.to_le_bytes());
            r
        };
        assert_eq!(aarch64(&record(0x24 << 26 | 1 << 6)), Touch::Write);
        assert_eq!(aarch64(&record(0x24 << 26)), Touch::Read);
        assert_eq!(aarch64(&record(0x24 << 26 | 1 << 6 | 1 << 8)), Touch::Read);
        assert_eq!(aarch64(&record(0x20 << 26)), Touch::Execute);
        assert_eq!(aarch64(&[0; 64]), Touch::Write);
    }
}
