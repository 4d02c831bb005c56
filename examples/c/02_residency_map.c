/* Lesson 2: where memory is, page by page. Looking moves nothing. */
#include "lesson.h"

enum { CHUNK = 2 << 20, PAGE = 4 << 10 };

int main(void) {
    size_t size = 5 * CHUNK;
    char *x = hmm_aligned_alloc(CHUNK, size);
    EXPECT(x != NULL);

    for (size_t i = 0; i < 4 * (size_t)CHUNK; i++) {
        x[i] = 1;                                  /* chunk 4 is never touched: it takes no memory */
    }
    CHECK(hmm_migrate(x + PAGE, PAGE, 0, NULL));   /* one page of chunk 0: the others stay */
    CHECK(hmm_migrate(x + 2 * CHUNK, 2 * CHUNK, 0, NULL));
    volatile char *read = x;
    EXPECT(read[2 * CHUNK] == 1);                  /* chunk 2 is then valid on both sides */
    printf("map  %s\n", signs(x, size));

    hmm_page page[2];
    CHECK(hmm_query(x, 2 * PAGE, page, 2));
    for (int i = 0; i < 2; i++) {
        printf("page %d: host %d, device %d\n", i, !!(page[i].flags & HMM_PAGE_HOST), !!(page[i].flags & HMM_PAGE_DEVICE));
    }
    CHECK(hmm_query(x + 3 * CHUNK, 1, page, 1));   /* a range of one byte touches one page */
    printf("chunk 3: on device %d, the program may write %d\n", page[0].device, !!(page[0].flags & HMM_PAGE_WRITE));

    CHECK(hmm_pin(x + 3 * CHUNK, PAGE));           /* home, and it stays there: for system calls and DMA */
    EXPECT(hmm_migrate(x + 3 * CHUNK, PAGE, 0, NULL) == HMM_ERR_BUSY);
    CHECK(hmm_unpin(x + 3 * CHUNK, PAGE));
    hmm_free(x);
    return 0;
}

/* Prints:
// > map  %H=D.
// > page 0: host 1, device 0
// > page 1: host 0, device 1
// > chunk 3: on device 0, the program may write 1
*/
