// What several do to mappings at once: children, signal handlers, threads. Each part names the mistake that it catches.

#include "maps.h"

// Catches: a child that waits for a lock whose holder is not there, or changes what its parent has.
static void children(void) {
    for (int round = 0; round < 10; round++) {
        take();
        EACH(p, seed) {
            IN_CHILD({
                CHECK(munmap(p + M, M) == 0 && touch(p + M, 0) == SIGSEGV);
                CHECK(mmap(p + M, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0) == p + M && touch(p + M, 1) == SIGSEGV);
                CHECK(mprotect(p, PAGE, PROT_READ) == 0 && touch(p, 1) == SIGSEGV && touch(p + PAGE, 1) == 0);
                CHECK(mprotect(p, PAGE, RW) == 0 && has(p, M, seed));
                CHECK(madvise(p + 3 * M, M, MADV_DONTNEED) == 0 && has(p + 3 * M, M, 0));
                fill(p + 3 * M, M, 4);
                byte *q = mremap(p + 3 * M, M, 2 * M, MREMAP_MAYMOVE);
                CHECK(q != MAP_FAILED && has(q, M, 4) && has(q + M, M, 0));
                fill(q, 2 * M, 5);
                CHECK(has(q, 2 * M, 5));
                byte *r = mremap(p, M, M, MREMAP_MAYMOVE | MREMAP_FIXED, q + M);
                CHECK(r == q + M && has(r, M, seed));
                fill(r, M, 6);
                CHECK(has(r, M, 6) && has(q, M, 5));
                byte *s = map(4 * M);
                fill(s, 4 * M, 3);
                CHECK(has(s, 4 * M, 3) && munmap(s, 4 * M) == 0);
                if (p == block) free(block_of);
            });
            CHECK(has(p, size, seed));
        }
        // A child of vfork runs in our memory: what it unmaps is gone here.
        byte *p = map(4 * M);
        fill(p, 4 * M, 9);
        pass();
        pid_t child = vfork();
        if (child == 0) {
            if (munmap(p + M, M) != 0 || mprotect(p, PAGE, PROT_READ) != 0) _exit(1);
            _exit(0);
        }
        CHECK(child_status(child) == 0);
        CHECK(touch(p + M, 0) == SIGSEGV && touch(p, 1) == SIGSEGV && has(p, M, 9) && munmap(p, 4 * M) == 0);
        give();
    }
}

static volatile int ticks;
static void on_tick(int number) {
    (void)number;
    int saved = errno;
    byte *p = mmap(NULL, 3 * M, RW, ANON, -1, 0);
    if (p == MAP_FAILED) _exit(8);
    p[0] = p[2 * M] = 7;
    byte *q = mremap(p, 3 * M, 4 * M, MREMAP_MAYMOVE);
    if (q == MAP_FAILED || q[2 * M] != 7 || mprotect(q, M, PROT_READ) != 0 || madvise(q + M, M, MADV_DONTNEED) != 0 ||
        munmap(q, 4 * M) != 0)
        _exit(8);
    ticks++;
    errno = saved;
}

