// Threads with asynchronous cancellation, which touch memory that keeps leaving, or make calls that have wrappers: who is
// cancelled in a touch is so behind it, and in a call at once. Runs with HMMRT_CHAOS=1, and without.

#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>

#include "away.h"

enum { BIG = 8 << 20 };
static char *block;

static void *touch(void *seed) {
    int before;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    volatile char *p = block;
    for (unsigned s = (unsigned)(size_t)seed;; s = s * 1103515245 + 12345) p[(s >> 8) % BIG]++;
    return NULL;
}

static void asynchronously(void) {
    for (size_t i = 0; i < 150; i++) {
        pthread_t t;
        void *answer;
        CHECK(pthread_create(&t, NULL, touch, (void *)i) == 0);
        usleep(1000 + i * 13 % 3000);
        CHECK(pthread_cancel(t) == 0 && pthread_join(t, &answer) == 0 && answer == PTHREAD_CANCELED);
        for (int k = 0; k < BIG; k += 4096) block[k]++;
    }
}

enum { WAYS = 12, CANCELLED = 300 };
static volatile int calls;
static int zero;

// With memory that can leave, and with such that can't.
static void *call(void *argument) {
    int how = (int)(size_t)argument, before;
    char own[128], *to = how < WAYS / 2 ? own : block + 65536;
    struct timespec none = {0, 0}, *time = memset(to, 0, 128);
    sem_t taken;
    CHECK(sem_init(&taken, 0, 1u << 30) == 0);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
    for (;; calls++) switch (how % (WAYS / 2)) {
        case 0: (void)!read(zero, to, 1); break;
        case 1: poll((struct pollfd *)to, 0, 0), ppoll((struct pollfd *)to, 0, &none, NULL); break;
        case 2: open(strcpy(to, "/none"), O_RDONLY); break;
        case 3: syscall(SYS_read, zero, to, 1); break;
        case 4: clock_gettime(CLOCK_MONOTONIC, time), sem_wait(&taken); break;
        case 5: sigprocmask(SIG_BLOCK, NULL, (sigset_t *)to); break;
        }
    return NULL;
}

static void in_calls(void) {
    CHECK((zero = open("/dev/zero", O_RDONLY)) >= 0);
    for (size_t how = 0; how < WAYS; how++)
        for (int i = 0; i < CANCELLED; i++) {
            pthread_t t;
            void *answer;
            calls = 0;
            CHECK(pthread_create(&t, NULL, call, (void *)how) == 0);
            while (calls < 1 + i % 50) sched_yield();
            CHECK(pthread_cancel(t) == 0 && pthread_join(t, &answer) == 0 && answer == PTHREAD_CANCELED);
        }
}

int main(void) {
    alarm(600);
    block = malloc(BIG);
    memset(block, 1, BIG);
    PART(asynchronously);
    PART(in_calls);
    return 0;
}
