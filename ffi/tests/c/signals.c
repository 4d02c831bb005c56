// The program's own handlers of SIGSEGV, set after the runtime has started and by each function that the C library has for
// it: they get the program's faults and none of ours, and the program sees what it set.

#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "check.h"

typedef void (*handler)(int);
handler __sysv_signal(int, handler);

#define SIZE ((size_t)4 << 20)

static volatile char *x, *guarded;
static sigjmp_buf out;
static volatile int calls;
static void *volatile where;

static void simple(int number) {
    CHECK(number == SIGSEGV);
    calls++;
    siglongjmp(out, 1);
}

static void other(int number) {
    (void)number;
    calls++;
}

static void detailed(int number, siginfo_t *info, void *context) {
    CHECK(number == SIGSEGV && context != NULL);
    calls++;
    where = info->si_addr;
    siglongjmp(out, 1);
}

// Before a handler is set: a call that takes a device puts the runtime's handler in front again, so none may come between
// setting one and the faults.
static void send_away(void) { OK(hmm_migrate((const char *)x, SIZE, 0, NULL)); }

// The runtime's faults are served; the handler gets the program's.
static void faults_go_where_they_belong(void) {
    calls = 0;
    for (size_t i = 0; i < SIZE / 2; i += 4096) CHECK(x[i] == 3);
    for (size_t i = 0; i < SIZE; i += 4096) x[i] = 3;
    CHECK(calls == 0);
    if (sigsetjmp(out, 1) == 0) {
        guarded[5] = 1;
        CHECK(!"reached");
    }
    CHECK(calls == 1);
}

static void start(void) {
    x = hmm_malloc(SIZE);
    memset((char *)x, 3, SIZE);
    OK(hmm_migrate((const char *)x, SIZE, 0, NULL));
    guarded = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(guarded != MAP_FAILED);
}

static void by_sigaction(void) {
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = detailed;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaddset(&action.sa_mask, SIGUSR1);
    send_away();
    CHECK(sigaction(SIGSEGV, &action, &old) == 0);
    CHECK(old.sa_handler == SIG_DFL);
    CHECK(sigaction(SIGSEGV, NULL, &old) == 0);
    CHECK(old.sa_sigaction == detailed && (old.sa_flags & (SA_SIGINFO | SA_NODEFER)) == (SA_SIGINFO | SA_NODEFER));
    CHECK(sigismember(&old.sa_mask, SIGUSR1) == 1);
    faults_go_where_they_belong();
    CHECK(where == (void *)(guarded + 5));
}

static void by_signal(void) {
    signal(SIGSEGV, SIG_DFL);
    send_away();
    CHECK(signal(SIGSEGV, simple) == SIG_DFL);
    CHECK(signal(SIGSEGV, simple) == simple);
    faults_go_where_they_belong();
    send_away();
    faults_go_where_they_belong();
    struct sigaction now;
    CHECK(sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_handler == simple && (now.sa_flags & SA_RESTART));
}

static void by_system_v_signal(void) {
    send_away();
    CHECK(__sysv_signal(SIGSEGV, simple) == simple);
    faults_go_where_they_belong();
    // It was good for one fault, and not for the runtime's.
    struct sigaction now;
    CHECK(sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
}

// Where touches come as SIGBUS (userfaultfd), none of them is the program's either.
static void bus_by_signal(void) {
    send_away();
    void (*before)(int) = signal(SIGBUS, other);
#ifndef __SANITIZE_ADDRESS__ // which has one of its own
    CHECK(before == SIG_DFL);
#else
    CHECK(before != SIG_ERR && before != other);
#endif
    calls = 0;
    for (size_t i = 0; i < SIZE; i += 4096) CHECK(x[i] == 3);
    CHECK(calls == 0);
    raise(SIGBUS);
    CHECK(calls == 1 && signal(SIGBUS, SIG_DFL) == other);
}

static void other_signals(void) {
    calls = 0;
    CHECK(signal(SIGUSR1, other) == SIG_DFL);
    raise(SIGUSR1);
    raise(SIGUSR1);
    CHECK(calls == 2 && signal(SIGUSR1, SIG_IGN) == other);
    raise(SIGUSR1);
    CHECK(calls == 2 && __sysv_signal(SIGUSR1, other) == SIG_IGN);
    raise(SIGUSR1);
    CHECK(calls == 3 && signal(SIGUSR1, SIG_IGN) == SIG_DFL);
    CHECK(signal(SIGKILL, other) == SIG_ERR && signal(-1, other) == SIG_ERR);
    struct sigaction action;
    CHECK(sigaction(1000, NULL, &action) == -1);
}

static void after_shutdown(void) {
    signal(SIGSEGV, simple);
    OK(hmm_shutdown());
    struct sigaction now;
    CHECK(sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_handler == simple);
    calls = 0;
    if (sigsetjmp(out, 1) == 0) guarded[5] = 1;
    CHECK(calls == 1);
    for (size_t i = 0; i < SIZE; i += 4096) CHECK(x[i] == 3);
    CHECK(signal(SIGSEGV, SIG_DFL) == simple);
}

int main(void) {
    start();
    PART(by_sigaction);
    PART(by_signal);
    PART(by_system_v_signal);
    PART(bus_by_signal);
    PART(other_signals);
    PART(after_shutdown);
    printf("all well\n");
    return 0;
}
