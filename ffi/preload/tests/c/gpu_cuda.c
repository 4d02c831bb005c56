// A program that uses CUDA's driver and knows nothing of libhmmrt. Its kernels get pointers to what malloc gave it.
// Arguments: "own" for a context of its own, "args" if nested pointers are not followed.

#include <string.h>
#include <unistd.h>

#include "check.h"
#include "gpu_cuda.h"

#define OK(call) CHECK((call) == 0)
#define MIB ((size_t)1 << 20)

static handle module;
static int follows = 1;

static const char PTX[] =
    ".version 6.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry test_add_bytes()\n.visible .entry hmm_copy()\n.visible .entry hmm_list_walk()\n"
    ".visible .entry hmm_saxpy()\n.visible .entry test_slow_increment()\n";

static handle kernel(const char *name) {
    handle function;
    OK(cuModuleGetFunction(&function, module, name));
    return function;
}

static int run(handle function, handle stream, void **values) {
    return cuLaunchKernel(function, 64, 1, 1, 256, 1, 1, 0, stream, values, NULL);
}

static void add(void *at, size_t n, unsigned char value, handle stream) {
    uint64_t count = n;
    void *values[] = {&at, &count, &value};
    OK(run(kernel("test_add_bytes"), stream, values));
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

// Plain pointers, no copy, no call between the launch and the reading.
static void plain_pointers(void) {
    unsigned char *x = filled(5 * MIB + 3, 7);
    add(x, 5 * MIB + 3, 1, NULL);
    all_are(x, 5 * MIB + 3, 8);
    x[5 * MIB] = 100;
    add(x + 4 * MIB, MIB + 3, 2, NULL); // into the middle
    OK(cuCtxSynchronize());
    CHECK(x[5 * MIB] == 102 && x[4 * MIB - 1] == 8 && x[4 * MIB] == 10);
    free(x);
}

// Values in one buffer.
static void a_buffer_of_values(void) {
    unsigned char *x = filled(2 * MIB, 1);
    struct {
        void *at;
        uint64_t n;
        unsigned char value;
    } values = {x, 2 * MIB, 4};
    size_t size = sizeof values;
    void *extra[] = {(void *)1, &values, (void *)2, &size, NULL};
    OK(cuLaunchKernel(kernel("test_add_bytes"), 64, 1, 1, 256, 1, 1, 0, NULL, NULL, extra));
    all_are(x, 2 * MIB, 5);
    free(x);
}

static void two_streams(void) {
    handle s[2];
    unsigned char *x[2], *shared = filled(2 * MIB, 0);
    for (int i = 0; i < 2; i++) {
        OK(cuStreamCreate(&s[i], 1));
        x[i] = filled(3 * MIB, 10);
    }
    for (int round = 0; round < 10; round++)
        for (int i = 0; i < 2; i++)
            add(x[i], 3 * MIB, 1 + i, s[i]);
    all_are(x[0], 3 * MIB, 20);
    all_are(x[1], 3 * MIB, 30);
    add(shared, 2 * MIB, 1, s[0]);
    OK(cuStreamDestroy_v2(s[0]));
    all_are(shared, 2 * MIB, 1);
    add(shared, 2 * MIB, 1, s[1]);
    OK(cuStreamDestroy_v2(s[1]));
    OK(cuStreamCreate(&s[0], 0)); // perhaps at the same address
    add(shared, 2 * MIB, 1, s[0]);
    OK(cuStreamSynchronize(s[0]));
    all_are(shared, 2 * MIB, 3);
    OK(cuStreamDestroy_v2(s[0]));
    free(shared);
    free(x[0]);
    free(x[1]);
}

static int threads(void) {
    char line[200];
    int n = 0;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "Threads:", 8) == 0)
            n = atoi(line + 8);
    fclose(file);
    return n;
}

// What is kept for a stream goes with it.
static void streams_come_and_go(void) {
    unsigned char *x = filled(2 * MIB, 0);
    int before = threads();
    for (int i = 0; i < 50; i++) {
        handle s;
        OK(cuStreamCreate(&s, 1));
        add(x, 100, 1, s);
        OK(cuStreamDestroy_v2(s));
    }
    CHECK(x[99] == 50 && x[100] == 0);
    // One that was waited for can be in the kernel's list for a moment.
    for (int i = 0; i < 60000 && threads() >= before + 25; i++) usleep(1000);
    CHECK(threads() < before + 25);
    free(x);
}

