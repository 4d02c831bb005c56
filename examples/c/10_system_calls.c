/* Lesson 10: system calls. The kernel cannot fault a page home by itself: make memory ready before you hand it over. */
#define _GNU_SOURCE
#include "lesson.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 2 << 20 };

int main(void) {
    char *x = hmm_calloc(1, SIZE);
    int zero = open("/dev/zero", O_RDONLY);
    EXPECT(x != NULL && zero >= 0);

    /* New memory needs nothing: it is on the host. */
    EXPECT(read(zero, x, SIZE) == SIZE);
    puts("new memory: read(2) fills it");

    /* Memory that went to a device is made ready; HMM_WRITE alone would do for what is overwritten completely. */
    memset(x, 'x', SIZE);
    CHECK(hmm_migrate(x, SIZE, 0, NULL));
    CHECK(hmm_host_ready(x, SIZE, HMM_READ_WRITE));
    EXPECT(read(zero, x, SIZE / 2) == SIZE / 2);
    EXPECT(x[SIZE / 2 - 1] == 0 && x[SIZE / 2] == 'x');
    puts("made ready: read(2) fills it, the rest is as it was");

    /* While another thread may move pages, pin them for as long as the call lasts. */
    CHECK(hmm_migrate(x, SIZE, 0, NULL));
    CHECK(hmm_pin(x, SIZE));
    EXPECT(read(zero, x, SIZE) == SIZE);
    CHECK(hmm_unpin(x, SIZE));
    EXPECT(x[SIZE - 1] == 0);
    puts("pinned: nobody moves it meanwhile");
    close(zero);
    hmm_free(x);
    return 0;
}

/* Prints:
// > new memory: read(2) fills it
// > made ready: read(2) fills it, the rest is as it was
// > pinned: nobody moves it meanwhile
*/
