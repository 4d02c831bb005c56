// Signal masks that block everything, set in every way there is, and memory that is on a device: a touch with SIGSEGV
// blocked kills. Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <setjmp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "away.h"

enum { BIG = 1 << 20 };
#define BIT(signal) (1 << ((signal)-1))
static char *one;
static sigset_t full;

static void touch(void) {
    one[0] = 'h';
    CHECK(*AWAY(one) == 'h');
}

static int blocked(int s) {
    sigset_t now;
    CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
    return sigismember(&now, s);
}

// Nothing is blocked any more.
static void open_all(void) {
    sigset_t none;
    sigemptyset(&none);
    CHECK(sigprocmask(SIG_SETMASK, &none, NULL) == 0 && !blocked(SIGSEGV) && !blocked(SIGUSR1));
}

// The program is told what it has asked for.
static void asked(void) {
    sigset_t set, old;
    CHECK(!blocked(SIGSEGV) && !blocked(SIGBUS));
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0 && !sigismember(&old, SIGSEGV));
    CHECK(blocked(SIGSEGV) && !blocked(SIGBUS));
    touch();
    CHECK(pthread_sigmask(SIG_SETMASK, &full, &old) == 0 && sigismember(&old, SIGSEGV) && !sigismember(&old, SIGUSR1));
    CHECK(blocked(SIGSEGV) && blocked(SIGBUS) && blocked(SIGUSR1) && !blocked(32) && !blocked(33));
    touch();
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && !blocked(SIGSEGV) && blocked(SIGBUS));
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0 && blocked(SIGSEGV) && !blocked(SIGUSR1));
    open_all();
    errno = 0;
    CHECK(sigprocmask(77, &full, NULL) == -1 && errno == EINVAL);
    CHECK(pthread_sigmask(77, &full, NULL) == EINVAL);
}

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static volatile int handled;
static void on_alarm(int s) {
    (void)s;
    handled += *one == 'h'; // it is away
}

static void older_ways(void) {
    CHECK(sighold(SIGSEGV) == 0 && blocked(SIGSEGV));
    touch();
    CHECK(sigrelse(SIGSEGV) == 0 && !blocked(SIGSEGV));
    CHECK(sigset(SIGSEGV, SIG_HOLD) == SIG_DFL && blocked(SIGSEGV));
    touch();
    CHECK(sigset(SIGSEGV, SIG_DFL) == SIG_HOLD && !blocked(SIGSEGV));
    touch();
    CHECK(sigignore(SIGSEGV) == 0);
    touch();
    CHECK(sigset(SIGSEGV, SIG_DFL) == SIG_IGN);
    touch();
    CHECK(siginterrupt(SIGSEGV, 1) == 0);
    touch();
    // Touches may come as this one.
    CHECK(siginterrupt(SIGBUS, 0) == 0);
    touch();
    CHECK(sigset(SIGBUS, on_alarm) == SIG_DFL);
    touch();
    CHECK(sigignore(SIGBUS) == 0);
    touch();
    CHECK(sigset(SIGBUS, SIG_DFL) == SIG_IGN);
    touch();
    CHECK((sigblock(~0) & BIT(SIGSEGV)) == 0 && (sigsetmask(~0) & BIT(SIGSEGV)) != 0);
    touch();
    CHECK(blocked(SIGUSR1));
    sigsetmask(0);
    unsigned long bare = ~0ul, old = 0;
    CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &bare, &old, 8) == 0 && old == 0);
    touch();
    open_all();
    errno = 0;
    CHECK(sighold(99) == -1 && errno == EINVAL);
}

