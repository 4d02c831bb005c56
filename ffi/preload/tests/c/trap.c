// System calls made without the C library, with memory that is on a device: threads, children, signals at 1 kHz. Only
// HMMRT_SYSCALLS=trap helps here; wrapped, the first read fails. Runs with HMMRT_CHAOS=1. x86-64.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

extern char **environ;

static long raw(long n, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return r;
}
#define SIX(n, a, b, c, d, e, f, ...) raw(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define RAW(...) SIX(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

enum { BIG = 1 << 20, ROUNDS = 200 };
static char folder[200];
static char *one, *two, *small;

static void fill(char *p, size_t n, int seed) {
    for (size_t i = 0; i < n; i += 64) p[i] = (char)(i * 31 + i / 4096 + (size_t)seed);
}
static void expect(const char *p, size_t n, int seed) {
    for (size_t i = 0; i < n; i += 64) CHECK(p[i] == (char)(i * 31 + i / 4096 + (size_t)seed));
}

// Files of one thread's own, as often as chaos takes to meet each call.
static void work(char *a, char *b, int id, int rounds) {
    char name[300];
    snprintf(name, sizeof name, "%s/trap%d", folder, id);
    char *path = strcpy(b + BIG - 4096, name);
    long fd = RAW(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    size_t n = BIG - 8192;
    struct iovec *iov = (struct iovec *)(a + BIG - 4096);
    for (int round = 0; round < rounds; round++) {
        fill(a, n, round);
        CHECK(RAW(SYS_pwrite64, fd, a, n, 0) == (long)n);
        memset(b, 0, n);
        CHECK(RAW(SYS_pread64, fd, b, n, 0) == (long)n);
        expect(b, n, round);
        memset(b, 0, n);
        iov[0] = (struct iovec){b, n / 2};
        iov[1] = (struct iovec){b + n / 2, n - n / 2};
        CHECK(RAW(SYS_preadv, fd, iov, 2, 0, 0) == (long)n);
        expect(b, n, round);
        struct stat *st = (struct stat *)(b + BIG - 8192);
        CHECK(RAW(SYS_fstat, fd, st) == 0 && st->st_size == (long)n);
        CHECK(RAW(SYS_newfstatat, AT_FDCWD, path, st, 0) == 0 && st->st_size == (long)n);
    }
    CHECK(RAW(SYS_close, fd) == 0 && RAW(SYS_unlinkat, AT_FDCWD, path, 0) == 0);
    CHECK(RAW(SYS_read, -1, a, 10) == -EBADF && RAW(SYS_read, fd, 8, 10) == -EBADF);
}

static void one_thread(void) {
    work(one, two, 0, ROUNDS);
    // What the C library does by itself.
    for (int i = 0; i < ROUNDS; i++) {
        struct timespec *t = (struct timespec *)small;
        *t = (struct timespec){0, 1000};
        CHECK(RAW(SYS_nanosleep, t, NULL) == 0);
        int *word = (int *)(small + 4096);
        *word = 1;
        t->tv_nsec = 1000;
        long r = RAW(SYS_futex, word, FUTEX_WAIT_PRIVATE, 1, t);
        CHECK(r == -ETIMEDOUT);
        struct timespec *res = (struct timespec *)(small + 8192);
        CHECK(RAW(SYS_clock_getres, CLOCK_MONOTONIC, res) == 0 && res->tv_sec == 0);
    }
}

static void *thread(void *arg) {
    char *a = malloc(BIG), *b = malloc(BIG);
    work(a, b, (int)(intptr_t)arg, ROUNDS / 4);
    free(a);
    free(b);
    return NULL;
}

static void threads(void) {
    for (int round = 0; round < 3; round++) {
        pthread_t t[4];
        for (int i = 0; i < 4; i++) CHECK(pthread_create(&t[i], NULL, thread, (void *)(intptr_t)(i + 1)) == 0);
        for (int i = 0; i < 4; i++) CHECK(pthread_join(t[i], NULL) == 0);
    }
}

static void ends_with(pid_t child, int code) {
    int *status = (int *)small;
    *status = 0;
    CHECK(RAW(SYS_wait4, child, status, 0, NULL) == child);
    CHECK(WIFEXITED(*status) && WEXITSTATUS(*status) == code);
}

static int child_of_clone(void *arg) {
    return RAW(SYS_getpid) > 0 && arg == one ? 6 : 1;
}

static void *reads(void *arg) {
    (void)arg;
    CHECK(RAW(SYS_getppid) > 0);
    return NULL;
}

// A child that begins on another stack with a function, by clone or by clone3, without the C library.
static pid_t begins_on(char *top, int (*function)(void *), void *argument, int by_clone3) {
    struct {
        unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, more[3];
    } a = {.exit_signal = SIGCHLD, .stack = (uintptr_t)top - 16384, .stack_size = 16384};
    void **words = (void **)top;
    words[-1] = words[-2] = NULL;
    words[-3] = argument;
    words[-4] = (void *)(uintptr_t)function;
    a.stack_size -= 32; // where the two are
    long number = by_clone3 ? SYS_clone3 : SYS_clone;
    long first = by_clone3 ? (long)(uintptr_t)&a : SIGCHLD;
    long second = by_clone3 ? (long)sizeof a : (long)(uintptr_t)(words - 4);
    register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0;
    long child;
    __asm__ volatile(
        "syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\txor %%ebp, %%ebp\n\tpop %%rax\n\tpop %%rdi\n\tcall *%%rax\n\t"
        "mov %%eax, %%edi\n\tmov $60, %%eax\n\tsyscall\n1:"
        : "=a"(child)
        : "a"(number), "D"(first), "S"(second), "d"(0L), "r"(r10), "r"(r8)
        : "rcx", "r11", "memory");
    return (pid_t)child;
}

static char *a_stack;

static int sees_all(void *seed) {
    char here;
    if (&here < a_stack || &here >= a_stack + BIG) return 2; // not on that stack
    for (size_t i = 0; i < BIG; i += 64)
        if (one[i] != (char)(i * 31 + i / 4096 + (size_t)*(int *)seed)) return 1;
    memset(one, 0, BIG);
    return RAW(SYS_getpid) > 0 ? 8 : 3;
}

// Children with memory of their own, on stacks that are managed.
static void children_on_stacks(void) {
    a_stack = malloc(BIG);
    for (int i = 0; i < 40; i++) {
        fill(one, BIG, i);
        usleep(500); // likely away then
        pid_t child = begins_on(a_stack + BIG, sees_all, &i, i % 2);
        CHECK(child > 0);
        ends_with(child, 8);
        expect(one, BIG, i);
    }
    struct {
        unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } bad = {.exit_signal = SIGCHLD, .stack = (uintptr_t)a_stack};
    CHECK(RAW(SYS_clone3, &bad, sizeof bad) == -EINVAL);
    free(a_stack);
}

static void children(void) {
    for (volatile int round = 0; round < 5; round++) {
        fill(one, BIG, round);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            expect(one, BIG, round);
            int fd = open("/dev/zero", O_RDONLY);
            CHECK(RAW(SYS_read, fd, one, BIG) == BIG && one[64] == 0);
            // Its own threads and children, too.
            pthread_t t;
            CHECK(pthread_create(&t, NULL, reads, NULL) == 0 && pthread_join(t, NULL) == 0);
            if (fork() == 0) _exit(0);
            _exit(3);
        }
        ends_with(child, 3);
        char **argv = (char **)small;
        argv[0] = strcpy(small + 4096, "/bin/sh");
        argv[1] = strcpy(small + 8192, "-c");
        argv[2] = strcpy(small + 12288, "exit 7");
        argv[3] = NULL;
        CHECK(posix_spawn(&child, argv[0], NULL, NULL, argv, environ) == 0);
        ends_with(child, 7);
        argv[0] = strcpy(small + 4096, "/bin/sh");
        argv[1] = strcpy(small + 8192, "-c");
        argv[2] = strcpy(small + 12288, "exit 7");
        child = vfork();
        CHECK(child >= 0);
        if (child == 0) {
            RAW(SYS_execve, argv[0], argv, environ);
            _exit(1);
        }
        ends_with(child, 7);
        CHECK(WEXITSTATUS(system("exit 5")) == 5);
        char *stack = malloc(65536);
        child = clone(child_of_clone, stack + 65536, SIGCHLD, one);
        CHECK(child > 0);
        ends_with(child, 6);
        child = clone(child_of_clone, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, one);
        CHECK(child > 0);
        ends_with(child, 6);
        free(stack);
    }
    // There are 256 places for children on their way; none gets lost.
    char *stack = malloc(65536);
    for (int i = 0; i < 300; i++) {
        CHECK(RAW(SYS_clone, CLONE_VM | CLONE_THREAD, small) == -EINVAL);
        pid_t child = clone(child_of_clone, stack + 65536, (i % 2 ? CLONE_VM | CLONE_VFORK : 0) | SIGCHLD, one);
        CHECK(child > 0);
        ends_with(child, 6);
        pthread_t t;
        CHECK(pthread_create(&t, NULL, reads, NULL) == 0 && pthread_join(t, NULL) == 0);
    }
    free(stack);
}

