// Calls that wait when the first launch opens the device and takes what they are to answer into; then comes what they wait for.
// What they have taken can't be taken again: an answer that can't be written is lost. With an argument: one that is held instead,
// so that the launch fails.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "away.h"
#include "gpu_cuda.h"

#define OK(call) CHECK((call) == 0)
enum { BYTES = 2 << 20, CALLS = 16 };

// In the program's own memory: what comes of each call.
struct call {
    long (*make)(struct call *);
    int fd, other; // what it waits for, and how that comes
    pthread_t thread;
    long answer;
    int error;
};
static struct call calls[CALLS];
static int count;

static struct {
    int status;
    struct rusage usage;
    siginfo_t info;
    uint64_t events, more;
    char bytes[64], others[64];
    struct sockaddr_in from;
    socklen_t len;
    struct timespec rest, time;
    struct iovec part;
    struct msghdr message;
    off_t where;
    unsigned char data[BYTES];
} *job;
static int file; // to be sent

static void *runs(void *of) {
    struct call *c = of;
    errno = 0;
    c->answer = c->make(c);
    c->error = errno;
    return NULL;
}
static struct call *begin(long (*make)(struct call *), int fd, int other) {
    CHECK(count < CALLS);
    struct call *c = &calls[count++];
    *c = (struct call){.make = make, .fd = fd, .other = other};
    OK(pthread_create(&c->thread, NULL, runs, c));
    return c;
}
static long end(struct call *c) {
    OK(pthread_join(c->thread, NULL));
    return c->answer;
}
static void nothing(int signal) { (void)signal; }

static long waits_for_child(struct call *c) { return waitpid(c->fd, &job->status, 0); }
static long waits_for_use(struct call *c) { return wait4(c->fd, &job->status, 0, &job->usage); }
static long waits_for_info(struct call *c) { return waitid(P_PID, (id_t)c->fd, &job->info, WEXITED); }
static long reads(struct call *c) { return read(c->fd, &job->events, 8); }
static long reads_by_number(struct call *c) { return syscall(SYS_read, c->fd, &job->more, 8); }
static long receives(struct call *c) { return recv(c->fd, job->bytes, 64, 0); }
static long receives_by_number(struct call *c) { return syscall(SYS_recvfrom, c->fd, job->bytes, 64, 0, NULL, NULL); }
static long receives_from(struct call *c) {
    job->len = sizeof job->from;
    return recvfrom(c->fd, job->others, 64, 0, (void *)&job->from, &job->len);
}
static long accepts(struct call *c) {
    job->len = sizeof job->from;
    return accept(c->fd, (void *)&job->from, &job->len);
}
static long accepts_by_number(struct call *c) {
    job->len = sizeof job->from;
    return syscall(SYS_accept4, c->fd, &job->from, &job->len, SOCK_CLOEXEC);
}
static long sleeps(struct call *c) {
    (void)c;
    job->time.tv_sec = 6000;
    return nanosleep(&job->time, &job->rest);
}
static long sleeps_by_clock(struct call *c) {
    (void)c;
    job->time.tv_sec = 6000;
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &job->time, &job->rest);
}
static long waits_for_signal(struct call *c) {
    (void)c;
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR2);
    return sigwaitinfo(&set, &job->info);
}
static long reads_vectors(struct call *c) {
    job->part = (struct iovec){&job->events, 8};
    return readv(c->fd, &job->part, 1);
}
static long reads_at_its_place(struct call *c) {
    job->part = (struct iovec){&job->events, 8};
    return preadv2(c->fd, &job->part, 1, -1, 0);
}
static long receives_message(struct call *c) {
    job->part = (struct iovec){job->bytes, 64};
    job->message = (struct msghdr){.msg_iov = &job->part, .msg_iovlen = 1};
    return recvmsg(c->fd, &job->message, 0);
}
static long waits_by_number(struct call *c) { return syscall(SYS_wait4, c->fd, &job->status, 0, NULL); }
static long sleeps_by_number(struct call *c) {
    (void)c;
    job->time.tv_sec = 6000;
    return syscall(SYS_nanosleep, &job->time, &job->rest);
}
static long sends(struct call *c) { return sendfile(c->fd, file, &job->where, 1 << 20); }

