// Included first by every source: the 16-bit floats, conversions, and sums over a warp and over a block.
//
// Rules that keep sources runnable on a CPU as well (tests/cuda_shim): kernels are `extern "C" __global__ void`; shared
// memory comes from SHARED alone, as much as the launch asked for; indices of elements are 64-bit; a block is whole
// warps; atomics add no floats.

typedef long long int64;
typedef unsigned long long uint64;

#ifdef __CUDACC__
#define SHARED(type, name)                                        \
    extern __shared__ __align__(16) unsigned char shared_bytes[]; \
    type* const name = reinterpret_cast<type*>(shared_bytes)
#define CHECK_ACCESS(at, bytes)
#else
#define SHARED(type, name) type* const name = reinterpret_cast<type*>(shim::shared)
#define CHECK_ACCESS(at, bytes) shim::check_access(at, bytes)
#endif

constexpr unsigned ALL_LANES = 0xFFFFFFFFu;

struct Bfloat16 {
    unsigned short bits;
};
struct Float16 {
    unsigned short bits;
};

// The type of sums and statistics.
template <class T> struct WideOf {
    typedef float type;
};
template <> struct WideOf<double> {
    typedef double type;
};
template <class T> using Wide = typename WideOf<T>::type;

__device__ inline double wide(double x) { return x; }
__device__ inline float wide(float x) { return x; }
__device__ inline float wide(Bfloat16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ inline float wide(Float16 x) {
#ifdef __CUDACC__
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#else
    _Float16 y;
    memcpy(&y, &x.bits, 2);
    return (float)y;
#endif
}

// Round to the nearest, ties to even.
template <class T> __device__ inline T narrow(Wide<T> x);
template <> __device__ inline double narrow<double>(double x) { return x; }
template <> __device__ inline float narrow<float>(float x) { return x; }
template <> __device__ inline Bfloat16 narrow<Bfloat16>(float x) {
    Bfloat16 y;
#ifdef __CUDACC__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    const unsigned bits = __float_as_uint(x);
    y.bits = x == x ? (unsigned short)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16) : (unsigned short)0x7FFF;
#endif
    return y;
}
template <> __device__ inline Float16 narrow<Float16>(float x) {
    Float16 y;
#ifdef __CUDACC__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    const _Float16 half = (_Float16)x;
    memcpy(&y.bits, &half, 2);
#endif
    return y;
}

// N consecutive elements, read and written at once. Their address is a multiple of their size.
template <class T, int N> struct alignas(N * sizeof(T)) Vector {
    T at[N];
};

template <int N, class T> __device__ inline Vector<T, N> load(const T* from) {
    CHECK_ACCESS(from, sizeof(Vector<T, N>));
    return *reinterpret_cast<const Vector<T, N>*>(from);
}
template <int N, class T> __device__ inline void store(T* to, const Vector<T, N>& values) {
    CHECK_ACCESS(to, sizeof(Vector<T, N>));
    *reinterpret_cast<Vector<T, N>*>(to) = values;
}

// Loops over the elements of a vector, in sources compiled with the macro VECTOR.
#define EACH(v) _Pragma("unroll") for (int v = 0; v < VECTOR; ++v)

__device__ inline float exp_of(float x) { return expf(x); }
__device__ inline double exp_of(double x) { return exp(x); }
__device__ inline float infinity() { return __int_as_float(0x7F800000); }

__device__ inline int lane_id() { return threadIdx.x % 32; }
__device__ inline int warp_id() { return threadIdx.x / 32; }

template <class T> __device__ inline T warp_sum(T x) {
#pragma unroll
    for (int bits = 16; bits; bits /= 2) x += __shfl_xor_sync(ALL_LANES, x, bits);
    return x;
}

template <class T> __device__ inline T warp_max(T x) {
#pragma unroll
    for (int bits = 16; bits; bits /= 2) {
        const T other = __shfl_xor_sync(ALL_LANES, x, bits);
        x = other > x || other != other ? other : x;  // NaN wins
    }
    return x;
}

// The sum over the block, in every thread, always in the same order. `scratch`: one element of shared memory for each
// warp, which no thread reads any more when this is called.
template <class T> __device__ inline T block_sum(T x, T* scratch) {
    x = warp_sum(x);
    if (lane_id() == 0) scratch[warp_id()] = x;
    __syncthreads();
    T total = 0;
    for (int i = 0; i < (int)blockDim.x / 32; ++i) total += scratch[i];
    __syncthreads();
    return total;
}
