// Calls that are told where to answer, or what to do, in memory that is on a device: clocks and timers, signals, queues, limits,
// ids, scheduling, and the rarer ones of files. Without the library's wrappers each fails with EFAULT, or the C library aborts.
// Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/futex.h>
#include <mntent.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pty.h>
#include <resolv.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <threads.h>
#include <time.h>
#include <utime.h>

#include "away.h"

// Not in every C library.
extern void arc4random_buf(void *to, size_t n) __attribute__((weak));
extern int __getgroups_chk(int n, gid_t *to, size_t room);
extern int pidfd_send_signal(int fd, int signal, siginfo_t *info, unsigned flags);
extern int capget(void *header, void *data);
extern ssize_t __readlinkat_chk(int at, const char *path, char *to, size_t n, size_t room);
extern ssize_t getdirentries(int fd, char *to, size_t n, off_t *at);

enum { ROUNDS = 2, PAGE = 4096, PAGES = 8 };
static char folder[200];
static char *block;
static void *at(int page) {
    return memset(block + page * PAGE, 0, PAGE);
}
static char *text(int page, const char *s) {
    return strcpy(at(page), s);
}
static char *file(int page, const char *name) {
    snprintf(at(page), PAGE, "%s/%s", folder, name);
    return block + page * PAGE;
}
// What may be refused, but for another reason.
static int refused(long answer) {
    return answer == -1 && errno != EFAULT;
}

static void clocks(void) {
    for (int round = 0; round < ROUNDS; round++) {
        struct timespec *t = at(0);
        clockid_t own;
        CHECK(pthread_getcpuclockid(pthread_self(), &own) == 0);
        CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, AWAY(t)) == 0 && t->tv_sec + t->tv_nsec > 0);
        CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, AWAY(t)) == 0 && clock_gettime(own, AWAY(t)) == 0);
        CHECK(clock_gettime(CLOCK_MONOTONIC, AWAY(t)) == 0 && t->tv_sec + t->tv_nsec > 0);
        CHECK(clock_getres(CLOCK_PROCESS_CPUTIME_ID, AWAY(t)) == 0 && t->tv_nsec > 0);
        struct timeval *tv = at(1);
        CHECK(gettimeofday(AWAY(tv), NULL) == 0 && tv->tv_sec > 0);
        CHECK(adjtimex(AWAY((struct timex *)at(2))) != -1);

        struct itimerval *i = at(3), *old = at(4);
        i->it_value.tv_sec = 1000;
        AWAY(i);
        CHECK(setitimer(ITIMER_REAL, i, AWAY(old)) == 0 && getitimer(ITIMER_REAL, AWAY(old)) == 0);
        CHECK(old->it_value.tv_sec > 900 && setitimer(ITIMER_REAL, AWAY((struct itimerval *)at(3)), NULL) == 0);
        struct itimerspec *is = at(3), *before = at(4);
        is->it_value.tv_sec = 1000;
        int fd = timerfd_create(CLOCK_MONOTONIC, 0);
        AWAY(is);
        CHECK(timerfd_settime(fd, 0, is, AWAY(before)) == 0 && timerfd_gettime(fd, AWAY(before)) == 0);
        CHECK(before->it_value.tv_sec > 900 && close(fd) == 0);
        timer_t timer;
        struct sigevent none = {.sigev_notify = SIGEV_NONE};
        CHECK(timer_create(CLOCK_MONOTONIC, &none, &timer) == 0);
        AWAY(is);
        CHECK(timer_settime(timer, 0, is, AWAY(before)) == 0 && timer_gettime(timer, AWAY(before)) == 0);
        CHECK(before->it_value.tv_sec > 900 && timer_delete(timer) == 0);
        t->tv_sec = 0, t->tv_nsec = 1000;
        CHECK(thrd_sleep(AWAY(t), NULL) == 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, AWAY(t), NULL) == 0);
    }
}

