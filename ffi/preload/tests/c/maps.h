// What the programs about mappings share: patterns, and faults that are expected.

#ifndef MAPS_H
#define MAPS_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define PAGE 4096ul
#define M (1ul << 20)
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

typedef unsigned char byte;

// Without the library, too, large blocks have mappings of their own: holes in them are nobody else's.
static void own_mappings(void) {
    CHECK(mallopt(M_MMAP_THRESHOLD, 128 << 10) == 1);
}

// A word for each page; seed 0 is zeros.
static void fill(byte *p, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i += PAGE) *(volatile uint64_t *)(p + i) = seed ? seed * 0x9e3779b97f4a7c15 + i : 0;
}
static int has(const byte *p, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i += PAGE) {
        if (*(const volatile uint64_t *)(p + i) != (seed ? seed * 0x9e3779b97f4a7c15 + i : 0)) return 0;
    }
    return 1;
}
static byte *map(size_t n) {
    byte *p = mmap(NULL, n, RW, ANON, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

// Gives the thread that moves memory a chance.
static void pass(void) {
    for (volatile int i = 0; i < 20000; i++) {}
    struct timespec t = {0, 200000};
    nanosleep(&t, NULL);
}

static __thread sigjmp_buf escape;
static __thread volatile int expected;
static __thread void *volatile fault_at;
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    if (!expected) {
        signal(number, SIG_DFL);
        return;
    }
    fault_at = info->si_addr;
    siglongjmp(escape, number);
}
static void catch_faults(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
}
// The signal that a touch of the byte raises, or 0.
static int touch(volatile byte *p, int write) {
    expected = 1;
    int number = sigsetjmp(escape, 1);
    if (number == 0) {
        byte now = *p;
        if (write) *p = now;
    }
    expected = 0;
    CHECK(number == 0 || fault_at == p);
    return number;
}

// Memory of both kinds: a mapping, and a block of malloc's from its first whole page on.
static byte *mapped, *block_of, *block;
static const size_t size = 6 * M;
static void take(void) {
    mapped = map(size);
    block_of = malloc(size + PAGE);
    CHECK(block_of != NULL);
    block = (byte *)(((uintptr_t)block_of + PAGE - 1) & ~(PAGE - 1));
    memset(block_of, 0, size);
    fill(mapped, size, 1);
    fill(block, size, 2);
    pass();
}
static void give(void) {
    CHECK(munmap(mapped, size) == 0);
    free(block_of);
}
#define EACH(p, seed)                                             \
    for (int k_ = 0, seed = 1; k_ < 2; k_++, seed++)              \
        for (byte *p = k_ ? block : mapped; p != NULL; p = NULL)

static int child_status(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}
#define IN_CHILD(...)                               \
    do {                                            \
        pid_t child_ = fork();                      \
        if (child_ == 0) {                          \
            alarm(600);                             \
            __VA_ARGS__                             \
            _exit(0);                               \
        }                                           \
        CHECK(child_status(child_) == 0);           \
    } while (0)

#endif
