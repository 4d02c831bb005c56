// Every call after hmm_shutdown: each says so, and nothing is lost; hmm_init starts everything again.

#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "no_runtime.h"

#define SIZE ((size_t)4 << 20)
enum { PAGE = 4096 };

static unsigned char *x;

// The call answers HMM_ERR_SHUTDOWN, and the message names the call.
#define SHUT(call) NO_RUNTIME(call, HMM_ERR_SHUTDOWN, "hmm_shutdown")
#define SHUT_MEMORY(call) NO_MEMORY(call, "hmm_shutdown")

static void noop(const hmm_launch_config *config, void *const *args) {
    (void)config;
    (void)args;
}

static void every_call(void) {
    hmm_stream stream;
    hmm_module module;
    hmm_kernel kernel;
    OK(hmm_stream_create(0, &stream));
    OK(hmm_module_builtin(0, &module));
    OK(hmm_kernel_from_function(0, noop, &kernel));
    OK(hmm_migrate(x, SIZE, 0, NULL));
    char *mine = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mine[PAGE] = 5;
    OK(hmm_adopt(mine, 2 * PAGE));
    OK(hmm_migrate(mine, 2 * PAGE, 0, NULL));
    void *other = hmm_malloc(100);
    OK(hmm_pin(other, 100));
    OK(hmm_shutdown());

    hmm_access access = {x, SIZE, HMM_READ};
    hmm_launch_config config = {sizeof config, {1, 1, 1}, {1, 1, 1}, 0, NULL};
    hmm_device_info_s info;
    info.struct_size = sizeof info;
    hmm_page page;
    void *out;
    hmm_stream s;
    hmm_module m;
    hmm_kernel k;
    SHUT(hmm_shutdown());
    SHUT_MEMORY(hmm_malloc(10));
    SHUT_MEMORY(hmm_calloc(10, 10));
    SHUT_MEMORY(hmm_aligned_alloc(64, 10));
    SHUT_MEMORY(hmm_realloc(NULL, 10));
    SHUT_MEMORY(hmm_realloc(x, 10));
    SHUT(hmm_adopt(x, SIZE));
    SHUT(hmm_protect(x, SIZE, HMM_PROTECT_READ));
    CHECK(hmm_device_count() == 0);
    SHUT(hmm_device_info(0, &info));
    SHUT(hmm_prefetch(x, SIZE, 0, NULL));
    SHUT(hmm_migrate(x, SIZE, 0, NULL));
    SHUT(hmm_host_ready(x, SIZE, HMM_READ));
    SHUT(hmm_pin(x, SIZE));
    OK(hmm_unpin(other, 100));
    CHECK(hmm_unpin(other, 100) == HMM_ERR_INVALID_ARGUMENT);
    SHUT(hmm_discard(x, SIZE));
    SHUT(hmm_advise(x, SIZE, HMM_ADVISE_SEQUENTIAL, HMM_HOST));
    SHUT(hmm_acquire(0, NULL, &access, 1));
    SHUT(hmm_release(0, NULL));
    SHUT(hmm_device_ptr(x, 0, &out));
    SHUT(hmm_stream_create(0, &s));
    SHUT(hmm_stream_from_native(0, &s, &s));
    SHUT(hmm_stream_synchronize(stream));
    SHUT(hmm_stream_destroy(stream));
    SHUT(hmm_module_load(0, "x", 1, &m));
    SHUT(hmm_module_builtin(0, &m));
    SHUT(hmm_kernel_get(module, "hmm_saxpy", &k));
    SHUT(hmm_kernel_from_function(0, noop, &k));
    SHUT(hmm_launch(kernel, &config, NULL, 0));
    OK(hmm_query(x, 1, &page, 1));
    CHECK(page.flags == (HMM_PAGE_HOST | HMM_PAGE_READ | HMM_PAGE_WRITE) && page.device == -1);
    hmm_stats stats;
    stats.struct_size = sizeof stats;
    OK(hmm_stats_get(&stats));
    CHECK(stats.managed_bytes >= SIZE && stats.device_bytes == 0);
    CHECK(hmm_owns(x) && hmm_usable_size(x) >= SIZE);
    // What was there before can be given back.
    CHECK(hmm_owns(mine) && mine[PAGE] == 5);
    OK(hmm_disown(mine, 2 * PAGE));
    CHECK(!hmm_owns(mine) && mine[PAGE] == 5);
    munmap(mine, 2 * PAGE);
    hmm_free(other);
    CHECK(!hmm_owns(other));
}

static void the_data_is_there(void) {
    for (size_t i = 0; i < SIZE; i++) CHECK(x[i] == (unsigned char)(i * 7));
    for (size_t i = 0; i < SIZE; i++) x[i] = (unsigned char)(i * 9);
}

static void again(void) {
    for (int times = 0; times < 10; times++) {
        OK(hmm_init(NULL));
        CHECK(hmm_owns(x) && hmm_usable_size(x) >= SIZE);
        size_t moved = 0;
        OK(hmm_migrate(x, SIZE, 0, &moved));
        CHECK(moved == SIZE / 4096);
        OK(hmm_shutdown());
        for (size_t i = 0; i < SIZE; i++) CHECK(x[i] == (unsigned char)(i * 9));
    }
    OK(hmm_init(NULL));
    hmm_free(x);
    CHECK(!hmm_owns(x));
}

int main(void) {
    x = hmm_malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) x[i] = (unsigned char)(i * 7);
    PART(every_call);
    PART(the_data_is_there);
    PART(again);
    printf("all well\n");
    return 0;
}
