// Takes the rows of a table that ids name: elements of type SCALAR, VECTOR at a time, ids of type ID.

typedef SCALAR T;

// table (rows, width), with rows `pitch` elements apart; out (count, width). A warp copies a row. An id outside
// 0 .. rows - 1 is taken modulo rows, as CuPy does: nothing past the table is read.
extern "C" __global__ void take_rows(const T* table, const ID* ids, T* out, int64 count, int64 rows, int64 pitch,
                                     int64 width) {
    const int64 i = ((int64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (i >= count) return;
    int64 row = (int64)ids[i];
    if (row < 0 || row >= rows) {
        row %= rows;
        if (row < 0) row += rows;
    }
#pragma unroll 4
    for (int64 column = lane_id() * VECTOR; column < width; column += 32 * VECTOR)
        store(out + i * width + column, load<VECTOR>(table + row * pitch + column));
}