static volatile long ticks;
static void on_tick(int s) {
    (void)s;
    ticks++;
    CHECK(RAW(SYS_getpid) > 0);
}

static void signals(void) {
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    work(one, two, 0, ROUNDS);
    threads();
    for (int i = 0; i < 100000 && ticks <= 10; i++) work(one, two, 0, 1);
    // A call that waits goes on after a handler with SA_RESTART.
    int p[2];
    CHECK(pipe(p) == 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        CHECK(write(p[1], "word", 4) == 4);
        _exit(0);
    }
    CHECK(RAW(SYS_read, p[0], one, 4) == 4 && memcmp(one, "word", 4) == 0);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0 && ticks > 10);
    ends_with(child, 0);
    // And is interrupted by one without it.
    action.sa_flags = 0;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    // Again and again: the first may come before the call.
    struct itimerval again = {{0, 5000}, {0, 5000}}, soon = {{0, 0}, {0, 5000}};
    CHECK(setitimer(ITIMER_REAL, &again, NULL) == 0);
    CHECK(RAW(SYS_read, p[0], one, 4) == -EINTR);
    struct timespec *t = (struct timespec *)small, *rest = (struct timespec *)(small + 4096);
    *t = (struct timespec){1000, 0};
    CHECK(RAW(SYS_nanosleep, t, rest) == -EINTR && rest->tv_sec >= 500 && rest->tv_sec < 1000);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    // A mask lasts, and never has what would kill.
    uint64_t all = ~0ull, old = 0, now = 0;
    CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, 8) == 0 && old == 0);
    CHECK(RAW(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, 8) == 0 && now & 1ull << (SIGUSR1 - 1));
    ticks = 0;
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    usleep(10000);
    CHECK(ticks == 0);
    work(one, two, 0, 3);
    uint64_t but = ~(1ull << (SIGALRM - 1));
    CHECK(RAW(SYS_rt_sigsuspend, &but, 8) == -EINTR && ticks == 1);
    CHECK(RAW(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, 8) == 0);
    close(p[0]);
    close(p[1]);
}

