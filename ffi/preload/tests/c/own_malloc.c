// A program that has its own malloc, which the C library uses, too: its blocks go back to nobody else, and nobody else's come
// to it. Freeing what vasprintf has made with the C library's own free aborts here.

#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static char memory[64 << 20];
static size_t used;
// Of each thread: those that the library has allocate when they like.
static _Thread_local size_t live, asked;
static const uint64_t MINE = 0x6d696e65;

void *malloc(size_t size) {
    size_t at = __atomic_fetch_add(&used, (size + 31) & ~(size_t)15, __ATOMIC_RELAXED);
    uint64_t *block = (uint64_t *)(memory + at);
    if (at + size + 32 > sizeof memory) return NULL;
    block[0] = MINE;
    block[1] = size;
    live++;
    asked++;
    return block + 2;
}

void free(void *block) {
    if (block == NULL) return;
    if ((char *)block < memory || (char *)block >= memory + sizeof memory || ((uint64_t *)block)[-2] != MINE) {
        static const char said[] = "own_malloc.c: a block that is not mine\n";
        (void)!write(2, said, sizeof said - 1);
        _exit(1);
    }
    ((uint64_t *)block)[-2] = 0;
    live--;
}

void *calloc(size_t n, size_t size) {
    void *block = malloc(n * size); // the memory is used once
    return block;
}

void *realloc(void *block, size_t size) {
    void *new = malloc(size);
    if (block != NULL && new != NULL) {
        size_t old = ((uint64_t *)block)[-1];
        memcpy(new, block, old < size ? old : size);
        free(block);
    }
    return new;
}

static void formats(void) {
    fprintf(stderr, "%s\n", "warm");
    size_t before = live;
    for (int i = 0; i < 1000; i++) {
        char *text = NULL;
        CHECK(asprintf(&text, "%d %s", i, "text") > 0);
        free(text);
        fprintf(stderr, "%d\n", i);
        fprintf(stderr, "%2000d\n", i); // too long for the stack
    }
    CHECK(live == before);
    // What is short asks for nothing: a handler may print that has interrupted malloc.
    size_t so_far = asked;
    for (int i = 0; i < 100; i++) dprintf(2, "%s %d\n", "short", i);
    CHECK(asked == so_far);
}

// What is not defined here gives its blocks to what is, as the C library's does.
static void arrays(void) {
    char *block = malloc(100);
    memcpy(block, "text", 5);
    for (size_t n = 1; n <= 4096; n *= 8) { // small ones, and 4 MiB
        block = reallocarray(block, n, 1024);
        CHECK(block > memory && block < memory + sizeof memory && strcmp(block, "text") == 0);
    }
    free(block);
    volatile size_t much = (size_t)1 << 40;
    CHECK(reallocarray(NULL, much, much) == NULL);
    free(reallocarray(NULL, 4, 1 << 20));
}

int main(int argc, char **argv) {
    (void)argc, (void)argv;
    PART(formats);
    PART(arrays);
}
