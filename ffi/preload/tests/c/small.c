// Small objects in managed memory. Each part names the mistake that it catches.

#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static unsigned char *filled(size_t n, unsigned seed) {
    unsigned char *p = malloc(n);
    CHECK(p != NULL && (uintptr_t)p % 16 == 0 && malloc_usable_size(p) >= n);
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)(i * 3 + seed);
    return p;
}
static void expect(const unsigned char *p, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) CHECK(p[i] == (unsigned char)(i * 3 + seed));
}

// Catches: small objects that do not share pages: the feature is not on. The C library's lie beside its own heap's end.
static void many_to_a_page(void) {
    unsigned char *p[64];
    int near = 0;
    for (int i = 0; i < 64; i++) p[i] = filled(48, i);
    for (int i = 1; i < 64; i++) near += ((uintptr_t)p[i] ^ (uintptr_t)p[i - 1]) < 4096;
    CHECK(near > 32);
    CHECK((uintptr_t)p[0] > (uintptr_t)sbrk(0) && (uintptr_t)p[0] - (uintptr_t)sbrk(0) > 1ul << 30);
    for (int i = 0; i < 64; i++) expect(p[i], 48, i);
    for (int i = 0; i < 64; i++) free(p[i]);
}

// Catches: realloc that loses bytes between small objects, large blocks and the C library's, or changes errno.
static void across_the_border(void) {
    const size_t sizes[] = {1, 16, 100, 5000, 15000, 40000, 200000, 1 << 20, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            size_t from = sizes[i], to = sizes[j];
            unsigned char *p = filled(from, 7);
            errno = 77;
            p = realloc(p, to);
            CHECK(p != NULL && errno == 77 && malloc_usable_size(p) >= to);
            expect(p, from < to ? from : to, 7);
            memset(p, 1, to);
            free(p);
            CHECK(errno == 77);
        }
    }
    // What the C library made, the C library's way.
    char *line = NULL;
    CHECK(asprintf(&line, "%s", "a line") == 6);
    CHECK((line = realloc(line, 30000)) != NULL && strcmp(line, "a line") == 0);
    free(line);
}

// Catches: calloc that believes used memory to be zero, in objects of all kinds.
static void zeroed(void) {
    for (size_t n = 8; n < 900000; n = n * 7 / 3) {
        for (int again = 0; again < 4; again++) {
            unsigned char *p = calloc(n, 1);
            CHECK(p != NULL);
            for (size_t i = 0; i < n; i++) CHECK(p[i] == 0);
            memset(p, 0xff, n);
            free(p);
        }
    }
}

static volatile int stop;

// Many at a time, so that there is always one that asks for more memory, and some from other threads.
static void *volatile given[8];
static void *busy(void *number) {
    unsigned seed = (unsigned)(uintptr_t)number;
    while (!stop) {
        unsigned char *p[300];
        for (int i = 0; i < 300; i++) p[i] = filled(seed % 7 * 1000 + i, i);
        for (int i = 0; i < 300; i++) expect(p[i], seed % 7 * 1000 + i, i);
        free(__atomic_exchange_n(&given[seed % 8], p[0], __ATOMIC_ACQ_REL));
        for (int i = 1; i < 300; i++) free(p[i]);
        seed = seed * 1664525 + 1013904223;
    }
    return NULL;
}

// Catches: a fork that waits for who waits for it, and a child with locks of threads that are not there.
static void threads_and_forks(void) {
    pthread_t t[4];
    stop = 0;
    unsigned char *mine[50];
    for (int i = 0; i < 50; i++) mine[i] = filled(i * 100 + 1, i);
    for (uintptr_t i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, busy, (void *)i) == 0);
    for (int round = 0; round < 60; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(600);
            for (int i = 0; i < 50; i++) expect(mine[i], i * 100 + 1, i);
            for (int i = 0; i < 50; i++) mine[i] = realloc(mine[i], i * 200 + 1);
            for (int i = 0; i < 50; i++) expect(mine[i], i * 100 + 1, i);
            for (int i = 0; i < 50; i++) free(mine[i]);
            for (int i = 0; i < 1000; i++) free(filled(i, 1));
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        for (int i = 0; i < 50; i++) expect(mine[i], i * 100 + 1, i);
    }
    stop = 1;
    for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
    for (int i = 0; i < 50; i++) free(mine[i]);
}

int main(void) {
    alarm(600);
    PART(many_to_a_page);
    PART(across_the_border);
    PART(zeroed);
    PART(threads_and_forks);
    return 0;
}
