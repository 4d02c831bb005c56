/* gpu_probe: what libhmmrt has to know about a CUDA driver. No toolkit is needed.
 *
 *     cc -O1 -o gpu_probe probe.c -ldl
 *     ./gpu_probe [LIBRARY]              default: $HMMRT_CUDA_LIBRARY, else libcuda.so.1
 *
 * It answers: does cuMemAddressReserve honour a hint, and for which sizes? What mapping does it leave? Does host memory laid
 * over a reservation survive cuMemMap, cuMemUnmap and cuMemAddressFree? Do CPU and GPU see separate bytes at one address?
 * What do pointer attributes and copies make of such an address? Can another mapping of the same pages be pinned, and does
 * DMA still reach pages that mremap has moved? What do the calls cost?
 *
 * Every answer is printed, and none is an error. Exit status 77: no driver, no GPU, or one that can't be asked. A few
 * seconds, 200 MiB of device memory at most. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The driver's interface --------------------------------------------------------------------------------------------- */

typedef int status;
typedef unsigned long long address;
typedef unsigned long long memory;

typedef struct {
    int type, id;
} location;

/* CUmemAllocationProp, the same from CUDA 11.4 to 13 */
typedef struct {
    int type, handle_types;
    location where;
    void *win32;
    unsigned char flags[8];
} properties;

typedef struct {
    location where;
    int flags;
} access_desc;

enum { DEVICE = 1, PINNED = 1, READ_WRITE = 3 };

#define DRIVER(F) \
    F(cuInit, (unsigned)) \
    F(cuGetErrorName, (status, const char **)) \
    F(cuDriverGetVersion, (int *)) \
    F(cuDeviceGet, (int *, int)) \
    F(cuDeviceGetName, (char *, int, int)) \
    F(cuDeviceGetAttribute, (int *, int, int)) \
    F(cuDevicePrimaryCtxRetain, (void **, int)) \
    F(cuCtxSetCurrent, (void *)) \
    F(cuCtxSynchronize, (void)) \
    F(cuMemGetAllocationGranularity, (size_t *, const properties *, int)) \
    F(cuMemAddressReserve, (address *, size_t, size_t, address, unsigned long long)) \
    F(cuMemAddressFree, (address, size_t)) \
    F(cuMemCreate, (memory *, size_t, const properties *, unsigned long long)) \
    F(cuMemRelease, (memory)) \
    F(cuMemMap, (address, size_t, size_t, memory, unsigned long long)) \
    F(cuMemUnmap, (address, size_t)) \
    F(cuMemSetAccess, (address, size_t, const access_desc *, size_t)) \
    F(cuMemcpyHtoD_v2, (address, const void *, size_t)) \
    F(cuMemcpyDtoH_v2, (void *, address, size_t)) \
    F(cuPointerGetAttribute, (void *, int, address)) \
    F(cuMemHostRegister_v2, (void *, size_t, unsigned)) \
    F(cuMemHostUnregister, (void *)) \
    F(cuMemHostGetDevicePointer_v2, (address *, void *, unsigned)) \
    F(cuModuleLoadData, (void **, const void *)) \
    F(cuModuleGetFunction, (void **, void *, const char *)) \
    F(cuFuncGetParamInfo, (void *, size_t, size_t *, size_t *)) \
    F(cuLaunchKernel, (void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **))

#define DECLARE(name, arguments) static status(*name) arguments;
DRIVER(DECLARE)

/* A function that the driver lacks answers this; dlsym leaves NULL. */
static status absent(void) { return 801; }

static int load(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        printf("no driver: %s\n", dlerror());
        return 0;
    }
#define FIND(name, arguments) \
    *(void **)&name = dlsym(library, #name); \
    if (!name) { \
        printf("missing: %s\n", #name); \
        *(void **)&name = (void *)absent; \
    }
    DRIVER(FIND)
    return 1;
}

static const char *error_name(status s) {
    const char *name = NULL;
    if (s == 0) return "";
    cuGetErrorName(s, &name);
    return name ? name : "?";
}

/* Makes a call, prints it with its result, and gives the result. */
#define SAY(call) say(#call, call)
static status say(const char *what, status s) {
    printf("  %-78.78s -> %d %s\n", what, s, error_name(s));
    return s;
}

/* Helpers ------------------------------------------------------------------------------------------------------------ */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *at(address a) { return (void *)(uintptr_t)a; }

/* The mappings that overlap a range. */
static void mappings(const char *when, address start, size_t len) {
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    printf("  mappings, %s:\n", when);
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from < start + len && to > start) printf("     %s", line);
    }
    if (maps) fclose(maps);
}

