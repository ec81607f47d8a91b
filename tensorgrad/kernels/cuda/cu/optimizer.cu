// AdamW over flat buffers of SCALAR, and their norm. Nothing waits for the host: rates are read from memory.

typedef SCALAR T;
typedef Wide<T> Sum;

// partials[block] = the sum of squares of the block's elements, in float64.
extern "C" __global__ void squares(const T* x, double* partials, int64 count) {
    SHARED(double, scratch);
    double total = 0;
    for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (int64)gridDim.x * blockDim.x) {
        const double a = wide(x[i]);
        total += a * a;
    }
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// The root of the sum of partials, in one block.
extern "C" __global__ void root_of_sum(const double* partials, double* out, int64 count) {
    SHARED(double, scratch);
    double total = 0;
    for (int64 i = threadIdx.x; i < count; i += blockDim.x) total += partials[i];
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) out[0] = sqrt(total);
}

// rates: learning rate, 1 - beta1^step, 1 - beta2^step, and the gradients' factor; where that is not
// finite nothing is done.
//   m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  p <- (1 - lr decay) p - lr (m / c1) / (sqrt(v / c2) + eps)
extern "C" __global__ void adamw(T* parameters, const T* gradients, T* first_moment, T* second_moment,
                                 const double* rates, double beta1, double beta2, double eps, double decay,
                                 int64 count) {
    const int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    const double factor = rates[3];
    if (i >= count || !isfinite(factor)) return;
    const Sum rate = rates[0] / rates[1], correction = rates[2], kept = 1 - rates[0] * decay;
    const Sum g = wide(gradients[i]) * Sum(factor);
    const Sum m = Sum(beta1) * wide(first_moment[i]) + Sum(1 - beta1) * g;
    const Sum v = Sum(beta2) * wide(second_moment[i]) + Sum(1 - beta2) * (g * g);
    first_moment[i] = narrow<T>(m);
    second_moment[i] = narrow<T>(v);
    parameters[i] = narrow<T>(wide(parameters[i]) * kept - rate * (m / (sqrt(v / correction) + Sum(eps))));
}
