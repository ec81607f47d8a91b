// Attention of 16-bit elements on tensor cores (Dao, "FlashAttention-2", 2023): no score leaves the chip. Shapes alone
// decide the order of every sum, without atomics.
//
// Compiled for one SCALAR, Bfloat16 or Float16, one HEAD_DIM, a multiple of 16 up to 128, one MASK and one DROPOUT.
//
// A block holds a tile of rows and streams tiles of the other side's rows past it, as columns of the scores. Queries
// are held and keys streamed for the output and for dQ; keys are held and queries streamed for dK and dV. Each of the
// two passes of the backward computes the scores again: 7 products instead of 5, the price of a fixed order.
// The rows of tensors begin at multiples of 16 bytes.

#include "tensorcore.h"
#include "philox.h"
#include "attention.h"

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr int ROWS = 16 * WARPS;                 // that a block holds for each tile of a warp
constexpr bool HAS_ROOM = HEAD_DIM <= 64 && !MASK && !DROPOUT;  // whether registers hold larger tiles
constexpr int TILES = HAS_ROOM ? 2 : 1;          // tiles of 16 query rows that a warp holds in the forward
constexpr int COLUMNS = HAS_ROOM ? 64 : 32;      // streamed at a time
// Blocks on a multiprocessor at least; 0: the compiler chooses, and with a mask or dropout spills a few registers.
constexpr int BLOCKS = MASK || DROPOUT ? 1 : 0;
constexpr int PITCH = HEAD_DIM + 8;              // row pitch in shared memory: a fragment's 8 rows in 8 groups of banks
constexpr int STREAM = COLUMNS * PITCH;          // elements of one streamed tile
constexpr float LOG2E = 1.4426950408889634f;
// A mask's row pitch in shared memory if queries are held, and if keys are: 8 rows and 4 pairs of columns in 32 banks.
constexpr int MASK_PITCH = COLUMNS + 8, TURNED_PITCH = ROWS + 4;
constexpr float LN2 = 0.6931471805599453f;

// `count` rows of x from `first` on into a tile, those past `end` as zeros.
__device__ inline void load_rows(SCALAR* tile, Head x, int first, int count, int end) {
    constexpr int PIECES = HEAD_DIM / 8;
    for (int i = threadIdx.x; i < count * PIECES; i += THREADS) {
        const int row = i / PIECES, column = i % PIECES * 8;
        const bool is_inside = first + row < end;
        copy_ahead(tile + row * PITCH + column, x.data + (is_inside ? (first + row) * x.row + column : 0), is_inside);
    }
}

