// A program that uses CUDA's managed memory, which is libhmmrt's with HMMRT_TAKE_MANAGED=1. What it checks tells it from
// the double's own.

#include <string.h>
#include <unistd.h>

#include "check.h"
#include "gpu_cuda.h"

#define OK(call) CHECK((call) == 0)
#define MIB ((size_t)1 << 20)
#define HOST (-1)

typedef struct {
    int kind, id;
} location;

// Of gpu_newer.c.
int cuMemRangeGetAttribute(void *, size_t, int, address, size_t);
int cuMemPrefetchAsync_v2(address, size_t, location, unsigned, handle);
int cuMemAdvise_v2(address, size_t, int, location);

static handle add_bytes, walk;

static void add(address at, size_t n, unsigned char value) {
    uint64_t count = n;
    void *values[] = {&at, &count, &value};
    OK(cuLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, values, NULL));
}

static void allocation(void) {
    address x = 0, y = 0;
    CHECK(cuMemAllocManaged(&x, 0, 1) == 1 && cuMemAllocManaged(&x, 100, 9) == 1);
    OK(cuMemAllocManaged(&x, 3 * MIB, 1));
    OK(cuMemAllocManaged(&y, 10, 1)); // smaller than what malloc makes managed
    memset((void *)x, 1, 3 * MIB);
    memset((void *)y, 1, 10);
    add(x, 3 * MIB, 1);
    add(y, 10, 2);
    CHECK(((char *)x)[0] == 2 && ((char *)x)[3 * MIB - 1] == 2 && ((char *)y)[9] == 3);
    CHECK(cuMemFree_v2(x + 1) != 0);
    OK(cuMemFree_v2(x));
    CHECK(cuMemFree_v2(x) != 0);
    OK(cuMemFree_v2(y));
}

static void nested_pointers(void) {
    address list, out;
    OK(cuMemAllocManaged(&list, 2 * MIB, 1));
    OK(cuMemAllocManaged(&out, 16, 1));
    uint64_t *node = (uint64_t *)list;
    for (int i = 0; i < 100; i++) {
        node[2 * i] = i < 99 ? list + 16 * (i + 1) : 0;
        node[2 * i + 1] = i;
    }
    uint64_t zero = 0, most = 1000;
    void *values[] = {&out, &zero, &zero, &list, &most};
    OK(cuLaunchKernel(walk, 1, 1, 1, 32, 1, 1, 0, NULL, values, NULL));
    CHECK(((uint64_t *)out)[0] == 100 && ((uint64_t *)out)[1] == 4950);
    OK(cuMemFree_v2(list));
    OK(cuMemFree_v2(out));
}

static void moving(void) {
    address x;
    handle s;
    OK(cuStreamCreate(&s, 1));
    OK(cuMemAllocManaged(&x, 4 * MIB, 1));
    memset((void *)x, 5, 4 * MIB);
    OK(cuMemPrefetchAsync(x, 4 * MIB, 0, s));
    add(x, 4 * MIB, 1);
    OK(cuMemPrefetchAsync(x, 4 * MIB, HOST, s));
    OK(cuStreamSynchronize(s));
    CHECK(((char *)x)[4 * MIB - 1] == 6);
    CHECK(cuMemPrefetchAsync(x, 4 * MIB, 77, s) == 101);
    CHECK(cuMemPrefetchAsync(x, 99 * MIB, 0, s) == 1);
    int where = 0;
    OK(cuMemRangeGetAttribute(&where, 4, 4, x, MIB));
    CHECK(where == HOST);
    // The types of CUDA 12.2.
    OK(cuMemPrefetchAsync_v2(x, 4 * MIB, (location){1, 0}, 0, s));
    OK(cuMemRangeGetAttribute(&where, 4, 4, x, MIB));
    CHECK(where == 0);
    OK(cuMemPrefetchAsync_v2(x, 4 * MIB, (location){2, 0}, 0, s));
    OK(cuMemRangeGetAttribute(&where, 4, 4, x, MIB));
    CHECK(where == HOST);
    OK(cuStreamSynchronize(s));
    CHECK(((char *)x)[0] == 6);
    OK(cuStreamDestroy_v2(s));
    OK(cuMemFree_v2(x));
}

