// hmmrt.h: the C interface of libhmmrt, heterogeneous memory management in user space.
// Generated from ffi/src by cbindgen: do not edit. HMMRT_BLESS=1 cargo test -p hmmrt-ffi --test header
//
// One pointer, valid on the CPU and on the devices; each page lives where it is used, and comes home by itself when the
// CPU touches it. Link with -lhmmrt (pkg-config: hmmrt).
//
// CONVENTIONS
//   Status      Calls answer HMM_OK (0) or a negative HMM_ERR_ code. Codes are never renumbered. hmm_strerror says what a
//               code means; hmm_last_error has this thread's last message, which names the call and the argument.
//   Failure     A call that fails changes nothing, unless its description says otherwise. Out-parameters come last and are
//               written only on success.
//   Pointers    NULL is checked: HMM_ERR_NULL_POINTER. hmm_free(NULL) is fine. Interior pointers are fine wherever a range
//               is meant; a range lies within one block, or within adopted memory.
//   Allocation  hmm_malloc and its family answer like the C library's: NULL and errno.
//   Structs     Those that may grow begin with struct_size: set it to sizeof. A smaller one than the first version's is
//               HMM_ERR_STRUCT_SIZE; so is a larger one whose additional bytes are not zero. Structs that are written are
//               written up to the smaller of the two sizes.
//   Units       Lengths and memory are bytes; pages are 4 KiB whatever the system's huge pages; bandwidths are bytes per
//               second, latencies nanoseconds. A location is HMM_HOST or a device number from 0.
//   Ranges      Movement works on the pages that a range touches. hmm_discard works on the whole pages within it. A range
//               of length 0 is fine wherever it points, NULL included, and nothing happens; but hmm_adopt and hmm_disown
//               refuse it, hmm_protect an address in the middle of a page, and hmm_unpin what has no pin.
//   Order       A stream's work runs in the order in which it was queued. CPU touches of memory that a kernel may write
//               wait for that kernel; no other touch waits for a kernel.
//   Settings    Each field of hmm_config has an environment variable HMMRT_...; README.md lists them all.
//
// SAFETY                                             several threads   signal handlers   a forked child
//   touching managed memory                          yes               yes               yes, its own (4)
//   hmm_version, hmm_strerror                        yes               yes               yes
//   hmm_last_error                                   yes, its own      no                yes
//   hmm_owns, hmm_usable_size                        yes               no                yes
//   hmm_malloc, hmm_calloc, hmm_realloc,
//     hmm_aligned_alloc                              yes               no                HMM_ERR_FORKED, NULL and EINVAL
//   hmm_free                                         yes (1)           no                no effect
//   hmm_adopt, hmm_disown, hmm_protect               yes (1)           no                HMM_ERR_FORKED
//   hmm_init, hmm_shutdown                           yes (2)           no                HMM_ERR_FORKED
//   hmm_device_count, hmm_device_info                yes               no                0, HMM_ERR_FORKED
//   hmm_prefetch, hmm_migrate, hmm_host_ready,
//     hmm_pin, hmm_unpin, hmm_advise                 yes               no                HMM_ERR_FORKED
//   hmm_discard                                      yes (1)           no                HMM_ERR_FORKED
//   hmm_acquire, hmm_release, hmm_device_ptr         yes               no                HMM_ERR_FORKED
//   hmm_stream_..., hmm_module_..., hmm_kernel_...,
//     hmm_launch                                     yes (3)           no                HMM_ERR_FORKED
//   hmm_query, hmm_stats_get, hmm_stats_reset        yes               no                yes
// (1) Not while another thread still uses the same block, as with free and munmap.
// (2) hmm_shutdown waits for calls of other threads (HMM_ERR_BUSY if one does not end); later ones answer HMM_ERR_SHUTDOWN.
// (3) A stream must not be destroyed while another thread uses its handle.
// (4) A snapshot of its own, as of any memory: fork waits for kernels, and brings home what is on a device only. What is
//     acquired for a device to write and not released is not in the child (SIGBUS, with a message); nor is anything that is
//     on a device only with HMMRT_FORK=exec, for programs whose children only call exec.
// After hmm_shutdown: as in a forked child, with HMM_ERR_SHUTDOWN; but hmm_init starts the runtime again, and hmm_free,
// hmm_disown and hmm_unpin work.
// Touching memory that is away works in signal handlers too, on alternate stacks too, and with SIGSEGV handlers of the
// program's own, installed before or after. For that a program that is linked with the library gets its sigaction and signal,
// which differ from the C library's for SIGSEGV only: they keep the program's handler beside the runtime's. A program that
// loads the library with dlopen, and then sets a handler for SIGSEGV, must pass on what it does not know.

