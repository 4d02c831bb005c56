/* Lesson 6: memory that you already have. Adopted in place, it moves like the rest; disowned, it is yours again. */
#define _GNU_SOURCE
#include "lesson.h"
#include <sys/mman.h>

enum { SIZE = 6 << 20 };

int main(void) {
    uint8_t *x = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(x != MAP_FAILED);
    for (int i = 0; i < SIZE; i++) {
        x[i] = (uint8_t)(i % 251);
    }
    EXPECT(!hmm_owns(x));

    CHECK(hmm_adopt(x, SIZE));
    size_t moved;
    CHECK(hmm_migrate(x, SIZE, 0, &moved));
    printf("adopted: %zu pages went to the device\n", moved);
    EXPECT(hmm_owns(x + 12345));
    EXPECT(x[12345] == 12345 % 251); /* and one comes home */

    CHECK(hmm_disown(x, SIZE)); /* all of it comes home */
    EXPECT(!hmm_owns(x));
    for (int i = 0; i < SIZE; i++) {
        EXPECT(x[i] == i % 251);
    }
    printf("disowned: all %d bytes are as they were\n", SIZE);

    /* Only private anonymous memory moves. What is shared with others is refused, and nothing is changed. */
    void *shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT(shared != MAP_FAILED);
    hmm_status status = hmm_adopt(shared, SIZE);
    EXPECT(status == HMM_ERR_NOT_MIGRATABLE);
    printf("shared memory: %d\n", status);
    munmap(shared, SIZE);
    munmap(x, SIZE);
    return 0;
}

/* Prints:
// > adopted: 1536 pages went to the device
// > disowned: all 6291456 bytes are as they were
// > shared memory: -10
*/
