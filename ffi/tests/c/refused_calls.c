// What the calls that take ranges, devices, handles and structs refuse.

#define _GNU_SOURCE
#include <sys/mman.h>

#include "refused.h"

static hmm_module module;
static hmm_kernel kernel;
static hmm_launch_config config;
static uint64_t n = 1;
static int launches;

static void count_launch(const hmm_launch_config *c, void *const *args) {
    (void)c, (void)args;
    __atomic_fetch_add(&launches, 1, __ATOMIC_SEQ_CST);
}

static void make_kernel(void) {
    OK(hmm_module_builtin(0, &module));
    OK(hmm_kernel_from_function(0, count_launch, &kernel));
    hmm_launch_config c = {sizeof c, {1, 1, 1}, {1, 1, 1}, 0, NULL};
    config = c;
}

// Everything that takes a range, with one that is wrong in the same way.
static void every_range(void *p, size_t len, hmm_status code, const char *argument) {
    size_t moved = 77;
    hmm_access access = {p, len, HMM_READ};
    REFUSED(hmm_prefetch(p, len, 0, NULL), code, argument);
    REFUSED(hmm_migrate(p, len, 0, &moved), code, argument);
    REFUSED(hmm_migrate(p, len, HMM_HOST, &moved), code, argument);
    CHECK(moved == 77);
    REFUSED(hmm_host_ready(p, len, HMM_READ_WRITE), code, argument);
    REFUSED(hmm_pin(p, len), code, argument);
    REFUSED(hmm_unpin(p, len), code, argument);
    REFUSED(hmm_discard(p, len), code, strcmp(argument, "ptr") == 0 ? "addr" : argument);
    REFUSED(hmm_advise(p, len, HMM_ADVISE_READ_MOSTLY, HMM_HOST), code, argument);
    REFUSED(hmm_acquire(0, NULL, &access, 1), code, "accesses");
}

static void ranges(void) {
    char on_stack[64];
    char *of_malloc = malloc(10 * PAGE);
    every_range(NULL, PAGE, HMM_ERR_NULL_POINTER, "ptr");
    every_range(on_stack, sizeof on_stack, HMM_ERR_NOT_MANAGED, "ptr");
    every_range(of_malloc, 10 * PAGE, HMM_ERR_NOT_MANAGED, "ptr");
    every_range(home, hmm_usable_size(home) + 1, HMM_ERR_OUT_OF_RANGE, "len");
    every_range(away + SIZE - 1, hmm_usable_size(away) - SIZE + 2, HMM_ERR_OUT_OF_RANGE, "len");
    every_range(away, SIZE_MAX, HMM_ERR_INVALID_ARGUMENT, "len");
    every_range(away + 1, SIZE_MAX, HMM_ERR_INVALID_ARGUMENT, "len");
    every_range(away, SIZE_MAX / 4, HMM_ERR_OUT_OF_RANGE, "len");
    free(of_malloc);

    // One bad range among good ones: none is acquired.
    hmm_access accesses[3] = {{home, SIZE, HMM_READ}, {on_stack, 1, HMM_READ}, {away, SIZE, HMM_READ_WRITE}};
    REFUSED(hmm_acquire(0, NULL, accesses, 3), HMM_ERR_NOT_MANAGED, "accesses");
    accesses[1].ptr = NULL;
    REFUSED(hmm_acquire(0, NULL, accesses, 3), HMM_ERR_NULL_POINTER, "accesses");
    REFUSED(hmm_acquire(0, NULL, NULL, 1), HMM_ERR_NULL_POINTER, "accesses");
    REFUSED(hmm_acquire(0, NULL, accesses, SIZE_MAX), HMM_ERR_NO_MEMORY, "count");
}

