// What both sources of attention share: tensors, masks, and which weights dropout keeps.
//
// Compiled for one MASK (0: none; 1: bool; 2: SCALAR, added to the scores) and one DROPOUT (0 or 1).
#pragma once

// A (batch, head, row, HEAD_DIM) tensor by its address and its strides in elements; the last axis is dense.
#define TENSOR(x) SCALAR *x##_data, int64 x##_batch, int64 x##_head, int64 x##_row
#define HEAD(x, b, h) Head{x##_data + (b) * x##_batch + (h) * x##_head, x##_row}

// The mask and its strides, 0 where it broadcasts; the random keys of the samples, or null and one key for all; the
// least number that dropout keeps, and 1 / (1 - rate).
#define MASK_AND_DROPOUT                                                                                       \
    const void *mask, int64 mask_batch, int64 mask_head, int64 mask_query, int64 mask_key,                     \
        const uint64 *random_keys, uint64 seed, uint64 stream, unsigned least, Wide<SCALAR> factor
#define MASK_OF(b, h) \
    MaskOf{static_cast<const MaskElement*>(mask) + (b) * mask_batch + (h) * mask_head, mask_query, mask_key}
#define KEPT_OF(b, h, heads) \
    KeptOf{key_of(random_keys, b, seed, stream), ((random_keys ? 0 : (b) * (heads)) + (h)) * queries * keys, keys, least}

struct Head {  // the rows of one head of one sample
    SCALAR* data;
    int64 row;
};

template <int KIND> struct MaskElementOf {
    typedef SCALAR type;
};
template <> struct MaskElementOf<1> {
    typedef bool type;
};
typedef MaskElementOf<MASK>::type MaskElement;

__device__ inline Wide<SCALAR> added(bool may_attend) { return may_attend ? 0 : -infinity(); }
__device__ inline Wide<SCALAR> added(SCALAR x) { return wide(x); }

struct MaskOf {  // the mask for one head of one sample
    const MaskElement* data;
    int64 query, key;

    // What to add to a score; row and column are inside.
    __device__ inline Wide<SCALAR> at(int row, int column) const { return added(data[row * query + column * key]); }
};

// Loads QUERIES x KEYS of the mask, times `unit`, 0 past its ends. All threads of the block take part.
template <int QUERIES, int KEYS, int PITCH>
__device__ inline void load_mask(float* tile, MaskOf hides, int query, int key, int queries, int keys, float unit) {
    for (int i = threadIdx.x; i < QUERIES * KEYS; i += blockDim.x) {
        const int row = i / KEYS, column = i % KEYS;
        const bool is_inside = query + row < queries && key + column < keys;
        tile[row * PITCH + column] = is_inside ? hides.at(query + row, key + column) * unit : 0;
    }
}

struct KeptOf {  // where the numbers for one head's weights, (queries, keys), lie within a stream
    Key key;
    int64 start;
    int width;
    unsigned least;

    __device__ inline int64 position(int row, int column) const { return start + (int64)row * width + column; }

    __device__ inline bool at(int row, int column) const {
        const int64 i = position(row, column);
        return number_of(words_of(i / NUMBERS, key), i % NUMBERS) >= least;
    }

    // A bit for each number of a counter: whether it stays.
    __device__ inline unsigned byte(int64 counter) const {
        const Words words = words_of(counter, key);
        unsigned bits = 0;
#pragma unroll
        for (int i = 0; i < NUMBERS; ++i) bits |= (unsigned)(number_of(words, i) >= least) << i;
        return bits;
    }
};

// The functions below serve tiles of scores as tensorcore.h holds them, COLUMNS wide.
//
// Bit 8 n + i, i < 2: whether weight (row, start + 8 n + 2 (lane % 4) + i) stays. These are the columns that a lane
// holds of `row`; 4 lanes share a row, and each draws a part of its numbers.
template <int COLUMNS> __device__ inline uint64 kept_columns(const KeptOf& kept, int row, int start) {
    const int64 position = kept.position(row, start), counter = position / NUMBERS;
    const int skipped = position % NUMBERS;
    uint64 bits = 0;
#pragma unroll 1
    for (int i = lane_id() % 4; i < COLUMNS / NUMBERS; i += 4) bits |= (uint64)kept.byte(counter + i) << NUMBERS * i;
    bits |= __shfl_xor_sync(ALL_LANES, bits, 1);
    bits |= __shfl_xor_sync(ALL_LANES, bits, 2);
    if (skipped)  // the last numbers come from one more counter
        bits = bits >> skipped | (uint64)kept.byte(counter + COLUMNS / NUMBERS) << (COLUMNS - skipped);
    return bits >> lane_id() % 4 * 2;
}

// 16 bits for query start + lane, and 16 for the query 32 below: whether the weights for the keys from `key` on stay.
template <int COLUMNS> __device__ inline unsigned kept_rows(const KeptOf& kept, int start, int key) {
    unsigned bits = 0;
#pragma unroll 1
    for (int i = 0; i < COLUMNS / 32; ++i) {
        const int64 position = kept.position(start + i * 32 + lane_id(), key), counter = position / NUMBERS;
        const int skipped = position % NUMBERS;
        unsigned drawn = kept.byte(counter) | kept.byte(counter + 1) << NUMBERS;
        if (skipped) drawn |= kept.byte(counter + 2) << 2 * NUMBERS;
        bits |= (drawn >> skipped & 0xFFFF) << i * 16;
    }
    return bits;
}
