// The whole C interface, used as it is meant to be, on two devices of the host backend.

#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { PAGE = 4096, MIB = 1 << 20 };
#define SIZE ((size_t)8 * MIB)
#define WORDS (SIZE / sizeof(uint32_t))

static uint32_t pattern(size_t i) { return (uint32_t)(i * 2654435761u + 7); }

static void fill(uint32_t *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = pattern(i);
}

static void same(const uint32_t *x, size_t n) {
    for (size_t i = 0; i < n; i++) CHECK(x[i] == pattern(i));
}

static hmm_stats stats(void) {
    hmm_stats s;
    s.struct_size = sizeof s;
    OK(hmm_stats_get(&s));
    return s;
}

// All pages of a range have these flags, and the device.
static void pages_are(const void *p, size_t len, uint32_t mask, uint32_t flags, int device) {
    size_t count = ((size_t)p % PAGE + len + PAGE - 1) / PAGE;
    hmm_page *pages = malloc((count + 1) * sizeof *pages);
    pages[count].flags = 0x5a5a;
    OK(hmm_query(p, len, pages, count + 1));
    for (size_t i = 0; i < count; i++) {
        if ((pages[i].flags & mask) != flags || pages[i].device != device) {
            fprintf(stderr, "page %zu: flags %u device %d\n", i, (unsigned)pages[i].flags, (int)pages[i].device);
        }
        CHECK((pages[i].flags & mask) == flags);
        CHECK(pages[i].device == device);
    }
    CHECK(pages[count].flags == 0x5a5a);
    free(pages);
}

// Whether touches are noticed by userfaultfd, under which what is read a chunk at a time loses its device copy.
static bool is_watched(void) {
    const char *engine = getenv("HMMRT_FAULT");
    return engine != NULL && strncmp(engine, "uffd", 4) == 0;
}

// So many touches were counted. Where they are messages to threads of the runtime a thread goes on before its touch is
// counted, and one may be told of twice.
static bool faults_are(uint64_t reads, uint64_t writes) {
    bool messages = is_watched() && strcmp(getenv("HMMRT_FAULT"), "uffd-thread") == 0;
    hmm_stats s = stats();
    if (!messages) return s.read_faults == reads && s.write_faults == writes && s.faults == reads + writes;
    for (int i = 0; i < 60000 && (s.faults < reads + writes || s.write_faults < writes); i++, s = stats()) usleep(1000);
    return s.faults >= reads + writes && s.write_faults >= writes;
}

static const uint32_t WHERE = HMM_PAGE_UNTOUCHED | HMM_PAGE_HOST | HMM_PAGE_DEVICE;

static void life(void) {
    CHECK(strcmp(hmm_version(), "0.1.0") == 0);
    CHECK(hmm_last_error(NULL, 0) == 0);
    hmm_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.backend = HMM_BACKEND_HOST;
    config.host_devices = 2;
    config.host_memory = (uint64_t)256 * MIB;
    OK(hmm_init(&config));
    CHECK(strcmp(hmm_strerror(HMM_OK), hmm_strerror(HMM_ERR_BUSY)) != 0);
    CHECK(strlen(hmm_strerror(-12345)) > 0);
}

static void devices(void) {
    CHECK(hmm_device_count() == 2);
    for (int device = 0; device < 2; device++) {
        hmm_device_info_s info;
        memset(&info, 0x7f, sizeof info);
        info.struct_size = sizeof info;
        OK(hmm_device_info(device, &info));
        CHECK(strcmp(info.backend, "host") == 0);
        CHECK(info.name[0] != '\0' && strlen(info.name) < sizeof info.name);
        CHECK(info.memory_total == (uint64_t)256 * MIB);
        CHECK(info.memory_free <= info.memory_total && info.memory_free > 0);
    }
}