static void signals(void) {
    sigset_t set, *away = at(0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        *away = set;
        siginfo_t *info = at(1);
        struct timespec *t = at(2);
        t->tv_sec = 1;
        int *which = at(3);
        raise(SIGUSR1);
        sigset_t *pending = at(4);
        CHECK(sigpending(AWAY(pending)) == 0 && sigismember(pending, SIGUSR1));
        AWAY(away);
        CHECK(sigwaitinfo(away, AWAY(info)) == SIGUSR1 && info->si_pid == getpid());
        raise(SIGUSR1);
        AWAY(away), AWAY(info);
        CHECK(sigtimedwait(away, info, AWAY(t)) == SIGUSR1);
        raise(SIGUSR1);
        CHECK(sigwait(AWAY(away), which) == 0 && *which == SIGUSR1);
        int fd = signalfd(-1, AWAY(away), 0);
        CHECK(fd >= 0 && close(fd) == 0);
    }
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
}

static void queues(void) {
    for (int round = 0; round < ROUNDS; round++) {
        struct message {
            long kind;
            char bytes[100];
        } *m = at(0);
        int q = msgget(IPC_PRIVATE, 0600), s = semget(IPC_PRIVATE, 3, 0600), shm = shmget(IPC_PRIVATE, PAGE, 0600);
        CHECK(q >= 0 && s >= 0 && shm >= 0);
        m->kind = 1;
        m->bytes[99] = 'm';
        CHECK(msgsnd(q, AWAY(m), 100, IPC_NOWAIT) == 0);
        m = at(0);
        CHECK(msgrcv(q, AWAY(m), 100, 0, IPC_NOWAIT) == 100 && m->kind == 1 && m->bytes[99] == 'm');
        struct msqid_ds *ds = at(1);
        CHECK(msgctl(q, IPC_STAT, AWAY(ds)) == 0 && ds->msg_qbytes > 0 && msgctl(q, IPC_RMID, NULL) == 0);
        struct sembuf *op = at(1);
        op->sem_op = 5;
        CHECK(semop(s, AWAY(op), 1) == 0);
        unsigned short *all = at(2);
        CHECK(semctl(s, 0, GETALL, AWAY(all)) == 0 && all[0] == 5 && all[2] == 0);
        all[2] = 7;
        CHECK(semctl(s, 0, SETALL, AWAY(all)) == 0 && semctl(s, 2, GETVAL) == 7);
        CHECK(semctl(s, 2, SETVAL, 8) == 0 && semctl(s, 2, GETVAL) == 8);
        struct semid_ds *sds = at(3);
        CHECK(semctl(s, 0, IPC_STAT, AWAY(sds)) == 0 && sds->sem_nsems == 3 && semctl(s, 0, IPC_RMID) == 0);
        struct shmid_ds *sm = at(3);
        CHECK(shmctl(shm, IPC_STAT, AWAY(sm)) == 0 && sm->shm_segsz == PAGE && shmctl(shm, IPC_RMID, NULL) == 0);
        uint64_t *n = at(4);
        int e = eventfd(3, 0);
        CHECK(eventfd_read(e, AWAY(n)) == 0 && *n == 3 && close(e) == 0);

        char name[40];
        snprintf(name, sizeof name, "/hmmrt-%d", (int)getpid());
        struct mq_attr *attr = at(5);
        *attr = (struct mq_attr){.mq_maxmsg = 4, .mq_msgsize = 512};
        AWAY(attr);
        mqd_t mq = mq_open(AWAY(text(6, name)), O_CREAT | O_RDWR | O_NONBLOCK, 0600, attr);
        if (mq == (mqd_t)-1) { // not in every container
            CHECK(errno != EFAULT);
            continue;
        }
        CHECK(mq_unlink(AWAY(block + 6 * PAGE)) == 0);
        char *c = text(6, "sent");
        unsigned *priority = at(7);
        CHECK(mq_send(mq, AWAY(c), 5, 3) == 0);
        c = at(6);
        AWAY(c);
        CHECK(mq_receive(mq, c, 512, AWAY(priority)) == 5 && strcmp(c, "sent") == 0 && *priority == 3);
        CHECK(mq_getattr(mq, AWAY(attr)) == 0 && attr->mq_msgsize == 512 && mq_close(mq) == 0);
    }
}

