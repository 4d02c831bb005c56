// The rules of malloc and its family. Each part names the mistake that it catches.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

// Kept from the compiler, which knows what malloc does.
static volatile size_t one = 1;
static void *volatile sink;
#define ANY(n) ((n) * one)

static const size_t sizes[] = {0, 1, 24, 4096, 5000, 65536, 300000, 1 << 20, (1 << 20) + 1, 5 << 20, 64 << 20};
#define EACH(size) for (size_t i_ = 0, size; i_ < sizeof sizes / sizeof *sizes && (size = sizes[i_], 1); i_++)

static void fill(unsigned char *p, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i += n > 1 << 20 ? 509 : 1) p[i] = (unsigned char)(i * 7 + seed);
}
static void expect(const unsigned char *p, size_t n, size_t step_of, unsigned seed) {
    for (size_t i = 0; i < n; i += step_of > 1 << 20 ? 509 : 1) CHECK(p[i] == (unsigned char)(i * 7 + seed));
}

// Catches: calloc that multiplies without looking, or does not clear a reused block.
static void calloc_is_zero_and_does_not_overflow(void) {
    errno = 0;
    CHECK(calloc(ANY(SIZE_MAX / 2 + 2), 2) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(ANY(1ul << 33), 1ul << 33) == NULL && errno == ENOMEM);
    errno = 0; // the product is 5 MiB after it has wrapped
    CHECK(calloc(ANY(SIZE_MAX / 4096 + 1 + (5 << 20) / 4096), 4096) == NULL && errno == ENOMEM);
    EACH(size) {
        for (int again = 0; again < 3; again++) {
            unsigned char *p = calloc(size / 8 + 1, 8);
            CHECK(p != NULL);
            for (size_t i = 0; i < size; i++) CHECK(p[i] == 0);
            memset(p, 0xff, size);
            free(p);
        }
    }
}

// Catches: NULL, or one address for all, where a block of no bytes is asked for.
static void zero_sizes_are_unique(void) {
    void *p[] = {malloc(ANY(0)), malloc(ANY(0)), calloc(0, 8), calloc(8, 0), aligned_alloc(64, 0), realloc(NULL, 0),
                 reallocarray(NULL, 0, 4)};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
        CHECK(p[i] != NULL);
        for (size_t j = 0; j < i; j++) CHECK(p[i] != p[j]);
    }
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
    void *q = NULL;
    CHECK(posix_memalign(&q, 64, 0) == 0 && q != NULL);
    free(q);
}

// Catches: realloc that loses bytes between the two heaps, does not take NULL, or does not free for 0.
static void realloc_keeps_what_there_was(void) {
    EACH(from) EACH(to) {
        unsigned char *p = realloc(NULL, from);
        CHECK(p != NULL);
        fill(p, from, 3);
        size_t n = to == 0 ? 1 : to;
        p = realloc(p, n);
        CHECK(p != NULL);
        size_t kept = from < n ? from : n;
        expect(p, kept, from, 3);
        if (n > 4) memset(p, 1, n);
        errno = 77;
        CHECK(realloc(p, ANY(0)) == NULL && errno == 77);
    }
    unsigned char *p = NULL;
    for (size_t n = 1; n <= 16 << 20; n = n * 3 / 2 + 1) {
        p = reallocarray(p, n, 1);
        CHECK(p != NULL);
        p[n - 1] = (unsigned char)n;
        p[0] = 9;
    }
    CHECK(p[0] == 9);
    free(p);
    errno = 0;
    p = malloc(2 << 20);
    fill(p, 2 << 20, 5);
    CHECK(reallocarray(p, ANY(SIZE_MAX / 4), 8) == NULL && errno == ENOMEM);
    expect(p, 2 << 20, 2 << 20, 5); // and the old block is still there
    errno = 0;
    CHECK(realloc(p, ANY(SIZE_MAX - 100)) == NULL && errno == ENOMEM);
    expect(p, 2 << 20, 2 << 20, 5);
    errno = 0;
    CHECK(realloc(p, ANY(PTRDIFF_MAX) - 4096) == NULL && errno == ENOMEM);
    expect(p, 2 << 20, 2 << 20, 5);
    free(p);
}

