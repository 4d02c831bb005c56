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

// Runs a part of the test; the line tells the harness that it was not left out.
#define PART(function)                  \
    do {                                \
        function();                     \
        printf("ok %s\n", #function);   \
        fflush(stdout);                 \
    } while (0)

#endif
