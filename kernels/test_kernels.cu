// Kernels of the test suites, built in the same way as kernels.cu, whose macros they use: compiled to test_kernels.ptx for
// CUDA; for HIP the tests hand the text of both files to hiprtc. The host twins are in runtime/tests/common/kernels.rs.

#ifndef HMM_KERNEL
#include "kernels.cu"
#endif

// Nanoseconds of a clock that runs at a constant rate.
static __device__ inline hmm_u64 test_clock() {
#if defined(__AMDGCN__)
    return __builtin_amdgcn_s_memrealtime() * 10; // 100 MHz
#else
    hmm_u64 now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
#endif
}

static __device__ inline void test_wait(hmm_u64 ns) {
    for (hmm_u64 start = test_clock(); test_clock() - start < ns;) {
    }
}

// p[i] += v
HMM_KERNEL void test_add_bytes(hmm_u8 *p, hmm_u64 n, hmm_u8 v) {
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < n; i += step)
        p[i] = (hmm_u8)(p[i] + v);
}

// p[i] = v
HMM_KERNEL void test_fill_bytes(hmm_u8 *p, hmm_u64 n, hmm_u8 v) {
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < n; i += step)
        p[i] = v;
}

// *p += 1
HMM_KERNEL void test_add_word(hmm_u64 *p) {
    if (hmm_first() == 0)
        *p += 1;
}

// After ns nanoseconds: p[i] += 1
HMM_KERNEL void test_slow_increment(hmm_u32 *p, hmm_u64 n, hmm_u64 ns) {
    test_wait(ns);
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < n; i += step)
        p[i] += 1;
}

// After ns nanoseconds: to[i] = from[i]
HMM_KERNEL void test_slow_copy(hmm_u32 *to, const hmm_u32 *from, hmm_u64 n, hmm_u64 ns) {
    test_wait(ns);
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < n; i += step)
        to[i] = from[i];
}
