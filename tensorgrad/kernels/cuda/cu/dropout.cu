// Dropout of elements of type SCALAR, VECTOR at a time; the kernel draws the random numbers.

#include "philox.h"

typedef SCALAR T;

// x, out (rows, count): element i of a row, times `scale`, if number i of the row's stream is at least `least`; else 0.
// A thread computes the NUMBERS elements of one counter; with VECTOR > 1 `count` is a multiple of NUMBERS.
extern "C" __global__ void dropout(const T* x, T* out, const uint64* keys, uint64 seed, uint64 stream, int64 rows,
                                   int64 count, unsigned least, Wide<T> scale) {
    const int64 block = (int64)blockIdx.x * blockDim.x + threadIdx.x, first = block * NUMBERS;
    if (first >= count) return;
    for (int64 row = blockIdx.y; row < rows; row += gridDim.y) {
        const Words words = words_of(block, key_of(keys, row, seed, stream));
#pragma unroll
        for (int piece = 0; piece < NUMBERS / VECTOR; ++piece) {
            const int64 at = row * count + first + piece * VECTOR;
            if (VECTOR == 1 && first + piece >= count) break;
            Vector<T, VECTOR> a = load<VECTOR>(x + at);
            EACH(v) {
                const bool is_kept = number_of(words, piece * VECTOR + v) >= least;
                a.at[v] = is_kept ? narrow<T>(wide(a.at[v]) * scale) : T{};
            }
            store(out + at, a);
        }
    }
}
