// Attention of float and double without tensor cores, in the same order as attention_flash.cu. It checks gradients
// on the device in float64, and keeps every digit of float32.
//
// Compiled for one SCALAR, float or double, one HEAD_DIM up to 128, one MASK and one DROPOUT. A block is TILE x TILE
// threads: thread (i, j) computes the score of held row i and streamed row j, then columns j, j + TILE, ... of row i's
// sums.

#include "philox.h"
#include "attention.h"

constexpr int TILE = 16;
constexpr int PITCH = HEAD_DIM + 1;
constexpr int SPREAD = (HEAD_DIM + TILE - 1) / TILE;  // columns of a row's sums that one thread keeps
constexpr int ROWS_SIZE = TILE * PITCH;
constexpr int SCORES_SIZE = TILE * (TILE + 1);

__device__ inline int held_row() { return threadIdx.x / TILE; }
__device__ inline int column() { return threadIdx.x % TILE; }

// Rows of x from `first` on, those past `end` as zeros.
__device__ inline void load_rows(SCALAR* tile, Head x, int first, int end) {
    for (int i = threadIdx.x; i < TILE * HEAD_DIM; i += TILE * TILE) {
        const int row = i / HEAD_DIM, at = i % HEAD_DIM;
        tile[row * PITCH + at] = first + row < end ? x.data[(first + row) * x.row + at] : SCALAR(0);
    }
}

__device__ inline void store_row(Head x, const SCALAR (&sum)[SPREAD], int row, int end, SCALAR factor) {
#pragma unroll
    for (int i = 0; i < SPREAD; ++i) {
        const int at = column() + i * TILE;
        if (row < end && at < HEAD_DIM) x.data[row * x.row + at] = sum[i] * factor;
    }
}

__device__ inline SCALAR dot(const SCALAR* a, const SCALAR* b) {
    SCALAR sum = 0;
#pragma unroll 8
    for (int i = 0; i < HEAD_DIM; ++i) sum += a[i] * b[i];
    return sum;
}

// sum += the TILE weights of this thread's row times the rows of `streamed`.
__device__ inline void add_weighted(SCALAR (&sum)[SPREAD], const SCALAR* weights, const SCALAR* streamed) {
#pragma unroll 4
    for (int j = 0; j < TILE; ++j) {
        const SCALAR weight = weights[held_row() * (TILE + 1) + j];
#pragma unroll
        for (int i = 0; i < SPREAD; ++i) {
            const int at = column() + i * TILE;
            if (at < HEAD_DIM) sum[i] += weight * streamed[j * PITCH + at];
        }
    }
}

__device__ inline SCALAR over_row(SCALAR x, bool is_max) {  // the TILE lanes of a row are half a warp
#pragma unroll
    for (int step = 1; step < TILE; step *= 2) {
        const SCALAR other = __shfl_xor_sync(ALL_LANES, x, step);
        x = !is_max ? x + other : other > x ? other : x;
    }
    return x;
}