// Handlers that come while something waits with a mask.
static void waiting(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct sigaction back;
    CHECK(sigaction(SIGALRM, NULL, &back) == 0 && sigismember(&back.sa_mask, SIGSEGV));
    sigset_t but = full;
    sigdelset(&but, SIGALRM);
    int e = epoll_create1(0);
    for (int how = 0; how < 9; how++) {
        CHECK(sigprocmask(SIG_SETMASK, &full, NULL) == 0);
        handled = 0;
        one[0] = 'h';
        AWAY(one);
        struct itimerval soon = {.it_value.tv_usec = 1000};
        CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
        struct epoll_event ev;
        unsigned long bare;
        memcpy(&bare, &but, 8);
        int n = 0;
        errno = 0;
        switch (how) {
        case 0: n = sigsuspend(&but); break;
        case 1: n = ppoll(NULL, 0, NULL, &but); break;
        case 2: n = pselect(0, NULL, NULL, NULL, NULL, &but); break;
        case 3: n = epoll_pwait(e, &ev, 1, -1, &but); break;
        case 4: n = syscall(SYS_ppoll, NULL, 0, NULL, &bare, 8); break;
        case 5: n = syscall(SYS_rt_sigsuspend, &bare, 8); break;
        case 6: n = syscall(SYS_pselect6, 0, NULL, NULL, NULL, NULL, (uintptr_t[]){(uintptr_t)&bare, 8}); break;
        case 7: n = epoll_pwait2(e, &ev, 1, NULL, &but); break;
        case 8: n = sigpause(SIGALRM); break;
        }
        CHECK(n == -1 && errno == EINTR && handled == 1);
        CHECK(blocked(SIGALRM) && blocked(SIGSEGV));
    }
    close(e);
    open_all();
}

static void *in_thread(void *arg) {
    (void)arg;
    touch();
    CHECK(sigprocmask(SIG_SETMASK, &full, NULL) == 0);
    touch();
    return NULL;
}

static void threads(void) {
    CHECK(sigprocmask(SIG_SETMASK, &full, NULL) == 0);
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    for (int i = 0; i < 2; i++) {
        if (i) CHECK(pthread_attr_setsigmask_np(&attributes, &full) == 0);
        pthread_t t;
        CHECK(pthread_create(&t, &attributes, in_thread, NULL) == 0 && pthread_join(t, NULL) == 0);
    }
    open_all();
    CHECK(sigprocmask(SIG_SETMASK, &full, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(*one == 'h' && blocked(SIGSEGV));
        _exit(3);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 3);
    open_all();
}

static jmp_buf back;
static volatile int faults;

static void unblocks_and_jumps(int s) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, s);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    faults++;
    longjmp(back, 1);
}

// Real faults, each answered by a handler that unblocks the signal itself and jumps out. The second would kill if it still
// counted as one in the handler.
static void handlers_that_jump(void) {
    struct sigaction action = {.sa_handler = unblocks_and_jumps}, old;
    CHECK(sigaction(SIGSEGV, &action, &old) == 0);
    for (int i = 0; i < 5; i++) {
        if (setjmp(back) == 0) *(volatile int *)16 = 1;
        CHECK(faults == i + 1);
    }
    // What a child of vfork sets is its own.
    pid_t child = vfork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, NULL, 0) == child);
    if (setjmp(back) == 0) *(volatile int *)16 = 1;
    CHECK(faults == 6);
    struct sigaction now;
    CHECK(sigaction(SIGSEGV, &old, &now) == 0 && now.sa_handler == unblocks_and_jumps);
}

static int forked; // nothing leaves in a child of fork

