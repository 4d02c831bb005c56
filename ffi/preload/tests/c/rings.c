// io_uring where there is no address space for the preload library's own look at a ring: the ring works, and no mapping is left.

#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

static int ring(void) {
    char params[256];
    memset(params, 0, sizeof params);
    long fd = syscall(SYS_io_uring_setup, 4096, params);
    CHECK(fd >= 0 || errno == ENOSYS || errno == EPERM);
    return (int)fd;
}

// Mappings of rings, and the pages that the process has mapped.
static int mappings(long *pages) {
    static char text[1 << 20];
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    int found = 0;
    while (fgets(text, sizeof text, f) != NULL) found += strstr(text, "io_uring") != NULL;
    fclose(f);
    f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%ld", pages) == 1);
    fclose(f);
    return found;
}

static void none_is_left(void) {
    long pages;
    int fd = ring();
    if (fd < 0) LEFT_OUT("no io_uring here");
    int seen = mappings(&pages); // 3 with the library, none without
    for (int room = 16; room < 600; room += 60) { // pages: for none of the three mappings, one, two, all
        struct rlimit before, now;
        int had = mappings(&pages); // with those of the number's last ring
        CHECK(getrlimit(RLIMIT_AS, &before) == 0);
        now = before;
        now.rlim_cur = (rlim_t)(pages + room / 4) * 4096;
        CHECK(setrlimit(RLIMIT_AS, &now) == 0);
        int other = ring();
        CHECK(setrlimit(RLIMIT_AS, &before) == 0 && other >= 0);
        long then;
        int left = mappings(&then) - seen; // the last ring's are gone
        CHECK((had == seen || had == 2 * seen) && (left == 0 || left == seen)); // nothing, or all that a ring has
        CHECK(close(other) == 0);
        other = ring(); // what was known of the number's last ring goes
        CHECK(close(other) == 0);
        int again = ring();
        CHECK(again == other && mappings(&then) == 2 * seen && close(again) == 0);
    }
}

int main(void) {
    PART(none_is_left);
    return 0;
}
