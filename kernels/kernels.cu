// The built-in kernels of libhmmrt, for NVIDIA and AMD from one text.
//
// Used three ways: compiled to kernels.ptx by build.sh (checked in, loaded by the CUDA backend), handed as it is to
// hiprtc by the HIP backend, and compiled through kernels.hip where a HIP compiler is at hand. Nothing is included,
// so no toolkit is needed; clang is (its builtins). The host backend's twins are in runtime/src/device/host/kernels.rs
// and must give the same results bit for bit.
//
// Every kernel takes any grid and block in all three dimensions: threads are numbered in one line and stride over it.
// Pointers are aligned for their type; buffers of one launch do not overlap unless a kernel says so.

#ifndef __global__
#define __global__ __attribute__((global))
#endif
#ifndef __device__
#define __device__ __attribute__((device))
#endif
#ifndef __shared__
#define __shared__ __attribute__((shared))
#endif

// a * b + c stays two roundings, as on the CPU. ptxas keeps to it because clang then writes mul.rn and add.rn.
#pragma clang fp contract(off)

typedef unsigned char hmm_u8;
typedef unsigned int hmm_u32;
typedef unsigned long long hmm_u64;
// Loads of several bytes at once out of a byte buffer.
typedef hmm_u64 __attribute__((may_alias)) hmm_word;
typedef hmm_u32 __attribute__((vector_size(16), may_alias)) hmm_quad;

struct hmm_node {
    hmm_u64 next; // host address of the next node, 0 at the end
    hmm_u64 value;
};

// The target: who am I, how many are we, barrier, atomic add -------------------------------------------------------

#if defined(__AMDGCN__)
#define HMM_KERNEL extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(1, 1024)))
#define HMM_THREAD(d) ((hmm_u32)__builtin_amdgcn_workitem_id_##d())
#define HMM_BLOCK(d) ((hmm_u32)__builtin_amdgcn_workgroup_id_##d())
#define HMM_BLOCK_SIZE(d) ((hmm_u32)__builtin_amdgcn_workgroup_size_##d())
#define HMM_GRID_SIZE(d) ((hmm_u64)__builtin_amdgcn_grid_size_##d())
#define HMM_ADD_SHARED(p, v) __hip_atomic_fetch_add(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP)
#define HMM_ADD_GLOBAL(p, v) __hip_atomic_fetch_add(p, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT)

static __device__ inline void hmm_barrier() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
#elif defined(__NVPTX__)
#define HMM_KERNEL extern "C" __global__
#define HMM_THREAD(d) ((hmm_u32)__nvvm_read_ptx_sreg_tid_##d())
#define HMM_BLOCK(d) ((hmm_u32)__nvvm_read_ptx_sreg_ctaid_##d())
#define HMM_BLOCK_SIZE(d) ((hmm_u32)__nvvm_read_ptx_sreg_ntid_##d())
#define HMM_GRID_SIZE(d) ((hmm_u64)(hmm_u32)__nvvm_read_ptx_sreg_nctaid_##d() * HMM_BLOCK_SIZE(d))
#define HMM_ADD_SHARED(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)
#define HMM_ADD_GLOBAL(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)

static __device__ inline void hmm_barrier() { __syncthreads(); }
#else
#error "device code: compile for NVPTX (-x cuda --cuda-device-only) or AMDGCN (-x hip --cuda-device-only)"
#endif

// Place of this thread in its block, and in the whole grid.
static __device__ inline hmm_u32 hmm_local() {
    return (HMM_THREAD(z) * HMM_BLOCK_SIZE(y) + HMM_THREAD(y)) * HMM_BLOCK_SIZE(x) + HMM_THREAD(x);
}

static __device__ inline hmm_u32 hmm_local_count() { return HMM_BLOCK_SIZE(x) * HMM_BLOCK_SIZE(y) * HMM_BLOCK_SIZE(z); }

#define HMM_AT(d) ((hmm_u64)HMM_BLOCK(d) * HMM_BLOCK_SIZE(d) + HMM_THREAD(d))
static __device__ inline hmm_u64 hmm_first() {
    return (HMM_AT(z) * HMM_GRID_SIZE(y) + HMM_AT(y)) * HMM_GRID_SIZE(x) + HMM_AT(x);
}

static __device__ inline hmm_u64 hmm_stride() { return HMM_GRID_SIZE(x) * HMM_GRID_SIZE(y) * HMM_GRID_SIZE(z); }

// Adds the v of every thread of the block to *out, with one atomic per block. All threads of the block must call it.
static __device__ inline void hmm_add_block(hmm_u64 *out, hmm_u64 v) {
    static __shared__ hmm_u64 part[1024]; // the largest block there is
    hmm_u32 t = hmm_local(), count = hmm_local_count();
    part[t] = v;
    hmm_barrier();
    for (hmm_u32 half = 512; half > 0; half >>= 1) {
        if (t < half && t + half < count)
            part[t] += part[t + half];
        hmm_barrier();
    }
    if (t == 0)
        HMM_ADD_GLOBAL(out, part[0]);
}

// The kernels -------------------------------------------------------------------------------------------------------

// dst[i] = value
HMM_KERNEL void hmm_fill(hmm_u32 *dst, hmm_u32 value, hmm_u64 n) {
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < n; i += step)
        dst[i] = value;
}