// Catches: sizes that wrap when they are rounded up, and a failure that does not set errno.
static void too_much_is_refused(void) {
    const size_t huge[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX, PTRDIFF_MAX - (2 << 20)};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        size_t n = ANY(huge[i]);
        errno = 0;
        CHECK(malloc(n) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(calloc(n, 1) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(realloc(NULL, n) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(aligned_alloc(4096, n) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(memalign(64, n) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(valloc(n) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(pvalloc(n) == NULL && errno == ENOMEM);
    }
    // More than there is: what the C library would refuse is refused.
    errno = 0;
    CHECK((sink = malloc(ANY(1ul << 46))) == NULL && errno == ENOMEM);
}

// Catches: posix_memalign that sets errno, writes its result on failure, or takes any alignment.
static void posix_memalign_returns_its_error(void) {
    const size_t bad[] = {0, 1, 2, 4, 3, 7, 24, 4097, SIZE_MAX};
    void *p = (void *)0x1234;
    errno = 77;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(posix_memalign(&p, ANY(bad[i]), 1 << 20) == EINVAL);
    CHECK(posix_memalign(&p, 4096, ANY(SIZE_MAX - 8192)) == ENOMEM);
    CHECK(p == (void *)0x1234 && errno == 77);
}

// Catches: a block that is not where it was asked to be, in either heap.
static void alignments(void) {
    for (size_t a = 8; a <= 1ul << 30; a *= 2) {
        const size_t of[] = {1, 100, 70000, (1 << 20) + 5, 3 << 20};
        for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
            size_t n = of[i];
            if (a > 1 << 24 && n < 70000) continue; // the C library takes all of it
            void *p = NULL;
            CHECK(posix_memalign(&p, a, n) == 0 && (uintptr_t)p % a == 0);
            memset(p, 1, n);
            unsigned char *q = memalign(a, n), *r = aligned_alloc(a, n);
            CHECK(q != NULL && (uintptr_t)q % a == 0 && r != NULL && (uintptr_t)r % a == 0);
            q[n - 1] = 1;
            r[n - 1] = 1;
            free(p);
            free(q);
            q = realloc(r, n * 2);
            CHECK(q != NULL && q[n - 1] == 1);
            free(q);
        }
    }
    EACH(size) {
        void *p = valloc(size), *q = pvalloc(size);
        CHECK((uintptr_t)p % 4096 == 0 && (uintptr_t)q % 4096 == 0);
        CHECK(malloc_usable_size(q) >= (size + 4095) / 4096 * 4096);
        free(p);
        free(q);
        void *r = malloc(size);
        CHECK((uintptr_t)r % 16 == 0);
        free(r);
    }
    void *p = memalign(24, 5 << 20); // rounded up, as glibc does
    CHECK(p != NULL && (uintptr_t)p % 32 == 0);
    free(p);
}

// Catches: a usable size that is less than what was asked for, or more than what may be written (the next block's).
static void usable_size_is_usable(void) {
    CHECK(malloc_usable_size(NULL) == 0);
    EACH(size) {
        unsigned char *p[4];
        size_t n[4];
        for (int i = 0; i < 4; i++) {
            p[i] = malloc(size);
            n[i] = malloc_usable_size(p[i]);
            CHECK(n[i] >= size && n[i] < size + size / 2 + 4096 + 64);
        }
        for (int i = 0; i < 4; i++) memset(p[i], i + 1, n[i]);
        for (int i = 0; i < 4; i++) CHECK(n[i] == 0 || (p[i][0] == i + 1 && p[i][n[i] - 1] == i + 1));
        for (int i = 0; i < 4; i++) free(p[i]);
    }
}

// Catches: free, or a call that succeeds, that leaves another errno.
static void errno_stays(void) {
    EACH(size) {
        errno = 77;
        void *p = malloc(size), *q = calloc(1, size), *r = memalign(4096, size);
        CHECK(errno == 77);
        p = realloc(p, size + 1);
        CHECK(errno == 77);
        free(p);
        CHECK(errno == 77);
        free(q);
        free(r);
        free(NULL);
        CHECK(errno == 77);
    }
}

static int ends_with_abort(void (*part)(void)) {
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL) _exit(3);
        part();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGSEGV);
}
static void *volatile block;
static void free_inside(void) {
    free((char *)block + 64 * one);
}
static void realloc_inside(void) {
    sink = realloc((char *)block + 64 * one, 5000);
}

// Blocks from here on are told apart from pointers into them.
static size_t told_apart = 200;

// Catches: a pointer into a block that is taken for the block, or silently ignored.
static void a_pointer_inside_is_a_mistake(void) {
    EACH(size) {
        if (size < told_apart) continue;
        block = memset(malloc(size), 0, size);
        CHECK(ends_with_abort(free_inside));
        CHECK(ends_with_abort(realloc_inside));
        free(block);
    }
}

static void *worker(void *number) {
    unsigned x = (unsigned)(uintptr_t)number * 2654435761u + 1;
    unsigned char *p[32] = {0};
    size_t n[32] = {0};
    for (int round = 0; round < 3000; round++) {
        x = x * 1664525 + 1013904223;
        int i = x >> 27;
        size_t want = (x >> 8 & 15) == 0 ? (x >> 6 & 0x3fffff) + 1 : (x >> 12 & 0x1fff) + 1;
        for (size_t at = 0; at < n[i]; at += 4096) CHECK(p[i][at] == (unsigned char)(n[i] + at / 4096));
        if (x & 1 && p[i] != NULL) {
            p[i] = realloc(p[i], want);
            CHECK(p[i] != NULL);
            for (size_t at = 0; at < n[i] && at < want; at += 4096) CHECK(p[i][at] == (unsigned char)(n[i] + at / 4096));
        } else {
            free(p[i]);
            p[i] = malloc(want);
            CHECK(p[i] != NULL);
        }
        n[i] = want;
        for (size_t at = 0; at < want; at += 4096) p[i][at] = (unsigned char)(want + at / 4096);
    }
    for (int i = 0; i < 32; i++) free(p[i]);
    return NULL;
}

// Catches: bookkeeping without a lock, and blocks that overlap.
static void threads(void) {
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, worker, (void *)i) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

static volatile int stop;
static void *busy(void *unused) {
    while (!stop) {
        void *p = malloc(3 << 20), *q = malloc(100000), *r = malloc(50);
        *(volatile char *)p = 1;
        p = realloc(p, 7 << 20);
        free(p);
        free(q);
        free(r);
    }
    return unused;
}

// In the child of a threaded program: the heap's locks may be held by threads that are not there.
static void in_the_child(unsigned char *big, unsigned char *small, int levels) {
    expect(big, 5 << 20, 5 << 20, 1);
    expect(small, 300, 300, 2);
    unsigned char *p = malloc(5 << 20), *q = malloc(20);
    memset(p, 1, 5 << 20);
    memset(q, 1, 20);
    free(p);
    p = calloc(3 << 20, 1);
    for (size_t i = 0; i < 3 << 20; i += 100) CHECK(p[i] == 0);
    p = realloc(p, 9 << 20);
    memset(p, 2, 9 << 20);
    free(p);
    free(q);
    CHECK(malloc_usable_size(big) >= 5 << 20);
    if (levels > 0) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            in_the_child(big, small, levels - 1);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    big = realloc(big, 8 << 20);
    expect(big, 5 << 20, 5 << 20, 1);
    small = realloc(small, 2 << 20);
    expect(small, 300, 300, 2);
    free(big);
    free(small);
}

// Catches: a child that waits for a lock whose holder is not there, or frees into the parent's bookkeeping.
static void forks(void) {
    stop = 0;
    pthread_t t[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&t[i], NULL, busy, NULL) == 0);
    unsigned char *big = malloc(5 << 20), *small = malloc(300);
    fill(big, 5 << 20, 1);
    fill(small, 300, 2);
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(600);
            in_the_child(big, small, round % 3);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(status == 0);
        expect(big, 5 << 20, 5 << 20, 1);
        // A child of vfork runs in our memory and must not be taken for a child of fork.
        child = vfork();
        CHECK(child >= 0);
        if (child == 0) _exit(7);
        CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) CHECK(pthread_join(t[i], NULL) == 0);
    big = realloc(big, 6 << 20);
    expect(big, 5 << 20, 5 << 20, 1);
    free(big);
    free(small);
}

