//! What things cost, in nanoseconds. Ours are medians of DESIGN and bench/README.md, measured on the host backend; the peers'
//! are published figures, at the end of the range that is in their favour.

use crate::replay::Checksums;
use hmmrt::policy::PageMask;

/// The model's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Bytes per second of the bus, each way, both ways at once (PCIe 4.0 x16 with pinned memory).
    pub bandwidth: f64,
    /// From the start of a transfer to its first byte, and from its last to its being noticed.
    pub latency: u64,
    /// A CPU fault of ours that brings pages home, without the copy.
    pub fault: u64,
    /// A CPU write that takes pages from the device, without a copy.
    pub take: u64,
    /// A touch of a chunk that came early as a whole, and is closed so that it is seen.
    pub opening: u64,
    /// Putting one chunk in place in the background, without the copy: what is left of a fault without its signal (10.5 less 3.8).
    pub place: u64,
    /// Changing one chunk's protection in the background: a call for each, as the runtime does it. (One call for 16 chunks with a
    /// mapping each takes 7.8 us where 16 calls take 18.2: 0.65 us less a chunk.)
    pub protect: u64,
    /// Pages of a chunk that are not in one piece: each further piece is protected, or put in place, by a call of its own, which splits
    /// the mapping (`mprotect` of single pages, 4 to 5 us on a virtual machine without page tables of its own).
    pub piece: u64,
    /// Sending one chunk: protecting it and taking its pages out.
    pub send: u64,
    /// Sending a copy of one chunk that stays: protecting it and asking what was touched.
    pub share: u64,
    /// So many threads share what a launch sends, from so many chunks on (`crew.rs`; it has up to 8).
    pub crew: (u64, usize),
    /// A launch returns when its pages are there, as the runtime's does; else its kernel waits for them, and the program goes on.
    pub launches_wait: bool,
    /// Which launches are followed by checksums, if ours could.
    pub checksums: Checksums,
    /// Bytes per second that a device hashes: what its memory gives (HBM2e of an A100: 2.0e12).
    pub hash: f64,
    /// Starting a kernel that hashes, and its end.
    pub hash_launch: u64,
    /// A CPU fault of unified memory (Allen and Ge, SC'21: 20 to 50 us).
    pub uvm_cpu_fault: u64,
    /// A group of device faults of unified memory in one 2 MiB block (75 to 420 us).
    pub uvm_device_fault: u64,
    /// Unified memory: so many moves to and fro of a page within `uvm_lapse` are thrashing.
    pub uvm_thrash: u32,
    /// See above.
    pub uvm_lapse: u64,
    /// After so many throttlings a page is pinned to the host.
    pub uvm_throttles: u32,
    /// For so long.
    pub uvm_pin: u64,
    /// So often.
    pub uvm_pins: u32,
}

impl Default for Costs {
    fn default() -> Self {
        Costs {
            bandwidth: 25e9,
            latency: 10_000,
            fault: 10_500,
            take: 4_700,
            opening: 4_000,
            place: 6_700,
            protect: 800,
            piece: 4_000,
            send: 4_400,
            share: 2_000,
            crew: (4, 8),
            launches_wait: true,
            checksums: Checksums::Off,
            hash: 2e12,
            hash_launch: 5_000,
            uvm_cpu_fault: 20_000,
            uvm_device_fault: 75_000,
            uvm_thrash: 3,
            uvm_lapse: 500_000,
            uvm_throttles: 10,
            uvm_pin: 150_000_000,
            uvm_pins: 4,
        }
    }
}

impl Costs {
    /// Nothing costs anything: what the program itself takes.
    pub fn free() -> Costs {
        Costs {
            bandwidth: f64::INFINITY,
            latency: 0,
            fault: 0,
            take: 0,
            opening: 0,
            place: 0,
            protect: 0,
            piece: 0,
            send: 0,
            share: 0,
            ..Costs::default()
        }
    }

    /// What pages of a chunk cost for not being in one piece.
    pub fn pieces(&self, pages: PageMask) -> u64 {
        self.piece * pages.runs().count().saturating_sub(1) as u64
    }

    /// The bus's time for so many bytes.
    pub fn transfer(&self, bytes: u64) -> u64 {
        (bytes as f64 * 1e9 / self.bandwidth).ceil() as u64
    }
}
