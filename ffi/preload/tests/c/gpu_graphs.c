// Graphs over what malloc gave: recorded from a stream, and made node by node; copies in two and three dimensions and in batches.
// Links with gpu_recorder.c.

#include <string.h>
#include <unistd.h>

#include "check.h"
#include "gpu_cuda.h"
#include "gpu_types.h"

#define OK(call) CHECK((call) == 0)
#define MIB ((size_t)1 << 20)

int cuStreamBeginCapture_v2(handle, int);
int cuStreamEndCapture(handle, handle *);
int cuMemcpyAsync(address, address, size_t, handle);
int cuMemcpy3DAsync_v2(const spaces *, handle);
int cuMemcpy2DAsync_v2(const planes *, handle);
int cuMemcpyHtoA_v2(handle, size_t, const void *, size_t);
int cuMemcpyAtoHAsync_v2(void *, handle, size_t, size_t, handle);
int cuMemcpyBatchAsync_v2(address *, address *, size_t *, size_t, void *, size_t *, size_t, handle);
int cuGraphCreate(handle *, unsigned);
int cuGraphAddKernelNode_v2(handle *, handle, void *, size_t, const kernel_node *);
int cuGraphAddMemcpyNode(handle *, handle, void *, size_t, const spaces *, handle);
int cuGraphAddMemsetNode(handle *, handle, void *, size_t, const fill_node *, handle);
int cuGraphLaunch(handle, handle);

static handle context, add_bytes, s;

static void add(address at, uint64_t n, unsigned char value) {
    void *values[] = {&at, &n, &value};
    OK(cuLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, s, values, NULL));
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

// What is not the graph's, so that other launches bring other memory.
static void something_else(void) {
    unsigned char *x = filled(2 * MIB, 1);
    add((address)x, 2 * MIB, 1);
    all_are(x, 2 * MIB, 2);
    free(x);
}

// There and back in three dimensions, in two, and by an array; the program's side is called host memory (1) or a device's (2).
static void there_and_back(address d, unsigned kind) {
    size_t n = 2 * MIB;
    unsigned char *x = filled(n, 7), *y = filled(n, 0);
    space sx = {0, 0, 0, 0, kind, x, (address)x, NULL, NULL, 1024, 1024}, sy = sx;
    space sd = {0, 0, 0, 0, 2, NULL, d, NULL, NULL, 1024, 1024};
    sy.host = y, sy.device = (address)y;
    OK(cuMemcpy3DAsync_v2(&(spaces){sx, sd, 1024, 1024, 2}, s));
    OK(cuMemcpy3DAsync_v2(&(spaces){sd, sy, 1024, 1024, 2}, s));
    OK(cuStreamSynchronize(s));
    all_are(y, n, 7);
    plane px = {0, 0, kind, x, (address)x, NULL, 1024}, py = {0, 0, kind, y, (address)y, NULL, 1024};
    plane pd = {0, 0, 2, NULL, d, NULL, 1024};
    memset(x, 8, n);
    OK(cuMemcpy2DAsync_v2(&(planes){px, pd, 1024, 2048}, s));
    OK(cuMemcpy2DAsync_v2(&(planes){pd, py, 1024, 2048}, s));
    OK(cuStreamSynchronize(s));
    all_are(y, n, 8);
    memset(x, 9, n);
    OK(cuMemcpyHtoA_v2((handle)d, 0, x, n));
    OK(cuMemcpyAtoHAsync_v2(y, (handle)d, 0, n, s));
    OK(cuStreamSynchronize(s));
    all_are(y, n, 9);
    free(x);
    free(y);
}

// What a graph can't bring when it is launched is refused, and nothing is changed.
static void refused_while_recording(address d) {
    size_t n = 2 * MIB;
    unsigned char *x = filled(n, 1);
    handle graph;
    plane px = {0, 0, 1, x, 0, NULL, 1024}, pd = {0, 0, 2, NULL, d, NULL, 1024};
    OK(cuStreamBeginCapture_v2(s, 0));
    CHECK(cuMemcpy2DAsync_v2(&(planes){px, pd, 1024, 2048}, s) == 801);
    CHECK(cuMemcpyAtoHAsync_v2(x, (handle)d, 0, n, s) == 801);
    OK(cuStreamEndCapture(s, &graph));
    all_are(x, n, 1);
    free(x);
}

static void copies(void) {
    address d;
    OK(cuMemAlloc_v2(&d, 2 * MIB));
    there_and_back(d, 1);
    there_and_back(d, 2);
    refused_while_recording(d);
    OK(cuMemFree_v2(d));
}
static void copies_before_any_launch(void) { copies(); }
static void copies_again(void) { copies(); }

static void recorded(void) {
    size_t n = 3 * MIB;
    unsigned char *x = filled(n, 0), *y = filled(n, 0);
    address d;
    handle graph;
    OK(cuMemAlloc_v2(&d, n));
    OK(cuStreamBeginCapture_v2(s, 0));
    add((address)x, n, 1);
    OK(cuMemcpyHtoDAsync_v2(d, x, n, s));
    add(d, n, 1);
    OK(cuMemcpyDtoHAsync_v2(y, d, n, s));
    OK(cuStreamEndCapture(s, &graph));
    all_are(x, n, 0);
    all_are(y, n, 0);
    for (int round = 0; round < 4; round++) {
        memset(x, 10 * round, n);
        memset(y, 0, n);
        something_else();
        OK(cuGraphLaunch(graph, s));
        OK(cuStreamSynchronize(s));
        all_are(y, n, 10 * round + 2);
        all_are(x, n, 10 * round + 1);
    }
    OK(cuMemFree_v2(d));
    free(x);
    free(y);
}

