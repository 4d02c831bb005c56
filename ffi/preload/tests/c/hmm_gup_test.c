// The kernel itself touches pages that are on a device: the row hmm_gup_test of docs/CONFORMANCE.md, through the wrappers.
// Runs with HMMRT_CHAOS=1 and a small HMMRT_MIN_SIZE, with every fault engine: that a page is away is asked of the page map,
// because with a thread that serves faults the kernel's accesses succeed. The argument says what a call that passes by the
// wrappers does: "efault" or "works"; the second is a folder.

#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "away.h"

enum { ROUNDS = 2, PAGE = 4096, SIZE = 64 << 10 };
static char *one, *two; // each of SIZE bytes
static int fd;          // a file of SIZE bytes
static int raw_works;
static const char *folder;

// Whether the first page of a buffer, which has been written, is not in the host's memory.
static int is_gone(const void *p) {
    uint64_t entry = 0;
    int map = open("/proc/self/pagemap", O_RDONLY);
    CHECK(map >= 0 && pread(map, &entry, 8, (uintptr_t)p / PAGE * 8) == 8);
    close(map);
    return !(entry >> 63) && !(entry >> 62 & 1);
}
static void *gone_at(void *p, int line) {
    double end = now() + 120;
    while (!is_gone(p)) {
        if (now() > end) {
            fprintf(stderr, "%s:%d: the memory does not leave: is HMMRT_CHAOS=1 set?\n", __FILE__, line);
            _exit(1);
        }
        usleep(20);
    }
    return p;
}
#define GONE(p) ((__typeof__(p))gone_at((void *)(p), __LINE__))

// The file holds the pattern of `seed`; the buffer holds something else.
static void prepare(int seed) {
    fill(two, SIZE, seed);
    CHECK(pwrite(fd, two, SIZE, 0) == SIZE && lseek(fd, 0, SEEK_SET) == 0);
    fill(one, SIZE, seed + 100);
}
static void file_holds(int seed) {
    memset(two, 0, SIZE);
    CHECK(pread(fd, two, SIZE, 0) == SIZE);
    expect(two, SIZE, seed);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
}

static void reads(void) {
    for (int round = 0; round < ROUNDS; round++) {
        struct iovec v = {one, SIZE};
        prepare(round);
        CHECK(read(fd, GONE(one), SIZE) == SIZE);
        expect(one, SIZE, round);
        prepare(round + 1);
        CHECK(pread(fd, GONE(one), SIZE, 0) == SIZE);
        expect(one, SIZE, round + 1);
        prepare(round + 2);
        GONE(one);
        CHECK(readv(fd, &v, 1) == SIZE);
        expect(one, SIZE, round + 2);
    }
}

static void writes(void) {
    for (int round = 0; round < ROUNDS; round++) {
        struct iovec v = {one, SIZE};
        prepare(round);
        CHECK(write(fd, GONE(one), SIZE) == SIZE);
        file_holds(round + 100);
        prepare(round + 1);
        CHECK(pwrite(fd, GONE(one), SIZE, 0) == SIZE);
        file_holds(round + 101);
        prepare(round + 2);
        GONE(one);
        CHECK(writev(fd, &v, 1) == SIZE);
        file_holds(round + 102);
    }
}

static void direct(void) {
    char name[300];
    snprintf(name, sizeof name, "%s/XXXXXX", folder);
    int made = mkstemp(name), disk = open(name, O_RDWR | O_DIRECT);
    unlink(name);
    close(made);
    if (disk < 0) LEFT_OUT("no O_DIRECT on this file system");
    // Blocks of the library begin at a page.
    for (int round = 0; round < ROUNDS; round++) {
        fill(one, SIZE, round);
        CHECK(pwrite(disk, GONE(one), SIZE, 0) == SIZE);
        memset(one, 1, SIZE);
        CHECK(pread(disk, GONE(one), SIZE, 0) == SIZE);
        expect(one, SIZE, round);
    }
    close(disk);
}

static void messages(void) {
    enum { PART = SIZE };
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct iovec from = {one, PART}, to = {two, PART};
        struct msghdr out = {.msg_iov = &from, .msg_iovlen = 1}, in = {.msg_iov = &to, .msg_iovlen = 1};
        fill(one, PART, round);
        memset(two, 1, PART);
        GONE(one);
        CHECK(sendmsg(ends[0], &out, 0) == PART);
        GONE(two);
        CHECK(recvmsg(ends[1], &in, 0) == PART);
        expect(two, PART, round);
    }
    close(ends[0]);
    close(ends[1]);
}

