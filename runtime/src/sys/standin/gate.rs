//! The stand-in's kernel: system calls answered in the process, over memory of the allocator, in Rust that Miri can look into.
//! Protections are written down, not enforced: `may` is what a test asks before it touches, where the CPU would raise a fault.
//! What is not here (userfaultfd, the page map, files) answers as a kernel that does not have it.

mod futex;
mod memory;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole;

use core::ffi::{CStr, c_char, c_long};
use core::sync::atomic::{AtomicU32, Ordering::*};

#[cfg(test)]
use memory::may;

/// Descriptors: no other is ever given out.
const MAPS: usize = 1 << 20;
const MEM: usize = MAPS + 1;

const PROCMAP_QUERY: usize = 0xC068_6611;

thread_local! {
    static NUMBER: u32 = {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        NEXT.fetch_add(1, Relaxed)
    };
}

/// The system call `number`; what the kernel would answer, errors as small negative numbers.
///
/// # Safety
/// As the system call.
pub unsafe fn raw(number: c_long, a: [usize; 6]) -> isize {
    let done = match number {
        libc::SYS_mmap => memory::map(a[0], a[1], a[2] as i32, a[3] as i32),
        libc::SYS_munmap => memory::unmap(a[0], a[1]),
        libc::SYS_mprotect => memory::protect(a[0], a[1], a[2] as i32),
        libc::SYS_mremap => memory::remap(a[0], a[1], a[2], a[3] as i32, a[4]),
        libc::SYS_madvise => memory::advise(a[0], a[1], a[2] as i32),
        // SAFETY: the caller's promise: a word, and a time or none.
        libc::SYS_futex => unsafe { futex::call(a[0], a[1] as i32, a[2] as u32, a[3], a[4]) },
        // SAFETY: the caller's promise: a C string.
        libc::SYS_openat => match unsafe { CStr::from_ptr(pointer::<c_char>(a[1])) }.to_bytes() {
            b"/proc/self/maps" => Ok(MAPS),
            b"/proc/self/mem" => Ok(MEM),
            _ => Err(libc::ENOENT),
        },
        libc::SYS_close => Ok(0),
        // SAFETY: the caller's promise: room for so many bytes, or so many bytes.
        libc::SYS_pread64 if a[0] == MEM => unsafe { memory::copy(a[3], a[1], a[2], false) },
        // SAFETY: as above.
        libc::SYS_pwrite64 if a[0] == MEM => unsafe { memory::copy(a[3], a[1], a[2], true) },
        // SAFETY: the caller's promise: the request's own struct.
        libc::SYS_ioctl if a[..2] == [MAPS, PROCMAP_QUERY] => unsafe { query(pointer(a[2])) },
        libc::SYS_write if a[0] == 2 => {
            // SAFETY: the caller's promise: so many bytes.
            let bytes = unsafe { core::slice::from_raw_parts(pointer::<u8>(a[1]), a[2]) };
            std::io::Write::write(&mut std::io::stderr(), bytes).map_err(|_| libc::EIO)
        }
        libc::SYS_getpid => Ok(std::process::id() as usize),
        libc::SYS_gettid => Ok(NUMBER.with(|n| *n) as usize),
        // No signal comes, nothing is limited, and no thread has another stack: what is asked for stays as it was given.
        libc::SYS_rt_sigprocmask | libc::SYS_prlimit64 | libc::SYS_sigaltstack => Ok(0),
        libc::SYS_nanosleep => {
            std::thread::yield_now();
            Ok(0)
        }
        _ => Err(libc::ENOSYS),
    };
    done.map_or_else(|errno| -(errno as isize), |answer| answer as isize)
}

fn pointer<T>(at: usize) -> *mut T {
    core::ptr::with_exposed_provenance_mut(at)
}

/// PROCMAP_QUERY (linux/fs.h, struct procmap_query): the mapping that covers an address, or the next.
///
/// # Safety
/// `q` is the struct.
unsafe fn query(q: *mut u64) -> Result<usize, i32> {
    // SAFETY: the caller's promise: thirteen words, of which the third is the address.
    let addr = unsafe { q.add(2).read() } as usize;
    let (start, end, prot) = memory::mapping(addr).ok_or(libc::ENOENT)?;
    // start, end, flags (read 1, write 2, execute 4: as PROT_*), page size, offset, inode, device, sizes of name and build ID
    for (i, word) in [start, end, prot as usize, 4096, 0, 0, 0, 0].into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { q.add(3 + i).write(word as u64) };
    }
    Ok(0)
}
