// Operations that go on after the call that began them, with memory that is on a device: POSIX's, the kernel's own, and
// io_uring's through syscall(2). Without the library each ends with EFAULT. Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <aio.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "away.h"

enum { ROUNDS = 5, BIG = 1 << 20, PART_SIZE = BIG / 4 };
static char *one, *two;
static int fd;

static void posix(void) {
    struct aiocb *block = malloc(1 << 16), *more = block + 1;
    for (int round = 0; round < ROUNDS; round++) {
        memset(block, 0, 1 << 16);
        fill(one, BIG, round);
        *block = (struct aiocb){.aio_fildes = fd, .aio_buf = one, .aio_nbytes = BIG};
        AWAY(one);
        CHECK(aio_write(AWAY(block)) == 0);
        while (aio_error(block) == EINPROGRESS) usleep(100);
        CHECK(aio_error(block) == 0 && aio_return(block) == BIG);
        *block = (struct aiocb){.aio_fildes = fd, .aio_buf = two, .aio_nbytes = BIG};
        memset(two, 0, BIG);
        AWAY(two);
        CHECK(aio_read(AWAY(block)) == 0);
        const struct aiocb *list[1] = {block};
        CHECK(aio_suspend(list, 1, NULL) == 0 && aio_return(block) == BIG);
        expect(two, BIG, round);
        // Two at once.
        memset(two, 0, BIG);
        for (int i = 0; i < 2; i++)
            more[i] = (struct aiocb){.aio_fildes = fd, .aio_buf = two + i * BIG / 2, .aio_nbytes = BIG / 2, .aio_offset = i * BIG / 2, .aio_lio_opcode = LIO_READ};
        struct aiocb *both[3] = {more, NULL, more + 1};
        AWAY(two), AWAY(block);
        CHECK(lio_listio(LIO_WAIT, both, 3, NULL) == 0);
        CHECK(aio_return(more) == BIG / 2 && aio_return(more + 1) == BIG / 2);
        expect(two, BIG, round);
        // The control block is used by a thread that has all signals blocked.
        CHECK(aio_fsync(O_SYNC, AWAY(block)) == 0);
        while (aio_error(block) == EINPROGRESS) usleep(100);
        CHECK(aio_return(block) == 0);
        AWAY(block), AWAY(two), AWAY(one); // nothing is held
    }
    free(block);
}

static struct aiocb in_handler;
static volatile sig_atomic_t is_under_way;

static void on_tick(int signal) {
    (void)signal;
    int saved = errno;
    if (is_under_way && aio_error(&in_handler) != EINPROGRESS) {
        if (aio_return(&in_handler) != 100) _exit(99);
        is_under_way = 0;
    }
    errno = saved;
}

// aio_return may be called by handlers, which may have interrupted the allocator anywhere.
static void in_handlers(void) {
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    void *blocks[64] = {NULL};
    fill(one, BIG, 7);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int round = 0; round < 200; round++) {
        in_handler = (struct aiocb){.aio_fildes = fd, .aio_buf = one, .aio_nbytes = 100};
        CHECK(aio_write(&in_handler) == 0);
        is_under_way = 1;
        for (unsigned i = 0; is_under_way; i++) {
            free(blocks[i % 64]);
            blocks[i % 64] = malloc(1500 + i * 37 % 9000);
        }
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    for (int i = 0; i < 64; i++) free(blocks[i]);
    AWAY(one); // nothing is held
}

static void kernels(void) {
    aio_context_t context = 0;
    CHECK(syscall(SYS_io_setup, 8, &context) == 0);
    struct iocb *blocks = malloc(1 << 16), **list = (struct iocb **)((char *)blocks + 4096);
    struct io_event *events = (struct io_event *)((char *)blocks + 8192);
    struct iovec *iov = (struct iovec *)((char *)blocks + 12288);
    for (int round = 0; round < ROUNDS; round++) {
        memset(blocks, 0, 1 << 16);
        fill(one, BIG, round);
        CHECK(pwrite(fd, one, BIG, 0) == BIG);
        memset(two, 0, BIG);
        for (int i = 0; i < 4; i++) {
            blocks[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)two + i * PART_SIZE, .aio_nbytes = PART_SIZE, .aio_offset = i * PART_SIZE};
            list[i] = &blocks[i];
        }
        iov[0] = (struct iovec){two + 3 * PART_SIZE, 1000};
        iov[1] = (struct iovec){two + 3 * PART_SIZE + 1000, PART_SIZE - 1000};
        blocks[3].aio_lio_opcode = IOCB_CMD_PREADV;
        blocks[3].aio_buf = (uintptr_t)iov;
        blocks[3].aio_nbytes = 2;
        AWAY(two), AWAY(iov), AWAY(list);
        CHECK(syscall(SYS_io_submit, context, 4, list) == 4);
        for (int got = 0; got < 4;) {
            long number = round % 2 ? SYS_io_pgetevents : SYS_io_getevents;
            long n = syscall(number, context, 1, 4, AWAY(events), NULL, NULL);
            CHECK(n > 0);
            for (int i = 0; i < n; i++) CHECK(events[i].res == PART_SIZE);
            got += n;
        }
        expect(two, BIG, round);
        AWAY(two), AWAY(blocks);
        // What is not taken uses nothing: the second, and then all.
        for (int taken = 1; taken >= 0; taken--) {
            blocks[0] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)one, .aio_nbytes = 8};
            blocks[1] = (struct iocb){.aio_lio_opcode = 99, .aio_fildes = fd, .aio_buf = (uintptr_t)two, .aio_nbytes = BIG};
            list[0] = &blocks[!taken];
            list[1] = &blocks[1];
            CHECK(syscall(SYS_io_submit, context, 2, list) == (taken ? 1 : -1) && (taken || errno == EINVAL));
            if (taken) CHECK(syscall(SYS_io_getevents, context, 1, 1, events, NULL) == 1);
            AWAY(two), AWAY(blocks);
        }
    }
    CHECK(syscall(SYS_io_destroy, context) == 0);
    free(blocks);
}

