/* Everything the tour prints: the machine, titles, maps, what moved, checks, the summary. Colours only on a terminal, and
 * not where NO_COLOR is set. */
#define _GNU_SOURCE
#include "tour.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4 << 10, PAGES_OF_CHUNK = 512, WIDTH = 64 };

static const struct {
    char sign;
    const char *name, *colour;
} kinds[] = {{'.', "untouched", "2"}, {'H', "host", "32"}, {'D', "device", "35"}, {'=', "both", "36"}, {'%', "mixed", "33"}};
enum { MIXED = 4 };

static bool colour;
static int chapter, passed, failed;
static meter whole;

static void paint(const char *code, const char *text) {
    if (colour) {
        printf("\033[%sm%s\033[0m", code, text);
    } else {
        fputs(text, stdout);
    }
}

static void put_sign(int kind) { paint(kinds[kind].colour, (char[]){kinds[kind].sign, 0}); }

const char *size_text(uint64_t bytes) {
    static char texts[4][32];
    static int next;
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    char *text = texts[next++ % 4];
    if (bytes < 1024) {
        snprintf(text, sizeof texts[0], "%d B", (int)bytes);
        return text;
    }
    double value = (double)bytes / 1024;
    int unit = 0;
    while (value >= 1024 && unit < 3) {
        value /= 1024;
        unit++;
    }
    snprintf(text, sizeof texts[0], "%.1f %s", value, units[unit]);
    return text;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static hmm_stats counters(void) {
    hmm_stats stats = {.struct_size = sizeof stats};
    CHECK(hmm_stats_get(&stats));
    return stats;
}

meter meter_start(void) { return (meter){.before = counters(), .start = now()}; }

void meter_stop(meter *meter) {
    meter->end = now();
    meter->after = counters();
}

void report_start(void) {
    colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    whole = meter_start();
    hmm_device_info_s info = {.struct_size = sizeof info};
    CHECK(hmm_device_info(0, &info));
    printf("libhmmrt %s, device 0: %s, backend %s, %s of %s free\n", hmm_version(), info.name, info.backend,
           size_text(info.memory_free), size_text(info.memory_total));
    if (strcmp(info.backend, "host") == 0) {
        puts("The host backend stands in for a GPU: its memory is a part of RAM that the CPU code does not\n"
             "touch, its kernels are threads. Pages really move and faults are real; speeds are this machine's.");
    }
    printf("\nOne character for each 2 MiB chunk:");
    for (int kind = 0; kind <= MIXED; kind++) {
        printf("   ");
        put_sign(kind);
        printf(" %s", kinds[kind].name);
    }
    printf("\n");
}

void report_title(const char *text) {
    printf("\n%s%d. %s%s\n", colour ? "\033[1m" : "", ++chapter, text, colour ? "\033[0m" : "");
}

void report_map(const char *label, const void *memory, size_t len) {
    if (len == 0) {
        return;
    }
    uintptr_t first = (uintptr_t)memory / PAGE, last = ((uintptr_t)memory + len - 1) / PAGE;
    size_t count = last - first + 1, at = 0, column = 0;
    hmm_page *pages = ordinary(count * sizeof *pages);
    CHECK(hmm_query(memory, len, pages, count));
    while (at < count) {
        int kind = pages[at].flags / HMM_PAGE_HOST & 3;
        size_t chunk = (first + at) / PAGES_OF_CHUNK;
        for (; at < count && (first + at) / PAGES_OF_CHUNK == chunk; at++) {
            if ((int)(pages[at].flags / HMM_PAGE_HOST & 3) != kind) {
                kind = MIXED;
            }
        }
        if (column++ % WIDTH == 0) {
            printf("%s   %-12s", column == 1 ? "" : "\n", column == 1 ? label : "");
        }
        put_sign(kind);
    }
    printf("\n");
    free(pages);
}

void report_moved(const meter *meter, uint64_t bytes) {
    double seconds = meter->end - meter->start;
    hmm_stats was = meter->before, is = meter->after;
    uint64_t reads = is.read_faults - was.read_faults, writes = is.write_faults - was.write_faults;
    printf("   to the device %s, home %s, moved without a copy %s, faults %llu (read %llu, write %llu)\n",
           size_text(is.bytes_to_device - was.bytes_to_device), size_text(is.bytes_to_host - was.bytes_to_host),
           size_text(is.bytes_not_copied - was.bytes_not_copied), (unsigned long long)(reads + writes),
           (unsigned long long)reads, (unsigned long long)writes);
    printf("   %.1f ms", seconds * 1e3);
    if (bytes != 0) {
        printf(" for %s: %.2f GB/s", size_text(bytes), (double)bytes / (seconds > 1e-9 ? seconds : 1e-9) / 1e9);
    }
    printf("\n");
}

void report_check(const char *what, bool right) {
    *(right ? &passed : &failed) += 1;
    printf("   ");
    paint(right ? "32" : "31", right ? "ok" : "WRONG");
    printf(": %s\n", what);
}

bool report_summary(void) {
    meter_stop(&whole);
    hmm_stats was = whole.before, is = whole.after;
    printf("\nAltogether, in %.2f s\n", whole.end - whole.start);
    printf("   copied to the device %12s\n", size_text(is.bytes_to_device - was.bytes_to_device));
    printf("   copied home          %12s\n", size_text(is.bytes_to_host - was.bytes_to_host));
    printf("   moved without a copy %12s\n", size_text(is.bytes_not_copied - was.bytes_not_copied));
    printf("   read faults          %12llu\n", (unsigned long long)(is.read_faults - was.read_faults));
    printf("   write faults         %12llu\n", (unsigned long long)(is.write_faults - was.write_faults));
    printf("   waits                %12llu\n", (unsigned long long)(is.waits - was.waits));
    printf("   residency table      %12s for %s managed\n", size_text(is.table_bytes), size_text(is.managed_bytes));
    printf("checks: %d right, %d wrong\n", passed, failed);
    return failed == 0;
}
