// layer_norm and rms_norm of rows, forward and backward, for elements of type SCALAR, VECTOR at a time.
//
// A warp takes a row; its second pass over the row reads the cache. The backward's warps take rows a grid apart and
// keep their sums for weight and bias in shared memory, where a lane owns its columns and its bank. A block's warps are
// then added in their order, and the blocks by `add_partials` of rows.cu. The grid is fixed, so every sum has one order.

typedef SCALAR T;
typedef Wide<T> Sum;
constexpr int STEP = 32 * VECTOR;

// Calls f(i, v) for the columns of this lane: VECTOR of them from i on.
#define FOR_COLUMNS(i) for (int64 i = lane_id() * VECTOR; i < width; i += STEP)

// x, out (rows, width); weight, bias (width), bias may be null; mean, rstd (rows).
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
        const Vector<T, VECTOR> a = load<VECTOR>(in + i), w = load<VECTOR>(weight + i);
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
        const Vector<T, VECTOR> a = load<VECTOR>(in + i), w = load<VECTOR>(weight + i);
        Vector<T, VECTOR> y;
        EACH(v) y.at[v] = narrow<T>(wide(a.at[v]) * scale * wide(w.at[v]));
        store(out + row * width + i, y);
    }
    if (lane_id() == 0) rstd[row] = scale;
}

// Where a column's sum is: the lanes of a warp read 32 neighbours at once, one in each bank.
__device__ inline int64 place_of(int64 column) {
    const int within = column & (STEP - 1);
    return column - within + within % VECTOR * 32 + within / VECTOR;
}

// Both backwards. For rms_norm `mean` is null, and there are no sums for a bias.
//   dx = rstd (t - mean(t) - n mean(t n)),  t = g weight,  n = (x - mean) rstd
// partials (blocks, 1 or 2, width): each block's sums of g n, and of g. Shared memory: as many Sums for each warp, with
// the width rounded up to a multiple of STEP.
__device__ inline void gradient(const T* g, const T* x, const T* weight, const Sum* mean, const Sum* rstd, T* dx,
                                Sum* partials, int64 rows, int64 width) {
    SHARED(Sum, sums);
    const int warps = blockDim.x / 32, kinds = mean ? 2 : 1;
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
            const Vector<T, VECTOR> a = load<VECTOR>(in + i), b = load<VECTOR>(up + i), w = load<VECTOR>(weight + i);
            EACH(v) {
                const Sum t = wide(b.at[v]) * wide(w.at[v]);
                t_sum += t;
                tn_sum += t * ((wide(a.at[v]) - centre) * scale);
            }
        }
        const Sum t_mean = mean ? warp_sum(t_sum) / width : 0, tn_mean = warp_sum(tn_sum) / width;
        FOR_COLUMNS(i) {
            const Vector<T, VECTOR> a = load<VECTOR>(in + i), b = load<VECTOR>(up + i), w = load<VECTOR>(weight + i);
            Vector<T, VECTOR> d;
            Sum* const at = own + i - lane_id() * (VECTOR - 1);  // place_of(i)
            EACH(v) {
                const Sum n = (wide(a.at[v]) - centre) * scale, up_v = wide(b.at[v]);
                d.at[v] = narrow<T>(scale * (up_v * wide(w.at[v]) - t_mean - n * tn_mean));
                at[v * 32] += up_v * n;
                if (mean) at[places + v * 32] += up_v;
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
