// Many ranges at once, and ranges of which only a part is managed: more messages than sendmmsg(2) takes, buffers that begin or end
// outside, and calls that wait while others are made, with thousands of buffers together. What is not held is EFAULT. Runs with
// HMMRT_CHAOS=1 and HMMRT_ADOPT_MMAP=1.

#define _GNU_SOURCE
#include <aio.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "away.h"

enum { ROUNDS = 5, PAGE = 4096, CHUNK = 2 << 20, MESSAGES = 1500, WAITING = 6, BUFFERS = 1024 };
static char *big;

static void messages(void) {
    int s[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
    struct mmsghdr *m = calloc(MESSAGES, sizeof *m);
    struct iovec *iov = calloc(MESSAGES, sizeof *iov);
    for (int i = 0; i < MESSAGES; i++) {
        iov[i] = (struct iovec){big + i, 1};
        m[i].msg_hdr = (struct msghdr){.msg_iov = iov + i, .msg_iovlen = 1};
    }
    for (int round = 0; round < ROUNDS; round++) {
        fill(big, MESSAGES, round);
        AWAY(big);
        int sent = sendmmsg(s[0], m, MESSAGES, MSG_DONTWAIT);
        CHECK(sent > 0);
        memset(big, 0, MESSAGES);
        AWAY(big), AWAY(m);
        CHECK(recvmmsg(s[1], m, MESSAGES, MSG_DONTWAIT, NULL) == sent);
        expect(big, sent, round);
    }
    close(s[0]), close(s[1]);
    free(m), free(iov);
}

// A small mapping of the program's own directly before and behind one that is managed.
static void partly(void) {
    int s[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) == 0);
    int access = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS;
    char *all = mmap(NULL, 3 * CHUNK, PROT_NONE, kind | MAP_NORESERVE, -1, 0);
    CHECK(all != MAP_FAILED);
    char *first = all + CHUNK / 2, *middle = first + 2 * PAGE, *last = middle + 8 * PAGE;
    CHECK(mmap(first, 2 * PAGE, access, kind | MAP_FIXED, -1, 0) == first);
    CHECK(mmap(middle, 8 * PAGE, access, kind | MAP_FIXED, -1, 0) == middle);
    CHECK(mmap(last, 2 * PAGE, access, kind | MAP_FIXED, -1, 0) == last);
    for (int round = 0; round < ROUNDS; round++) {
        // Over its beginning, over its end, and over all of it.
        char *at[3] = {first + 100, last - PAGE, first + 100};
        ssize_t len[3] = {3 * PAGE, 2 * PAGE, 11 * PAGE};
        for (int i = 0; i < 3; i++) {
            fill(at[i], len[i], round + i);
            AWAY(i == 1 ? last - 1 : middle);
            CHECK(send(s[0], at[i], len[i], 0) == len[i]);
            memset(at[i], 0, len[i]);
            AWAY(i == 1 ? last - 1 : middle);
            CHECK(recv(s[1], at[i], len[i], 0) == len[i]);
            expect(at[i], len[i], round + i);
        }
    }
    close(s[0]), close(s[1]);
    munmap(all, 3 * CHUNK);
}

static int empty[2];
static char *waiting;
static void *waits_for_much(void *first) {
    struct iovec iov[BUFFERS];
    for (int i = 0; i < BUFFERS; i++) iov[i] = (struct iovec){(char *)first + (size_t)i * 2 * PAGE, 16};
    CHECK(readv(empty[0], iov, BUFFERS) == 0);
    return NULL;
}

static void many(void) {
    pthread_t t[WAITING];
    CHECK(pipe(empty) == 0);
    waiting = aligned_alloc(PAGE, BUFFERS * 2 * PAGE);
    memset(waiting, 0, BUFFERS * 2 * PAGE);
    for (int i = 0; i < WAITING; i++) CHECK(pthread_create(&t[i], NULL, waits_for_much, waiting) == 0);
    usleep(200000);
    int p[2];
    CHECK(pipe(p) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        fill(big, PAGE, round);
        AWAY(big);
        CHECK(write(p[1], big, PAGE) == PAGE);
        memset(big, 0, PAGE);
        AWAY(big);
        CHECK(read(p[0], big, PAGE) == PAGE);
        expect(big, PAGE, round);
    }
    close(empty[1]);
    for (int i = 0; i < WAITING; i++) CHECK(pthread_join(t[i], NULL) == 0);
    AWAY(waiting); // nothing is held
    free(waiting);
    close(empty[0]), close(p[0]), close(p[1]);
}

// What goes on after its call, with a mapping.
static void adopted(void) {
    FILE *f = tmpfile();
    CHECK(f != NULL);
    char *p = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    for (int round = 0; round < ROUNDS; round++) {
        fill(p, CHUNK, round);
        struct aiocb block = {.aio_fildes = fileno(f), .aio_buf = p, .aio_nbytes = CHUNK};
        AWAY(p);
        CHECK(aio_write(&block) == 0);
        while (aio_error(&block) == EINPROGRESS) usleep(100);
        CHECK(aio_error(&block) == 0 && aio_return(&block) == CHUNK);
        AWAY(p); // nothing is pinned any more
    }
    munmap(p, CHUNK);
    fclose(f);
}

int main(void) {
    big = aligned_alloc(PAGE, 1 << 20);
    PART(messages);
    PART(partly);
    PART(many);
    PART(adopted);
    return 0;
}