static const char PTX[] =
    ".version 6.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry inc(.param .u64 p, .param .u64 n) {\n"
    ".reg .pred %q; .reg .b32 %r<5>; .reg .b64 %d<6>;\n"
    "ld.param.u64 %d0, [p]; ld.param.u64 %d1, [n];\n"
    "mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x;\n"
    "mad.lo.s32 %r3, %r0, %r1, %r2; cvt.u64.u32 %d2, %r3;\n"
    "setp.ge.u64 %q, %d2, %d1; @%q bra D;\n"
    "shl.b64 %d3, %d2, 2; add.s64 %d4, %d0, %d3;\n"
    "ld.global.u32 %r4, [%d4]; add.s32 %r4, %r4, 1; st.global.u32 [%d4], %r4;\n"
    "D: ret; }\n";

static int device;
static properties props;
static access_desc access_here;
static size_t granularity;

/* Makes memory and puts it at reserved addresses. */
static status back(address where, size_t len, memory *made) {
    status s = SAY(cuMemCreate(made, len, &props, 0));
    if (!s) s = SAY(cuMemMap(where, len, 0, *made, 0));
    if (!s) s = SAY(cuMemSetAccess(where, len, &access_here, 1));
    return s;
}

/* The questions ------------------------------------------------------------------------------------------------------ */

static int start(void) {
    int version = 0, value;
    char name[256] = "?";
    void *context;
    status s = cuInit(0);
    if (s) {
        printf("cuInit: %d %s\n", s, error_name(s));
        return 0;
    }
    cuDriverGetVersion(&version);
    if (SAY(cuDeviceGet(&device, 0))) return 0;
    cuDeviceGetName(name, 255, device);
    printf("driver %d, device 0: %s\n", version, name);
    double t = now();
    if (SAY(cuDevicePrimaryCtxRetain(&context, device))) return 0;
    printf("  primary context: %.0f ms\n", (now() - t) * 1e3);
    cuCtxSetCurrent(context);
    static const struct {
        int number;
        const char *meaning;
    } attributes[] = {{75, "compute capability, major"},    {76, "compute capability, minor"},
                      {88, "pageable memory access (HMM)"}, {89, "concurrent managed access"},
                      {91, "host pointer for registered"},  {100, "pageable access by host page tables"},
                      {102, "virtual memory management"},   {113, "GPUDirect RDMA"},
                      {141, "HOST_NUMA memory"},            {145, "HOST memory"}};
    for (unsigned i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        value = -1;
        cuDeviceGetAttribute(&value, attributes[i].number, device);
        printf("  attribute %3d = %d  %s\n", attributes[i].number, value, attributes[i].meaning);
    }
    size_t recommended = 0;
    props.type = PINNED;
    props.where.type = DEVICE;
    props.where.id = device;
    access_here.where = props.where;
    access_here.flags = READ_WRITE;
    if (SAY(cuMemGetAllocationGranularity(&granularity, &props, 0)) || !granularity) {
        puts("no virtual memory management: nothing more to ask");
        return 0;
    }
    cuMemGetAllocationGranularity(&recommended, &props, 1);
    printf("  granularity: at least %zu, recommended %zu\n", granularity, recommended);
    return 1;
}

/* A reservation to go on with: at a hint, if any is honoured. */
static address hints(size_t *len) {
    static const address places[] = {0x700000000000, 0x600000000000, 0x500000000000, 0x100000000000};
    static const size_t sizes[] = {(size_t)256 << 30, (size_t)1 << 40, (size_t)64 << 20, (size_t)2 << 20};
    address kept = 0;
    puts("1. hints");
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            address got = 0;
            status s = cuMemAddressReserve(&got, sizes[i], granularity, places[j], 0);
            printf("  %-14zu bytes at %#llx -> %d, %#llx %s\n", sizes[i], places[j], s, got,
                   s ? error_name(s) : got == places[j] ? "HONOURED" : "moved");
            if (s) continue;
            if (!kept && got == places[j]) {
                kept = got;
                *len = sizes[i];
            } else {
                cuMemAddressFree(got, sizes[i]);
            }
        }
    if (!kept) {
        *len = (size_t)64 << 20;
        SAY(cuMemAddressReserve(&kept, *len, granularity, 0, 0));
    }
    mappings("reserved", kept, *len);

    puts("1b. a hint at which a PROT_NONE placeholder of ours is");
    const address place = 0x400000000000;
    const size_t size = (size_t)256 << 30;
    address got = 0;
    void *placeholder = mmap(at(place), size, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    status s = cuMemAddressReserve(&got, size, granularity, place, 0);
    printf("  placeholder at %p, reserved -> %d, %#llx %s\n", placeholder, s, got,
           !s && got == place ? "IN PLACE" : "elsewhere");
    if (!s) cuMemAddressFree(got, size);
    if (placeholder != MAP_FAILED) munmap(placeholder, size);
    return kept;
}

