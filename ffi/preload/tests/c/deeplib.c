// A library that is loaded with RTLD_DEEPBIND (deep.c), and frees and reallocates what the program has allocated, and the reverse.

#include <stdlib.h>
#include <unistd.h>

void lib_drop(void *block) { free(block); }
void *lib_grow(void *block, size_t size) { return realloc(block, size); }
void *lib_make(size_t size) { return malloc(size); }
long lib_read(int from, void *to, size_t size) { return read(from, to, size); }
