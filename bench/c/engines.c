/* Bare loops of the three ways to notice a touch and to bring what was touched home: page protection and a signal,
 * userfaultfd with a signal, userfaultfd with a thread. What libhmmrt's engines are held against; nothing of the runtime.
 * Called by src/engines/bare.rs, one loop at a time, in a process of its own: the handlers are not put back.
 *
 * Granules of `granule` bytes lie `stride` bytes apart from `base` on; `slots` has a spare one for each, as far apart, and
 * `source` the bytes that one is filled with. Two threads never touch the same granule. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
/* Linux 6.8; older headers do not have it. */
struct engine_move {
    uint64_t dst, src, len, mode;
    int64_t moved;
};
#define ENGINE_MOVE _IOWR(0xAA, 0x05, struct engine_move)
#define ENGINE_FEATURE_MOVE (1u << 16)

enum { PAGE = 4096 };
enum { BY_PROTECTION = 0, BY_SIGBUS = 1, BY_THREAD = 2 };
/* COPIED: the kernel makes the pages and copies the source into them (UFFDIO_COPY, before Linux 6.8 the only way). */
enum { PUT_FILLED = 0, PUT_ONLY = 1, LET_WRITE = 2, COPIED = 3 };

static struct {
    int way, what;
    uintptr_t base, slots, source;
    size_t granule, stride, count;
    int fd;
    volatile uint64_t faults, wrong;
} now;

/* Moves a granule's filled pages into place. What can't be moved is copied from the source: Linux 6.18 moves pages and does not
 * count them where it compacts memory at the same time (uffd_move.c), and answers EEXIST for them then. 0 if some are not there. */
static int move_pages_or_copy(char *to, char *slot, const char *source) {
    struct uffdio_range all = {(uintptr_t)to, now.granule};
    size_t done = 0;
    int exact = 1;
    while (done < now.granule) {
        struct engine_move move = {(uintptr_t)to + done, (uintptr_t)slot + done, now.granule - done, 0, 0};
        if (ioctl(now.fd, ENGINE_MOVE, &move) == 0) break;
        if (move.moved > 0) {
            done += (size_t)move.moved;
        } else if (errno != EAGAIN) {
            struct uffdio_copy copy = {(uintptr_t)to + done, (uintptr_t)source + done, PAGE, 0, 0};
            if (ioctl(now.fd, UFFDIO_COPY, &copy) == 0 || errno == EEXIST) done += PAGE;
            else if (errno != EAGAIN) return 0;
            exact = 0;
        }
    }
    return exact || ioctl(now.fd, UFFDIO_WAKE, &all) == 0;
}

/* Serves a touch of address a; 0 if it is none of ours. */
static int serve(uintptr_t a) {
    size_t number = (a - now.base) / now.stride;
    if (a < now.base || number >= now.count) return 0;
    char *to = (char *)(now.base + number * now.stride), *slot = (char *)(now.slots + number * now.stride);
    const char *from = (const char *)(now.source + number * now.stride);
    int wrong = 0;
    __atomic_fetch_add(&now.faults, 1, __ATOMIC_RELAXED);
    if (now.what == LET_WRITE) {
        if (now.way == BY_PROTECTION) {
            wrong = mprotect(to, now.granule, PROT_READ | PROT_WRITE) != 0;
        } else {
            struct uffdio_writeprotect open = {{(uintptr_t)to, now.granule}, 0};
            wrong = ioctl(now.fd, UFFDIO_WRITEPROTECT, &open) != 0;
        }
    } else if (now.what == COPIED) {
        size_t done = 0;
        while (done < now.granule && !wrong) {
            struct uffdio_copy copy = {(uintptr_t)to + done, (uintptr_t)from + done, now.granule - done, 0, 0};
            if (ioctl(now.fd, UFFDIO_COPY, &copy) == 0) break;
            wrong = errno != EAGAIN;
            if (copy.copy > 0) done += (size_t)copy.copy;
        }
    } else {
        if (now.way == BY_PROTECTION) wrong |= mprotect(slot, now.granule, PROT_READ | PROT_WRITE) != 0;
        if (now.what == PUT_FILLED) memcpy(slot, from, now.granule);
        if (now.way == BY_PROTECTION) {
            wrong |= mremap(slot, now.granule, now.granule, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED;
        } else {
            wrong = !move_pages_or_copy(to, slot, from);
        }
    }
    if (wrong) __atomic_fetch_add(&now.wrong, 1, __ATOMIC_RELAXED);
    return !wrong;
}

static void handler(int number, siginfo_t *info, void *context) {
    int error = errno;
    (void)context;
    if (!serve((uintptr_t)info->si_addr)) signal(number, SIG_DFL);
    errno = error;
}

static void *messages(void *unused) {
    struct uffd_msg message;
    (void)unused;
    while (read(now.fd, &message, sizeof message) == (ssize_t)sizeof message)
        if (message.event == UFFD_EVENT_PAGEFAULT && !serve((uintptr_t)message.arg.pagefault.address)) _exit(3);
    return NULL;
}

/* A descriptor, or minus an error. ENOSYS: this kernel has no UFFDIO_MOVE. */
static int open_fd(int way) {
    uint64_t want = ENGINE_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    if (way == BY_SIGBUS) want |= UFFD_FEATURE_SIGBUS;
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | (way == BY_SIGBUS ? UFFD_USER_MODE_ONLY : 0));
    if (fd < 0) return -errno;
    struct uffdio_api api = {.api = UFFD_API, .features = want};
    if (ioctl(fd, UFFDIO_API, &api) == 0) return fd;
    int error = errno == EINVAL ? ENOSYS : errno;
    close(fd);
    return -error;
}

