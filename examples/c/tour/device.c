/* The library's kernels as C functions: one stream on device 0, one hmm_launch each. */
#include "tour.h"

static hmm_stream stream;
static hmm_module module;

void device_start(void) {
    CHECK(hmm_stream_create(0, &stream));
    CHECK(hmm_module_builtin(0, &module));
}

void device_stop(void) {
    CHECK(hmm_stream_synchronize(stream));
    CHECK(hmm_stream_destroy(stream));
}

static hmm_arg value(const void *data, size_t size) {
    return (hmm_arg){.kind = HMM_ARG_VALUE, .data = data, .size = size};
}

static hmm_arg pointer(const void *data, size_t size, hmm_access_mode mode) {
    return (hmm_arg){.kind = HMM_ARG_POINTER, .mode = mode, .data = data, .size = size};
}

/* Enough blocks of 256 threads for n of them. */
static void launch(const char *name, uint64_t n, const hmm_arg *args, size_t count) {
    hmm_kernel kernel;
    CHECK(hmm_kernel_get(module, name, &kernel));
    uint64_t blocks = (n + 255) / 256;
    if (blocks < 1) {
        blocks = 1;
    } else if (blocks > 1 << 20) {
        blocks = 1 << 20; /* the kernels stride over what is left */
    }
    hmm_launch_config config = {
        .struct_size = sizeof config, .grid = {(uint32_t)blocks, 1, 1}, .block = {256, 1, 1}, .stream = stream};
    CHECK(hmm_launch(kernel, &config, args, count));
}

void device_histogram(uint64_t bins[256], const uint8_t *x, uint64_t n) {
    hmm_arg args[] = {pointer(bins, 256 * sizeof *bins, HMM_READ_WRITE), pointer(x, n, HMM_READ), value(&n, sizeof n)};
    launch("hmm_histogram", n, args, 3);
}

void device_checksum(uint64_t *out, const void *x, uint64_t n) {
    hmm_arg args[] = {pointer(out, sizeof *out, HMM_READ_WRITE), pointer(x, n, HMM_READ), value(&n, sizeof n)};
    launch("hmm_checksum", n / 8 + 1, args, 3);
}

void device_stencil(float *out, const float *in, uint64_t width, uint64_t height) {
    size_t size = width * height * sizeof *in;
    hmm_arg args[] = {pointer(out, size, HMM_WRITE), pointer(in, size, HMM_READ), value(&width, sizeof width),
                      value(&height, sizeof height)};
    launch("hmm_stencil", width * height, args, 4);
}

void device_list_walk(uint64_t out[2], const void *nodes, size_t size, const void *head, uint64_t most) {
    uint64_t host = (uintptr_t)nodes, first = (uintptr_t)head;
    hmm_arg args[] = {pointer(out, 2 * sizeof *out, HMM_READ_WRITE), pointer(nodes, size, HMM_READ),
                      value(&host, sizeof host), value(&first, sizeof first), value(&most, sizeof most)};
    launch("hmm_list_walk", 1, args, 5);
}
