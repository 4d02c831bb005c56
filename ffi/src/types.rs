//! The C interface's enums and structs, laid out as the header says. Enums that come from C are taken as `MaybeUninit`
//! (C can pass any int, and in Rust that would be undefined behaviour) and checked here; cbindgen writes the plain enum.

use core::ffi::{c_char, c_int, c_void};
use core::mem::{MaybeUninit, offset_of};

use hmmrt_core::{AccessMode, Advice, LaunchConfig, Page, Protection};

use crate::guard::Failure;
use crate::sized::Sized_;

/// What an access does with the memory. Ranges that are only written are not copied in, except partly written pages.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_access_mode {
    /// It is read.
    HMM_READ = 1,
    /// All of it is written. Nothing of it is read, but what another range of the same call reads.
    HMM_WRITE = 2,
    /// Both, or a part of it is written.
    HMM_READ_WRITE = 3,
}

/// What the program itself may do with managed memory (hmm_protect).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_protection {
    /// Nothing.
    HMM_PROTECT_NONE = 0,
    /// Read.
    HMM_PROTECT_READ = 1,
    /// Read and write, as it is at first.
    HMM_PROTECT_READ_WRITE = 3,
}

/// What the program knows about how it will use a range (hmm_advise). Advice changes costs, never contents, and holds under
/// every policy, for the whole chunks of 2 MiB that the range touches, until it is taken back or the memory is freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_advice {
    /// Mostly read: what a device gets leaves the host's copy valid, and what the CPU reads, or has brought home, the
    /// device's. A write takes what it touches.
    HMM_ADVISE_READ_MOSTLY = 1,
    /// Takes back HMM_ADVISE_READ_MOSTLY.
    HMM_ADVISE_UNSET_READ_MOSTLY = 2,
    /// The range should stay at the location. A device: a touch by the CPU brings 64 KiB at most, and the range is the last to
    /// leave when the device is full. HMM_HOST: what is moved to a device leaves the host's copy valid until the device
    /// writes, a touch brings all of the 2 MiB, and the range is the first to leave a device that is full.
    HMM_ADVISE_PREFERRED_LOCATION = 3,
    /// Takes back HMM_ADVISE_PREFERRED_LOCATION.
    HMM_ADVISE_UNSET_PREFERRED_LOCATION = 4,
    /// The location will use the range. A device: a write by the CPU takes 64 KiB at most of what the device has, so that
    /// the next launch copies no more, and the range is among the last to leave that device. HMM_HOST: what is moved to a
    /// device leaves the host's copy valid until the device writes. Any number of locations can be named.
    HMM_ADVISE_ACCESSED_BY = 5,
    /// Takes back HMM_ADVISE_ACCESSED_BY.
    HMM_ADVISE_UNSET_ACCESSED_BY = 6,
    /// The CPU uses it in the order of its addresses: a touch brings all of the 2 MiB, and HMM_POLICY_AUTO reads ahead.
    HMM_ADVISE_SEQUENTIAL = 7,
    /// The CPU uses it in no order: a touch brings its page and no other.
    HMM_ADVISE_RANDOM = 8,
    /// Takes back HMM_ADVISE_SEQUENTIAL and HMM_ADVISE_RANDOM.
    HMM_ADVISE_UNSET_PATTERN = 9,
}

/// What an hmm_arg is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_arg_kind {
    /// size bytes at data, copied.
    HMM_ARG_VALUE = 0,
    /// A managed address: data itself.
    HMM_ARG_POINTER = 1,
}

/// The bits of hmm_page.flags. HOST and DEVICE together: both copies are valid. READ and WRITE: the program's own
/// protection. FOREIGN: not managed by this library.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_page_flag {
    /// Nothing has touched it: it has no bytes anywhere and reads as zeros.
    HMM_PAGE_UNTOUCHED = 1,
    /// Its bytes on the host are valid.
    HMM_PAGE_HOST = 2,
    /// Its bytes on hmm_page.device are valid.
    HMM_PAGE_DEVICE = 4,
    /// The program may read it.
    HMM_PAGE_READ = 8,
    /// The program may write it.
    HMM_PAGE_WRITE = 16,
    /// hmm_pin keeps it on the host.
    HMM_PAGE_PINNED = 32,
    /// It is not managed by this library.
    HMM_PAGE_FOREIGN = 64,
}

/// Behind hmm_stream; never defined.
pub struct hmm_stream_s {
    _opaque: [u8; 0],
}

/// Behind hmm_module; never defined.
pub struct hmm_module_s {
    _opaque: [u8; 0],
}

/// Behind hmm_kernel; never defined.
pub struct hmm_kernel_s {
    _opaque: [u8; 0],
}

/// A queue of work on one device. NULL: the device's default stream.
pub type hmm_stream = *mut hmm_stream_s;

/// Device code that was loaded. Modules live as long as the runtime.
pub type hmm_module = *mut hmm_module_s;

