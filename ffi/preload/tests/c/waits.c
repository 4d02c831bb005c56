// Waits with an end, for locks in memory that leaves for a device between the C library's look at them and the kernel's: this
// program is traced by itself, and stopped for a moment at each futex(2). What is not held by then is EFAULT there, and the C
// library aborts. Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>

#include "away.h"

enum { ROUNDS = 3, PAGE = 4096, STOP_US = 30000, WAIT_MS = 10 };
static char *locks, *times;
static sem_t taken, enough;

static struct timespec *soon(clockid_t clock) {
    struct timespec *t = (void *)times;
    clock_gettime(clock, t);
    t->tv_nsec += WAIT_MS * 1000000;
    if (t->tv_nsec >= 1000000000) t->tv_nsec -= 1000000000, t->tv_sec++;
    return t;
}
static void *lock_at(int page) {
    return memset(locks + page * PAGE, 0, PAGE);
}

// Has something taken, until `enough`.
static void *keeps_mutex(void *lock) {
    CHECK(pthread_mutex_lock(lock) == 0 && sem_post(&taken) == 0 && sem_wait(&enough) == 0);
    CHECK(pthread_mutex_unlock(lock) == 0);
    return NULL;
}
static void *keeps_rwlock(void *lock) {
    CHECK(pthread_rwlock_wrlock(lock) == 0 && sem_post(&taken) == 0 && sem_wait(&enough) == 0);
    CHECK(pthread_rwlock_unlock(lock) == 0);
    return NULL;
}
static void *keeps_mtx(void *lock) {
    CHECK(mtx_lock(lock) == thrd_success && sem_post(&taken) == 0 && sem_wait(&enough) == 0);
    CHECK(mtx_unlock(lock) == thrd_success);
    return NULL;
}
static pthread_t start(void *(*keeper)(void *), void *lock) {
    pthread_t t;
    CHECK(pthread_create(&t, NULL, keeper, lock) == 0 && sem_wait(&taken) == 0);
    return t;
}
static void end(pthread_t t) {
    CHECK(sem_post(&enough) == 0 && pthread_join(t, NULL) == 0);
}

static void semaphores(void) {
    sem_t *s = lock_at(0);
    CHECK(sem_init(s, 0, 0) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(sem_timedwait(s, soon(CLOCK_REALTIME)) == -1 && errno == ETIMEDOUT);
        CHECK(sem_clockwait(s, CLOCK_MONOTONIC, soon(CLOCK_MONOTONIC)) == -1 && errno == ETIMEDOUT);
    }
}

static void conditions(void) {
    pthread_cond_t *c = lock_at(0);
    pthread_mutex_t *m = lock_at(1);
    cnd_t *cc = lock_at(2);
    mtx_t *cm = lock_at(3);
    CHECK(pthread_cond_init(c, NULL) == 0 && pthread_mutex_init(m, NULL) == 0 && pthread_mutex_lock(m) == 0);
    CHECK(cnd_init(cc) == thrd_success && mtx_init(cm, mtx_timed) == thrd_success && mtx_lock(cm) == thrd_success);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(pthread_cond_timedwait(c, m, soon(CLOCK_REALTIME)) == ETIMEDOUT);
        CHECK(pthread_cond_clockwait(c, m, CLOCK_MONOTONIC, soon(CLOCK_MONOTONIC)) == ETIMEDOUT);
        CHECK(cnd_timedwait(cc, cm, soon(CLOCK_REALTIME)) == thrd_timedout);
    }
    CHECK(pthread_mutex_unlock(m) == 0 && mtx_unlock(cm) == thrd_success);
}

static void mutexes(void) {
    pthread_mutex_t *m = lock_at(0);
    mtx_t *cm = lock_at(1);
    CHECK(pthread_mutex_init(m, NULL) == 0 && mtx_init(cm, mtx_timed) == thrd_success);
    pthread_t t = start(keeps_mutex, m);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(pthread_mutex_timedlock(m, soon(CLOCK_REALTIME)) == ETIMEDOUT);
        CHECK(pthread_mutex_clocklock(m, CLOCK_MONOTONIC, soon(CLOCK_MONOTONIC)) == ETIMEDOUT);
    }
    end(t);
    t = start(keeps_mtx, cm);
    for (int round = 0; round < ROUNDS; round++) CHECK(mtx_timedlock(cm, soon(CLOCK_REALTIME)) == thrd_timedout);
    end(t);
}

