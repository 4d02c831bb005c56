// What the allocator's functions, adopting and protecting refuse: sizes, alignments, and pointers that are not theirs.

#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "refused.h"

static char a_static[2 * PAGE];

static void sizes(void) {
    // Nought is a size: each block is one of its own.
    void *a = hmm_malloc(0), *b = hmm_malloc(0), *c = hmm_calloc(0, 8), *d = hmm_calloc(8, 0);
    void *e = hmm_aligned_alloc(64, 0), *f = hmm_realloc(NULL, 0);
    void *all[] = {a, b, c, d, e, f};
    for (int i = 0; i < 6; i++) {
        CHECK(all[i] != NULL && hmm_owns(all[i]));
        for (int j = 0; j < i; j++) CHECK(all[i] != all[j]);
    }
    for (int i = 0; i < 5; i++) hmm_free(all[i]);
    errno = 0;
    CHECK(hmm_realloc(f, 0) == NULL && errno == 0 && hmm_usable_size(f) == 0);

    // Also where the alignment alone is more than a small block has.
    for (size_t alignment = 1; alignment <= (size_t)64 * MIB; alignment *= 2) {
        void *g = hmm_aligned_alloc(alignment, 0), *h = hmm_aligned_alloc(alignment, 0);
        CHECK(g != NULL && h != NULL && g != h && (size_t)g % alignment == 0);
        CHECK(hmm_owns(g) && hmm_owns(h) && hmm_usable_size(g) > 0);
        hmm_free(g);
        CHECK(!hmm_owns(g) && hmm_owns(h));
        hmm_free(h);
    }

    REFUSED_MEMORY(hmm_malloc(SIZE_MAX), ENOMEM, "size");
    REFUSED_MEMORY(hmm_malloc((size_t)PTRDIFF_MAX), ENOMEM, "size");
    REFUSED_MEMORY(hmm_calloc(SIZE_MAX / 2, 3), ENOMEM, "n * size");
    REFUSED_MEMORY(hmm_calloc((size_t)1 << 32, (size_t)1 << 32), ENOMEM, "n * size");
    REFUSED_MEMORY(hmm_aligned_alloc(64, SIZE_MAX), ENOMEM, "size");
    REFUSED_MEMORY(hmm_realloc(home, SIZE_MAX), ENOMEM, "size");
    REFUSED_MEMORY(hmm_realloc(away, SIZE_MAX - 4095), ENOMEM, "size");
    REFUSED_MEMORY(hmm_realloc(NULL, SIZE_MAX), ENOMEM, "size");
}

static void alignments(void) {
    REFUSED_MEMORY(hmm_aligned_alloc(0, 64), EINVAL, "alignment");
    REFUSED_MEMORY(hmm_aligned_alloc(3, 64), EINVAL, "alignment");
    REFUSED_MEMORY(hmm_aligned_alloc(24, 48), EINVAL, "alignment");
    REFUSED_MEMORY(hmm_aligned_alloc(SIZE_MAX, 64), EINVAL, "alignment");
    REFUSED_MEMORY(hmm_aligned_alloc((size_t)1 << 63, 64), EINVAL, "alignment");
    REFUSED(hmm_adopt(a_static + 1, PAGE), HMM_ERR_INVALID_ARGUMENT, "addr");
    REFUSED(hmm_protect(home + 1, PAGE, HMM_PROTECT_READ), HMM_ERR_INVALID_ARGUMENT, "addr");
}

