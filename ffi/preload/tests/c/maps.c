// What a program does to its mappings, and to parts of its blocks. Each part names the mistake that it catches.

#include "maps.h"

// Catches: old contents at an address that the kernel gives out again.
static void new_mappings_are_zero(void) {
    const size_t sizes[] = {PAGE, 64 << 10, M - PAGE, M, 2 * M, 5 * M + PAGE, 40 * M};
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            byte *p = map(sizes[i]);
            CHECK(has(p, sizes[i], 0));
            fill(p, sizes[i], i + 1);
            if (i == 3) pass();
            CHECK(has(p, sizes[i], i + 1));
            CHECK(munmap(p, sizes[i]) == 0);
        }
    }
    byte *p = mmap(NULL, 4 * M, PROT_READ, ANON, -1, 0);
    CHECK(p != MAP_FAILED && has(p, 4 * M, 0) && touch(p + M, 1) == SIGSEGV);
    CHECK(munmap(p, 4 * M) == 0);
    errno = 77;
    p = map(4 * M);
    CHECK(errno == 77 && munmap(p, 4 * M) == 0 && errno == 77);
}

static int is_on(const char *setting) {
    const char *value = getenv(setting);
    return value != NULL && strcmp(value, "1") == 0;
}

// Catches: mapped memory that never leaves, when it should (the test would test nothing).
static void mappings_do_move(void) {
    if (!is_on("HMMRT_ADOPT_MMAP") || !is_on("HMMRT_CHAOS")) return;
    byte *p = map(4 * M);
    fill(p, 4 * M, 3);
    byte there[1024];
    struct timespec now, start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        pass();
        clock_gettime(CLOCK_MONOTONIC, &now);
        CHECK(now.tv_sec - start.tv_sec <= 120);
        CHECK(mincore(p, 4 * M, there) == 0);
    } while (memchr(there, 0, sizeof there) == NULL);
    CHECK(has(p, 4 * M, 3) && munmap(p, 4 * M) == 0);
}

// Catches: neighbours that lose bytes, a hole that can be touched, and a block that can't be freed or is handed out again
// with the hole in it.
static void a_part_is_unmapped(void) {
    for (int round = 0; round < 30; round++) {
        take();
        EACH(p, seed) {
            CHECK(munmap(p + M + PAGE, M) == 0);
            pass();
            CHECK(has(p, M + PAGE, seed));
            for (size_t i = 2 * M + PAGE; i < size; i += PAGE) {
                CHECK(*(uint64_t *)(p + i) == seed * 0x9e3779b97f4a7c15 + i);
            }
            CHECK(touch(p + M + PAGE, 0) == SIGSEGV && touch(p + 2 * M, 1) == SIGSEGV && touch(p + 2 * M + PAGE, 1) == 0);
        }
        CHECK(munmap(mapped + M, 2 * M) == 0); // some of it is not there
        give();
    }
    for (int i = 0; i < 60; i++) { // small blocks share a chunk
        byte *p = malloc(300000), *q = (byte *)(((uintptr_t)p + PAGE - 1) & ~(PAGE - 1));
        memset(p, 5, 300000);
        pass();
        // The C library's heap has a hole then for ever: only where such a block has pages of its own.
        if (getenv("HMMRT_MIN_SIZE") != NULL && strcmp(getenv("HMMRT_MIN_SIZE"), "64K") == 0) {
            CHECK(munmap(q + 2 * PAGE, 3 * PAGE) == 0 && touch(q + 3 * PAGE, 0) == SIGSEGV && q[6 * PAGE] == 5);
        }
        free(p);
    }
}