#ifndef HMMRT_H
#define HMMRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A location: the host's memory. Devices are 0 and up.
#define HMM_HOST (-1)

// hmm_config: this number really is 0, where 0 means the default.
#define HMM_NOUGHT UINT64_MAX

// What a call answers: HMM_OK, or one of the negative codes. Codes are never renumbered; a later version may add some.
enum hmm_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The call did what it was asked to.
    HMM_OK = 0,
    // An argument has a value that is not allowed (a zero length, an alignment that is no power of two, ...).
    HMM_ERR_INVALID_ARGUMENT = -1,
    // A pointer argument is NULL.
    HMM_ERR_NULL_POINTER = -2,
    // The host has no memory or address space left for this.
    HMM_ERR_NO_MEMORY = -3,
    // The device has no memory left for this.
    HMM_ERR_DEVICE_MEMORY = -4,
    // The address is not managed by this library.
    HMM_ERR_NOT_MANAGED = -5,
    // The range goes past the end of the block that it starts in.
    HMM_ERR_OUT_OF_RANGE = -6,
    // The program itself made the memory inaccessible. Like the kernel's EFAULT.
    HMM_ERR_ACCESS_DENIED = -7,
    // The program itself made the memory read-only and this would write it. Like the kernel's EPERM.
    HMM_ERR_READ_ONLY = -8,
    // Part of the range is not mapped. Like the kernel's EINVAL.
    HMM_ERR_HOLE = -9,
    // The memory is shared, a file's or otherwise special: only private anonymous memory moves.
    HMM_ERR_NOT_MIGRATABLE = -10,
    // The memory is pinned, or acquired by a stream.
    HMM_ERR_BUSY = -11,
    // There is no such device.
    HMM_ERR_NO_DEVICE = -12,
    // This build, backend or machine can't do that.
    HMM_ERR_UNSUPPORTED = -13,
    // A device or its driver reported an error; the message has the driver's own code and name.
    HMM_ERR_DEVICE = -14,
    // Called after hmm_shutdown; hmm_init starts the runtime again.
    HMM_ERR_SHUTDOWN = -15,
    // Called in a forked child; the runtime and its devices belong to the parent.
    HMM_ERR_FORKED = -16,
    // A stream, module or kernel handle is not valid, or no longer.
    HMM_ERR_BAD_HANDLE = -17,
    // The only copy of the memory's contents was lost with its device.
    HMM_ERR_LOST = -18,
    // An HMMRT_* variable or a field of hmm_config has a value that is not known; the message names both.
    HMM_ERR_CONFIG = -19,
    // A call to the operating system failed; the message names it.
    HMM_ERR_SYSTEM = -20,
    // A struct's struct_size does not fit this version of the library.
    HMM_ERR_STRUCT_SIZE = -21,
    // The library caught an error of its own. Please report it.
    HMM_ERR_PANIC = -22,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum hmm_status hmm_status;
#else
typedef int32_t hmm_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Which devices to use (HMMRT_BACKEND).
typedef enum {
    // HMMRT_BACKEND, or else HMM_BACKEND_AUTO.
    HMM_BACKEND_DEFAULT = 0,
    // The first that works: a real GPU if there is one, else the host backend.
    HMM_BACKEND_AUTO = 1,
    // The built-in stand-in: device memory in host RAM, kernels on threads.
    HMM_BACKEND_HOST = 2,
    // NVIDIA, through the driver.
    HMM_BACKEND_CUDA = 3,
    // AMD, through the HIP runtime.
    HMM_BACKEND_HIP = 4,
} hmm_backend;

// How a CPU touch of absent memory is noticed (HMMRT_FAULT).
typedef enum {
    // HMMRT_FAULT, or else HMM_FAULT_AUTO.
    HMM_FAULT_DEFAULT = 0,
    // What works best here.
    HMM_FAULT_AUTO = 1,
    // Page protection and SIGSEGV.
    HMM_FAULT_SEGV = 2,
    // userfaultfd, in the faulting thread.
    HMM_FAULT_UFFD = 3,
    // userfaultfd, with a handler thread.
    HMM_FAULT_UFFD_THREAD = 4,
} hmm_fault_engine;

