// Calls with pointers to arrays, messages and sets that can't be read, or only in part: says what each answers, by the C
// library, by syscall(2) and by the instruction. With the preload library it must say the same as without.

#define _GNU_SOURCE
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "away.h"

extern char **environ;
enum { BIG = 1 << 20 };
static char *one;     // memory that leaves, with the preload library
static char *bad;     // a page that can't be touched
static char *written; // a page that can't be written
#define EDGE(type) ((void *)(bad - sizeof(type))) // the first of an array whose rest can't be read

static long bare(long n, long a, long b, long c, long d, long e, long f) {
#if defined __x86_64__
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return r;
#else
    long r = syscall(n, a, b, c, d, e, f);
    return r == -1 ? -errno : r;
#endif
}

static void said(const char *how, const char *what, int line, long answer, int error) {
    printf("%d %s %s: %ld %d\n", line, how, what, answer, answer == -1 ? error : 0);
    fflush(stdout);
}
// By the C library.
#define CALL(...)                                                \
    do {                                                         \
        errno = 0;                                               \
        long answer = (long)(__VA_ARGS__);                       \
        said("library", #__VA_ARGS__, __LINE__, answer, errno);  \
    } while (0)
#define SIX(n, a, b, c, d, e, f, ...) n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)
// By its number, both ways.
#define RAW(...)                                                                       \
    do {                                                                               \
        errno = 0;                                                                     \
        long answer = syscall(SIX(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0));                  \
        said("syscall", #__VA_ARGS__, __LINE__, answer, errno);                        \
        answer = bare(SIX(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0));                          \
        said("bare", #__VA_ARGS__, __LINE__, answer < 0 ? -1 : answer, (int)-answer);  \
    } while (0)

static void vectors(void) {
    int fds[2];
    CHECK(pipe(fds) == 0);
    struct iovec *edge = EDGE(struct iovec);
    *edge = (struct iovec){written, 1};
    struct iovec *const all[] = {(void *)bad, edge, (void *)-4000L};
    for (int i = 0; i < 3; i++) {
        struct iovec *v = all[i];
        CALL(readv(fds[0], v, 2));
        CALL(writev(fds[1], v, 2));
        CALL(preadv(0, v, 2, 0));
        CALL(pwritev2(1, v, 2, 0, 0));
        CALL(vmsplice(fds[1], v, 2, 0));
        struct iovec own = {one, 8};
        CALL(process_vm_readv(getpid(), v, 2, &own, 1, 0));
        CALL(process_vm_readv(getpid(), &own, 1, v, 2, 0));
        CALL(process_vm_writev(getpid(), &own, 1, v, 2, 0));
        RAW(SYS_readv, fds[0], v, 2);
        RAW(SYS_writev, fds[1], v, 2);
        RAW(SYS_process_vm_writev, getpid(), v, 2, &own, 1, 0);
    }
#if __GLIBC_PREREQ(2, 36)
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    CALL(process_madvise(self, (void *)16, 1, MADV_DONTNEED, 0));
    CALL(process_madvise(self, edge, 2, MADV_DONTNEED, 0));
    CHECK(close(self) == 0);
#endif
    // What can be read is read where it is, away or not.
    struct iovec *far = (struct iovec *)(one + 3 * 4096 - sizeof *far);
    far[0] = (struct iovec){one, 4};
    far[1] = (struct iovec){one + 4096 * 8, 4};
    fill(one, 4, 1);
    fill(one + 4096 * 8, 4, 2);
    if (getenv("HMMRT_CHAOS") != NULL) (void)AWAY(far);
    CALL(writev(fds[1], far, 2));
    CALL(syscall(SYS_writev, fds[1], far, 2));
    char back[8];
    CALL(read(fds[0], back, 8));
    expect(back, 4, 1);
    expect(back + 4, 4, 2);
}

static void messages(void) {
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
    struct msghdr *m = (void *)-8L;
    CALL(sendmsg(fds[0], m, 0));
    m = (void *)bad;
    CALL(sendmsg(fds[0], m, 0));
    CALL(recvmsg(fds[0], m, MSG_DONTWAIT));
    CALL(sendmmsg(fds[0], (void *)bad, 2, 0));
    CALL(recvmmsg(fds[0], (void *)bad, 2, MSG_DONTWAIT, NULL));
    RAW(SYS_sendmsg, fds[0], m, 0);
    RAW(SYS_recvmsg, fds[0], m, MSG_DONTWAIT);
    RAW(SYS_sendmmsg, fds[0], bad, 2, 0);
    m = EDGE(struct msghdr);
    *m = (struct msghdr){.msg_iov = (void *)bad, .msg_iovlen = 2};
    CALL(sendmsg(fds[0], m, 0));
    CALL(recvmsg(fds[0], m, MSG_DONTWAIT));
    RAW(SYS_sendmsg, fds[0], m, 0);
    struct mmsghdr *all = EDGE(struct mmsghdr);
    struct iovec text = {"text", 4};
    *all = (struct mmsghdr){.msg_hdr = {.msg_iov = &text, .msg_iovlen = 1}};
    CALL(sendmmsg(fds[0], all, 2, 0)); // the first is sent
    char from[200];
    CALL(recvfrom(fds[1], from, sizeof from, MSG_DONTWAIT, (void *)from, (void *)bad));
    CALL(getsockname(fds[0], (void *)from, (void *)bad));
    CALL(getsockopt(fds[0], SOL_SOCKET, SO_TYPE, from, (void *)bad));
    RAW(SYS_getsockname, fds[0], from, bad);
    RAW(SYS_getsockopt, fds[0], SOL_SOCKET, SO_TYPE, from, bad);
}

static int blocked(void) {
    uint64_t now = 0;
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, 8) == 0);
    return (now >> (SIGUSR1 - 1)) & 1;
}

static void sets(void) {
    struct timespec none = {0, 0};
    struct epoll_event event;
    int epoll = epoll_create1(0);
    sigset_t *set = (void *)bad;
    CALL(ppoll(NULL, 0, &none, set));
    CALL(pselect(0, NULL, NULL, NULL, &none, set));
    CALL(epoll_pwait(epoll, &event, 1, 0, set));
    CALL(sigsuspend(set));
    CALL(sigprocmask(SIG_BLOCK, NULL, set));
    CALL(pthread_sigmask(SIG_BLOCK, NULL, set));
    CALL(sigaltstack((void *)bad, NULL));
    CALL(sigaltstack(NULL, (void *)bad));
    RAW(SYS_ppoll, NULL, 0, &none, bad, 8);
    RAW(SYS_pselect6, 0, NULL, NULL, NULL, &none, bad);
    void *pair[2] = {bad, (void *)8};
    RAW(SYS_pselect6, 0, NULL, NULL, NULL, &none, pair);
    RAW(SYS_epoll_pwait, epoll, &event, 1, 0, bad, 8);
    RAW(SYS_rt_sigsuspend, bad, 8);
    RAW(SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, 8);
    RAW(SYS_rt_sigprocmask, SIG_BLOCK, NULL, bad, 8);
    uint64_t usr1 = 1 << (SIGUSR1 - 1);
    RAW(SYS_rt_sigprocmask, SIG_BLOCK, &usr1, written, 8);
    CALL(blocked()); // it is, although the call failed
    RAW(SYS_rt_sigaction, SIGUSR2, bad, NULL, 8);
    RAW(SYS_rt_sigaction, SIGUSR2, NULL, bad, 8);
    RAW(SYS_rt_sigaction, SIGSEGV, bad, NULL, 8);
    RAW(SYS_sigaltstack, bad, NULL);
    RAW(SYS_sigaltstack, NULL, bad);
}

static void *at_the_end(void *end) {
    CALL(readv(0, end, 1));
    CALL(sigprocmask(SIG_BLOCK, NULL, end));
    RAW(SYS_rt_sigprocmask, SIG_BLOCK, end, NULL, 8);
    return NULL;
}

// What lies behind a stack, a few KiB from where it is used.
static void behind_the_stack(void) {
    enum { STACK = 1 << 20 };
    char *stack = mmap(NULL, STACK + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED && mprotect(stack + STACK, 4096, PROT_NONE) == 0);
    pthread_attr_t attributes;
    pthread_t t;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, STACK) == 0);
    CHECK(pthread_create(&t, &attributes, at_the_end, stack + STACK) == 0 && pthread_join(t, NULL) == 0);
}