static void process(void) {
    for (int round = 0; round < ROUNDS; round++) {
        struct rlimit *l = at(0);
        CHECK(getrlimit(RLIMIT_NOFILE, AWAY(l)) == 0 && l->rlim_cur > 0);
        CHECK(setrlimit(RLIMIT_NOFILE, AWAY(l)) == 0 && prlimit(0, RLIMIT_NOFILE, NULL, AWAY(l)) == 0);
        gid_t *groups = at(1);
        CHECK(__getgroups_chk(100, AWAY(groups), PAGE) >= 0);
        int n = getgroups(100, AWAY(groups));
        CHECK(n >= 0 && (setgroups((size_t)n, AWAY(groups)) == 0 || refused(-1)));
        uid_t *u = at(2);
        CHECK(getresuid(AWAY(u), u + 1, u + 2) == 0 && u[2] == getuid());
        CHECK(getresgid(AWAY(u), u + 1, u + 2) == 0 && u[2] == getgid());
        uint32_t *cap = at(3);
        cap[0] = 0x20080522;
        CHECK(capget(AWAY(cap), cap + 16) == 0);
        char *name = text(4, "a name");
        CHECK(prctl(PR_SET_NAME, AWAY(name)) == 0);
        name = at(4);
        CHECK(prctl(PR_GET_NAME, AWAY(name)) == 0 && strcmp(name, "a name") == 0);
        CHECK(pthread_setname_np(pthread_self(), AWAY(text(4, "another"))) == 0);
        name = at(4);
        CHECK(pthread_getname_np(pthread_self(), AWAY(name), 16) == 0 && strcmp(name, "another") == 0);
        static char page[2 * PAGE];
        unsigned char *in = at(5);
        CHECK(mincore((void *)((uintptr_t)(page + PAGE - 1) & -(uintptr_t)PAGE), PAGE, AWAY(in)) == 0);
        struct sched_param *p = at(6);
        CHECK(sched_getparam(0, AWAY(p)) == 0 && sched_setparam(0, AWAY(p)) == 0);
        CHECK(sched_setscheduler(0, SCHED_OTHER, AWAY(p)) == 0);
        CHECK(pthread_setschedparam(pthread_self(), SCHED_OTHER, AWAY(p)) == 0);
        CHECK(sched_rr_get_interval(0, AWAY((struct timespec *)at(7))) == 0);
        CHECK(syscall(SYS_sched_getattr, 0, AWAY(at(7)), 48, 0) == 0);
        cpu_set_t *cpus = at(7);
        CHECK(pthread_getaffinity_np(pthread_self(), sizeof *cpus, AWAY(cpus)) == 0 && CPU_COUNT(cpus) > 0);
        CHECK(pthread_setaffinity_np(pthread_self(), sizeof *cpus, AWAY(cpus)) == 0);
    }
}

// The C library aborts where the kernel can't write.
static void random_bytes(void) {
    for (int round = 0; round < 5 * ROUNDS && arc4random_buf != NULL; round++) {
        char *to = at(0);
        arc4random_buf(AWAY(to), PAGE);
        int zeros = 0;
        for (int i = 0; i < PAGE; i++) zeros += to[i] == 0;
        CHECK(zeros < PAGE / 2);
    }
}

// What is no argument stays where it is, whatever is passed in its place.
static void no_arguments(void) {
    const char *how = getenv("HMMRT_SYSCALLS");
    int word = 0, away = 0;
    char *p = at(0);
    for (int i = 0; i < 20; i++) {
        CHECK(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, AWAY(p), p, 0) == 0);
        away += bare_access(p) == -EFAULT;
    }
    CHECK(away > 0 || (how != NULL && how[0] == 't')); // there it can't be asked
}

static void many_futexes(void) {
    enum { FUTEX_WAITV = 449, IS_32_BITS = 2 };
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t(*all)[3] = at(0), *word = at(1);
        struct timespec *past = at(2);
        memcpy(*all, (uint64_t[]){1, (uintptr_t)word, IS_32_BITS}, sizeof *all); // it is 0
        AWAY(word), AWAY(all);
        CHECK(refused(syscall(FUTEX_WAITV, all, 1, 0, AWAY(past), CLOCK_MONOTONIC)));
    }
}

