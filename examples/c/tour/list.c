/* Chapter 7: a linked list with real pointers, in managed memory, in shuffled order, walked by the device and the CPU. Each
 * node holds a word of the file; the pointers are ordinary addresses, written by the CPU. */
#include "tour.h"
#include <inttypes.h>

typedef struct node {
    struct node *next;
    uint64_t value;
} node;
_Static_assert(sizeof(node) == 16, "the kernel's nodes are two words");

/* At most so many nodes, or few more (16 MiB of them). */
enum { MOST = 1 << 20 };

/* The first 8 bytes of the index-th part of the file. */
static uint64_t word(const uint8_t *bytes, size_t len, size_t stride, size_t index) {
    uint64_t word = 0;
    for (size_t at = index * stride; at < len && at < index * stride + 8; at++) {
        word = word << 8 | bytes[at];
    }
    return word;
}

/* 0 to n - 1 in an order without pattern (Fisher and Yates 1938), the same in every run. */
static uint32_t *shuffled(size_t n) {
    uint32_t *order = ordinary(n * sizeof *order);
    for (size_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
    }
    for (size_t i = n - 1; i > 0; i--) {
        size_t k = plain_mix(i) % (i + 1);
        uint32_t other = order[k];
        order[k] = order[i];
        order[i] = other;
    }
    return order;
}

void walk_list(const tour_data *data) {
    /* One node for each 64 bytes of the file, or less often in a large file. */
    size_t stride = data->len / MOST > 64 ? data->len / MOST : 64;
    size_t n = (data->len + stride - 1) / stride, size = n * sizeof(node);
    uint32_t *order = shuffled(n);
    node *nodes = managed(size);
    uint64_t *found = managed(2 * sizeof *found);
    report_title("A linked list of the file's words, its nodes in shuffled order");
    report_map("before", nodes, size);
    meter meter = meter_start();
    for (size_t i = 0; i < n; i++) {
        nodes[order[i]].next = i + 1 < n ? &nodes[order[i + 1]] : NULL;
        nodes[order[i]].value = word(data->managed, data->len, stride, i);
    }
    report_map("built", nodes, size);

    device_list_walk(found, nodes, size, &nodes[order[0]], n + 1);
    uint64_t device_count = found[0], device_sum = found[1];
    CHECK(hmm_migrate(nodes, size, 0, NULL));
    report_map("walked", nodes, size);
    uint64_t cpu_count = 0, cpu_sum = 0, plain = 0;
    for (const node *at = &nodes[order[0]]; at != NULL && cpu_count <= n; at = at->next) {
        cpu_count++;
        cpu_sum += at->value;
    }
    meter_stop(&meter);
    report_map("after", nodes, size);
    report_moved(&meter, size);
    for (size_t i = 0; i < n; i++) {
        plain += word(data->plain, data->len, stride, i);
    }
    printf("   %zu nodes, sum of their words %016" PRIx64 "\n", n, plain);
    report_check("the device found every node and the right sum", device_count == n && device_sum == plain);
    report_check("so did the CPU, by the same pointers, as the list came home", cpu_count == n && cpu_sum == plain);
    hmm_free(nodes);
    hmm_free(found);
    free(order);
}
