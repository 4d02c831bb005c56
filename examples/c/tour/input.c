/* Chapter 1: the file, in managed memory by ordinary fread, and once more in ordinary memory. A file that would not fit is
 * cut, and the tour says so. */
#define _GNU_SOURCE
#include "tour.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

void *managed(size_t size) {
    void *memory = hmm_calloc(1, size);
    if (memory == NULL) {
        die("hmm_calloc");
    }
    return memory;
}

void *ordinary(size_t size) {
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL) {
        fprintf(stderr, "tour: no memory\n");
        exit(2);
    }
    return memory;
}

static void die_errno(const char *path) {
    fprintf(stderr, "tour: %s: %s\n", path, strerror(errno));
    exit(2);
}

uint64_t device_memory(void) {
    hmm_device_info_s info = {.struct_size = sizeof info};
    CHECK(hmm_device_info(0, &info));
    return info.memory_total;
}

/* The most that is taken: the device and the host each hold it, and the checks hold it once more. */
static size_t limit(void) {
    unsigned long long kib = 1 << 20;
    FILE *meminfo = fopen("/proc/meminfo", "r");
    char line[128];
    while (meminfo != NULL && fgets(line, sizeof line, meminfo) != NULL) {
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) {
            break;
        }
    }
    if (meminfo != NULL) {
        fclose(meminfo);
    }
    uint64_t host = kib * 1024 / 6, device = device_memory() / 4;
    return host < device ? host : device;
}

tour_data read_file(const char *path) {
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &status) != 0) {
        die_errno(path);
    }
    bool regular = S_ISREG(status.st_mode);
    size_t room = limit();
    if (regular && status.st_size > 0 && (uint64_t)status.st_size < room) {
        room = (size_t)status.st_size;
    }
    /* Memory that is never touched costs nothing: there may be much more room than the file needs. */
    tour_data data = {.managed = managed(room)};
    report_title("fread puts the file into managed memory");
    if (regular) {
        report_map("before", data.managed, room);
    }
    meter meter = meter_start();
    data.len = fread(data.managed, 1, room, file);
    if (ferror(file)) {
        die_errno(path);
    }
    bool more = fgetc(file) != EOF;
    meter_stop(&meter);
    report_map("after", data.managed, data.len);
    report_moved(&meter, data.len);
    printf("   %s: %s%s\n", path, size_text(data.len), more ? ", the rest is left out" : "");

    data.plain = ordinary(data.len);
    if (regular) {
        rewind(file);
        if (fread(data.plain, 1, data.len, file) != data.len) {
            die_errno(path);
        }
    } else {
        memcpy(data.plain, data.managed, data.len);
    }
    fclose(file);
    report_check("every byte is as in ordinary memory", memcmp(data.managed, data.plain, data.len) == 0);
    return data;
}
