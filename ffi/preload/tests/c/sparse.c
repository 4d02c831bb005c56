// Large blocks that are touched here and there. Without a device they take as much memory as the program's own would; once one is open (HMMRT_CHAOS
// opens one) huge pages are asked for. Catches: a program that has nothing to do with a device takes hundreds of times the memory.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { MIB = 1 << 20, HUGE = 2 * MIB };

static size_t resident(void) {
    size_t all = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%zu %zu", &all, &pages) == 2);
    fclose(f);
    return pages * 4096;
}

// How much memory the touch of one byte in each 2 MiB takes.
static size_t touched(volatile char *at, size_t len) {
    size_t before = resident();
    for (size_t i = 0; i < len; i += HUGE) at[i]++;
    return resident() - before;
}

// Whether huge pages are asked for the mapping that `at` lies in.
static bool is_huge(const void *at) {
    FILE *f = fopen("/proc/self/smaps", "r");
    CHECK(f != NULL);
    char line[512];
    bool here = false, huge = false;
    while (fgets(line, sizeof line, f)) {
        uintptr_t start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) here = start <= (uintptr_t)at && (uintptr_t)at < end;
        if (here && strncmp(line, "VmFlags:", 8) == 0) huge = strstr(line, " hg") != NULL;
    }
    fclose(f);
    return huge;
}

// As much as memory of the program's own takes, whatever the system does about huge pages.
static void few_pages_are_few(void) {
    if (getenv("HMMRT_CHAOS")) return;
    size_t len = 256 * MIB;
    char *plain = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(plain != MAP_FAILED);
    size_t floor = touched(plain, len);
    CHECK(munmap(plain, len) == 0);
    char *one = calloc(1, len);
    CHECK(one != NULL);
    CHECK(touched(one, len) <= floor + 8 * MIB);
    enum { COUNT = 100, SIZE = 1600 << 10 };
    static char *many[COUNT];
    size_t before = resident();
    for (int i = 0; i < COUNT; i++) {
        many[i] = malloc(SIZE);
        CHECK(many[i] != NULL);
        many[i][0] = many[i][SIZE - 1] = 1;
    }
    CHECK(resident() - before <= floor + 8 * MIB);
    for (int i = 0; i < COUNT; i++) free(many[i]);
    free(one);
}

// Blocks of before as well as new ones.
static void huge_pages_come_with_a_device(void) {
    if (!getenv("HMMRT_CHAOS")) return;
    char *old = malloc(16 * MIB);
    CHECK(old != NULL);
    bool huge = false;
    for (int i = 0; i < 10000 && !huge; i++) {
        char *fresh = malloc(16 * MIB);
        CHECK(fresh != NULL);
        huge = is_huge(fresh) && is_huge(old);
        free(fresh);
        usleep(1000);
    }
    CHECK(huge);
    free(old);
}

int main(void) {
    PART(few_pages_are_few);
    PART(huge_pages_come_with_a_device);
    return 0;
}
