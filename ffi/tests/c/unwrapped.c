// The kernel's own accesses to memory that is away, in a program without wrappers: every call of the preload library's table
// (its kernel.c), on blocks of hmm_malloc, which a thread keeps sending to a device. With HMMRT_FAULT=uffd-thread all of them work.

#define _GNU_SOURCE
#define HMMRT_AWAY_H // kernel.c's own way to have memory away is the preload library's
#include <fcntl.h>
#include <hmmrt.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../../preload/tests/c/check.h"

enum { BLOCKS = 3, HOST_PAGE = 4096 };
static struct {
    char *at;
    size_t size;
} blocks[BLOCKS];
static int waits; // for memory to be away

static void *sender(void *unused) {
    for (int i = 0;; i = (i + 1) % BLOCKS) {
        CHECK(hmm_migrate(blocks[i].at, blocks[i].size, 0, NULL) == HMM_OK);
        usleep(50);
    }
    return unused;
}

static void *managed(size_t alignment, size_t size) {
    static int count;
    char *at = hmm_aligned_alloc(alignment, size);
    CHECK(at != NULL && count < BLOCKS);
    blocks[count].at = at;
    blocks[count++].size = size;
    pthread_t thread;
    if (count == BLOCKS) CHECK(pthread_create(&thread, NULL, sender, NULL) == 0);
    return at;
}

// Returns p when its page is not in the host's memory.
static void *away(void *p) {
    struct timespec start, now;
    int map = open("/proc/self/pagemap", O_RDONLY);
    CHECK(map >= 0 && clock_gettime(CLOCK_MONOTONIC, &start) == 0);
    waits++;
    for (;;) {
        uint64_t entry = 0;
        CHECK(pread(map, &entry, sizeof entry, (off_t)((uintptr_t)p / HOST_PAGE * sizeof entry)) == sizeof entry);
        if (entry >> 62 == 0) break;
        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0 && now.tv_sec - start.tv_sec < 120);
        usleep(20);
    }
    close(map);
    return p;
}
#define AWAY(p) ((__typeof__(p))away((void *)(p)))

static void fill(char *p, size_t n, int seed) {
    for (size_t i = 0; i < n; i++) p[i] = (char)(i * 31 + i / HOST_PAGE + (size_t)seed);
}
static void expect(const char *p, size_t n, int seed) {
    for (size_t i = 0; i < n; i++) CHECK(p[i] == (char)(i * 31 + i / HOST_PAGE + (size_t)seed));
}

#define main kernel_main
#define malloc(size) managed(HOST_PAGE, size)
#define aligned_alloc(alignment, size) managed(alignment, size)
#if defined __GNUC__ && !defined __clang__
#pragma GCC diagnostic ignored "-Wformat-truncation" // the other tests' programs are not compiled with it
#endif
#include "../../preload/tests/c/kernel.c"
#undef main

int main(int argc, char **argv) {
    if (hmm_device_count() == 0) {
        char why[300];
        hmm_last_error(why, sizeof why);
        printf("skipped: %s\n", why);
        return 0;
    }
    int status = kernel_main(argc, argv);
    puts("all well");
    return status;
}
