// As twice_a.c in C++, with twice_b.cpp: both headers twice in one file, and in two files of one program.

#include "hmmrt.hpp"
#include "hmmrt.h"
#include "hmmrt.hpp"

const char *twice_b(hmm::buffer<int> &);

int main() {
    hmm::buffer<int> none;
    return twice_b(none) != hmm_version();
}
