// Rotary positions: turns the halves of the last axis by angles, for elements of type SCALAR.

typedef SCALAR T;

// x, out (batch, heads, time, 2 half), with strides in elements and a dense last axis; cosines, sines (time, half). A
// thread turns one pair; out may be x.
extern "C" __global__ void rope(const T* x, T* out, const T* cosines, const T* sines, int64 heads, int64 time,
                                int64 half, int64 count, int64 x_batch, int64 x_head, int64 x_time, int64 out_batch,
                                int64 out_head, int64 out_time) {
    const int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const int64 e = i % half, t = i / half % time, h = i / (half * time) % heads, b = i / (half * time * heads);
    const T* const in = x + b * x_batch + h * x_head + t * x_time + e;
    T* const to = out + b * out_batch + h * out_head + t * out_time + e;
    const Wide<T> c = wide(cosines[t * half + e]), s = wide(sines[t * half + e]);
    const Wide<T> first = wide(in[0]), second = wide(in[half]);
    to[0] = narrow<T>(first * c - second * s);
    to[half] = narrow<T>(second * c + first * s);
}
