// What the programs for the preload library share. They are ordinary programs: nothing in them knows of the library.

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

// The condition holds.
#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition);     \
            _exit(1);                                                                    \
        }                                                                                \
    } while (0)

static const char *left_out __attribute__((unused)); // why the part that runs tests nothing, if so

// Ends a part: this machine lacks what it needs.
#define LEFT_OUT(why)   \
    do {                \
        left_out = why; \
        return;         \
    } while (0)

// Runs a part of the test; the line tells the harness that it has run, or that it could not.
#define PART(function)                                                 \
    do {                                                               \
        left_out = NULL;                                               \
        function();                                                    \
        if (left_out != NULL)                                          \
            printf("left out: %s: %s\n", #function, left_out);         \
        else                                                           \
            printf("ok %s\n", #function);                              \
        fflush(stdout);                                                \
    } while (0)

#endif
