// More small blocks than a process may have mappings, each a page of its own, while they move: what comes home one by one
// must not use the mappings up. Catches: no bound on what home-comings split (SIGBUS, or the program's own mmap fails).

#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "check.h"

#define BLOCKS 100000
static unsigned *blocks[BLOCKS];

static int mappings(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    int lines = 0;
    for (int c; (c = getc(maps)) != EOF;) lines += c == '\n';
    fclose(maps);
    return lines;
}

static void many_small_blocks(void) {
    for (unsigned i = 0; i < BLOCKS; i++) {
        CHECK((blocks[i] = malloc(40)) != NULL);
        for (int w = 0; w < 10; w++) blocks[i][w] = i * 10 + w;
    }
    // Every other one is read, or written, so that neighbours are never alike.
    for (unsigned round = 1; round <= 6; round++) {
        for (unsigned i = round & 1; i < BLOCKS; i += 2) {
            for (unsigned w = 0; w < 9; w++) CHECK(blocks[i][w] == i * 10 + w);
            if (i % 3 == 0) blocks[i][9] = round;
        }
        // Far from the limit of 65,530: the budget that the test sets is 4,000.
        CHECK(mappings() < 20000);
    }
    for (unsigned i = 0; i < BLOCKS; i++) free(blocks[i]);
}

int main(void) {
    PART(many_small_blocks);
    return 0;
}