// Pointers that no call gave, or not to the start of a block.
static void not_blocks(void) {
    char on_stack[64];
    char *of_malloc = malloc(100000);
    void *const foreign[] = {on_stack, of_malloc, a_static, (void *)(size_t)&sizes, (void *)16, (void *)(SIZE_MAX - 15)};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        CHECK(!hmm_owns(foreign[i]) && hmm_usable_size(foreign[i]) == 0);
        REFUSED_FREE(foreign[i], "ptr");
        REFUSED_MEMORY(hmm_realloc(foreign[i], 100), EINVAL, "ptr");
        REFUSED_MEMORY(hmm_realloc(foreign[i], 0), EINVAL, "ptr");
    }
    CHECK(!hmm_owns(NULL) && hmm_usable_size(NULL) == 0);

    // errno is kept although the complaint can't be written.
    int kept = dup(2);
    CHECK(kept >= 0 && close(2) == 0);
    errno = 78;
    hmm_free(on_stack);
    int after_free = errno;
    CHECK(dup2(kept, 2) == 2 && close(kept) == 0);
    CHECK(after_free == 78);

    char *small = hmm_malloc(100);
    size_t usable = hmm_usable_size(small);
    char *const interior[] = {(char *)home + 16, (char *)home + PAGE, (char *)away + SIZE - 1, (char *)away + SIZE / 2,
                              small + 1, small + 16};
    for (size_t i = 0; i < sizeof interior / sizeof *interior; i++) {
        CHECK(hmm_owns(interior[i]) && hmm_usable_size(interior[i]) == 0);
        REFUSED_FREE(interior[i], "ptr");
        REFUSED_MEMORY(hmm_realloc(interior[i], 100), EINVAL, "ptr");
    }
    CHECK(hmm_usable_size(small) == usable);
    hmm_free(small);
    free(of_malloc);
}

static void freed_twice(void) {
    // Beside blocks that live, so that their neighbours' memory does not go away altogether.
    const size_t sizes[] = {1, 100, PAGE, 100000, 2 * MIB, 5 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *neighbour = hmm_malloc(sizes[i]), *p = hmm_malloc(sizes[i]);
        hmm_free(p);
        CHECK(!hmm_owns(p) && hmm_usable_size(p) == 0);
        REFUSED_FREE(p, "ptr");
        REFUSED_MEMORY(hmm_realloc(p, 10), EINVAL, "ptr");
        REFUSED(hmm_pin(p, 1), HMM_ERR_NOT_MANAGED, "ptr");
        REFUSED(hmm_migrate(p, 1, 0, NULL), HMM_ERR_NOT_MANAGED, "ptr");
        hmm_free(neighbour);
    }
}

// What is pinned can be freed, and its pins are gone with it.
static void freed_while_pinned(void) {
    stale_message();
    char *p = hmm_malloc(SIZE);
    OK(hmm_pin(p, SIZE));
    hmm_free(p);
    CHECK(!hmm_owns(p));
    unchanged(__FILE__, __LINE__, "a pinned block's life");
    REFUSED(hmm_unpin(p, SIZE), HMM_ERR_NOT_MANAGED, "ptr");
}

// A range of five pages of the caller's own.
static char *map_five(int flags, int file) {
    char *map = mmap(NULL, 5 * PAGE, PROT_READ | PROT_WRITE, flags, file, 0);
    CHECK(map != MAP_FAILED);
    memset(map, 0x11, 5 * PAGE);
    return map;
}

