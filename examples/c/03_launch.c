/* Lesson 3: a kernel of the library's own works on managed memory. Launching moves what it needs. */
#include "lesson.h"

int main(void) {
    uint64_t n = 1 << 20;
    size_t size = n * sizeof(float);
    float *x = hmm_malloc(size), *y = hmm_malloc(size), a = 2;
    EXPECT(x != NULL && y != NULL);
    for (uint64_t i = 0; i < n; i++) {
        x[i] = (float)i;
        y[i] = 1;
    }

    hmm_module module;
    hmm_kernel saxpy;
    CHECK(hmm_module_builtin(0, &module));
    CHECK(hmm_kernel_get(module, "hmm_saxpy", &saxpy));

    /* hmm_saxpy(float *y, const float *x, float a, uint64_t n): pointers say what the kernel does there. */
    hmm_launch_config config = {.struct_size = sizeof config, .grid = {(uint32_t)(n / 256), 1, 1}, .block = {256, 1, 1}};
    hmm_arg args[] = {
        {.kind = HMM_ARG_POINTER, .mode = HMM_READ_WRITE, .data = y, .size = size},
        {.kind = HMM_ARG_POINTER, .mode = HMM_READ, .data = x, .size = size},
        {.kind = HMM_ARG_VALUE, .data = &a, .size = sizeof a},
        {.kind = HMM_ARG_VALUE, .data = &n, .size = sizeof n},
    };
    CHECK(hmm_launch(saxpy, &config, args, 4));

    /* The launch may still be running. Reading y waits for it; x was only read, so it is valid on both sides. */
    EXPECT(y[0] == 1 && y[1] == 3 && y[n - 1] == 2 * (float)(n - 1) + 1);
    for (uint64_t i = 0; i < n; i++) {
        EXPECT(y[i] == 2 * (float)i + 1);
    }
    printf("y = 2 x + 1 for %llu numbers\n", (unsigned long long)n);
    printf("x  %s\n", signs(x, size));
    printf("y  %s\n", signs(y, size));
    hmm_free(x);
    hmm_free(y);
    return 0;
}

/* Prints:
// > y = 2 x + 1 for 1048576 numbers
// > x  ==
// > y  ==
*/