static void memory(void) {
    uint64_t before = stats().managed_bytes;
    unsigned char *p = hmm_malloc(100);
    CHECK(p != NULL && (size_t)p % 16 == 0);
    CHECK(hmm_usable_size(p) >= 100);
    CHECK(hmm_owns(p) && hmm_owns(p + 99));
    memset(p, 0x42, 100);
    p = hmm_realloc(p, 3 * MIB);
    CHECK(p != NULL && hmm_usable_size(p) >= 3 * MIB);
    for (int i = 0; i < 100; i++) CHECK(p[i] == 0x42);
    p[3 * MIB - 1] = 1;
    p = hmm_realloc(p, 50);
    for (int i = 0; i < 50; i++) CHECK(p[i] == 0x42);

    uint32_t *z = hmm_calloc(1000, 1000);
    CHECK(z != NULL);
    for (size_t i = 0; i < 250000; i++) CHECK(z[i] == 0);
    for (size_t alignment = 1; alignment <= 4 * (size_t)MIB; alignment *= 2) {
        char *a = hmm_aligned_alloc(alignment, 100);
        CHECK(a != NULL && (size_t)a % alignment == 0);
        a[99] = 1;
        hmm_free(a);
    }
    void *from_null = hmm_realloc(NULL, 10);
    CHECK(from_null != NULL);
    errno = 77;
    hmm_free(from_null);
    hmm_free(z);
    hmm_free(p);
    hmm_free(NULL);
    CHECK(errno == 77);
    CHECK(stats().managed_bytes == before);
}

static void movement(void) {
    uint32_t *x = hmm_malloc(SIZE);
    pages_are(x, SIZE, WHERE, HMM_PAGE_UNTOUCHED, -1);
    fill(x, WORDS);
    pages_are(x, SIZE, WHERE | HMM_PAGE_READ | HMM_PAGE_WRITE, HMM_PAGE_HOST | HMM_PAGE_READ | HMM_PAGE_WRITE, -1);
    OK(hmm_stats_reset());

    size_t moved = 1;
    OK(hmm_migrate(x, SIZE, 0, &moved));
    CHECK(moved == SIZE / PAGE);
    pages_are(x, SIZE, WHERE, HMM_PAGE_DEVICE, 0);
    CHECK(stats().bytes_to_device == SIZE && stats().moves_to_device > 0);
    OK(hmm_migrate(x, SIZE, 0, &moved));
    CHECK(moved == 0);
    OK(hmm_migrate(x, SIZE, 1, &moved));
    CHECK(moved == SIZE / PAGE);
    pages_are(x, SIZE, WHERE, HMM_PAGE_DEVICE, 1);
    CHECK(stats().faults == 0);

    // One page comes home at a read, and stays valid on the device; a write takes it from there.
    volatile uint32_t *v = x;
    CHECK(v[0] == pattern(0));
    CHECK(faults_are(1, 0));
    hmm_page page;
    OK(hmm_query(x, 1, &page, 1));
    CHECK(page.flags & HMM_PAGE_HOST);
    v[WORDS - 1] = 99;
    CHECK(faults_are(1, 1));
    OK(hmm_query(&x[WORDS - 1], 4, &page, 1));
    CHECK((page.flags & WHERE) == HMM_PAGE_HOST && page.device == -1);
    v[WORDS - 1] = pattern(WORDS - 1);
    same(x, WORDS);
    CHECK(stats().bytes_to_host == SIZE);

    OK(hmm_migrate((char *)x + 5 * PAGE + 3, 2 * PAGE, 0, NULL));
    pages_are((char *)x + 5 * PAGE + 3, 2 * PAGE, HMM_PAGE_DEVICE, HMM_PAGE_DEVICE, 0);
    OK(hmm_migrate(x, SIZE, HMM_HOST, &moved));
    pages_are(x, SIZE, HMM_PAGE_HOST, HMM_PAGE_HOST, -1);
    same(x, WORDS);

    // A block on a device keeps its contents, and its place, when it grows.
    OK(hmm_migrate(x, SIZE, 1, NULL));
    uint64_t home = stats().bytes_to_host;
    x = hmm_realloc(x, 2 * SIZE);
    CHECK(x != NULL);
    CHECK(stats().bytes_to_host == home);
    pages_are(x, SIZE, WHERE, HMM_PAGE_DEVICE, 1);
    same(x, WORDS);
    hmm_free(x);
}

