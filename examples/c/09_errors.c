/* Lesson 9: what bad input gets: a code that never changes, a message that names the argument, and nothing changed. */
#include "lesson.h"
#include <errno.h>

static void show(const char *what, hmm_status status) {
    char message[256];
    hmm_last_error(message, sizeof message);
    printf("%s\n  %d, %s\n  %s\n", what, status, hmm_strerror(status), message);
    EXPECT(status < 0);
}

int main(void) {
    char ordinary = 0, *x = hmm_calloc(1, 1 << 20);
    EXPECT(x != NULL);
    show("a null pointer", hmm_migrate(NULL, 1, 0, NULL));
    show("not managed", hmm_migrate(&ordinary, 1, 0, NULL));
    show("past the end", hmm_migrate(x, 64 << 20, 0, NULL));
    show("no such device", hmm_migrate(x, 4096, 99, NULL));

    hmm_stats stats = {.struct_size = 3};
    show("a struct of the wrong size", hmm_stats_get(&stats));

    /* Allocation answers like the C library's. */
    EXPECT(hmm_calloc(SIZE_MAX / 2, 3) == NULL && errno == ENOMEM);
    puts("overflow: NULL, ENOMEM");
    EXPECT(x[0] == 0);
    hmm_free(x);
    return 0;
}

/* Prints:
// > a null pointer
// >   -2, ...
// >   ...
// > not managed
// >   -5, ...
// >   ...
// > past the end
// >   -6, ...
// >   ...
// > no such device
// >   -12, ...
// >   ...
// > a struct of the wrong size
// >   -21, ...
// >   ...
// > overflow: NULL, ENOMEM
*/