extern "C" __global__ void __launch_bounds__(TILE * TILE, 1)
attention_forward(TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(out), SCALAR* logsumexp, int heads, int group, int queries,
                  int keys, int is_causal, SCALAR scale, MASK_AND_DROPOUT) {
    SHARED(SCALAR, shared);
    SCALAR *held = shared, *k_tile = held + ROWS_SIZE, *v_tile = k_tile + ROWS_SIZE, *weights = v_tile + ROWS_SIZE;
    const int blocks = (queries + TILE - 1) / TILE;
    const int first = (blocks - 1 - blockIdx.x % blocks) * TILE, row = first + held_row();
    const int head = blockIdx.x / blocks % heads;
    const int64 sample = blockIdx.x / blocks / heads;
    const int key_end = is_causal ? min(keys, first + TILE) : keys;
    load_rows(held, HEAD(q, sample, head), first, queries);
    const MaskOf hides = MASK_OF(sample, head);
    const KeptOf kept = KEPT_OF(sample, head, heads);
    SCALAR sum[SPREAD] = {}, largest = -infinity(), total = 0;
    for (int start = 0; start < key_end; start += TILE) {
        __syncthreads();
        load_rows(k_tile, HEAD(k, sample, head / group), start, keys);
        load_rows(v_tile, HEAD(v, sample, head / group), start, keys);
        __syncthreads();
        const int key = start + column();
        const bool is_seen = row < queries && key < keys && (!is_causal || key <= row);
        SCALAR score = -infinity();
        if (is_seen) score = dot(held + held_row() * PITCH, k_tile + column() * PITCH) * scale + (MASK ? hides.at(row, key) : 0);
        const SCALAR before = largest, top = over_row(score, true);
        largest = top > before ? top : before;
        const SCALAR base = largest == -infinity() ? SCALAR(0) : largest;
        const SCALAR weight = exp(score - base), shrink = exp(before - base);
        total = total * shrink + over_row(weight, false);
        weights[held_row() * (TILE + 1) + column()] = !DROPOUT || kept.at(row, key) ? weight : 0;
        __syncwarp();
#pragma unroll
        for (int i = 0; i < SPREAD; ++i) sum[i] *= shrink;
        add_weighted(sum, weights, v_tile);
    }
    store_row(HEAD(out, sample, head), sum, row, queries, total == 0 ? SCALAR(0) : factor / total);
    if (column() == 0 && row < queries)
        logsumexp[(sample * heads + head) * queries + row] = largest + (total == 0 ? SCALAR(0) : log(total));
}

// delta = sum(g out) for each query's row. A thread takes a row.
extern "C" __global__ void __launch_bounds__(TILE * TILE, 1)
attention_delta(TENSOR(g), TENSOR(out), SCALAR* delta, int heads, int queries, int64 rows) {
    const int64 index = (int64)blockIdx.x * (TILE * TILE) + threadIdx.x;
    if (index >= rows) return;
    const int64 sample = index / queries / heads, head = index / queries % heads, row = index % queries;
    delta[index] = dot(HEAD(g, sample, head).data + row * g_row, HEAD(out, sample, head).data + row * out_row);
}

// A score's probability, given its query's log-sum-exp: 0 if the query sees nothing.
__device__ inline SCALAR probability(SCALAR score, SCALAR logsumexp) {
    return logsumexp == -infinity() ? SCALAR(0) : exp(score - logsumexp);
}

extern "C" __global__ void __launch_bounds__(TILE * TILE, 1)
attention_gradient_q(TENSOR(g), TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(dq), const SCALAR* logsumexp,
                     const SCALAR* delta, int heads, int group, int queries, int keys, int is_causal, SCALAR scale,
                     MASK_AND_DROPOUT) {
    SHARED(SCALAR, shared);
    SCALAR *held_q = shared, *held_g = held_q + ROWS_SIZE, *k_tile = held_g + ROWS_SIZE, *v_tile = k_tile + ROWS_SIZE;
    SCALAR* gradients = v_tile + ROWS_SIZE;
    const int blocks = (queries + TILE - 1) / TILE;
    const int first = (blocks - 1 - blockIdx.x % blocks) * TILE, row = first + held_row();
    const int head = blockIdx.x / blocks % heads;
    const int64 sample = blockIdx.x / blocks / heads;
    const int key_end = is_causal ? min(keys, first + TILE) : keys;
    load_rows(held_q, HEAD(q, sample, head), first, queries);
    load_rows(held_g, HEAD(g, sample, head), first, queries);
    const int64 offset = (sample * heads + head) * queries + row;
    const SCALAR row_logsumexp = row < queries ? logsumexp[offset] : 0, row_delta = row < queries ? delta[offset] : 0;
    const MaskOf hides = MASK_OF(sample, head);
    const KeptOf kept = KEPT_OF(sample, head, heads);
    SCALAR sum[SPREAD] = {};
    for (int start = 0; start < key_end; start += TILE) {
        __syncthreads();
        load_rows(k_tile, HEAD(k, sample, head / group), start, keys);
        load_rows(v_tile, HEAD(v, sample, head / group), start, keys);
        __syncthreads();
        const int key = start + column();
        SCALAR gradient = 0;
        if (row < queries && key < keys && (!is_causal || key <= row)) {
            const SCALAR score = dot(held_q + held_row() * PITCH, k_tile + column() * PITCH) * scale;
            SCALAR pulled = dot(held_g + held_row() * PITCH, v_tile + column() * PITCH);
            if (DROPOUT) pulled = kept.at(row, key) ? pulled * factor : 0;
            gradient = probability(score + (MASK ? hides.at(row, key) : 0), row_logsumexp) * (pulled - row_delta);
        }
        gradients[held_row() * (TILE + 1) + column()] = gradient;
        __syncwarp();
        add_weighted(sum, gradients, k_tile);
    }
    store_row(HEAD(dq, sample, head), sum, row, queries, scale);
}

