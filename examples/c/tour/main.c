/* The tour: any file, read with ordinary fread into managed memory, worked on by device and CPU, checked and shown.
 *
 * Run by `cargo xtask tour [FILE]`, after the same tour in Rust. Every result is compared with the same computation in
 * plain code over ordinary memory; a difference gives exit status 1, a call that fails 2. */
#include "tour.h"

void die(const char *what) {
    char message[512];
    hmm_last_error(message, sizeof message);
    fflush(stdout);
    fprintf(stderr, "tour: %s: %s\n", what, message);
    exit(2);
}

int main(int argc, char **argv) {
    if (argc > 2) {
        fprintf(stderr, "usage: %s [FILE]\n", argv[0]);
        return 2;
    }
    CHECK(hmm_init(NULL));
    report_start();
    device_start();
    tour_data data = read_file(argc == 2 ? argv[1] : "/proc/self/exe");
    if (data.len == 0) {
        printf("\nThe file is empty: nothing to move, nothing to check.\n");
        return 0;
    }
    device_reads(&data);
    goes_away(&data);
    half_comes_home(&data);
    cpu_writes(&data);
    tour_results results = stencil(&data);
    walk_list(&data);
    together(&results);
    device_stop();
    bool right = report_summary();
    hmm_free(results.managed);
    hmm_free(data.managed);
    free(results.plain);
    free(data.plain);
    CHECK(hmm_shutdown());
    return right ? 0 : 1;
}
