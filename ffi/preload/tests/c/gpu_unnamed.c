// Launches with memory of the driver's only: they are never worse for what they might need beside. "own": in a context of the
// program's own; "full": with no room on the device.

#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "gpu_cuda.h"

#define OK(call) CHECK((call) == 0)
#define MIB ((size_t)1 << 20)

int cuStreamQuery(handle);

static handle add_bytes, slow;
static address d;
static int event;
static unsigned char *x;

static void add(address at, uint64_t n) {
    unsigned char one = 1;
    void *values[] = {&at, &n, &one};
    OK(cuLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, values, NULL));
}

static void *waits(void *at) {
    struct iovec part = {at, 8};
    CHECK(readv(event, &part, 1) == 8);
    return NULL;
}

// A call of another thread holds what the device has used.
static void beside_a_waiting_call(void) {
    pthread_t thread;
    struct timespec from, to;
    add((address)x, 2 * MIB);
    CHECK(x[0] == 1);
    OK(pthread_create(&thread, NULL, waits, x));
    usleep(200000);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 50; i++)
        add(d, 100);
    clock_gettime(CLOCK_MONOTONIC, &to);
    CHECK(to.tv_sec - from.tv_sec < 4);
    OK(eventfd_write(event, 3));
    OK(pthread_join(thread, NULL));
    CHECK(x[0] == 3);
}

// A kernel may be waiting for what the program does next.
static void without_waiting(void) {
    uint64_t n = 100, time = 2000000000;
    void *values[] = {&d, &n, &time};
    add((address)x, 2 * MIB); // the device has it
    OK(cuCtxSynchronize());
    OK(cuLaunchKernel(slow, 1, 1, 1, 128, 1, 1, 0, NULL, values, NULL));
    CHECK(cuStreamQuery(NULL) == 600);
    OK(cuCtxSynchronize());
    CHECK(x[8] == 2);
}

static void without_room(void) {
    address most;
    add((address)x, 2 * MIB); // opens the device: what comes later has one address on both sides
    unsigned char *large = malloc(64 * MIB);
    CHECK(large != NULL && x[0] == 1);
    memset(large, 1, 64 * MIB);
    OK(cuMemAlloc_v2(&most, 100 * MIB));
    for (int i = 0; i < 3; i++)
        add(d, 100);
    OK(cuCtxSynchronize());
    OK(cuMemFree_v2(most));
    free(large);
}

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "";
    handle module, context;
    alarm(60);
    look_up();
    OK(cuInit(0));
    if (strcmp(how, "own") == 0) {
        OK(cuCtxCreate_v2(&context, 0, 0));
    } else {
        OK(cuDevicePrimaryCtxRetain(&context, 0));
        OK(cuCtxSetCurrent(context));
    }
    OK(cuModuleLoadData(&module, ".version 6.0\n.target sm_70\n.visible .entry test_add_bytes()\n"
                                 ".visible .entry test_slow_increment()\n"));
    OK(cuModuleGetFunction(&add_bytes, module, "test_add_bytes"));
    OK(cuModuleGetFunction(&slow, module, "test_slow_increment"));
    OK(cuMemAlloc_v2(&d, MIB));
    CHECK((event = eventfd(0, 0)) >= 0 && (x = calloc(1, 2 * MIB)) != NULL);
    if (strcmp(how, "full") == 0) {
        PART(without_room);
    } else {
        PART(beside_a_waiting_call);
        PART(without_waiting);
    }
    printf("all well\n");
    return 0;
}
