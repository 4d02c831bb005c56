// Calls that wait for bytes in large blocks, before any device is open: what they answer and leave is what it is without the library.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

#define OK(call) CHECK((call) == 0)
enum { BYTES = 8 << 20 };

static unsigned char *at;
static int pair[2];

static void connected(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof to;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK((pair[1] = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
    OK(bind(fd, (void *)&to, len) | listen(fd, 1) | getsockname(fd, (void *)&to, &len));
    OK(connect(pair[1], (void *)&to, len));
    CHECK((pair[0] = accept(fd, NULL, NULL)) >= 0);
    close(fd);
}

static void *sends(void *n) {
    usleep(200000); // they wait
    for (size_t left = (size_t)n; left > 0;) {
        static char some[1 << 20];
        memset(some, 9, sizeof some);
        ssize_t done = write(pair[1], some, left < sizeof some ? left : sizeof some);
        CHECK(done > 0);
        left -= (size_t)done;
    }
    return NULL;
}
static pthread_t later(size_t n) {
    pthread_t thread;
    memset(at, 5, BYTES);
    OK(pthread_create(&thread, NULL, sends, (void *)n));
    return thread;
}
static void are(size_t from, size_t to, unsigned char value) {
    for (size_t i = from; i < to; i++) CHECK(at[i] == value);
}

// Of a stream that is left out, and not written anywhere.
static void not_written(void) {
    connected();
    pthread_t thread = later(1000);
    CHECK(recv(pair[0], at, BYTES, MSG_TRUNC) == 1000);
    OK(pthread_join(thread, NULL));
    are(0, BYTES, 5);
}

static void all_of_it(void) {
    connected();
    pthread_t thread = later(BYTES - 1);
    CHECK(recv(pair[0], at, BYTES - 1, MSG_WAITALL) == BYTES - 1);
    OK(pthread_join(thread, NULL));
    are(0, BYTES - 1, 9), are(BYTES - 1, BYTES, 5);
    thread = later(300);
    CHECK(recv(pair[0], at + 1, 300, MSG_WAITALL) == 300); // few, and not from a page's start
    OK(pthread_join(thread, NULL));
    are(0, 1, 5), are(1, 301, 9), are(301, BYTES, 5);
}

// A pipe that holds more than others.
static void from_a_pipe(void) {
    OK(pipe(pair));
    CHECK(fcntl(pair[1], F_SETPIPE_SZ, 1 << 20) == 1 << 20);
    for (size_t done = 0; done < 3 << 20;) {
        pthread_t thread = later(1 << 20);
        size_t here = 0;
        while (here < 1 << 20) {
            ssize_t n = read(pair[0], at + here, BYTES - here);
            CHECK(n > 0);
            here += (size_t)n;
        }
        OK(pthread_join(thread, NULL));
        CHECK(here == 1 << 20);
        are(0, here, 9), are(here, BYTES, 5);
        done += here;
    }
}

// A part that can't be written: what was there to be read is, or the error that the kernel has.
static void where_nothing_can_be_written(void) {
    OK(pipe(pair));
    pthread_t thread = later(65536);
    OK(mprotect(at + (1 << 20), 65536, PROT_READ));
    CHECK(read(pair[0], at + (1 << 20), 65536) == -1);
    OK(pthread_join(thread, NULL));
    OK(mprotect(at + (1 << 20), 65536, PROT_READ | PROT_WRITE));
    are(0, BYTES, 5);
}

// To look whether something is there takes away no event: /proc/self/mountinfo has one for each change.
static void events_of_others(void) {
    char folder[] = "/tmp/arrives-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
        int fd = open("/proc/self/mountinfo", O_RDONLY);
        struct pollfd one = {fd, POLLPRI, 0};
        CHECK(fd >= 0 && poll(&one, 1, 0) == 0);
        if (mount("none", folder, "tmpfs", 0, NULL) == 0) {
            CHECK(read(fd, at, BYTES) > 0);
            CHECK(poll(&one, 1, 0) == 1 && (one.revents & POLLPRI));
            OK(umount(folder));
        } else {
            LEFT_OUT("this user may mount nothing");
        }
        close(fd);
    } else {
        LEFT_OUT("this user has no name space of its own");
    }
    rmdir(folder);
}

int main(void) {
    alarm(600);
    CHECK((at = aligned_alloc(4096, BYTES)) != NULL);
    PART(events_of_others);
    PART(not_written);
    PART(all_of_it);
    PART(from_a_pipe);
    PART(where_nothing_can_be_written);
    return 0;
}
