// Children that fork(3) does not make, and forks beside a library that has a lock of its own across them. Runs with
// HMMRT_CHAOS=1, and with forklib.

#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

#include "away.h"

extern pthread_mutex_t lib_lock;

enum { BIG = 4 << 20 };
static char *block;

static int uses_all(void *round);
static char a_stack[1 << 20] __attribute__((aligned(16)));
static char *managed_stack;

// Each makes a child, and answers 0 in it, or has it call `uses_all`.
static long by_clone(int *unused) {
    (void)unused;
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}
static long by_clone3(int *unused) {
    struct {
        unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } a = {.exit_signal = SIGCHLD};
    (void)unused;
    return syscall(SYS_clone3, &a, sizeof a);
}
#if defined SYS_fork
static long by_fork(int *unused) {
    (void)unused;
    return syscall(SYS_fork);
}
#endif
#if __GLIBC_PREREQ(2, 34)
static long by_Fork(int *unused) {
    (void)unused;
    return _Fork();
}
#endif
static long by_function(int *round) { return clone(uses_all, a_stack + sizeof a_stack, SIGCHLD, round); }
static long by_function_with_ids(int *round) {
    static pid_t parents, childs;
    int flags = SIGCHLD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_FILES;
    long child = clone(uses_all, a_stack + sizeof a_stack, flags, round, &parents, NULL, &childs);
    CHECK(child < 0 || (parents == child && childs == 0));
    return child;
}
static long by_function_on_managed_stack(int *round) {
    return clone(uses_all, AWAY(managed_stack) + sizeof a_stack, SIGCHLD, round);
}

// The child has a snapshot of its own, may use all of it, and allocate.
static int uses_all(void *round) {
    int i = *(int *)round;
    signal(SIGALRM, SIG_DFL);
    alarm(600);
    for (size_t k = 0; k < BIG; k++)
        if (block[k] != (char)(k * 31 + k / 4096 + (size_t)i)) return 3;
    memset(block, 1, BIG);
    char *more = malloc(BIG);
    memset(more, 2, BIG);
    for (size_t k = 0; k < BIG; k++)
        if (block[k] != 1 || more[k] != 2) return 4;
    free(more);
    return 0;
}

// The parent does not notice.
static void snapshot_by(long (*make)(int *)) {
    for (int i = 0; i < 6; i++) {
        fill(block, BIG, i);
        AWAY(block + i * 37 % 1000 * 4096);
        long child = make(&i);
        CHECK(child >= 0 || errno == ENOSYS);
        if (child < 0) return;
        if (child == 0) _exit(uses_all(&i));
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

// Those that begin with a function, on a stack of their own.
static void children_with_functions(void) {
    snapshot_by(by_function);
    snapshot_by(by_function_with_ids);
    for (int i = 0; i < 3; i++) { // a stack that was used once stays
        managed_stack = malloc(sizeof a_stack);
        managed_stack[0] = 1;
        CHECK(i != 0 || clone(uses_all, NULL, SIGCHLD, NULL) == -1);
        fill(block, BIG, i);
        long child = by_function_on_managed_stack(&i);
        int status;
        CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && status == 0);
        expect(block, BIG, i);
        free(managed_stack);
    }
    errno = 0;
    CHECK(clone(NULL, a_stack + sizeof a_stack, SIGCHLD, NULL) == -1 && errno == EINVAL);
    errno = 0;
    CHECK(clone(uses_all, a_stack + sizeof a_stack, SIGCHLD | CLONE_THREAD, NULL) == -1 && errno == EINVAL);
    expect(block, BIG, 2);
}

// For longer than a stack that may leave would stay, and deep.
static int digs(void *depth) {
    volatile char some[20000];
    memset((char *)some, 1, sizeof some);
    double end = now() + 0.002;
    while (now() < end) {}
    int more = (int)(intptr_t)depth;
    return some[100] + (more == 0 ? 0 : digs((void *)(intptr_t)(more - 1)));
}
static void *digs_in_thread(void *depth) { return (void *)(intptr_t)digs(depth); }

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

// Managed stacks of what shares the memory stay on the host.
static void managed_stacks(void) {
    for (int i = 0; i < 4; i++) {
        char *stack = malloc(sizeof a_stack);
        stack[0] = 1;
        AWAY(stack);
        if (i % 2 == 0) {
            pid_t child = clone(digs, stack + sizeof a_stack, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, (void *)20);
            int status;
            CHECK(child > 0 && waitpid(child, &status, 0) == child);
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 21);
        } else {
            pthread_attr_t attributes;
            pthread_t t;
            void *answer;
            CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, sizeof a_stack) == 0);
            CHECK(pthread_attr_setstackaddr(&attributes, stack + sizeof a_stack) == 0);
            CHECK(pthread_create(&t, &attributes, digs_in_thread, (void *)20) == 0);
            CHECK(pthread_join(t, &answer) == 0 && answer == (void *)21);
        }
        free(stack);
    }
}

