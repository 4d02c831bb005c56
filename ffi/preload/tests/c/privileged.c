// What the library makes of a process: whether it is one with more rights than its user, whether a large block is managed, whether
// there are more threads than one, and, when the driver's managed memory has been asked for, too, which signals are caught.

#define _GNU_SOURCE
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

int cuInit(unsigned), cuDevicePrimaryCtxRetain(void **, int), cuCtxSetCurrent(void *);
int cuMemAllocManaged(void **, size_t, unsigned);

// A number of /proc/self/status.
static unsigned long status(const char *name, int base) {
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    char line[300];
    unsigned long number = 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0) number = strtoul(line + strlen(name), NULL, base);
    fclose(file);
    return number;
}

int main(void) {
    size_t size = (size_t)8 << 20;
    // The C library's begins behind its length.
    char *block = malloc(size);
    char *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(block != NULL && mapping != MAP_FAILED);
    memset(block, 7, size);
    memset(mapping, 8, size);
    for (size_t i = 0; i < size; i += 1000) CHECK(block[i] == 7 && mapping[i] == 8);
    int is_managed = ((size_t)block & 4095) == 0, is_alone = status("Threads:", 10) == 1;
    void *context, *shared;
    CHECK(cuInit(0) == 0 && cuDevicePrimaryCtxRetain(&context, 0) == 0 && cuCtxSetCurrent(context) == 0);
    CHECK(cuMemAllocManaged(&shared, size, 1) == 0);
    memset(shared, 9, size);
    unsigned long caught = status("SigCgt:", 16);
    printf("secure %lu user %d/%d managed %d segv %lu sys %lu %s\n", getauxval(AT_SECURE), (int)getuid(), (int)geteuid(),
           is_managed, caught >> 10 & 1, caught >> 30 & 1, is_alone ? "alone" : "with threads");
    return 0;
}