static void questions(void) {
    size_t reserved = 0;
    address base = hints(&reserved);
    if (!base) return;

    puts("2. host memory over a reservation");
    const size_t len = 4 * granularity, words = len / 4;
    int fd = memfd_create("gpu_probe", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)len)) {
        printf("  memfd: %s\n", strerror(errno));
        return;
    }
    unsigned *app = mmap(at(base), len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    unsigned *alias = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (app == MAP_FAILED || alias == MAP_FAILED) {
        printf("  mmap: %s\n", strerror(errno));
        return;
    }
    printf("  the program's view %p, another view %p\n", (void *)app, (void *)alias);
    for (size_t i = 0; i < words; i++) app[i] = (unsigned)i;
    memory first = 0;
    if (back(base, len, &first)) return;
    mappings("with device memory behind", base, len);
    printf("  the CPU still reads its own bytes: %s\n", app[5] == 5 && app[words - 1] == words - 1 ? "yes" : "NO");

    puts("3. copies and a kernel");
    void *module = NULL, *kernel = NULL;
    SAY(cuMemcpyHtoD_v2(base, alias, len));
    SAY(cuModuleLoadData(&module, PTX));
    SAY(cuModuleGetFunction(&kernel, module, "inc"));
    address where = base;
    unsigned long long count = words;
    void *arguments[] = {&where, &count};
    SAY(cuLaunchKernel(kernel, (unsigned)((count + 255) / 256), 1, 1, 256, 1, 1, 0, NULL, arguments, NULL));
    SAY(cuCtxSynchronize());
    printf("  unchanged for the CPU by the kernel: %s\n", app[5] == 5 ? "yes (separate bytes at one address)" : "NO");
    mprotect(app, len, PROT_NONE);
    SAY(cuMemcpyDtoH_v2(alias, base, len));
    mprotect(app, len, PROT_READ | PROT_WRITE);
    printf("  copied back through the other view: %u (6: right)\n", app[5]);
    size_t offset, size;
    for (size_t i = 0; i < 8 && !cuFuncGetParamInfo(kernel, i, &offset, &size); i++)
        printf("  parameter %zu: offset %zu, size %zu\n", i, offset, size);

    puts("4. what the driver makes of such an address");
    int type = -1;
    void *host = NULL;
    address other = 0;
    status s = cuPointerGetAttribute(&type, 2, base);
    printf("  MEMORY_TYPE -> %d, %d (1: host, 2: device)\n", s, type);
    s = cuPointerGetAttribute(&host, 4, base);
    printf("  HOST_POINTER -> %d, %p\n", s, host);
    s = cuPointerGetAttribute(&other, 3, base);
    printf("  DEVICE_POINTER -> %d, %#llx\n", s, other);
    app[7] = 12345;
    address second = 0;
    memory behind = 0;
    SAY(cuMemAddressReserve(&second, len, granularity, 0, 0));
    if (!back(second, len, &behind)) {
        unsigned out = 0;
        s = cuMemcpyHtoD_v2(second, app, 4096);
        cuMemcpyDtoH_v2(&out, second + 28, 4);
        printf("  cuMemcpyHtoD from it -> %d %s, moved %s\n", s, error_name(s),
               out == 12345 ? "the HOST's bytes" : "the DEVICE's bytes");
        s = cuMemcpyDtoH_v2(app, second, 4096);
        printf("  cuMemcpyDtoH to it -> %d %s\n", s, error_name(s));
    }

    puts("5. pinning");
    SAY(cuMemHostRegister_v2(app, len, 0));
    SAY(cuMemHostUnregister(app));
    mprotect(app, len, PROT_NONE);
    double t = now();
    SAY(cuMemHostRegister_v2(alias, len, 0));
    printf("  registering %zu MiB: %.3f ms\n", len >> 20, (now() - t) * 1e3);
    s = cuMemHostGetDevicePointer_v2(&other, alias, 0);
    printf("  its device address -> %d, %#llx (the view: %p)\n", s, other, (void *)alias);
    t = now();
    SAY(cuMemcpyHtoD_v2(base, alias, len));
    printf("  a copy from the pinned view: %.2f GB/s\n", (double)len / (now() - t) / 1e9);
    SAY(cuMemHostUnregister(alias));
    mprotect(app, len, PROT_READ | PROT_WRITE);

    puts("6. what the calls cost");
    for (size_t mib = 2; mib <= 128; mib *= 4) {
        double times[7];
        address piece = 0;
        memory made = 0;
        const size_t bytes = mib << 20;
        times[0] = now();
        s = cuMemAddressReserve(&piece, bytes, granularity, 0, 0);
        times[1] = now();
        if (!s) s = cuMemCreate(&made, bytes, &props, 0);
        times[2] = now();
        if (!s) s = cuMemMap(piece, bytes, 0, made, 0);
        times[3] = now();
        if (!s) s = cuMemSetAccess(piece, bytes, &access_here, 1);
        times[4] = now();
        if (!s) s = cuMemUnmap(piece, bytes);
        times[5] = now();
        if (!s) s = cuMemRelease(made);
        times[6] = now();
        printf("  %3zu MiB -> %d %s; us: reserve %.1f, create %.1f, map %.1f, access %.1f, unmap %.1f, release %.1f\n", mib, s,
               error_name(s), (times[1] - times[0]) * 1e6, (times[2] - times[1]) * 1e6, (times[3] - times[2]) * 1e6,
               (times[4] - times[3]) * 1e6, (times[5] - times[4]) * 1e6, (times[6] - times[5]) * 1e6);
        if (piece) cuMemAddressFree(piece, bytes);
    }

    puts("7. giving back");
    SAY(cuMemUnmap(base, len));
    SAY(cuMemRelease(first));
    app[7] = 54321;
    printf("  host memory over it is alive: %s\n", app[7] == 54321 ? "yes" : "NO");
    mappings("without device memory", base, len);
    SAY(cuMemAddressFree(base, reserved));
    mappings("after cuMemAddressFree (nothing: it took the host memory away)", base, len);
}

