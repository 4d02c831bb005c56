/* Lesson 4: streams and prefetch. While the device works on one half, the other half is already on its way. */
#include "lesson.h"

enum { N = 2 << 20, HALF = N / 2 };

int main(void) {
    uint32_t *x = hmm_malloc(N * sizeof *x);
    uint64_t *sum = hmm_calloc(1, sizeof *sum), n = HALF, plain = 0;
    EXPECT(x != NULL && sum != NULL);
    for (uint32_t i = 0; i < N; i++) {
        x[i] = i * 2654435761u;
        plain += x[i];
    }

    hmm_module module;
    hmm_kernel kernel;
    hmm_stream work, ahead;
    CHECK(hmm_module_builtin(0, &module));
    CHECK(hmm_kernel_get(module, "hmm_sum", &kernel));
    CHECK(hmm_stream_create(0, &work));
    CHECK(hmm_stream_create(0, &ahead));

    hmm_launch_config config = {
        .struct_size = sizeof config, .grid = {HALF / 256, 1, 1}, .block = {256, 1, 1}, .stream = work};
    for (int half = 0; half < 2; half++) {
        uint32_t *part = x + half * HALF;
        hmm_arg args[] = {
            {.kind = HMM_ARG_POINTER, .mode = HMM_READ_WRITE, .data = sum, .size = sizeof *sum},
            {.kind = HMM_ARG_POINTER, .mode = HMM_READ, .data = part, .size = HALF * sizeof *part},
            {.kind = HMM_ARG_VALUE, .data = &n, .size = sizeof n},
        };
        if (half == 0) { /* returns at once */
            CHECK(hmm_prefetch(x + HALF, HALF * sizeof *x, 0, ahead));
        }
        CHECK(hmm_launch(kernel, &config, args, 3));
    }
    CHECK(hmm_stream_synchronize(work)); /* not needed for the result; errors of the work would be reported here */
    EXPECT(*sum == plain);
    printf("sum of %d numbers: %llu\n", N, (unsigned long long)*sum);

    CHECK(hmm_prefetch(x, N * sizeof *x, HMM_HOST, ahead)); /* the way home can be asked for as well */
    CHECK(hmm_stream_synchronize(ahead));
    CHECK(hmm_stream_destroy(work));
    CHECK(hmm_stream_destroy(ahead));
    hmm_free(x);
    hmm_free(sum);
    return 0;
}

/* Prints:
// > sum of 2097152 numbers: ...
*/