/// One kernel of a module, or a host function in a kernel's place.
pub type hmm_kernel = *mut hmm_kernel_s;

/// One range that the device will use, for hmm_acquire.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hmm_access {
    /// A managed address.
    pub ptr: *const c_void,
    /// Bytes from there.
    pub len: usize,
    /// What the device does with them.
    pub mode: MaybeUninit<hmm_access_mode>,
}

/// How a kernel is launched.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hmm_launch_config {
    /// sizeof(hmm_launch_config).
    pub struct_size: usize,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes: u32,
    /// Where it is queued; NULL: the default stream of the kernel's device.
    pub stream: hmm_stream,
}

// SAFETY: repr(C), the size comes first.
unsafe impl Sized_ for hmm_launch_config {
    const FIRST: usize = 48;
}

/// One argument of a launch. HMM_ARG_VALUE: data is the address of size bytes, 64 KiB at most, which are copied; mode is not looked at.
/// HMM_ARG_POINTER: data is a managed address, size the length that the kernel may touch there, mode what it does there; or
/// it is NULL, and size 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hmm_arg {
    /// Which of the two it is.
    pub kind: MaybeUninit<hmm_arg_kind>,
    /// What the kernel does there, of a pointer.
    pub mode: MaybeUninit<hmm_access_mode>,
    /// The address.
    pub data: *const c_void,
    /// Bytes there.
    pub size: usize,
}

/// A kernel of the host backend. Called once a launch on the stream's thread; args[i] points at the i-th argument, at an address
/// that is a multiple of 16; pointers are device addresses already. It must not call hmm_ functions nor touch managed memory
/// but through its arguments.
pub type hmm_host_function =
    Option<unsafe extern "C" fn(config: *const hmm_launch_config, args: *const *mut c_void)>;

/// Where a page is (hmm_query).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hmm_page {
    /// HMM_PAGE_ bits.
    pub flags: u32,
    /// The device that has it, -1 if none.
    pub device: i32,
}

/// What the runtime has done since it started, or since hmm_stats_reset; but vmas, spare_bytes, device_bytes,
/// managed_bytes and table_bytes are what there is now. Read with hmm_stats_get.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hmm_stats {
    /// sizeof(hmm_stats).
    pub struct_size: usize,
    /// CPU touches of pages that were away or guarded.
    pub faults: u64,
    /// Of them, reads.
    pub read_faults: u64,
    /// Of them, writes.
    pub write_faults: u64,
    /// Bytes copied to a device, from the host or from another device.
    pub bytes_to_device: u64,
    /// Bytes copied to the host.
    pub bytes_to_host: u64,
    /// Moves to a device, copied or not: one for each 2 MiB chunk that something moved in.
    pub moves_to_device: u64,
    /// Moves to the host, counted likewise.
    pub moves_to_host: u64,
    /// Bytes of moved pages that needed no copy: untouched, still valid on the other side, or discarded.
    pub bytes_not_copied: u64,
    /// Chunks sent home because a device was full.
    pub evictions: u64,
    /// Prefetches asked for.
    pub prefetches: u64,
    /// Bytes that a prefetch brought, or the policy by itself, and that something used.
    pub prefetched_bytes_used: u64,
    /// Bytes that a prefetch brought, or the policy by itself, and that nothing used.
    pub prefetched_bytes_wasted: u64,
    /// Times that something waited for a kernel.
    pub waits: u64,
    /// Memory mappings that the runtime is answerable for, an upper estimate.
    pub vmas: u64,
    /// Host memory kept in the pool of warm blocks.
    pub spare_bytes: u64,
    /// Device memory in use.
    pub device_bytes: u64,
    /// Live blocks and adopted memory.
    pub managed_bytes: u64,
    /// The residency table's own memory.
    pub table_bytes: u64,
    /// Movements, launches and other calls of devices that failed. What is refused for its arguments need not count.
    pub errors: u64,
    /// Of bytes_to_device: for launches and hmm_acquire. The next five, with it, are all of them.
    pub launch_bytes_to_device: u64,
    /// Of bytes_to_device: for prefetches that the program asked for.
    pub prefetch_bytes_to_device: u64,
    /// Of bytes_to_device: moved by the runtime itself before they were asked for.
    pub ahead_bytes_to_device: u64,
    /// Of bytes_to_device: because the program asked for the move (hmm_migrate).
    pub asked_bytes_to_device: u64,
    /// Of bytes_to_device: to a peer, because a device was full.
    pub evict_bytes_to_device: u64,
    /// Of bytes_to_device: for anything else.
    pub other_bytes_to_device: u64,
    /// Of bytes_to_host: for touches by the CPU. The next five, with it, are all of them.
    pub fault_bytes_to_host: u64,
    /// Of bytes_to_host: for prefetches that the program asked for.
    pub prefetch_bytes_to_host: u64,
    /// Of bytes_to_host: moved by the runtime itself before they were asked for.
    pub ahead_bytes_to_host: u64,
    /// Of bytes_to_host: because the program asked for it (hmm_migrate, hmm_host_ready, hmm_pin, a system call).
    pub asked_bytes_to_host: u64,
    /// Of bytes_to_host: because a device was full.
    pub evict_bytes_to_host: u64,
    /// Of bytes_to_host: for fork, for the end, for memory that ceases to be managed, and for anything else.
    pub other_bytes_to_host: u64,
}

