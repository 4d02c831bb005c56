/* Lesson 5: a kernel of your own. On the host backend it is a C function; on a GPU it would come from hmm_module_load. */
#include "lesson.h"

/* Called once a launch, on the stream's thread. args[i] points at the i-th argument; pointers are device addresses. */
static void scale(const hmm_launch_config *config, void *const *args) {
    double *x = *(double *const *)args[0];
    double factor = *(const double *)args[1];
    size_t n = (size_t)config->grid[0] * config->block[0];
    for (size_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

int main(void) {
    enum { N = 256 << 10 };
    double *x = hmm_malloc(N * sizeof *x), factor = 0.5;
    EXPECT(x != NULL);
    for (int i = 0; i < N; i++) {
        x[i] = i;
    }

    hmm_kernel kernel;
    CHECK(hmm_kernel_from_function(0, scale, &kernel));
    hmm_launch_config config = {.struct_size = sizeof config, .grid = {N / 64, 1, 1}, .block = {64, 1, 1}};
    hmm_arg args[] = {
        {.kind = HMM_ARG_POINTER, .mode = HMM_READ_WRITE, .data = x, .size = N * sizeof *x},
        {.kind = HMM_ARG_VALUE, .data = &factor, .size = sizeof factor},
    };
    for (int i = 0; i < 3; i++) { /* a stream keeps the order */
        CHECK(hmm_launch(kernel, &config, args, 2));
    }
    for (int i = 0; i < N; i++) {
        EXPECT(x[i] == i * 0.125);
    }
    printf("three launches: x[1000] = %g\n", x[1000]);
    hmm_free(x);
    return 0;
}

/* Prints:
// > three launches: x[1000] = 125
*/