static void prefetch_and_streams(void) {
    uint32_t *x = hmm_malloc(SIZE);
    fill(x, WORDS);
    hmm_stream stream = NULL;
    OK(hmm_stream_create(1, &stream));
    CHECK(stream != NULL);
    OK(hmm_prefetch(x, SIZE, 1, stream));
    OK(hmm_stream_synchronize(stream));
    pages_are(x, SIZE, HMM_PAGE_DEVICE, HMM_PAGE_DEVICE, 1);
    CHECK(stats().prefetches > 0);
    OK(hmm_prefetch(x, SIZE, HMM_HOST, stream));
    OK(hmm_stream_synchronize(stream));
    pages_are(x, SIZE, HMM_PAGE_HOST, HMM_PAGE_HOST, -1);
    same(x, WORDS);
    OK(hmm_prefetch(x, SIZE, 0, NULL));
    OK(hmm_stream_synchronize(NULL));
    same(x, WORDS);
    OK(hmm_stream_destroy(stream));
    hmm_free(x);
}

static void pins(void) {
    uint32_t *x = hmm_malloc(SIZE);
    fill(x, WORDS);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    OK(hmm_pin(x, SIZE));
    OK(hmm_pin(x, SIZE));
    pages_are(x, SIZE, HMM_PAGE_HOST | HMM_PAGE_PINNED, HMM_PAGE_HOST | HMM_PAGE_PINNED, -1);
    CHECK(hmm_migrate(x, SIZE, 0, NULL) == HMM_ERR_BUSY);
    OK(hmm_unpin(x, SIZE));
    CHECK(hmm_migrate(x, SIZE, 0, NULL) == HMM_ERR_BUSY);
    OK(hmm_unpin(x, SIZE));
    pages_are(x, SIZE, HMM_PAGE_PINNED, 0, -1);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    same(x, WORDS);
    hmm_free(x);
}

static void host_ready(void) {
    uint32_t *x = hmm_malloc(SIZE);
    fill(x, WORDS);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    OK(hmm_host_ready(x, SIZE, HMM_READ));
    OK(hmm_stats_reset());
    same(x, WORDS);
    CHECK(stats().faults == 0);

    // The kernel may write it: no EFAULT.
    int ends[2];
    CHECK(pipe(ends) == 0);
    uint32_t words[2] = {17, 18};
    CHECK(write(ends[1], words, sizeof words) == sizeof words);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    OK(hmm_host_ready(&x[1000], sizeof words, HMM_READ_WRITE));
    CHECK(read(ends[0], &x[1000], sizeof words) == sizeof words);
    CHECK(x[999] == pattern(999) && x[1000] == 17 && x[1001] == 18 && x[1002] == pattern(1002));
    close(ends[0]);
    close(ends[1]);
    hmm_free(x);
}

static void discard_and_advise(void) {
    uint32_t *x = hmm_malloc(SIZE);
    fill(x, WORDS);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    uint64_t before = stats().bytes_to_host;
    OK(hmm_discard(x, SIZE));
    volatile uint32_t *v = x;
    for (size_t i = 0; i < WORDS; i += 100) v[i] = 1;
    CHECK(stats().bytes_to_host == before);
    for (hmm_advice advice = HMM_ADVISE_READ_MOSTLY; advice <= HMM_ADVISE_UNSET_PATTERN; advice++) {
        OK(hmm_advise(x, SIZE, advice, HMM_HOST));
        OK(hmm_advise((char *)x + 100, 5, advice, 1));
    }
    hmm_free(x);
}

