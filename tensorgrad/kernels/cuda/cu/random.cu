// The words of Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), as
// `tensorgrad.random.Key` numbers them: position p is word p % 4 of counter p / 4 + 1.

constexpr uint64 FIRST = 0xD2E7470EE14C6C93ull, SECOND = 0xCA5A826395121157ull;
constexpr uint64 FIRST_KEY = 0x9E3779B97F4A7C15ull, SECOND_KEY = 0xBB67AE8584CAA73Bull;

__device__ inline uint64 word_at(uint64 position, uint64 seed, uint64 stream) {
    uint64 c0 = position / 4 + 1, c1 = 0, c2 = 0, c3 = 0;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint64 high0 = __umul64hi(FIRST, c0), low0 = FIRST * c0;
        const uint64 high1 = __umul64hi(SECOND, c2), low1 = SECOND * c2;
        c0 = high1 ^ c1 ^ seed;
        c1 = low1;
        c2 = high0 ^ c3 ^ stream;
        c3 = low0;
        seed += FIRST_KEY;
        stream += SECOND_KEY;
    }
    const uint64 words[4] = {c0, c1, c2, c3};
    return words[position % 4];
}

// keys (rows, 2): seed and stream of each row of `out` (rows, count). Uniform in [0, 1): 24 bits of a half-word.
extern "C" __global__ void uniform_float(const uint64* keys, float* out, int64 rows, int64 count, int64 start) {
    const int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * count) return;
    const uint64* const key = keys + i / count * 2;
    const uint64 number = (uint64)(start + i % count);
    const uint64 word = word_at(number / 2, key[0], key[1]);
    out[i] = (float)((unsigned)(word >> (number % 2 ? 32 : 0)) >> 8) * 5.9604644775390625e-8f;
}

// The same in float64: 53 bits of a word.
extern "C" __global__ void uniform_double(const uint64* keys, double* out, int64 rows, int64 count, int64 start) {
    const int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * count) return;
    const uint64* const key = keys + i / count * 2;
    out[i] = (double)(word_at((uint64)(start + i % count), key[0], key[1]) >> 11) * 1.1102230246251565e-16;
}
