// layer_norm and rms_norm of rows, forward and backward, for elements of type SCALAR.
//
// Forward: a warp per row, which is read once more from the cache for each pass: mean, variance, output
// (two passes for the variance, as x^2 - mean^2 would cancel). Backward: a warp walks over rows, `grid`
// warps apart; what it adds up for weight and bias it keeps in shared memory, and `add_partials` adds
// the blocks' sums in their order.

typedef SCALAR T;
typedef Wide<T> Sum;

// Sum of x over the row, in every lane.
template <class F> __device__ inline Sum row_sum(int64 width, F element) {
    Sum total = 0;
    for (int64 i = lane_id(); i < width; i += 32) total += element(i);
    return warp_sum(total);
}

// x, out (rows, width); weight, bias (width) or null; mean, rstd (rows).
extern "C" __global__ void layer_norm(const T* x, const T* weight, const T* bias, T* out, Sum* mean, Sum* rstd,
                                      int64 rows, int64 width, Sum eps) {
    const int64 row = (int64)blockIdx.x * (blockDim.x / 32) + warp_id();
    if (row >= rows) return;
    const T* const in = x + row * width;
    // Shifted by the first element: the mean of equal numbers is then exactly that number.
    const Sum first = wide(in[0]);
    const Sum centre = first + row_sum(width, [&](int64 i) { return wide(in[i]) - first; }) / width;
    const Sum variance = row_sum(width, [&](int64 i) {
                             const Sum d = wide(in[i]) - centre;
                             return d * d;
                         }) / width;
    const Sum scale = 1 / sqrt(variance + eps);
    for (int64 i = lane_id(); i < width; i += 32) {
        Sum y = (wide(in[i]) - centre) * scale * wide(weight[i]);
        if (bias) y += wide(bias[i]);
        out[row * width + i] = narrow<T>(y);
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
    const Sum square = row_sum(width, [&](int64 i) { return wide(in[i]) * wide(in[i]); }) / width;
    const Sum scale = 1 / sqrt(square + eps);
    for (int64 i = lane_id(); i < width; i += 32) out[row * width + i] = narrow<T>(wide(in[i]) * scale * wide(weight[i]));
    if (lane_id() == 0) rstd[row] = scale;
}
