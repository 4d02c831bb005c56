// A program that uses HIP's runtime and knows nothing of libhmmrt; it is linked to it. "managed": with its managed memory.

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "gpu_types_hip.h"

#define OK(call) CHECK((call) == 0)
#define MIB ((size_t)1 << 20)

typedef struct {
    int kind, device;
    void *on_device, *on_host;
    int is_managed;
    unsigned flags;
} attributes_of;

int hipInit(unsigned);
int hipSetDevice(int);
int hipModuleLoadData(handle *, const void *);
int hipModuleGetFunction(handle *, handle, const char *);
int hipModuleLaunchKernel(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **,
                          void **);
int hipDeviceSynchronize(void);
// Of gpu_newer.c.
int hipLaunchKernel(const void *, dim3, dim3, void **, size_t, handle);
int hipMemcpy2D(void *, size_t, const void *, size_t, size_t, size_t, int);
int hipMemcpy3D(const spaces *);
int hipExtModuleLaunchKernel(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, size_t, handle, void **,
                             void **, handle, handle, unsigned);
int hipStreamCreate(handle *);
int hipStreamDestroy(handle);
int hipStreamSynchronize(handle);
int hipMalloc(void **, size_t);
int hipFree(void *);
int hipMemcpy(void *, const void *, size_t, int);
int hipMemcpyAsync(void *, const void *, size_t, int, handle);
int hipMemset(void *, int, size_t);
int hipMallocManaged(void **, size_t, unsigned);
int hipMemPrefetchAsync(const void *, size_t, int, handle);
int hipMemAdvise(const void *, size_t, int, int);
int hipPointerGetAttributes(attributes_of *, const void *);
int hipGetLastError(void);
int hiprtcCreateProgram(handle *, const char *, const char *, int, const char **, const char **);
int hiprtcCompileProgram(handle, int, const char **);
int hiprtcGetCodeSize(handle, size_t *);
int hiprtcGetCode(handle, char *);

static handle add_bytes, copy, walk;

static void add(void *at, size_t n, unsigned char value, handle stream) {
    uint64_t count = n;
    void *values[] = {&at, &count, &value};
    OK(hipModuleLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, stream, values, NULL));
}

static unsigned char *filled(size_t n, unsigned char value) {
    unsigned char *at = malloc(n);
    CHECK(at != NULL);
    memset(at, value, n);
    return at;
}

static void all_are(const unsigned char *at, size_t n, unsigned char value) {
    for (size_t i = 0; i < n; i++)
        CHECK(at[i] == value);
}

// There and back in three dimensions and in two.
static void boxes(void) {
    size_t n = 2 * MIB;
    unsigned char *x = filled(n, 7), *y = filled(n, 0);
    void *d;
    OK(hipMalloc(&d, n));
    space sx = {NULL, 0, 0, 0, {x, 1024, 1024, 1024}}, sy = sx, sd = sx;
    sy.memory.at = y, sd.memory.at = d;
    OK(hipMemcpy3D(&(spaces){sx, sd, 1024, 1024, 2, 1}));
    OK(hipMemcpy3D(&(spaces){sd, sy, 1024, 1024, 2, 2}));
    all_are(y, n, 7);
    memset(x, 8, n);
    OK(hipMemcpy2D(d, 1024, x, 1024, 1024, 2048, 1));
    OK(hipMemcpy2D(y, 1024, d, 1024, 1024, 2048, 2));
    all_are(y, n, 8);
    OK(hipFree(d));
    free(x);
    free(y);
}

static void plain_pointers(void) {
    unsigned char *x = filled(5 * MIB + 3, 7);
    add(x, 5 * MIB + 3, 1, NULL);
    all_are(x, 5 * MIB + 3, 8);
    free(x);
}