static void adoption(void) {
    REFUSED(hmm_adopt(NULL, PAGE), HMM_ERR_NULL_POINTER, "addr");
    REFUSED(hmm_disown(NULL, PAGE), HMM_ERR_NULL_POINTER, "addr");
    REFUSED(hmm_protect(NULL, PAGE, HMM_PROTECT_READ), HMM_ERR_NULL_POINTER, "addr");

    char *map = map_five(MAP_PRIVATE | MAP_ANONYMOUS, -1);
    REFUSED(hmm_adopt(map, 0), HMM_ERR_INVALID_ARGUMENT, "len");
    REFUSED(hmm_adopt(map, SIZE_MAX - PAGE), HMM_ERR_INVALID_ARGUMENT, "len");
    REFUSED(hmm_adopt(home, PAGE), HMM_ERR_INVALID_ARGUMENT, "addr");
    REFUSED(hmm_disown(map, PAGE), HMM_ERR_NOT_MANAGED, "addr");
    REFUSED(hmm_disown(home, PAGE), HMM_ERR_NOT_MANAGED, "addr");
    REFUSED(hmm_protect(map, PAGE, HMM_PROTECT_READ), HMM_ERR_NOT_MANAGED, "addr");

    OK(hmm_adopt(map, 5 * PAGE));
    REFUSED(hmm_adopt(map, 5 * PAGE), HMM_ERR_INVALID_ARGUMENT, "addr");
    REFUSED(hmm_adopt(map + PAGE, PAGE), HMM_ERR_INVALID_ARGUMENT, "addr");
    REFUSED(hmm_disown(map, 0), HMM_ERR_INVALID_ARGUMENT, "len");
    REFUSED(hmm_disown(map, 6 * PAGE), HMM_ERR_OUT_OF_RANGE, "len");
    REFUSED(hmm_migrate(map, 5 * PAGE + 1, 0, NULL), HMM_ERR_OUT_OF_RANGE, "len");
    REFUSED(hmm_protect(map, 6 * PAGE, HMM_PROTECT_READ), HMM_ERR_OUT_OF_RANGE, "len");
    REFUSED(hmm_protect(map, PAGE, (hmm_protection)2), HMM_ERR_INVALID_ARGUMENT, "protection");
    REFUSED_FREE(map, "ptr");
    REFUSED_MEMORY(hmm_realloc(map, 100), EINVAL, "ptr");
    OK(hmm_disown(map, 5 * PAGE));
    for (int i = 0; i < 5 * PAGE; i++) CHECK(map[i] == 0x11);

    CHECK(munmap(map + 2 * PAGE, PAGE) == 0);
    REFUSED(hmm_adopt(map, 5 * PAGE), HMM_ERR_HOLE, "addr");
    CHECK(!hmm_owns(map));
    // What is left on both sides of the hole is adopted, and a range over it is not one range.
    OK(hmm_adopt(map, 2 * PAGE));
    OK(hmm_adopt(map + 3 * PAGE, 2 * PAGE));
    REFUSED(hmm_migrate(map, 5 * PAGE, 0, NULL), HMM_ERR_OUT_OF_RANGE, "len");
    REFUSED(hmm_migrate(map + 2 * PAGE, PAGE, 0, NULL), HMM_ERR_NOT_MANAGED, "ptr");
    OK(hmm_disown(map, 2 * PAGE));
    OK(hmm_disown(map + 3 * PAGE, 2 * PAGE));
    munmap(map, 5 * PAGE);
    REFUSED(hmm_adopt(map, PAGE), HMM_ERR_HOLE, "addr");

    char *shared = map_five(MAP_SHARED | MAP_ANONYMOUS, -1);
    REFUSED(hmm_adopt(shared, 5 * PAGE), HMM_ERR_NOT_MIGRATABLE, "addr");
    munmap(shared, 5 * PAGE);
    int file = memfd_create("refused", 0);
    CHECK(file >= 0 && ftruncate(file, 5 * PAGE) == 0);
    char *of_file = map_five(MAP_SHARED, file);
    REFUSED(hmm_adopt(of_file, 5 * PAGE), HMM_ERR_NOT_MIGRATABLE, "addr");
    munmap(of_file, 5 * PAGE);
    char *private_file = map_five(MAP_PRIVATE, file);
    REFUSED(hmm_adopt(private_file, 5 * PAGE), HMM_ERR_NOT_MIGRATABLE, "addr");
    munmap(private_file, 5 * PAGE);
    close(file);
}

int main(void) {
    watch();
    PART(sizes);
    PART(alignments);
    PART(not_blocks);
    PART(freed_twice);
    PART(freed_while_pinned);
    PART(adoption);
    PART(nothing_lost);
    printf("all well\n");
    return 0;
}