// A setting that is on or off.
typedef enum {
    // The variable, or else the default.
    HMM_SWITCH_DEFAULT = 0,
    // On.
    HMM_SWITCH_ON = 1,
    // Off.
    HMM_SWITCH_OFF = 2,
} hmm_switch;

// What is logged to stderr (HMMRT_LOG).
typedef enum {
    // HMMRT_LOG, or else HMM_LOG_WARN.
    HMM_LOG_DEFAULT = 0,
    // Nothing but fatal errors.
    HMM_LOG_OFF = 1,
    // What went wrong.
    HMM_LOG_ERROR = 2,
    // What is odd, too.
    HMM_LOG_WARN = 3,
    // What was chosen and why, too.
    HMM_LOG_INFO = 4,
    // Every move, too.
    HMM_LOG_DEBUG = 5,
} hmm_log_level;

// What a forked child gets of pages that are on a device only (HMMRT_FORK).
typedef enum {
    // HMMRT_FORK, or else HMM_FORK_SNAPSHOT.
    HMM_FORK_DEFAULT = 0,
    // A copy: they are brought home before the fork.
    HMM_FORK_SNAPSHOT = 1,
    // Nothing, SIGBUS with a message: for programs whose children only call exec.
    HMM_FORK_EXEC = 2,
} hmm_fork_mode;

// What moves when (HMMRT_POLICY).
typedef enum {
    // HMMRT_POLICY, or else HMM_POLICY_CHUNK.
    HMM_POLICY_DEFAULT = 0,
    // All of the 2 MiB that is like the touched page.
    HMM_POLICY_CHUNK = 1,
    // Each allocation learns whether to bring chunks or pages.
    HMM_POLICY_AUTO = 2,
    // The touched page only.
    HMM_POLICY_DEMAND = 3,
    // By the rules of NVIDIA's unified memory.
    HMM_POLICY_UVM = 4,
} hmm_policy;

// Where a chunk goes that leaves a device that is full (HMMRT_SPILL).
typedef enum {
    // HMMRT_SPILL, or else HMM_SPILL_HOME.
    HMM_SPILL_DEFAULT = 0,
    // Home.
    HMM_SPILL_HOME = 1,
    // To another device, if one has room.
    HMM_SPILL_PEER = 2,
} hmm_spill;

// What the program itself may do with managed memory (hmm_protect).
typedef enum {
    // Nothing.
    HMM_PROTECT_NONE = 0,
    // Read.
    HMM_PROTECT_READ = 1,
    // Read and write, as it is at first.
    HMM_PROTECT_READ_WRITE = 3,
} hmm_protection;

// What an access does with the memory. Ranges that are only written are not copied in, except partly written pages.
typedef enum {
    // It is read.
    HMM_READ = 1,
    // All of it is written. Nothing of it is read, but what another range of the same call reads.
    HMM_WRITE = 2,
    // Both, or a part of it is written.
    HMM_READ_WRITE = 3,
} hmm_access_mode;

// What the program knows about how it will use a range (hmm_advise). Advice changes costs, never contents, and holds under
// every policy, for the whole chunks of 2 MiB that the range touches, until it is taken back or the memory is freed.
typedef enum {
    // Mostly read: what a device gets leaves the host's copy valid, and what the CPU reads, or has brought home, the
    // device's. A write takes what it touches.
    HMM_ADVISE_READ_MOSTLY = 1,
    // Takes back HMM_ADVISE_READ_MOSTLY.
    HMM_ADVISE_UNSET_READ_MOSTLY = 2,
    // The range should stay at the location. A device: a touch by the CPU brings 64 KiB at most, and the range is the last to
    // leave when the device is full. HMM_HOST: what is moved to a device leaves the host's copy valid until the device
    // writes, a touch brings all of the 2 MiB, and the range is the first to leave a device that is full.
    HMM_ADVISE_PREFERRED_LOCATION = 3,
    // Takes back HMM_ADVISE_PREFERRED_LOCATION.
    HMM_ADVISE_UNSET_PREFERRED_LOCATION = 4,
    // The location will use the range. A device: a write by the CPU takes 64 KiB at most of what the device has, so that
    // the next launch copies no more, and the range is among the last to leave that device. HMM_HOST: what is moved to a
    // device leaves the host's copy valid until the device writes. Any number of locations can be named.
    HMM_ADVISE_ACCESSED_BY = 5,
    // Takes back HMM_ADVISE_ACCESSED_BY.
    HMM_ADVISE_UNSET_ACCESSED_BY = 6,
    // The CPU uses it in the order of its addresses: a touch brings all of the 2 MiB, and HMM_POLICY_AUTO reads ahead.
    HMM_ADVISE_SEQUENTIAL = 7,
    // The CPU uses it in no order: a touch brings its page and no other.
    HMM_ADVISE_RANDOM = 8,
    // Takes back HMM_ADVISE_SEQUENTIAL and HMM_ADVISE_RANDOM.
    HMM_ADVISE_UNSET_PATTERN = 9,
} hmm_advice;