static handle context, add_bytes;

// Whether each thread but this one sleeps.
static int all_wait(void) {
    DIR *tasks = opendir("/proc/self/task");
    int waiting = 0;
    CHECK(tasks != NULL);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char name[300], line[300], state = 'R';
        snprintf(name, sizeof name, "/proc/self/task/%s/stat", task->d_name);
        FILE *stat = fopen(name, "r");
        if (stat == NULL) continue;
        if (fgets(line, sizeof line, stat) != NULL && strrchr(line, ')') != NULL) state = strrchr(line, ')')[2];
        fclose(stat);
        waiting += state == 'S';
    }
    closedir(tasks);
    return waiting >= count;
}

static int launch(unsigned char *at) {
    handle module;
    for (int seen = 0; seen < 5; seen = all_wait() ? seen + 1 : 0) usleep(20000);
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, 0));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoadData(&module, ".version 6.0\n.target sm_70\n.visible .entry test_add_bytes()\n"));
    OK(cuModuleGetFunction(&add_bytes, module, "test_add_bytes"));
    uint64_t n = BYTES;
    unsigned char one = 1;
    void *values[] = {&at, &n, &one};
    int failed = cuLaunchKernel(add_bytes, 64, 1, 1, 256, 1, 1, 0, NULL, values, NULL);
    OK(cuCtxSynchronize());
    return failed;
}

// A child that ends when it is told to.
static struct call *with_child(long (*make)(struct call *)) {
    int ends[2];
    OK(pipe(ends));
    int pid = fork();
    if (pid == 0) {
        char c;
        alarm(600);
        close(ends[1]);
        _exit(read(ends[0], &c, 1) == 1 ? 42 : 1);
    }
    return begin(make, pid, ends[1]);
}
static struct call *with_pair(long (*make)(struct call *)) {
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    return begin(make, pair[0], pair[1]);
}
static struct call *with_socket(long (*make)(struct call *), int kind) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, kind, 0), other = socket(AF_INET, kind, 0);
    OK(bind(fd, (void *)&at, len));
    OK(getsockname(fd, (void *)&at, &len));
    if (kind == SOCK_STREAM) OK(listen(fd, 5));
    struct call *c = begin(make, fd, other);
    usleep(100000);
    if (kind == SOCK_DGRAM) OK(connect(other, (void *)&at, len));
    return c;
}
static void connects(struct call *c) {
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    OK(getsockname(c->fd, (void *)&at, &len));
    OK(connect(c->other, (void *)&at, len));
    int fd = (int)end(c);
    char byte = 0;
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && read(c->other, &byte, 1) == 1 && byte == 'x');
    struct sockaddr_in own;
    OK(getsockname(c->other, (void *)&own, &len));
    CHECK(job->len == sizeof own && job->from.sin_port == own.sin_port);
}
static void is_child(struct call *c, long answer) {
    CHECK(write(c->other, "x", 1) == 1 && end(c) == answer);
    CHECK(WIFEXITED(job->status) && WEXITSTATUS(job->status) == 42);
    job->status = 0;
}
static void is_woken(struct call *c, int number) {
    OK(pthread_kill(c->thread, SIGUSR1));
    CHECK(end(c) == (number ? EINTR : -1) && (number || c->error == EINTR));
    CHECK(job->rest.tv_sec > 5000 && job->rest.tv_sec < 6000);
    job->rest.tv_sec = 0;
}
static void tells(struct call *c, char *to) {
    CHECK(send(c->other, "hello", 6, 0) == 6 && end(c) == 6 && strcmp(to, "hello") == 0);
    memset(to, 0, 6);
}

