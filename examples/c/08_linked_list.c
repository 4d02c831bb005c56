/* Lesson 8: pointers inside the data. A list built by the CPU is walked by the device, with the same pointers. */
#include "lesson.h"

typedef struct node {
    struct node *next; /* an ordinary address; 8 bytes, as the kernel expects */
    uint64_t value;
} node;

enum { N = 100000 };

int main(void) {
    node *nodes = hmm_malloc(N * sizeof *nodes);
    uint64_t *found = hmm_calloc(2, sizeof *found);
    EXPECT(nodes != NULL && found != NULL);
    for (uint64_t i = 0; i < N; i++) { /* 0, 7, 14, ...: every node once, because 7 does not divide N */
        nodes[i * 7 % N].value = i;
        nodes[i * 7 % N].next = i + 1 < N ? &nodes[(i + 1) * 7 % N] : NULL;
    }

    hmm_module module;
    hmm_kernel walk;
    CHECK(hmm_module_builtin(0, &module));
    CHECK(hmm_kernel_get(module, "hmm_list_walk", &walk));
    /* (out, nodes, address of nodes on the host, head, most): the host's address lets the kernel translate pointers where
       the device does not see memory at the same address. */
    uint64_t base = (uintptr_t)nodes, head = (uintptr_t)nodes, most = 2 * N;
    hmm_launch_config config = {.struct_size = sizeof config, .grid = {1, 1, 1}, .block = {1, 1, 1}};
    hmm_arg args[] = {
        {.kind = HMM_ARG_POINTER, .mode = HMM_READ_WRITE, .data = found, .size = 2 * sizeof *found},
        {.kind = HMM_ARG_POINTER, .mode = HMM_READ, .data = nodes, .size = N * sizeof *nodes},
        {.kind = HMM_ARG_VALUE, .data = &base, .size = sizeof base},
        {.kind = HMM_ARG_VALUE, .data = &head, .size = sizeof head},
        {.kind = HMM_ARG_VALUE, .data = &most, .size = sizeof most},
    };
    CHECK(hmm_launch(walk, &config, args, 5));
    printf("device: %llu nodes, sum %llu\n", (unsigned long long)found[0], (unsigned long long)found[1]);

    uint64_t count = 0, sum = 0;
    CHECK(hmm_migrate(nodes, N * sizeof *nodes, 0, NULL));
    for (node *at = nodes; at != NULL; at = at->next) { /* comes home as it is walked */
        count++;
        sum += at->value;
    }
    printf("CPU:    %llu nodes, sum %llu\n", (unsigned long long)count, (unsigned long long)sum);
    EXPECT(count == found[0] && sum == found[1] && count == N);
    hmm_free(nodes);
    hmm_free(found);
    return 0;
}

/* Prints:
// > device: 100000 nodes, sum 4999950000
// > CPU:    100000 nodes, sum 4999950000
*/
