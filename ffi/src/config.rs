//! `hmm_config`: the settings that `hmm_init` takes. Every field has an `HMMRT_` variable; nought in a field means that the
//! variable, or else the default, decides. `settings` reads it.

use core::ffi::c_char;
use core::mem::MaybeUninit;

use crate::sized::Sized_;

/// Which devices to use (HMMRT_BACKEND).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_backend {
    /// HMMRT_BACKEND, or else HMM_BACKEND_AUTO.
    HMM_BACKEND_DEFAULT = 0,
    /// The first that works: a real GPU if there is one, else the host backend.
    HMM_BACKEND_AUTO = 1,
    /// The built-in stand-in: device memory in host RAM, kernels on threads.
    HMM_BACKEND_HOST = 2,
    /// NVIDIA, through the driver.
    HMM_BACKEND_CUDA = 3,
    /// AMD, through the HIP runtime.
    HMM_BACKEND_HIP = 4,
}

/// How a CPU touch of absent memory is noticed (HMMRT_FAULT).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_fault_engine {
    /// HMMRT_FAULT, or else HMM_FAULT_AUTO.
    HMM_FAULT_DEFAULT = 0,
    /// What works best here.
    HMM_FAULT_AUTO = 1,
    /// Page protection and SIGSEGV.
    HMM_FAULT_SEGV = 2,
    /// userfaultfd, in the faulting thread.
    HMM_FAULT_UFFD = 3,
    /// userfaultfd, with a handler thread.
    HMM_FAULT_UFFD_THREAD = 4,
}

/// What a forked child gets of pages that are on a device only (HMMRT_FORK).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_fork_mode {
    /// HMMRT_FORK, or else HMM_FORK_SNAPSHOT.
    HMM_FORK_DEFAULT = 0,
    /// A copy: they are brought home before the fork.
    HMM_FORK_SNAPSHOT = 1,
    /// Nothing, SIGBUS with a message: for programs whose children only call exec.
    HMM_FORK_EXEC = 2,
}

/// What moves when (HMMRT_POLICY).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_policy {
    /// HMMRT_POLICY, or else HMM_POLICY_CHUNK.
    HMM_POLICY_DEFAULT = 0,
    /// All of the 2 MiB that is like the touched page.
    HMM_POLICY_CHUNK = 1,
    /// Each allocation learns whether to bring chunks or pages.
    HMM_POLICY_AUTO = 2,
    /// The touched page only.
    HMM_POLICY_DEMAND = 3,
    /// By the rules of NVIDIA's unified memory.
    HMM_POLICY_UVM = 4,
}

/// Where a chunk goes that leaves a device that is full (HMMRT_SPILL).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_spill {
    /// HMMRT_SPILL, or else HMM_SPILL_HOME.
    HMM_SPILL_DEFAULT = 0,
    /// Home.
    HMM_SPILL_HOME = 1,
    /// To another device, if one has room.
    HMM_SPILL_PEER = 2,
}

/// A setting that is on or off.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_switch {
    /// The variable, or else the default.
    HMM_SWITCH_DEFAULT = 0,
    /// On.
    HMM_SWITCH_ON = 1,
    /// Off.
    HMM_SWITCH_OFF = 2,
}

/// What is logged to stderr (HMMRT_LOG).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub enum hmm_log_level {
    /// HMMRT_LOG, or else HMM_LOG_WARN.
    HMM_LOG_DEFAULT = 0,
    /// Nothing but fatal errors.
    HMM_LOG_OFF = 1,
    /// What went wrong.
    HMM_LOG_ERROR = 2,
    /// What is odd, too.
    HMM_LOG_WARN = 3,
    /// What was chosen and why, too.
    HMM_LOG_INFO = 4,
    /// Every move, too.
    HMM_LOG_DEBUG = 5,
}

