// Every call with every size, offset, alignment and count at which arithmetic goes wrong: an error, and nothing changed. The
// table is the product of addresses and numbers; what each pair must give follows from where it lies.

#define _GNU_SOURCE
#include "refused.h"

static const size_t numbers[] = {
    SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 4094, SIZE_MAX - 4095, SIZE_MAX - 4096, SIZE_MAX - 2 * MIB,
    SIZE_MAX - 2 * MIB + 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 2 - 4095, SIZE_MAX / 2 + 2, (size_t)1 << 63,
    (size_t)1 << 62, (size_t)1 << 48, ((size_t)1 << 48) - 4096, (size_t)1 << 47, ((size_t)1 << 47) - 4096,
    ((size_t)1 << 47) - 1, SIZE_MAX / 4096, SIZE_MAX / 4096 + 1, SIZE_MAX / 8, SIZE_MAX / 8 + 1,
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static unsigned calls;

// The call fails, and leaves everything as it was.
#define FAILS(call)                                                                                                   \
    do {                                                                                                              \
        hmm_status status_ = (call);                                                                                  \
        calls++;                                                                                                      \
        if (status_ == HMM_OK || status_ == HMM_ERR_PANIC) {                                                          \
            fprintf(stderr, "addr %p number %zx: status %d\n", p, n, (int)status_);                                   \
            check_failed(__FILE__, __LINE__, #call, "should fail");                                                   \
        }                                                                                                             \
        message_is(__FILE__, __LINE__, #call, "");                                                                    \
    } while (0)
#define NO_BLOCK(call)                                                                                                \
    do {                                                                                                              \
        void *block_ = (call);                                                                                        \
        calls++;                                                                                                      \
        if (block_ != NULL) {                                                                                         \
            fprintf(stderr, "number %zx\n", n);                                                                       \
            check_failed(__FILE__, __LINE__, #call, "should be NULL");                                                \
        }                                                                                                             \
    } while (0)

static void range(void *p, size_t n) {
    size_t moved = 77;
    void *out = &moved;
    hmm_page page = {77, 77};
    hmm_access access[2] = {{home, PAGE, HMM_READ}, {p, n, HMM_READ_WRITE}};
    FAILS(hmm_prefetch(p, n, 0, NULL));
    FAILS(hmm_prefetch(p, n, HMM_HOST, NULL));
    FAILS(hmm_migrate(p, n, 0, &moved));
    FAILS(hmm_migrate(p, n, HMM_HOST, &moved));
    FAILS(hmm_host_ready(p, n, HMM_READ));
    FAILS(hmm_host_ready(p, n, HMM_WRITE));
    FAILS(hmm_pin(p, n));
    FAILS(hmm_unpin(p, n));
    FAILS(hmm_discard(p, n));
    FAILS(hmm_protect(p, n, HMM_PROTECT_NONE));
    FAILS(hmm_adopt(p, n));
    FAILS(hmm_disown(p, n));
    for (int a = HMM_ADVISE_READ_MOSTLY; a <= HMM_ADVISE_UNSET_PATTERN; a++) FAILS(hmm_advise(p, n, (hmm_advice)a, HMM_HOST));
    FAILS(hmm_acquire(0, NULL, access, 2));
    FAILS(hmm_query(p, n, &page, 1));
    FAILS(hmm_query(p, n, NULL, SIZE_MAX));
    CHECK(moved == 77 && out == &moved && page.flags == 77 && page.device == 77);
}

static void ranges(void) {
    // The start, the middle and the last byte of blocks, and what is nobody's.
    void *const places[] = {home, home + 1, home + SIZE / 2, home + SIZE - 1, away, away + SIZE - PAGE, away + SIZE / 4 + 3};
    stale_message();
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        for (int k = 0; k < NUMBERS; k++) {
            range(places[i], numbers[k]);
            // So that the end is 0, 1, or one before.
            range(places[i], (size_t)0 - (size_t)places[i]);
            range(places[i], (size_t)0 - (size_t)places[i] - 1);
            range(places[i], (size_t)1 - (size_t)places[i]);
        }
    }
    static const size_t small[] = {1, 8, PAGE, 2 * MIB};
    for (int i = 0; i < NUMBERS; i++) {
        // An address that is nobody's, with lengths that wrap and such that do not.
        void *p = (void *)numbers[i];
        for (int k = 0; k < NUMBERS; k++) range(p, numbers[k]);
        for (int k = 0; k < 3; k++) {
            size_t n = small[k];
            hmm_access access = {p, n, HMM_READ};
            FAILS(hmm_migrate(p, n, 0, NULL));
            FAILS(hmm_pin(p, n));
            FAILS(hmm_discard(p, n));
            FAILS(hmm_acquire(0, NULL, &access, 1));
            FAILS(hmm_device_ptr(p, 0, (void **)&access));
        }
        CHECK(!hmm_owns(p) && hmm_usable_size(p) == 0);
    }
    unchanged(__FILE__, __LINE__, "a range at the edge");
}

static void sizes(void) {
    stale_message();
    for (int i = 0; i < NUMBERS; i++) {
        size_t n = numbers[i];
        if (n < (size_t)1 << 47) continue; // a machine could have that much address space
        NO_BLOCK(hmm_malloc(n));
        NO_BLOCK(hmm_calloc(n, 1));
        NO_BLOCK(hmm_calloc(1, n));
        NO_BLOCK(hmm_realloc(home, n));
        NO_BLOCK(hmm_realloc(away, n));
        NO_BLOCK(hmm_realloc(NULL, n));
        for (size_t alignment = 1; alignment != 0; alignment *= 2) NO_BLOCK(hmm_aligned_alloc(alignment, n));
        for (int k = 0; k < NUMBERS; k++) NO_BLOCK(hmm_calloc(n, numbers[k]));
        // Alignments that are none, or that no address has.
        NO_BLOCK(hmm_aligned_alloc(n, 1));
        NO_BLOCK(hmm_aligned_alloc(n, n));
    }
    unchanged(__FILE__, __LINE__, "a size at the edge");
}

static void nothing(const hmm_launch_config *c, void *const *args) { (void)c, (void)args; }

static void counts(void) {
    hmm_kernel kernel, own;
    OK(hmm_kernel_from_function(0, nothing, &own));
    hmm_module module;
    OK(hmm_module_builtin(0, &module));
    OK(hmm_kernel_get(module, "hmm_fill", &kernel));
    hmm_launch_config config = {sizeof config, {1, 1, 1}, {1, 1, 1}, 0, NULL};
    stale_message();
    for (int i = 0; i < NUMBERS; i++) {
        size_t n = numbers[i];
        void *p = home;
        if (n > SIZE_MAX / 64) { // more elements than there are addresses
            FAILS(hmm_acquire(0, NULL, (const hmm_access *)p, n));
            FAILS(hmm_launch(kernel, &config, (const hmm_arg *)p, n));
        }
        hmm_arg args[3] = {{HMM_ARG_POINTER, HMM_WRITE, home, n}, {HMM_ARG_VALUE, HMM_READ, &n, 8}, {HMM_ARG_VALUE, HMM_READ, &n, 4}};
        FAILS(hmm_launch(kernel, &config, args, 3));
        args[0].size = (size_t)0 - (size_t)home;
        FAILS(hmm_launch(kernel, &config, args, 3));
        args[0].data = (void *)n;
        args[0].size = 1;
        FAILS(hmm_launch(kernel, &config, args, 3));
        // A value is as long as the parameter, not as it says.
        args[0].data = home;
        args[1].size = n;
        FAILS(hmm_launch(kernel, &config, args, 3));
        // Nothing is known of what a function of the program takes.
        FAILS(hmm_launch(own, &config, args, 3));
        // Handles that are none.
        hmm_kernel out = kernel;
        FAILS(hmm_kernel_get((hmm_module)n, "hmm_fill", &out));
        FAILS(hmm_launch((hmm_kernel)n, &config, args, 3));
        FAILS(hmm_stream_synchronize((hmm_stream)n));
        FAILS(hmm_stream_destroy((hmm_stream)n));
        FAILS(hmm_release(0, (hmm_stream)n));
        FAILS(hmm_prefetch(home, PAGE, 0, (hmm_stream)n));
        FAILS(hmm_acquire(0, (hmm_stream)n, NULL, 0));
        CHECK(out == kernel);
        // Structs of any size.
        union {
            size_t struct_size;
            hmm_stats stats;
            hmm_device_info_s info;
            hmm_config config;
            hmm_launch_config launch;
        } room;
        memset(&room, 0, sizeof room);
        room.struct_size = n;
        FAILS(hmm_stats_get(&room.stats));
        FAILS(hmm_device_info(0, &room.info));
        FAILS(hmm_init(&room.config));
        FAILS(hmm_launch(kernel, &room.launch, NULL, 0));
        CHECK(room.struct_size == n && room.launch.grid[0] == 0);
        // A message is never written past the room that there is.
        char small[4] = "xyz";
        hmm_last_error(small, 2);
        CHECK(small[1] == '\0' && small[2] == 'z');
        for (int device = -3; device < 10; device++) {
            if (device < 0 || device > 0) FAILS(hmm_device_info(device, &room.info));
        }
        FAILS(hmm_device_info((int)n | (int)0x80000000, &room.info));
    }
    unchanged(__FILE__, __LINE__, "a count at the edge");
}

int main(void) {
    watch();
    CHECK(hmm_device_count() == 1);
    PART(ranges);
    PART(sizes);
    PART(counts);
    PART(nothing_lost);
    CHECK(calls > 10000);
    printf("all well\n");
    return 0;
}
