// layer_norm and rms_norm of rows, forward and backward, for elements of type SCALAR, VECTOR at a time.
//
// A warp takes a row and reads it from the cache the second time. In the backward, warps walk over the rows, a grid
// apart, and sum the gradients of weight and bias in shared memory, where each lane owns its columns and its bank. A
// block then adds its warps' sums in order, and `add_partials` of rows.cu adds the blocks' sums. Shapes alone decide
// the grid, so the order of all sums is fixed.

typedef SCALAR T;
typedef Wide<T> Sum;
constexpr int STEP = 32 * VECTOR;

// The columns of this lane: `VECTOR` of them from i on.
#define FOR_COLUMNS(i) for (int64 i = lane_id() * VECTOR; i < width; i += STEP)

// `VECTOR` weights from i on: 1 where there are none.
__device__ inline Vector<T, VECTOR> weights(const T* weight, int64 i) {
    if (weight) return load<VECTOR>(weight + i);
    Vector<T, VECTOR> ones;
    EACH(v) ones.at[v] = narrow<T>(Sum(1));
    return ones;
}

// x, out (rows, width); weight, bias (width), each may be null; mean, rstd (rows).
extern "C" __global__ void layer_norm(const T* x, const T* weight, const T* bias, T* out, Sum* mean, Sum* rstd,
                                      int64 rows, int64 width, Sum eps) {
    const int64 row = (int64)blockIdx.x * (blockDim.x / 32) + warp_id();
    if (row >= rows) return;
    const T* const in = x + row * width;
    // Shifted by the first element: the mean of equal numbers is exactly that number, and their variance 0.
    const Sum first = wide(in[0]);
    Sum total = 0, square = 0;
    FOR_COLUMNS(i) {
        const Vector<T, VECTOR> a = load<VECTOR>(in + i);
        EACH(v) total += wide(a.at[v]) - first;
    }
    const Sum centre = first + warp_sum(total) / width;
    FOR_COLUMNS(i) {
        const Vector<T, VECTOR> a = load<VECTOR>(in + i);
        EACH(v) square += (wide(a.at[v]) - centre) * (wide(a.at[v]) - centre);
    }
    const Sum scale = 1 / sqrt(warp_sum(square) / width + eps);
    FOR_COLUMNS(i) {
        const Vector<T, VECTOR> a = load<VECTOR>(in + i), w = weights(weight, i);
        Vector<T, VECTOR> b = {}, y;
        if (bias) b = load<VECTOR>(bias + i);
        EACH(v) y.at[v] = narrow<T>((wide(a.at[v]) - centre) * scale * wide(w.at[v]) + wide(b.at[v]));
        store(out + row * width + i, y);
    }
    if (lane_id() == 0) {
        mean[row] = centre;
        rstd[row] = scale;
    }
}

extern "C" __global__ void rms_norm(const T* x, const T* weight, T* out, Sum* rstd, int64 rows, int64 width, Sum eps) {
    const int64 row = (int64)blockIdx.x * (blockDim.x / 32) + warp_id();
    if (row >= rows) return;
    const T* const in = x + row * width;
    Sum square = 0;
    FOR_COLUMNS(i) {
        const Vector<T, VECTOR> a = load<VECTOR>(in + i);
        EACH(v) square += wide(a.at[v]) * wide(a.at[v]);
    }
    const Sum scale = 1 / sqrt(warp_sum(square) / width + eps);
    FOR_COLUMNS(i) {
        const Vector<T, VECTOR> a = load<VECTOR>(in + i), w = weights(weight, i);
        Vector<T, VECTOR> y;
        EACH(v) y.at[v] = narrow<T>(wide(a.at[v]) * scale * wide(w.at[v]));
        store(out + row * width + i, y);
    }
    if (lane_id() == 0) rstd[row] = scale;
}

// The place of a column's sum: the lanes of a warp access 32 neighbouring places at once, one in each bank.
__device__ inline int64 place_of(int64 column) {
    const int within = column & (STEP - 1);
    return column - within + within % VECTOR * 32 + within / VECTOR;
}

// Both backwards:
//   dx = rstd (t - mean(t) - n mean(t n)),  t = g weight,  n = (x - mean) rstd
// partials (blocks, 0 to 2, width): each block's sums of g, unless mean is null (rms_norm), and of g n, unless weight
// is. Shared memory: as many rows for each warp, the width rounded up to a multiple of STEP.
__device__ inline void gradient(const T* g, const T* x, const T* weight, const Sum* mean, const Sum* rstd, T* dx,
                                Sum* partials, int64 rows, int64 width) {
    SHARED(Sum, sums);
    const int warps = blockDim.x / 32, kinds = (mean ? 1 : 0) + (weight ? 1 : 0);
    const int64 places = (width + STEP - 1) / STEP * STEP;
    Sum* const own = sums + warp_id() * kinds * places;
    for (int64 i = lane_id(); i < kinds * places; i += 32) own[i] = 0;
    __syncwarp();
    for (int64 row = (int64)blockIdx.x * warps + warp_id(); row < rows; row += (int64)gridDim.x * warps) {
        const T* const in = x + row * width;
        const T* const up = g + row * width;
        const Sum centre = mean ? mean[row] : 0, scale = rstd[row];
        Sum t_sum = 0, tn_sum = 0;
        FOR_COLUMNS(i) {
            const Vector<T, VECTOR> a = load<VECTOR>(in + i), b = load<VECTOR>(up + i), w = weights(weight, i);
            EACH(v) {
                const Sum t = wide(b.at[v]) * wide(w.at[v]);
                t_sum += t;
                tn_sum += t * ((wide(a.at[v]) - centre) * scale);
            }
        }
        const Sum t_mean = mean ? warp_sum(t_sum) / width : 0, tn_mean = warp_sum(tn_sum) / width;
        FOR_COLUMNS(i) {
            const Vector<T, VECTOR> a = load<VECTOR>(in + i), b = load<VECTOR>(up + i), w = weights(weight, i);
            Vector<T, VECTOR> d;
            Sum* const at = own + i - lane_id() * (VECTOR - 1);  // place_of(i)
            EACH(v) {
                const Sum n = (wide(a.at[v]) - centre) * scale, up_v = wide(b.at[v]);
                d.at[v] = narrow<T>(scale * (up_v * wide(w.at[v]) - t_mean - n * tn_mean));
                if (mean) at[v * 32] += up_v;
                if (weight) at[(mean ? places : 0) + v * 32] += up_v * n;
            }
            store(dx + row * width + i, d);
        }
    }
    __syncthreads();
    for (int kind = 0; kind < kinds; ++kind)
        for (int64 i = threadIdx.x; i < width; i += blockDim.x) {
            Sum total = 0;
            for (int w = 0; w < warps; ++w) total += sums[(w * kinds + kind) * places + place_of(i)];
            partials[((int64)blockIdx.x * kinds + kind) * width + i] = total;
        }
}

extern "C" __global__ void layer_norm_gradient(const T* g, const T* x, const T* weight, const Sum* mean,
                                               const Sum* rstd, T* dx, Sum* partials, int64 rows, int64 width) {
    gradient(g, x, weight, mean, rstd, dx, partials, rows, width);
}

extern "C" __global__ void rms_norm_gradient(const T* g, const T* x, const T* weight, const Sum* rstd, T* dx,
                                             Sum* partials, int64 rows, int64 width) {
    gradient(g, x, weight, nullptr, rstd, dx, partials, rows, width);
}