// dst[i] = src[i]; any alignment, 16 bytes at a time where both are 16-byte aligned
HMM_KERNEL void hmm_copy(hmm_u8 *dst, const hmm_u8 *src, hmm_u64 n) {
    hmm_u64 first = hmm_first(), step = hmm_stride(), done = 0;
    if ((((hmm_u64)dst | (hmm_u64)src) & 15) == 0) {
        done = n & ~15ull;
        for (hmm_u64 i = first; i < n / 16; i += step)
            ((hmm_quad *)dst)[i] = ((const hmm_quad *)src)[i];
    }
    for (hmm_u64 i = done + first; i < n; i += step)
        dst[i] = src[i];
}

// y[i] += a * x[i], rounded after the product and after the sum; y and x may be the same buffer
HMM_KERNEL void hmm_saxpy(float *y, const float *x, float a, hmm_u64 n) {
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < n; i += step) {
        float product = a * x[i];
        y[i] = y[i] + product;
    }
}

// *out += sum of x[i]
HMM_KERNEL void hmm_sum(hmm_u64 *out, const hmm_u32 *x, hmm_u64 n) {
    hmm_u64 sum = 0;
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < n; i += step)
        sum += x[i];
    hmm_add_block(out, sum);
}

// bins[b] += how often byte b occurs, 256 bins
HMM_KERNEL void hmm_histogram(hmm_u64 *bins, const hmm_u8 *x, hmm_u64 n) {
    // 32-bit counts in the block's own memory, since 64-bit atomics there are a loop on NVIDIA. Emptied into bins
    // every 2^18 words a thread: 1024 threads * 2^18 * 8 bytes = 2^31 at most in one count.
    static __shared__ hmm_u32 counts[256];
    hmm_u64 first = hmm_first(), step = hmm_stride();
    hmm_u32 t = hmm_local(), threads = hmm_local_count();
    hmm_u64 words = ((hmm_u64)x & 7) == 0 ? n / 8 : 0; // else one by one
    hmm_u64 round = step << 18;
    hmm_u64 at_word = 0, at_byte = words * 8;
    do { // the same number of times in every thread
        for (hmm_u32 b = t; b < 256; b += threads)
            counts[b] = 0;
        hmm_barrier();
        if (at_word < words) {
            hmm_u64 end = words - at_word < round ? words : at_word + round;
            for (hmm_u64 i = at_word + first; i < end; i += step) {
                hmm_u64 w = ((const hmm_word *)x)[i];
                for (int k = 0; k < 64; k += 8)
                    HMM_ADD_SHARED(&counts[(w >> k) & 255], 1u);
            }
            at_word = end;
        } else {
            hmm_u64 end = n - at_byte < round ? n : at_byte + round;
            for (hmm_u64 i = at_byte + first; i < end; i += step)
                HMM_ADD_SHARED(&counts[x[i]], 1u);
            at_byte = end;
        }
        hmm_barrier();
        for (hmm_u32 b = t; b < 256; b += threads) {
            if (counts[b] != 0)
                HMM_ADD_GLOBAL(&bins[b], (hmm_u64)counts[b]);
        }
        // No third barrier: each thread empties and clears the same counts.
    } while (at_word < words || at_byte < n);
}

// Five-point mean of a row-major picture; the border is copied. out and in must be apart.
HMM_KERNEL void hmm_stencil(float *out, const float *in, hmm_u64 width, hmm_u64 height) {
    if (width == 0)
        return;
    hmm_u64 first = hmm_first(), step = hmm_stride();
    // One division here in place of one a cell.
    hmm_u64 row = first / width, col = first % width;
    hmm_u64 rows = step / width, cols = step % width;
    while (row < height) {
        hmm_u64 i = row * width + col;
        float v = in[i];
        if (row != 0 && row + 1 < height && col != 0 && col + 1 < width) {
            v = v + in[i - 1];
            v = v + in[i + 1];
            v = v + in[i - width];
            v = v + in[i + width];
            v = v * 0.2f;
        }
        out[i] = v;
        row += rows;
        col += cols;
        if (col >= width) {
            col -= width;
            row += 1;
        }
    }
}

// out[0] = nodes visited, out[1] = sum of their values. Follows host addresses from head through the device's copy of
// the nodes, until 0 or max nodes; one thread walks.
HMM_KERNEL void hmm_list_walk(hmm_u64 *out, const hmm_node *nodes, hmm_u64 nodes_host, hmm_u64 head, hmm_u64 max) {
    if (hmm_first() != 0)
        return;
    hmm_u64 count = 0, sum = 0;
    for (hmm_u64 p = head; p != 0 && count < max; count += 1) {
        const hmm_node *node = (const hmm_node *)((hmm_u64)nodes + (p - nodes_host));
        sum += node->value;
        p = node->next;
    }
    out[0] = count;
    out[1] = sum;
}

// *out += sum over little-endian 8-byte words w_i (the last one filled up with zeroes) of mix(w_i + (i + 1) * golden),
// where mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014). The order of the words' turns does not matter.
HMM_KERNEL void hmm_checksum(hmm_u64 *out, const hmm_u8 *x, hmm_u64 n) {
    hmm_u64 sum = 0, whole = n / 8, words = whole + (n % 8 != 0);
    bool aligned = ((hmm_u64)x & 7) == 0;
    for (hmm_u64 i = hmm_first(), step = hmm_stride(); i < words; i += step) {
        hmm_u64 w = 0;
        if (aligned && i < whole) {
            w = ((const hmm_word *)x)[i];
        } else {
            hmm_u64 left = n - i * 8;
            for (hmm_u64 k = 0; k < 8 && k < left; k += 1)
                w |= (hmm_u64)x[i * 8 + k] << (8 * k);
        }
        hmm_u64 z = w + (i + 1) * 0x9E3779B97F4A7C15ull;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        sum += z ^ (z >> 31);
    }
    hmm_add_block(out, sum);
}
