// See twice_a.c.

#include "hmmrt.h"

const char *twice_b(void);
const char *twice_b(void) { return hmm_version(); }
