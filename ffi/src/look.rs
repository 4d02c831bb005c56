//! Looking without touching: where pages are, and what the runtime has done. Called from ordinary threads.

use core::ffi::c_void;

use hmmrt_core::{Page, Stats, raw};

use crate::array;
use crate::guard::{self, Failure};
use crate::sized;
use crate::status::hmm_status;
use crate::types::{hmm_page, hmm_stats};

const PAGE: usize = 4096;

/// Where each 4 KiB page of a range is; one element of out for each page that the range touches, and count is how many
/// there is room for. It has no side effects: no page moves, none is touched. Elements past the last page stay as they are.
/// Any address may be asked: pages that are not managed are HMM_PAGE_FOREIGN, and have flags 0 where nothing is mapped.
///
/// # Safety
/// `out` has room for `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_query(
    ptr: *const c_void,
    len: usize,
    out: *mut hmm_page,
    count: usize,
) -> hmm_status {
    guard::status("hmm_query", || {
        if len == 0 {
            return Ok(());
        }
        if ptr.is_null() {
            return Err(Failure::Null("ptr"));
        }
        if out.is_null() {
            return Err(Failure::Null("out"));
        }
        // A length that wraps around is the runtime's to refuse.
        let offset = ptr.addr() % PAGE;
        let needed = len.checked_add(offset).map_or(0, |end| end.div_ceil(PAGE));
        if count < needed {
            return Err(Failure::Count { argument: "count", count, needed });
        }
        // Our own array first: `out` may itself be managed memory, which must not fault inside the runtime.
        let mut pages = Vec::new();
        array::reserve("count", &mut pages, needed)?;
        pages.resize(needed, Page { flags: 0, device: -1 });
        raw::query(ptr.cast(), len, &mut pages)?;
        for (at, page) in pages.iter().enumerate() {
            let page = hmm_page { flags: page.flags, device: page.device };
            // SAFETY: `at < needed <= count`, and the caller promises that many.
            unsafe { out.add(at).write(page) };
        }
        Ok(())
    })
}

/// Reads the counters. Set out->struct_size first; no more than that is written.
///
/// # Safety
/// `out` points at out->struct_size writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hmm_stats_get(out: *mut hmm_stats) -> hmm_status {
    guard::status("hmm_stats_get", || {
        // SAFETY: the caller promises that `out` is what it says.
        unsafe { sized::check("out", out) }?;
        let answer = of(raw::stats());
        // SAFETY: checked above, and writable as the caller promises.
        unsafe { sized::write(out, &answer) };
        Ok(())
    })
}

/// The runtime's counters as C has them; the size is the caller's own.
fn of(now: Stats) -> hmm_stats {
    hmm_stats {
        struct_size: 0,
        faults: now.faults,
        read_faults: now.read_faults,
        write_faults: now.write_faults,
        bytes_to_device: now.bytes_to_device,
        bytes_to_host: now.bytes_to_host,
        moves_to_device: now.moves_to_device,
        moves_to_host: now.moves_to_host,
        bytes_not_copied: now.bytes_not_copied,
        evictions: now.evictions,
        prefetches: now.prefetches,
        prefetched_bytes_used: now.prefetched_bytes_used,
        prefetched_bytes_wasted: now.prefetched_bytes_wasted,
        waits: now.waits,
        vmas: now.vmas,
        spare_bytes: now.spare_bytes,
        device_bytes: now.device_bytes,
        managed_bytes: now.managed_bytes,
        table_bytes: now.table_bytes,
        errors: now.errors,
        launch_bytes_to_device: now.launch_bytes_to_device,
        prefetch_bytes_to_device: now.prefetch_bytes_to_device,
        ahead_bytes_to_device: now.ahead_bytes_to_device,
        asked_bytes_to_device: now.asked_bytes_to_device,
        evict_bytes_to_device: now.evict_bytes_to_device,
        other_bytes_to_device: now.other_bytes_to_device,
        fault_bytes_to_host: now.fault_bytes_to_host,
        prefetch_bytes_to_host: now.prefetch_bytes_to_host,
        ahead_bytes_to_host: now.ahead_bytes_to_host,
        asked_bytes_to_host: now.asked_bytes_to_host,
        evict_bytes_to_host: now.evict_bytes_to_host,
        other_bytes_to_host: now.other_bytes_to_host,
    }
}

/// Sets the counters to 0. What there is now (mappings, bytes in use) stays.
#[unsafe(no_mangle)]
pub extern "C" fn hmm_stats_reset() -> hmm_status {
    guard::status("hmm_stats_reset", || {
        raw::stats_reset();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_reaches_its_own() {
        let now = Stats {
            faults: 1,
            read_faults: 2,
            write_faults: 3,
            bytes_to_device: 4,
            bytes_to_host: 5,
            moves_to_device: 6,
            moves_to_host: 7,
            bytes_not_copied: 8,
            evictions: 9,
            prefetches: 10,
            prefetched_bytes_used: 11,
            prefetched_bytes_wasted: 12,
            waits: 13,
            vmas: 14,
            spare_bytes: 15,
            device_bytes: 16,
            managed_bytes: 17,
            table_bytes: 18,
            errors: 19,
            launch_bytes_to_device: 20,
            prefetch_bytes_to_device: 21,
            ahead_bytes_to_device: 22,
            asked_bytes_to_device: 23,
            evict_bytes_to_device: 24,
            other_bytes_to_device: 25,
            fault_bytes_to_host: 26,
            prefetch_bytes_to_host: 27,
            ahead_bytes_to_host: 28,
            asked_bytes_to_host: 29,
            evict_bytes_to_host: 30,
            other_bytes_to_host: 31,
        };
        let answer = of(now);
        // SAFETY: a size and thirty-one counters, all of 8 bytes (types.rs and tests/c/contract.c say so).
        let words: [u64; 32] = unsafe { core::mem::transmute(answer) };
        assert_eq!(words, core::array::from_fn(|index| index as u64));
    }
}
