// gelu, silu, relu squared and swiglu, elementwise, VECTOR elements of type SCALAR at a time: forward, backward, and
// both at once for an MLP's backward.

typedef SCALAR T;
typedef Wide<T> Sum;
typedef Vector<T, VECTOR> V;
constexpr double SQRT_2_OVER_PI = 0.7978845608028654, CUBIC = 0.044715, INVERSE_SQRT_2PI = 0.3989422804014327;
constexpr double SQRT_HALF = 0.7071067811865476;

__device__ inline float erfc_of(float x) { return erfcf(x); }
__device__ inline double erfc_of(double x) { return erfc(x); }

// 1 / (1 + exp(-x)), with a small relative error at either end.
__device__ inline Sum sigmoid(Sum x) {
    const Sum e = exp_of(x < 0 ? x : -x);
    return (x < 0 ? e : 1) / (1 + e);
}

struct Gelu {  // x Phi(x)
    __device__ static Sum phi(Sum x) { return Sum(0.5) * erfc_of(-x * Sum(SQRT_HALF)); }
    __device__ static Sum value(Sum x) { return x * phi(x); }
    __device__ static Sum slope(Sum x) { return phi(x) + x * exp_of(Sum(-0.5) * x * x) * Sum(INVERSE_SQRT_2PI); }
};

struct GeluTanh {  // (1 + tanh(v / 2)) / 2 = sigmoid(v): the sum would cancel for v far below 0
    __device__ static Sum inner(Sum x) { return Sum(2 * SQRT_2_OVER_PI) * x * (1 + Sum(CUBIC) * x * x); }
    __device__ static Sum value(Sum x) { return x * sigmoid(inner(x)); }
    __device__ static Sum slope(Sum x) {
        const Sum s = sigmoid(inner(x));
        const Sum square = x * x > Sum(1e4) ? Sum(1e4) : x * x;  // kept finite: s (1 - s) is 0 there
        return s + x * s * (1 - s) * Sum(2 * SQRT_2_OVER_PI) * (1 + 3 * Sum(CUBIC) * square);
    }
};

struct Silu {
    __device__ static Sum value(Sum x) { return x * sigmoid(x); }
    __device__ static Sum slope(Sum x) {
        const Sum s = sigmoid(x);
        return s * (1 + x * (1 - s));
    }
};

struct ReluSquared {  // NaN for NaN
    __device__ static Sum relu(Sum x) { return x < 0 ? Sum(0) : x; }
    __device__ static Sum value(Sum x) { return relu(x) * relu(x); }
    __device__ static Sum slope(Sum x) { return 2 * relu(x); }
};

// The element at which this thread begins; `count` is a multiple of VECTOR.
__device__ inline int64 place() { return ((int64)blockIdx.x * blockDim.x + threadIdx.x) * VECTOR; }

template <class F> __device__ inline void forward(const T* x, T* out, int64 count) {
    const int64 i = place();
    if (i >= count) return;
    const V a = load<VECTOR>(x + i);
    V y;
    EACH(v) y.at[v] = narrow<T>(F::value(wide(a.at[v])));
    store(out + i, y);
}

template <class F> __device__ inline void backward(const T* g, const T* x, T* out, int64 count) {
    const int64 i = place();
    if (i >= count) return;
    const V a = load<VECTOR>(x + i), b = load<VECTOR>(g + i);
    V y;
    EACH(v) y.at[v] = narrow<T>(wide(b.at[v]) * F::slope(wide(a.at[v])));
    store(out + i, y);
}

// Overwrites g by the activation of x, and writes g times the slope to dx.
template <class F> __device__ inline void both(T* g, const T* x, T* dx, int64 count) {
    const int64 i = place();
    if (i >= count) return;
    const V a = load<VECTOR>(x + i), b = load<VECTOR>(g + i);
    V y, d;
    EACH(v) {
        const Sum a_v = wide(a.at[v]);
        y.at[v] = narrow<T>(F::value(a_v));
        d.at[v] = narrow<T>(wide(b.at[v]) * F::slope(a_v));
    }
    store(g + i, y);
    store(dx + i, d);
}

#define KERNELS(name, F)                                                                                     \
    extern "C" __global__ void name(const T* x, T* out, int64 count) { forward<F>(x, out, count); }          \
    extern "C" __global__ void name##_gradient(const T* g, const T* x, T* out, int64 count) {                \
        backward<F>(g, x, out, count);                                                                       \
    }
#define OF_MLP(name, F) \
    extern "C" __global__ void name##_again(T* g, const T* x, T* dx, int64 count) { both<F>(g, x, dx, count); }
KERNELS(gelu, Gelu)
KERNELS(gelu_tanh, GeluTanh)
KERNELS(silu, Silu)
KERNELS(relu_squared, ReluSquared)
OF_MLP(gelu, Gelu)
OF_MLP(gelu_tanh, GeluTanh)
OF_MLP(relu_squared, ReluSquared)

// x (rows, 2 width), the gate first; out (rows, width); count = rows width, width a multiple of VECTOR.
extern "C" __global__ void swiglu(const T* x, T* out, int64 count, int64 width) {
    const int64 i = place();
    if (i >= count) return;
    const T* const gate = x + i / width * 2 * width + i % width;
    const V a = load<VECTOR>(gate), b = load<VECTOR>(gate + width);
    V y;
    EACH(v) y.at[v] = narrow<T>(Silu::value(wide(a.at[v])) * wide(b.at[v]));
    store(out + i, y);
}

// Writes the gradient to dx, and the output once more to `again` unless it is null; that may be g.
__device__ inline void swiglu_backward(const T* g, const T* x, T* dx, int64 count, int64 width, T* again) {
    const int64 i = place();
    if (i >= count) return;
    const int64 start = i / width * 2 * width + i % width;
    const V a = load<VECTOR>(x + start), b = load<VECTOR>(x + start + width), up = load<VECTOR>(g + i);
    V gate, value, y;
    EACH(v) {
        const Sum up_v = wide(up.at[v]), silu = Silu::value(wide(a.at[v]));
        gate.at[v] = narrow<T>(up_v * wide(b.at[v]) * Silu::slope(wide(a.at[v])));
        value.at[v] = narrow<T>(up_v * silu);
        y.at[v] = narrow<T>(silu * wide(b.at[v]));
    }
    store(dx + start, gate);
    store(dx + start + width, value);
    if (again) store(again + i, y);
}

extern "C" __global__ void swiglu_gradient(const T* g, const T* x, T* out, int64 count, int64 width) {
    swiglu_backward(g, x, out, count, width, nullptr);
}

extern "C" __global__ void swiglu_again(T* g, const T* x, T* dx, int64 count, int64 width) {
    swiglu_backward(g, x, dx, count, width, g);
}
