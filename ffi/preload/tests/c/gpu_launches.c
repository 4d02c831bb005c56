// Every way to launch a kernel, and copies in two dimensions, with pointers from malloc. Links with gpu_newer.c.

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "gpu_cuda.h"

#define OK(call) CHECK((call) == 0)
#define MIB ((size_t)1 << 20)

typedef struct {
    unsigned grid[3], block[3], shared;
    handle stream;
    void *attributes;
    unsigned count;
} config;

int cuLaunchKernel_ptsz(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **,
                        void **);
int cuLaunchCooperativeKernel(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle,
                              void **);
int cuLaunchKernelEx(const config *, handle, void **, void **);

static handle context, add_bytes;
static uint64_t n = 2 * MIB;
static unsigned char one = 1;

static void *in_a_thread(void *x) {
    void *values[] = {&x, &n, &one};
    OK(cuCtxSetCurrent(context));
    for (int i = 0; i < 20; i++)
        OK(cuLaunchKernel_ptsz(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, values, NULL));
    return NULL;
}

static void stream_of_the_thread(void) {
    pthread_t threads[4];
    unsigned char *x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = calloc(1, n);
        CHECK(x[i] && pthread_create(&threads[i], NULL, in_a_thread, x[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(x[i][0] <= 20);
        OK(pthread_join(threads[i], NULL));
        for (size_t k = 0; k < n; k++)
            CHECK(x[i][k] == 20);
        free(x[i]);
    }
}

static void cooperative(void) {
    unsigned char *x = calloc(1, n);
    void *values[] = {&x, &n, &one};
    OK(cuLaunchCooperativeKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, values));
    CHECK(x[0] == 1 && x[n - 1] == 1);
    free(x);
}

static void with_a_configuration(void) {
    unsigned char *x = calloc(1, n);
    uint64_t *attributes = calloc(2 * MIB, 1); // in managed memory
    config *c = (config *)(attributes + 1000);
    void *values[] = {&x, &n, &one};
    ((char *)attributes)[72] = 9;
    *c = (config){{64, 1, 1}, {256, 1, 1}, 0, NULL, attributes, 2};
    for (int i = 0; i < 3; i++)
        OK(cuLaunchKernelEx(c, add_bytes, values, NULL));
    CHECK(x[0] == 3 && x[n - 1] == 3);
    free(attributes);
    free(x);
}

int cuMemcpy2DAsync_v2(const planes *, handle);

// A part of a picture to the device, and home to another place; more than one buffer's worth.
static void two_dimensions(void) {
    enum { W = 3000, H = 2400, PITCH = 4096, INNER = 2500, ROWS = 2000 };
    unsigned char *x = malloc((size_t)W * H), *y = malloc((size_t)W * H);
    uint64_t all = (uint64_t)W * H;
    address d;
    handle s;
    CHECK(x && y);
    memset(y, 0, all);
    for (size_t i = 0; i < all; i++)
        x[i] = (unsigned char)(i % 251);
    void *values[] = {&x, &all, &one}, *device_values[] = {&d, &all, &one};
    OK(cuStreamCreate(&s, 1));
    OK(cuMemAlloc_v2(&d, (size_t)PITCH * H));
    OK(cuLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, s, values, NULL));
    planes p = {{7, 5, 1, x, 0, NULL, W}, {3, 2, 2, NULL, d, NULL, PITCH}, INNER, ROWS};
    OK(cuMemcpy2DAsync_v2(&p, s));
    all = (uint64_t)PITCH * H;
    OK(cuLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, s, device_values, NULL));
    planes q = {p.to, {9, 1, 1, y, 0, NULL, W}, INNER, ROWS};
    OK(cuMemcpy2DAsync_v2(&q, s));
    OK(cuStreamSynchronize(s));
    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < INNER; i++)
            CHECK(y[(row + 1) * W + 9 + i] == (unsigned char)(((row + 5) * W + 7 + i) % 251 + 2));
    CHECK(y[W + 8] == 0 && y[W + 9 + INNER] == 0 && y[9] == 0 && y[(ROWS + 1) * W + 9] == 0);
    OK(cuMemFree_v2(d));
    OK(cuStreamDestroy_v2(s));
    free(x);
    free(y);
}

// No kernel has had any of it: the driver copies by itself, also what would be too wide for a buffer.
static void before_any_launch(void) {
    size_t width = 5 * MIB;
    unsigned char *x = malloc(2 * width), *y = calloc(1, 2 * width);
    address d;
    CHECK(x && y);
    for (size_t i = 0; i < 2 * width; i++)
        x[i] = (unsigned char)(i % 251);
    OK(cuMemAlloc_v2(&d, 2 * width));
    planes p = {{0, 0, 1, x, 0, NULL, width}, {0, 0, 2, NULL, d, NULL, width}, width, 2};
    planes q = {p.to, {0, 0, 1, y, 0, NULL, width}, width, 2};
    OK(cuMemcpy2DAsync_v2(&p, NULL));
    OK(cuMemcpy2DAsync_v2(&q, NULL));
    OK(cuStreamSynchronize(NULL));
    CHECK(memcmp(x, y, 2 * width) == 0);
    OK(cuMemFree_v2(d));
    free(x);
    free(y);
}

// More than the device has: the launch is refused, and nothing is lost.
static void no_room(void) {
    unsigned char *x = calloc(1, 160 * MIB);
    void *values[] = {&x, &n, &one};
    CHECK(x != NULL);
    x[150 * MIB] = 5;
    int code = cuLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, values, NULL);
    CHECK(code == 2);
    CHECK(x[150 * MIB] == 5 && x[0] == 0);
    free(x);
    cooperative();
}

int main(void) {
    handle module;
    look_up();
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoadData(&module, ".version 6.0\n.target sm_70\n.visible .entry test_add_bytes()\n"));
    OK(cuModuleGetFunction(&add_bytes, module, "test_add_bytes"));
    before_any_launch(); // which goes without the library, too
    PART(stream_of_the_thread);
    PART(cooperative);
    PART(with_a_configuration);
    PART(two_dimensions);
    PART(no_room);
    printf("all well\n");
    return 0;
}