// Catches: a mapping of another kind over managed memory that is taken for it: its contents are "moved", or a later block
// of malloc's writes to the file.
static void other_mappings_on_top(void) {
    int fd = memfd_create("maps", 0);
    CHECK(fd >= 0 && ftruncate(fd, 2 * M) == 0);
    static byte text[2 * M];
    memset(text, 'f', sizeof text);
    CHECK(pwrite(fd, text, sizeof text, 0) == (ssize_t)sizeof text);
    for (int round = 0; round < 20; round++) {
        take();
        EACH(p, seed) {
            CHECK(mmap(p + M, 2 * M, RW, MAP_SHARED | MAP_FIXED, fd, 0) == p + M);
            pass();
            CHECK(has(p, M, seed) && memcmp(p + M, text, 2 * M) == 0);
            p[M] = 'f';
            CHECK(mmap(p + 2 * M, M / 2, PROT_READ, ANON | MAP_FIXED, -1, 0) == p + 2 * M);
            pass();
            CHECK(has(p + 2 * M, M / 2, 0) && touch(p + 2 * M, 1) == SIGSEGV && p[2 * M + M / 2] == 'f');
            CHECK(mmap(p + 4 * M, M, RW, ANON | MAP_FIXED, -1, 0) == p + 4 * M && has(p + 4 * M, M, 0));
            fill(p + 4 * M, M, 9);
            pass();
            CHECK(has(p + 4 * M, M, 9));
            CHECK(mmap(p + 4 * M, M, PROT_NONE, ANON | MAP_FIXED, -1, 0) == p + 4 * M && touch(p + 4 * M, 0) == SIGSEGV);
            errno = 0; // fails as ever, and nothing is lost
            CHECK(mmap(p, M, PROT_READ, MAP_SHARED | MAP_FIXED, 12345, 0) == MAP_FAILED && errno == EBADF);
            CHECK(has(p, M, seed));
        }
        give();
        byte *again[4];
        for (int i = 0; i < 4; i++) memset(again[i] = malloc(size + PAGE), 'x', size);
        for (int i = 0; i < 4; i++) free(again[i]);
    }
    // Blocks that share a chunk, where their pages are their own.
    if (getenv("HMMRT_MIN_SIZE") != NULL && strcmp(getenv("HMMRT_MIN_SIZE"), "64K") == 0) {
        for (int round = 0; round < 20; round++) {
            byte *p = malloc(64 * PAGE), *near = malloc(64 * PAGE);
            CHECK(mmap(p + PAGE, 16 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) == p + PAGE);
            memset(near, 3, 64 * PAGE);
            pass();
            CHECK(memcmp(p + PAGE, text, 16 * PAGE) == 0);
            free(p);
            p = malloc(64 * PAGE);
            memset(p, 'x', 64 * PAGE);
            CHECK(near[17 * PAGE] == 3);
            free(p);
            free(near);
        }
    }
    CHECK(pread(fd, text, sizeof text, 0) == (ssize_t)sizeof text);
    for (size_t i = 0; i < sizeof text; i++) CHECK(text[i] == 'f');
    close(fd);
    int id = shmget(IPC_PRIVATE, M, 0600 | IPC_CREAT);
    if (id < 0) return;
    for (int round = 0; round < 20; round++) {
        take();
        EACH(p, seed) {
            CHECK(shmat(id, p + M, SHM_REMAP) == p + M);
            memset(p + M, 's' + round, M);
            for (int i = 0; i < 5; i++) pass();
            for (size_t i = 0; i < M; i += PAGE) CHECK(p[M + i] == 's' + round);
            CHECK(has(p, M, seed) && *(uint64_t *)(p + 2 * M) == seed * 0x9e3779b97f4a7c15 + 2 * M);
            byte *again = shmat(id, NULL, SHM_RDONLY);
            for (size_t i = 0; i < M; i += PAGE) CHECK(again[i] == 's' + round);
            CHECK(shmdt(again) == 0);
        }
        give();
    }
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

// Catches: contents that stay behind, or a place that is believed to be managed still.
static void moved_and_resized(void) {
    for (int round = 0; round < 40; round++) {
        take();
        EACH(p, seed) {
            CHECK(mremap(p, size, size, 0) == p && has(p, size, seed));
            byte *q = mremap(p, size, 8 * M, MREMAP_MAYMOVE);
            CHECK(q != MAP_FAILED && has(q, size, seed) && has(q + size, 8 * M - size, 0));
            fill(q, 8 * M, seed + 10);
            pass();
            CHECK(mremap(q, 8 * M, 3 * M, 0) == q && has(q, 3 * M, seed + 10) && touch(q + 3 * M, 0) == SIGSEGV);
            if (q != p && p == mapped) CHECK(touch(p, 0) == SIGSEGV);
            byte *at = map(10 * M);
            fill(at, 10 * M, 7);
            pass();
            byte *r = mremap(q, 3 * M, 5 * M, MREMAP_MAYMOVE | MREMAP_FIXED, at + M);
            CHECK(r == at + M && has(at, M, 7) && has(r, 3 * M, seed + 10) && has(r + 3 * M, 2 * M, 0));
            fill(at + M, 5 * M, 8);
            pass();
            byte *s = mremap(at + M, 5 * M, 5 * M, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
            CHECK(s != MAP_FAILED && has(s, 5 * M, 8) && has(at + M, 5 * M, 0));
            fill(at + M, 5 * M, 9);
            pass();
            CHECK(has(at + M, 5 * M, 9) && has(s, 5 * M, 8));
            // Protections go along.
            CHECK(mprotect(s + M, M, PROT_READ) == 0);
            pass();
            byte *u = mremap(s + M, M, M, MREMAP_MAYMOVE | MREMAP_FIXED, at + 8 * M);
            CHECK(u == at + 8 * M && touch(u, 1) == SIGSEGV && touch(u, 0) == 0);
            pass();
            CHECK(touch(u, 1) == SIGSEGV && touch(at + 7 * M, 1) == 0);
            CHECK(munmap(at, 10 * M) == 0 && munmap(s, 5 * M) == 0);
            if (p == block) { // into a block, and out of it
                CHECK(touch(block, 0) == SIGSEGV); // went to `q`
                CHECK(mmap(block, size, RW, ANON | MAP_FIXED, -1, 0) == block);
                byte *v = map(2 * M);
                fill(v, 2 * M, 4);
                CHECK(mremap(v, 2 * M, 2 * M, MREMAP_MAYMOVE | MREMAP_FIXED, block + M) == block + M);
                pass();
                CHECK(has(block + M, 2 * M, 4) && has(block, M, 0) && touch(v, 0) == SIGSEGV);
                CHECK(mremap(block + M, M, 2 * M, 0) == MAP_FAILED && errno == ENOMEM);
            }
        }
        free(block_of);
    }
    byte *p = map(4 * M);
    CHECK(mremap(p, M, 0, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(p + 1, M, M, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(p, M, M, MREMAP_FIXED, p + 2 * M) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(p, 2 * M, 2 * M, MREMAP_MAYMOVE | MREMAP_FIXED, p + M) == MAP_FAILED && errno == EINVAL);
    CHECK(munmap(p + M, M) == 0);
    CHECK(mremap(p, 3 * M, 5 * M, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
    CHECK(munmap(p, 4 * M) == 0);
}

// Catches: protections that a round trip loses, and errors that are not the kernel's.
static void protections(void) {
    for (int round = 0; round < 40; round++) {
        take();
        EACH(p, seed) {
            CHECK(mprotect(p + M, M, PROT_READ) == 0 && mprotect(p + 2 * M, M, PROT_NONE) == 0);
            for (int i = 0; i < 5; i++) {
                pass();
                CHECK(touch(p + M + i * PAGE, 1) == SIGSEGV && touch(p + M + i * PAGE, 0) == 0);
                CHECK(touch(p + 2 * M + i * PAGE, 0) == SIGSEGV && touch(p + 3 * M, 1) == 0);
            }
            CHECK(mprotect(p, 4 * M, RW) == 0 && has(p, size, seed));
            errno = 0;
            CHECK(mprotect(p + 5, M, RW) == -1 && errno == EINVAL);
            CHECK(mprotect(p, 0, PROT_NONE) == 0 && touch(p, 1) == 0);
        }
        CHECK(munmap(mapped + 2 * M, M) == 0);
        errno = 0;
        CHECK(mprotect(mapped, 4 * M, PROT_READ) == -1 && errno == ENOMEM);
        CHECK(touch(mapped, 1) == SIGSEGV); // up to the hole it was done
        give();
    }
}

static byte *barrier;
static volatile int barriers;
static void open_page(int number, siginfo_t *info, void *context) {
    (void)context;
    byte *page = (byte *)((uintptr_t)info->si_addr & ~(PAGE - 1));
    if (number != SIGSEGV || page < barrier || page >= barrier + size || mprotect(page, PAGE, RW) != 0) _exit(9);
    barriers++;
}

// Catches: a collector's write barrier that meets our pages: each page must fault once, and no more.
static void write_barriers(void) {
    struct sigaction mine = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO}, before;
    for (int round = 0; round < 10; round++) {
        take();
        EACH(p, seed) {
            barrier = p;
            barriers = 0;
            pass();
            CHECK(mprotect(p, size, PROT_READ) == 0);
            CHECK(sigaction(SIGSEGV, &mine, &before) == 0);
            pass();
            for (size_t i = 0; i < size; i += 7 * PAGE) p[i + 9] = 1;
            int count = barriers;
            for (size_t i = 0; i < size; i += 7 * PAGE) p[i + 9] = 2;
            CHECK(sigaction(SIGSEGV, &before, NULL) == 0);
            CHECK(count == (int)((size + 7 * PAGE - 1) / (7 * PAGE)) && barriers == count);
            for (size_t i = 0; i < size; i += PAGE) CHECK(*(uint64_t *)(p + i) == seed * 0x9e3779b97f4a7c15 + i);
            CHECK(mprotect(p, size, RW) == 0);
        }
        give();
    }
}

// Catches: code that is moved and comes back without being code.
static void code(void) {
#ifdef __x86_64__
    static const byte text[] = {0x8d, 0x47, 0x07, 0xc3}; // lea eax, [rdi + 7]; ret
    for (int round = 0; round < 20; round++) {
        take();
        EACH(p, seed) {
            memcpy(p + M, text, sizeof text);
            CHECK(mprotect(p + M, PAGE, PROT_READ | PROT_EXEC) == 0);
            for (int i = 0; i < 5; i++) {
                pass();
                CHECK(((int (*)(int))(void *)(p + M))(i) == i + 7);
            }
            CHECK(mprotect(p + M, PAGE, RW) == 0);
            p[M] = 1;
            CHECK(has(p, M, seed));
        }
        give();
    }
#endif
}

// Catches: contents that come back from a device after they were given up, and advice that ends up on the wrong memory.
static void advice(void) {
    for (int round = 0; round < 40; round++) {
        take();
        EACH(p, seed) {
            CHECK(madvise(p + M, M, MADV_DONTNEED) == 0 && has(p + M, M, 0) && has(p, M, seed));
            fill(p + M, M, 5);
            pass();
            CHECK(has(p + M, M, 5));
            CHECK(madvise(p + M, M, MADV_FREE) == 0);
            pass();
            CHECK(has(p + M, PAGE, 0) || has(p + M, PAGE, 5));
            fill(p + M, M, 6);
            pass();
            CHECK(has(p + M, M, 6)); // written since: not free any more
            CHECK(mprotect(p + M, PAGE, PROT_READ) == 0);
            pass();
            CHECK(madvise(p + M, M, MADV_DONTNEED) == 0 && has(p + M, M, 0) && touch(p + M, 1) == SIGSEGV);
            errno = 0;
            CHECK(madvise(p, M, MADV_REMOVE) == -1 && errno == EINVAL && has(p, M, seed));
            const int harmless[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTDUMP, MADV_DODUMP,
                                    MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_PAGEOUT, 22 /* POPULATE_READ */};
            for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
                errno = 0;
                CHECK(madvise(p, M, harmless[i]) == 0 || errno == EINVAL);
                CHECK(has(p, M, seed));
            }
            CHECK(madvise(p, M, MADV_POPULATE_WRITE) == 0 || errno == EINVAL);
            CHECK(posix_madvise(p, M, POSIX_MADV_WILLNEED) == 0 && posix_madvise(p, M, POSIX_MADV_DONTNEED) == 0);
            (void)madvise(p, 2 * M, 25 /* COLLAPSE */);
            CHECK(has(p, M, seed));
            errno = 0;
            CHECK(madvise(p + 1, M, MADV_DONTNEED) == -1 && errno == EINVAL);
            int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
            struct iovec part = {p + 4 * M, M};
            if (self >= 0 && process_madvise(self, &part, 1, MADV_DONTNEED, 0) == (ssize_t)M) { // Linux 6.13
                CHECK(has(p + 4 * M, M, 0));
            }
            close(self);
            errno = 0;
            CHECK(madvise(p, M, 4711) == -1 && errno == EINVAL && has(p, M, seed));
        }
        CHECK(munmap(mapped + 2 * M, M) == 0);
        errno = 0;
        CHECK(madvise(mapped + M, 3 * M, MADV_DONTNEED) == -1 && errno == ENOMEM);
        CHECK(has(mapped + 3 * M, M, 0)); // behind the hole it was done, too
        give();
        // Guards are refused in blocks, as by an older kernel; in a mapping they are what they are.
        take();
        if (madvise(mapped, PAGE, 102 /* GUARD_INSTALL */) == 0) {
            pass();
            CHECK(touch(mapped, 0) == SIGSEGV && madvise(mapped, PAGE, 103) == 0 && has(mapped, PAGE, 0));
        }
        give();
    }
}

// Catches: a child that sees what it should not, or misses what it should see.
static void forks_and_advice(void) {
    for (int round = 0; round < 10; round++) {
        take();
        EACH(p, seed) {
            CHECK(madvise(p + M, M, MADV_WIPEONFORK) == 0 && madvise(p + 2 * M, M, MADV_DONTFORK) == 0);
            pass();
            IN_CHILD({
                CHECK(has(p, M, seed) && has(p + M, M, 0) && touch(p + 2 * M, 0) != 0);
                CHECK(*(uint64_t *)(p + 3 * M) == seed * 0x9e3779b97f4a7c15 + 3 * M);
            });
            CHECK(has(p, size, seed));
        }
        give();
    }
}

// Catches: locked memory that leaves.
static void locked(void) {
    static byte there[2048];
    for (int round = 0; round < 5; round++) {
        take();
        EACH(p, seed) {
            if (mlock(p + 100, 2 * M) != 0) continue; // not allowed here
            CHECK(mlock(p + M, 3 * M) == 0 && munlock(p + 2 * M, M) == 0);
            for (int i = 0; i < 20; i++) {
                pass();
                CHECK(mincore(p, 4 * M, there) == 0);
                CHECK(memchr(there, 0, 512) == NULL && memchr(there + 768, 0, 256) == NULL);
            }
            CHECK(has(p, size, seed));
            CHECK(munlock(p, size) == 0 && has(p, size, seed));
            CHECK(mlock(p, 2 * M) == 0); // and unmapped, or freed, as it is
        }
        give();
    }
    if (mlockall(MCL_CURRENT) == 0) {
        take();
        CHECK(has(mapped, size, 1));
        CHECK(munlockall() == 0);
        give();
        take();
        give();
    }
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "mmap") == 0) { // nothing else: does it move?
        byte *p = map(32 * M);
        for (int i = 0; i < 100; i++) {
            fill(p, 32 * M, i + 1);
            pass();
            CHECK(has(p, 32 * M, i + 1));
        }
        CHECK(munmap(p, 32 * M) == 0);
        const char *least = getenv("HMMRT_MIN_SIZE");
        if (least == NULL || *least == '\0') mappings_do_move();
        return 0;
    }
    own_mappings();
    catch_faults();
    PART(new_mappings_are_zero);
    PART(mappings_do_move);
    PART(a_part_is_unmapped);
    PART(other_mappings_on_top);
    PART(moved_and_resized);
    PART(protections);
    PART(write_barriers);
    PART(code);
    PART(advice);
    PART(forks_and_advice);
    PART(locked);
    return 0;
}