// The parent's mask, after a child of vfork that changes its own all over, or (`briefly`) opens it.
static void parents_mask(int briefly) {
    sigset_t some;
    sigemptyset(&some);
    sigaddset(&some, SIGBUS);
    CHECK(pthread_sigmask(SIG_SETMASK, &some, NULL) == 0);
    pid_t child = vfork();
    if (child == 0) {
        CHECK(!blocked(SIGSEGV) && blocked(SIGBUS)); // not its elder's
        if (briefly) {
            open_all();
            _exit(0);
        }
        CHECK(sigprocmask(SIG_SETMASK, &full, NULL) == 0 && blocked(SIGSEGV) && blocked(SIGBUS));
        if (!forked) touch();
        CHECK(sigprocmask(SIG_UNBLOCK, &some, NULL) == 0 && blocked(SIGSEGV) && !blocked(SIGBUS));
        _exit(0);
    }
    int status;
    CHECK(child > 0 && !blocked(SIGSEGV) && blocked(SIGBUS));
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// What a child of vfork blocks and unblocks is its own mask, though it shares all memory with its parent; so, too, where that
// is a child of fork.
static void childs_mask(void) {
    pid_t child = fork();
    forked = child == 0;
    for (int i = 0; i < 4; i++) parents_mask(i % 2);
    if (child == 0) _exit(0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    open_all();
}

// The kernel's struct.
struct action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};
static long act(int signal, struct action *new, struct action *old) {
    return syscall(SYS_rt_sigaction, signal, new, old, 8L);
}
static sigjmp_buf back;
static volatile int taken;
static void takes(int signal) {
    taken++;
    if (signal == SIGSEGV) siglongjmp(back, 1);
    touch();
}
static char *nowhere;

// Set by number the program's actions are as they are by the C library.
static void actions_by_number(void) {
    struct action old = {.handler = takes}, segv = {.handler = takes, .flags = SA_NODEFER};
    CHECK(act(SIGSEGV, NULL, &old) == 0 && old.handler == SIG_DFL);
    CHECK(act(SIGSEGV, &segv, &old) == 0 && old.handler == SIG_DFL);
    touch();
    CHECK(taken == 0);
    if (sigsetjmp(back, 1) == 0) *(volatile char *)nowhere = 1;
    CHECK(taken == 1);
    touch();
    struct sigaction as_set;
    CHECK(sigaction(SIGSEGV, NULL, &as_set) == 0 && as_set.sa_handler == takes && as_set.sa_flags == SA_NODEFER);
    as_set.sa_flags |= (int)SA_RESETHAND;
    CHECK(sigaction(SIGSEGV, &as_set, NULL) == 0);
    touch();
    CHECK(taken == 1);
    if (sigsetjmp(back, 1) == 0) *(volatile char *)nowhere = 1;
    CHECK(taken == 2);
    // Used once, it is gone, and its flags are not.
    CHECK(sigaction(SIGSEGV, NULL, &as_set) == 0 && as_set.sa_handler == SIG_DFL);
    CHECK(as_set.sa_flags == (int)(SA_RESETHAND | SA_NODEFER));
    as_set.sa_flags = 0;
    CHECK(sigaction(SIGSEGV, &as_set, NULL) == 0);
    // A handler with everything blocked.
    struct sigaction usr = {.sa_handler = takes};
    struct action all;
    CHECK(sigaction(SIGUSR1, &usr, NULL) == 0 && act(SIGUSR1, NULL, &all) == 0 && all.handler == takes);
    all.mask = ~0ul;
    CHECK(act(SIGUSR1, &all, NULL) == 0 && raise(SIGUSR1) == 0 && taken == 3);
    CHECK(act(SIGUSR1, (void *)nowhere, NULL) == -1 && errno == EFAULT);
    CHECK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4L) == -1 && errno == EINVAL);
    // A stack for signals in managed memory stays.
    stack_t stack = {.ss_sp = malloc(BIG), .ss_size = BIG}, before;
    CHECK(syscall(SYS_sigaltstack, &stack, &before) == 0 && syscall(SYS_sigaltstack, NULL, &before) == 0);
    CHECK(before.ss_sp == stack.ss_sp);
    usr.sa_flags = SA_ONSTACK;
    CHECK(sigaction(SIGUSR1, &usr, NULL) == 0);
    for (int i = 0; i < 20; i++) {
        usleep(1000);
        CHECK(raise(SIGUSR1) == 0 && taken == 4 + i);
    }
    before.ss_flags = SS_DISABLE;
    CHECK(syscall(SYS_sigaltstack, &before, NULL) == 0);
}

int main(int argc, char **argv) {
    sigfillset(&full);
    if (argc == 2 && strcmp(argv[1], "blocked") != 0) {
        // Starts itself with everything blocked, SIGSEGV included, as a program without the library can.
        unsigned long all = ~0ul;
#if defined __x86_64__
        register long r10 __asm__("r10") = 8;
        long r;
        __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_rt_sigprocmask), "D"(SIG_SETMASK), "S"(&all), "d"(0), "r"(r10) : "rcx", "r11", "memory");
#else
        register long x8 __asm__("x8") = SYS_rt_sigprocmask, x0 __asm__("x0") = SIG_SETMASK, x2 __asm__("x2") = 0, x3 __asm__("x3") = 8;
        register void *x1 __asm__("x1") = &all;
        __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
#endif
        execl("/proc/self/exe", argv[0], "blocked", (char *)NULL);
        return 1;
    }
    // Trapped calls block it in no program, so none inherits it.
    CHECK(blocked(SIGUSR1) && (blocked(SIGSEGV) || getenv("HMMRT_SYSCALLS") != NULL));
    one = malloc(BIG);
    touch();
    open_all();
    PART(asked);
    PART(older_ways);
    PART(waiting);
    PART(threads);
    PART(handlers_that_jump);
    PART(childs_mask);
    nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    PART(actions_by_number);
    return 0;
}