// scores (16 M x COLUMNS) = rows of `held` times rows of `streamed`, both in shared memory.
template <int M>
__device__ inline void scores_of(float (&scores)[M][COLUMNS / 8][4], const SCALAR* held, const SCALAR* streamed) {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[m][n][i] = 0;
#pragma unroll
    for (int k = 0; k < HEAD_DIM; k += 16) {
        unsigned a[M][4], b[4];
#pragma unroll
        for (int m = 0; m < M; ++m)
            load_matrices(a[m], held + (m * 16 + lane_id() % 16) * PITCH + k + lane_id() / 16 * 8);
#pragma unroll
        for (int n = 0; n < COLUMNS / 16; ++n) {
            const int row = n * 16 + lane_id() / 16 * 8 + lane_id() % 8;
            load_matrices(b, streamed + row * PITCH + k + lane_id() / 8 % 2 * 8);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                mma<SCALAR>(scores[m][2 * n], a[m], b[0], b[1]);
                mma<SCALAR>(scores[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// sum (16 M x HEAD_DIM) += weights (16 M x COLUMNS, rounded to elements) times the rows of `streamed`.
template <int M>
__device__ inline void add_weighted(float (&sum)[M][HEAD_DIM / 8][4], const float (&weights)[M][COLUMNS / 8][4],
                                    const SCALAR* streamed) {
#pragma unroll
    for (int k = 0; k < COLUMNS / 16; ++k) {
        unsigned a[M][4], b[4];
#pragma unroll
        for (int m = 0; m < M; ++m)  // two tiles of accumulators side by side are a fragment of the left operand
#pragma unroll
            for (int i = 0; i < 4; ++i)
                a[m][i] = pair<SCALAR>(weights[m][2 * k + i / 2][i % 2 * 2], weights[m][2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 16; ++n) {
            load_transposed(b, streamed + (k * 16 + lane_id() % 16) * PITCH + n * 16 + lane_id() / 16 * 8);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                mma<SCALAR>(sum[m][2 * n], a[m], b[0], b[1]);
                mma<SCALAR>(sum[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Stores a warp's sums to rows `first` + lane / 4 and 8 below of x, each row times its factor.
__device__ inline void store_rows(Head x, const float (&sum)[HEAD_DIM / 8][4], int first, int end, float upper,
                                  float lower) {
    const int row = first + lane_id() / 4;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; ++n) {
        const int column = n * 8 + lane_id() % 4 * 2;
        if (row < end) store_pair(x.data + row * x.row + column, sum[n][0] * upper, sum[n][1] * upper);
        if (row + 8 < end) store_pair(x.data + (row + 8) * x.row + column, sum[n][2] * lower, sum[n][3] * lower);
    }
}

__device__ inline float over_row(float x, bool is_max) {  // a row's 4 lanes
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, x, step);
        x = is_max ? fmaxf(x, other) : x + other;
    }
    return x;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_forward(TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(out), float* logsumexp, int heads, int group, int queries,
                  int keys, int is_causal, float scale, MASK_AND_DROPOUT) {
    SHARED(SCALAR, shared);
    constexpr int HELD = TILES * ROWS;
    const int blocks = (queries + HELD - 1) / HELD;
    const int first = (blocks - 1 - blockIdx.x % blocks) * HELD;  // the blocks that see most keys begin first
    const int head = blockIdx.x / blocks % heads;
    const int64 sample = blockIdx.x / blocks / heads;
    const Head queries_of = HEAD(q, sample, head), result = HEAD(out, sample, head);
    const Head keys_of = HEAD(k, sample, head / group), values_of = HEAD(v, sample, head / group);
    const int key_end = is_causal ? min(keys, first + HELD) : keys;
    SCALAR* held = shared;
    SCALAR* streamed = shared + HELD * PITCH;  // K, V, then K, V of the next tile
    float* masks = reinterpret_cast<float*>(streamed + 4 * STREAM);
    load_rows(held, queries_of, first, HELD, queries);
    load_rows(streamed, keys_of, 0, COLUMNS, keys);
    load_rows(streamed + STREAM, values_of, 0, COLUMNS, keys);
    end_group();

    const KeptOf kept = KEPT_OF(sample, head, heads);
    float sum[TILES][HEAD_DIM / 8][4] = {}, largest[TILES][2], total[TILES][2] = {};
#pragma unroll
    for (int m = 0; m < TILES; ++m) largest[m][0] = largest[m][1] = -infinity();
    const int own = warp_id() * TILES * 16;
    int turn = 0;
    for (int start = 0; start < key_end; start += COLUMNS, turn ^= 1) {
        SCALAR* tile = streamed + turn * 2 * STREAM;
        SCALAR* after = streamed + (turn ^ 1) * 2 * STREAM;
        if (start + COLUMNS < key_end) {
            load_rows(after, keys_of, start + COLUMNS, COLUMNS, keys);
            load_rows(after + STREAM, values_of, start + COLUMNS, COLUMNS, keys);
        }
        end_group();
        if constexpr (MASK)
            load_mask<HELD, COLUMNS, MASK_PITCH>(masks, MASK_OF(sample, head), first, start, queries, keys, LOG2E);
        wait_for_groups<1>();
        __syncthreads();
        float weights[TILES][COLUMNS / 8][4];
        scores_of<TILES>(weights, held + own * PITCH, tile);
        const bool is_edge = start + COLUMNS > keys || (is_causal && start + COLUMNS > first + own + 1);
#pragma unroll
        for (int m = 0; m < TILES; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {  // the rows lane / 4 and 8 below
                const int row = first + own + m * 16 + half * 8 + lane_id() / 4;
                float top = -infinity();
#pragma unroll
                for (int n = 0; n < COLUMNS / 8; ++n)
#pragma unroll
                    for (int i = half * 2; i < half * 2 + 2; ++i) {
                        const int key = start + n * 8 + lane_id() % 4 * 2 + i % 2;
                        float& score = weights[m][n][i];
                        score *= scale * LOG2E;
                        if (MASK) score += masks[(row - first) * MASK_PITCH + key - start];
                        if (is_edge && (key >= keys || (is_causal && key > row))) score = -infinity();
                        top = fmaxf(top, score);
                    }
                top = fmaxf(largest[m][half], over_row(top, true));
                const float base = top == -infinity() ? 0 : top;  // nothing seen: every weight is 0, not nan
                const float shrink = power_of_2(largest[m][half] - base);
                largest[m][half] = top;
                total[m][half] *= shrink;
#pragma unroll
                for (int n = 0; n < COLUMNS / 8; ++n)
#pragma unroll
                    for (int i = half * 2; i < half * 2 + 2; ++i) {
                        weights[m][n][i] = power_of_2(weights[m][n][i] - base);
                        total[m][half] += weights[m][n][i];
                    }
                if constexpr (DROPOUT) {
                    const uint64 bits = kept_columns<COLUMNS>(kept, row, start);
#pragma unroll
                    for (int n = 0; n < COLUMNS / 8; ++n)
#pragma unroll
                        for (int i = 0; i < 2; ++i)
                            if (!(bits >> (n * 8 + i) & 1)) weights[m][n][half * 2 + i] = 0;
                }
#pragma unroll
                for (int n = 0; n < HEAD_DIM / 8; ++n) {
                    sum[m][n][half * 2] *= shrink;
                    sum[m][n][half * 2 + 1] *= shrink;
                }
            }
        }
        add_weighted<TILES>(sum, weights, tile + STREAM);
        __syncthreads();
    }

#pragma unroll
    for (int m = 0; m < TILES; ++m) {
        float inverse[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float all = over_row(total[m][half], false);
            const int row = first + own + m * 16 + half * 8 + lane_id() / 4;
            inverse[half] = all == 0 ? 0 : factor / all;
            if (lane_id() % 4 == 0 && row < queries)
                logsumexp[(sample * heads + head) * queries + row] =
                    largest[m][half] * LN2 + (all == 0 ? 0 : logf(all));
        }
        store_rows(result, sum[m], first + own + m * 16, queries, inverse[0], inverse[1]);
    }
}

// delta = sum(g out) for each query's row. A warp takes a row.
extern "C" __global__ void __launch_bounds__(THREADS)
attention_delta(TENSOR(g), TENSOR(out), float* delta, int heads, int queries, int64 rows) {
    const int64 index = (int64)blockIdx.x * WARPS + warp_id();
    if (index >= rows) return;
    const int64 sample = index / queries / heads, head = index / queries % heads, row = index % queries;
    const SCALAR* a = HEAD(g, sample, head).data + row * g_row;
    const SCALAR* b = HEAD(out, sample, head).data + row * out_row;
    float sum = 0;
    for (int i = lane_id(); i < HEAD_DIM; i += 32) sum += wide(a[i]) * wide(b[i]);
    sum = warp_sum(sum);
    if (lane_id() == 0) delta[index] = sum;
}

struct Row {  // what turns a query's scores into probabilities and gradients
    float exponent, delta;
};

// Past the end, and for a query that sees nothing, every probability is 0.
__device__ inline Row row_of(const float* logsumexp, const float* delta, int query, int queries) {
    if (query >= queries) return {infinity(), 0};
    const float x = logsumexp[query];
    return {x == -infinity() ? infinity() : x * LOG2E, delta[query]};
}

// Turns a score into its weight, and g v^T into the gradient of the score (without `scale`), in place. `added` comes
// from the mask, in units of log2. The weight of a dropped element is 0.
__device__ inline void weigh(float& score, float& gradient, Row row, float scale, bool is_seen, float added,
                             bool is_kept, float factor) {
    const float exponent = MASK ? score * scale * LOG2E + added : score * scale * LOG2E;
    score = is_seen ? power_of_2(exponent - row.exponent) : 0;
    if (DROPOUT) gradient = is_kept ? gradient * factor : 0;
    gradient = score * (gradient - row.delta);
    if (DROPOUT && !is_kept) score = 0;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_gradient_q(TENSOR(g), TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(dq), const float* logsumexp, const float* delta,
                     int heads, int group, int queries, int keys, int is_causal, float scale, MASK_AND_DROPOUT) {
    SHARED(SCALAR, shared);
    const int blocks = (queries + ROWS - 1) / ROWS;
    const int first = (blocks - 1 - blockIdx.x % blocks) * ROWS;
    const int head = blockIdx.x / blocks % heads;
    const int64 sample = blockIdx.x / blocks / heads;
    const Head keys_of = HEAD(k, sample, head / group), values_of = HEAD(v, sample, head / group);
    const int key_end = is_causal ? min(keys, first + ROWS) : keys;
    SCALAR *held_q = shared, *held_g = shared + ROWS * PITCH, *streamed = shared + 2 * ROWS * PITCH;
    float* masks = reinterpret_cast<float*>(streamed + 4 * STREAM);
    load_rows(held_q, HEAD(q, sample, head), first, ROWS, queries);
    load_rows(held_g, HEAD(g, sample, head), first, ROWS, queries);
    load_rows(streamed, keys_of, 0, COLUMNS, keys);
    load_rows(streamed + STREAM, values_of, 0, COLUMNS, keys);
    end_group();

    const int own = warp_id() * 16, query = first + own + lane_id() / 4;
    const int64 offset = (sample * heads + head) * queries;
    const Row rows[2] = {row_of(logsumexp + offset, delta + offset, query, queries),
                         row_of(logsumexp + offset, delta + offset, query + 8, queries)};
    const KeptOf kept = KEPT_OF(sample, head, heads);
    float sum[1][HEAD_DIM / 8][4] = {};
    int turn = 0;
    for (int start = 0; start < key_end; start += COLUMNS, turn ^= 1) {
        SCALAR* tile = streamed + turn * 2 * STREAM;
        SCALAR* after = streamed + (turn ^ 1) * 2 * STREAM;
        if (start + COLUMNS < key_end) {
            load_rows(after, keys_of, start + COLUMNS, COLUMNS, keys);
            load_rows(after + STREAM, values_of, start + COLUMNS, COLUMNS, keys);
        }
        end_group();
        if constexpr (MASK)
            load_mask<ROWS, COLUMNS, MASK_PITCH>(masks, MASK_OF(sample, head), first, start, queries, keys, LOG2E);
        wait_for_groups<1>();
        __syncthreads();
        float scores[1][COLUMNS / 8][4], gradients[1][COLUMNS / 8][4];
        scores_of<1>(scores, held_q + own * PITCH, tile);
        scores_of<1>(gradients, held_g + own * PITCH, tile + STREAM);
        const bool is_edge = start + COLUMNS > keys || (is_causal && start + COLUMNS > first + own + 1);
        uint64 bits[2] = {};
        if constexpr (DROPOUT) {
            bits[0] = kept_columns<COLUMNS>(kept, query, start);
            bits[1] = kept_columns<COLUMNS>(kept, query + 8, start);
        }
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int key = start + n * 8 + lane_id() % 4 * 2 + i % 2;
                const bool is_seen = !is_edge || (key < keys && (!is_causal || key <= query + i / 2 * 8));
                const bool is_kept = bits[i / 2] >> (n * 8 + i % 2) & 1;
                float added = 0;
                if (MASK) added = masks[(query + i / 2 * 8 - first) * MASK_PITCH + key - start];
                weigh(scores[0][n][i], gradients[0][n][i], rows[i / 2], scale, is_seen, added, is_kept, factor);
            }
        add_weighted<1>(sum, gradients, tile);
        __syncthreads();
    }
    store_rows(HEAD(dq, sample, head), sum[0], first + own, queries, scale, scale);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
attention_gradient_kv(TENSOR(g), TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(dk), TENSOR(dv), const float* logsumexp,
                      const float* delta, int kv_heads, int group, int queries, int keys, int is_causal, float scale,
                      MASK_AND_DROPOUT) {
    SHARED(SCALAR, shared);
    const int blocks = (keys + ROWS - 1) / ROWS;
    const int first = blockIdx.x % blocks * ROWS;
    const int kv_head = blockIdx.x / blocks % kv_heads;
    const int64 sample = blockIdx.x / blocks / kv_heads;
    // The queries from `begin` on see the keys of this tile, in each head of the group in turn.
    const int begin = is_causal ? first / COLUMNS * COLUMNS : 0;
    const int steps = begin < queries ? (queries - begin + COLUMNS - 1) / COLUMNS : 0;
    SCALAR *held_k = shared, *held_v = shared + ROWS * PITCH, *streamed = shared + 2 * ROWS * PITCH;
    Row* rows = reinterpret_cast<Row*>(streamed + 4 * STREAM);  // for the streamed queries, and for the next ones
    float* masks = reinterpret_cast<float*>(rows + 2 * COLUMNS);
    const auto load_step = [&](int step, int turn) {
        const int head = kv_head * group + step / steps, start = begin + step % steps * COLUMNS;
        SCALAR* tile = streamed + turn * 2 * STREAM;
        load_rows(tile, HEAD(q, sample, head), start, COLUMNS, queries);
        load_rows(tile + STREAM, HEAD(g, sample, head), start, COLUMNS, queries);
        const int64 offset = (sample * kv_heads * group + head) * queries;
        if (threadIdx.x < COLUMNS)
            rows[turn * COLUMNS + threadIdx.x] =
                row_of(logsumexp + offset, delta + offset, start + threadIdx.x, queries);
    };
    load_rows(held_k, HEAD(k, sample, kv_head), first, ROWS, keys);
    load_rows(held_v, HEAD(v, sample, kv_head), first, ROWS, keys);
    if (steps) load_step(0, 0);
    end_group();

    const int own = warp_id() * 16, key = first + own + lane_id() / 4;
    float sum_k[1][HEAD_DIM / 8][4] = {}, sum_v[1][HEAD_DIM / 8][4] = {};
    int turn = 0;
    for (int step = 0; step < steps * group; ++step, turn ^= 1) {
        if (step + 1 < steps * group) load_step(step + 1, turn ^ 1);
        end_group();
        const int start = begin + step % steps * COLUMNS, head = kv_head * group + step / steps;
        if constexpr (MASK)
            load_mask<COLUMNS, ROWS, TURNED_PITCH>(masks, MASK_OF(sample, head), start, first, queries, keys, LOG2E);
        wait_for_groups<1>();
        __syncthreads();
        const SCALAR* tile = streamed + turn * 2 * STREAM;
        float scores[1][COLUMNS / 8][4], gradients[1][COLUMNS / 8][4];
        scores_of<1>(scores, held_k + own * PITCH, tile);
        scores_of<1>(gradients, held_v + own * PITCH, tile + STREAM);
        unsigned drawn = 0;
        if constexpr (DROPOUT) drawn = kept_rows<COLUMNS>(KEPT_OF(sample, head, kv_heads * group), start, first + own);
        const bool is_edge = is_causal && start < first + own + 16;
#pragma unroll
        for (int n = 0; n < COLUMNS / 8; ++n)
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                const int column = n * 8 + lane_id() % 4 * 2 + side;
                const Row row = rows[turn * COLUMNS + column];
                const int query = start + column;
                unsigned bits = 0;
                if constexpr (DROPOUT) bits = __shfl_sync(ALL_LANES, drawn, column % 32) >> (n / 4 * 16 + lane_id() / 4);
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int below = key + half * 8, i = side + half * 2;
                    float added = 0;
                    if (MASK) added = masks[column * TURNED_PITCH + below - first];
                    weigh(scores[0][n][i], gradients[0][n][i], row, scale, !is_edge || below <= query, added,
                          bits >> half * 8 & 1, factor);
                }
            }
        add_weighted<1>(sum_v, scores, tile + STREAM);
        add_weighted<1>(sum_k, gradients, tile);
        __syncthreads();
    }
    wait_for_groups<0>();
    store_rows(HEAD(dk, sample, kv_head), sum_k[0], first + own, keys, scale, scale);
    store_rows(HEAD(dv, sample, kv_head), sum_v[0], first + own, keys, factor, factor);
}
