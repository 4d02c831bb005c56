// Formatted output of strings that are on a device, and line input into memory that is there. Without the library's
// functions a long string gets lost on its way to write(2). Runs with HMMRT_CHAOS=1.

#define _GNU_SOURCE
#include <err.h>
#include <error.h>
#include <locale.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <wchar.h>

#include "away.h"

enum { ROUNDS = 3, BIG = 1 << 20 };
static char name[300];
static char *text; // BIG bytes, all 'a' but for the last

static void ready(void) {
    memset(text, 'a', BIG - 1);
    text[BIG - 1] = '\0';
}

// The file has so many bytes: `head`, the text, `tail`.
static void has(const char *head, const char *tail) {
    size_t n = strlen(head) + BIG - 1 + strlen(tail);
    char *all = malloc(n + 1);
    FILE *f = fopen(name, "r");
    CHECK(f != NULL && fread(all, 1, n + 1, f) == n && feof(f));
    fclose(f);
    CHECK(memcmp(all, head, strlen(head)) == 0 && memcmp(all + n - strlen(tail), tail, strlen(tail)) == 0);
    for (size_t i = 0; i < BIG - 1; i++) CHECK(all[strlen(head) + i] == 'a');
    free(all);
}

static int list(int how, FILE *f, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    int n = how == 0 ? vfprintf(f, format, ap) : vdprintf(fileno(f), format, ap);
    va_end(ap);
    return n;
}

static void files(void) {
    for (int round = 0; round < ROUNDS; round++) {
        // Unbuffered, with a tiny buffer, and as it comes.
        for (int mode = 0; mode < 3; mode++) {
            ready();
            FILE *f = fopen(name, "w");
            static char tiny[16];
            CHECK(f != NULL);
            if (mode < 2) CHECK(setvbuf(f, mode ? tiny : NULL, mode ? _IOFBF : _IONBF, mode ? sizeof tiny : 0) == 0);
            int middle = 0;
            CHECK(fprintf(f, "%d %g %c %s%n|%d %d %d %g %g\n", 1, 2.5, 'x', AWAY(text), &middle, 4, 5, 6, 7.25, 8.5) ==
                  BIG - 1 + 8 + 16);
            CHECK(middle == 8 + BIG - 1);
            CHECK(fflush(f) == 0 && ferror(f) == 0);
            has("1 2.5 x ", "|4 5 6 7.25 8.5\n");
            CHECK(ftruncate(fileno(f), 0) == 0);
            rewind(f);
            CHECK(list(0, f, "%s%s", AWAY(text), "!") == BIG && fflush(f) == 0);
            has("", "!");
            CHECK(ftruncate(fileno(f), 0) == 0);
            rewind(f);
            CHECK(dprintf(fileno(f), "%d%s", 7, AWAY(text)) == BIG);
            has("7", "");
            CHECK(ftruncate(fileno(f), 0) == 0 && lseek(fileno(f), 0, SEEK_SET) == 0);
            CHECK(list(1, f, "%*d%s", 3, 7, AWAY(text)) == BIG + 2);
            has("  7", "");
            fclose(f);
        }
        // Small ones on a stream without a buffer go straight to the kernel, too.
        FILE *f = fopen(name, "w");
        setvbuf(f, NULL, _IONBF, 0);
        ready();
        CHECK(fwrite(AWAY(text), 1, 100, f) == 100);
        fclose(f);
        f = fopen(name, "r");
        setvbuf(f, NULL, _IONBF, 0);
        memset(text, 0, 4096);
        CHECK(fread(AWAY(text), 1, 100, f) == 100 && text[99] == 'a');
        fclose(f);
    }
}

static void standard_output(void) {
    ready();
    int saved = dup(1), fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    fflush(stdout);
    CHECK(dup2(fd, 1) == 1);
    int a = printf("<%s", AWAY(text)), b = fflush(stdout), c = printf("%s", "");
    dup2(saved, 1);
    close(saved);
    close(fd);
    CHECK(a == BIG && b == 0 && c == 0);
    has("<", "");
}

static void failures(void) {
    ready();
    FILE *f = fopen("/dev/full", "w");
    errno = 0;
    int n = fprintf(f, "%s", AWAY(text));
    CHECK((n == -1 || fflush(f) == EOF) && errno == ENOSPC && ferror(f));
    fclose(f);
    f = fopen(name, "r");
    errno = 0;
    CHECK(fprintf(f, "%s", AWAY(text)) == -1 && errno == EBADF);
    fclose(f);
    errno = 0;
    CHECK(dprintf(-1, "%s", AWAY(text)) == -1 && errno == EBADF);
    // %m is of before; what has no form in this locale ends the output there.
    f = fopen(name, "w");
    errno = ENOENT;
    CHECK(fprintf(f, "%m") == (int)strlen(strerror(ENOENT)));
    errno = 0;
    CHECK(fprintf(f, "%ls", L"\x20ac") == -1 && errno == EILSEQ);
    fclose(f);
}