/* Last, because a driver that does not like it may end the context. */
static void moved_block(void) {
    const size_t block = (size_t)2 << 20;
    address base = 0;
    memory made = 0;
    status s = cuMemAddressReserve(&base, block, granularity, 0, 0);
    puts("8. a registered block that mremap has moved: does its old address still name the same pages?");
    if (s || back(base, block, &made)) return;
    char *room = mmap(NULL, 3 * block, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *to = mmap(NULL, block, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room != MAP_FAILED && to != MAP_FAILED) {
        char *from = (char *)(((uintptr_t)room + block - 1) & ~(uintptr_t)(block - 1));
        mprotect(from, block, PROT_READ | PROT_WRITE);
        madvise(from, block, MADV_HUGEPAGE);
        memset(from, 7, block);
        double t = now();
        s = cuMemHostRegister_v2(from, block, 0);
        printf("  registering one huge page -> %d %s, %.3f ms\n", s, error_name(s), (now() - t) * 1e3);
        if (mremap(from, block, block, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
            printf("  mremap: %s\n", strerror(errno));
        } else {
            unsigned char got[4] = {0};
            memset(to, 9, block);
            s = cuMemcpyHtoD_v2(base, from, block);
            cuMemcpyDtoH_v2(got, base, 4);
            printf("  cuMemcpyHtoD from the old address -> %d %s, %d (9: the same pages, 7: stale)\n", s, error_name(s), got[0]);
            memset(to, 1, block);
            s = cuMemcpyDtoH_v2(from, base, block);
            printf("  cuMemcpyDtoH to the old address -> %d %s, the new view has %d (9: the same pages)\n", s, error_name(s), to[5]);
        }
        if (!s) cuMemHostUnregister(from);
    }
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : getenv("HMMRT_CUDA_LIBRARY");
    /* What is said before a crash is worth most. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!load(path && *path ? path : "libcuda.so.1")) return 77;
    if (!start()) return 77;
    questions();
    moved_block();
    puts("done");
    return 0;
}
