/* Chapter 6: the file's bytes as numbers, 2048 rows of 4096 at a time, smoothed by a stencil on the device. While the device
 * works on a band, the CPU does the same in plain code; then all cells are compared. */
#include "tour.h"
#include <string.h>

enum { WIDTH = 4096, ROWS = 2048 };

/* Bytes to numbers; what is left over becomes zero. */
static void numbers(float *cells, size_t count, const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < count; i++) {
        cells[i] = i < len ? bytes[i] : 0;
    }
}

tour_results stencil(const tour_data *data) {
    /* Whole rows; a short last row is filled up with zeros. In and out take a quarter of the device's memory at most. */
    size_t rows = (data->len + WIDTH - 1) / WIDTH, room = device_memory() / (8 * sizeof(float) * WIDTH);
    rows = rows < ROWS ? rows : ROWS;
    rows = rows < room ? rows : room;
    size_t most = rows * WIDTH, size = most * sizeof(float), bands = 0, wrong = 0;
    float *in = managed(size), *plain_in = ordinary(size);
    tour_results out = {.managed = managed(size), .plain = ordinary(size), .count = most};
    report_title("A stencil over the bytes as numbers: 4 bytes a cell, band by band");
    report_map("in before", in, size);
    report_map("out before", out.managed, size);
    meter meter = meter_start();
    for (size_t at = 0; at < data->len; at += most, bands++) {
        size_t len = data->len - at < most ? data->len - at : most;
        size_t height = (len + WIDTH - 1) / WIDTH, count = height * WIDTH;
        numbers(in, count, data->managed + at, len);
        device_stencil(out.managed, in, WIDTH, height);
        numbers(plain_in, count, data->plain + at, len);
        plain_stencil(out.plain, plain_in, WIDTH, height);
        for (size_t i = 0; i < most; i++) {
            wrong += memcmp(&out.managed[i], &out.plain[i], sizeof(float)) != 0;
        }
    }
    meter_stop(&meter);
    report_map("in after", in, size);
    report_map("out after", out.managed, size);
    report_moved(&meter, 4 * data->len);
    char text[80];
    snprintf(text, sizeof text, "%zu bands, every cell equal to the last bit", bands);
    report_check(text, wrong == 0);
    hmm_free(in);
    free(plain_in);
    return out;
}
