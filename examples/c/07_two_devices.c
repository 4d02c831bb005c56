/* Lesson 7: two devices. Pages go from one to the other; the CPU reads on and need not know where they are. */
#include "lesson.h"

enum { N = 1 << 20, SIZE = N * 4 };

int main(void) {
    hmm_config config = {.struct_size = sizeof config, .backend = HMM_BACKEND_HOST, .host_devices = 2};
    CHECK(hmm_init(&config));
    EXPECT(hmm_device_count() == 2);

    uint32_t *x = hmm_malloc(SIZE), value = 1;
    uint64_t n = N;
    EXPECT(x != NULL);
    hmm_page page;
    for (int device = 0; device < 2; device++) {
        hmm_module module;
        hmm_kernel fill;
        CHECK(hmm_module_builtin(device, &module));
        CHECK(hmm_kernel_get(module, "hmm_fill", &fill));
        hmm_stream stream;
        CHECK(hmm_stream_create(device, &stream));
        hmm_launch_config launch = {
            .struct_size = sizeof launch, .grid = {N / 256, 1, 1}, .block = {256, 1, 1}, .stream = stream};
        /* Device 0 fills all of it, device 1 the second half: those pages go from device to device. */
        uint32_t *from = x + device * (N / 2);
        n = N - (uint64_t)device * (N / 2);
        hmm_arg args[] = {
            {.kind = HMM_ARG_POINTER, .mode = HMM_READ_WRITE, .data = from, .size = n * sizeof *x},
            {.kind = HMM_ARG_VALUE, .data = &value, .size = sizeof value},
            {.kind = HMM_ARG_VALUE, .data = &n, .size = sizeof n},
        };
        CHECK(hmm_launch(fill, &launch, args, 3));
        CHECK(hmm_stream_destroy(stream)); /* waits */
        value++;
    }
    CHECK(hmm_query(x, 1, &page, 1));
    printf("the first page is on device %d\n", page.device);
    CHECK(hmm_query(x + N - 1, 1, &page, 1));
    printf("the last page is on device %d\n", page.device);
    for (int i = 0; i < N; i++) {
        EXPECT(x[i] == (i < N / 2 ? 1 : 2));
    }
    printf("the CPU read %u and %u\n", x[0], x[N - 1]);
    hmm_free(x);
    return 0;
}

/* Prints:
// > the first page is on device 0
// > the last page is on device 1
// > the CPU read 1 and 2
*/
