// AdamW over flat buffers of SCALAR, and their norm, VECTOR elements at a time. The rates are read from device memory,
// so nothing waits for the host.

#ifndef COPY
#define COPY SCALAR
#endif

typedef SCALAR T;
typedef Wide<T> Sum;
typedef Vector<T, VECTOR> V;

// Loops over the elements of this thread, in a grid that covers `count`, a multiple of VECTOR.
#define FOR_ELEMENTS(i)                                                                        \
    for (int64 i = ((int64)blockIdx.x * blockDim.x + threadIdx.x) * VECTOR; i < count;         \
         i += (int64)gridDim.x * blockDim.x * VECTOR)

// partials[block] = the sum of squares of the block's elements, in float64.
extern "C" __global__ void squares(const T* x, double* partials, int64 count) {
    SHARED(double, scratch);
    double total = 0;
    FOR_ELEMENTS(i) {
        const V a = load<VECTOR>(x + i);
        EACH(v) total += (double)wide(a.at[v]) * wide(a.at[v]);
    }
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

// The square root of the sum of the partials, by one block.
extern "C" __global__ void root_of_sum(const double* partials, double* out, int64 count) {
    SHARED(double, scratch);
    double total = 0;
    for (int64 i = threadIdx.x; i < count; i += blockDim.x) total += partials[i];
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) out[0] = sqrt(total);
}

// rates: learning rate, 1 - beta1^step, 1 - beta2^step, and the gradients' factor; if that is not finite, nothing
// happens.
//   m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  p <- (1 - lr decay) p - lr (m / c1) / (sqrt(v / c2) + eps)
// `copy`, unless it is null, gets p rounded to COPY.
extern "C" __global__ void adamw(T* parameters, const T* gradients, T* first_moment, T* second_moment, COPY* copy,
                                 const double* rates, double beta1, double beta2, double eps, double decay,
                                 int64 count) {
    const double factor = rates[3];
    if (!isfinite(factor)) return;
    const Sum rate = rates[0] / rates[1], correction = rates[2], kept = 1 - rates[0] * decay, scale = factor;
    FOR_ELEMENTS(i) {
        const V up = load<VECTOR>(gradients + i);
        V p = load<VECTOR>(parameters + i), m = load<VECTOR>(first_moment + i), s = load<VECTOR>(second_moment + i);
        EACH(v) {
            const Sum g = wide(up.at[v]) * scale;
            const Sum first = Sum(beta1) * wide(m.at[v]) + Sum(1 - beta1) * g;
            const Sum second = Sum(beta2) * wide(s.at[v]) + Sum(1 - beta2) * (g * g);
            m.at[v] = narrow<T>(first);
            s.at[v] = narrow<T>(second);
            p.at[v] = narrow<T>(wide(p.at[v]) * kept - rate * (first / (sqrt(second / correction) + Sum(eps))));
        }
        store(first_moment + i, m);
        store(second_moment + i, s);
        store(parameters + i, p);
        if (copy) {
            Vector<COPY, VECTOR> rounded;
            EACH(v) rounded.at[v] = narrow<COPY>(wide(p.at[v]));
            store(copy + i, rounded);
        }
    }
}
