// Loads a library with RTLD_DEEPBIND, and passes blocks to it and from it.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { BIG = 4 << 20 };
static const char *path;

static void blocks(void) {
    void *lib = dlopen(path, RTLD_NOW | RTLD_DEEPBIND);
    CHECK(lib != NULL);
    void (*drop)(void *) = dlsym(lib, "lib_drop");
    void *(*grow)(void *, size_t) = dlsym(lib, "lib_grow"), *(*make)(size_t) = dlsym(lib, "lib_make");
    long (*from)(int, void *, size_t) = dlsym(lib, "lib_read");
    CHECK(drop != NULL && grow != NULL && make != NULL && from != NULL);
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    for (int i = 0; i < 20; i++) {
        char *block = malloc(BIG);
        memset(block, i, BIG);
        block = grow(block, 2 * BIG);
        CHECK(block[0] == i && block[BIG - 1] == i);
        usleep(300);
        CHECK(write(pipes[1], "text", 4) == 4 && from(pipes[0], block, 4) == 4 && memcmp(block, "text", 4) == 0);
        drop(block);
        block = make(BIG);
        memset(block, i, BIG);
        free(block);
    }
    CHECK(dlclose(lib) == 0);
}

// The flag alone makes no difference to what dlopen says.
static void answers(void) {
    CHECK(dlopen("no such library", RTLD_LAZY | RTLD_DEEPBIND) == NULL && dlerror() != NULL);
    CHECK(dlopen(path, RTLD_DEEPBIND) == NULL && dlerror() != NULL);
    void *self = dlopen(NULL, RTLD_LAZY);
    CHECK(self != NULL && dlsym(self, "malloc") == (void *)malloc);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    path = argv[1];
    PART(blocks);
    PART(answers);
    return 0;
}
