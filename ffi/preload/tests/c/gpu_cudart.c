// A program with NVIDIA's runtime library in it, or linked to it: what it answers, a line for each call. Without a driver,
// and with one that has not the runtime's private tables, all but the first are errors.

#include <stdio.h>

int cudaRuntimeGetVersion(int *);
int cudaDriverGetVersion(int *);
int cudaGetDeviceCount(int *);
int cudaSetDevice(int);
int cudaMalloc(void **, size_t);
int cudaMallocManaged(void **, size_t, unsigned);
int cudaMemcpy(void *, const void *, size_t, int);
int cudaDeviceSynchronize(void);
int cudaGetLastError(void);
const char *cudaGetErrorName(int);

// The call first, then what it wrote.
#define SAY(call, value)                                                    \
    do {                                                                    \
        int code = call;                                                    \
        printf("%s %s %d\n", #call, cudaGetErrorName(code), (int)(value)); \
    } while (0)

int main(void) {
    static char from[1 << 16], to[1 << 16];
    int version = 0, driver = 0, count = -1;
    void *at = NULL;
    SAY(cudaRuntimeGetVersion(&version), version);
    SAY(cudaDriverGetVersion(&driver), driver);
    SAY(cudaGetDeviceCount(&count), count);
    SAY(cudaSetDevice(0), 0);
    SAY(cudaMalloc(&at, 1 << 20), at != NULL);
    SAY(cudaMallocManaged(&at, 1 << 20, 1), at != NULL);
    SAY(cudaMemcpy(to, from, sizeof to, 4), 0);
    SAY(cudaDeviceSynchronize(), 0);
    SAY(cudaGetLastError(), 0);
    return 0;
}
