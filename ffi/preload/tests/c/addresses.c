// A program that takes the addresses of malloc's family, and defines none of it: its blocks are managed, and leave. Runs with
// HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include "away.h"

// In the code: where it is at a fixed address, so are these, in the program.
static void *(*volatile take)(size_t);
static void *(*volatile take_zeroed)(size_t, size_t);
static void *(*volatile move)(void *, size_t);
static void (*volatile give)(void *);

static void managed(void) {
    take = malloc;
    take_zeroed = calloc;
    move = realloc;
    give = free;
    char *block = take(1 << 20), *zeroed = take_zeroed(1, 1 << 20);
    block[5] = 5;
    CHECK(*AWAY(block + 5) == 5 && *AWAY(zeroed + 5) == 0);
    block = move(block, 4 << 20);
    CHECK(*AWAY(block + 5) == 5);
    give(block);
    give(zeroed);
}

int main(void) {
    PART(managed);
    return 0;
}
