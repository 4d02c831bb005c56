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
    CHECK(to.tv_sec - from.tv_sec < 100); // else each waits for it for ten
    OK(eventfd_write(event, 3));
    OK(pthread_join(thread, NULL));
    CHECK(x[0] == 3);
}

// Launches a kernel that takes so long; for how long that took, and whether it has ended then.
static uint64_t launch_slow(uint64_t ns, int *state) {
    uint64_t n = 100;
    void *values[] = {&d, &n, &ns};
    struct timespec from, to;
    add((address)x, 2 * MIB); // the device has it
    OK(cuCtxSynchronize());
    clock_gettime(CLOCK_MONOTONIC, &from);
    OK(cuLaunchKernel(slow, 1, 1, 1, 128, 1, 1, 0, NULL, values, NULL));
    clock_gettime(CLOCK_MONOTONIC, &to);
    *state = cuStreamQuery(NULL);
    OK(cuCtxSynchronize());
    return (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
}

// A kernel may be waiting for what the program does next.
static void without_waiting(void) {
    int state = 0; // of a machine that has much to do: then of a longer one
    for (uint64_t ns = 1000000000; state != 600; ns *= 2) {
        CHECK(ns < 20000000000);
        launch_slow(ns, &state);
    }
}

// It may be using what the device has, by pointers that are in the device's memory, and nothing says when it has ended.
static void waited_for(void) {
    int state;
    CHECK((x = calloc(1, 2 * MIB)) != NULL); // with devices open: the same address on both sides
    CHECK(launch_slow(500000000, &state) >= 500000000);
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
    alarm(600);
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
        if (strcmp(how, "own") == 0)
            PART(waited_for);
        else
            PART(without_waiting);
    }
    printf("all well\n");
    return 0;
}
