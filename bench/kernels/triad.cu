// BabelStream's triad (Deakin, Price, Martineau, McIntosh-Smith 2018), for the GPU benchmark: compiled to triad.ptx by
// build.sh for CUDA, handed as text to hiprtc for HIP. Includes nothing; any grid and block in x.

#ifndef __global__
#define __global__ __attribute__((global))
#endif

// a = b + s * c stays two roundings, as on the CPU that checks it.
#pragma clang fp contract(off)

typedef unsigned int bench_u32;
typedef unsigned long long bench_u64;

#if defined(__AMDGCN__)
#define BENCH_KERNEL extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(1, 1024)))
#define BENCH_THREAD ((bench_u64)__builtin_amdgcn_workitem_id_x())
#define BENCH_BLOCK ((bench_u64)__builtin_amdgcn_workgroup_id_x())
#define BENCH_BLOCK_SIZE ((bench_u64)__builtin_amdgcn_workgroup_size_x())
#define BENCH_THREADS ((bench_u64)__builtin_amdgcn_grid_size_x())
#elif defined(__NVPTX__)
#define BENCH_KERNEL extern "C" __global__
#define BENCH_THREAD ((bench_u64)(bench_u32)__nvvm_read_ptx_sreg_tid_x())
#define BENCH_BLOCK ((bench_u64)(bench_u32)__nvvm_read_ptx_sreg_ctaid_x())
#define BENCH_BLOCK_SIZE ((bench_u64)(bench_u32)__nvvm_read_ptx_sreg_ntid_x())
#define BENCH_THREADS ((bench_u64)(bench_u32)__nvvm_read_ptx_sreg_nctaid_x() * BENCH_BLOCK_SIZE)
#else
#error "device code: compile for NVPTX (-x cuda --cuda-device-only) or AMDGCN (-x hip --cuda-device-only)"
#endif

// a[i] = b[i] + s * c[i]
BENCH_KERNEL void triad(double *__restrict__ a, const double *__restrict__ b, const double *__restrict__ c, double s,
                        bench_u64 n) {
    for (bench_u64 i = BENCH_BLOCK * BENCH_BLOCK_SIZE + BENCH_THREAD; i < n; i += BENCH_THREADS)
        a[i] = b[i] + s * c[i];
}