// What an hmm_arg is.
typedef enum {
    // size bytes at data, copied.
    HMM_ARG_VALUE = 0,
    // A managed address: data itself.
    HMM_ARG_POINTER = 1,
} hmm_arg_kind;

// The bits of hmm_page.flags. HOST and DEVICE together: both copies are valid. READ and WRITE: the program's own
// protection. FOREIGN: not managed by this library.
typedef enum {
    // Nothing has touched it: it has no bytes anywhere and reads as zeros.
    HMM_PAGE_UNTOUCHED = 1,
    // Its bytes on the host are valid.
    HMM_PAGE_HOST = 2,
    // Its bytes on hmm_page.device are valid.
    HMM_PAGE_DEVICE = 4,
    // The program may read it.
    HMM_PAGE_READ = 8,
    // The program may write it.
    HMM_PAGE_WRITE = 16,
    // hmm_pin keeps it on the host.
    HMM_PAGE_PINNED = 32,
    // It is not managed by this library.
    HMM_PAGE_FOREIGN = 64,
} hmm_page_flag;

// Behind hmm_kernel; never defined.
typedef struct hmm_kernel_s hmm_kernel_s;

// Behind hmm_module; never defined.
typedef struct hmm_module_s hmm_module_s;

// Behind hmm_stream; never defined.
typedef struct hmm_stream_s hmm_stream_s;

// Settings for hmm_init. Fill it with zeros and set struct_size and what should differ: a zero field is taken from its
// HMMRT_ variable, or else from the default. HMM_NOUGHT in a number means that it really is 0,
// where that is something else than the default.
typedef struct {
    // sizeof(hmm_config).
    size_t struct_size;
    // HMMRT_BACKEND.
    hmm_backend backend;
    // HMMRT_FAULT.
    hmm_fault_engine fault;
    // HMMRT_SPARE: how many bytes of warm host blocks are kept; the rest is given back.
    uint64_t spare_bytes;
    // HMMRT_HOST_DEVICES: how many devices the host backend has.
    uint64_t host_devices;
    // HMMRT_HOST_MEMORY: the memory of each of them, bytes.
    uint64_t host_memory;
    // HMMRT_HOST_BANDWIDTH: how fast they copy, bytes a second (HMM_NOUGHT: as fast as they can).
    uint64_t host_bandwidth;
    // HMMRT_HOST_LATENCY: how long each of their copies and launches takes at least, nanoseconds.
    uint64_t host_latency_ns;
    // HMMRT_VMA_BUDGET: how many memory mappings managed memory may take up.
    uint64_t vma_budget;
    // HMMRT_HOST_DIRECT: a fault copies from the host backend's devices itself; off: it asks the service thread, as it
    // must where there is a GPU driver.
    hmm_switch host_direct;
    // HMMRT_STATS: print a table of hmm_stats to stderr when the program ends.
    hmm_switch stats;
    // HMMRT_LOG.
    hmm_log_level log;
    // HMMRT_HOST_FAIL: which calls of the host backend are to fail, for tests ("" for none). NULL: the environment's.
    const char *host_fail;
    // HMMRT_CUDA_LIBRARY: the CUDA driver to load instead of the system's ("" for the system's). NULL: the environment's.
    // Not looked at in a setuid program.
    const char *cuda_library;
    // HMMRT_HIP_LIBRARY: the HIP runtime to load instead of the system's, as above.
    const char *hip_library;
    // HMMRT_DEVICE_GROUP: the most GPU memory that is made and mapped in one piece, bytes.
    uint64_t device_group;
    // HMMRT_DRIVER_TIMEOUT: how many seconds a CPU touch waits for the GPU driver (HMM_NOUGHT: for ever).
    uint64_t driver_timeout;
    // HMMRT_SAME_ADDRESS: give GPU memory the addresses of host memory where the driver can.
    hmm_switch same_address;
    // HMMRT_FORK.
    hmm_fork_mode fork;
    // HMMRT_TRACE: the file that gets a trace of what happens to managed memory, for `hmmrt report` ("" for none); %p in it
    // is the process's number. NULL: the environment's. Not looked at in a setuid program.
    const char *trace;
    // HMMRT_TRACE_SIZE: the most bytes that the trace may have.
    uint64_t trace_size;
    // HMMRT_POLICY.
    hmm_policy policy;
    // HMMRT_SPILL.
    hmm_spill spill;
    // HMMRT_UFFD_MOVE: the userfaultfd engines move pages into place where the kernel can; off: they copy them.
    hmm_switch uffd_move;
    // Nothing; 0.
    uint32_t reserved;
    // HMMRT_STATS with a path: the file that the table of hmm_stats is added to ("" for none), %p in it is the process's
    // number. NULL: the environment's. Not looked at in a setuid program. The first file of a process stays its file; so it is
    // with trace.
    const char *stats_file;
} hmm_config;

