// Calls that the runtime refuses altogether, in the state it is in: each says so, and its message names the call.

#ifndef NO_RUNTIME_H
#define NO_RUNTIME_H

#include <errno.h>

#include "check.h"

// The last message names the call, and what it is about.
static inline void no_runtime_says(const char *file, int line, const char *call, const char *about) {
    char text[600];
    hmm_last_error(text, sizeof text);
    if (strncmp(text, call, strcspn(call, "(")) != 0 || strstr(text, about) == NULL) {
        check_failed(file, line, call, text);
    }
}

// The call answers that status.
#define NO_RUNTIME(call, status, about)                                     \
    do {                                                                    \
        hmm_status status_ = (call);                                        \
        if (status_ != (status)) {                                          \
            check_failed(__FILE__, __LINE__, #call, hmm_strerror(status_)); \
        }                                                                   \
        no_runtime_says(__FILE__, __LINE__, #call, about);                  \
    } while (0)

// The call answers NULL, with EINVAL.
#define NO_MEMORY(call, about)                             \
    do {                                                   \
        errno = 0;                                         \
        CHECK((call) == NULL);                             \
        CHECK(errno == EINVAL);                            \
        no_runtime_says(__FILE__, __LINE__, #call, about); \
    } while (0)

#endif