// What a program does that copies by itself, with memory that has been on the device.
static void copies(void) {
    size_t n = 9 * MIB + 5;
    unsigned char *x = filled(n, 1), *y = filled(n, 0);
    address d;
    handle s;
    OK(cuStreamCreate(&s, 1));
    OK(cuMemAlloc_v2(&d, n));
    add(x, n, 1, s);
    OK(cuMemcpyHtoDAsync_v2(d, x, n, s)); // behind the kernel
    add((void *)d, n, 1, s);
    OK(cuMemcpyDtoHAsync_v2(y, d, n, s));
    OK(cuStreamSynchronize(s));
    all_are(x, n, 2);
    all_are(y, n, 3);
    add(y, n, 1, NULL);
    OK(cuMemcpyHtoD_v2(d, y, n));
    OK(cuMemcpyDtoH_v2(x + 1, d, n - 1));
    CHECK(x[0] == 2);
    all_are(x + 1, n - 1, 4);
    add(y, n, 5, NULL);
    OK(cuMemcpy((address)x, (address)y, n)); // both the program's
    all_are(x, n, 9);
    OK(cuMemcpyDtoD_v2((address)y, d, n));
    all_are(y, n, 4);
    // And small things that are not managed.
    unsigned char few[3] = {1, 2, 3}, back[3];
    OK(cuMemcpyHtoD_v2(d, few, 3));
    OK(cuMemcpyDtoH_v2(back, d, 3));
    CHECK(memcmp(few, back, 3) == 0);
    OK(cuMemFree_v2(d));
    OK(cuStreamDestroy_v2(s));
    free(x);
    free(y);
}

static void fills(void) {
    unsigned char *x = filled(4 * MIB, 1);
    handle s;
    OK(cuStreamCreate(&s, 1));
    add(x, 4 * MIB, 1, s);
    OK(cuMemsetD32Async((address)(x + MIB), 0x09090909, MIB / 4, s));
    add(x, 4 * MIB, 1, s);
    OK(cuStreamSynchronize(s));
    all_are(x, MIB, 3);
    all_are(x + MIB, MIB, 10);
    all_are(x + 2 * MIB, 2 * MIB, 3);
    OK(cuMemsetD8_v2((address)(x + 100), 77, MIB));
    CHECK(x[99] == 3 && x[100] == 77 && x[MIB + 99] == 77 && x[MIB + 100] == 10);
    OK(cuStreamDestroy_v2(s));
    free(x);
}

// Its own memory and managed memory in one kernel.
static void both_kinds(void) {
    size_t n = 3 * MIB;
    unsigned char *x = filled(n, 6);
    address d;
    OK(cuMemAlloc_v2(&d, n));
    uint64_t count = n;
    void *to = (void *)d, *from = x;
    void *values[] = {&to, &from, &count};
    OK(run(kernel("hmm_copy"), NULL, values));
    memset(x, 0, n); // the kernel keeps what it was launched with
    add((void *)d, n, 1, NULL);
    to = x;
    from = (void *)d;
    OK(run(kernel("hmm_copy"), NULL, values));
    all_are(x, n, 7);
    OK(cuMemFree_v2(d));
    free(x);
}

struct node {
    struct node *next;
    uint64_t value;
};

// A list across two blocks. Only one of them is an argument of the launch.
static void nested_pointers(void) {
    size_t n = 2 * MIB / sizeof(struct node);
    struct node *a = malloc(2 * MIB), *b = malloc(2 * MIB);
    uint64_t *out = malloc(2 * MIB);
    CHECK(a && b && out);
    for (size_t i = 0; i < n; i++) {
        a[i] = (struct node){&b[i], 2 * i};
        b[i] = (struct node){i + 1 < n ? &a[i + 1] : NULL, 0};
    }
    add(b, 2 * MIB, 0, NULL); // the device has used it
    for (size_t i = 0; i < n; i++)
        b[i].value = 2 * i + 1;
    uint64_t zero = 0, most = 10 * n;
    void *result = out, *head = a;
    void *values[] = {&result, &zero, &zero, &head, &most};
    OK(run(kernel("hmm_list_walk"), NULL, values));
    if (!follows) { // nothing is there, or what was there before
        CHECK(cuCtxSynchronize() == 700 || out[1] != n * (2 * n - 1));
        printf("not followed\n");
        fflush(stdout);
        _exit(0);
    }
    CHECK(out[0] == 2 * n && out[1] == n * (2 * n - 1));
    free(a);
    free(b);
    free(out);
}

