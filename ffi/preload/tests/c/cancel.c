// Threads with asynchronous cancellation, which only touch memory, and memory that keeps leaving: who is cancelled in a touch is
// so behind it. Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <pthread.h>
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

int main(void) {
    alarm(100);
    block = malloc(BIG);
    memset(block, 1, BIG);
    PART(asynchronously);
    return 0;
}