// The call succeeds, and nothing happens.
#define NOTHING(call)                             \
    do {                                          \
        stale_message();                          \
        OK(call);                                 \
        unchanged(__FILE__, __LINE__, #call);     \
    } while (0)

static void zero_lengths(void) {
    char on_stack[64];
    void *const anywhere[] = {home, away + 5, away + SIZE, on_stack, NULL, (void *)(SIZE_MAX - 10)};
    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++) {
        void *p = anywhere[i];
        size_t moved = 77;
        hmm_access access = {p, 0, HMM_READ_WRITE};
        NOTHING(hmm_prefetch(p, 0, 0, NULL));
        NOTHING(hmm_migrate(p, 0, 0, &moved));
        CHECK(moved == 0);
        NOTHING(hmm_migrate(p, 0, HMM_HOST, NULL));
        NOTHING(hmm_host_ready(p, 0, HMM_READ_WRITE));
        REFUSED(hmm_unpin(p, 0), HMM_ERR_INVALID_ARGUMENT, "ptr");
        NOTHING(hmm_pin(p, 0));
        NOTHING(hmm_unpin(p, 0));
        REFUSED(hmm_unpin(p, 0), HMM_ERR_INVALID_ARGUMENT, "ptr");
        NOTHING(hmm_discard(p, 0));
        NOTHING(hmm_advise(p, 0, HMM_ADVISE_READ_MOSTLY, HMM_HOST));
        NOTHING(hmm_query(p, 0, NULL, 0));
        OK(hmm_acquire(0, NULL, &access, 1));
        OK(hmm_release(0, NULL));
    }
    NOTHING(hmm_protect(home, 0, HMM_PROTECT_NONE));
    NOTHING(hmm_acquire(0, NULL, NULL, 0));
    NOTHING(hmm_release(0, NULL));
}

static void looking(void) {
    static hmm_page pages[PAGES + 2];
    memset(pages, 0x33, sizeof pages);
    REFUSED(hmm_query(NULL, PAGE, pages, 1), HMM_ERR_NULL_POINTER, "ptr");
    REFUSED(hmm_query(home, PAGE, NULL, 1), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_query(home, PAGE, pages, 0), HMM_ERR_INVALID_ARGUMENT, "count");
    REFUSED(hmm_query(home + 1, PAGE, pages, 1), HMM_ERR_INVALID_ARGUMENT, "count");
    REFUSED(hmm_query(home, SIZE_MAX, pages, PAGES), HMM_ERR_INVALID_ARGUMENT, "count");
    REFUSED(hmm_query(home + 1, SIZE_MAX, pages, PAGES), HMM_ERR_INVALID_ARGUMENT, "len");
    for (size_t i = 0; i < sizeof pages; i++) CHECK(((char *)pages)[i] == 0x33);

    // Anything can be asked about: what is not managed, and what is not there.
    char *map = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(munmap(map + PAGE, PAGE) == 0);
    OK(hmm_query(map, 2 * PAGE, pages, PAGES));
    CHECK((pages[0].flags & (HMM_PAGE_FOREIGN | HMM_PAGE_READ | HMM_PAGE_WRITE)) == (HMM_PAGE_FOREIGN | HMM_PAGE_READ));
    CHECK(pages[0].device == -1 && pages[1].device == -1 && pages[1].flags == 0);
    munmap(map, PAGE);

    void *out = &out;
    REFUSED(hmm_device_ptr(NULL, 0, &out), HMM_ERR_NULL_POINTER, "ptr");
    REFUSED(hmm_device_ptr(home, 0, NULL), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_device_ptr(&out, 0, &out), HMM_ERR_NOT_MANAGED, "ptr");
    REFUSED(hmm_stats_get(NULL), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_device_info(0, NULL), HMM_ERR_NULL_POINTER, "out");
    CHECK(out == &out);
}

static void unknown_devices(void) {
    static const int devices[] = {1, 99, -1, -2, -2147483647 - 1, 2147483647};
    hmm_device_info_s info, same;
    memset(&info, 0x44, sizeof info);
    info.struct_size = sizeof info;
    same = info;
    hmm_stream stream = (hmm_stream)&info;
    hmm_module a_module = (hmm_module)&info;
    hmm_kernel a_kernel = (hmm_kernel)&info;
    void *out = &out;
    hmm_access access = {home, SIZE, HMM_READ};
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        int device = devices[i];
        if (device != HMM_HOST) {
            REFUSED(hmm_prefetch(home, SIZE, device, NULL), HMM_ERR_NO_DEVICE, "location");
            REFUSED(hmm_migrate(away, SIZE, device, NULL), HMM_ERR_NO_DEVICE, "location");
            REFUSED(hmm_advise(home, SIZE, HMM_ADVISE_PREFERRED_LOCATION, device), HMM_ERR_NO_DEVICE, "location");
        }
        REFUSED(hmm_device_info(device, &info), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_acquire(device, NULL, &access, 1), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_release(device, NULL), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_device_ptr(home, device, &out), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_stream_create(device, &stream), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_stream_from_native(device, &info, &stream), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_module_load(device, "x", 1, &a_module), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_module_builtin(device, &a_module), HMM_ERR_NO_DEVICE, "device");
        REFUSED(hmm_kernel_from_function(device, count_launch, &a_kernel), HMM_ERR_NO_DEVICE, "device");
    }
    CHECK(memcmp(&info, &same, sizeof info) == 0 && out == &out);
    CHECK((void *)stream == &info && (void *)a_module == &info && (void *)a_kernel == &info);
}

