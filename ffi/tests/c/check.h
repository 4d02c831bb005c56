// What the C and C++ test programs share: checks that end the program with the place, and named parts.

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hmmrt.h"

static inline void check_failed(const char *file, int line, const char *what, const char *why) {
    char last[600];
    last[0] = '\0';
    hmm_last_error(last, sizeof last);
    fprintf(stderr, "%s:%d: %s: %s (last error: \"%s\")\n", file, line, what, why, last);
    exit(1);
}

// The condition holds.
#define CHECK(condition)                                             \
    do {                                                             \
        if (!(condition)) {                                          \
            check_failed(__FILE__, __LINE__, #condition, "is false"); \
        }                                                            \
    } while (0)

// The call succeeds.
#define OK(call)                                                                  \
    do {                                                                          \
        hmm_status status_ = (call);                                              \
        if (status_ != HMM_OK) {                                                  \
            check_failed(__FILE__, __LINE__, #call, hmm_strerror(status_));       \
        }                                                                         \
    } while (0)

// Runs a part of the test; the line tells the harness that it was not left out.
#define PART(function)                  \
    do {                                \
        function();                     \
        printf("ok %s\n", #function);   \
        fflush(stdout);                 \
    } while (0)

#endif