// Catches: calls in a signal handler that wait for what the interrupted code holds: malloc's lock, or the runtime's.
static void in_signal_handlers(void) {
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &every, NULL) == 0);
    for (int i = 0; i < 20000 || ticks < 200; i++) {
        void *p = malloc(50 + i % 70000), *q = malloc(i % 3 ? 100 : 3 * M);
        *(volatile byte *)p = 1;
        byte *r = map(2 * M);
        *(volatile byte *)(r + M) = 1;
        free(p);
        CHECK(munmap(r, 2 * M) == 0);
        free(q);
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

// Catches: a list that is slow, or forgets, when it is long.
static void thousands_of_mappings(void) {
    enum { COUNT = 3000 };
    static byte *p[COUNT];
    for (int i = 0; i < COUNT; i++) {
        p[i] = map(M);
        *(uint64_t *)(p[i] + i % 256 * PAGE) = i + 1;
    }
    for (int k = 0; k < COUNT; k++) {
        int i = k * 1871 % COUNT;
        CHECK(*(uint64_t *)(p[i] + i % 256 * PAGE) == (uint64_t)i + 1 && munmap(p[i], M) == 0);
        if (k % 3 == 0) CHECK(mprotect(p[i] = map(M), M, PROT_READ) == 0 && munmap(p[i], M) == 0);
    }
}

// One mapping of a thread's, and what each page must have: the seed of its last filling, or 0; its protection.
enum { PAGES = 1300, ROUNDS = 1500 };
struct model {
    byte *at;
    size_t pages;
    uint64_t value[PAGES * 2];
    byte prot[PAGES * 2];
};
static void check_pages(struct model *m, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        if (m->prot[i] != PROT_NONE) CHECK(*(volatile uint64_t *)(m->at + i * PAGE) == m->value[i]);
    }
}
static void *mapper(void *number) {
    uint64_t x = (uintptr_t)number * 0x9e3779b97f4a7c15 + 88172645463325252;
    struct model *m = calloc(1, sizeof *m);
    for (int round = 0; round < ROUNDS; round++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if (m->at == NULL) {
            m->pages = x % PAGES + 1;
            m->at = map(m->pages * PAGE);
            memset(m->value, 0, sizeof m->value);
            memset(m->prot, RW, sizeof m->prot);
        }
        size_t from = (x >> 20) % m->pages, to = from + 1 + (x >> 36) % (m->pages - from);
        byte *p = m->at + from * PAGE;
        size_t n = (to - from) * PAGE;
        switch (x % 12) {
        case 0:
        case 1:
        case 2:
            for (size_t i = from; i < to; i++) {
                if (m->prot[i] == RW) *(volatile uint64_t *)(m->at + i * PAGE) = m->value[i] = x + i;
            }
            break;
        case 3:
        case 4: check_pages(m, from, to); break;
        case 5:
            CHECK(madvise(p, n, MADV_DONTNEED) == 0);
            for (size_t i = from; i < to; i++) m->value[i] = 0;
            break;
        case 6:
        case 7: {
            int prot = x >> 50 & 1 ? RW : x >> 51 & 1 ? PROT_READ : PROT_NONE;
            CHECK(mprotect(p, n, prot) == 0);
            memset(m->prot + from, prot, to - from);
            break;
        }
        case 8: // over a part
            CHECK(mmap(p, n, RW, ANON | MAP_FIXED, -1, 0) == p);
            memset(m->prot + from, RW, to - from);
            for (size_t i = from; i < to; i++) m->value[i] = 0;
            break;
        case 9: { // to another size
            CHECK(mprotect(m->at, m->pages * PAGE, RW) == 0);
            memset(m->prot, RW, sizeof m->prot);
            size_t pages = (x >> 40) % PAGES + 1;
            byte *to_place = x >> 60 & 1 ? map(PAGES * PAGE) : NULL;
            byte *q = to_place != NULL ? mremap(m->at, m->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to_place)
                                       : mremap(m->at, m->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
            if (q == MAP_FAILED) { // the kernel sees more than one mapping
                CHECK(errno == EFAULT);
                check_pages(m, 0, m->pages);
                break;
            }
            if (to_place != NULL && pages < PAGES) CHECK(munmap(to_place + pages * PAGE, (PAGES - pages) * PAGE) == 0);
            for (size_t i = m->pages; i < pages; i++) m->value[i] = 0;
            m->at = q;
            m->pages = pages;
            check_pages(m, 0, pages);
            break;
        }
        case 10: // the end goes
            CHECK(munmap(p, (m->pages - from) * PAGE) == 0);
            m->pages = from;
            if (from == 0) m->at = NULL;
            break;
        case 11:
            if (x >> 58 & 1) break;
            check_pages(m, 0, m->pages);
            CHECK(munmap(m->at, m->pages * PAGE) == 0);
            m->at = NULL;
            break;
        }
    }
    if (m->at != NULL) {
        check_pages(m, 0, m->pages);
        CHECK(munmap(m->at, m->pages * PAGE) == 0);
    }
    free(m);
    return NULL;
}

// Catches: all of the above, where threads meet: an address that one unmaps and another maps, pages that move meanwhile.
static void threads(void) {
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, mapper, (void *)(i + 1)) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
}

int main(void) {
    own_mappings();
    catch_faults();
    PART(children);
    PART(in_signal_handlers);
    PART(thousands_of_mappings);
    PART(threads);
    return 0;
}