// What a device is. Read with hmm_device_info.
typedef struct {
    // sizeof(hmm_device_info_s).
    size_t struct_size;
    // Its name, cut to fit.
    char name[128];
    // "host", "cuda" or "hip".
    char backend[16];
    // Its memory, bytes.
    uint64_t memory_total;
    // How much of it is free now, bytes.
    uint64_t memory_free;
    // hmm_malloc's blocks have the same addresses on the device: pointers inside data work in kernels unchanged.
    bool same_address;
} hmm_device_info_s;

// A queue of work on one device. NULL: the device's default stream.
typedef hmm_stream_s *hmm_stream;

// One range that the device will use, for hmm_acquire.
typedef struct {
    // A managed address.
    const void *ptr;
    // Bytes from there.
    size_t len;
    // What the device does with them.
    hmm_access_mode mode;
} hmm_access;

// Device code that was loaded. Modules live as long as the runtime.
typedef hmm_module_s *hmm_module;

// One kernel of a module, or a host function in a kernel's place.
typedef hmm_kernel_s *hmm_kernel;

// How a kernel is launched.
typedef struct {
    // sizeof(hmm_launch_config).
    size_t struct_size;
    // Blocks in x, y and z.
    uint32_t grid[3];
    // Threads of a block in x, y and z.
    uint32_t block[3];
    // Dynamic shared memory of a block, bytes.
    uint32_t shared_bytes;
    // Where it is queued; NULL: the default stream of the kernel's device.
    hmm_stream stream;
} hmm_launch_config;

// A kernel of the host backend. Called once a launch on the stream's thread; args[i] points at the i-th argument, at an address
// that is a multiple of 16; pointers are device addresses already. It must not call hmm_ functions nor touch managed memory
// but through its arguments.
typedef void (*hmm_host_function)(const hmm_launch_config *config, void *const *args);

// One argument of a launch. HMM_ARG_VALUE: data is the address of size bytes, 64 KiB at most, which are copied; mode is not looked at.
// HMM_ARG_POINTER: data is a managed address, size the length that the kernel may touch there, mode what it does there; or
// it is NULL, and size 0.
typedef struct {
    // Which of the two it is.
    hmm_arg_kind kind;
    // What the kernel does there, of a pointer.
    hmm_access_mode mode;
    // The address.
    const void *data;
    // Bytes there.
    size_t size;
} hmm_arg;

// Where a page is (hmm_query).
typedef struct {
    // HMM_PAGE_ bits.
    uint32_t flags;
    // The device that has it, -1 if none.
    int32_t device;
} hmm_page;

