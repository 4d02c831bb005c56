/* The parts of the interface that only a GPU has, on the double of a driver. argv[1]: device code with test_add_bytes. */
#include "check.h"

#define LEN ((size_t)5 << 20)

struct node {
    struct node *next;
    uint64_t value;
};

static hmm_module load(const char *path) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    static char image[1 << 20];
    size_t size = fread(image, 1, sizeof image, file);
    fclose(file);
    hmm_module module;
    OK(hmm_module_load(0, image, size, &module));
    return module;
}

static void device_code(const char *path) {
    unsigned char *bytes = hmm_malloc(LEN);
    memset(bytes, 40, LEN);
    hmm_kernel kernel;
    OK(hmm_kernel_get(load(path), "test_add_bytes", &kernel));
    uint64_t n = LEN;
    unsigned char two = 2;
    hmm_arg args[] = {{HMM_ARG_POINTER, HMM_READ_WRITE, bytes, LEN},
                      {HMM_ARG_VALUE, 0, &n, sizeof n},
                      {HMM_ARG_VALUE, 0, &two, sizeof two}};
    hmm_launch_config config = {sizeof config, {64, 1, 1}, {256, 1, 1}, 0, NULL};
    OK(hmm_launch(kernel, &config, args, 3));
    for (size_t i = 0; i < LEN; i++) CHECK(bytes[i] == 42);
    CHECK(hmm_module_load(0, "no code", 7, &(hmm_module){NULL}) == HMM_ERR_DEVICE);
    CHECK(hmm_kernel_from_function(0, (hmm_host_function)NULL, &kernel) == HMM_ERR_NULL_POINTER);
    hmm_free(bytes);
    puts("ok device_code");
}

/* A list is walked on the device by the pointers that are in it. */
static void nested_pointers(void) {
    hmm_device_info_s info = {.struct_size = sizeof info};
    OK(hmm_device_info(0, &info));
    CHECK(info.same_address);
    size_t count = 1000;
    struct node *nodes = hmm_malloc(count * sizeof *nodes);
    void *there;
    OK(hmm_device_ptr(nodes, 0, &there));
    CHECK(there == (void *)nodes);
    for (size_t i = 0; i < count; i++) {
        nodes[i] = (struct node){i + 1 < count ? &nodes[i + 1] : NULL, i};
    }
    uint64_t *out = hmm_malloc(2 * sizeof *out), zero = 0, max = count;
    hmm_access access = {nodes, count * sizeof *nodes, HMM_READ};
    hmm_module module;
    hmm_kernel walk;
    OK(hmm_module_builtin(0, &module));
    OK(hmm_kernel_get(module, "hmm_list_walk", &walk));
    OK(hmm_acquire(0, NULL, &access, 1));
    hmm_arg args[] = {{HMM_ARG_POINTER, HMM_WRITE, out, 16},
                      {HMM_ARG_VALUE, 0, &zero, 8},
                      {HMM_ARG_VALUE, 0, &zero, 8},
                      {HMM_ARG_VALUE, 0, &nodes, 8},
                      {HMM_ARG_VALUE, 0, &max, 8}};
    hmm_launch_config config = {sizeof config, {1, 1, 1}, {1, 1, 1}, 0, NULL};
    OK(hmm_launch(walk, &config, args, 5));
    OK(hmm_release(0, NULL));
    CHECK(out[0] == count && out[1] == count * (count - 1) / 2);
    hmm_free(nodes);
    hmm_free(out);
    puts("ok nested_pointers");
}

static void default_stream(void) {
    hmm_stream stream;
    OK(hmm_stream_from_native(0, NULL, &stream));
    char *bytes = hmm_calloc(LEN, 1);
    OK(hmm_prefetch(bytes, LEN, 0, stream));
    OK(hmm_stream_synchronize(stream));
    hmm_page page;
    OK(hmm_query(bytes, 1, &page, 1));
    CHECK(page.flags & HMM_PAGE_DEVICE);
    OK(hmm_stream_destroy(stream));
    hmm_free(bytes);
    puts("ok default_stream");
}

int main(int argc, char **argv) {
    CHECK(argc == 2 && hmm_device_count() == 2);
    device_code(argv[1]);
    nested_pointers();
    default_stream();
    OK(hmm_shutdown());
    puts("all well");
    return 0;
}