static void files(void) {
    for (int round = 0; round < ROUNDS; round++) {
        char *f = file(0, "file"), *name = text(1, "user.none");
        int fd = open(f, O_RDWR | O_CREAT, 0600);
        struct timeval now[2] = {{1000, 0}, {1000, 0}};
        CHECK(fd >= 0 && utime(AWAY(f), NULL) == 0 && utimes(AWAY(f), now) == 0 && lutimes(AWAY(f), now) == 0);
        CHECK(futimesat(AT_FDCWD, AWAY(f), now) == 0 && eaccess(AWAY(f), R_OK) == 0 && euidaccess(AWAY(f), R_OK) == 0);
        AWAY(name);
        long answer = lsetxattr(AWAY(f), name, "1", 1, 0);
        CHECK(answer == 0 || refused(answer));
        AWAY(name);
        answer = lremovexattr(AWAY(f), name);
        CHECK(answer == 0 || refused(answer));
        AWAY(name);
        CHECK(refused(removexattr(AWAY(f), name)) && refused(fremovexattr(fd, AWAY(name))));
        struct uids {
            uid_t of[2];
        } *uids = at(2);
        CHECK(fcntl(fd, 17, AWAY(uids)) == 0 || refused(-1)); // F_GETOWNER_UIDS
        struct {
            unsigned bytes;
            int kind;
            char of[128];
        } *handle = at(2);
        handle->bytes = 128;
        int *mount_id = at(3);
        AWAY(handle), AWAY(f);
        CHECK(name_to_handle_at(AT_FDCWD, f, (void *)handle, AWAY(mount_id), 0) == 0 || refused(-1));
        close(fd);
        CHECK(mknod(AWAY(file(0, "fifo")), S_IFIFO | 0600, 0) == 0 && unlink(AWAY(block)) == 0);
        CHECK(mknodat(AT_FDCWD, AWAY(block), S_IFIFO | 0600, 0) == 0 && unlink(AWAY(block)) == 0);
        CHECK(mkfifoat(AT_FDCWD, AWAY(block), 0600) == 0 && unlink(AWAY(block)) == 0);
        struct statvfs64 *vfs = at(1);
        CHECK(statvfs64(AWAY(text(0, "/tmp")), AWAY(vfs)) == 0 && vfs->f_bsize > 0);
        char *to = at(2);
        AWAY(to);
        CHECK(__readlinkat_chk(AT_FDCWD, AWAY(text(0, "/proc/self/exe")), to, 100, 100) > 0 && to[0] == '/');
        fd = open("/", O_RDONLY | O_DIRECTORY);
        off_t *where = at(3);
        CHECK(getdirentries(fd, AWAY(to), PAGE, AWAY(where)) > 0 && close(fd) == 0);
        FILE *mounts = setmntent(AWAY(text(0, "/proc/self/mounts")), "r");
        CHECK(mounts != NULL && endmntent(mounts) == 1);
        CHECK(ftok(AWAY(file(0, "file")), 1) != -1 && pathconf(AWAY(block), _PC_NAME_MAX) > 0);
        CHECK(lchmod(AWAY(block), 0600) == 0 || refused(-1));
        AWAY(block), AWAY(text(1, "/none"));
        int sync = (int)((unsigned)Q_SYNC << SUBCMDSHIFT | USRQUOTA); // QCMD shifts a signed number too far
        CHECK(refused(quotactl(sync, block, 0, NULL)));
#if __GLIBC_PREREQ(2, 36)
        AWAY(block), AWAY(block + PAGE);
        CHECK(refused(move_mount(AT_FDCWD, block, AT_FDCWD, block + PAGE, 0)));
        CHECK(refused(fspick(AT_FDCWD, AWAY(block + PAGE), 0)));
        CHECK(refused(open_tree(AT_FDCWD, AWAY(block + PAGE), 0)));
#endif
        CHECK(chroot(AWAY(text(0, "/"))) == 0 || refused(-1));
        char *none = text(0, "/none/at/all");
        CHECK(refused(mount(AWAY(none), AWAY(none), AWAY(none), 0, NULL)) && refused(umount(AWAY(none))));
        CHECK(refused(acct(AWAY(none))));
        char *const argv[1] = {NULL};
        CHECK(refused(execveat(AT_FDCWD, AWAY(none), argv, argv, 0)));
    }
}

