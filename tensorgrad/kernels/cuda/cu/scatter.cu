// Adds rows of values to the rows of a table that ids name. `order` sorts the ids, and gives the order of each sum.
//
// The sorted positions are cut into chunks. A run of one id inside a chunk is added to the table at once. For a run
// that crosses an edge each chunk leaves its sum in `edges`; the chunk in which the run begins adds these in order. So
// every sum has one order, without atomics.

typedef SCALAR T;
typedef Wide<T> Sum;

__device__ inline int64 tiles_of(int64 width) { return (width + blockDim.x - 1) / blockDim.x; }
__device__ inline int64 chunk_of(int64 width) { return blockIdx.x / tiles_of(width); }
__device__ inline int64 column_of(int64 width) { return blockIdx.x % tiles_of(width) * blockDim.x + threadIdx.x; }

// values (count, width); edges (chunks, 2, width): the sum of the run that began before the chunk (0), and of the run
// that begins in it and goes on after it (1). Block b: chunk b / tiles, and tile b % tiles of the columns.
extern "C" __global__ void add_runs(const T* values, const int64* ids, const int64* order, T* table, Sum* edges,
                                    int64 count, int64 width, int64 chunk) {
    const int64 number = chunk_of(width), column = column_of(width);
    if (column >= width) return;
    const int64 start = number * chunk, stop = min(start + chunk, count);
    int64 first = start;  // where the current run begins
    Sum total = 0;
    for (int64 i = start; i < stop; ++i) {
        const int64 id = ids[order[i]];
        total += wide(values[order[i] * width + column]);
        if (i + 1 < stop && ids[order[i + 1]] == id) continue;
        const bool comes_in = first == start && start > 0 && ids[order[start - 1]] == id;
        const bool goes_on = i + 1 == stop && stop < count && ids[order[stop]] == id;
        if (comes_in) {
            edges[2 * number * width + column] = total;
        } else if (goes_on) {
            edges[(2 * number + 1) * width + column] = total;
        } else {
            T* const to = table + id * width + column;
            *to = narrow<T>(wide(*to) + total);
        }
        total = 0;
        first = i + 1;
    }
}

// Adds the runs that cross the edge of the chunk in which they begin.
extern "C" __global__ void add_edges(const int64* ids, const int64* order, T* table, const Sum* edges, int64 count,
                                     int64 width, int64 chunk) {
    const int64 number = chunk_of(width), column = column_of(width), start = number * chunk, stop = start + chunk;
    if (column >= width || stop >= count) return;
    const int64 id = ids[order[stop]];
    const bool goes_on = ids[order[stop - 1]] == id;
    const bool comes_in = start > 0 && ids[order[start]] == id && ids[order[start - 1]] == id;
    if (!goes_on || comes_in) return;
    Sum total = edges[(2 * number + 1) * width + column];
    for (int64 c = number + 1; c * chunk < count && ids[order[c * chunk]] == id; ++c)
        total += edges[2 * c * width + column];
    T* const to = table + id * width + column;
    *to = narrow<T>(wide(*to) + total);
}
