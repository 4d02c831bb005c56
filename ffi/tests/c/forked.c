// In a forked child: what was on the host is a private snapshot, what was on a device is SIGBUS (never wrong bytes), and
// every call says that the runtime is the parent's. The parent does not notice.

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "no_runtime.h"

#define SIZE ((size_t)4 << 20)

static unsigned char *home, *away;

// The call answers HMM_ERR_FORKED, and the message names the call.
#define FORKED(call) NO_RUNTIME(call, HMM_ERR_FORKED, "fork")
#define FORKED_MEMORY(call) NO_MEMORY(call, "fork")

static unsigned char pattern(size_t i) { return (unsigned char)(i * 7 + i / 4096); }

static void noop(const hmm_launch_config *config, void *const *args) {
    (void)config;
    (void)args;
}

static hmm_stream stream;
static hmm_module module;
static hmm_kernel kernel;

static void child_calls(void) {
    hmm_access access = {home, SIZE, HMM_READ};
    hmm_launch_config config = {sizeof config, {1, 1, 1}, {1, 1, 1}, 0, NULL};
    hmm_device_info_s info;
    info.struct_size = sizeof info;
    hmm_page page;
    void *out;
    hmm_stream s;
    hmm_module m;
    hmm_kernel k;
    FORKED(hmm_init(NULL));
    FORKED(hmm_shutdown());
    FORKED_MEMORY(hmm_malloc(10));
    FORKED_MEMORY(hmm_calloc(10, 10));
    FORKED_MEMORY(hmm_aligned_alloc(64, 10));
    FORKED_MEMORY(hmm_realloc(NULL, 10));
    FORKED_MEMORY(hmm_realloc(home, 10));
    FORKED(hmm_adopt(home, SIZE));
    FORKED(hmm_disown(home, SIZE));
    FORKED(hmm_protect(home, SIZE, HMM_PROTECT_READ));
    CHECK(hmm_device_count() == 0);
    FORKED(hmm_device_info(0, &info));
    FORKED(hmm_prefetch(home, SIZE, 0, NULL));
    FORKED(hmm_migrate(away, SIZE, HMM_HOST, NULL));
    FORKED(hmm_host_ready(away, SIZE, HMM_READ));
    FORKED(hmm_pin(home, SIZE));
    FORKED(hmm_unpin(home, SIZE));
    FORKED(hmm_discard(home, SIZE));
    FORKED(hmm_advise(home, SIZE, HMM_ADVISE_SEQUENTIAL, HMM_HOST));
    FORKED(hmm_acquire(0, NULL, &access, 1));
    FORKED(hmm_release(0, NULL));
    FORKED(hmm_device_ptr(home, 0, &out));
    FORKED(hmm_stream_create(0, &s));
    FORKED(hmm_stream_from_native(0, &s, &s));
    FORKED(hmm_stream_synchronize(stream));
    FORKED(hmm_stream_destroy(stream));
    FORKED(hmm_module_load(0, "x", 1, &m));
    FORKED(hmm_module_builtin(0, &m));
    FORKED(hmm_kernel_get(module, "hmm_saxpy", &k));
    FORKED(hmm_kernel_from_function(0, noop, &k));
    FORKED(hmm_launch(kernel, &config, NULL, 0));
    OK(hmm_query(home, 1, &page, 1));
    // Nothing to answer with: it only returns.
    hmm_free(home);
    for (size_t i = 0; i < SIZE; i++) CHECK(home[i] == pattern(i));
}

static void child_memory(void) {
    for (size_t i = 0; i < SIZE; i++) CHECK(home[i] == pattern(i));
    memset(home, 0xee, SIZE);
    for (size_t i = 0; i < SIZE; i++) CHECK(home[i] == 0xee);
}

static void touch_away(void) {
    volatile unsigned char first = away[0];
    (void)first;
}

static void child_away(void) {
    for (size_t i = 0; i < SIZE; i++) CHECK(away[i] == pattern(i));
    memset(away, 0xdd, SIZE);
    for (size_t i = 0; i < SIZE; i++) CHECK(away[i] == 0xdd);
}

static int end_of_child(void (*part)(void)) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        part();
        // Handlers of exit, too, must do no harm to the parent.
        exit(42);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void in_child(void (*part)(void)) {
    int status = end_of_child(part);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void calls(void) { in_child(child_calls); }

static void memory(void) {
    in_child(child_memory);
    // What came home before the fork is there.
    OK(hmm_migrate(home, SIZE, 0, NULL));
    OK(hmm_migrate(home, SIZE, HMM_HOST, NULL));
    in_child(child_memory);
}

/* What was on the device only is the child's too; or, with HMMRT_FORK=exec, it is said not to be there. */
static void device_memory(void) {
    const char *mode = getenv("HMMRT_FORK");
    if (mode == NULL || strcmp(mode, "exec") != 0) {
        in_child(child_away);
        hmm_page page;
        OK(hmm_query(away, 1, &page, 1));
        CHECK(page.flags & HMM_PAGE_DEVICE); /* and the device's still */
    } else {
        int status = end_of_child(touch_away);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
}

static void parent_is_unaffected(void) {
    OK(hmm_stream_synchronize(stream));
    hmm_launch_config config = {sizeof config, {1, 1, 1}, {1, 1, 1}, 0, stream};
    OK(hmm_launch(kernel, &config, NULL, 0));
    OK(hmm_stream_synchronize(stream));
    size_t moved = 0;
    OK(hmm_migrate(away, SIZE, 0, NULL));
    OK(hmm_migrate(away, SIZE, HMM_HOST, &moved));
    CHECK(moved == SIZE / 4096);
    for (size_t i = 0; i < SIZE; i++) CHECK(home[i] == pattern(i) && away[i] == pattern(i));
    OK(hmm_stream_destroy(stream));
    hmm_free(home);
    hmm_free(away);
    OK(hmm_shutdown());
}

int main(void) {
    home = hmm_malloc(SIZE);
    away = hmm_malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) home[i] = away[i] = pattern(i);
    OK(hmm_migrate(away, SIZE, 0, NULL));
    OK(hmm_stream_create(0, &stream));
    OK(hmm_module_builtin(0, &module));
    OK(hmm_kernel_from_function(0, noop, &kernel));
    PART(calls);
    PART(memory);
    PART(device_memory);
    PART(parent_is_unaffected);
    printf("all well\n");
    return 0;
}
