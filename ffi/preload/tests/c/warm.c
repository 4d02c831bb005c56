// What the C library's allocator learns from large blocks that are freed, it learns although they are not its own: it keeps its
// heap, and gives it back if nobody has freed a large block.

#define _GNU_SOURCE
#include <stdint.h>
#include <unistd.h>

#include "check.h"

enum { SMALL = 100 << 10, COUNT = 40, LARGE = 8 << 20 };

// How far the heap shrinks when blocks of four megabytes together are freed.
static intptr_t given_back(void) {
    static void *volatile blocks[COUNT];
    for (int i = 0; i < COUNT; i++) CHECK((blocks[i] = malloc(SMALL)) != NULL);
    char *end = sbrk(0);
    for (int i = COUNT; i-- > 0;) free(blocks[i]);
    return end - (char *)sbrk(0);
}

static void the_heap(void) {
    CHECK(given_back() > LARGE / 4);
    void *volatile large = malloc(LARGE);
    CHECK(large != NULL);
    free(large);
    CHECK(given_back() == 0);
}

int main(void) {
    PART(the_heap);
    return 0;
}