// As the compiler launches kernels: pointers to copies in the caller's frame.
static void other_launches(void) {
    unsigned char *x = filled(2 * MIB, 0);
    uint64_t n = 2 * MIB;
    unsigned char one = 1;
    void *values[] = {&x, &n, &one};
    dim3 grid = {64, 1, 1}, block = {256, 1, 1};
    for (int i = 0; i < 3; i++)
        OK(hipLaunchKernel(add_bytes, grid, block, values, 0, NULL));
    OK(hipExtModuleLaunchKernel(add_bytes, 64 * 256, 1, 1, 256, 1, 1, 0, NULL, values, NULL, NULL, NULL, 5));
    all_are(x, 2 * MIB, 4);
    free(x);
}

// The launch is refused, and said to be so afterwards.
static void no_room(void) {
    unsigned char *x = filled(160 * MIB, 5);
    uint64_t n = 100;
    unsigned char one = 1;
    void *values[] = {&x, &n, &one};
    dim3 grid = {64, 1, 1}, block = {256, 1, 1};
    CHECK(hipLaunchKernel(add_bytes, grid, block, values, 0, NULL) == 2);
    CHECK(hipGetLastError() == 2 && hipGetLastError() == 0);
    all_are(x, 160 * MIB, 5);
    free(x);
}

static void a_buffer_of_values(void) {
    unsigned char *x = filled(2 * MIB, 1);
    struct {
        void *at;
        uint64_t n;
        unsigned char value;
    } values = {x, 2 * MIB, 4};
    size_t size = sizeof values;
    void *extra[] = {(void *)1, &values, (void *)2, &size, (void *)3};
    OK(hipModuleLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, NULL, extra));
    all_are(x, 2 * MIB, 5);
    free(x);
}

static void two_streams(void) {
    handle s[2];
    unsigned char *x[2];
    for (int i = 0; i < 2; i++) {
        OK(hipStreamCreate(&s[i]));
        x[i] = filled(3 * MIB, 10);
    }
    for (int round = 0; round < 10; round++)
        for (int i = 0; i < 2; i++)
            add(x[i], 3 * MIB, 1 + i, s[i]);
    all_are(x[0], 3 * MIB, 20);
    all_are(x[1], 3 * MIB, 30);
    for (int i = 0; i < 2; i++) {
        OK(hipStreamDestroy(s[i]));
        free(x[i]);
    }
}

static void copies(void) {
    size_t n = 9 * MIB + 5;
    unsigned char *x = filled(n, 1), *y = filled(n, 0);
    void *d;
    handle s;
    OK(hipStreamCreate(&s));
    OK(hipMalloc(&d, n));
    add(x, n, 1, s);
    OK(hipMemcpyAsync(d, x, n, 1, s));
    add(d, n, 1, s);
    OK(hipMemcpyAsync(y, d, n, 2, s));
    OK(hipStreamSynchronize(s));
    all_are(x, n, 2);
    all_are(y, n, 3);
    add(y, n, 1, NULL);
    OK(hipMemcpy(x, y, n, 4));
    all_are(x, n, 4);
    OK(hipMemset(x + 1, 9, MIB));
    CHECK(x[0] == 4 && x[1] == 9 && x[MIB] == 9 && x[MIB + 1] == 4);
    // Every other thousand bytes, and back into the places between.
    add(x, n, 1, NULL);
    OK(hipMemcpy2D(d, 1000, x, 2000, 1000, 4000, 1));
    add(d, 4000000, 1, NULL);
    OK(hipMemcpy2D(x + 1000, 2000, d, 1000, 1000, 4000, 2));
    for (size_t i = 2 * MIB; i < 7999000; i++)
        CHECK(x[i] == (i / 1000 % 2 ? 6 : 5));
    OK(hipFree(d));
    OK(hipStreamDestroy(s));
    free(x);
    free(y);
}

static void both_kinds(void) {
    uint64_t n = 3 * MIB;
    unsigned char *x = filled(n, 6);
    void *d, *from = x;
    OK(hipMalloc(&d, n));
    void *values[] = {&d, &from, &n};
    OK(hipModuleLaunchKernel(copy, 64, 1, 1, 256, 1, 1, 0, NULL, values, NULL));
    memset(x, 0, n);
    void *back[] = {&from, &d, &n};
    OK(hipModuleLaunchKernel(copy, 64, 1, 1, 256, 1, 1, 0, NULL, back, NULL));
    all_are(x, n, 6);
    OK(hipFree(d));
    free(x);
}

