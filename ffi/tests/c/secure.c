// What the process looks like from outside while the library works: no memory that is writable and executable, nothing
// shared that others could open by a name, nothing left open. Devices are open and memory is away; then once more after
// shutdown. Its argument is the trace that the environment asks for, if any.

#define _GNU_SOURCE
#include <dirent.h>
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
static bool inherited[1024];

// The userfaultfd engines keep theirs.
static bool is_the_engines(const char *name) {
    char path[300], to[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%s", name);
    const char *engine = getenv("HMMRT_FAULT");
    bool watched = engine != NULL && strncmp(engine, "uffd", 4) == 0;
    return watched && readlink(path, to, sizeof to - 1) > 0 && strcmp(to, "anon_inode:[userfaultfd]") == 0;
}

// Whether there is a descriptor that was not there at the start; its name.
static bool is_more(bool at_start, char *name) {
    DIR *all = opendir("/proc/self/fd");
    CHECK(all != NULL);
    bool found = false;
    for (struct dirent *of; (of = readdir(all)) != NULL;) {
        int number = atoi(of->d_name);
        if (of->d_name[0] == '.' || number == dirfd(all) || number >= 1024) continue;
        if (at_start) inherited[number] = true;
        if (inherited[number] || is_the_engines(of->d_name)) continue;
        strcpy(name, of->d_name);
        found = true;
    }
    closedir(all);
    return found;
}

// No descriptor is kept: not of a socket, not of shared memory, not of /proc. A thread of the library may just look into a file.
static void descriptors(bool at_start) {
    char name[256];
    for (int i = 0; is_more(at_start, name); i++) {
        if (i == 60000) check_failed(__FILE__, __LINE__, name, "is a descriptor that is open");
        usleep(1000);
    }
}

static void look(void) {
    mappings();
    descriptors(false);
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
    look();
    for (size_t i = 0; i < (size_t)5 * MIB; i += 4096) CHECK(block[i] == 0x42);
    look();
}

static void after_shutdown(void) {
    OK(hmm_shutdown());
    look();
}

static void trace_is_private(void) {
    struct stat of;
    CHECK(lstat(trace, &of) == 0);
    CHECK(S_ISREG(of.st_mode) && (of.st_mode & 07777) == 0600 && of.st_uid == geteuid());
}

int main(int argc, char **argv) {
    umask(0); // so that the mode is the library's own
    descriptors(true);
    if (argc > 1) trace = argv[1];
    PART(with_devices_open);
    PART(after_shutdown);
    if (argc > 1) PART(trace_is_private);
    printf("all well\n");
    return 0;
}