// The list begins in device memory, and no argument of the launch points to managed memory.
static void pointers_in_device_memory(void) {
    if (!follows) return;
    size_t n = 2 * MIB / sizeof(struct node);
    struct node *b = malloc(2 * MIB);
    CHECK(b != NULL);
    for (size_t i = 0; i < n; i++)
        b[i] = (struct node){i + 1 < n ? &b[i + 1] : NULL, 0};
    add(b, 2 * MIB, 0, NULL); // the device has used it
    address head, result;
    OK(cuMemAlloc_v2(&head, sizeof *b));
    OK(cuMemAlloc_v2(&result, 2 * sizeof(uint64_t)));
    struct node first = {b, 5};
    OK(cuMemcpyHtoD_v2(head, &first, sizeof first));
    for (uint64_t round = 1; round <= 3; round++) {
        for (size_t i = 0; i < n; i++)
            b[i].value = round;
        uint64_t zero = 0, most = 10 * n, out[2];
        void *values[] = {&result, &zero, &zero, &head, &most};
        OK(run(kernel("hmm_list_walk"), NULL, values));
        OK(cuMemcpyDtoH_v2(out, result, sizeof out));
        CHECK(out[0] == n + 1 && out[1] == 5 + round * n);
    }
    OK(cuMemFree_v2(head));
    OK(cuMemFree_v2(result));
    free(b);
}

// Code that was read into memory; values and their list in managed memory.
static void what_the_driver_reads(void) {
    char *image = malloc(2 * MIB);
    void **list = malloc(2 * MIB);
    unsigned char *x = filled(2 * MIB, 1);
    CHECK(image && list);
    strcpy(image, PTX);
    add(image + MIB, MIB, 0, NULL); // away
    add(list, 2 * MIB, 0, NULL);
    handle other, function;
    OK(cuModuleLoadData(&other, image));
    OK(cuModuleGetFunction(&function, other, "test_add_bytes"));
    uint64_t *n = (uint64_t *)(list + 100);
    unsigned char *value = (unsigned char *)(list + 101);
    *n = 2 * MIB;
    *value = 3;
    list[99] = x;
    list[0] = &list[99];
    list[1] = n;
    list[2] = value;
    for (int i = 0; i < 3; i++)
        OK(run(function, NULL, list));
    all_are(x, 2 * MIB, 10);
    OK(cuModuleUnload(other));
    free(image);
    free(list);
    free(x);
}

// Ordinary memory does not look like the driver's to the program.
static void attributes(void) {
    unsigned char *x = filled(2 * MIB, 1);
    int kind = -1, on_stack = 0;
    add(x, 2 * MIB, 1, NULL);
    int of_stack = cuPointerGetAttribute(&kind, 2, (address)&on_stack);
    CHECK(of_stack == 1 && cuPointerGetAttribute(&kind, 2, (address)x) == of_stack);
    int names[] = {2, 8}, managed = -1;
    void *values[] = {&kind, &managed};
    OK(cuPointerGetAttributes(2, names, values, (address)x));
    CHECK(kind == 0 && managed == 0);
    CHECK(cuMemFree_v2((address)x) != 0);
    OK(cuMemHostRegister_v2(x, 2 * MIB, 2));
    address there = 0;
    OK(cuMemHostGetDevicePointer_v2(&there, x, 0));
    CHECK(there != 0);
    OK(cuMemHostUnregister(x));
    all_are(x, 2 * MIB, 2);
    free(x);
}

int main(int argc, char **argv) {
    unsigned char *early = filled(2 * MIB, 40); // before there is a driver
    int device, own = 0;
    handle context;
    for (int i = 1; i < argc; i++) {
        own |= strcmp(argv[i], "own") == 0;
        follows &= strcmp(argv[i], "args") != 0;
    }
    look_up();
    OK(cuInit(0));
    OK(cuDeviceGet(&device, 0));
    if (own) {
        OK(cuCtxCreate_v2(&context, 0, device));
    } else {
        OK(cuDevicePrimaryCtxRetain(&context, device));
        OK(cuCtxSetCurrent(context));
    }
    OK(cuModuleLoadData(&module, PTX));
    add(early, 2 * MIB, 2, NULL);
    all_are(early, 2 * MIB, 42);
    free(early);
    PART(plain_pointers);
    PART(a_buffer_of_values);
    PART(two_streams);
    PART(streams_come_and_go);
    PART(copies);
    PART(fills);
    PART(both_kinds);
    PART(what_the_driver_reads);
    PART(attributes);
    PART(pointers_in_device_memory);
    PART(nested_pointers);
    OK(cuCtxSynchronize());
    printf("all well\n");
    return 0;
}