// The list of values, and values, in managed memory.
static void values_in_managed_memory(void) {
    void **list = malloc(2 * MIB);
    unsigned char *x = filled(2 * MIB, 1);
    add(list, 2 * MIB, 0, NULL);
    uint64_t *n = (uint64_t *)(list + 100);
    unsigned char *value = (unsigned char *)(list + 101);
    *n = 2 * MIB;
    *value = 3;
    list[99] = x;
    list[0] = &list[99];
    list[1] = n;
    list[2] = value;
    list[3] = NULL;
    for (int i = 0; i < 3; i++)
        OK(hipModuleLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, list, NULL));
    all_are(x, 2 * MIB, 10);
    free(list);
    free(x);
}

static void attributes(void) {
    unsigned char *x = filled(2 * MIB, 1);
    attributes_of a;
    add(x, 2 * MIB, 1, NULL);
    CHECK(hipPointerGetAttributes(&a, x) == hipPointerGetAttributes(&a, &a));
    CHECK(hipFree(x) != 0);
    (void)hipGetLastError();
    free(x);
}

static void managed_memory(void) {
    void *x;
    attributes_of a;
    OK(hipMallocManaged(&x, 2 * MIB, 1));
    memset(x, 1, 2 * MIB);
    OK(hipMemAdvise(x, 2 * MIB, 3, 0));
    OK(hipMemPrefetchAsync(x, 2 * MIB, 0, NULL));
    add(x, 2 * MIB, 1, NULL);
    all_are(x, 2 * MIB, 2);
    OK(hipPointerGetAttributes(&a, x));
    CHECK(a.kind == 3 && a.is_managed && a.on_device == x && a.on_host == x && a.device == 0);
    uint64_t *node = x, zero = 0, most = 1000, out = (uint64_t)x + MIB;
    for (int i = 0; i < 100; i++) {
        node[2 * i] = i < 99 ? (uint64_t)&node[2 * (i + 1)] : 0;
        node[2 * i + 1] = i;
    }
    void *values[] = {&out, &zero, &zero, &x, &most};
    OK(hipModuleLaunchKernel(walk, 1, 1, 1, 32, 1, 1, 0, NULL, values, NULL));
    CHECK(((uint64_t *)out)[0] == 100 && ((uint64_t *)out)[1] == 4950);
    OK(hipFree(x));
    CHECK(hipFree(x) != 0);
}

int main(int argc, char **argv) {
    unsigned char *early = filled(2 * MIB, 40);
    handle program, module;
    char code[4096];
    size_t size;
    (void)argv;
    OK(hipInit(0));
    OK(hipSetDevice(0));
    OK(hiprtcCreateProgram(&program, "void test_add_bytes(); void hmm_copy(); void hmm_list_walk();", "p", 0, NULL, NULL));
    OK(hiprtcCompileProgram(program, 0, NULL));
    OK(hiprtcGetCodeSize(program, &size));
    CHECK(size <= sizeof code);
    OK(hiprtcGetCode(program, code));
    OK(hipModuleLoadData(&module, code));
    OK(hipModuleGetFunction(&add_bytes, module, "test_add_bytes"));
    OK(hipModuleGetFunction(&copy, module, "hmm_copy"));
    OK(hipModuleGetFunction(&walk, module, "hmm_list_walk"));
    boxes(); // no kernel has had any of it, and it goes without the library, too
    add(early, 2 * MIB, 2, NULL);
    all_are(early, 2 * MIB, 42);
    free(early);
    PART(plain_pointers);
    PART(other_launches);
    PART(no_room);
    PART(a_buffer_of_values);
    PART(two_streams);
    PART(copies);
    PART(boxes);
    PART(both_kinds);
    PART(values_in_managed_memory);
    PART(attributes);
    if (argc > 1)
        PART(managed_memory);
    OK(hipDeviceSynchronize());
    printf("all well\n");
    return 0;
}