static void by_nodes(void) {
    uint64_t n = 2 * MIB;
    unsigned char *x = filled(n, 0), *y = filled(n, 0), *z = filled(n, 0), two = 2;
    address d;
    handle graph, node;
    OK(cuMemAlloc_v2(&d, n));
    void *values[] = {&x, &n, &two};
    kernel_node k = {add_bytes, {64, 1, 1}, {256, 1, 1}, 0, values, NULL, NULL, NULL};
    spaces out = {{0, 0, 0, 0, 1, x, 0, NULL, NULL, n, 1}, {0, 0, 0, 0, 2, NULL, d, NULL, NULL, n, 1}, n, 1, 1};
    spaces back = {out.to, {0, 0, 0, 0, 1, y, 0, NULL, NULL, n, 1}, n, 1, 1};
    fill_node f = {(address)z, 0, 7, 1, n, 1};
    OK(cuGraphCreate(&graph, 0));
    OK(cuGraphAddKernelNode_v2(&node, graph, NULL, 0, &k));
    OK(cuGraphAddMemcpyNode(&node, graph, NULL, 0, &out, context));
    OK(cuGraphAddMemcpyNode(&node, graph, NULL, 0, &back, context));
    OK(cuGraphAddMemsetNode(&node, graph, NULL, 0, &f, context));
    for (int round = 0; round < 3; round++) {
        memset(y, 99, n);
        memset(z, 99, n);
        something_else();
        OK(cuGraphLaunch(graph, s));
        OK(cuStreamSynchronize(s));
        all_are(x, n, 2 * (round + 1));
        all_are(y, n, 2 * (round + 1));
        all_are(z, n, 7);
    }
    OK(cuMemFree_v2(d));
    free(x);
    free(y);
    free(z);
}

// A part of a box to the device and home to another place.
static void three_dimensions(void) {
    enum { W = 600, H = 70, D = 60, PITCH = 1024 };
    size_t all = (size_t)W * H * D;
    unsigned char *x = malloc(all), *y = filled(all, 0);
    address d;
    CHECK(x != NULL);
    for (size_t i = 0; i < all; i++)
        x[i] = (unsigned char)(i % 251);
    OK(cuMemAlloc_v2(&d, (size_t)PITCH * H * D));
    add((address)x, all, 1);
    spaces p = {{7, 5, 3, 0, 1, x, 0, NULL, NULL, W, H}, {2, 1, 4, 0, 2, NULL, d, NULL, NULL, PITCH, H}, 500, 60, 50};
    spaces q = {p.to, {9, 2, 1, 0, 1, y, 0, NULL, NULL, W, H}, 500, 60, 50};
    OK(cuMemcpy3DAsync_v2(&p, s));
    OK(cuMemcpy3DAsync_v2(&q, s));
    OK(cuStreamSynchronize(s));
    for (size_t z = 0; z < D; z++)
        for (size_t row = 0; row < H; row++)
            for (size_t i = 0; i < W; i++) {
                int inside = z >= 1 && z < 51 && row >= 2 && row < 62 && i >= 9 && i < 509;
                size_t from = ((z + 2) * H + row + 3) * W + i - 2;
                CHECK(y[(z * H + row) * W + i] == (inside ? (unsigned char)(from % 251 + 1) : 0));
            }
    OK(cuMemFree_v2(d));
    free(x);
    free(y);
}

static void in_a_batch(void) {
    size_t n = 2 * MIB;
    unsigned char *x = filled(n, 1), *y = filled(n, 0), *z = filled(n, 0);
    address d;
    OK(cuMemAlloc_v2(&d, n));
    add((address)x, n, 1);
    OK(cuMemcpyBatchAsync_v2((address[]){d, (address)z}, (address[]){(address)x, (address)x}, (size_t[]){n, n}, 2, NULL,
                             NULL, 0, s));
    OK(cuMemcpyBatchAsync_v2((address[]){(address)y}, &d, &n, 1, NULL, NULL, 0, s));
    OK(cuStreamSynchronize(s));
    all_are(y, n, 2);
    all_are(z, n, 2);
    OK(cuMemFree_v2(d));
    free(x);
    free(y);
    free(z);
}

int main(void) {
    handle module;
    look_up();
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoadData(&module, ".version 6.0\n.target sm_70\n.visible .entry test_add_bytes()\n"));
    OK(cuModuleGetFunction(&add_bytes, module, "test_add_bytes"));
    OK(cuStreamCreate(&s, 1));
    PART(copies_before_any_launch);
    PART(recorded);
    PART(copies_again);
    PART(by_nodes);
    PART(three_dimensions);
    PART(in_a_batch);
    printf("all well\n");
    return 0;
}
