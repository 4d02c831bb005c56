// A HIP program as people write them, for hipcc: kernels of its own, launched with <<<>>> on what malloc, new and HIP gave
// it. It knows nothing of libhmmrt. The kernels are ones that the double knows. "managed": HIP's managed memory, too;
// "args": only what parameters point to comes to the device.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <unistd.h>
#include <vector>

#include <hip/hip_runtime.h>

#include "check.h"

#define OK(call) CHECK((call) == hipSuccess)
static const size_t MIB = 1 << 20;

// What ffi/preload/src/gpu/hip takes these for.
#define AT(type, field, word) static_assert(offsetof(type, field) == 8 * (word), #type "." #field)
AT(hipKernelNodeParams, extra, 2);
AT(hipKernelNodeParams, func, 3);
AT(hipKernelNodeParams, kernelParams, 6);
static_assert(sizeof(hipKernelNodeParams) == 8 * 8, "hipKernelNodeParams");
AT(hipMemsetParams, dst, 0);
static_assert(sizeof(hipMemsetParams) == 6 * 8, "hipMemsetParams");
AT(hipMemcpy3DParms, srcArray, 0);
AT(hipMemcpy3DParms, srcPos, 1);
AT(hipMemcpy3DParms, srcPtr, 4);
AT(hipMemcpy3DParms, dstArray, 8);
AT(hipMemcpy3DParms, dstPos, 9);
AT(hipMemcpy3DParms, dstPtr, 12);
AT(hipMemcpy3DParms, extent, 16);
AT(hipMemcpy3DParms, kind, 19);
AT(hipPitchedPtr, pitch, 1);
AT(hipPitchedPtr, xsize, 2);
AT(hipPitchedPtr, ysize, 3);
static_assert(sizeof(hip_Memcpy2D) == 16 * 8, "hip_Memcpy2D");
static_assert(sizeof(HIP_MEMCPY3D) == (HIP_VERSION_MAJOR < 6 ? 16 : 23) * 8, "HIP_MEMCPY3D");