static void read_write_locks(void) {
    pthread_rwlock_t *l = lock_at(0);
    CHECK(pthread_rwlock_init(l, NULL) == 0);
    pthread_t t = start(keeps_rwlock, l);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(pthread_rwlock_timedrdlock(l, soon(CLOCK_REALTIME)) == ETIMEDOUT);
        CHECK(pthread_rwlock_timedwrlock(l, soon(CLOCK_REALTIME)) == ETIMEDOUT);
        CHECK(pthread_rwlock_clockrdlock(l, CLOCK_MONOTONIC, soon(CLOCK_MONOTONIC)) == ETIMEDOUT);
        CHECK(pthread_rwlock_clockwrlock(l, CLOCK_MONOTONIC, soon(CLOCK_MONOTONIC)) == ETIMEDOUT);
    }
    end(t);
}

static void joins(void) {
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_t t = start(keeps_mutex, &m);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(pthread_timedjoin_np(t, NULL, soon(CLOCK_REALTIME)) == ETIMEDOUT);
        CHECK(pthread_clockjoin_np(t, NULL, CLOCK_MONOTONIC, soon(CLOCK_MONOTONIC)) == ETIMEDOUT);
    }
    end(t);
}

static int routines;
// Runs until `enough`; what it is done for may leave meanwhile.
static void routine(void) {
    routines++;
    AWAY(locks);
    CHECK(sem_post(&taken) == 0 && sem_wait(&enough) == 0);
}
static void *once(void *control) {
    CHECK(pthread_once(control, routine) == 0);
    return NULL;
}
static void *once_c11(void *flag) {
    call_once(flag, routine);
    return NULL;
}
static void *soon_enough(void *unused) {
    usleep(4 * STOP_US);
    CHECK(sem_post(&enough) == 0);
    return unused;
}

// One thread runs the routine, and this one waits for it.
static void only_once(void) {
    for (int round = 0; round < 2 * ROUNDS; round++) {
        void *control = lock_at(0), *(*how)(void *) = round % 2 ? once_c11 : once;
        pthread_t other, t = start(how, control);
        CHECK(pthread_create(&other, NULL, soon_enough, NULL) == 0);
        how(control);
        CHECK(routines == round + 1 && pthread_join(t, NULL) == 0 && pthread_join(other, NULL) == 0);
    }
}

static void *meets(void *barrier) {
    CHECK(pthread_barrier_wait(barrier) <= 0);
    return NULL;
}

// Destroyed while others have not left it.
static void barriers(void) {
    enum { OTHERS = 8 };
    for (int round = 0; round < 10 * ROUNDS; round++) {
        pthread_barrier_t *b = lock_at(0);
        pthread_t t[OTHERS];
        CHECK(pthread_barrier_init(b, NULL, OTHERS + 1) == 0);
        for (int i = 0; i < OTHERS; i++) CHECK(pthread_create(&t[i], NULL, meets, b) == 0);
        meets(b);
        CHECK(pthread_barrier_destroy(b) == 0);
        for (int i = 0; i < OTHERS; i++) CHECK(pthread_join(t[i], NULL) == 0);
    }
}

// Starts this program again and lets it go on from system call to system call.
static int trace(char **argv) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) putenv("NOT_TRACED=1"); // not allowed everywhere
        execl(argv[0], argv[0], "traced", NULL);
        _exit(1);
    }
    int status;
    while (waitpid(child, &status, 0) == child && !WIFEXITED(status) && !WIFSIGNALED(status)) {
        int signal = WSTOPSIG(status);
        if (signal == (SIGTRAP | 0x80)) {
            struct __ptrace_syscall_info info = {0};
            ptrace(PTRACE_GET_SYSCALL_INFO, child, (void *)sizeof info, &info);

            if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_futex) usleep(STOP_US);
            signal = 0;
        } else if (signal == SIGTRAP) { // execve
            CHECK(ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)PTRACE_O_TRACESYSGOOD) == 0);
            signal = 0;
        }
        CHECK(ptrace(PTRACE_SYSCALL, child, NULL, (void *)(intptr_t)signal) == 0);
    }
    if (WIFSIGNALED(status)) fprintf(stderr, "waits.c: ended by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv) {
    if (argc == 1) return trace(argv);
    CHECK(sem_init(&taken, 0, 0) == 0 && sem_init(&enough, 0, 0) == 0);
    locks = aligned_alloc(PAGE, 4 * PAGE);
    times = aligned_alloc(PAGE, 4 * PAGE);
    memset(times, 0, PAGE);
    AWAY(times);
    PART(semaphores);
    PART(conditions);
    PART(mutexes);
    PART(read_write_locks);
    PART(joins);
    PART(only_once);
    PART(barriers);
    return 0;
}