// What the runtime has done since it started, or since hmm_stats_reset; but vmas, spare_bytes, device_bytes,
// managed_bytes and table_bytes are what there is now. Read with hmm_stats_get.
typedef struct {
    // sizeof(hmm_stats).
    size_t struct_size;
    // CPU touches of pages that were away or guarded.
    uint64_t faults;
    // Of them, reads.
    uint64_t read_faults;
    // Of them, writes.
    uint64_t write_faults;
    // Bytes copied to a device, from the host or from another device.
    uint64_t bytes_to_device;
    // Bytes copied to the host.
    uint64_t bytes_to_host;
    // Moves to a device, copied or not: one for each 2 MiB chunk that something moved in.
    uint64_t moves_to_device;
    // Moves to the host, counted likewise.
    uint64_t moves_to_host;
    // Bytes of moved pages that needed no copy: untouched, still valid on the other side, or discarded.
    uint64_t bytes_not_copied;
    // Chunks sent home because a device was full.
    uint64_t evictions;
    // Prefetches asked for.
    uint64_t prefetches;
    // Bytes that a prefetch brought, or the policy by itself, and that something used.
    uint64_t prefetched_bytes_used;
    // Bytes that a prefetch brought, or the policy by itself, and that nothing used.
    uint64_t prefetched_bytes_wasted;
    // Times that something waited for a kernel.
    uint64_t waits;
    // Memory mappings that the runtime is answerable for, an upper estimate.
    uint64_t vmas;
    // Host memory kept in the pool of warm blocks.
    uint64_t spare_bytes;
    // Device memory in use.
    uint64_t device_bytes;
    // Live blocks and adopted memory.
    uint64_t managed_bytes;
    // The residency table's own memory.
    uint64_t table_bytes;
    // Movements, launches and other calls of devices that failed. What is refused for its arguments need not count.
    uint64_t errors;
    // Of bytes_to_device: for launches and hmm_acquire. The next five, with it, are all of them.
    uint64_t launch_bytes_to_device;
    // Of bytes_to_device: for prefetches that the program asked for.
    uint64_t prefetch_bytes_to_device;
    // Of bytes_to_device: moved by the runtime itself before they were asked for.
    uint64_t ahead_bytes_to_device;
    // Of bytes_to_device: because the program asked for the move (hmm_migrate).
    uint64_t asked_bytes_to_device;
    // Of bytes_to_device: to a peer, because a device was full.
    uint64_t evict_bytes_to_device;
    // Of bytes_to_device: for anything else.
    uint64_t other_bytes_to_device;
    // Of bytes_to_host: for touches by the CPU. The next five, with it, are all of them.
    uint64_t fault_bytes_to_host;
    // Of bytes_to_host: for prefetches that the program asked for.
    uint64_t prefetch_bytes_to_host;
    // Of bytes_to_host: moved by the runtime itself before they were asked for.
    uint64_t ahead_bytes_to_host;
    // Of bytes_to_host: because the program asked for it (hmm_migrate, hmm_host_ready, hmm_pin, a system call).
    uint64_t asked_bytes_to_host;
    // Of bytes_to_host: because a device was full.
    uint64_t evict_bytes_to_host;
    // Of bytes_to_host: for fork, for the end, for memory that ceases to be managed, and for anything else.
    uint64_t other_bytes_to_host;
} hmm_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Starts the runtime. Optional: the first call that needs it does the same as hmm_init(NULL), which takes all settings
// from the HMMRT_ environment variables. A variable or a field with an unknown value is HMM_ERR_CONFIG, and the message
// names the variable and the value. When it runs already, NULL is HMM_OK, and settings are HMM_ERR_INVALID_ARGUMENT.
//
// # Safety
// `config` is NULL or points at config->struct_size readable bytes, and its strings are C strings.
hmm_status hmm_init(const hmm_config *config);

// Waits for what is running, brings everything home and stops the runtime. Calls of other threads that are in progress end first:
// HMM_ERR_BUSY if one does not within 20 s, and nothing has changed. Managed memory stays readable and writable;
// hmm_free, hmm_disown, hmm_unpin, hmm_query, hmm_stats_..., hmm_owns, hmm_usable_size, hmm_version, hmm_strerror and
// hmm_last_error still work; every other call but hmm_init, which starts it again, then answers HMM_ERR_SHUTDOWN. Streams,
// modules and kernels are gone.
hmm_status hmm_shutdown(void);

// The library's version, like "0.1.0": a static string.
const char *hmm_version(void);

// What a status means, in a few words: a static string, also for a code that is not known.
const char *hmm_strerror(hmm_status status);

// The message of this thread's last call that failed, as "function: argument: what is wrong". Writes at most `n` bytes
// to `buf`, the last of them NUL, and returns the length of the whole message without the NUL (like snprintf): a result of
// `n` or more was cut. With `n` = 0 `buf` may be NULL. Empty when nothing has failed yet; a call that succeeds leaves it.
//
// # Safety
// `buf` is NULL or has room for `n` bytes.
size_t hmm_last_error(char *buf, size_t n);

// Allocates size bytes of managed memory, aligned for any type. The contents are undefined. Size 0 gives a pointer of its
// own that can be freed. On failure: NULL, errno ENOMEM or EINVAL, and hmm_last_error.
void *hmm_malloc(size_t size);