static void others(void) {
    struct timespec none = {0, 0};
    volatile nfds_t many = -1ul;
    CALL(poll((void *)one, many, 0));
    CALL(ppoll((void *)one, many, &none, NULL));
    char *const *edge = EDGE(char *);
    *(const char **)edge = "name";
    CALL(execve("/nonexistent", (void *)bad, environ));
    CALL(execve("/bin/true", (void *)bad, environ));
    CALL(execve("/bin/true", edge, environ));
    char *arguments[] = {"true", NULL};
    CALL(execve("/bin/true", arguments, (void *)bad));
    RAW(SYS_execve, "/bin/true", edge, environ);
    RAW(SYS_clone3, bad, 88);
    RAW(SYS_io_uring_setup, 4, bad);
    aio_context_t context = 0;
    CHECK(syscall(SYS_io_setup, 4, &context) == 0);
    RAW(SYS_io_submit, context, 1, bad);
    void *list[] = {bad};
    RAW(SYS_io_submit, context, 1, list);
    CHECK(syscall(SYS_io_destroy, context) == 0);
}

int main(void) {
    alarm(600);
    one = malloc(BIG);
    char *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(one != NULL && pages != MAP_FAILED);
    written = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bad = pages + 4096;
    CHECK(mprotect(bad, 4096, PROT_NONE) == 0 && written != MAP_FAILED);
    fill(one, BIG, 3);
    if (getenv("HMMRT_CHAOS") != NULL) (void)AWAY(one);
    PART(vectors);
    PART(messages);
    PART(sets);
    PART(behind_the_stack);
    PART(others);
    for (size_t i = 1 << 16; i < BIG; i++) CHECK(one[i] == (char)(i * 31 + i / 4096 + 3));
    return 0;
}