// What is said on standard error goes through a buffer of the C library's.
static void messages(void) {
    ready();
    text[20000] = '\0';
    int saved = dup(2), fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(dup2(fd, 2) == 2);
    warnx("%s", AWAY(text));
    errno = ENOENT;
    warn("%s", AWAY(text));
    error(0, ENOENT, "%s", AWAY(text));
    perror(AWAY(text));
    fprintf(stderr, "%s\n", AWAY(text));
    fputs(AWAY(text), stderr);
    dup2(saved, 2);
    close(saved);
    long a = 0;
    FILE *f = fopen(name, "r");
    for (int c; (c = getc(f)) != EOF;) a += c == 'a';
    fclose(f);
    close(fd);
    CHECK(a >= 6 * 20000 && a < 6 * 20000 + 100);
}

// Lines come through the stream's buffer, wide characters through its conversion.
static void lines(void) {
    for (int round = 0; round < ROUNDS; round++) {
        FILE *f = fopen(name, "w+");
        ready();
        CHECK(fprintf(f, "%s 17 word\nend\n", AWAY(text)) > BIG);
        rewind(f);
        char *line = malloc(BIG + 100);
        memset(line, 0, BIG + 100);
        size_t room = BIG + 100;
        CHECK(fgets(AWAY(line), BIG + 100, f) == line && strlen(line) == BIG - 1 + 9);
        rewind(f);
        CHECK(getline(AWAY(&line[0]) ? &line : NULL, &room, f) == BIG - 1 + 9 && line[BIG - 2] == 'a');
        rewind(f);
        int n = 0;
        memset(line, 0, BIG);
        CHECK(fscanf(f, "%s %d", AWAY(line), &n) == 2 && n == 17 && strlen(line) == BIG - 1);
        rewind(f);
        room = 0;
        char *other = NULL;
        CHECK(getdelim(&other, &room, 'w', f) == BIG - 1 + 5);
        free(other);
        free(line);
        fclose(f);
        wchar_t *wide = malloc(BIG * sizeof *wide);
        for (int i = 0; i < BIG - 1; i++) wide[i] = L'a';
        wide[BIG - 1] = L'\0';
        f = fopen(name, "w");
        CHECK(fputws(AWAY(wide), f) >= 0 && fclose(f) == 0);
        has("", "");
        f = fopen(name, "w");
        CHECK(fwprintf(f, L"%ls", AWAY(wide)) == BIG - 1 && fclose(f) == 0);
        has("", "");
        f = fopen(name, "r");
        wmemset(wide, L'b', BIG);
        CHECK(fgetws(AWAY(wide), BIG, f) == wide && wide[BIG - 2] == L'a');
        fclose(f);
        free(wide);
    }
}

static void lists(void) {
    char *path = strcpy(aligned_alloc(4096, 5 * 4096), "/bin/sh"), *c = strcpy(path + 4096, "-c");
    char *word = strcpy(path + 2 * 4096, "test \"$1$2$3$4$5$6\" = abcdef && exit ${WORD:-7}");
    char **env = (char **)(path + 3 * 4096);
    env[0] = strcpy(path + 4 * 4096, "WORD=9");
    env[1] = NULL;
    for (int how = 0; how < 3; how++) {
        AWAY(path), AWAY(word);
        pid_t child = fork();
        if (child == 0) {
            if (how == 0) execl(path, path, c, word, "sh", "a", "b", "c", "d", "e", "f", (char *)NULL);
            if (how == 1) execlp("sh", path, c, word, "sh", "a", "b", "c", "d", "e", "f", (char *)NULL);
            if (how == 2) execle(path, path, c, word, "sh", "a", "b", "c", "d", "e", "f", (char *)NULL, env);
            _exit(1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == (how == 2 ? 9 : 7));
    }
    errno = 0;
    CHECK(execl("/nowhere", "x", (char *)NULL) == -1 && errno == ENOENT);
    free(path);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    snprintf(name, sizeof name, "%s/out", argv[1]);
    text = malloc(BIG);
    PART(files);
    PART(standard_output);
    PART(failures);
    PART(messages);
    PART(lines);
    PART(lists);
    CHECK(waits > 50);
    return 0;
}