static void ring(void) {
    struct io_uring_params p = {0};
    int r = syscall(SYS_io_uring_setup, 8, &p);
    CHECK(r >= 0 || errno == ENOSYS || errno == EPERM);
    if (r < 0) LEFT_OUT("no io_uring here");
    char *sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_CQ_RING);
    struct io_uring_sqe *sqes = mmap(NULL, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, r, IORING_OFF_SQES);
    CHECK(sq != MAP_FAILED && cq != MAP_FAILED && sqes != MAP_FAILED);
    unsigned *tail = (unsigned *)(sq + p.sq_off.tail), mask = *(unsigned *)(sq + p.sq_off.ring_mask), *array = (unsigned *)(sq + p.sq_off.array);
    unsigned *chead = (unsigned *)(cq + p.cq_off.head), *ctail = (unsigned *)(cq + p.cq_off.tail), cmask = *(unsigned *)(cq + p.cq_off.ring_mask);
    struct io_uring_cqe *cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    struct iovec *iov = malloc(1 << 16);
    int pipe_fd[2];
    CHECK(pipe(pipe_fd) == 0);
    for (int round = 0; round < ROUNDS * 2; round++) {
        fill(one, BIG, round);
        CHECK(pwrite(fd, one, BIG, 0) == BIG);
        memset(two, 0, BIG);
        iov[0] = (struct iovec){two + PART_SIZE, PART_SIZE};
        for (int i = 0; i < 4; i++) {
            unsigned at = *tail & mask;
            struct io_uring_sqe *s = &sqes[at];
            memset(s, 0, sizeof *s);
            *s = (struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fd, .addr = (uintptr_t)two + i * PART_SIZE, .len = PART_SIZE, .off = i * PART_SIZE, .user_data = i};
            if (i == 1) s->opcode = IORING_OP_READV, s->addr = (uintptr_t)iov, s->len = 1;
            if (i == 3) s->fd = pipe_fd[0], s->len = 5, s->off = -1; // waits
            array[at] = at;
            __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
        }
        AWAY(two), AWAY(iov);
        CHECK(syscall(SYS_io_uring_enter, r, 4, 3, IORING_ENTER_GETEVENTS, NULL, 0) == 4);
        usleep(5000); // whoever may takes what is not held
        CHECK(write(pipe_fd[1], "later", 5) == 5);
        if (round % 2) CHECK(syscall(SYS_io_uring_enter, r, 0, 4, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
        while (__atomic_load_n(ctail, __ATOMIC_ACQUIRE) - *chead < 4) usleep(100);
        for (int i = 0; i < 4; i++, __atomic_store_n(chead, *chead + 1, __ATOMIC_RELEASE)) {
            struct io_uring_cqe *c = &cqes[*chead & cmask];
            CHECK(c->res == (c->user_data == 3 ? 5 : PART_SIZE));
        }
        expect(two, 3 * PART_SIZE, round);
        CHECK(memcmp(two + 3 * PART_SIZE, "later", 5) == 0);
        // All is over; the next time the ring is entered it is let go.
        CHECK(syscall(SYS_io_uring_enter, r, 0, 0, 0, NULL, 0) == 0);
        AWAY(two), AWAY(iov);
    }
    // What could not be seen is refused.
    struct io_uring_params q = {.flags = IORING_SETUP_SQPOLL};
    CHECK(syscall(SYS_io_uring_setup, 8, &q) == -1 && errno == EPERM);
    // Memory that is registered stays.
    iov[0] = (struct iovec){two, BIG};
    AWAY(two);
    CHECK(syscall(SYS_io_uring_register, r, IORING_REGISTER_BUFFERS, AWAY(iov), 1) == 0);
    for (int i = 0; i < 50; i++, usleep(1000)) CHECK(bare_access(two) != -EFAULT);
    close(r);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    free(iov);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    char name[300];
    snprintf(name, sizeof name, "%s/data", argv[1]);
    fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    one = malloc(BIG);
    two = malloc(BIG);
    PART(posix);
    PART(in_handlers);
    PART(kernels);
    PART(ring);
    CHECK(waits > 50);
    return 0;
}
