// The kernel's own accesses to memory that is on a device: without the library's wrappers each call here fails with
// EFAULT. Runs with HMMRT_CHAOS=1 and a small HMMRT_MIN_SIZE; before each call it waits until the memory is away.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "away.h"
#include "check.h"

extern char **environ;

static char *volatile nowhere = (char *)8;
enum { ROUNDS = 3, PAGE = 4096, BIG = 1 << 20 };
static char folder[200];
// One block for small things, a page each, and two large ones.
static char *small, *one, *two;
static void *at(int page) {
    return memset(small + page * PAGE, 0, PAGE);
}
static char *text(int page, const char *s) {
    return strcpy(at(page), s);
}
static char *file(int page, const char *name) {
    snprintf(at(page), PAGE, "%s/%s", folder, name);
    return small + page * PAGE;
}

static void reads_and_writes(void) {
    for (int round = 0; round < ROUNDS; round++) {
        int fd = open(AWAY(file(0, "data")), O_RDWR | O_CREAT | O_TRUNC, 0600);
        CHECK(fd >= 0);
        fill(one, BIG, round);
        CHECK(write(fd, AWAY(one), BIG) == BIG);
        CHECK(lseek(fd, 0, SEEK_SET) == 0);
        memset(two, 0, BIG);
        CHECK(read(fd, AWAY(two), BIG) == BIG);
        expect(two, BIG, round);
        CHECK(pwrite(fd, AWAY(two) + 4096, 8192, 100) == 8192);
        memset(one, 0, BIG);
        CHECK(pread(fd, AWAY(one), 8192, 100) == 8192);
        CHECK(memcmp(one, two + 4096, 8192) == 0);

        struct iovec *iov = at(1);
        for (int i = 0; i < 4; i++) iov[i] = (struct iovec){two + i * 200000 + 5, 100001};
        fill(two, BIG, round + 1);
        AWAY(two);
        CHECK(pwritev(fd, AWAY(iov), 4, 0) == 4 * 100001);
        CHECK(pwritev2(fd, iov, 4, 4 * 100001, 0) == 4 * 100001);
        CHECK(lseek(fd, 0, SEEK_SET) == 0 && writev(fd, AWAY(iov), 4) == 4 * 100001);
        for (int i = 0; i < 4; i++) iov[i].iov_base = one + i * 200000 + 5;
        memset(one, 0, BIG);
        AWAY(one);
        CHECK(preadv(fd, AWAY(iov), 4, 4 * 100001) == 4 * 100001);
        for (int i = 0; i < 4; i++) CHECK(memcmp(one + i * 200000 + 5, two + i * 200000 + 5, 100001) == 0);
        memset(one, 0, BIG);
        AWAY(one);
        CHECK(preadv2(fd, iov, 4, 0, 0) == 4 * 100001);
        for (int i = 0; i < 4; i++) CHECK(memcmp(one + i * 200000 + 5, two + i * 200000 + 5, 100001) == 0);
        CHECK(lseek(fd, 0, SEEK_SET) == 0 && readv(fd, AWAY(iov), 4) == 4 * 100001);
        // The kernel takes arguments of any alignment.
        char *odd = (char *)at(5) + 1;
        memcpy(odd, iov, 4 * sizeof *iov);
        memset(one, 0, BIG);
        AWAY(one);
        CHECK(preadv(fd, AWAY((void *)odd), 4, 0) == 4 * 100001);
        for (int i = 0; i < 4; i++) CHECK(memcmp(one + i * 200000 + 5, two + i * 200000 + 5, 100001) == 0);
        CHECK(close(fd) == 0);

        CHECK(getrandom(AWAY(one), 100000, 0) == 100000);
        CHECK(getentropy(AWAY(one), 256) == 0);
        CHECK(syscall(SYS_getrandom, AWAY(one), 4096, 0) == 4096);
        struct iovec *remote = at(2);
        fill(two, 5000, 9);
        iov[0] = (struct iovec){one, 5000};
        remote[0] = (struct iovec){two, 5000};
        AWAY(two);
        CHECK(process_vm_readv(getpid(), AWAY(iov), 1, AWAY(remote), 1, 0) == 5000);
        expect(one, 5000, 9);
        int *n = at(3);
        CHECK(pipe(AWAY(n)) == 0 && n[0] > 2 && write(n[1], "abc", 3) == 3);
        CHECK(ioctl(n[0], FIONREAD, AWAY((int *)at(4))) == 0 && *(int *)(small + 4 * PAGE) == 3);
        // What fails does so as ever.
        errno = 0;
        CHECK(read(-1, AWAY(one), 10) == -1 && errno == EBADF);
        errno = 0;
        CHECK(write(n[1], nowhere, 10) == -1 && errno == EFAULT);
        CHECK(close(n[0]) == 0 && close(n[1]) == 0);
    }
}

