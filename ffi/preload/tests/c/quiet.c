// A program that uses large blocks and no device: no thread is started for it, no driver loaded, no descriptor kept.

#define _GNU_SOURCE
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static int entries(const char *path) {
    DIR *d = opendir(path);
    CHECK(d != NULL);
    int n = 0;
    while (readdir(d) != NULL) n++;
    CHECK(closedir(d) == 0);
    return n;
}

static void *volatile sink;

static void no_thread_no_driver(void) {
    int descriptors = entries("/proc/self/fd");
    for (int i = 0; i < 50; i++) {
        void *p = malloc((size_t)(i + 1) << 18);
        CHECK(p != NULL);
        sink = memset(p, 1, 1 << 18);
        CHECK((p = realloc(p, (size_t)(i + 2) << 19)) != NULL);
        free(p);
    }
    CHECK(entries("/proc/self/task") == 3); // . and .. and this one
    CHECK(entries("/proc/self/fd") == descriptors);
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    char line[4096];
    int preloaded = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        CHECK(strstr(line, "libcuda") == NULL && strstr(line, "libamdhip") == NULL);
        preloaded |= strstr(line, "hmmrt_preload") != NULL;
    }
    fclose(maps);
    CHECK(preloaded);
}

int main(void) {
    PART(no_thread_no_driver);
    return 0;
}
