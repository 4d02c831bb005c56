// Calls that leave the program's pages with the kernel, which go to a device before they are read there: vmsplice(2) into a pipe, and
// sends with MSG_ZEROCOPY. Without copies the kernel reads what came to those pages after. Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "away.h"

enum { ROUNDS = 6, AT_ONCE = 12, ROOM = 1 << 20, PAGE = 4096, SLOT = 1 << 16, BIG = 2 << 20, SLOTS = BIG / SLOT };
static char *one, *other, got[BIG];

// Pages that leave are used for something else.
static void churn(char *p) {
    for (int i = 0; i < 3; i++) {
        AWAY(p);
        for (int k = 0; k < BIG; k += PAGE) other[k]++;
        usleep(500);
    }
}

static void spliced(void) {
    int p[2];
    CHECK(pipe(p) == 0 && fcntl(p[0], F_SETPIPE_SZ, ROOM) >= ROOM);
    struct iovec *iov = aligned_alloc(PAGE, 4 * PAGE);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < AT_ONCE; i++) {
            char *at = one + i * 2 * SLOT;
            fill(at, SLOT, round + i);
            iov[0] = (struct iovec){at + 100, SLOT - 200};
            iov[1] = (struct iovec){"end", 3};
            if (round % 3 == 0) AWAY(at), AWAY(iov);
            long n = i % 2 ? syscall(SYS_vmsplice, p[1], iov, 2, 0) : vmsplice(p[1], iov, 2, 0);
            CHECK(n == SLOT - 197);
        }
        for (int i = 0; i < AT_ONCE; i++) churn(one + i * 2 * SLOT);
        for (int i = 0; i < AT_ONCE; i++) {
            for (ssize_t done = 0, m; done < SLOT - 197; done += m)
                CHECK((m = read(p[0], got + done, SLOT - 197 - done)) > 0);
            char *at = one + i * 2 * SLOT;
            expect(at, SLOT, round + i);
            CHECK(memcmp(got, at + 100, SLOT - 200) == 0 && memcmp(got + SLOT - 200, "end", 3) == 0);
        }
    }
    // No more than there is room for, and no waiting for more.
    iov[0] = (struct iovec){one, BIG};
    ssize_t n = vmsplice(p[1], iov, 1, SPLICE_F_NONBLOCK);
    CHECK(n > 0 && n <= ROOM);
    while (vmsplice(p[1], iov, 1, SPLICE_F_NONBLOCK) > 0) {}
    CHECK(errno == EAGAIN);
    // The other end's are the program's own pages.
    fill(one, BIG, 77);
    CHECK(read(p[0], got, PAGE) > 0);
    iov[0] = (struct iovec){AWAY(other), PAGE};
    CHECK(vmsplice(p[0], iov, 1, 0) > 0);
    CHECK(vmsplice(-1, iov, 1, 0) == -1 && errno == EBADF);
    CHECK(close(p[0]) == 0 && close(p[1]) == 0);
    free(iov);
}

static void zero_copy(void) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    int s = socket(AF_INET, SOCK_STREAM, 0), a = socket(AF_INET, SOCK_STREAM, 0), yes = 1, room = BIG;
    CHECK(bind(s, (struct sockaddr *)&name, sizeof name) == 0 && listen(s, 1) == 0);
    CHECK(getsockname(s, (struct sockaddr *)&name, &len) == 0);
    CHECK(connect(a, (struct sockaddr *)&name, sizeof name) == 0);
    int b = accept(s, NULL, NULL);
    if (setsockopt(a, SOL_SOCKET, SO_ZEROCOPY, &yes, sizeof yes) != 0) LEFT_OUT("no SO_ZEROCOPY here");
    CHECK(b >= 0 && setsockopt(a, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    struct mmsghdr *m = aligned_alloc(PAGE, 4 * PAGE);
    struct iovec *iov = (struct iovec *)((char *)m + 1024);
    for (int round = 0; round < 3; round++) {
        // More than the other end takes stays here, in the pages that were given.
        size_t sent = 0, n = SLOT;
        for (int i = 0;; i++) {
            char *at = one + i % SLOTS * SLOT;
            if (i < SLOTS) fill(at, SLOT, i);
            memset(m, 0, PAGE);
            iov[0] = (struct iovec){at, n};
            m->msg_hdr.msg_iov = iov;
            m->msg_hdr.msg_iovlen = 1;
            AWAY(at), AWAY(m);
            int flags = MSG_ZEROCOPY | MSG_DONTWAIT, how = (i + round) % 4;
            ssize_t r;
            if (how == 0) r = send(a, at, n, flags);
            else if (how == 1) r = sendto(a, at, n, flags, NULL, 0);
            else if (how == 2) r = sendmsg(a, &m->msg_hdr, flags);
            else if ((r = sendmmsg(a, m, 1, flags)) == 1) r = m->msg_len;
            CHECK(r > 0 || errno == EAGAIN || errno == ENOBUFS);
            if (r > 0) sent += r;
            if (r != (ssize_t)n) break;
        }
        CHECK(sent > 0);
        for (int i = 0; i < 10; i++) churn(one + i * 3 * SLOT);
        for (size_t done = 0; done < sent;) {
            size_t want = sent - done < BIG ? sent - done : BIG, at = done % BIG;
            ssize_t r = recv(b, got, want < BIG - at ? want : BIG - at, 0);
            CHECK(r > 0);
            CHECK(memcmp(got, one + at, r) == 0);
            done += r;
        }
        // The program is told when each is over, as ever.
        struct msghdr told = {.msg_control = got, .msg_controllen = 1000};
        double end = now() + 120;
        while (recvmsg(a, &told, MSG_ERRQUEUE) != 0) CHECK(now() < end);
    }
    close(a), close(b), close(s);
    free(m);
}

int main(void) {
    one = aligned_alloc(SLOT, BIG);
    other = aligned_alloc(SLOT, BIG);
    memset(one, 1, BIG);
    memset(other, 2, BIG);
    PART(spliced);
    PART(zero_copy);
    return 0;
}
