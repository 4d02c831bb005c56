// Graphs, and copies in three dimensions and in batches, as a library in front of the CUDA double, which has none: what is
// put into a stream that is recorded, and nodes with parameters of their own, are done when the graph is launched.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_types.h"

typedef int launch(handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **, void **);
typedef int copy(address, address, size_t, handle);
typedef int wait(handle);
typedef int ask(void *, int, address);
typedef struct {
    enum { KERNEL, COPY, FILL } kind;
    kernel_node kernel;
    uint64_t values[8];
    spaces copy;
    fill_node fill;
} node;
typedef struct {
    node nodes[16];
    int count;
} graph;

int cuFuncGetParamInfo(handle, size_t, size_t *, size_t *);
int cuMemsetD8Async(address, unsigned char, size_t, handle);

static graph *recorded;
static handle recorded_stream;

#define NEXT(type, name) ((type *)dlsym(RTLD_NEXT, #name))

static node *add(graph *g, int kind) {
    node *n = &g->nodes[g->count++];
    n->kind = kind;
    return n;
}

static int add_kernel(graph *g, const kernel_node *k) {
    node *n = add(g, KERNEL);
    n->kernel = *k;
    size_t offset, size;
    for (int i = 0; i < 8 && cuFuncGetParamInfo(k->f, i, &offset, &size) == 0; i++)
        memcpy(&n->values[i], k->values[i], size);
    return 0;
}

int cuStreamBeginCapture_v2(handle stream, int mode) {
    (void)mode;
    recorded = calloc(1, sizeof *recorded);
    recorded_stream = stream;
    return 0;
}

int cuStreamEndCapture(handle stream, graph **out) {
    (void)stream;
    *out = recorded;
    recorded = NULL;
    return 0;
}

int cuStreamIsCapturing(handle stream, int *state) {
    *state = recorded && stream == recorded_stream;
    return 0;
}

int cuStreamSynchronize(handle stream) {
    return recorded && stream == recorded_stream ? 900 : NEXT(wait, cuStreamSynchronize)(stream);
}

int cuLaunchKernel(handle f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   handle stream, void **values, void **extra) {
    if (recorded && stream == recorded_stream)
        return add_kernel(recorded, &(kernel_node){f, {x, y, z}, {bx, by, bz}, shared, values, extra, NULL, NULL});
    return NEXT(launch, cuLaunchKernel)(f, x, y, z, bx, by, bz, shared, stream, values, extra);
}

int cuMemcpyAsync(address to, address from, size_t n, handle stream) {
    if (!recorded || stream != recorded_stream)
        return NEXT(copy, cuMemcpyAsync)(to, from, n, stream);
    space t = {0, 0, 0, 0, 4, NULL, to, NULL, NULL, n, 1}, f = t;
    f.device = from;
    add(recorded, COPY)->copy = (spaces){f, t, n, 1, 1};
    return 0;
}

// Of what is said to be a device's the driver has to know.
static int is_known(const space *side) {
    unsigned kind;
    return side->kind != 2 || NEXT(ask, cuPointerGetAttribute)(&kind, 2, side->device) == 0;
}

static int copy_3d(const spaces *s, handle stream) {
    if (!is_known(&s->to) || !is_known(&s->from))
        return 1;
    address to = s->to.kind == 1 ? (address)s->to.host : s->to.device;
    address from = s->from.kind == 1 ? (address)s->from.host : s->from.device;
    for (size_t z = 0; z < s->depth; z++)
        for (size_t y = 0; y < s->height; y++) {
            size_t t = ((s->to.z + z) * s->to.height + s->to.y + y) * s->to.pitch + s->to.x;
            size_t f = ((s->from.z + z) * s->from.height + s->from.y + y) * s->from.pitch + s->from.x;
            int code = NEXT(copy, cuMemcpyAsync)(to + t, from + f, s->width, stream);
            if (code)
                return code;
        }
    return 0;
}

int cuMemcpy3DAsync_v2(const spaces *s, handle stream) {
    return copy_3d(s, stream);
}

// An array is at the address that it is called by.
int cuMemcpyHtoA_v2(handle to, size_t at, const void *from, size_t n) {
    int code = NEXT(copy, cuMemcpyAsync)((address)to + at, (address)from, n, NULL);
    return code ? code : NEXT(wait, cuStreamSynchronize)(NULL);
}

int cuMemcpyAtoHAsync_v2(void *to, handle from, size_t at, size_t n, handle stream) {
    return NEXT(copy, cuMemcpyAsync)((address)to, (address)from + at, n, stream);
}

int cuMemcpyBatchAsync_v2(address *to, address *from, size_t *n, size_t count, void *attributes, size_t *which,
                          size_t kinds, handle stream) {
    (void)attributes, (void)which, (void)kinds;
    for (size_t i = 0; i < count; i++)
        if (cuMemcpyAsync(to[i], from[i], n[i], stream))
            return 1;
    return 0;
}

int cuGraphCreate(graph **out, unsigned flags) {
    (void)flags;
    *out = calloc(1, sizeof **out);
    return 0;
}

int cuGraphAddKernelNode_v2(node **out, graph *g, void *after, size_t count, const kernel_node *k) {
    (void)after, (void)count;
    *out = NULL;
    return add_kernel(g, k);
}

int cuGraphAddMemcpyNode(node **out, graph *g, void *after, size_t count, const spaces *s, handle context) {
    (void)after, (void)count, (void)context;
    *out = NULL;
    add(g, COPY)->copy = *s;
    return 0;
}

int cuGraphAddMemsetNode(node **out, graph *g, void *after, size_t count, const fill_node *f, handle context) {
    (void)after, (void)count, (void)context;
    *out = NULL;
    add(g, FILL)->fill = *f;
    return 0;
}

int cuGraphLaunch(graph *g, handle stream) {
    int code = 0;
    for (int i = 0; i < g->count && !code; i++) {
        node *n = &g->nodes[i];
        kernel_node *k = &n->kernel;
        void *values[8];
        for (int v = 0; v < 8; v++)
            values[v] = &n->values[v];
        if (n->kind == COPY)
            code = copy_3d(&n->copy, stream);
        else if (n->kind == FILL)
            code = cuMemsetD8Async(n->fill.at, (unsigned char)n->fill.value, n->fill.width, stream);
        else
            code = NEXT(launch, cuLaunchKernel)(k->f, k->grid[0], k->grid[1], k->grid[2], k->block[0], k->block[1],
                                                k->block[2], k->shared, stream, values, NULL);
    }
    return code;
}
