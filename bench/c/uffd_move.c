// Does UFFDIO_MOVE say how far it came? Not on Linux 6.18, where the kernel moves the same pages meanwhile (compaction):
// pages are in place that it did not count, and it goes on with EEXIST. The runtime looks for them (runtime/src/uffd/mod.rs,
// `place`); this shows it without the runtime.
//
//     gcc -O2 -pthread bench/c/uffd_move.c -o uffd_move && sudo ./uffd_move [SECONDS]
//
// Ends with 1 if it has seen one. Only root can have the kernel compact memory.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef UFFDIO_MOVE // Linux 6.8
struct uffdio_move {
    __u64 dst, src, len, mode;
    __s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 5, struct uffdio_move)
#endif
#define FEATURE_MOVE (1 << 16)

enum { PAGE = 4096, LEN = 2 << 20, THREADS = 2 };

static int pagemap;

static int is_hole(const char *page) {
    uint64_t entry = 0;
    if (pread(pagemap, &entry, 8, (uintptr_t)page / PAGE * 8) != 8) {
        perror("pagemap");
        exit(2);
    }
    return entry >> 62 == 0;
}

static void *compact(void *unused) {
    (void)unused;
    for (;;) {
        int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);
        if (fd < 0 || write(fd, "1", 1) != 1) {
            perror("compact_memory");
            exit(2);
        }
        close(fd);
    }
}

static char *map(void) {
    char *at = mmap(NULL, 2 * LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    at = (char *)(((uintptr_t)at + LEN - 1) & ~(uintptr_t)(LEN - 1));
    madvise(at, LEN, MADV_NOHUGEPAGE);
    return at;
}

int main(int argc, char **argv) {
    int seconds = argc > 1 ? atoi(argv[1]) : 10;
    pagemap = open("/proc/self/pagemap", O_RDONLY);
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
    struct uffdio_api api = {.api = UFFD_API, .features = FEATURE_MOVE};
    char *to = map(), *from = map();
    struct uffdio_register all = {
        .range = {(uintptr_t)to, LEN},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &all)) {
        perror("userfaultfd");
        return 2;
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, compact, NULL)) return 2;
    }

    long rounds = 0, hidden = 0;
    for (time_t end = time(NULL) + seconds; time(NULL) < end; rounds++) {
        memset(from, 1 + (int)(rounds % 200), LEN);
        for (size_t done = 0; done < LEN;) {
            struct uffdio_move move = {
                .dst = (uintptr_t)to + done, .src = (uintptr_t)from + done, .len = LEN - done};
            if (!ioctl(fd, UFFDIO_MOVE, &move)) break;
            int error = errno;
            if (move.move > 0) done += (size_t)move.move;
            if (error == EAGAIN) continue;
            size_t first = done;
            while (done < LEN && is_hole(from + done) && !is_hole(to + done)) done += PAGE;
            if (done == first) {
                printf("refused, and nothing had moved: %s\n", strerror(error));
                break;
            }
            if (!hidden++)
                printf("%s after %zu pages: %zu more are in place\n", strerror(error), first / PAGE,
                       (done - first) / PAGE);
        }
        for (size_t i = 0; i < LEN; i += PAGE)
            if (is_hole(to + i) || to[i] != (char)(1 + rounds % 200)) printf("page %zu is not what was moved\n", i / PAGE);
        madvise(to, LEN, MADV_DONTNEED);
        madvise(from, LEN, MADV_DONTNEED);
    }
    printf("%ld moves of %d pages; %ld times more had moved than was said\n", rounds, LEN / PAGE, hidden);
    return hidden != 0;
}
