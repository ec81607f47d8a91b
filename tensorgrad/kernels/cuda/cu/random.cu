// Uniform numbers in [0, 1) from random keys, and keys folded from keys.

#include "philox.h"

// keys (rows, 2): the seed and stream for each row of `out` (rows, count). A number is 24 bits of a half-word.
extern "C" __global__ void uniform_float(const uint64* keys, float* out, int64 rows, int64 count, int64 start) {
    const int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * count) return;
    const uint64 position = (uint64)(start + i % count);
    const Words words = words_of(position / NUMBERS, key_of(keys, i / count, 0, 0));
    out[i] = (float)number_of(words, position % NUMBERS) * 5.9604644775390625e-8f;
}

// The same in float64: a number is 53 bits of a word.
extern "C" __global__ void uniform_double(const uint64* keys, double* out, int64 rows, int64 count, int64 start) {
    const int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * count) return;
    const uint64 position = (uint64)(start + i % count);
    const Words words = words_of(position / 4, key_of(keys, i / count, 0, 0));
    out[i] = (double)(words.at[position % 4] >> 11) * 1.1102230246251565e-16;
}

// out (rows, 2): each of `keys` (rows, 2) with `data` folded in, from counters that no number comes from.
extern "C" __global__ void fold_in(const uint64* keys, uint64* out, int64 rows, uint64 data) {
    const int64 row = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    const Words words = mixed(data + 1, data + 1 == 0, 0, ~0ull, key_of(keys, row, 0, 0));
    out[2 * row] = words.at[0];
    out[2 * row + 1] = words.at[1];
}