static void enums(void) {
    static const int modes[] = {0, 4, -1, 99};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        hmm_access_mode mode = (hmm_access_mode)modes[i];
        hmm_access accesses[2] = {{home, SIZE, HMM_READ}, {away, SIZE, mode}};
        hmm_arg arg = {HMM_ARG_POINTER, mode, home, SIZE};
        REFUSED(hmm_host_ready(away, SIZE, mode), HMM_ERR_INVALID_ARGUMENT, "mode");
        REFUSED(hmm_acquire(0, NULL, accesses, 2), HMM_ERR_INVALID_ARGUMENT, "accesses[1].mode");
        REFUSED(hmm_launch(kernel, &config, &arg, 1), HMM_ERR_INVALID_ARGUMENT, "args[0].mode");
    }
    REFUSED(hmm_advise(home, SIZE, (hmm_advice)0, HMM_HOST), HMM_ERR_INVALID_ARGUMENT, "advice");
    REFUSED(hmm_advise(home, SIZE, (hmm_advice)10, HMM_HOST), HMM_ERR_INVALID_ARGUMENT, "advice");
}

static void launching(void) {
    char on_stack[64];
    hmm_kernel out = (hmm_kernel)on_stack;
    hmm_module a_module = (hmm_module)on_stack;
    REFUSED(hmm_module_load(0, NULL, 1, &a_module), HMM_ERR_NULL_POINTER, "image");
    REFUSED(hmm_module_load(0, "x", 0, &a_module), HMM_ERR_INVALID_ARGUMENT, "size");
    REFUSED(hmm_module_load(0, "x", 1, NULL), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_module_load(0, "x", 1, &a_module), HMM_ERR_UNSUPPORTED, "");
    REFUSED(hmm_module_builtin(0, NULL), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_kernel_get(NULL, "hmm_saxpy", &out), HMM_ERR_NULL_POINTER, "module");
    REFUSED(hmm_kernel_get(module, NULL, &out), HMM_ERR_NULL_POINTER, "name");
    REFUSED(hmm_kernel_get(module, "hmm_saxpy", NULL), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_kernel_get(module, "no_such", &out), HMM_ERR_INVALID_ARGUMENT, "name");
    REFUSED(hmm_kernel_get(module, "", &out), HMM_ERR_INVALID_ARGUMENT, "name");
    REFUSED(hmm_kernel_get(module, "\xff", &out), HMM_ERR_INVALID_ARGUMENT, "name");
    REFUSED(hmm_kernel_get((hmm_module)on_stack, "hmm_saxpy", &out), HMM_ERR_BAD_HANDLE, "module");
    REFUSED(hmm_kernel_from_function(0, NULL, &out), HMM_ERR_NULL_POINTER, "function");
    REFUSED(hmm_kernel_from_function(0, count_launch, NULL), HMM_ERR_NULL_POINTER, "out");
    CHECK((char *)out == on_stack && (char *)a_module == on_stack);

    hmm_arg args[2] = {{HMM_ARG_POINTER, HMM_READ, home, SIZE}, {HMM_ARG_VALUE, HMM_READ, &n, sizeof n}};
    REFUSED(hmm_launch(NULL, &config, args, 2), HMM_ERR_NULL_POINTER, "kernel");
    REFUSED(hmm_launch(kernel, NULL, args, 2), HMM_ERR_NULL_POINTER, "config");
    REFUSED(hmm_launch(kernel, &config, NULL, 2), HMM_ERR_NULL_POINTER, "args");
    REFUSED(hmm_launch(kernel, &config, args, SIZE_MAX), HMM_ERR_NO_MEMORY, "count");
    REFUSED(hmm_launch((hmm_kernel)on_stack, &config, args, 2), HMM_ERR_BAD_HANDLE, "kernel");

    const hmm_arg good = args[0];
    args[0].data = NULL;
    REFUSED(hmm_launch(kernel, &config, args, 2), HMM_ERR_NULL_POINTER, "args[0].data");
    args[0].data = on_stack;
    REFUSED(hmm_launch(kernel, &config, args, 2), HMM_ERR_NOT_MANAGED, "args");
    args[0] = good;
    args[0].size = hmm_usable_size(home) + 1;
    REFUSED(hmm_launch(kernel, &config, args, 2), HMM_ERR_OUT_OF_RANGE, "args");
    args[0] = good;
    args[1].data = NULL;
    REFUSED(hmm_launch(kernel, &config, args, 2), HMM_ERR_NULL_POINTER, "args[1].data");
    args[1].kind = (hmm_arg_kind)2;
    args[1].data = &n;
    REFUSED(hmm_launch(kernel, &config, args, 2), HMM_ERR_INVALID_ARGUMENT, "args[1].kind");
    args[1].kind = HMM_ARG_VALUE;
    args[1].size = 0;
    REFUSED(hmm_launch(kernel, &config, args, 2), HMM_ERR_INVALID_ARGUMENT, "args[1].size");
    args[1].size = sizeof n;
    hmm_launch_config bad = config;
    bad.stream = (hmm_stream)on_stack;
    REFUSED(hmm_launch(kernel, &bad, args, 2), HMM_ERR_BAD_HANDLE, "");
    bad = config;
    bad.grid[1] = 0;
    REFUSED(hmm_launch(kernel, &bad, args, 2), HMM_ERR_INVALID_ARGUMENT, "config");
    bad = config;
    bad.block[2] = 0;
    REFUSED(hmm_launch(kernel, &bad, args, 2), HMM_ERR_INVALID_ARGUMENT, "config");
    bad = config;
    bad.block[0] = 1025;
    REFUSED(hmm_launch(kernel, &bad, args, 2), HMM_ERR_INVALID_ARGUMENT, "config");

    // The built-in kernels' parameters are known.
    hmm_kernel sum;
    OK(hmm_kernel_get(module, "hmm_sum", &sum));
    hmm_arg three[3] = {{HMM_ARG_POINTER, HMM_READ_WRITE, home, 8}, {HMM_ARG_POINTER, HMM_READ, home + PAGE, 4}, args[1]};
    REFUSED(hmm_launch(sum, &config, three, 2), HMM_ERR_INVALID_ARGUMENT, "count");
    three[2].size = 4;
    REFUSED(hmm_launch(sum, &config, three, 3), HMM_ERR_INVALID_ARGUMENT, "args");
    OK(hmm_stream_synchronize(NULL));
    CHECK(__atomic_load_n(&launches, __ATOMIC_SEQ_CST) == 0);
}

