// Contexts in memory that is on a device: the kernel reads and writes the mask in them. Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#include "away.h"

enum { TIMES = 60, PAGE = 4096 };

// One whose mask is on a page of its own.
static ucontext_t *divided(char *block) {
    return (ucontext_t *)(block + 2 * PAGE - offsetof(ucontext_t, uc_sigmask));
}

static ucontext_t *one, *other;
static char stack[256 << 10];
static volatile int runs, failures;

// What fails has left between being touched and the call: rare.
static void made(int answer) {
    if (answer == 0) return;
    CHECK(errno == EFAULT);
    failures++;
}

static void body(void) {
    for (;;) {
        runs++;
        while (swapcontext(other, one) != 0) made(-1);
    }
}

static void away(void) {
    AWAY(&one->uc_sigmask);
    AWAY(&other->uc_sigmask);
}

static void both_ways(void) {
    while (getcontext(other) != 0) made(-1);
    other->uc_stack.ss_sp = stack;
    other->uc_stack.ss_size = sizeof stack;
    other->uc_link = NULL;
    makecontext(other, body, 0);
    failures = 0;
    for (volatile int i = 0; i < TIMES; i++) {
        away();
        made(swapcontext(one, other));
    }
    CHECK(runs + failures >= TIMES && failures < TIMES / 10);
}

static void kept(void) {
    failures = 0;
    for (int i = 0; i < TIMES; i++) {
        away();
        made(getcontext(one));
    }
    CHECK(failures < TIMES / 10);
}

// With the mask, which is there as it was.
static void once_more(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    failures = 0;
    volatile int count = 0;
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    while (getcontext(one) != 0) made(-1);
    CHECK(sigprocmask(SIG_BLOCK, NULL, &set) == 0 && sigismember(&set, SIGUSR1));
    if (count++ < TIMES) {
        CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
        away();
        for (;;) made(setcontext(one));
    }
    CHECK(failures < TIMES / 10);
}

int main(void) {
    one = divided(aligned_alloc(PAGE, 16 * PAGE));
    other = divided(aligned_alloc(PAGE, 16 * PAGE));
    memset(one, 0, sizeof *one);
    memset(other, 0, sizeof *other);
    PART(both_ways);
    PART(kept);
    PART(once_more);
    return 0;
}
