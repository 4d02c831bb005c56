/* Chapters 2 to 5: the file's bytes are read by the device, sent away, read and written by the CPU. Each chapter starts from
 * where the pages lie after the one before. */
#define _GNU_SOURCE
#include "tour.h"
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { PAGE = 4 << 10, CHUNK = 2 << 20 };

void device_reads(const tour_data *data) {
    uint64_t *bins = managed(256 * sizeof *bins), *sum = managed(sizeof *sum), plain[256] = {0};
    report_title("The device counts the bytes and makes a checksum");
    report_map("before", data->managed, data->len);
    meter meter = meter_start();
    device_histogram(bins, data->managed, data->len);
    device_checksum(sum, data->managed, data->len);
    /* Both calls return at once; the CPU's first touch of a result waits for its kernel. */
    int commonest = 0;
    for (int byte = 0; byte < 256; byte++) {
        commonest = bins[byte] > bins[commonest] ? byte : commonest;
    }
    uint64_t found = *sum;
    meter_stop(&meter);
    report_map("after", data->managed, data->len);
    report_moved(&meter, 2 * data->len);
    printf("   commonest byte 0x%02x, %" PRIu64 " times; checksum %016" PRIx64 "\n", commonest, bins[commonest], found);
    plain_histogram(plain, data->plain, data->len);
    report_check("the histogram equals the plain one", memcmp(bins, plain, sizeof plain) == 0);
    report_check("the checksum equals the plain one", found == plain_checksum(data->plain, data->len));
    hmm_free(bins);
    hmm_free(sum);
}

/* How much host RAM is really behind a piece of memory, asked of the kernel. Bit 63 of an entry: the page is in RAM; bit
 * 62: it is in swap. */
static uint64_t resident(const uint8_t *memory, size_t len) {
    uintptr_t first = (uintptr_t)memory / PAGE, last = ((uintptr_t)memory + len - 1) / PAGE;
    size_t size = (last - first + 1) * sizeof(uint64_t), pages = 0;
    uint64_t *entries = ordinary(size);
    int file = open("/proc/self/pagemap", O_RDONLY);
    if (file < 0 || pread(file, entries, size, (off_t)(first * sizeof *entries)) != (ssize_t)size) {
        perror("tour: /proc/self/pagemap");
        exit(2);
    }
    close(file);
    for (size_t i = 0; i < size / sizeof *entries; i++) {
        pages += entries[i] >> 62 != 0;
    }
    free(entries);
    return pages * PAGE;
}

void goes_away(const tour_data *data) {
    report_title("The pages go to the device for good, and the host's RAM is free");
    report_map("before", data->managed, data->len);
    uint64_t before = resident(data->managed, data->len);
    meter meter = meter_start();
    CHECK(hmm_migrate(data->managed, data->len, 0, NULL));
    meter_stop(&meter);
    report_map("after", data->managed, data->len);
    report_moved(&meter, 0);
    uint64_t after = resident(data->managed, data->len);
    printf("   RAM behind them, says the kernel: %s before, %s after\n", size_text(before), size_text(after));
    report_check("at least 95 % of the RAM was given back", after * 20 <= before);
}

void half_comes_home(const tour_data *data) {
    size_t half = data->len - data->len / 2;
    report_title("The CPU reads the first half, as if nothing had happened");
    report_map("before", data->managed, data->len);
    meter meter = meter_start();
    uint64_t sum = plain_sum(data->managed, half);
    meter_stop(&meter);
    report_map("after", data->managed, data->len);
    report_moved(&meter, half);
    report_check("the sum of its bytes is right", sum == plain_sum(data->plain, half));
}

void cpu_writes(tour_data *data) {
    uint64_t *sum = managed(sizeof *sum);
    report_title("The CPU writes one byte into every chunk, then the device makes the checksum anew");
    report_map("before", data->managed, data->len);
    meter meter = meter_start();
    for (size_t at = 0; at < data->len; at += CHUNK) {
        data->managed[at] ^= 0xFF;
        data->plain[at] ^= 0xFF;
    }
    report_map("written", data->managed, data->len);
    device_checksum(sum, data->managed, data->len);
    uint64_t found = *sum;
    meter_stop(&meter);
    report_map("after", data->managed, data->len);
    report_moved(&meter, data->len);
    report_check("the device saw every written byte", found == plain_checksum(data->plain, data->len));
    report_check("no other byte changed", memcmp(data->managed, data->plain, data->len) == 0);
    hmm_free(sum);
}
