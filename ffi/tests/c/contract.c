// The names, types and layouts that the header promises, written down once more by hand: a header that differs does not
// compile. (A second declaration of a function must be the same as the first.)

#include <stddef.h>

#include "hmmrt.h"

hmm_status hmm_init(const hmm_config *config);
hmm_status hmm_shutdown(void);
const char *hmm_version(void);
const char *hmm_strerror(hmm_status);
size_t hmm_last_error(char *buf, size_t n);

void *hmm_malloc(size_t);
void *hmm_calloc(size_t, size_t);
void *hmm_realloc(void *, size_t);
void *hmm_aligned_alloc(size_t alignment, size_t size);
void hmm_free(void *);
size_t hmm_usable_size(const void *);
bool hmm_owns(const void *);
hmm_status hmm_adopt(void *addr, size_t len);
hmm_status hmm_disown(void *addr, size_t len);
hmm_status hmm_protect(void *addr, size_t len, hmm_protection);

int hmm_device_count(void);
hmm_status hmm_device_info(int device, hmm_device_info_s *out);

hmm_status hmm_prefetch(const void *, size_t, int location, hmm_stream);
hmm_status hmm_migrate(const void *, size_t, int location, size_t *moved_pages);
hmm_status hmm_host_ready(const void *, size_t, hmm_access_mode);
hmm_status hmm_pin(const void *, size_t);
hmm_status hmm_unpin(const void *, size_t);
hmm_status hmm_discard(void *, size_t);
hmm_status hmm_advise(const void *, size_t, hmm_advice, int location);

hmm_status hmm_acquire(int device, hmm_stream, const hmm_access *, size_t count);
hmm_status hmm_release(int device, hmm_stream);
hmm_status hmm_device_ptr(const void *, int device, void **out);
hmm_status hmm_stream_create(int device, hmm_stream *);
hmm_status hmm_stream_from_native(int device, void *, hmm_stream *);
hmm_status hmm_stream_synchronize(hmm_stream);
hmm_status hmm_stream_destroy(hmm_stream);

hmm_status hmm_module_load(int device, const void *image, size_t, hmm_module *);
hmm_status hmm_module_builtin(int device, hmm_module *);
hmm_status hmm_kernel_get(hmm_module, const char *name, hmm_kernel *);
hmm_status hmm_kernel_from_function(int device, hmm_host_function, hmm_kernel *);
hmm_status hmm_launch(hmm_kernel, const hmm_launch_config *, const hmm_arg *, size_t count);

hmm_status hmm_query(const void *, size_t, hmm_page *out, size_t count);
hmm_status hmm_stats_get(hmm_stats *);
hmm_status hmm_stats_reset(void);

_Static_assert(HMM_HOST == -1, "");
_Static_assert(HMM_OK == 0 && HMM_ERR_INVALID_ARGUMENT == -1 && HMM_ERR_NULL_POINTER == -2, "");
_Static_assert(HMM_ERR_NO_MEMORY == -3 && HMM_ERR_DEVICE_MEMORY == -4 && HMM_ERR_NOT_MANAGED == -5, "");
_Static_assert(HMM_ERR_OUT_OF_RANGE == -6 && HMM_ERR_ACCESS_DENIED == -7 && HMM_ERR_READ_ONLY == -8, "");
_Static_assert(HMM_ERR_HOLE == -9 && HMM_ERR_NOT_MIGRATABLE == -10 && HMM_ERR_BUSY == -11, "");
_Static_assert(HMM_ERR_NO_DEVICE == -12 && HMM_ERR_UNSUPPORTED == -13 && HMM_ERR_DEVICE == -14, "");
_Static_assert(HMM_ERR_SHUTDOWN == -15 && HMM_ERR_FORKED == -16 && HMM_ERR_BAD_HANDLE == -17, "");
_Static_assert(HMM_ERR_LOST == -18 && HMM_ERR_CONFIG == -19 && HMM_ERR_SYSTEM == -20, "");
_Static_assert(HMM_ERR_STRUCT_SIZE == -21 && HMM_ERR_PANIC == -22, "");
_Static_assert(HMM_READ == 1 && HMM_WRITE == 2 && HMM_READ_WRITE == 3, "");
_Static_assert(HMM_ARG_VALUE == 0 && HMM_ARG_POINTER == 1, "");
_Static_assert(HMM_PAGE_UNTOUCHED == 1 && HMM_PAGE_HOST == 2 && HMM_PAGE_DEVICE == 4 && HMM_PAGE_READ == 8, "");
_Static_assert(HMM_PAGE_WRITE == 16 && HMM_PAGE_PINNED == 32 && HMM_PAGE_FOREIGN == 64, "");
_Static_assert(HMM_ADVISE_READ_MOSTLY == 1 && HMM_ADVISE_UNSET_READ_MOSTLY == 2, "");
_Static_assert(HMM_ADVISE_PREFERRED_LOCATION == 3 && HMM_ADVISE_UNSET_PREFERRED_LOCATION == 4, "");
_Static_assert(HMM_ADVISE_ACCESSED_BY == 5 && HMM_ADVISE_UNSET_ACCESSED_BY == 6, "");
_Static_assert(HMM_ADVISE_SEQUENTIAL == 7 && HMM_ADVISE_RANDOM == 8 && HMM_ADVISE_UNSET_PATTERN == 9, "");
_Static_assert(HMM_PROTECT_NONE == 0 && HMM_PROTECT_READ == 1 && HMM_PROTECT_READ_WRITE == 3, "");

