// What advice changes in bytes that move, the counters of why they moved, and callers of before there were such fields.

#define _POSIX_C_SOURCE 200809L
#include <stddef.h>
#include <stdlib.h>

#include "check.h"

enum { CHUNK = 2 << 20, PAGE = 4096, MANY = CHUNK / 8 };

static hmm_stats stats(void) {
    hmm_stats s = {.struct_size = sizeof s};
    OK(hmm_stats_get(&s));
    return s;
}

static void config(void) {
    hmm_config c = {.struct_size = sizeof c, .backend = HMM_BACKEND_HOST};
    c.policy = (hmm_policy)77;
    CHECK(hmm_init(&c) == HMM_ERR_INVALID_ARGUMENT || hmm_init(&c) == HMM_ERR_CONFIG);
    char text[200];
    hmm_last_error(text, sizeof text);
    CHECK(strstr(text, "config->policy") != NULL && strstr(text, "77") != NULL);

    // Who knows no policies has 144 bytes; what lies behind them is not looked at. Below, what comes is a chunk if nothing is said.
    CHECK(setenv("HMMRT_POLICY", "chunk", 1) == 0);
    c.struct_size = 144;
    OK(hmm_init(&c));
    CHECK(hmm_device_count() >= 1);
}

static void old_stats(void) {
    struct {
        hmm_stats s;
        char behind[8];
    } old;
    memset(&old, 0x5a, sizeof old);
    old.s.struct_size = 160;
    OK(hmm_stats_get(&old.s));
    const unsigned char *bytes = (const unsigned char *)&old;
    for (size_t i = 160; i < sizeof old; i++) CHECK(bytes[i] == 0x5a);
    CHECK(old.s.errors == stats().errors && old.s.managed_bytes == stats().managed_bytes);
    old.s.struct_size = 152;
    CHECK(hmm_stats_get(&old.s) == HMM_ERR_STRUCT_SIZE);
}

static void visit(uint64_t *x, hmm_access_mode mode) {
    hmm_access access = {x, CHUNK, mode};
    OK(hmm_acquire(0, NULL, &access, 1));
    OK(hmm_release(0, NULL));
    OK(hmm_stream_synchronize(NULL));
}

// Bytes home for one word that only the device has.
static uint64_t touch(uint64_t *x) {
    visit(x, HMM_READ_WRITE);
    uint64_t before = stats().fault_bytes_to_host;
    CHECK(((volatile uint64_t *)x)[MANY / 2] == MANY / 2);
    return stats().fault_bytes_to_host - before;
}

// Bytes to the device after the CPU has written one word of what both have.
static uint64_t write_and_use(uint64_t *x) {
    visit(x, HMM_READ_WRITE);
    OK(hmm_host_ready(x, CHUNK, HMM_READ));
    visit(x, HMM_READ);
    ((volatile uint64_t *)x)[MANY / 2] = MANY / 2;
    uint64_t before = stats().launch_bytes_to_device;
    visit(x, HMM_READ);
    return stats().launch_bytes_to_device - before;
}

// Bytes home for all of what was moved to the device.
static uint64_t read_back(uint64_t *x) {
    OK(hmm_migrate(x, CHUNK, 0, NULL));
    uint64_t before = stats().bytes_to_host;
    for (size_t i = 0; i < MANY; i += PAGE / 8) CHECK(((volatile uint64_t *)x)[i] == i);
    return stats().bytes_to_host - before;
}

static void each_value(void) {
    uint64_t *x = hmm_aligned_alloc(CHUNK, CHUNK);
    CHECK(x != NULL);
    for (size_t i = 0; i < MANY; i++) x[i] = i;
    CHECK(touch(x) == CHUNK && write_and_use(x) == CHUNK && read_back(x) == CHUNK);
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_RANDOM, HMM_HOST));
    CHECK(touch(x) == PAGE);
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_SEQUENTIAL, HMM_HOST));
    CHECK(touch(x) == CHUNK);
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_UNSET_PATTERN, HMM_HOST));
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_PREFERRED_LOCATION, 0));
    CHECK(touch(x) == 16 * PAGE && write_and_use(x) == 16 * PAGE);
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_PREFERRED_LOCATION, HMM_HOST));
    OK(hmm_migrate(x, CHUNK, HMM_HOST, NULL));
    CHECK(read_back(x) == 0);
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_UNSET_PREFERRED_LOCATION, HMM_HOST));
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_ACCESSED_BY, 0));
    CHECK(touch(x) == CHUNK && write_and_use(x) == 16 * PAGE);
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_UNSET_ACCESSED_BY, 0));
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_READ_MOSTLY, HMM_HOST));
    OK(hmm_migrate(x, CHUNK, HMM_HOST, NULL));
    CHECK(read_back(x) == 0);
    OK(hmm_advise(x, CHUNK, HMM_ADVISE_UNSET_READ_MOSTLY, HMM_HOST));
    CHECK(touch(x) == CHUNK && write_and_use(x) == CHUNK && read_back(x) == CHUNK);
    hmm_free(x);

    hmm_stats s = stats();
    CHECK(s.bytes_to_device == s.launch_bytes_to_device + s.asked_bytes_to_device && s.asked_bytes_to_device > 0);
    CHECK(s.bytes_to_host == s.fault_bytes_to_host + s.asked_bytes_to_host && s.asked_bytes_to_host > 0);
}

int main(void) {
    PART(config);
    PART(old_stats);
    PART(each_value);
    puts("all well");
    return 0;
}