static void other_process(void) {
    for (int round = 0; round < ROUNDS; round++) {
        struct iovec to = {one, SIZE}, from = {two, SIZE};
        fill(two, SIZE, round);
        memset(one, 1, SIZE);
        GONE(one), GONE(two);
        CHECK(process_vm_readv(getpid(), &to, 1, &from, 1, 0) == SIZE);
        expect(one, SIZE, round);
    }
}

static void streams(void) {
    FILE *file = fdopen(dup(fd), "r+");
    CHECK(file != NULL && setvbuf(file, NULL, _IONBF, 0) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        prepare(round);
        rewind(file);
        CHECK(fread(GONE(one), 1, SIZE, file) == SIZE);
        expect(one, SIZE, round);
        fill(one, SIZE, round + 50);
        rewind(file);
        CHECK(fwrite(GONE(one), 1, SIZE, file) == SIZE && fflush(file) == 0);
        file_holds(round + 50);
    }
    fclose(file);
}

static void ring(void) {
    struct io_uring_params p = {0};
    int r = syscall(SYS_io_uring_setup, 1, &p);
    CHECK(r >= 0 || errno == ENOSYS || errno == EPERM);
    if (r < 0) LEFT_OUT("no io_uring here");
    char *sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_CQ_RING);
    struct io_uring_sqe *sqe = mmap(NULL, sizeof *sqe, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQES);
    CHECK(sq != MAP_FAILED && cq != MAP_FAILED && (void *)sqe != MAP_FAILED);
    unsigned *tail = (unsigned *)(sq + p.sq_off.tail), *array = (unsigned *)(sq + p.sq_off.array);
    unsigned *chead = (unsigned *)(cq + p.cq_off.head), cmask = *(unsigned *)(cq + p.cq_off.ring_mask);
    struct io_uring_cqe *cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    for (int round = 0; round < 2 * ROUNDS; round++) {
        int reads = round % 2;
        prepare(round);
        *sqe = (struct io_uring_sqe){.opcode = reads ? IORING_OP_READ : IORING_OP_WRITE, .fd = fd, .addr = (uintptr_t)one, .len = SIZE};
        array[0] = 0;
        __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
        GONE(one);
        CHECK(syscall(SYS_io_uring_enter, r, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
        CHECK(cqes[*chead & cmask].res == SIZE);
        __atomic_store_n(chead, *chead + 1, __ATOMIC_RELEASE);
        if (reads)
            expect(one, SIZE, round);
        else
            file_holds(round + 100);
    }
    close(r);
}

// pread64(2) without the C library: the answer, or the error's number below zero.
static long bare_pread(int file, void *p, size_t n) {
#if defined __x86_64__
    register long r10 __asm__("r10") = 0;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_pread64), "D"((long)file), "S"(p), "d"(n), "r"(r10) : "rcx", "r11", "memory");
    return r;
#else
    register long x8 __asm__("x8") = SYS_pread64, x0 __asm__("x0") = file, x2 __asm__("x2") = (long)n, x3 __asm__("x3") = 0;
    register void *x1 __asm__("x1") = p;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#endif
}

// A call that the wrappers do not see: EFAULT, as the documents say, or it works. It can come too late for either.
static void past_the_wrappers(void) {
    int failed = 0;
    double end = now() + 120;
    for (int round = 0; raw_works ? round < 30 : failed < 5; round++) {
        CHECK(now() < end);
        prepare(round);
        long got = bare_pread(fd, GONE(one), SIZE);
        if (got == SIZE) {
            expect(one, SIZE, round);
            continue;
        }
        CHECK(!raw_works && (got == -EFAULT || (got > 0 && got < SIZE)));
        failed += got == -EFAULT;
        if (got == -EFAULT) expect(one, SIZE, round + 100); // nothing is lost
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    folder = argv[2];
    raw_works = strcmp(argv[1], "works") == 0;
    alarm(600);
    one = malloc(SIZE);
    two = malloc(SIZE);
    fd = memfd_create("hmm", 0);
    CHECK(one != NULL && two != NULL && fd >= 0);
    PART(reads);
    PART(writes);
    PART(direct);
    PART(messages);
    PART(other_process);
    PART(streams);
    PART(ring);
    PART(past_the_wrappers);
    free(one);
    free(two);
    return 0;
}