static void protection(void) {
    uint32_t *x = hmm_aligned_alloc(PAGE, SIZE);
    fill(x, WORDS);
    OK(hmm_protect(x, SIZE, HMM_PROTECT_READ));
    pages_are(x, SIZE, HMM_PAGE_READ | HMM_PAGE_WRITE, HMM_PAGE_READ, -1);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    hmm_access write = {x, SIZE, HMM_WRITE};
    CHECK(hmm_acquire(0, NULL, &write, 1) == HMM_ERR_READ_ONLY);
    same(x, WORDS);
    pages_are(x, SIZE, HMM_PAGE_READ | HMM_PAGE_WRITE, HMM_PAGE_READ, is_watched() ? -1 : 0);
    OK(hmm_protect(x, SIZE, HMM_PROTECT_NONE));
    hmm_access read = {x, SIZE, HMM_READ};
    CHECK(hmm_acquire(0, NULL, &read, 1) == HMM_ERR_ACCESS_DENIED);
    OK(hmm_protect(x, SIZE, HMM_PROTECT_READ_WRITE));
    same(x, WORDS);
    x[0] = 1;
    hmm_free(x);
}

static void adoption(void) {
    size_t len = 5 * (size_t)MIB + 3 * PAGE;
    char *map = mmap(NULL, len + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    uint32_t *x = (uint32_t *)(map + PAGE);
    size_t n = len / sizeof *x;
    fill(x, n);
    OK(hmm_adopt(x, len));
    CHECK(hmm_owns(x) && hmm_owns((char *)x + len - 1) && !hmm_owns(map) && !hmm_owns((char *)x + len));
    size_t moved = 0;
    OK(hmm_migrate(x, len, 0, &moved));
    CHECK(moved == len / PAGE);
    pages_are(x, len, WHERE, HMM_PAGE_DEVICE, 0);
    same(x, n / 2);
    OK(hmm_migrate(x, len, 1, &moved));
    OK(hmm_disown(x, len));
    CHECK(!hmm_owns(x));
    same(x, n);
    CHECK(munmap(map, len + 2 * PAGE) == 0);
}

// y[i] = y[i] * 3 + addend, and what the launch looked like.
static hmm_launch_config seen;
static int misaligned;
static void triple(const hmm_launch_config *config, void *const *args) {
    seen = *config;
    for (int i = 0; i < 3; i++) misaligned += (uintptr_t)args[i] % 16 != 0;
    uint32_t *y = *(uint32_t **)args[0];
    uint32_t addend = *(const uint32_t *)args[1];
    uint64_t n = *(const uint64_t *)args[2];
    for (uint64_t i = 0; i < n; i++) y[i] = y[i] * 3 + addend;
}

static void own_kernels(void) {
    uint32_t *x = hmm_malloc(SIZE);
    fill(x, WORDS);
    hmm_kernel kernel;
    OK(hmm_kernel_from_function(0, triple, &kernel));
    uint32_t addend = 5;
    uint64_t n = WORDS;
    hmm_arg args[3] = {
        {HMM_ARG_POINTER, HMM_READ_WRITE, x, SIZE},
        {HMM_ARG_VALUE, HMM_READ, &addend, sizeof addend},
        {HMM_ARG_VALUE, HMM_READ, &n, sizeof n},
    };
    hmm_launch_config config = {sizeof config, {WORDS / 256, 2, 3}, {256, 1, 1}, 64, NULL};
    OK(hmm_launch(kernel, &config, args, 3));
    addend = 0;  // values were copied
    for (size_t i = 0; i < WORDS; i++) CHECK(x[i] == pattern(i) * 3 + 5);
    CHECK(seen.struct_size == sizeof seen && seen.grid[0] == WORDS / 256 && seen.grid[1] == 2 && seen.grid[2] == 3);
    CHECK(misaligned == 0);
    CHECK(seen.block[0] == 256 && seen.block[1] == 1 && seen.block[2] == 1 && seen.shared_bytes == 64);

    // The same by hand: the kernel gets the device's address as a value.
    hmm_stream stream;
    OK(hmm_stream_create(0, &stream));
    hmm_access access = {x, SIZE, HMM_READ_WRITE};
    fill(x, WORDS);
    OK(hmm_acquire(0, stream, &access, 1));
    void *address = NULL;
    OK(hmm_device_ptr(x, 0, &address));
    void *second = NULL;
    OK(hmm_device_ptr(x + 3, 0, &second));
    CHECK(address != NULL && (char *)second == (char *)address + 12);
    hmm_device_info_s info;
    info.struct_size = sizeof info;
    OK(hmm_device_info(0, &info));
    CHECK(info.same_address == (address == (void *)x));
    addend = 6;
    hmm_arg values[3] = {
        {HMM_ARG_VALUE, HMM_READ, &address, sizeof address},
        {HMM_ARG_VALUE, HMM_READ, &addend, sizeof addend},
        {HMM_ARG_VALUE, HMM_READ, &n, sizeof n},
    };
    config.stream = stream;
    OK(hmm_launch(kernel, &config, values, 3));
    OK(hmm_release(0, stream));
    for (size_t i = 0; i < WORDS; i++) CHECK(x[i] == pattern(i) * 3 + 6);
    CHECK(seen.stream == stream);
    OK(hmm_stream_synchronize(stream));
    OK(hmm_stream_destroy(stream));
    hmm_free(x);
}

static void builtin_kernels(void) {
    uint64_t n = MIB;
    float a = 0.5f;
    for (int device = 0; device < 2; device++) {
        float *x = hmm_malloc(n * sizeof *x), *y = hmm_malloc(n * sizeof *y);
        for (size_t i = 0; i < n; i++) {
            x[i] = (float)(i % 1000);
            y[i] = (float)(i % 7);
        }
        hmm_module module;
        OK(hmm_module_builtin(device, &module));
        static const char *const names[] = {"hmm_fill",      "hmm_copy",    "hmm_saxpy",     "hmm_sum",
                                            "hmm_histogram", "hmm_stencil", "hmm_list_walk", "hmm_checksum"};
        hmm_kernel kernel;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            OK(hmm_kernel_get(module, names[i], &kernel));
        }
        OK(hmm_kernel_get(module, "hmm_saxpy", &kernel));
        hmm_arg args[4] = {
            {HMM_ARG_POINTER, HMM_READ_WRITE, y, n * sizeof *y},
            {HMM_ARG_POINTER, HMM_READ, x, n * sizeof *x},
            {HMM_ARG_VALUE, HMM_READ, &a, sizeof a},
            {HMM_ARG_VALUE, HMM_READ, &n, sizeof n},
        };
        hmm_launch_config config = {sizeof config, {(uint32_t)(n / 256), 1, 1}, {256, 1, 1}, 0, NULL};
        for (int times = 0; times < 3; times++) OK(hmm_launch(kernel, &config, args, 4));
        for (size_t i = 0; i < n; i++) CHECK(y[i] == (float)(i % 7) + 3 * 0.5f * (float)(i % 1000));
        for (size_t i = 0; i < n; i++) CHECK(x[i] == (float)(i % 1000));
        hmm_free(x);
        hmm_free(y);
    }
}

static void shutdown_keeps_data(void) {
    uint32_t *x = hmm_malloc(SIZE);
    fill(x, WORDS);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    OK(hmm_shutdown());
    same(x, WORDS);
    OK(hmm_init(NULL));
    CHECK(hmm_owns(x) && hmm_device_count() == 1);
    OK(hmm_migrate(x, SIZE, 0, NULL));
    same(x, WORDS);
    hmm_free(x);
}

int main(void) {
    PART(life);
    PART(devices);
    PART(memory);
    PART(movement);
    PART(prefetch_and_streams);
    PART(pins);
    PART(host_ready);
    PART(discard_and_advise);
    PART(protection);
    PART(adoption);
    PART(own_kernels);
    PART(builtin_kernels);
    PART(shutdown_keeps_data);
    OK(hmm_shutdown());
    printf("all well\n");
    return 0;
}
