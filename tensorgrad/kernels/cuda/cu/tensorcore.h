// Tensor cores, a warp at a time: products of 16-bit fragments with float sums, loads of fragments from shared memory,
// and copies into shared memory that run ahead of their use.
//
// Fragments are laid out as in the PTX ISA, "Matrix fragments for mma.m16n8k16": of the sums, lane 4 r + c holds rows r
// and r + 8, columns 2 c and 2 c + 1; a word of an operand is two elements, the first in its low half.
#pragma once

#ifdef __CUDACC__

__device__ inline unsigned shared_address(const void* pointer) { return (unsigned)__cvta_generic_to_shared(pointer); }

#define MMA(TYPES)                                                                                             \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPES ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, " \
                 "{%0,%1,%2,%3};"                                                                              \
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

// sum (16 x 8) += a (16 x 16) b (16 x 8).
template <class T> __device__ void mma(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);
template <>
__device__ inline void mma<Bfloat16>(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    MMA("bf16.bf16");
}
template <>
__device__ inline void mma<Float16>(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    MMA("f16.f16");
}

#define LDMATRIX(KIND)                                                                             \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" KIND ".shared.b16 {%0,%1,%2,%3}, [%4];"           \
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])                  \
                 : "r"(shared_address(row))                                                        \
                 : "memory")

// Loads four 8 x 8 matrices. Lane i gives the address of row i % 8 of matrix i / 8, a multiple of 16 bytes; lane
// 4 r + c gets row r, columns 2 c and 2 c + 1 of each matrix, or of its transpose with load_transposed.
__device__ inline void load_matrices(unsigned (&words)[4], const void* row) { LDMATRIX(""); }
__device__ inline void load_transposed(unsigned (&words)[4], const void* row) { LDMATRIX(".trans"); }

// Copies 16 bytes to shared memory, or writes zeros without reading `from`. This thread sees them once it has waited
// for their group, and other threads after a barrier.
__device__ inline void copy_ahead(void* to, const void* from, bool is_inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(is_inside ? 16 : 0)
                 : "memory");
}
__device__ inline void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all groups of this thread's copies but the last PENDING are complete.
template <int PENDING> __device__ inline void wait_for_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Two floats, each rounded to the nearest element, as one word of an operand.
template <class T> __device__ unsigned pair(float first, float second);
template <> __device__ inline unsigned pair<Bfloat16>(float first, float second) {
    unsigned word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}
template <> __device__ inline unsigned pair<Float16>(float first, float second) {
    unsigned word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}

__device__ inline float power_of_2(float x) {  // within 2 units in the last place; 0 instead of subnormals
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else  // tests/cuda_shim defines the others

template <class T> unsigned pair(float first, float second) {
    return narrow<T>(first).bits | (unsigned)narrow<T>(second).bits << 16;
}

#endif

template <class T> __device__ inline void store_pair(T* to, float first, float second) {
    *reinterpret_cast<unsigned*>(to) = pair<T>(first, second);
}