static sigjmp_buf away;
static void on_fault(int s, siginfo_t *info, void *context) {
    (void)context;
    CHECK(s == SIGSEGV && info->si_addr == (void *)16);
    siglongjmp(away, 1);
}
// What a handler returns to, as the kernel wants it of who does without the C library.
void restorer(void);
__asm__(".text\nrestorer: mov $15, %eax\nsyscall\n");
static char *nothing;
static void on_bus(int s, siginfo_t *info, void *context) {
    (void)context;
    CHECK(s == SIGBUS && info->si_addr == nothing);
    siglongjmp(away, 1);
}
static volatile int system_calls;
static void on_sys(int s) {
    system_calls += s == SIGSYS;
}

// The program's own handlers, set with and without the C library; its signal stack.
static void handlers(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER}, back;
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } kernels = {0};
    CHECK(RAW(SYS_rt_sigaction, SIGSEGV, NULL, &kernels, 8) == 0 && kernels.handler == (void *)on_fault);
    for (int i = 0; i < 3; i++) {
        if (sigsetjmp(away, 1) == 0) {
            *(volatile int *)16 = 1;
            CHECK(0);
        }
        work(one, two, 0, 2);
        CHECK(RAW(SYS_rt_sigaction, SIGSEGV, &kernels, NULL, 8) == 0);
    }
    // Likewise SIGBUS, by which touches come with HMMRT_FAULT=uffd: here it is a page behind the end of a file.
    char name[300];
    snprintf(name, sizeof name, "%s/empty", folder);
    int fd = open(name, O_RDONLY | O_CREAT, 0600);
    nothing = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(fd >= 0 && nothing != MAP_FAILED && close(fd) == 0);
    kernels.handler = (void *)on_bus;
    kernels.flags |= 0x04000000;
    kernels.restorer = (void *)restorer;
    for (volatile int i = 0; i < 3; i++) {
        CHECK(RAW(SYS_rt_sigaction, SIGBUS, &kernels, NULL, 8) == 0);
        work(one, two, 0, 20);
        if (sigsetjmp(away, 1) == 0) {
            *(volatile char *)nothing;
            CHECK(0);
        }
    }
    CHECK(RAW(SYS_rt_sigaction, SIGBUS, NULL, &kernels, 8) == 0 && kernels.handler == (void *)on_bus);
    CHECK(signal(SIGBUS, SIG_DFL) == (void *)on_bus && munmap(nothing, 4096) == 0);
    CHECK(signal(SIGSYS, on_sys) == SIG_DFL && raise(SIGSYS) == 0 && system_calls == 1);
    CHECK(sigaction(SIGSYS, NULL, &back) == 0 && back.sa_handler == on_sys);
    CHECK(signal(SIGSYS, SIG_IGN) == on_sys && raise(SIGSYS) == 0 && system_calls == 1);
    CHECK(prctl(59, 0, 0, 0, 0) == -1 && errno == EINVAL);
    char *room = malloc(1 << 16);
    stack_t stack = {.ss_sp = room, .ss_size = 1 << 16}, old;
    CHECK(RAW(SYS_sigaltstack, &stack, NULL) == 0 && RAW(SYS_sigaltstack, NULL, &old) == 0 && old.ss_sp == room);
    action = (struct sigaction){.sa_handler = on_tick, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    ticks = 0;
    for (int i = 0; i < 100; i++) CHECK(raise(SIGUSR1) == 0 && usleep(100) == 0);
    CHECK(ticks == 100);
    stack.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&stack, NULL) == 0);
    free(room);
    // What came from a sandbox that is not there ends a program, as it does by itself.
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSYS, SIG_DFL);
        raise(SIGSYS);
        _exit(1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void *cancelled(void *arg) {
    int *p = arg;
    (void)!read(p[0], one, 100);
    return NULL;
}

static void cancellation(void) {
    int p[2];
    CHECK(pipe(p) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        CHECK(pthread_create(&t, NULL, cancelled, p) == 0);
        usleep(i * 300);
        void *result;
        CHECK(pthread_cancel(t) == 0 && pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
    }
    close(p[0]);
    close(p[1]);
}

int main(int argc, char **argv) {
    CHECK(argc == 2 || argc == 3);
    if (strcmp(argv[1], "cost") == 0) {
        enum { CALLS = 300000 };
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int i = 0; i < CALLS; i++) RAW(SYS_getppid);
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%.0f ns a call\n", ((b.tv_sec - a.tv_sec) * 1e9 + b.tv_nsec - a.tv_nsec) / CALLS);
        return 0;
    }
    snprintf(folder, sizeof folder, "%s", argv[1]);
    small = aligned_alloc(4096, 5 * 4096);
    one = malloc(BIG);
    two = malloc(BIG);
    if (argc == 3) { // no more than that: where touches look into /proc, the number of a file is not free at once
        handlers();
        return 0;
    }
    PART(one_thread);
    PART(threads);
    PART(children);
    PART(children_on_stacks);
    PART(signals);
    PART(handlers);
    PART(cancellation);
    return 0;
}
