// For the tests of what is refused: a call must answer with its code, say which argument it was, and change nothing:
// not the statistics, not the state of a single page, not a byte. Two blocks are watched, one on the host, one half on a
// device.

#ifndef REFUSED_H
#define REFUSED_H

#include <errno.h>

#include "check.h"

enum { PAGE = 4096, MIB = 1 << 20 };
#define SIZE ((size_t)4 * MIB)
#define PAGES (SIZE / PAGE)

static unsigned char *home, *away;

static unsigned char pattern(size_t i) { return (unsigned char)(i * 31 + i / 4096); }

static void watch(void) {
    // No spare pool: it is filled beside the program, and shows in the statistics.
    CHECK(setenv("HMMRT_SPARE", "0", 1) == 0);
    home = hmm_malloc(SIZE);
    away = hmm_malloc(SIZE);
    CHECK(home != NULL && away != NULL);
    for (size_t i = 0; i < SIZE; i++) home[i] = away[i] = pattern(i);
    OK(hmm_migrate(away, SIZE / 2, 0, NULL));
}

struct state {
    hmm_stats stats;
    hmm_page home[PAGES], away[PAGES];
};

static struct state before, after;

static void look(struct state *state) {
    state->stats.struct_size = sizeof state->stats;
    OK(hmm_stats_get(&state->stats));
    // Failing is counted, and that is all that a failure may do.
    state->stats.errors = 0;
    OK(hmm_query(home, SIZE, state->home, PAGES));
    OK(hmm_query(away, SIZE, state->away, PAGES));
}

// Puts a message in place that no test expects, so that each call must leave its own.
static void stale_message(void) {
    CHECK(hmm_stats_get(NULL) == HMM_ERR_NULL_POINTER);
    look(&before);
}

static void unchanged(const char *file, int line, const char *call) {
    look(&after);
    if (memcmp(&before.stats, &after.stats, sizeof before.stats) != 0) {
        const uint64_t *b = (const uint64_t *)&before.stats, *a = (const uint64_t *)&after.stats;
        for (size_t i = 0; i < sizeof before.stats / 8; i++) {
            if (a[i] != b[i]) fprintf(stderr, "field %zu: %llu became %llu\n", i, (unsigned long long)b[i], (unsigned long long)a[i]);
        }
        check_failed(file, line, call, "changed the statistics");
    }
    if (memcmp(before.home, after.home, sizeof before.home) != 0 || memcmp(before.away, after.away, sizeof before.away) != 0) {
        check_failed(file, line, call, "changed a page's state");
    }
    for (size_t i = 0; i < SIZE; i += 97) {
        if (home[i] != pattern(i)) check_failed(file, line, call, "changed a byte");
    }
}

// "hmm_call: argument..." is the message, `call` being the source text of the call.
static void message_is(const char *file, int line, const char *call, const char *argument) {
    char got[600], expected[200];
    size_t name = strcspn(call, "(");
    CHECK(name + strlen(argument) + 3 < sizeof expected);
    memcpy(expected, call, name);
    memcpy(expected + name, ": ", 2);
    strcpy(expected + name + 2, argument);
    size_t length = hmm_last_error(got, sizeof got);
    if (length >= sizeof got || strncmp(got, expected, strlen(expected)) != 0) {
        fprintf(stderr, "expected \"%s...\"\n", expected);
        check_failed(file, line, call, "has another message");
    }
}

// The call answers `code` and its message begins with `argument`.
#define REFUSED(call, code, argument)                                                                     \
    do {                                                                                                  \
        stale_message();                                                                                  \
        hmm_status status_ = (call);                                                                      \
        if (status_ != (code)) {                                                                          \
            fprintf(stderr, "status %d (%s)\n", (int)status_, hmm_strerror(status_));                     \
            check_failed(__FILE__, __LINE__, #call, "should be " #code);                                  \
        }                                                                                                 \
        message_is(__FILE__, __LINE__, #call, argument);                                                  \
        unchanged(__FILE__, __LINE__, #call);                                                             \
    } while (0)

// The call, of hmm_malloc's family, gives NULL and errno `number`.
#define REFUSED_MEMORY(call, number, argument)                                            \
    do {                                                                                  \
        stale_message();                                                                  \
        errno = 0;                                                                        \
        void *block_ = (call);                                                            \
        int errno_ = errno;                                                               \
        if (block_ != NULL) check_failed(__FILE__, __LINE__, #call, "should be NULL");    \
        if (errno_ != (number)) {                                                         \
            fprintf(stderr, "errno %d\n", errno_);                                        \
            check_failed(__FILE__, __LINE__, #call, "errno should be " #number);          \
        }                                                                                 \
        message_is(__FILE__, __LINE__, #call, argument);                                  \
        unchanged(__FILE__, __LINE__, #call);                                             \
    } while (0)

// hmm_free only complains.
#define REFUSED_FREE(pointer, argument)                                 \
    do {                                                                \
        stale_message();                                                \
        errno = 77;                                                     \
        hmm_free(pointer);                                              \
        CHECK(errno == 77);                                             \
        message_is(__FILE__, __LINE__, "hmm_free", argument);           \
        unchanged(__FILE__, __LINE__, "hmm_free(" #pointer ")");        \
    } while (0)

// At the end of a program: what was on the device all along is as it was written.
static void nothing_lost(void) {
    for (size_t i = 0; i < SIZE; i++) CHECK(home[i] == pattern(i) && away[i] == pattern(i));
    hmm_free(home);
    hmm_free(away);
}

#endif