extern "C" __global__ void test_add_bytes(unsigned char *p, uint64_t n, unsigned char v) {
    for (uint64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        p[i] += v;
}

extern "C" __global__ void triad(double *a, const double *b, const double *c, double s, uint64_t n) {
    for (uint64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        a[i] = b[i] + s * c[i];
}

extern "C" __global__ void hmm_list_walk(uint64_t *out, uint64_t nodes, uint64_t host, uint64_t head, uint64_t most) {
    uint64_t count = 0, sum = 0;
    for (; head && count < most; count++) {
        const uint64_t *node = (const uint64_t *)(nodes + (head - host));
        sum += node[1];
        head = node[0];
    }
    out[0] = count;
    out[1] = sum;
}

static void add(void *at, size_t n, unsigned char value, hipStream_t stream) {
    test_add_bytes<<<64, 256, 0, stream>>>((unsigned char *)at, n, value);
    OK(hipGetLastError());
}

static unsigned char *filled(size_t n, unsigned char value) {
    unsigned char *at = (unsigned char *)malloc(n);
    CHECK(at != NULL);
    memset(at, value, n);
    return at;
}

static void all_are(const void *at, size_t n, unsigned char value) {
    for (size_t i = 0; i < n; i++)
        CHECK(((const unsigned char *)at)[i] == value);
}

// The first launch of the program: nothing was touched by HIP before it.
static void launches(void) {
    unsigned char *x = filled(5 * MIB + 3, 7);
    add(x, 5 * MIB + 3, 1, 0);
    all_are(x, 5 * MIB + 3, 8);
    void *values[3] = {&x, NULL, NULL};
    uint64_t n = 100;
    unsigned char two = 2;
    values[1] = &n;
    values[2] = &two;
    OK(hipLaunchKernel((const void *)test_add_bytes, dim3(1), dim3(64), values, 0, 0));
    all_are(x, 100, 10);
    all_are(x + 100, MIB, 8);
    free(x);
}

static void containers(void) {
    const size_t n = 300000;
    std::vector<double> a(n), b(n, 1.5), c(n);
    for (size_t i = 0; i < n; i++)
        c[i] = (double)i;
    for (int round = 0; round < 3; round++) {
        triad<<<128, 256>>>(a.data(), b.data(), c.data(), 2.0, n);
        OK(hipGetLastError());
        for (size_t i = 0; i < n; i++)
            CHECK(a[i] == 1.5 + round + 2.0 * (double)i);
        for (double &value : b)
            value += 1;
    }
}

static void streams_and_events(void) {
    hipStream_t s[2];
    hipEvent_t begin, end;
    float ms = -1;
    unsigned char *x = filled(3 * MIB, 1);
    OK(hipEventCreate(&begin));
    OK(hipEventCreate(&end));
    for (hipStream_t &stream : s)
        OK(hipStreamCreate(&stream));
    OK(hipEventRecord(begin, s[0]));
    add(x, 3 * MIB, 1, s[0]);
    OK(hipEventRecord(end, s[0]));
    OK(hipStreamWaitEvent(s[1], end, 0));
    add(x, 3 * MIB, 3, s[1]);
    OK(hipEventSynchronize(end));
    OK(hipEventElapsedTime(&ms, begin, end));
    CHECK(ms >= 0);
    OK(hipStreamSynchronize(s[1]));
    all_are(x, 3 * MIB, 5);
    for (hipStream_t stream : s)
        OK(hipStreamDestroy(stream));
    OK(hipEventDestroy(begin));
    OK(hipEventDestroy(end));
    free(x);
}

static void copies(void) {
    const size_t n = 9 * MIB + 5;
    unsigned char *x = filled(n, 1), *y = filled(n, 0), *d = NULL, *pinned = NULL;
    OK(hipMalloc(&d, n));
    OK(hipHostMalloc((void **)&pinned, n));
    add(x, n, 1, 0);
    OK(hipMemcpy(d, x, n, hipMemcpyHostToDevice));
    add(d, n, 1, 0);
    OK(hipMemcpy(y, d, n, hipMemcpyDeviceToHost));
    all_are(x, n, 2);
    all_are(y, n, 3);
    add(y, n, 1, 0);
    OK(hipMemcpy(pinned, y, n, hipMemcpyDefault));
    all_are(pinned, n, 4);
    OK(hipMemcpyAsync(x, pinned, n, hipMemcpyDefault, 0));
    OK(hipDeviceSynchronize());
    all_are(x, n, 4);
    OK(hipMemset(x, 9, MIB));
    all_are(x, MIB, 9);
    OK(hipFree(d));
    OK(hipHostFree(pinned));
    free(x);
    free(y);
}

struct node {
    node *next;
    uint64_t value;
};

// Pointers inside of data.
static void a_list(void) {
    const uint64_t n = 100000;
    node *nodes = new node[n];
    uint64_t *out = (uint64_t *)malloc(2 * MIB);
    for (uint64_t i = 0; i < n; i++)
        nodes[i] = {i + 1 < n ? &nodes[i + 1] : nullptr, i};
    hmm_list_walk<<<1, 32>>>(out, 0, 0, (uint64_t)nodes, 2 * n);
    OK(hipGetLastError());
    CHECK(out[0] == n && out[1] == n * (n - 1) / 2);
    delete[] nodes;
    free(out);
}

static void managed(void) {
    unsigned char *x = NULL;
    OK(hipMallocManaged(&x, 2 * MIB));
    memset(x, 1, 2 * MIB);
    OK(hipMemPrefetchAsync(x, 2 * MIB, 0, 0));
    add(x, 2 * MIB, 1, 0);
    OK(hipDeviceSynchronize());
    all_are(x, 2 * MIB, 2);
    OK(hipFree(x));
}

// Of the double: bytes of a device's memory in use.
extern "C" uint64_t hmmrt_double_used(int) __attribute__((weak));

// What lies behind the parameters on the stack is none.
static void parameters_alone(void) {
    unsigned char *x = filled(2 * MIB, 1), *y = filled(64 * MIB, 2), one = 1;
    uint64_t n = 2 * MIB;
    struct {
        void *values[4];
        unsigned char *more[4];
    } frame = {{&x, &n, &one, &frame.more}, {y, y, y, y}};
    for (void *value : {(void *)&frame.more[0], (void *)&frame.more[1]}) {
        frame.values[3] = value;
        OK(hipLaunchKernel((const void *)test_add_bytes, dim3(64), dim3(256), frame.values, 0, 0));
    }
    CHECK(hmmrt_double_used && hmmrt_double_used(0) < 32 * MIB);
    all_are(x, 2 * MIB, 3);
    free(x);
    free(y);
}

int main(int argc, char **argv) {
    int count = 0;
    alarm(600);
    if (hipGetDeviceCount(&count) != hipSuccess || count == 0) {
        printf("no device\n");
        return 3;
    }
    PART(launches);
    PART(containers);
    PART(streams_and_events);
    PART(copies);
    if (argc == 1 || strcmp(argv[1], "args") != 0)
        PART(a_list);
    if (argc > 1 && strcmp(argv[1], "managed") == 0)
        PART(managed);
    if (argc > 1 && strcmp(argv[1], "args") == 0)
        PART(parameters_alone);
    OK(hipDeviceSynchronize());
    printf("all well\n");
    return 0;
}
