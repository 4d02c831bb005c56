// See twice_a.cpp.

#include "hmmrt.h"
#include "hmmrt.hpp"

const char *twice_b(hmm::buffer<int> &);
const char *twice_b(hmm::buffer<int> &empty) { return empty.empty() ? hmm::version() : nullptr; }