/// Settings for hmm_init. Fill it with zeros and set struct_size and what should differ: a zero field is taken from its
/// HMMRT_ variable, or else from the default. HMM_NOUGHT in a number means that it really is 0,
/// where that is something else than the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hmm_config {
    /// sizeof(hmm_config).
    pub struct_size: usize,
    /// HMMRT_BACKEND.
    pub backend: MaybeUninit<hmm_backend>,
    /// HMMRT_FAULT.
    pub fault: MaybeUninit<hmm_fault_engine>,
    /// HMMRT_SPARE: how many bytes of warm host blocks are kept; the rest is given back.
    pub spare_bytes: u64,
    /// HMMRT_HOST_DEVICES: how many devices the host backend has.
    pub host_devices: u64,
    /// HMMRT_HOST_MEMORY: the memory of each of them, bytes.
    pub host_memory: u64,
    /// HMMRT_HOST_BANDWIDTH: how fast they copy, bytes a second (HMM_NOUGHT: as fast as they can).
    pub host_bandwidth: u64,
    /// HMMRT_HOST_LATENCY: how long each of their copies and launches takes at least, nanoseconds.
    pub host_latency_ns: u64,
    /// HMMRT_VMA_BUDGET: how many memory mappings managed memory may take up.
    pub vma_budget: u64,
    /// HMMRT_HOST_DIRECT: a fault copies from the host backend's devices itself; off: it asks the service thread, as it
    /// must where there is a GPU driver.
    pub host_direct: MaybeUninit<hmm_switch>,
    /// HMMRT_STATS: print a table of hmm_stats to stderr when the program ends.
    pub stats: MaybeUninit<hmm_switch>,
    /// HMMRT_LOG.
    pub log: MaybeUninit<hmm_log_level>,
    /// HMMRT_HOST_FAIL: which calls of the host backend are to fail, for tests ("" for none). NULL: the environment's.
    pub host_fail: *const c_char,
    /// HMMRT_CUDA_LIBRARY: the CUDA driver to load instead of the system's ("" for the system's). NULL: the environment's.
    /// Not looked at in a setuid program.
    pub cuda_library: *const c_char,
    /// HMMRT_HIP_LIBRARY: the HIP runtime to load instead of the system's, as above.
    pub hip_library: *const c_char,
    /// HMMRT_DEVICE_GROUP: the most GPU memory that is made and mapped in one piece, bytes.
    pub device_group: u64,
    /// HMMRT_DRIVER_TIMEOUT: how many seconds a CPU touch waits for the GPU driver (HMM_NOUGHT: for ever).
    pub driver_timeout: u64,
    /// HMMRT_SAME_ADDRESS: give GPU memory the addresses of host memory where the driver can.
    pub same_address: MaybeUninit<hmm_switch>,
    /// HMMRT_FORK.
    pub fork: MaybeUninit<hmm_fork_mode>,
    /// HMMRT_TRACE: the file that gets a trace of what happens to managed memory, for `hmmrt report` ("" for none); %p in it
    /// is the process's number. NULL: the environment's. Not looked at in a setuid program.
    pub trace: *const c_char,
    /// HMMRT_TRACE_SIZE: the most bytes that the trace may have.
    pub trace_size: u64,
    /// HMMRT_POLICY.
    pub policy: MaybeUninit<hmm_policy>,
    /// HMMRT_SPILL.
    pub spill: MaybeUninit<hmm_spill>,
    /// HMMRT_UFFD_MOVE: the userfaultfd engines move pages into place where the kernel can; off: they copy them.
    pub uffd_move: MaybeUninit<hmm_switch>,
    /// Nothing; 0.
    pub reserved: u32,
    /// HMMRT_STATS with a path: the file that the table of hmm_stats is added to ("" for none), %p in it is the process's
    /// number. NULL: the environment's. Not looked at in a setuid program. The first file of a process stays its file; so it is
    /// with trace.
    pub stats_file: *const c_char,
}

// SAFETY: repr(C), the size comes first.
unsafe impl Sized_ for hmm_config {
    const FIRST: usize = 88;
}

const _: () = assert!(size_of::<hmm_config>() >= hmm_config::FIRST);
