// The words of Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), as
// `tensorgrad.random.Key` numbers them: position p is word p % 4 of counter p / 4 + 1.
#pragma once

constexpr uint64 FIRST = 0xD2E7470EE14C6C93ull, SECOND = 0xCA5A826395121157ull;
constexpr uint64 FIRST_KEY = 0x9E3779B97F4A7C15ull, SECOND_KEY = 0xBB67AE8584CAA73Bull;

struct Key {
    uint64 seed, stream;
};

struct Words {
    uint64 at[4];
};

// The four words of a counter, given from its lowest word on.
__device__ inline Words mixed(uint64 c0, uint64 c1, uint64 c2, uint64 c3, Key key) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint64 high0 = __umul64hi(FIRST, c0), low0 = FIRST * c0;
        const uint64 high1 = __umul64hi(SECOND, c2), low1 = SECOND * c2;
        c0 = high1 ^ c1 ^ key.seed;
        c1 = low1;
        c2 = high0 ^ c3 ^ key.stream;
        c3 = low0;
        key.seed += FIRST_KEY;
        key.stream += SECOND_KEY;
    }
    return {{c0, c1, c2, c3}};
}

// The words at positions 4 block .. 4 block + 3.
__device__ inline Words words_of(uint64 block, Key key) { return mixed(block + 1, 0, 0, 0, key); }

// A word gives two float numbers, n 2^-24 for the integer n in the top 24 bits of each half.
constexpr int NUMBERS = 8;  // that one counter gives
__device__ inline unsigned number_of(const Words& words, int i) {
    const uint64 low = i & 2 ? words.at[1] : words.at[0], high = i & 2 ? words.at[3] : words.at[2];
    return (unsigned)((i & 4 ? high : low) >> (i & 1 ? 32 : 0)) >> 8;
}

// A row's key: from `keys` (rows, 2), or, if that is null, the one for all rows.
__device__ inline Key key_of(const uint64* keys, int64 row, uint64 seed, uint64 stream) {
    return keys ? Key{keys[2 * row], keys[2 * row + 1]} : Key{seed, stream};
}