// SAFETY: repr(C), the size comes first.
unsafe impl Sized_ for hmm_stats {
    const FIRST: usize = 160;
}

/// What a device is. Read with hmm_device_info.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hmm_device_info_s {
    /// sizeof(hmm_device_info_s).
    pub struct_size: usize,
    /// Its name, cut to fit.
    pub name: [c_char; 128],
    /// "host", "cuda" or "hip".
    pub backend: [c_char; 16],
    /// Its memory, bytes.
    pub memory_total: u64,
    /// How much of it is free now, bytes.
    pub memory_free: u64,
    /// hmm_malloc's blocks have the same addresses on the device: pointers inside data work in kernels unchanged.
    pub same_address: bool,
}

// SAFETY: repr(C), the size comes first.
unsafe impl Sized_ for hmm_device_info_s {
    const FIRST: usize = 176;
}

// What the runtime lays out itself and this interface passes on as it is.
const _: () = {
    assert!(
        size_of::<hmm_page>() == size_of::<Page>()
            && offset_of!(hmm_page, device) == offset_of!(Page, device)
    );
    assert!(size_of::<hmm_launch_config>() == size_of::<LaunchConfig>());
    assert!(offset_of!(hmm_launch_config, grid) == offset_of!(LaunchConfig, grid));
    assert!(offset_of!(hmm_launch_config, block) == offset_of!(LaunchConfig, block));
    assert!(offset_of!(hmm_launch_config, shared_bytes) == offset_of!(LaunchConfig, shared_bytes));
    assert!(offset_of!(hmm_launch_config, stream) == offset_of!(LaunchConfig, stream));
    assert!(size_of::<hmm_stream>() == size_of::<u64>());
    // The first version's sizes are part of the ABI; these structs only grow at their end.
    assert!(size_of::<hmm_launch_config>() >= hmm_launch_config::FIRST);
    assert!(size_of::<hmm_stats>() >= hmm_stats::FIRST);
    assert!(size_of::<hmm_device_info_s>() >= hmm_device_info_s::FIRST);
    assert!(hmm_page_flag::HMM_PAGE_UNTOUCHED as u32 == Page::UNTOUCHED);
    assert!(hmm_page_flag::HMM_PAGE_HOST as u32 == Page::HOST);
    assert!(hmm_page_flag::HMM_PAGE_DEVICE as u32 == Page::DEVICE);
    assert!(hmm_page_flag::HMM_PAGE_READ as u32 == Page::READ);
    assert!(hmm_page_flag::HMM_PAGE_WRITE as u32 == Page::WRITE);
    assert!(hmm_page_flag::HMM_PAGE_PINNED as u32 == Page::PINNED);
    assert!(hmm_page_flag::HMM_PAGE_FOREIGN as u32 == Page::FOREIGN);
};

/// The int that C passed for an enum.
pub(crate) fn int<E>(value: MaybeUninit<E>) -> c_int {
    const { assert!(size_of::<E>() == size_of::<c_int>()) };
    // SAFETY: only used with the `repr(C)` enums of this interface, which are ints, and C passes them initialised.
    unsafe { value.as_ptr().cast::<c_int>().read() }
}

pub(crate) fn access_mode(
    argument: &'static str,
    value: MaybeUninit<hmm_access_mode>,
) -> Result<AccessMode, Failure> {
    match int(value) {
        1 => Ok(AccessMode::Read),
        2 => Ok(AccessMode::Write),
        3 => Ok(AccessMode::ReadWrite),
        value => Err(Failure::Enum { argument, value, name: "hmm_access_mode" }),
    }
}

pub(crate) fn protection(
    argument: &'static str,
    value: MaybeUninit<hmm_protection>,
) -> Result<Protection, Failure> {
    match int(value) {
        0 => Ok(Protection::None),
        1 => Ok(Protection::Read),
        3 => Ok(Protection::ReadWrite),
        value => Err(Failure::Enum { argument, value, name: "hmm_protection" }),
    }
}

pub(crate) fn advice(argument: &'static str, value: MaybeUninit<hmm_advice>) -> Result<Advice, Failure> {
    Ok(match int(value) {
        1 => Advice::ReadMostly,
        2 => Advice::UnsetReadMostly,
        3 => Advice::PreferredLocation,
        4 => Advice::UnsetPreferredLocation,
        5 => Advice::AccessedBy,
        6 => Advice::UnsetAccessedBy,
        7 => Advice::Sequential,
        8 => Advice::Random,
        9 => Advice::UnsetPattern,
        value => return Err(Failure::Enum { argument, value, name: "hmm_advice" }),
    })
}