// Allocates n * size bytes of zeros; they take no memory before they are touched. ENOMEM when the product overflows.
void *hmm_calloc(size_t n, size_t size);

// Changes a block's size, moving it if need be; what is on a device moves without a trip over the host. NULL for ptr: as
// hmm_malloc. Size 0 frees the block and gives NULL, as glibc's. On failure: NULL, and the block is as it was.
//
// # Safety
// Nobody else uses the block during the call, nor its old address after it.
void *hmm_realloc(void *ptr, size_t size);

// Allocates size bytes at a multiple of alignment, which is a power of two; size need not be a multiple of it.
void *hmm_aligned_alloc(size_t alignment, size_t size);

// Frees a block, wherever its pages are; its contents are not copied back, and its pins are forgotten. NULL is fine; errno
// is kept; after hmm_shutdown too. A pointer that is not the start of a live block changes nothing: it is reported to
// stderr, in one line, and to hmm_last_error.
//
// # Safety
// Nobody uses the block any more.
void hmm_free(void *ptr);

// How many bytes of the block can be used, at least what was asked for; 0 if ptr is not the start of a live block.
size_t hmm_usable_size(const void *ptr);

// Whether ptr lies in managed memory: in a live block, or in an adopted range.
bool hmm_owns(const void *ptr);

// Makes the caller's own memory managed, in place: private anonymous memory from a page boundary on; len is rounded up to
// whole pages.
//
// # Safety
// The range stays mapped until hmm_disown, and the program changes its protection only with hmm_protect.
hmm_status hmm_adopt(void *addr, size_t len);

// Brings adopted memory home and gives it back to the caller, contents and protection as they are; a part of what was
// adopted will do.
//
// # Safety
// No device uses the range.
hmm_status hmm_disown(void *addr, size_t len);

// The program's own protection of managed memory: use this where you would use mprotect. It holds wherever the pages are,
// for devices too. addr is at a page boundary; len is rounded up to whole pages.
//
// # Safety
// Nobody relies on an access that the new protection forbids.
hmm_status hmm_protect(void *addr, size_t len, hmm_protection protection);

// How many devices there are: their numbers are 0 and up. 0 also when the runtime can't start; hmm_last_error then has why.
int hmm_device_count(void);

// Describes a device. Set out->struct_size first; no more than that is written. Where same_address is set, hmm_malloc's
// memory has the same addresses on the device, so that pointers inside data work in kernels. A driver can often do that only
// for memory that is made after it was started: call hmm_device_count before the first hmm_malloc.
//
// # Safety
// `out` points at out->struct_size writable bytes.
hmm_status hmm_device_info(int device, hmm_device_info_s *out);

// Makes ranges usable by the device, from where the stream stands on, until hmm_release: what is launched on the stream in
// between may touch them as they say. Pages that are written belong to the device until it is done. All or none of the
// ranges are acquired; after a failure, ranges that were to be only written may be undefined.
//
// # Safety
// `accesses` points at `count` elements, and the device stays within them.
hmm_status hmm_acquire(int device, hmm_stream stream, const hmm_access *accesses, size_t count);

// Gives back everything that was acquired on the stream: the device is done with it when the stream gets here. CPU touches
// wait until then by themselves.
hmm_status hmm_release(int device, hmm_stream stream);

// The address at which the device sees a managed address; the same number where same_address is set. Usable by work that
// was given access to the range.
//
// # Safety
// `out` is writable.
hmm_status hmm_device_ptr(const void *ptr, int device, void **out);

// Makes a new stream on a device. What is queued on one stream runs in order; streams run beside each other.
//
// # Safety
// `out` is writable.
hmm_status hmm_stream_create(int device, hmm_stream *out);

// Makes a handle of a stream of the driver's own (a CUstream or a hipStream_t), which stays the caller's. The name that stands for
// another stream in each thread (CU_STREAM_PER_THREAD, hipStreamPerThread) is refused.
//
// # Safety
// `native` is a live stream of the device's driver, and outlives the handle; `out` is writable.
hmm_status hmm_stream_from_native(int device, void *native, hmm_stream *out);

// Waits until everything queued on the stream so far is done; NULL: on the default streams of all devices.
hmm_status hmm_stream_synchronize(hmm_stream stream);

// Waits for the stream's work, gives back what is acquired on it, and ends it. The handle is not valid afterwards. A
// default stream can't be destroyed.
hmm_status hmm_stream_destroy(hmm_stream stream);

