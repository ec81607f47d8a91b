// Converts elements of type SCALAR to the nearest of type TARGET, ELEMENTS for each thread. With 8, accesses are of 16
// bytes and `count` is a multiple of 8.

template <class T> constexpr int PIECE = ELEMENTS == 1 ? 1 : 16 / sizeof(T);

extern "C" __global__ void cast(const SCALAR* x, TARGET* out, int64 count) {
    const int64 i = ((int64)blockIdx.x * blockDim.x + threadIdx.x) * ELEMENTS;
    if (i >= count) return;
    float values[ELEMENTS];
#pragma unroll
    for (int start = 0; start < ELEMENTS; start += PIECE<SCALAR>) {
        const Vector<SCALAR, PIECE<SCALAR>> piece = load<PIECE<SCALAR>>(x + i + start);
#pragma unroll
        for (int v = 0; v < PIECE<SCALAR>; ++v) values[start + v] = wide(piece.at[v]);
    }
#pragma unroll
    for (int start = 0; start < ELEMENTS; start += PIECE<TARGET>) {
        Vector<TARGET, PIECE<TARGET>> piece;
#pragma unroll
        for (int v = 0; v < PIECE<TARGET>; ++v) piece.at[v] = narrow<TARGET>(values[start + v]);
        store(out + i + start, piece);
    }
}