static void sockets(void) {
    for (int round = 0; round < ROUNDS; round++) {
        int *fd = at(0);
        CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, AWAY(fd)) == 0);
        int a = fd[0], b = fd[1], *size = at(1);
        socklen_t *len = at(2);
        *size = 1 << 18;
        CHECK(setsockopt(a, SOL_SOCKET, SO_SNDBUF, AWAY(size), sizeof *size) == 0);
        *len = sizeof *size;
        CHECK(getsockopt(a, SOL_SOCKET, SO_SNDBUF, AWAY(size), AWAY(len)) == 0 && *size > 100);
        size_t n = 60000;
        fill(one, n, round);
        CHECK(send(a, AWAY(one), n, 0) == (ssize_t)n);
        memset(two, 0, n);
        CHECK(recv(b, AWAY(two), n, 0) == (ssize_t)n);
        expect(two, n, round);
        CHECK(sendto(a, AWAY(two), n, 0, NULL, 0) == (ssize_t)n);
        struct sockaddr_un *name = at(3);
        *len = sizeof *name;
        memset(one, 0, n);
        CHECK(recvfrom(b, AWAY(one), n, 0, AWAY((struct sockaddr *)name), AWAY(len)) == (ssize_t)n);
        expect(one, n, round);

        struct mmsghdr *m = at(4);
        struct iovec *iov = at(5);
        iov[0] = (struct iovec){one, n / 2};
        iov[1] = (struct iovec){one + n / 2, n - n / 2};
        m->msg_hdr.msg_iov = iov;
        m->msg_hdr.msg_iovlen = 2;
        AWAY(one), AWAY(iov);
        CHECK(sendmsg(a, &AWAY(m)->msg_hdr, 0) == (ssize_t)n);
        AWAY(one), AWAY(iov);
        CHECK(sendmmsg(a, AWAY(m), 1, 0) == 1);
        iov[0].iov_base = two;
        iov[1].iov_base = two + n / 2;
        for (int i = 0; i < 2; i++) {
            memset(two, 0, n);
            AWAY(two), AWAY(iov), AWAY(m);
            if (i == 0) CHECK(recvmsg(b, &m->msg_hdr, 0) == (ssize_t)n);
            else CHECK(recvmmsg(b, m, 1, 0, NULL) == 1 && m->msg_len == n);
            expect(two, n, round);
        }
        close(a);
        close(b);

        name->sun_family = AF_UNIX;
        snprintf(name->sun_path, sizeof name->sun_path, "%s/s", folder);
        unlink(name->sun_path);
        int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(bind(s, AWAY((struct sockaddr *)name), sizeof *name) == 0 && listen(s, 1) == 0);
        CHECK(connect(c, AWAY((struct sockaddr *)name), sizeof *name) == 0);
        *len = sizeof *name;
        int d = accept(s, AWAY((struct sockaddr *)name), AWAY(len));
        CHECK(d >= 0);
        *len = sizeof *name;
        CHECK(getsockname(s, AWAY((struct sockaddr *)name), AWAY(len)) == 0 && strstr(name->sun_path, folder));
        *len = sizeof *name;
        CHECK(getpeername(c, AWAY((struct sockaddr *)name), AWAY(len)) == 0 && strstr(name->sun_path, folder));
        close(s);
        close(c);
        close(d);
    }
}