// Catches: C23's free_sized and free_aligned_sized left to a C library that has them, and takes the block for its own.
static void sized_frees(void) {
    void (*free_sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*free_aligned_sized)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    CHECK(free_sized != NULL && free_aligned_sized != NULL);
    EACH(size) {
        errno = 77;
        for (int i = 0; i < 100; i++) {
            free_sized(malloc(size), size);
            free_aligned_sized(aligned_alloc(4096, (size + 4095) / 4096 * 4096), 4096, (size + 4095) / 4096 * 4096);
        }
        free_sized(NULL, 0);
        CHECK(errno == 77);
    }
}

#if defined __x86_64__
extern void cfree(void *);
__asm__(".symver cfree, cfree@GLIBC_2.2.5");
#else
static void cfree(void *p) {
    free(p);
}
#endif
// Catches: a free under its old name, which only the C library knows.
static void the_old_name(void) {
    EACH(size) cfree(malloc(size));
    cfree(NULL);
}

// Runs before main, and maybe before the library's own constructor.
static unsigned char *early;
__attribute__((constructor)) static void at_start(void) {
    early = calloc(3 << 20, 1);
    fill(early, 3 << 20, 4);
}
static unsigned char *late;
static void at_end(void) {
    expect(late, 2 << 20, 2 << 20, 6);
    free(late);
    free(malloc(4 << 20));
}

// Catches: a heap that needs a constructor, or that is gone in the program's last functions.
static void before_main_and_after(void) {
    expect(early, 3 << 20, 3 << 20, 4);
    free(early);
    late = malloc(2 << 20);
    fill(late, 2 << 20, 6);
    CHECK(atexit(at_end) == 0);
}

int main(int argc, char **argv) {
    if (argc > 1) told_apart = strtoul(argv[1], NULL, 10);
    PART(calloc_is_zero_and_does_not_overflow);
    PART(zero_sizes_are_unique);
    PART(realloc_keeps_what_there_was);
    PART(too_much_is_refused);
    PART(posix_memalign_returns_its_error);
    PART(alignments);
    PART(usable_size_is_usable);
    PART(errno_stays);
    PART(sized_frees);
    PART(the_old_name);
    PART(a_pointer_inside_is_a_mistake);
    PART(threads);
    PART(forks);
    PART(before_main_and_after);
    return 0;
}