/* Once in a process: how touches are noticed from now on. 0, or an error. */
int engine_begin(int way) {
    struct sigaction action;
    pthread_t thread;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    now.way = way;
    now.fd = -1;
    if (way != BY_PROTECTION && (now.fd = open_fd(way)) < 0) return -now.fd;
    if (way == BY_THREAD) return pthread_create(&thread, NULL, messages, NULL);
    return sigaction(way == BY_PROTECTION ? SIGSEGV : SIGBUS, &action, NULL) ? errno : 0;
}

/* Makes all granules away (or, to be let written, write-protected). Everything in the three ranges is present. 0, or an error. */
int engine_arm(void *base, void *slots, void *source, size_t granule, size_t stride, size_t count, int what) {
    now.what = what;
    now.base = (uintptr_t)base;
    now.slots = (uintptr_t)slots;
    now.source = (uintptr_t)source;
    now.granule = granule;
    now.stride = stride;
    now.count = count;
    now.faults = now.wrong = 0;
    if (now.way != BY_PROTECTION) {
        struct uffdio_register watch = {{now.base, stride * count}, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP, 0};
        if (ioctl(now.fd, UFFDIO_REGISTER, &watch)) return errno;
    }
    for (size_t i = 0; i < count; i++) {
        char *at = (char *)base + i * stride, *slot = (char *)slots + i * stride;
        struct uffdio_writeprotect protect = {{(uintptr_t)at, granule}, UFFDIO_WRITEPROTECT_MODE_WP};
        if (what == LET_WRITE) {
            if (now.way == BY_PROTECTION ? mprotect(at, granule, PROT_READ) : ioctl(now.fd, UFFDIO_WRITEPROTECT, &protect))
                return errno;
        } else if (now.way == BY_PROTECTION) {
            /* Its pages become the slot's, whose own go. */
            if (mprotect(at, granule, PROT_NONE)) return errno;
            if (mremap(at, granule, granule, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, slot) == MAP_FAILED) return errno;
        } else if (madvise(at, granule, MADV_DONTNEED)) {
            return errno;
        }
    }
    return 0;
}

/* How many touches were served since; all is open again. ~0: one was not. */
uint64_t engine_disarm(void) {
    if (now.way == BY_PROTECTION) {
        mprotect((void *)now.base, now.stride * now.count, PROT_READ | PROT_WRITE);
        mprotect((void *)now.slots, now.stride * now.count, PROT_READ | PROT_WRITE);
    } else {
        struct uffdio_range range = {now.base, now.stride * now.count};
        ioctl(now.fd, UFFDIO_UNREGISTER, &range);
    }
    return now.wrong ? ~(uint64_t)0 : now.faults;
}