static void streams(void) {
    int local;
    hmm_stream stream = NULL, no_stream = (hmm_stream)&local;
    REFUSED(hmm_stream_create(0, NULL), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_stream_from_native(0, &local, NULL), HMM_ERR_NULL_POINTER, "out");
    REFUSED(hmm_stream_from_native(0, &local, &stream), HMM_ERR_UNSUPPORTED, "");
    CHECK(stream == NULL);
    OK(hmm_stream_create(0, &stream));
    OK(hmm_stream_destroy(stream));
    const hmm_stream bad[] = {no_stream, stream};
    hmm_access access = {home, SIZE, HMM_READ};
    for (int i = 0; i < 2; i++) {
        REFUSED(hmm_stream_synchronize(bad[i]), HMM_ERR_BAD_HANDLE, "stream");
        REFUSED(hmm_stream_destroy(bad[i]), HMM_ERR_BAD_HANDLE, "stream");
        REFUSED(hmm_prefetch(home, SIZE, 0, bad[i]), HMM_ERR_BAD_HANDLE, "stream");
        REFUSED(hmm_acquire(0, bad[i], &access, 1), HMM_ERR_BAD_HANDLE, "stream");
        REFUSED(hmm_release(0, bad[i]), HMM_ERR_BAD_HANDLE, "stream");
    }
    REFUSED(hmm_stream_destroy(NULL), HMM_ERR_INVALID_ARGUMENT, "stream");
}

static void pins(void) {
    REFUSED(hmm_unpin(home, SIZE), HMM_ERR_INVALID_ARGUMENT, "ptr");
    OK(hmm_pin(home, PAGE));
    REFUSED(hmm_unpin(home, 2 * PAGE), HMM_ERR_INVALID_ARGUMENT, "ptr");
    REFUSED(hmm_migrate(home, SIZE, 0, NULL), HMM_ERR_BUSY, "ptr");
    hmm_access access = {home, SIZE, HMM_READ_WRITE};
    REFUSED(hmm_acquire(0, NULL, &access, 1), HMM_ERR_BUSY, "accesses");
    OK(hmm_unpin(home, PAGE));
    // In the second chunk: the first one keeps its contents, too.
    OK(hmm_pin(home + SIZE - PAGE, PAGE));
    REFUSED(hmm_discard(home, SIZE), HMM_ERR_BUSY, "addr");
    OK(hmm_unpin(home + SIZE - PAGE, PAGE));
}