extern "C" __global__ void __launch_bounds__(TILE * TILE, 1)
attention_gradient_kv(TENSOR(g), TENSOR(q), TENSOR(k), TENSOR(v), TENSOR(dk), TENSOR(dv), const SCALAR* logsumexp,
                      const SCALAR* delta, int kv_heads, int group, int queries, int keys, int is_causal,
                      SCALAR scale, MASK_AND_DROPOUT) {
    SHARED(SCALAR, shared);
    SCALAR *held_k = shared, *held_v = held_k + ROWS_SIZE, *q_tile = held_v + ROWS_SIZE, *g_tile = q_tile + ROWS_SIZE;
    SCALAR *weights = g_tile + ROWS_SIZE, *gradients = weights + SCORES_SIZE;
    const int blocks = (keys + TILE - 1) / TILE;
    const int first = blockIdx.x % blocks * TILE, key = first + held_row();
    const int kv_head = blockIdx.x / blocks % kv_heads;
    const int64 sample = blockIdx.x / blocks / kv_heads;
    load_rows(held_k, HEAD(k, sample, kv_head), first, keys);
    load_rows(held_v, HEAD(v, sample, kv_head), first, keys);
    SCALAR sum_k[SPREAD] = {}, sum_v[SPREAD] = {};
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        const MaskOf hides = MASK_OF(sample, head);
        const KeptOf kept = KEPT_OF(sample, head, kv_heads * group);
        for (int start = is_causal ? first : 0; start < queries; start += TILE) {
            __syncthreads();
            load_rows(q_tile, HEAD(q, sample, head), start, queries);
            load_rows(g_tile, HEAD(g, sample, head), start, queries);
            __syncthreads();
            const int query = start + column();
            SCALAR weight = 0, gradient = 0;
            if (key < keys && query < queries && (!is_causal || key <= query)) {
                const int64 offset = (sample * kv_heads * group + head) * queries + query;
                const SCALAR score = dot(held_k + held_row() * PITCH, q_tile + column() * PITCH) * scale;
                SCALAR pulled = dot(held_v + held_row() * PITCH, g_tile + column() * PITCH);
                weight = probability(score + (MASK ? hides.at(query, key) : 0), logsumexp[offset]);
                const bool is_kept = !DROPOUT || kept.at(query, key);
                gradient = weight * ((is_kept ? pulled * factor : 0) - delta[offset]);
                if (!is_kept) weight = 0;
            }
            weights[held_row() * (TILE + 1) + column()] = weight;
            gradients[held_row() * (TILE + 1) + column()] = gradient;
            __syncwarp();
            add_weighted(sum_v, weights, g_tile);
            add_weighted(sum_k, gradients, q_tile);
        }
    }
    store_row(HEAD(dk, sample, kv_head), sum_k, key, keys, scale);
    store_row(HEAD(dv, sample, kv_head), sum_v, key, keys, factor);
}
