// Stands between a program and libhmmrt_preload.so, and writes down into the file SPY what a driver's functions were looked
// up, and whose the answers are: NAME VERSION FLAGS OWNER, where OWNER is a library's file name, or - for none. -O2: the
// call of the C library's dlsym must be a jump.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *lookup(void *, const char *);
typedef int get_address(const char *, void **, int, uint64_t, int *);

static get_address *behind;

static void note(const char *name, int version, unsigned long flags, void *at) {
    Dl_info info = {0};
    const char *owner = "-";
    FILE *file = fopen(getenv("SPY"), "a");
    if (at && dladdr(at, &info) && info.dli_fname)
        owner = strrchr(info.dli_fname, '/') ? strrchr(info.dli_fname, '/') + 1 : info.dli_fname;
    if (file) {
        fprintf(file, "%s %d %lu %s\n", name, version, flags, owner);
        fclose(file);
    }
}

static int spied(const char *name, void **out, int version, uint64_t flags, int *state) {
    int code = behind(name, out, version, flags, state);
    note(name, version, flags, code == 0 ? *out : NULL);
    if (code == 0 && strcmp(name, "cuGetProcAddress") == 0 && version >= 12000) {
        behind = (get_address *)*out;
        *out = (void *)spied;
    }
    return code;
}

void *dlsym(void *handle, const char *name) {
    static lookup *next;
    if (!next)
        next = (lookup *)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    // A jump, so that the C library sees who asked.
    if (handle == RTLD_NEXT || handle == RTLD_DEFAULT || strncmp(name, "cu", 2) != 0)
        return next(handle, name);
    lookup *ours = (lookup *)next(RTLD_NEXT, "dlsym");
    void *at = ours(handle, name);
    note(name, 0, 0, at);
    if (at && strcmp(name, "cuGetProcAddress_v2") == 0) {
        behind = (get_address *)at;
        return (void *)spied;
    }
    return at;
}
