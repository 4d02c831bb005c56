/* The tour in C: what its files share. The chapters are the same as in the Rust tour (examples/src/bin/tour/). */
#ifndef TOUR_H
#define TOUR_H

#include <hmmrt.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the tour with the library's own message, and status 2, if the call failed. */
#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((call) != HMM_OK) {                                                                                        \
            die(#call);                                                                                                \
        }                                                                                                              \
    } while (0)

_Noreturn void die(const char *what);

/* input.c: the file in managed memory, and once more in ordinary memory for the checks. */
typedef struct {
    uint8_t *managed, *plain;
    size_t len;
} tour_data;
tour_data read_file(const char *path);
uint64_t device_memory(void); /* bytes, in use or not */
void *managed(size_t size); /* zeroed managed memory; never NULL */
void *ordinary(size_t size); /* zeroed ordinary memory; never NULL */

/* report.c: everything that is printed. */
typedef struct {
    hmm_stats before, after;
    double start, end;
} meter;
void report_start(void);
void report_title(const char *text);
void report_map(const char *label, const void *memory, size_t len);
meter meter_start(void);
void meter_stop(meter *meter);
void report_moved(const meter *meter, uint64_t bytes); /* and how fast so many bytes were worked on; 0: no matter */
void report_check(const char *what, bool right);
bool report_summary(void); /* true when every check passed */
const char *size_text(uint64_t bytes); /* "12.5 MiB"; the last four results stay valid */

/* device.c: the library's kernels as C functions. They return once the kernel is queued. */
void device_start(void);
void device_histogram(uint64_t bins[256], const uint8_t *x, uint64_t n);
void device_checksum(uint64_t *out, const void *x, uint64_t n);
void device_stencil(float *out, const float *in, uint64_t width, uint64_t height);
void device_list_walk(uint64_t out[2], const void *nodes, size_t size, const void *head, uint64_t most);
void device_stop(void); /* waits for all of them */

/* plain.c: the same in plain code over ordinary memory. Nothing there knows the runtime. */
void plain_histogram(uint64_t bins[256], const uint8_t *x, size_t n);
uint64_t plain_checksum(const void *x, size_t n);
uint64_t plain_mix(uint64_t word);
uint64_t plain_sum(const uint8_t *x, size_t n);
void plain_stencil(float *out, const float *in, size_t width, size_t height);

/* The chapters, in order. */
void device_reads(const tour_data *data);
void goes_away(const tour_data *data);
void half_comes_home(const tour_data *data);
void cpu_writes(tour_data *data);
typedef struct {
    float *managed, *plain;
    size_t count;
} tour_results;
tour_results stencil(const tour_data *data);
void walk_list(const tour_data *data);
void together(tour_results *results);

#endif