static volatile int stop, has_lock, forking;

// Has the library's lock when a fork begins, and does not take it again before that has had it.
static void *use(void *unused) {
    while (!stop) {
        pthread_mutex_lock(&lib_lock);
        has_lock = 1;
        while (!forking && !stop) usleep(20);
        for (int i = 0; i < 20; i++) {
            char *p = malloc(300000);
            p[5] = p[200000] = 1;
            free(p);
            block[7]++;
            usleep(20);
        }
        has_lock = 0;
        pthread_mutex_unlock(&lib_lock);
        while (forking) usleep(20);
    }
    return unused;
}

// Who has the library's lock allocates, frees, and touches what is away, while a fork's handler waits for that lock.
static void locks_of_libraries(void) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, use, NULL) == 0);
    for (int i = 0; i < 60; i++) {
        while (!has_lock) usleep(20);
        forking = 1;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) _exit(block[BIG - 1] != 3);
        forking = 0;
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    stop = 1;
    CHECK(pthread_join(t, NULL) == 0);
}

#if __GLIBC_PREREQ(2, 34)
static volatile int done;

// Waits for the child, not for ever.
static void ends_well(pid_t child) {
    int status = -1;
    double end = now() + 120;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (now() > end) kill(child, SIGKILL);
        usleep(50);
    }
    CHECK(status == 0);
}

static void *fork_often(void *unused) {
    for (int i = 0; i < 300; i++) {
        pid_t child = _Fork();
        CHECK(child >= 0);
        if (child == 0) _exit(block[BIG / 3] != 7);
        ends_well(child);
    }
    __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
    return unused;
}

// _Fork leaves the C library's locks as they are: nothing of what this library needs for a child may come from there, also when
// two threads fork. One arena for all, and blocks that are in no thread's cache.
static void many_at_once(void) {
    CHECK(mallopt(M_ARENA_MAX, 1) == 1);
    block[BIG / 3] = 7;
    char *large = malloc((size_t)1 << 30); // for a list of its chunks that is long
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, fork_often, NULL) == 0);
    while (done < 2) {
        char *some[16];
        for (int k = 0; k < 16; k++) some[k] = malloc(2000 + (size_t)k * 100);
        for (int k = 0; k < 16; k++) free(some[k]);
    }
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    free(large);
}
#else
static void many_at_once(void) {}
#endif

static volatile int handled;

static void fork_here(int signal) {
    (void)signal;
    int saved = errno;
    long child = by_clone(NULL);
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
        alarm(600);
        ualarm(1000 + i * 37 % 500, 0);
        while (handled < i) {
            char *some[16];
            for (int k = 0; k < 16; k++) some[k] = malloc(100 + k * 500);
            for (int k = 0; k < 16; k++) free(some[k]);
        }
    }
    signal(SIGALRM, SIG_DFL);
    alarm(600);
}

int main(void) {
    alarm(600);
    block = malloc(BIG);
    fill(block, BIG, 0);
    PART(bare_children);
    PART(children_with_functions);
    PART(managed_stacks);
    block[BIG - 1] = 3;
    PART(locks_of_libraries);
    PART(in_handlers);
    PART(many_at_once);
    return 0;
}
