/* The same computations as the kernels', in plain code over ordinary memory. Nothing here knows the runtime. */
#include "tour.h"
#include <string.h>

void plain_histogram(uint64_t bins[256], const uint8_t *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bins[x[i]]++;
    }
}

/* splitmix64's finalizer (Vigna 2015). */
uint64_t plain_mix(uint64_t word) {
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    word = (word ^ (word >> 27)) * 0x94D049BB133111EBu;
    return word ^ (word >> 31);
}

/* Sum over 8-byte little-endian words of the finalizer of word and position. */
uint64_t plain_checksum(const void *x, size_t n) {
    const uint8_t *bytes = x;
    uint64_t sum = 0;
    for (size_t i = 0; i * 8 < n; i++) {
        uint64_t word = 0;
        for (size_t k = 0; k < 8 && i * 8 + k < n; k++) {
            word |= (uint64_t)bytes[i * 8 + k] << 8 * k;
        }
        sum += plain_mix(word + (i + 1) * 0x9E3779B97F4A7C15u);
    }
    return sum;
}

uint64_t plain_sum(const uint8_t *x, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum;
}

/* The mean of each cell and its four neighbours; cells at the border stay. */
void plain_stencil(float *out, const float *in, size_t width, size_t height) {
    memcpy(out, in, width * height * sizeof *in);
    for (size_t y = 1; y + 1 < height; y++) {
        for (size_t x = 1; x + 1 < width; x++) {
            const float *cell = in + y * width + x;
            out[y * width + x] = (cell[0] + cell[-1] + cell[1] + cell[-(ptrdiff_t)width] + cell[width]) * 0.2f;
        }
    }
}
