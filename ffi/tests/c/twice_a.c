// With twice_b.c: a header included twice in one file, and in several files of one program.

#include "hmmrt.h"
#include "hmmrt.h"

const char *twice_b(void);

int main(void) { return twice_b() != hmm_version(); }
