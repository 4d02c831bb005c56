// Waiting for memory to be away: on a device, as HMMRT_CHAOS=1 sends it there again and again. And bytes to fill it with.

#ifndef HMMRT_AWAY_H
#define HMMRT_AWAY_H

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

// access(2) without the C library: EFAULT if the page can't be read.
static inline long bare_access(const void *path) {
#if defined __x86_64__
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_access), "D"(path), "S"(F_OK) : "rcx", "r11", "memory");
    return r;
#else
    register long x8 __asm__("x8") = SYS_faccessat, x0 __asm__("x0") = AT_FDCWD;
    register const void *x1 __asm__("x1") = path;
    register long x2 __asm__("x2") = F_OK;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
#endif
}

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int waits; // for memory to be away

// Returns p when it is away.
static inline void *away_at(void *p, const char *file, int line) {
    waits++;
    // Nothing can be asked where every call brings home what it is asked of: likely away, then.
    const char *how = getenv("HMMRT_SYSCALLS");
    if (how != NULL && how[0] == 't') {
        usleep(300);
        return p;
    }
    double end = now() + 120;
    while (bare_access(p) != -EFAULT) {
        if (now() > end) {
            fprintf(stderr, "%s:%d: the memory does not leave: is HMMRT_CHAOS=1 set?\n", file, line);
            _exit(1);
        }
        usleep(20);
    }
    return p;
}
#define AWAY(p) ((__typeof__(p))away_at((void *)(p), __FILE__, __LINE__))

static inline void fill(char *p, size_t n, int seed) {
    for (size_t i = 0; i < n; i++) p[i] = (char)(i * 31 + i / 4096 + (size_t)seed);
}
static inline void expect(const char *p, size_t n, int seed) {
    for (size_t i = 0; i < n; i++) CHECK(p[i] == (char)(i * 31 + i / 4096 + (size_t)seed));
}

#endif