static void children(void) {
    is_child(&calls[0], calls[0].fd);
    is_child(&calls[1], calls[1].fd);
    CHECK(job->usage.ru_maxrss > 0);
    struct call *c = &calls[2];
    CHECK(write(c->other, "x", 1) == 1 && end(c) == 0 && job->info.si_pid == c->fd && job->info.si_status == 42);
}
static void counters(void) {
    OK(eventfd_write(calls[3].fd, 3));
    CHECK(end(&calls[3]) == 8 && job->events == 3);
    OK(eventfd_write(calls[4].fd, 4));
    CHECK(end(&calls[4]) == 8 && job->more == 4);
}
static void messages(void) {
    tells(&calls[5], job->bytes);
    tells(&calls[6], job->bytes);
    tells(&calls[7], job->others);
    struct sockaddr_in own;
    socklen_t len = sizeof own;
    OK(getsockname(calls[7].other, (void *)&own, &len));
    CHECK(job->len == len && job->from.sin_port == own.sin_port);
}
static void connections(void) {
    connects(&calls[8]);
    connects(&calls[9]);
}
static void times(void) {
    is_woken(&calls[10], 0);
    is_woken(&calls[11], 1);
}
static void signals(void) {
    OK(pthread_kill(calls[12].thread, SIGUSR2));
    CHECK(end(&calls[12]) == SIGUSR2 && job->info.si_signo == SIGUSR2 && job->info.si_pid == getpid());
}
static void held_vectors(void) {
    OK(eventfd_write(calls[0].fd, 3));
    CHECK(end(&calls[0]) == 8 && job->events == 3);
}
static void held_message(void) { tells(&calls[0], job->bytes); }
static void held_child(void) { is_child(&calls[0], calls[0].fd); }
static void held_time(void) { is_woken(&calls[0], 0); }
// All that it says it has sent, and no more.
static void held_place(void) {
    static char to[1 << 16];
    long sent = 0, n;
    while (sent < 1 << 20 && (n = read(calls[0].other, to, sizeof to)) > 0) sent += n;
    CHECK(end(&calls[0]) == 1 << 20 && job->where == 1 << 20 && recv(calls[0].other, to, 1, MSG_DONTWAIT) == -1);
}

int main(int argc, char **argv) {
    alarm(600);
    struct sigaction woken = {.sa_handler = nothing};
    OK(sigaction(SIGUSR1, &woken, NULL));
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR2);
    OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
    CHECK((job = calloc(1, sizeof *job)) != NULL);
    look_up();
    if (argc > 1) {
        int pair[2];
        switch (argv[1][0]) {
        case 'v': begin(reads_vectors, eventfd(0, 0), 0); break;
        case 'p': begin(reads_at_its_place, eventfd(0, 0), 0); break;
        case 'm': with_pair(receives_message); break;
        case 'c': with_child(waits_by_number); break;
        case 't': begin(sleeps_by_number, 0, 0); break;
        default:
            file = memfd_create("waits", 0);
            OK(ftruncate(file, 1 << 20));
            OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
            begin(sends, pair[0], pair[1]);
        }
        CHECK(launch(job->data) != 0); // after ten seconds
        switch (argv[1][0]) {
        case 'v':
        case 'p': PART(held_vectors); break;
        case 'm': PART(held_message); break;
        case 'c': PART(held_child); break;
        case 't': PART(held_time); break;
        default: PART(held_place);
        }
    } else {
        with_child(waits_for_child), with_child(waits_for_use), with_child(waits_for_info);
        begin(reads, eventfd(0, 0), 0), begin(reads_by_number, eventfd(0, 0), 0);
        with_pair(receives), with_pair(receives_by_number), with_socket(receives_from, SOCK_DGRAM);
        with_socket(accepts, SOCK_STREAM), with_socket(accepts_by_number, SOCK_STREAM);
        begin(sleeps, 0, 0), begin(sleeps_by_clock, 0, 0);
        begin(waits_for_signal, 0, 0);
        OK(launch(job->data));
        CHECK(bare_access(&job->events) == -EFAULT && bare_access(job->data + 100000) == -EFAULT);
        PART(children);
        PART(counters);
        PART(messages);
        PART(connections);
        PART(times);
        PART(signals);
        CHECK(job->data[BYTES - 1] == 1);
    }
    printf("all well\n");
    return 0;
}
