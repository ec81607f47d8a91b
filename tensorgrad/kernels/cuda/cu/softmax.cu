// softmax, log_softmax and cross-entropy of rows, for elements of type SCALAR, VECTOR at a time.
//
// A block takes a row. One pass finds the largest element and the sum of exp(x - largest): each thread corrects its sum
// when it meets a larger element (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018). The
// threads' pairs are then merged in a fixed order.

typedef SCALAR T;
typedef Wide<T> Sum;
typedef Vector<T, VECTOR> V;

#define FOR_COLUMNS(i) for (int64 i = (int64)threadIdx.x * VECTOR; i < width; i += (int64)blockDim.x * VECTOR)

__device__ inline float log_of(float x) { return logf(x); }
__device__ inline double log_of(double x) { return log(x); }

struct Norm {
    Sum largest, total;  // total: the sum of exp(x - largest)
};

// What to subtract before exp: the largest element, or 0 while nothing is above -inf.
__device__ inline Sum base_of(Sum largest) { return largest == -infinity() ? Sum(0) : largest; }

__device__ inline Norm merged(Norm a, Norm b) {
    const Sum largest = a.largest > b.largest || a.largest != a.largest ? a.largest : b.largest;
    const Sum base = base_of(largest);
    return {largest, a.total * exp_of(a.largest - base) + b.total * exp_of(b.largest - base)};
}

// The row's largest element and sum, in every thread. Shared memory: a Norm for each warp.
__device__ inline Norm norm_of(const T* x, int64 width) {
    SHARED(Norm, of_warps);
    Norm norm = {-infinity(), 0};
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(x + i);
        Sum largest = norm.largest;
        EACH(v) {
            const Sum value = wide(a.at[v]);
            largest = value > largest || value != value ? value : largest;
        }
        const Sum base = base_of(largest);
        Sum total = norm.total * exp_of(norm.largest - base);
        EACH(v) total += exp_of(wide(a.at[v]) - base);
        norm = {largest, total};
    }
#pragma unroll
    for (int bits = 16; bits; bits /= 2) {
        const Norm other = {__shfl_xor_sync(ALL_LANES, norm.largest, bits), __shfl_xor_sync(ALL_LANES, norm.total, bits)};
        norm = lane_id() & bits ? merged(other, norm) : merged(norm, other);  // the same in all lanes
    }
    if (lane_id() == 0) of_warps[warp_id()] = norm;
    __syncthreads();
    norm = of_warps[0];
    for (int w = 1; w < (int)blockDim.x / 32; ++w) norm = merged(norm, of_warps[w]);
    return norm;
}

extern "C" __global__ void softmax(const T* x, T* out, int64 width) {
    const T* const in = x + blockIdx.x * width;
    const Norm norm = norm_of(in, width);
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(in + i);
        V y;
        EACH(v) y.at[v] = narrow<T>(exp_of(wide(a.at[v]) - norm.largest) / norm.total);
        store(out + blockIdx.x * width + i, y);
    }
}

extern "C" __global__ void log_softmax(const T* x, T* out, int64 width) {
    const T* const in = x + blockIdx.x * width;
    const Norm norm = norm_of(in, width);
    const Sum log_total = log_of(norm.total);
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(in + i);
        V y;
        EACH(v) y.at[v] = narrow<T>(wide(a.at[v]) - norm.largest - log_total);
        store(out + blockIdx.x * width + i, y);
    }
}

// y (g - sum(g y)) for y = softmax(x). Shared memory: a Sum for each warp.
extern "C" __global__ void softmax_gradient(const T* g, const T* y, T* out, int64 width) {
    SHARED(Sum, scratch);
    const int64 row = blockIdx.x * width;
    Sum product = 0;
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(g + row + i), b = load<VECTOR>(y + row + i);
        EACH(v) product += wide(a.at[v]) * wide(b.at[v]);
    }
    product = block_sum(product, scratch);
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(g + row + i), b = load<VECTOR>(y + row + i);
        V d;
        EACH(v) d.at[v] = narrow<T>(wide(b.at[v]) * (wide(a.at[v]) - product));
        store(out + row + i, d);
    }
}

// g - exp(y) sum(g) for y = log_softmax(x).
extern "C" __global__ void log_softmax_gradient(const T* g, const T* y, T* out, int64 width) {
    SHARED(Sum, scratch);
    const int64 row = blockIdx.x * width;
    Sum total = 0;
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(g + row + i);
        EACH(v) total += wide(a.at[v]);
    }
    total = block_sum(total, scratch);
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(g + row + i), b = load<VECTOR>(y + row + i);
        V d;
        EACH(v) d.at[v] = narrow<T>(wide(a.at[v]) - exp_of(wide(b.at[v])) * total);
        store(out + row + i, d);
    }
}

// For each row: the loss -log softmax(logits)[target], the largest logit, and the sum of exp(x - largest); with a
// spread also -log softmax(logits) @ spread. A row with target -1 does not count, and is not read.
extern "C" __global__ void cross_entropy(const T* logits, const int64* targets, const Sum* spread, Sum* losses,
                                         Sum* spread_losses, Sum* largest, Sum* total, int64 width) {
    const int64 row = blockIdx.x, target = targets[row];
    const bool is_first = threadIdx.x == 0;
    if (target < 0) {
        if (is_first) {
            losses[row] = largest[row] = 0;
            total[row] = 1;
            if (spread) spread_losses[row] = 0;
        }
        return;
    }
    const T* const in = logits + row * width;
    const Norm norm = norm_of(in, width);
    const Sum log_total = log_of(norm.total);
    if (is_first) {
        largest[row] = norm.largest;
        total[row] = norm.total;
        // This difference first, then the logarithm: large logits of one size cancel without rounding.
        losses[row] = log_total - (wide(in[target]) - norm.largest);
    }
    if (!spread) return;
    SHARED(Sum, scratch);
    Sum loss = 0;
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(in + i);
        EACH(v) loss += spread[i + v] * (log_total - (wide(a.at[v]) - norm.largest));
    }
    __syncthreads();  // every thread has read what norm_of left in shared memory
    loss = block_sum(loss, scratch);
    if (is_first) spread_losses[row] = loss;
}

// out = on_softmax p - on_target onehot(target) - on_spread spread, or 0 where target is -1; out may be the logits.
extern "C" __global__ void cross_entropy_gradient(const Sum* on_softmax, const Sum* on_target, const Sum* on_spread,
                                                  const T* logits, const int64* targets, const Sum* spread,
                                                  const Sum* largest, const Sum* total, T* out, int64 width) {
    const int64 row = blockIdx.x, target = targets[row];
    if (target < 0) {
        V zero;
        EACH(v) zero.at[v] = narrow<T>(0);
        FOR_COLUMNS(i) store(out + row * width + i, zero);
        return;
    }
    const Sum factor = on_softmax[row] / total[row], top = largest[row], less = on_target[row];
    const Sum evenly = spread ? on_spread[row] : Sum(0);
    FOR_COLUMNS(i) {
        const V a = load<VECTOR>(logits + row * width + i);
        V d;
        EACH(v) {
            Sum value = exp_of(wide(a.at[v]) - top) * factor - (i + v == target ? less : 0);
            if (spread) value -= evenly * spread[i + v];
            d.at[v] = narrow<T>(value);
        }
        store(out + row * width + i, d);
    }
}