static void advice(void) {
    address x;
    int value = 5, both[2] = {7, 7};
    OK(cuMemAllocManaged(&x, 2 * MIB, 1));
    OK(cuMemRangeGetAttribute(&value, 4, 1, x, 2 * MIB));
    CHECK(value == 0);
    OK(cuMemAdvise(x, 2 * MIB, 1, 0));
    OK(cuMemRangeGetAttribute(&value, 4, 1, x, 2 * MIB));
    CHECK(value == 1);
    OK(cuMemRangeGetAttribute(&value, 4, 2, x, 2 * MIB));
    CHECK(value == -2);
    OK(cuMemAdvise(x, 2 * MIB, 3, HOST));
    OK(cuMemAdvise(x, 2 * MIB, 5, 1));
    OK(cuMemRangeGetAttribute(&value, 4, 2, x, 2 * MIB));
    CHECK(value == HOST);
    OK(cuMemRangeGetAttribute(both, 8, 3, x, 2 * MIB));
    CHECK(both[0] == 1 && both[1] == -2);
    OK(cuMemAdvise_v2(x, 2 * MIB, 3, (location){1, 1}));
    OK(cuMemRangeGetAttribute(&value, 4, 2, x, 2 * MIB));
    CHECK(value == 1);
    CHECK(cuMemAdvise(x, 2 * MIB, 77, 0) == 1 && cuMemAdvise(x, 2 * MIB, 3, 77) == 101);
    OK(cuMemFree_v2(x));
}

static void attributes(void) {
    address x, start = 0, pointer = 0;
    int managed = 0, kind = 0, device = 9;
    size_t size = 0;
    OK(cuMemAllocManaged(&x, 2 * MIB, 1));
    OK(cuPointerGetAttribute(&managed, 8, x + 5));
    OK(cuPointerGetAttribute(&kind, 2, x + 5));
    OK(cuPointerGetAttribute(&pointer, 3, x + 5));
    CHECK(managed == 1 && kind == 2 && pointer == x + 5);
    int names[] = {8, 9};
    void *values[] = {&managed, &device};
    OK(cuPointerGetAttributes(2, names, values, x));
    CHECK(managed == 1 && device == 0);
    OK(cuMemGetAddressRange_v2(&start, &size, x + MIB));
    CHECK(start == x && size == 2 * MIB);
    OK(cuMemFree_v2(x));
    CHECK(cuPointerGetAttribute(&managed, 8, x) != 0);
}

// The driver's own is as it was.
static void device_memory(void) {
    address d;
    int managed = 1;
    OK(cuMemAlloc_v2(&d, MIB));
    OK(cuPointerGetAttribute(&managed, 8, d));
    CHECK(managed == 0);
    OK(cuMemsetD8_v2(d, 3, MIB));
    OK(cuMemFree_v2(d));
}

int main(void) {
    handle context, module;
    look_up();
    OK(cuInit(0));
    address none;
    CHECK(cuMemAllocManaged(&none, MIB, 1) == 201); // no context
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoadData(&module, ".version 6.0\n.target sm_70\n.visible .entry test_add_bytes()\n"
                                 ".visible .entry hmm_list_walk()\n"));
    OK(cuModuleGetFunction(&add_bytes, module, "test_add_bytes"));
    OK(cuModuleGetFunction(&walk, module, "hmm_list_walk"));
    PART(allocation);
    PART(nested_pointers);
    PART(moving);
    PART(advice);
    PART(attributes);
    PART(device_memory);
    printf("all well\n");
    return 0;
}