static void paths(void) {
    char *buf = at(9);
    for (int round = 0; round < ROUNDS; round++) {
        struct stat *st = at(0);
        CHECK(stat(AWAY(text(1, "/dev/null")), AWAY(st)) == 0 && S_ISCHR(st->st_mode));
        memset(st, 0, sizeof *st);
        CHECK(lstat(AWAY(text(1, "/dev/null")), AWAY(st)) == 0 && S_ISCHR(st->st_mode));
        memset(st, 0, sizeof *st);
        CHECK(fstat(1, AWAY(st)) == 0 && st->st_mode != 0);
        memset(st, 0, sizeof *st);
        CHECK(fstatat(AT_FDCWD, AWAY(text(1, "/")), AWAY(st), 0) == 0 && S_ISDIR(st->st_mode));
        struct statx *stx = at(2);
        CHECK(statx(AT_FDCWD, AWAY(text(1, "/")), 0, STATX_BASIC_STATS, AWAY(stx)) == 0 && S_ISDIR(stx->stx_mode));
        struct statfs *fs = at(3);
        CHECK(statfs(AWAY(text(1, "/")), AWAY(fs)) == 0 && fs->f_bsize != 0);
        CHECK(access(AWAY(text(1, "/dev/null")), R_OK) == 0);
        CHECK(faccessat(AT_FDCWD, AWAY(text(1, "/dev/null")), R_OK, 0) == 0);

        CHECK(mkdir(AWAY(file(4, "dir")), 0700) == 0);
        CHECK(rename(AWAY(file(4, "dir")), AWAY(file(5, "other"))) == 0);
        CHECK(symlink(AWAY(text(4, "where")), AWAY(file(5, "link"))) == 0);
        CHECK(readlink(AWAY(file(5, "link")), AWAY(buf), PAGE) == 5 && memcmp(buf, "where", 5) == 0);
        CHECK(unlink(AWAY(file(5, "link"))) == 0);
        CHECK(chmod(AWAY(file(5, "other")), 0755) == 0);
        CHECK(rmdir(AWAY(file(5, "other"))) == 0);
        CHECK(getcwd(AWAY(buf), PAGE) == buf && buf[0] == '/');
        CHECK(realpath(AWAY(text(6, "/usr/../dev/null")), AWAY(buf)) == buf && strcmp(buf, "/dev/null") == 0);
        int fd = open(AWAY(text(1, "/")), O_RDONLY | O_DIRECTORY);
        CHECK(fd >= 0 && getdents64(fd, AWAY(buf), PAGE) > 0);
        close(fd);
        struct flock *lock = at(7);
        fd = open(file(4, "lock"), O_RDWR | O_CREAT, 0600);
        lock->l_type = F_WRLCK;
        CHECK(fcntl(fd, F_SETLK, AWAY(lock)) == 0);
        lock->l_type = F_WRLCK;
        CHECK(fcntl(fd, F_GETLK, AWAY(lock)) == 0 && lock->l_type == F_UNLCK);
        close(fd);
        FILE *f = fopen(AWAY(file(4, "lock")), "r");
        CHECK(f != NULL);
        fclose(f);
    }
}

static void waiting(void) {
    for (int round = 0; round < ROUNDS; round++) {
        int p[2];
        CHECK(pipe(p) == 0 && write(p[1], "x", 1) == 1);
        struct pollfd *fds = at(0);
        fds[0] = (struct pollfd){p[0], POLLIN, 0};
        CHECK(poll(AWAY(fds), 1, -1) == 1 && fds[0].revents == POLLIN);
        fds[0].revents = 0;
        sigset_t *set = at(1);
        CHECK(ppoll(AWAY(fds), 1, NULL, AWAY(set)) == 1 && fds[0].revents == POLLIN);
        fd_set *r = at(2);
        FD_SET(p[0], r);
        struct timeval *tv = at(3);
        tv->tv_sec = 5;
        CHECK(select(p[0] + 1, AWAY(r), NULL, NULL, AWAY(tv)) == 1 && FD_ISSET(p[0], r));
        CHECK(pselect(p[0] + 1, AWAY(r), NULL, NULL, NULL, AWAY(set)) == 1 && FD_ISSET(p[0], r));
        int e = epoll_create1(0);
        struct epoll_event *ev = at(4);
        *ev = (struct epoll_event){.events = EPOLLIN, .data.u64 = 77};
        CHECK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], AWAY(ev)) == 0);
        ev = at(4);
        CHECK(epoll_wait(e, AWAY(ev), 5, -1) == 1 && ev->data.u64 == 77);
        ev = at(4);
        CHECK(epoll_pwait(e, AWAY(ev), 5, -1, AWAY(set)) == 1 && ev->data.u64 == 77);
        close(e);
        close(p[0]);
        close(p[1]);
        struct timespec *t = at(5);
        t->tv_nsec = 1000;
        CHECK(nanosleep(AWAY(t), NULL) == 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, AWAY(t), NULL) == 0);
        int *status = at(6);
        pid_t child = fork();
        if (child == 0) _exit(9);
        CHECK(waitpid(child, AWAY(status), 0) == child && WEXITSTATUS(*status) == 9);
        child = fork();
        if (child == 0) _exit(9);
        siginfo_t *info = at(7);
        CHECK(waitid(P_PID, child, AWAY(info), WEXITED) == 0 && info->si_status == 9);
        struct rusage *usage = at(8);
        CHECK(getrusage(RUSAGE_SELF, AWAY(usage)) == 0 && usage->ru_maxrss > 0);
        struct utsname *un = at(10);
        CHECK(uname(AWAY(un)) == 0 && strcmp(un->sysname, "Linux") == 0);
    }
}

