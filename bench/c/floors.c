/* The floors of the benchmark: what the hardware, the kernel and libc allow, with nothing of the runtime in between.
 * Called by src/floors.rs, on the main thread, one call at a time. The SIGSEGV handler below is installed only
 * around a floor's fault loop and the previous one (the runtime's) is put back after it.
 * Loops that both sides run (scan, timed touches) are here once, so floor and ours execute the same instructions. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <pthread.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define CHUNK ((size_t)2 << 20)

uint64_t bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* YYYY-MM-DD in UTC into buf, which holds at least 11 bytes. */
void bench_date(char *buf, size_t n) {
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(buf, n, "%Y-%m-%d", &tm);
}

/* 2 MiB-aligned private anonymous memory, or NULL. */
void *floor_map(size_t len, int huge) {
    char *raw = mmap(NULL, len + CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    char *aligned = (char *)(((uintptr_t)raw + CHUNK - 1) & ~(uintptr_t)(CHUNK - 1));
    if (aligned > raw) munmap(raw, (size_t)(aligned - raw));
    if (aligned + len < raw + len + CHUNK) munmap(aligned + len, (size_t)(raw + len + CHUNK - (aligned + len)));
    madvise(aligned, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return aligned;
}

void floor_unmap(void *p, size_t len) { munmap(p, len); }

/* Gives the pages back, so that the next touch takes fresh ones. */
void floor_drop(void *p, size_t len) { madvise(p, len, MADV_DONTNEED); }

/* Copy with non-temporal stores: what a copy in pieces can reach. In order on AMD's processors; elsewhere one cache line
 * from each of four pages in turn, as glibc's memcpy does above its threshold (on some machines hundreds of MiB). n is a
 * multiple of 16 KiB. Plain memcpy where there is no SSE2. */
#ifdef __SSE2__
#include <emmintrin.h>
static inline void stream_copy(void *dst, const void *src, size_t n, size_t pages) {
    for (size_t group = 0; group < n; group += pages * 4096)
        for (size_t line = 0; line < 4096; line += 64)
            for (size_t page = 0; page < pages; page++) {
                size_t at = group + page * 4096 + line;
                const __m128i *from = (const __m128i *)((const char *)src + at);
                __m128i *to = (__m128i *)((char *)dst + at);
                _mm_prefetch((const char *)from + 512, _MM_HINT_T0);
                __m128i a = from[0], b = from[1], c = from[2], d = from[3];
                _mm_stream_si128(to, a);
                _mm_stream_si128(to + 1, b);
                _mm_stream_si128(to + 2, c);
                _mm_stream_si128(to + 3, d);
            }
    _mm_sfence();
}
void floor_stream_copy(void *dst, const void *src, size_t n) {
    if (__builtin_cpu_is("amd")) stream_copy(dst, src, n, 1);
    else stream_copy(dst, src, n, 4);
}
#else
void floor_stream_copy(void *dst, const void *src, size_t n) { memcpy(dst, src, n); }
#endif

/* Another thread that makes a range's huge pages present, one touch each, so that the kernel zeroes them: the memory
 * traffic that a runtime causes which has to bring data home into fresh pages, however well it hides the waiting. */
static struct {
    pthread_t thread;
    volatile unsigned char *start;
    size_t len;
} zeroing;

static void *zero_pages(void *unused) {
    (void)unused;
    for (size_t at = 0; at < zeroing.len; at += CHUNK) zeroing.start[at] = 1;
    return NULL;
}

int floor_zero_begin(void *p, size_t len) {
    zeroing.start = p;
    zeroing.len = len;
    return pthread_create(&zeroing.thread, NULL, zero_pages, NULL);
}

void floor_zero_end(void) { pthread_join(zeroing.thread, NULL); }

void floor_memcpy(void *dst, const void *src, size_t n) { memcpy(dst, src, n); }

/* Sum over the 64-bit words; n is a multiple of 8. Explicit vectors, because GCC's -O2 leaves such a loop scalar. */
typedef uint64_t lanes __attribute__((vector_size(16), may_alias));
uint64_t bench_scan(const void *p, size_t words) {
    const lanes *v = p;
    lanes a = {0, 0}, b = {0, 0}, c = {0, 0}, d = {0, 0};
    for (size_t i = 0; i < words / 2; i += 4) {
        a += v[i];
        b += v[i + 1];
        c += v[i + 2];
        d += v[i + 3];
    }
    a += b + c + d;
    return a[0] + a[1];
}

/* One timed access at base + off[i] for each i. */
void bench_touch_read(const volatile unsigned char *base, const size_t *off, size_t n, uint64_t *ns) {
    for (size_t i = 0; i < n; i++) {
        uint64_t t = bench_now();
        (void)base[off[i]];
        ns[i] = bench_now() - t;
    }
}

void bench_touch_write(volatile unsigned char *base, const size_t *off, size_t n, uint64_t *ns) {
    for (size_t i = 0; i < n; i++) {
        uint64_t t = bench_now();
        base[off[i]] = (unsigned char)i;
        ns[i] = bench_now() - t;
    }
}

/* Bare SIGSEGV + mprotect. */
static struct {
    uintptr_t start, end, granule;
    volatile uint64_t faults;
    struct sigaction previous;
} bare;

static void bare_handler(int signal_number, siginfo_t *info, void *context) {
    uintptr_t a = (uintptr_t)info->si_addr;
    (void)context;
    if (a < bare.start || a >= bare.end) {
        signal(signal_number, SIG_DFL);
        return;
    }
    bare.faults++;
    mprotect((void *)(a & ~(bare.granule - 1)), bare.granule, PROT_READ | PROT_WRITE);
}

/* Protects [base, base + len) with prot and serves its faults by opening one granule at a time. */
int floor_bare_begin(void *base, size_t len, size_t granule, int readable) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    bare.start = (uintptr_t)base;
    bare.end = bare.start + len;
    bare.granule = granule;
    bare.faults = 0;
    action.sa_sigaction = bare_handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    if (mprotect(base, len, readable ? PROT_READ : PROT_NONE)) return errno;
    if (sigaction(SIGSEGV, &action, &bare.previous)) return errno;
    return 0;
}

/* Restores the previous handler and opens the range again; returns the number of faults served. */
uint64_t floor_bare_end(void) {
    sigaction(SIGSEGV, &bare.previous, NULL);
    mprotect((void *)bare.start, bare.end - bare.start, PROT_READ | PROT_WRITE);
    return bare.faults;
}

/* Takes each 2 MiB block of x out to the same place in y with MREMAP_DONTUNMAP, then moves it back over x:
 * out_ns[i] and in_ns[i] are the two calls' times. Both ranges are 2 MiB-aligned and n blocks long. */
int floor_mremap(unsigned char *x, unsigned char *y, size_t n, uint64_t *out_ns, uint64_t *in_ns) {
    for (size_t i = 0; i < n; i++) {
        unsigned char *from = x + i * CHUNK, *to = y + i * CHUNK;
        uint64_t t = bench_now();
        if (mremap(from, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == MAP_FAILED) return errno;
        uint64_t u = bench_now();
        if (mremap(to, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, from) == MAP_FAILED) return errno;
        in_ns[i] = bench_now() - u;
        out_ns[i] = u - t;
    }
    return 0;
}

/* n times: malloc, write the first byte, free. Volatile, or the compiler drops the pair. */
void floor_malloc_pairs(size_t size, size_t n) {
    for (size_t i = 0; i < n; i++) {
        volatile unsigned char *volatile p = malloc(size);
        if (p) p[0] = (unsigned char)i;
        free((void *)p);
    }
}

/* What malloc does for a block above its mmap threshold: map, write the first byte, unmap. */
void floor_mmap_pairs(size_t size, size_t n) {
    for (size_t i = 0; i < n; i++) {
        volatile unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if ((void *)p == MAP_FAILED) return;
        p[0] = (unsigned char)i;
        munmap((void *)p, size);
    }
}

/* A child that reads one word of each page from p on (none: len 0) and ends with 0 if their sum is the one given. Its cost
 * until fork has returned here; 0: there was no child, or it found something else. */
uint64_t bench_fork(const uint64_t *p, size_t len, uint64_t sum) {
    uint64_t start = bench_now();
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < len / 8; i += 512) sum -= p[i];
        _exit(len != 0 && sum != 0);
    }
    uint64_t ns = bench_now() - start;
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return 0;
    return ns;
}

/* The least that a residency check of `ranges` ranges can cost: an uncontended lock and one flag load a range, twice. */
void floor_lock_pairs(const volatile uint64_t *flags, size_t ranges, size_t n) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    for (size_t i = 0; i < 2 * n; i++) {
        pthread_mutex_lock(&lock);
        for (size_t k = 0; k < ranges; k++) (void)flags[k * 8];
        pthread_mutex_unlock(&lock);
    }
}

/* The triad's arrays: values that depend on the place. */
static double triad_b(size_t i) { return 1.0 + 0.5 * (double)(i & 1023); }
static double triad_c(size_t i) { return 0.25 * (double)(i & 511); }

void bench_triad_init(double *a, double *b, double *c, size_t n) {
    for (size_t i = 0; i < n; i++) a[i] = 0;
    for (size_t i = 0; i < n; i++) b[i] = triad_b(i);
    for (size_t i = 0; i < n; i++) c[i] = triad_c(i);
}

/* How many elements of a are not b + s * c. */
size_t bench_triad_check(const double *a, double s, size_t n) {
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) wrong += a[i] != triad_b(i) + s * triad_c(i);
    return wrong;
}