static void struct_sizes(void) {
    static const size_t wrong[] = {0, 1, 8, SIZE_MAX, 5000};
    struct {
        hmm_stats stats;
        uint64_t more[4];
    } stats;
    struct {
        hmm_device_info_s info;
        uint64_t more[4];
    } info;
    struct {
        hmm_launch_config config;
        uint64_t more[4];
    } launch;
    struct {
        hmm_config config;
        uint64_t more[4];
    } init;
    memset(&stats, 0x66, sizeof stats);
    memset(&info, 0x66, sizeof info);
    memset(&init, 0, sizeof init);
    memset(&launch, 0, sizeof launch);
    launch.config = config;
    for (size_t i = 0; i < 5; i++) {
        stats.stats.struct_size = info.info.struct_size = wrong[i];
        init.config.struct_size = launch.config.struct_size = wrong[i];
        REFUSED(hmm_stats_get(&stats.stats), HMM_ERR_STRUCT_SIZE, "out: struct_size");
        REFUSED(hmm_device_info(0, &info.info), HMM_ERR_STRUCT_SIZE, "out: struct_size");
        REFUSED(hmm_init(&init.config), HMM_ERR_STRUCT_SIZE, "config: struct_size");
        REFUSED(hmm_launch(kernel, &launch.config, NULL, 0), HMM_ERR_STRUCT_SIZE, "config: struct_size");
    }
    for (size_t i = sizeof(size_t); i < sizeof stats; i++) CHECK(((char *)&stats)[i] == 0x66);
    for (size_t i = sizeof(size_t); i < sizeof info; i++) CHECK(((char *)&info)[i] == 0x66);
    stats.stats.struct_size = offsetof(hmm_stats, launch_bytes_to_device) - 1; // the first version ends there
    REFUSED(hmm_stats_get(&stats.stats), HMM_ERR_STRUCT_SIZE, "out: struct_size");

    // A caller of a later version: what it does not set is fine, what it sets is refused; what it did not get is left.
    launch.config.struct_size = sizeof launch;
    OK(hmm_launch(kernel, &launch.config, NULL, 0));
    OK(hmm_stream_synchronize(NULL));
    CHECK(__atomic_load_n(&launches, __ATOMIC_SEQ_CST) == 1);
    launch.more[3] = 1;
    REFUSED(hmm_launch(kernel, &launch.config, NULL, 0), HMM_ERR_STRUCT_SIZE, "config: struct_size");
    init.config.struct_size = sizeof init;
    init.more[0] = 1;
    REFUSED(hmm_init(&init.config), HMM_ERR_STRUCT_SIZE, "config: struct_size");
    stats.stats.struct_size = sizeof stats;
    OK(hmm_stats_get(&stats.stats));
    info.info.struct_size = sizeof info;
    OK(hmm_device_info(0, &info.info));
    for (size_t i = 0; i < 4; i++) CHECK(stats.more[i] == 0x6666666666666666u && info.more[i] == 0x6666666666666666u);
    CHECK(stats.stats.managed_bytes >= 2 * SIZE && strcmp(info.info.backend, "host") == 0);
}

static void settings(void) {
    hmm_config c;
    memset(&c, 0, sizeof c);
    c.struct_size = sizeof c;
    c.backend = (hmm_backend)5;
    REFUSED(hmm_init(&c), HMM_ERR_CONFIG, "config->backend: 5");
    c.backend = HMM_BACKEND_DEFAULT;
    c.log = (hmm_log_level)-1;
    REFUSED(hmm_init(&c), HMM_ERR_CONFIG, "config->log: -1");
    c.log = HMM_LOG_DEFAULT;
    c.stats = HMM_SWITCH_DEFAULT;
    c.host_devices = 9;
    REFUSED(hmm_init(&c), HMM_ERR_CONFIG, "config->host_devices: 9");
    c.host_devices = 0;
    REFUSED(hmm_init(&c), HMM_ERR_INVALID_ARGUMENT, "config");
    NOTHING(hmm_init(NULL));
    c.stats = (hmm_switch)3;
    REFUSED(hmm_init(&c), HMM_ERR_CONFIG, "config->stats: 3");
}

int main(void) {
    watch();
    make_kernel();
    PART(ranges);
    PART(zero_lengths);
    PART(looking);
    PART(unknown_devices);
    PART(enums);
    PART(launching);
    PART(streams);
    PART(pins);
    PART(struct_sizes);
    PART(settings);
    PART(nothing_lost);
    printf("all well\n");
    return 0;
}
