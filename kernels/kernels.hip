// The built-in kernels as a HIP source file, for compiling ahead of time. kernels.cu finds out by itself that it is
// compiled for AMD; hiprtc is given kernels.cu directly, so that one string is the whole program. See README.md.
#include "kernels.cu"
