// What the C library does with all signals blocked, in threads and children of its own or in the caller's: a touch of what is on a
// device kills there unless the library opens that thread, or has what it uses at home. Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "away.h"

extern char **environ;

enum { ROUNDS = 5, PAGE = 4096, PAGES = 4 };
static char *block;
static void *at(int page) {
    return memset(block + page * PAGE, 0, PAGE);
}

static volatile int called;
static void notified(union sigval value) {
    char *p = value.sival_ptr;
    CHECK(*AWAY(p) == 7);
    called++;
}

static void timers(void) {
    char *p = at(0);
    *p = 7;
    pthread_attr_t *attributes = at(1);
    CHECK(pthread_attr_init(attributes) == 0);
    struct sigevent *event = at(2);
    *event = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_value.sival_ptr = p};
    event->sigev_notify_function = notified;
    struct itimerspec once = {.it_value.tv_nsec = 1000};
    for (int round = 0; round < ROUNDS; round++) {
        event->sigev_notify_attributes = round % 2 ? attributes : NULL;
        called = 0;
        timer_t t;
        AWAY(attributes);
        CHECK(timer_create(CLOCK_MONOTONIC, AWAY(event), &t) == 0 && timer_settime(t, 0, &once, NULL) == 0);
        while (called == 0) usleep(100);
        CHECK(timer_delete(t) == 0);
    }
}

static void spawns(void) {
    posix_spawnattr_t *attributes = at(0);
    posix_spawn_file_actions_t *actions = at(1);
    sigset_t none;
    sigemptyset(&none);
    CHECK(posix_spawnattr_init(attributes) == 0 && posix_spawn_file_actions_init(actions) == 0);
    CHECK(posix_spawnattr_setsigmask(attributes, &none) == 0);
    CHECK(posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK) == 0);
    CHECK(posix_spawn_file_actions_addopen(actions, 9, "/dev/null", O_RDONLY, 0) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        char *argv[] = {"/bin/sh", "-c", "exec <&9; exit 5", NULL};
        pid_t *child = at(2);
        int status = 0;
        AWAY(attributes), AWAY(actions), AWAY(child);
        if (round % 2) CHECK(posix_spawn(child, argv[0], actions, attributes, argv, environ) == 0);
        else CHECK(posix_spawnp(child, "sh", actions, attributes, argv, environ) == 0);
        CHECK(waitpid(*child, &status, 0) == *child && WIFEXITED(status) && WEXITSTATUS(status) == 5);
    }
    CHECK(posix_spawn_file_actions_destroy(actions) == 0 && posix_spawnattr_destroy(attributes) == 0);
}

static void *started(void *argument) {
    return argument;
}
static void starts(void) {
    pthread_attr_t *attributes = at(0);
    CHECK(pthread_attr_init(attributes) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t *thread = at(1);
        void *result;
        AWAY(attributes), AWAY(thread);
        CHECK(pthread_create(thread, attributes, started, block) == 0);
        CHECK(pthread_join(*thread, &result) == 0 && result == block);
    }
}

static void lookups(void) {
    struct gaicb *request = at(0);
    struct addrinfo *hints = at(1);
    hints->ai_flags = AI_NUMERICHOST;
    for (int round = 0; round < ROUNDS; round++) {
        memset(request, 0, sizeof *request);
        request->ar_name = strcpy(at(2), "127.0.0.1");
        request->ar_service = strcpy(at(3), "80");
        request->ar_request = hints;
        struct gaicb *list[] = {request};
        AWAY(request->ar_name), AWAY(request->ar_service), AWAY(hints);
        CHECK(getaddrinfo_a(round % 2 ? GAI_WAIT : GAI_NOWAIT, list, 1, NULL) == 0);
        while (gai_error(request) == EAI_INPROGRESS) usleep(100);
        CHECK(gai_error(request) == 0 && request->ar_result != NULL);
        freeaddrinfo(request->ar_result);
        AWAY(block), AWAY(block + 2 * PAGE); // nothing is pinned any more
    }
}

static void *ends_with_it(void *mutex) {
    CHECK(pthread_mutex_lock(mutex) == 0);
    CHECK(pthread_mutex_trylock((pthread_mutex_t *)mutex + 1) == 0);
    usleep(10000); // both would leave now
    return NULL;
}

// The kernel reads what a thread has locked when it ends; it finds the second by the first.
static void owners_that_end(void) {
    pthread_mutex_t *m = at(0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_mutexattr_t attributes;
        CHECK(pthread_mutexattr_init(&attributes) == 0);
        CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
        CHECK(pthread_mutex_init(m, &attributes) == 0 && pthread_mutex_init(m + 1, &attributes) == 0);
        pthread_t t;
        CHECK(pthread_create(&t, NULL, ends_with_it, AWAY(m)) == 0 && pthread_join(t, NULL) == 0);
        for (int i = 0; i < 2; i++) {
            struct timespec soon;
            clock_gettime(CLOCK_REALTIME, &soon);
            soon.tv_sec += 5;
            CHECK(pthread_mutex_timedlock(m + i, &soon) == EOWNERDEAD && pthread_mutex_consistent(m + i) == 0);
            CHECK(pthread_mutex_unlock(m + i) == 0 && pthread_mutex_lock(m + i) == 0);
            CHECK(pthread_mutex_trylock(m + i) == EBUSY && pthread_mutex_unlock(m + i) == 0);
            CHECK(pthread_mutex_destroy(m + i) == 0);
        }
        AWAY(m); // nothing is pinned any more
    }
}

static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

static void *takes_it(void *mutex) {
    CHECK(pthread_mutex_lock(mutex) == 0);
    return NULL;
}

// Who waits for a condition may get the mutex from one that has ended.
static void owners_that_end_meanwhile(void) {
    pthread_mutex_t *m = at(0);
    for (int how = 0; how < 2; how++) {
        pthread_mutexattr_t attributes;
        CHECK(pthread_mutexattr_init(&attributes) == 0);
        CHECK(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) == 0);
        CHECK(pthread_mutex_init(m, &attributes) == 0 && pthread_mutex_lock(m) == 0);
        pthread_t t;
        CHECK(pthread_create(&t, NULL, takes_it, m) == 0);
        int answer = 0;
        for (int i = 0; i < 1000 && answer != EOWNERDEAD; i++) {
            struct timespec soon;
            clock_gettime(how == 1 ? CLOCK_MONOTONIC : CLOCK_REALTIME, &soon);
            soon.tv_nsec += 20000000;
            if (soon.tv_nsec >= 1000000000) soon.tv_nsec -= 1000000000, soon.tv_sec++;
            if (how == 0) answer = pthread_cond_timedwait(&never, m, &soon);
            if (how == 1) answer = pthread_cond_clockwait(&never, m, CLOCK_MONOTONIC, &soon);
            CHECK(answer == ETIMEDOUT || answer == EOWNERDEAD);
        }
        CHECK(answer == EOWNERDEAD && pthread_join(t, NULL) == 0);
        CHECK(pthread_mutex_consistent(m) == 0 && pthread_mutex_unlock(m) == 0 && pthread_mutex_destroy(m) == 0);
        AWAY(m); // nothing is pinned any more
    }
}

int main(void) {
    block = aligned_alloc(PAGE, PAGES * PAGE);
    PART(timers);
    PART(spawns);
    PART(starts);
    PART(lookups);
    PART(owners_that_end);
    PART(owners_that_end_meanwhile);
    return 0;
}
