// What the tests need of CUDA's driver, without its header: linked, or looked up as LOOKUP says (1: dlsym, 2:
// cuGetProcAddress, as a statically linked runtime library does).

#ifndef GPU_CUDA_H
#define GPU_CUDA_H

#include <dlfcn.h>

#include "gpu_types.h"

// Exported name, name and version for cuGetProcAddress, parameters.
#define FUNCTIONS(F)                                                                                        \
    F(cuInit, "cuInit", 2000, (unsigned))                                                                   \
    F(cuDeviceGet, "cuDeviceGet", 2000, (int *, int))                                                       \
    F(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", 7000, (handle *, int))                          \
    F(cuCtxSetCurrent, "cuCtxSetCurrent", 4000, (handle))                                                   \
    F(cuCtxCreate_v2, "cuCtxCreate", 3020, (handle *, unsigned, int))                                       \
    F(cuCtxSynchronize, "cuCtxSynchronize", 2000, (void))                                                   \
    F(cuModuleLoadData, "cuModuleLoadData", 2000, (handle *, const void *))                                 \
    F(cuModuleUnload, "cuModuleUnload", 2000, (handle))                                                     \
    F(cuModuleGetFunction, "cuModuleGetFunction", 2000, (handle *, handle, const char *))                   \
    F(cuLaunchKernel, "cuLaunchKernel", 4000,                                                               \
      (handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, handle, void **, void **)) \
    F(cuStreamCreate, "cuStreamCreate", 2000, (handle *, unsigned))                                         \
    F(cuStreamDestroy_v2, "cuStreamDestroy", 4000, (handle))                                                \
    F(cuStreamSynchronize, "cuStreamSynchronize", 2000, (handle))                                           \
    F(cuMemAlloc_v2, "cuMemAlloc", 3020, (address *, size_t))                                               \
    F(cuMemFree_v2, "cuMemFree", 3020, (address))                                                           \
    F(cuMemcpy, "cuMemcpy", 4000, (address, address, size_t))                                               \
    F(cuMemcpyHtoD_v2, "cuMemcpyHtoD", 3020, (address, const void *, size_t))                               \
    F(cuMemcpyDtoH_v2, "cuMemcpyDtoH", 3020, (void *, address, size_t))                                     \
    F(cuMemcpyDtoD_v2, "cuMemcpyDtoD", 3020, (address, address, size_t))                                    \
    F(cuMemcpyHtoDAsync_v2, "cuMemcpyHtoDAsync", 3020, (address, const void *, size_t, handle))             \
    F(cuMemcpyDtoHAsync_v2, "cuMemcpyDtoHAsync", 3020, (void *, address, size_t, handle))                   \
    F(cuMemsetD8_v2, "cuMemsetD8", 3020, (address, unsigned char, size_t))                                  \
    F(cuMemsetD32Async, "cuMemsetD32Async", 3020, (address, unsigned, size_t, handle))                      \
    F(cuMemAllocManaged, "cuMemAllocManaged", 6000, (address *, size_t, unsigned))                          \
    F(cuMemPrefetchAsync, "cuMemPrefetchAsync", 8000, (address, size_t, int, handle))                       \
    F(cuMemAdvise, "cuMemAdvise", 8000, (address, size_t, int, int))                                        \
    F(cuPointerGetAttribute, "cuPointerGetAttribute", 4000, (void *, int, address))                         \
    F(cuPointerGetAttributes, "cuPointerGetAttributes", 7000, (unsigned, int *, void **, address))          \
    F(cuMemGetAddressRange_v2, "cuMemGetAddressRange", 3020, (address *, size_t *, address))                \
    F(cuMemHostRegister_v2, "cuMemHostRegister", 6050, (void *, size_t, unsigned))                          \
    F(cuMemHostUnregister, "cuMemHostUnregister", 4000, (void *))                                           \
    F(cuMemHostGetDevicePointer_v2, "cuMemHostGetDevicePointer", 3020, (address *, void *, unsigned))

#if LOOKUP
#define DECLARE(symbol, name, version, parameters) static int(*symbol) parameters;
#else
#define DECLARE(symbol, name, version, parameters) int symbol parameters;
#endif
FUNCTIONS(DECLARE)

#if LOOKUP
typedef int ask(const char *, void **, int, uint64_t, int *);

static void look_up(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    void *found = dlsym(library, "cuGetProcAddress_v2");
    CHECK(found != NULL);
    CHECK(dlsym(library, "cuNoSuchFunction") == NULL && dlerror() != NULL);
    ask *get = (ask *)found;
    // It gives out itself, too.
    CHECK(get("cuGetProcAddress", &found, 12000, 0, NULL) == 0);
    get = (ask *)found;
    int state = -1;
    CHECK(get("cuNoSuchFunction", &found, 12000, 0, &state) != 0 && state == 1);
#if LOOKUP == 1
#define FIND(symbol, name, version, parameters)  \
    symbol = (int(*) parameters)dlsym(library, #symbol); \
    CHECK(symbol != NULL);
#else
#define FIND(symbol, name, version, parameters)                   \
    CHECK(get(name, &found, version, 0, &state) == 0 && state == 0); \
    symbol = (int(*) parameters)found;
#endif
    FUNCTIONS(FIND)
}
#else
static void look_up(void) {}
#endif

#endif