// A field of that type at that place.
#define FIELD(struct_, field, type, offset)                                                  \
    _Static_assert(offsetof(struct_, field) == (offset), #struct_ "." #field ": place");     \
    _Static_assert(_Generic(&((struct_ *)0)->field, type *: 1, default: 0), #struct_ "." #field ": type")

FIELD(hmm_access, ptr, const void *, 0);
FIELD(hmm_access, len, size_t, 8);
FIELD(hmm_access, mode, hmm_access_mode, 16);

FIELD(hmm_launch_config, struct_size, size_t, 0);
_Static_assert(offsetof(hmm_launch_config, grid) == 8 && sizeof((hmm_launch_config *)0)->grid == 12, "");
_Static_assert(offsetof(hmm_launch_config, block) == 20 && sizeof((hmm_launch_config *)0)->block == 12, "");
FIELD(hmm_launch_config, shared_bytes, uint32_t, 32);
FIELD(hmm_launch_config, stream, hmm_stream, 40);
_Static_assert(sizeof(hmm_launch_config) == 48, "");

FIELD(hmm_arg, kind, hmm_arg_kind, 0);
FIELD(hmm_arg, mode, hmm_access_mode, 4);
FIELD(hmm_arg, data, const void *, 8);
FIELD(hmm_arg, size, size_t, 16);
_Static_assert(sizeof(hmm_arg) == 24, "");

FIELD(hmm_page, flags, uint32_t, 0);
FIELD(hmm_page, device, int32_t, 4);
_Static_assert(sizeof(hmm_page) == 8, "");

FIELD(hmm_stats, struct_size, size_t, 0);
FIELD(hmm_stats, faults, uint64_t, 8);
FIELD(hmm_stats, read_faults, uint64_t, 16);
FIELD(hmm_stats, write_faults, uint64_t, 24);
FIELD(hmm_stats, bytes_to_device, uint64_t, 32);
FIELD(hmm_stats, bytes_to_host, uint64_t, 40);
FIELD(hmm_stats, moves_to_device, uint64_t, 48);
FIELD(hmm_stats, moves_to_host, uint64_t, 56);
FIELD(hmm_stats, bytes_not_copied, uint64_t, 64);
FIELD(hmm_stats, evictions, uint64_t, 72);
FIELD(hmm_stats, prefetches, uint64_t, 80);
FIELD(hmm_stats, prefetched_bytes_used, uint64_t, 88);
FIELD(hmm_stats, prefetched_bytes_wasted, uint64_t, 96);
FIELD(hmm_stats, waits, uint64_t, 104);
FIELD(hmm_stats, vmas, uint64_t, 112);
FIELD(hmm_stats, spare_bytes, uint64_t, 120);
FIELD(hmm_stats, device_bytes, uint64_t, 128);
FIELD(hmm_stats, managed_bytes, uint64_t, 136);
FIELD(hmm_stats, table_bytes, uint64_t, 144);
FIELD(hmm_stats, errors, uint64_t, 152);
FIELD(hmm_stats, launch_bytes_to_device, uint64_t, 160);
FIELD(hmm_stats, prefetch_bytes_to_device, uint64_t, 168);
FIELD(hmm_stats, ahead_bytes_to_device, uint64_t, 176);
FIELD(hmm_stats, asked_bytes_to_device, uint64_t, 184);
FIELD(hmm_stats, evict_bytes_to_device, uint64_t, 192);
FIELD(hmm_stats, other_bytes_to_device, uint64_t, 200);
FIELD(hmm_stats, fault_bytes_to_host, uint64_t, 208);
FIELD(hmm_stats, prefetch_bytes_to_host, uint64_t, 216);
FIELD(hmm_stats, ahead_bytes_to_host, uint64_t, 224);
FIELD(hmm_stats, asked_bytes_to_host, uint64_t, 232);
FIELD(hmm_stats, evict_bytes_to_host, uint64_t, 240);
FIELD(hmm_stats, other_bytes_to_host, uint64_t, 248);
_Static_assert(sizeof(hmm_stats) == 256, "");

FIELD(hmm_device_info_s, struct_size, size_t, 0);
_Static_assert(offsetof(hmm_device_info_s, name) == 8 && sizeof((hmm_device_info_s *)0)->name == 128, "");
_Static_assert(offsetof(hmm_device_info_s, backend) == 136 && sizeof((hmm_device_info_s *)0)->backend == 16, "");
FIELD(hmm_device_info_s, memory_total, uint64_t, 152);
FIELD(hmm_device_info_s, memory_free, uint64_t, 160);
FIELD(hmm_device_info_s, same_address, bool, 168);
_Static_assert(sizeof(hmm_device_info_s) == 176, "");

_Static_assert(offsetof(hmm_config, struct_size) == 0 && sizeof(hmm_config) == 168, "");
FIELD(hmm_config, policy, hmm_policy, 144);
FIELD(hmm_config, spill, hmm_spill, 148);
FIELD(hmm_config, uffd_move, hmm_switch, 152);
FIELD(hmm_config, stats_file, const char *, 160);
_Static_assert(HMM_POLICY_CHUNK == 1 && HMM_POLICY_AUTO == 2 && HMM_POLICY_DEMAND == 3 && HMM_POLICY_UVM == 4, "");
_Static_assert(HMM_SPILL_HOME == 1 && HMM_SPILL_PEER == 2, "");

static void a_host_function(const hmm_launch_config *config, void *const *args) {
    (void)config;
    (void)args;
}

int main(void) {
    hmm_host_function function = a_host_function;
    hmm_stream_s *stream = (hmm_stream)0;
    return function != a_host_function || stream != NULL;
}
