// Sends with MSG_ZEROCOPY, and vmsplice(2), of more than is taken at once, and of more than there is: each answers as without the
// preload library, which copies what it sends.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

enum { M = 1 << 20, PAGE = 4096 };
static int ends[2], is_there;

// A connection whose send buffer is small enough to fill.
static void connected(int type) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof name;
    int s = socket(AF_INET, type, 0), yes = 1, room = M;
    ends[0] = socket(AF_INET, type, 0);
    CHECK(bind(s, (struct sockaddr *)&name, sizeof name) == 0 && (type != SOCK_STREAM || listen(s, 1) == 0));
    CHECK(getsockname(s, (struct sockaddr *)&name, &len) == 0);
    CHECK(connect(ends[0], (struct sockaddr *)&name, sizeof name) == 0);
    ends[1] = type == SOCK_STREAM ? accept(s, NULL, NULL) : dup(s);
    CHECK(ends[1] >= 0 && close(s) == 0);
    is_there = setsockopt(ends[0], SOL_SOCKET, SO_ZEROCOPY, &yes, sizeof yes) == 0;
    CHECK(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
}
static void disconnected(void) {
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
}

// A page after which there is nothing.
static char *last_page(char *block, size_t size) {
    char *end = block + size, *gap = mmap(end, 64 * M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    (void)gap; // or there is something that is not the block's
    return end - PAGE;
}

// Bytes of a block, and behind it what can't be read.
static void beyond_the_block(void) {
    char *block = aligned_alloc(PAGE, 4 * M), *last = last_page(block, 4 * M), got[2 * PAGE];
    memset(block, 7, 4 * M);
    for (int how = 0; how < 4; how++) {
        connected(SOCK_STREAM);
        struct iovec iov[] = {{last, PAGE}, {(void *)16, 64 * M}, {last, PAGE}};
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};
        struct mmsghdr all[2] = {{.msg_hdr = m}, {.msg_hdr = {.msg_iov = iov, .msg_iovlen = 1}}};
        int flags = MSG_ZEROCOPY | MSG_DONTWAIT;
        ssize_t n = 0;
        errno = 0;
        switch (how) {
        case 0: n = send(ends[0], last, 64 * M, flags); break;
        case 1: n = sendmsg(ends[0], &m, flags); break;
        case 2: // the other does not follow half of this
            n = sendmmsg(ends[0], all, 2, flags);
            CHECK(n == 1 || n == -1);
            if (n == 1) n = all[0].msg_len;
            break;
        case 3: n = send(ends[0], (void *)16, M, flags) == -1 && errno == EFAULT ? PAGE : 0; break;
        }
        CHECK(!is_there || n >= PAGE || (n == -1 && errno == EFAULT)); // the kernel looks first, or sends what there is
        if (n == PAGE && how < 3) CHECK(recv(ends[1], got, sizeof got, MSG_DONTWAIT) == PAGE && got[0] == 7 && got[PAGE - 1] == 7);
        disconnected();
    }
    // Of a message nothing is sent.
    connected(SOCK_DGRAM);
    struct iovec half[] = {{last, 100}, {(void *)16, 100}};
    struct msghdr m = {.msg_iov = half, .msg_iovlen = 2};
    CHECK(sendmsg(ends[0], &m, MSG_ZEROCOPY) == -1 && errno == EFAULT);
    CHECK(recv(ends[1], got, sizeof got, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    disconnected();
    int p[2];
    CHECK(pipe(p) == 0);
    struct iovec iov = {last, 64 * M};
    ssize_t n = vmsplice(p[1], &iov, 1, SPLICE_F_NONBLOCK);
    CHECK(n >= PAGE || (n == -1 && errno == EFAULT));
    CHECK(close(p[0]) == 0 && close(p[1]) == 0 && pipe(p) == 0); // with room
    iov.iov_base = (void *)16;
    CHECK(vmsplice(p[1], &iov, 1, SPLICE_F_NONBLOCK) == -1 && errno == EFAULT);
    CHECK(close(p[0]) == 0 && close(p[1]) == 0);
}

// The program's address space and 64 MiB.
static void limit(struct rlimit *old) {
    char text[100] = {0};
    int fd = open("/proc/self/statm", O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, 99) > 0 && close(fd) == 0 && getrlimit(RLIMIT_AS, old) == 0);
    struct rlimit new = {strtoul(text, NULL, 10) * PAGE + 64 * M, old->rlim_max};
    CHECK(setrlimit(RLIMIT_AS, &new) == 0);
}

// A send that does not wait takes little: there is no room here for a copy of all that is offered.
static void without_waiting(void) {
    char *block = aligned_alloc(PAGE, 256 * M);
    memset(block, 1, PAGE);
    for (int how = 0; how < 2; how++) {
        struct rlimit old;
        connected(SOCK_STREAM);
        if (how) CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
        limit(&old);
        ssize_t n = send(ends[0], block, 256 * M, MSG_ZEROCOPY | (how ? 0 : MSG_DONTWAIT));
        CHECK(setrlimit(RLIMIT_AS, &old) == 0);
        CHECK(!is_there || (n >= 65536 && n < 64 * M));
        disconnected();
    }
    free(block);
}

int main(void) {
    alarm(600);
    PART(beyond_the_block);
    PART(without_waiting);
    return 0;
}
