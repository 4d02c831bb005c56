// Children that fork(3) does not make, and forks beside a library that has a lock of its own across them. Runs with
// HMMRT_CHAOS=1, and with forklib.

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "away.h"

extern pthread_mutex_t lib_lock;

enum { BIG = 4 << 20 };
static char *block;

static long by_clone(void) { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }
static long by_clone3(void) {
    struct {
        unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } a = {.exit_signal = SIGCHLD};
    return syscall(SYS_clone3, &a, sizeof a);
}
#if defined SYS_fork
static long by_fork(void) { return syscall(SYS_fork); }
#endif
#if __GLIBC_PREREQ(2, 34)
static long by_Fork(void) { return _Fork(); }
#endif

// The child has a snapshot of its own, may use all of it, and allocate; the parent does not notice.
static void snapshot_by(long (*make)(void)) {
    for (int i = 0; i < 6; i++) {
        fill(block, BIG, i);
        AWAY(block + i * 37 % 1000 * 4096);
        long child = make();
        CHECK(child >= 0 || errno == ENOSYS);
        if (child < 0) return;
        if (child == 0) {
            signal(SIGALRM, SIG_DFL);
            alarm(60);
            for (size_t k = 0; k < BIG; k++)
                if (block[k] != (char)(k * 31 + k / 4096 + (size_t)i)) _exit(3);
            memset(block, 1, BIG);
            char *more = malloc(BIG);
            memset(more, 2, BIG);
            for (size_t k = 0; k < BIG; k++)
                if (block[k] != 1 || more[k] != 2) _exit(4);
            free(more);
            _exit(0);
        }
        int status;
        CHECK(waitpid((pid_t)child, &status, 0) == child);
        CHECK(status == 0);
        expect(block, BIG, i);
    }
}

static void bare_children(void) {
    snapshot_by(by_clone);
    snapshot_by(by_clone3);
#if defined SYS_fork
    snapshot_by(by_fork);
#endif
#if __GLIBC_PREREQ(2, 34)
    snapshot_by(by_Fork);
#endif
}

static volatile int stop;

static void *use(void *unused) {
    while (!stop) {
        pthread_mutex_lock(&lib_lock);
        char *p = malloc(300000);
        p[5] = p[200000] = 1;
        free(p);
        block[7]++;
        pthread_mutex_unlock(&lib_lock);
    }
    return unused;
}

// Who has the library's lock allocates, frees, and touches what is away, while a fork's handler waits for that lock.
static void locks_of_libraries(void) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, use, NULL) == 0);
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) _exit(block[BIG - 1] != 3);
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    stop = 1;
    CHECK(pthread_join(t, NULL) == 0);
}

static volatile int handled;

static void fork_here(int signal) {
    (void)signal;
    int saved = errno;
    long child = by_clone();
    if (child == 0) _exit(block[BIG / 2] != 5);
    int status;
    if (child > 0 && waitpid((pid_t)child, &status, 0) == child && status == 0) handled++;
    errno = saved;
}

// A handler may do it that has interrupted malloc.
static void in_handlers(void) {
    block[BIG / 2] = 5;
    CHECK(signal(SIGALRM, fork_here) != SIG_ERR);
    for (int i = 1; i <= 100; i++) {
        alarm(100);
        ualarm(1000 + i * 37 % 500, 0);
        while (handled < i) {
            char *some[16];
            for (int k = 0; k < 16; k++) some[k] = malloc(100 + k * 500);
            for (int k = 0; k < 16; k++) free(some[k]);
        }
    }
    signal(SIGALRM, SIG_DFL);
    alarm(100);
}

int main(void) {
    alarm(200);
    block = malloc(BIG);
    fill(block, BIG, 0);
    PART(bare_children);
    block[BIG - 1] = 3;
    PART(locks_of_libraries);
    PART(in_handlers);
    return 0;
}