// Starts moving a range to a location, in the order of the stream, and returns at once. A hint: pages that are pinned or
// in use stay where they are.
hmm_status hmm_prefetch(const void *ptr, size_t len, int location, hmm_stream stream);

// Moves a range to a location; it is there on return. moved_pages, unless NULL, becomes the number of 4 KiB pages that
// moved: fewer than asked is no error (some were there already).
//
// # Safety
// `moved_pages` is NULL or writable.
hmm_status hmm_migrate(const void *ptr, size_t len, int location, size_t *moved_pages);

// Makes a range ready for the CPU and for the kernel's own accesses (read(2) into it gives EFAULT otherwise): on return
// it can be touched as mode says without a fault, until it is next moved. With a mode that writes nothing of it is sent away
// on a guess of the runtime's own (HMM_POLICY_AUTO) before a device has been given some of it again.
hmm_status hmm_host_ready(const void *ptr, size_t len, hmm_access_mode mode);

// Brings a range home and keeps it there, readable and writable, until hmm_unpin: for system calls in flight and DMA.
// Pins count.
hmm_status hmm_pin(const void *ptr, size_t len);

// Takes back one hmm_pin of exactly the same range.
hmm_status hmm_unpin(const void *ptr, size_t len);

// Says that a range's contents are no longer needed: the whole pages in it become untouched, and no copy is made.
//
// # Safety
// Nobody relies on the contents.
hmm_status hmm_discard(void *addr, size_t len);

// Says how a range will be used. The location matters for HMM_ADVISE_PREFERRED_LOCATION, HMM_ADVISE_ACCESSED_BY and their
// unset; pass HMM_HOST with the others.
hmm_status hmm_advise(const void *ptr, size_t len, hmm_advice advice, int location);

// Loads device code. CUDA: PTX text, a cubin or a fat binary; HIP: a code object, or source text, which is compiled for the
// device. What is wrong with source is in the log (HMMRT_LOG=error). The host backend runs functions of the program
// instead (hmm_kernel_from_function). A module is unloaded by hmm_shutdown.
//
// # Safety
// `image` points at `size` bytes of device code, `out` is writable.
hmm_status hmm_module_load(int device, const void *image, size_t size, hmm_module *out);

// The library's own kernels (hmm_fill, hmm_copy, hmm_saxpy, hmm_sum, hmm_histogram, hmm_stencil, hmm_list_walk and
// hmm_checksum; their parameters are in kernels/), which every backend has.
//
// # Safety
// `out` is writable.
hmm_status hmm_module_builtin(int device, hmm_module *out);

// Finds a kernel of a module.
//
// # Safety
// `name` is a C string, `out` is writable.
hmm_status hmm_kernel_get(hmm_module module, const char *name, hmm_kernel *out);

// Makes a kernel of a function of the program. Host backend only: HMM_ERR_UNSUPPORTED elsewhere.
//
// # Safety
// `function` does what its launches say that it does, and stays loaded; `out` is writable.
hmm_status hmm_kernel_from_function(int device, hmm_host_function function, hmm_kernel *out);

// Acquires what the pointer arguments say, launches the kernel on config->stream, and releases. Returns once it is queued;
// CPU touches of what the kernel writes wait by themselves. Nothing is launched unless all of it could be acquired; what was
// to be only written may then be undefined.
//
// # Safety
// `config` points at config->struct_size readable bytes, `args` at `count` elements that fit the kernel's parameters, and
// the kernel touches no more than they say.
hmm_status hmm_launch(hmm_kernel kernel, const hmm_launch_config *config, const hmm_arg *args, size_t count);

// Where each 4 KiB page of a range is; one element of out for each page that the range touches, and count is how many
// there is room for. It has no side effects: no page moves, none is touched. Elements past the last page stay as they are.
// Any address may be asked: pages that are not managed are HMM_PAGE_FOREIGN, and have flags 0 where nothing is mapped.
//
// # Safety
// `out` has room for `count` elements.
hmm_status hmm_query(const void *ptr, size_t len, hmm_page *out, size_t count);

// Reads the counters. Set out->struct_size first; no more than that is written.
//
// # Safety
// `out` points at out->struct_size writable bytes.
hmm_status hmm_stats_get(hmm_stats *out);

// Sets the counters to 0. What there is now (mappings, bytes in use) stays.
hmm_status hmm_stats_reset(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* HMMRT_H */
