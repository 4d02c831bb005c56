// A program with the four functions that the C library's manual asks of a malloc of one's own, around the C library's. What it has
// not, and asks for by other names, comes from the C library, too: managed memory would be given to the C library's free here.

#define _GNU_SOURCE
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void __libc_free(void *);

static size_t reallocs;

void *malloc(size_t size) { return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return __libc_calloc(n, size); }
void *realloc(void *block, size_t size) {
    reallocs++;
    return __libc_realloc(block, size);
}
void free(void *block) { __libc_free(block); }

enum { BIG = 4 << 20 };

static void use(char *block) {
    CHECK(block != NULL);
    memset(block, 1, BIG);
    CHECK(malloc_usable_size(block) >= BIG);
    free(block);
}

static void aligned(void) {
    for (int i = 0; i < 20; i++) {
        void *block = NULL;
        CHECK(posix_memalign(&block, 64, BIG) == 0);
        use(block);
        use(aligned_alloc(64, BIG));
        use(memalign(8192, BIG));
        use(valloc(BIG));
        use(pvalloc(BIG));
    }
}

static void arrays(void) {
    size_t before = reallocs;
    use(reallocarray(NULL, 4, BIG / 4));
    char *block = malloc(100);
    strcpy(block, "text");
    block = reallocarray(block, 4, BIG / 4);
    CHECK(strcmp(block, "text") == 0 && reallocs == before + 2);
    use(block);
}

int main(void) {
    PART(aligned);
    PART(arrays);
    return 0;
}
