// Sums over and along the rows of a matrix, and one row written to all: what surrounds a matrix product if its library
// does not do it.
//
// Elements of type SCALAR, VECTOR at a time; rows are `pitch` elements apart. Shapes alone decide the grid, and with it
// the order of sums.

typedef SCALAR T;
typedef Wide<T> Sum;

// partials (chunks, width): each column's sum over `chunk` rows. A block has one chunk and 32 VECTOR columns, and each
// lane owns VECTOR of them; the warps take the rows in turn, and their sums are then added in their order.
// Block b: tile b % tiles of the columns. Shared memory: 32 VECTOR Sums for each warp.
extern "C" __global__ void column_sums(const T* x, Sum* partials, int64 rows, int64 width, int64 pitch, int64 chunk) {
    SHARED(Sum, sums);
    constexpr int TILE = 32 * VECTOR;
    const int warps = blockDim.x / 32;
    const int64 tiles = (width + TILE - 1) / TILE, number = blockIdx.x / tiles, first = blockIdx.x % tiles * TILE;
    const int64 column = first + lane_id() * VECTOR, start = number * chunk, stop = min(start + chunk, rows);
    Sum total[VECTOR] = {};
    if (column < width) {
#pragma unroll 4
        for (int64 row = start + warp_id(); row < stop; row += warps) {
            const Vector<T, VECTOR> a = load<VECTOR>(x + row * pitch + column);
            EACH(v) total[v] += wide(a.at[v]);
        }
    }
    EACH(v) sums[warp_id() * TILE + v * 32 + lane_id()] = total[v];  // 32 neighbours, one in each bank
    __syncthreads();
    for (int i = threadIdx.x; i < TILE; i += blockDim.x) {
        if (first + i >= width) continue;
        Sum all = 0;
        for (int w = 0; w < warps; ++w) all += sums[w * TILE + i % VECTOR * 32 + i / VECTOR];
        partials[number * width + first + i] = all;
    }
}

// out[row] = the sum of a row. A block takes a row. Shared memory: a Sum for each warp.
extern "C" __global__ void row_sums(const T* x, Sum* out, int64 width, int64 pitch) {
    SHARED(Sum, scratch);
    const T* const in = x + (int64)blockIdx.x * pitch;
    Sum total = 0;
#pragma unroll 4
    for (int64 i = (int64)threadIdx.x * VECTOR; i < width; i += (int64)blockDim.x * VECTOR) {
        const Vector<T, VECTOR> a = load<VECTOR>(in + i);
        EACH(v) total += wide(a.at[v]);
    }
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = total;
}

// Copies row (width) to each row of out (rows, width). A warp writes a row.
extern "C" __global__ void fill_rows(const T* row, T* out, int64 rows, int64 width, int64 pitch) {
    const int64 i = ((int64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (i >= rows) return;
#pragma unroll 4
    for (int64 column = lane_id() * VECTOR; column < width; column += 32 * VECTOR)
        store(out + i * pitch + column, load<VECTOR>(row + column));
}

// out[i] = the sum over blocks of partials (blocks, size). A block has 32 columns: its warps take the partials in turn,
// and their sums are then added in their order. Shared memory: a Sum for each thread.
extern "C" __global__ void add_partials(const Sum* partials, T* out, int64 blocks, int64 size) {
    SHARED(Sum, sums);
    const int64 i = (int64)blockIdx.x * 32 + lane_id();
    const int warps = blockDim.x / 32;
    Sum total = 0;
    if (i < size) {
#pragma unroll 8
        for (int64 b = warp_id(); b < blocks; b += warps) total += partials[b * size + i];
    }
    sums[threadIdx.x] = total;
    __syncthreads();
    if (warp_id() > 0 || i >= size) return;
    for (int w = 1; w < warps; ++w) total += sums[w * 32 + lane_id()];
    out[i] = narrow<T>(total);
}