static void stdio(void) {
    for (int round = 0; round < ROUNDS; round++) {
        FILE *f = fopen(file(0, "stream"), "w+");
        CHECK(f != NULL);
        fill(one, BIG, round);
        CHECK(fwrite(AWAY(one), 1, BIG - 11, f) == BIG - 11);
        rewind(f);
        memset(two, 0, BIG);
        CHECK(fread(AWAY(two), 1, BIG, f) == BIG - 11 && feof(f));
        expect(two, BIG - 11, round);
        rewind(f);
        memset(two, 'a', BIG);
        two[BIG - 1] = '\0';
        CHECK(fputs(AWAY(two), f) >= 0 && fputs("\n", f) >= 0 && ftell(f) == BIG);
        rewind(f);
        memset(one, 0, BIG);
        CHECK(fgets(AWAY(one), BIG, f) == one && strlen(one) == BIG - 1);
        rewind(f);
        char *line = NULL;
        size_t room = 0;
        CHECK(getline(&line, &room, f) == BIG);
        free(line);
        rewind(f);
        fclose(f);
        // A buffer of the program's own.
        f = fopen(file(0, "stream"), "r");
        CHECK(setvbuf(f, two, _IOFBF, BIG) == 0);
        AWAY(two);
        for (int i = 0; i < 3 * PAGE; i++) CHECK(getc(f) == 'a');
        fclose(f);
    }
}

struct shared {
    sem_t ping, pong;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_rwlock_t rw;
    pthread_barrier_t barrier;
    int turn, count;
};

static void *other(void *arg) {
    struct shared *s = arg;
    for (int i = 0; i < 500; i++) {
        CHECK(sem_wait(&s->ping) == 0 && sem_post(&s->pong) == 0);
        CHECK(pthread_mutex_lock(&s->mutex) == 0);
        while (s->turn != 1) CHECK(pthread_cond_wait(&s->changed, &s->mutex) == 0);
        s->turn = 0;
        CHECK(pthread_cond_broadcast(&s->changed) == 0 && pthread_mutex_unlock(&s->mutex) == 0);
        CHECK(pthread_rwlock_wrlock(&s->rw) == 0);
        s->count++;
        CHECK(pthread_rwlock_unlock(&s->rw) == 0);
        pthread_barrier_wait(&s->barrier);
    }
    return NULL;
}

// Without the wrappers the C library says "The futex facility returned an unexpected error code" and aborts.
static void locks(void) {
    struct shared *s = at(0);
    CHECK(sem_init(&s->ping, 0, 0) == 0 && sem_init(&s->pong, 0, 0) == 0);
    CHECK(pthread_mutex_init(&s->mutex, NULL) == 0 && pthread_cond_init(&s->changed, NULL) == 0);
    CHECK(pthread_rwlock_init(&s->rw, NULL) == 0 && pthread_barrier_init(&s->barrier, NULL, 2) == 0);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, other, s) == 0);
    for (int i = 0; i < 500; i++) {
        CHECK(sem_post(&s->ping) == 0 && sem_wait(&s->pong) == 0);
        CHECK(pthread_mutex_lock(&s->mutex) == 0);
        s->turn = 1;
        CHECK(pthread_cond_signal(&s->changed) == 0);
        while (s->turn != 0) CHECK(pthread_cond_wait(&s->changed, &s->mutex) == 0);
        CHECK(pthread_mutex_unlock(&s->mutex) == 0);
        CHECK(pthread_rwlock_wrlock(&s->rw) == 0);
        s->count++;
        CHECK(pthread_rwlock_unlock(&s->rw) == 0);
        pthread_barrier_wait(&s->barrier);
    }
    CHECK(pthread_join(t, NULL) == 0 && s->count == 1000);
}

static void *cancelled(void *fd) {
    (void)!read(*(int *)fd, AWAY(one), 100);
    return NULL;
}

// A thread that is cancelled in a wrapped call ends, and lets go of what was held.
static void cancellation(void) {
    int p[2];
    CHECK(pipe(p) == 0);
    pthread_t t;
    CHECK(pthread_create(&t, NULL, cancelled, p) == 0);
    usleep(20000);
    void *result;
    CHECK(pthread_cancel(t) == 0 && pthread_join(t, &result) == 0 && result == PTHREAD_CANCELED);
    AWAY(one); // it moves again
    close(p[0]);
    close(p[1]);
}

