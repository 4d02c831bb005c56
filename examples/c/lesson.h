/* What all C lessons share: CHECK for calls, EXPECT for facts, signs() for where memory is. */
#ifndef LESSON_H
#define LESSON_H

#include <hmmrt.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program with the library's own message if the call failed. */
#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((call) != HMM_OK) {                                                                                        \
            char message[256];                                                                                         \
            hmm_last_error(message, sizeof message);                                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, message);                                               \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* Ends the program if the condition is false. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* One character for each 2 MiB chunk: . untouched, H host, D device, = both, % mixed. For up to 32 MiB. */
static inline const char *signs(const void *memory, size_t len) {
    enum { PAGES_OF_CHUNK = 512, MOST = 16 };
    static hmm_page pages[(MOST + 1) * PAGES_OF_CHUNK];
    static char text[MOST + 2];
    uintptr_t first = (uintptr_t)memory / 4096, last = ((uintptr_t)memory + len - 1) / 4096;
    size_t chunk = first / PAGES_OF_CHUNK, at = 0;
    CHECK(hmm_query(memory, len, pages, sizeof pages / sizeof *pages));
    for (size_t i = 0; i <= last - first; i++) {
        char sign = ".HD="[pages[i].flags / HMM_PAGE_HOST & 3];
        if (i == 0) {
            text[at] = sign;
        } else if ((first + i) / PAGES_OF_CHUNK != chunk) {
            chunk++;
            text[++at] = sign;
        } else if (text[at] != sign) {
            text[at] = '%';
        }
    }
    text[at + 1] = 0;
    return text;
}

#endif
