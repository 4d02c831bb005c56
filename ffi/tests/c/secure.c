// What the process looks like from outside while the library works: no memory that is writable and executable, nothing
// shared that others could open by a name, nothing left open. Devices are open and memory is away; then once more after
// shutdown. Its argument is the trace that the environment asks for, if any.

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { MIB = 1 << 20 };
static const char *trace = "";

static void mappings(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    char line[5000];
    int seen = 0, named = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        char mode[5], path[4096] = "";
        CHECK(sscanf(line, "%*s %4s %*s %*s %*s %4095s", mode, path) >= 1);
        seen++;
        if (mode[1] == 'w' && mode[2] == 'x') check_failed(__FILE__, __LINE__, line, "is writable and executable");
        // Shared memory is what another process can have, too: only the trace, and that by its own name.
        if (mode[3] == 's' && mode[1] == 'w') {
            if (trace[0] == '\0' || strcmp(path, trace) != 0) check_failed(__FILE__, __LINE__, line, "is shared");
            named++;
        }
    }
    fclose(maps);
    CHECK(seen > 10 && named == (trace[0] != '\0'));
}

// What the program was started with.
static bool inherited[4096];

// Whether it is the fault engine's, for this process alone.
static bool is_engines(const char *folder, const char *number) {
    char path[600], to[100], line[100];
    snprintf(path, sizeof path, "%s/%s", folder, number);
    ssize_t length = readlink(path, to, sizeof to - 1);
    if (length < 0) return false;
    to[length] = '\0';
    if (strcmp(to, "anon_inode:[userfaultfd]") != 0) return false;
    snprintf(path, sizeof path, "%.*s/fdinfo/%s", (int)(strlen(folder) - strlen("/fd")), folder, number);
    FILE *info = fopen(path, "r");
    unsigned flags = 0;
    while (info != NULL && fgets(line, sizeof line, info) != NULL) sscanf(line, "flags: %o", &flags);
    if (info != NULL) fclose(info);
    return (flags & O_CLOEXEC) != 0;
}

// Whether there is a descriptor in this folder that was not there at the start; its name. Those of the engine are counted.
static bool is_more(const char *folder, bool at_start, int besides, int *engines, char *name) {
    DIR *all = opendir(folder);
    if (all == NULL) return false; // of a thread that has ended
    bool found = false;
    for (struct dirent *of; (of = readdir(all)) != NULL;) {
        int number = atoi(of->d_name);
        if (of->d_name[0] == '.' || number == dirfd(all) || number == besides) continue;
        CHECK(number < 4096);
        if (at_start) inherited[number] = true;
        if (inherited[number]) continue;
        if (is_engines(folder, of->d_name)) {
            ++*engines;
            continue;
        }
        strcpy(name, of->d_name);
        found = true;
    }
    closedir(all);
    return found;
}

// The same for threads, which may have descriptors of their own; each has at most one of the engine's.
static bool thread_has_more(char *name) {
    DIR *all = opendir("/proc/self/task");
    CHECK(all != NULL);
    bool found = false;
    for (struct dirent *of; (of = readdir(all)) != NULL;) {
        char folder[300];
        snprintf(folder, sizeof folder, "/proc/self/task/%s/fd", of->d_name);
        int engines = 0;
        if (of->d_name[0] != '.') found |= is_more(folder, false, dirfd(all), &engines, name) || engines > 1;
    }
    closedir(all);
    return found;
}

// No descriptor is kept: not of a socket, not of shared memory, not of /proc; but so many of the fault engine's. A thread of the
// library may just look into a file.
static void descriptors(bool at_start, int kept) {
    char name[256] = "other than so many of the engine's";
    for (int i = 0;; i++) {
        int engines = 0;
        if (!is_more("/proc/self/fd", at_start, -1, &engines, name) && engines == kept && !thread_has_more(name)) return;
        if (i == 20000) check_failed(__FILE__, __LINE__, name, "is a descriptor that is open");
        usleep(1000);
    }
}

static void look(int kept) {
    mappings();
    descriptors(false, kept);
}

static unsigned char *block;

static void with_devices_open(void) {
    block = hmm_malloc((size_t)5 * MIB);
    char *small = hmm_malloc(1000);
    CHECK(block != NULL && small != NULL);
    memset(block, 0x42, (size_t)5 * MIB);
    hmm_stream stream;
    OK(hmm_stream_create(0, &stream));
    hmm_module module;
    hmm_kernel fill;
    OK(hmm_module_builtin(0, &module));
    OK(hmm_kernel_get(module, "hmm_fill", &fill));
    OK(hmm_migrate(block, (size_t)5 * MIB, 0, NULL));
    OK(hmm_prefetch(small, 1000, 0, stream));
    OK(hmm_stream_synchronize(stream));
    const char *engine = getenv("HMMRT_FAULT");
    int kept = engine != NULL && strncmp(engine, "uffd", 4) == 0;
    look(kept);
    for (size_t i = 0; i < (size_t)5 * MIB; i += 4096) CHECK(block[i] == 0x42);
    look(kept);
}

static void after_shutdown(void) {
    OK(hmm_shutdown());
    look(0);
}

static void trace_is_private(void) {
    struct stat of;
    CHECK(lstat(trace, &of) == 0);
    CHECK(S_ISREG(of.st_mode) && (of.st_mode & 07777) == 0600 && of.st_uid == geteuid());
}

int main(int argc, char **argv) {
    umask(0); // so that the mode is the library's own
    descriptors(true, 0);
    if (argc > 1) trace = argv[1];
    PART(with_devices_open);
    PART(after_shutdown);
    if (argc > 1) PART(trace_is_private);
    printf("all well\n");
    return 0;
}