static void exits_with_at(pid_t child, int code, int line) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code) {
        fprintf(stderr, "kernel.c:%d: the child ended with %#x\n", line, status);
        _exit(1);
    }
}

static void programs(void) {
    for (int round = 0; round < ROUNDS; round++) {
        char **argv = at(0), **env = at(1);
        argv[0] = text(2, "/bin/sh");
        argv[1] = text(3, "-c");
        argv[2] = text(4, "test \"$WORD\" = right && exit 7");
        env[0] = text(5, "WORD=right");
        pid_t child;
        AWAY(argv[2]), AWAY(argv), AWAY(env);
        CHECK(posix_spawn(&child, argv[0], NULL, NULL, argv, env) == 0);
        exits_with_at(child, 7, __LINE__);
        AWAY(argv[2]), AWAY(argv), AWAY(env);
        child = vfork();
        CHECK(child >= 0);
        if (child == 0) {
            execve(argv[0], argv, env);
            _exit(1);
        }
        exits_with_at(child, 7, __LINE__);
        AWAY(argv[2]), AWAY(argv), AWAY(env);
        child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            execve(argv[0], argv, env);
            _exit(1);
        }
        exits_with_at(child, 7, __LINE__);
        CHECK(WEXITSTATUS(system(AWAY(text(6, "exit 5")))) == 5);
        FILE *f = popen(AWAY(text(6, "echo out")), "r");
        CHECK(f != NULL && fgets(at(7), 100, f) != NULL && strcmp(small + 7 * PAGE, "out\n") == 0);
        CHECK(pclose(f) == 0);
        AWAY(argv); // nothing is left held
    }
}

// A child reads and writes with what its parent had away.
static void children(void) {
    int fd = open(file(0, "child"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int round = 0; round < ROUNDS; round++) {
        fill(one, BIG, round);
        memset(two, 0, BIG);
        AWAY(two), AWAY(one);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            alarm(600);
            CHECK(pwrite(fd, one, BIG, 0) == BIG);
            CHECK(pread(fd, two, BIG, 0) == BIG);
            expect(two, BIG, round);
            _exit(3);
        }
        exits_with_at(child, 3, __LINE__);
        for (int i = 0; i < BIG; i += 500) CHECK(two[i] == 0);
    }
    close(fd);
}

static volatile int handled;
static void on_usr1(int s) {
    (void)s;
    char on_stack[512];
    memset(on_stack, 1, sizeof on_stack);
    handled += one[0] == 'h' && on_stack[0] == 1;
}

// A blocked SIGSEGV would kill at the first touch; so would a signal stack that is away.
static void signals(void) {
    for (int round = 0; round < ROUNDS; round++) {
        sigset_t *all = at(0), *old = at(1);
        sigfillset(all);
        one[0] = 'h';
        CHECK(sigprocmask(SIG_BLOCK, AWAY(all), AWAY(old)) == 0);
        CHECK(*AWAY(one) == 'h');
        CHECK(sigismember(old, SIGUSR1) == 0);
        CHECK(pthread_sigmask(SIG_SETMASK, AWAY(old), AWAY(all)) == 0);
        CHECK(sigismember(all, SIGUSR1) == 1 && sigismember(all, SIGSEGV) == 1);
        stack_t *stack = at(2);
        stack->ss_sp = two;
        stack->ss_size = 65536;
        CHECK(sigaltstack(AWAY(stack), NULL) == 0);
        struct sigaction *action = at(3);
        action->sa_handler = on_usr1;
        action->sa_flags = SA_ONSTACK;
        CHECK(sigaction(SIGUSR1, AWAY(action), NULL) == 0);
        handled = 0;
        for (int i = 0; i < 20; i++) {
            usleep(500);
            raise(SIGUSR1);
        }
        CHECK(handled == 20);
        stack->ss_flags = SS_DISABLE;
        CHECK(sigaltstack(AWAY(stack), NULL) == 0);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    snprintf(folder, sizeof folder, "%s", argv[1]);
    small = aligned_alloc(PAGE, 11 * PAGE);
    one = malloc(BIG);
    two = malloc(BIG);
    PART(reads_and_writes);
    PART(sockets);
    PART(paths);
    PART(waiting);
    PART(stdio);
    PART(locks);
    PART(cancellation);
    PART(programs);
    PART(children);
    PART(signals);
    CHECK(waits > 100);
    return 0;
}