static int server;
// Answers every question with one address.
static void *answers_all(void *unused) {
    for (;;) {
        unsigned char b[1024];
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(server, b, 512, 0, (void *)&from, &len);
        if (n < 12) continue;
        static const unsigned char record[] = {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4};
        b[2] |= 0x80, b[3] = 0x80, b[7] = 1;
        memcpy(b + n, record, sizeof record);
        sendto(server, b, (size_t)n + sizeof record, 0, (void *)&from, len);
    }
    return unused;
}
static void name_servers(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    server = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(server, (void *)&a, len) == 0 && getsockname(server, (void *)&a, &len) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, answers_all, NULL) == 0);
    struct __res_state *state = at(0);
    CHECK(res_ninit(state) == 0);
    state->nscount = 1, state->nsaddr_list[0] = a, state->retrans = 5, state->retry = 1;
    unsigned char *to = at(1), *question = at(2);
    for (int i = 0; i < ROUNDS; i++) {
        AWAY(to);
        CHECK(res_nquery(AWAY(state), "example.com", 1, 1, to, 512) > 12 && to[7] == 1);
        int n = res_nmkquery(state, 0, "example.com", 1, 1, NULL, 0, NULL, question, 512);
        CHECK(n > 12);
        AWAY(question), AWAY(to);
        CHECK(res_nsend(state, question, n, to, 512) > n && to[7] == 1);
    }
}

static void others_and_rare(void) {
    for (int i = 0; i < ROUNDS; i++) {
#if defined __x86_64__
        int child = fork(), status;
        if (child == 0) {
            ptrace(PTRACE_TRACEME, 0, NULL, NULL);
            raise(SIGSTOP);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status)); // where calls are trapped, by the first
        struct user_regs_struct *registers = at(0);
        CHECK(ptrace(PTRACE_GETREGS, child, NULL, AWAY(registers)) == 0 && registers->rsp != 0);
        struct iovec *part = at(1);
        *part = (struct iovec){registers, sizeof *registers};
        AWAY(part);
        CHECK(ptrace(PTRACE_GETREGSET, child, 1, part) == 0 && part->iov_len > 0);
        siginfo_t *stopped = at(2);
        CHECK(syscall(SYS_ptrace, PTRACE_GETSIGINFO, child, NULL, AWAY(stopped)) == 0 && stopped->si_signo == WSTOPSIG(status));
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
#endif
        struct winsize *size = at(3), now;
        size->ws_row = 7, size->ws_col = 9;
        int one, other;
        CHECK(openpty(&one, &other, NULL, NULL, AWAY(size)) == 0);
        CHECK(ioctl(other, TIOCGWINSZ, &now) == 0 && now.ws_row == 7 && now.ws_col == 9);
        CHECK(close(one) == 0 && close(other) == 0);
        char *name = tempnam(AWAY(text(4, folder)), "x");
        CHECK(name != NULL && strncmp(name, folder, strlen(folder)) == 0);
        free(name);
        siginfo_t *info = at(5);
        signal(SIGUSR2, SIG_IGN);
        info->si_signo = SIGUSR2, info->si_code = SI_QUEUE;
        int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
        CHECK(syscall(SYS_pidfd_send_signal, self, SIGUSR2, AWAY(info), 0) == 0 || refused(-1));
#if __GLIBC_PREREQ(2, 36)
        CHECK(pidfd_send_signal(self, SIGUSR2, AWAY(info), 0) == 0 || refused(-1));
        CHECK(refused(fsopen(AWAY(text(6, "nosuchfs")), 0)));
        CHECK(refused(fsconfig(one, 0, AWAY(block + 6 * PAGE), NULL, 0)));
        CHECK(refused(mount_setattr(AT_FDCWD, AWAY(text(6, "/none/at/all")), 0, &(struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY}, sizeof(struct mount_attr))));
#endif
        signal(SIGUSR2, SIG_DFL);
        close(self);
        void **pages = at(6);
        int *where = at(7);
        pages[0] = block;
        AWAY(pages), AWAY(where);
        CHECK(syscall(SYS_move_pages, 0, 1UL, pages, NULL, where, 0) == 0 || refused(-1));
        CHECK(refused(syscall(SYS_add_key, AWAY(text(6, "nosuchtype")), "x", NULL, 0UL, -1)));
        CHECK(refused(syscall(452, AT_FDCWD, AWAY(text(6, "/none/at/all")), 0600, 0))); // fchmodat2
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    snprintf(folder, sizeof folder, "%s", argv[1]);
    block = aligned_alloc(PAGE, PAGES * PAGE);
    PART(clocks);
    PART(signals);
    PART(queues);
    PART(process);
    PART(files);
    PART(random_bytes);
    PART(no_arguments);
    PART(many_futexes);
    PART(name_servers);
    PART(others_and_rare);
    CHECK(waits > 100);
    return 0;
}
