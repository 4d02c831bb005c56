/* Lesson 1: one array, one pointer. It goes to the device, and comes home when the CPU touches it. */
#include "lesson.h"

int main(void) {
    size_t n = 512 << 10, size = n * sizeof(uint64_t), moved;
    uint64_t *x = hmm_calloc(n, sizeof *x); /* 4 MiB: two chunks; nothing has touched them yet */
    EXPECT(x != NULL);
    printf("new       %s\n", signs(x, size));

    for (size_t i = 0; i < n; i++) {
        x[i] = i;
    }
    printf("written   %s\n", signs(x, size));

    CHECK(hmm_migrate(x, size, 0, &moved));
    printf("migrated  %s  %zu pages moved\n", signs(x, size), moved);

    /* An ordinary read. The page is on the device: a fault brings it home, filled, and the read goes on. */
    EXPECT(x[1000] == 1000);
    printf("read      %s\n", signs(x, size));

    x[1000] = 7;
    printf("changed   %s\n", signs(x, size));

    hmm_stats stats = {.struct_size = sizeof stats};
    CHECK(hmm_stats_get(&stats));
    printf("%llu read fault, %llu write fault\n", (unsigned long long)stats.read_faults,
           (unsigned long long)stats.write_faults);
    hmm_free(x);
    return 0;
}

/* Prints:
// > new       ..
// > written   HH
// > migrated  DD  1024 pages moved
// > read      =D
// > changed   HD
// > 1 read fault, 1 write fault
*/
