// CUDA's model of execution on a CPU: what the sources in tensorgrad/kernels/cuda need of it.
//
// Each thread of a block is a fiber; one of them runs at a time, until it waits for others or ends. Which
// one runs next is drawn at random, so that a missing barrier shows. Blocks run one after the other, in
// random order. Shared memory, and the registers that a shuffle does not write, start as NaN.
//
// An error (a barrier that not all threads reach, a shuffle among lanes that have left) is a message that
// `shim_error` returns; the launch ends there.
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __host__
#define __device__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };

namespace shim {

struct Failure {
    std::string text;
};

struct Copy {
    void* to;
    unsigned char bytes[16];
};

struct Warp {
    unsigned arrived = 0;       // lanes that wait in the collective under way
    unsigned mask = 0;          // and those that have to come
    unsigned generation = 0;    // collectives that have been
    int line = 0;
    unsigned char slots[2][32][64];  // what each lane brought, of this collective and of the one before
};

struct Fiber {
    ucontext_t context;
    std::vector<unsigned char> stack;
    dim3 thread;
    int index = 0;
    bool is_done = false;
    // What it waits for: nothing, the block's barrier, or its warp's collective.
    enum { RUNS, BARRIER, COLLECTIVE } waits = RUNS;
    unsigned waits_past = 0;
    std::vector<std::vector<Copy>> groups;  // asynchronous copies that have not arrived
    std::vector<Copy> open_group;
    void* fake_stack = nullptr;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    unsigned generation = 0;  // barriers that all have passed
    int arrived = 0, line = 0, done = 0;
};

inline Fiber* current = nullptr;
inline Block* block = nullptr;
inline ucontext_t scheduler;
inline void* scheduler_fake_stack = nullptr;
inline dim3 block_index, block_size, grid_size;
inline unsigned char* shared = nullptr;
inline std::string failure;
inline std::mt19937 coin;  // whether an asynchronous copy arrives at once or as late as it may
inline void (*body)(void**) = nullptr;
inline void** arguments = nullptr;

constexpr size_t STACK = 128 * 1024;

inline void fail(const std::string& text) { throw Failure{text}; }

// Leave the running fiber for the scheduler, and come back when it is chosen again.
inline void yield() {
    Fiber* self = current;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&self->fake_stack, nullptr, 0);
#endif
    swapcontext(&self->context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
#endif
    if (!failure.empty()) fail(failure);  // of another fiber: unwind this one too
}

inline void set_failure(const std::string& text) {
    if (failure.empty()) failure = text;
}

inline std::string place(const Fiber& fiber) {
    char text[96];
    snprintf(text, sizeof text, "thread %d of block (%u, %u, %u)", fiber.index, block_index.x, block_index.y,
             block_index.z);
    return text;
}

inline void barrier(int line) {
    if (block->arrived == 0) block->line = line;
    if (block->line != line)
        fail("barriers of lines " + std::to_string(block->line) + " and " + std::to_string(line) + " meet: " +
             place(*current));
    current->waits_past = block->generation;
    if (++block->arrived == (int)block->fibers.size()) {
        block->arrived = 0;
        ++block->generation;
    }
    current->waits = Fiber::BARRIER;
    yield();
    current->waits = Fiber::RUNS;
}

// All lanes of `mask` bring `value`; afterwards each may read what the others brought.
inline unsigned char (*collective(unsigned mask, const void* value, size_t size, int line))[64] {
    Warp& warp = block->warps[current->index / 32];
    const int lane = current->index % 32;
    if (!(mask >> lane & 1)) fail("a lane that its own mask leaves out: " + place(*current));
    if (warp.arrived == 0) warp.mask = mask, warp.line = line;
    if (warp.mask != mask || warp.line != line)
        fail("warp functions of lines " + std::to_string(warp.line) + " and " + std::to_string(line) +
             ", or of different masks, meet: " + place(*current));
    unsigned char(*slots)[64] = warp.slots[warp.generation % 2];
    if (warp.arrived == 0) memset(slots, 0xFF, sizeof warp.slots[0]);
    memcpy(slots[lane], value, size);
    warp.arrived |= 1u << lane;
    current->waits_past = warp.generation;
    if (warp.arrived == mask) {
        warp.arrived = 0;
        ++warp.generation;
    }
    current->waits = Fiber::COLLECTIVE;
    yield();
    current->waits = Fiber::RUNS;
    return slots;
}

template <class T> T shuffle(unsigned mask, T value, int from, int line) {
    unsigned char(*slots)[64] = collective(mask, &value, sizeof value, line);
    T result;
    memcpy(&result, slots[from], sizeof result);
    return result;
}

inline unsigned ballot(unsigned mask, bool value, int line) {
    unsigned char bit = value;
    unsigned char(*slots)[64] = collective(mask, &bit, 1, line);
    unsigned bits = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1 && slots[lane][0] == 1) bits |= 1u << lane;
    return bits;
}

inline void enter() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    try {
        body(arguments);
    } catch (const Failure& problem) {
        set_failure(problem.text);
    }
    current->is_done = true;
    ++block->done;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(nullptr, nullptr, 0);
#endif
    swapcontext(&current->context, &scheduler);
}

inline bool can_run(const Fiber& fiber) {
    if (fiber.is_done) return false;
    if (!failure.empty() || fiber.waits == Fiber::RUNS) return true;
    if (fiber.waits == Fiber::BARRIER) return block->generation != fiber.waits_past;
    return block->warps[fiber.index / 32].generation != fiber.waits_past;
}

inline void resume(Fiber& fiber) {
    current = &fiber;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack.data(), fiber.stack.size());
#endif
    swapcontext(&scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

inline void run_block(std::mt19937& random, size_t shared_bytes, std::vector<std::vector<unsigned char>>& stacks) {
    const int count = block_size.x * block_size.y * block_size.z;
    Block state;
    state.fibers.resize(count);
    state.warps.resize((count + 31) / 32);
    block = &state;
    std::vector<unsigned char> memory(shared_bytes + 16, 0xFF);
    shared = (unsigned char*)(((uintptr_t)memory.data() + 15) & ~(uintptr_t)15);
    for (int i = 0; i < count; ++i) {
        Fiber& fiber = state.fibers[i];
        fiber.index = i;
        fiber.thread.x = i % block_size.x;
        fiber.thread.y = i / block_size.x % block_size.y;
        fiber.thread.z = i / (block_size.x * block_size.y);
        fiber.stack.swap(stacks[i]);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, enter, 0);
    }
    std::vector<int> order(count);
    for (int i = 0; i < count; ++i) order[i] = i;
    while (state.done < count) {
        std::shuffle(order.begin(), order.end(), random);
        bool has_moved = false;
        for (int i : order)
            if (can_run(state.fibers[i])) {
                resume(state.fibers[i]);
                has_moved = true;
            }
        if (!has_moved) {
            for (const Fiber& fiber : state.fibers)
                if (!fiber.is_done)
                    set_failure(place(fiber) + (fiber.waits == Fiber::BARRIER
                                                    ? " waits at the barrier of line " + std::to_string(block->line)
                                                    : " waits for lanes of its warp in line " +
                                                          std::to_string(block->warps[fiber.index / 32].line)) +
                                ", which others never reach");
        }
    }
    for (int i = 0; i < count; ++i) state.fibers[i].stack.swap(stacks[i]);
    current = nullptr;
}

inline void launch(void (*kernel)(void**), void** args, const unsigned* grid, const unsigned* size,
                   size_t shared_bytes, unsigned seed) {
    failure.clear();
    body = kernel;
    arguments = args;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {size[0], size[1], size[2]};
    std::mt19937 random(seed);
    coin.seed(seed);
    const int count = size[0] * size[1] * size[2];
    std::vector<std::vector<unsigned char>> stacks(count, std::vector<unsigned char>(STACK));
    const unsigned blocks = grid[0] * grid[1] * grid[2];
    std::vector<unsigned> order(blocks);
    for (unsigned i = 0; i < blocks; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    for (unsigned i : order) {
        block_index = {i % grid[0], i / grid[0] % grid[1], i / (grid[0] * grid[1])};
        run_block(random, shared_bytes, stacks);
        if (!failure.empty()) return;
    }
}

// A kernel with its arguments given by address, as CUDA's launches take them.
template <class... A, size_t... I>
void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A>*)args[I]...);
}
template <class... A> void call(void (*kernel)(A...), void** args) {
    call(kernel, args, std::index_sequence_for<A...>{});
}
template <class... A> constexpr size_t sizes(void (*)(A...), unsigned* out) {
    size_t i = 0;
    ((out[i++] = sizeof(A)), ...);
    return i;
}

}  // namespace shim

#define threadIdx (shim::current->thread)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)
#define warpSize 32

#define __syncthreads() shim::barrier(__LINE__)
#define __syncwarp(...) shim::shuffle(0xFFFFFFFFu __VA_OPT__(& (__VA_ARGS__)), 0, shim::current->index % 32, __LINE__)
#define __shfl_sync(mask, value, from) shim::shuffle(mask, value, (from) & 31, __LINE__)
#define __shfl_xor_sync(mask, value, bits) shim::shuffle(mask, value, (shim::current->index % 32) ^ (bits), __LINE__)
#define __shfl_down_sync(mask, value, by) \
    shim::shuffle(mask, value, std::min(31, shim::current->index % 32 + (int)(by)), __LINE__)
#define __shfl_up_sync(mask, value, by) \
    shim::shuffle(mask, value, std::max(0, shim::current->index % 32 - (int)(by)), __LINE__)
#define __ballot_sync(mask, value) shim::ballot(mask, value, __LINE__)
#define __any_sync(mask, value) (shim::ballot(mask, value, __LINE__) != 0)
#define __all_sync(mask, value) (shim::ballot(mask, value, __LINE__) == (mask))
#define __threadfence()
#define __threadfence_block()

// One fiber runs at a time, so that these are atomic as they stand. Of floats there is none on purpose.
inline int atomicAdd(int* at, int value) { int old = *at; *at += value; return old; }
inline unsigned atomicAdd(unsigned* at, unsigned value) { unsigned old = *at; *at += value; return old; }
inline unsigned atomicMax(unsigned* at, unsigned value) { unsigned old = *at; *at = std::max(old, value); return old; }

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __uint_as_float(unsigned x) { float y; memcpy(&y, &x, 4); return y; }
inline unsigned __float_as_uint(float x) { unsigned y; memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return (uint64_t)((unsigned __int128)a * b >> 64); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
template <class T> T __ldg(const T* at) { return *at; }
using std::max;
using std::min;

// --- what common.h asks: on a device an access to N bytes at another address than a multiple of N is an error -------

namespace shim {

inline void check_access(const void* at, size_t bytes) {
    if ((uintptr_t)at % bytes)
        fail("an access to " + std::to_string(bytes) + " bytes at an address that is no multiple of that: " +
             place(*current));
}

}  // namespace shim

// --- what tensorcore.h has in PTX -----------------------------------------------------------------

namespace shim {

struct Operands {
    unsigned a[4], b[2];
};

inline float element_of(unsigned word, int half, auto zero) {
    zero.bits = (unsigned short)(word >> 16 * half);
    return wide(zero);
}

inline void check_aligned(const void* at, const char* what) {
    if ((uintptr_t)at % 16) fail(std::string(what) + " of an address that is no multiple of 16: " + place(*current));
}

inline unsigned short half_at(const void* row, int column) {
    unsigned short x;
    memcpy(&x, (const char*)row + 2 * column, 2);
    return x;
}

inline unsigned char (*rows_of_warp(const void* row, int line))[64] {
    check_aligned(row, "ldmatrix");
    return collective(0xFFFFFFFFu, &row, sizeof row, line);
}

inline const void* row_at(unsigned char (*slots)[64], int lane) {
    const void* row;
    memcpy(&row, slots[lane], sizeof row);
    return row;
}

}  // namespace shim

template <class T> void mma(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    const shim::Operands own = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    unsigned char(*slots)[64] = shim::collective(0xFFFFFFFFu, &own, sizeof own, __LINE__);
    const int lane = shim::current->index % 32;
    float left[2][16], right[16][2];
    for (int k = 0; k < 16; ++k)
        for (int i = 0; i < 2; ++i) {
            shim::Operands of_row, of_column;
            memcpy(&of_row, slots[lane / 4 * 4 + k % 8 / 2], sizeof of_row);
            memcpy(&of_column, slots[(lane % 4 * 2 + i) * 4 + k % 8 / 2], sizeof of_column);
            left[i][k] = shim::element_of(of_row.a[i + k / 8 * 2], k % 2, T());
            right[k][i] = shim::element_of(of_column.b[k / 8], k % 2, T());
        }
    for (int i = 0; i < 4; ++i)
        for (int k = 0; k < 16; ++k) sum[i] += left[i / 2][k] * right[k][i % 2];
}

inline void load_matrices(unsigned (&words)[4], const void* row) {
    unsigned char(*slots)[64] = shim::rows_of_warp(row, __LINE__);
    const int lane = shim::current->index % 32;
    for (int i = 0; i < 4; ++i) memcpy(&words[i], (const char*)shim::row_at(slots, i * 8 + lane / 4) + lane % 4 * 4, 4);
}

inline void load_transposed(unsigned (&words)[4], const void* row) {
    unsigned char(*slots)[64] = shim::rows_of_warp(row, __LINE__);
    const int lane = shim::current->index % 32;
    for (int i = 0; i < 4; ++i) {
        const int first = i * 8 + lane % 4 * 2;
        words[i] = shim::half_at(shim::row_at(slots, first), lane / 4) |
                   (unsigned)shim::half_at(shim::row_at(slots, first + 1), lane / 4) << 16;
    }
}

inline void copy_ahead(void* to, const void* from, bool is_inside) {
    shim::check_aligned(to, "cp.async");
    shim::check_aligned(from, "cp.async");
    shim::Copy copy = {to, {}};
    if (is_inside) memcpy(copy.bytes, from, 16);
    if (shim::coin() % 2)
        memcpy(to, copy.bytes, 16);
    else
        shim::current->open_group.push_back(copy);
}

inline void end_group() {
    shim::current->groups.push_back(shim::current->open_group);
    shim::current->open_group.clear();
}

template <int PENDING> void wait_for_groups() {
    auto& groups = shim::current->groups;
    while (groups.size() > PENDING) {
        for (const shim::Copy& copy : groups.front()) memcpy(copy.to, copy.bytes, 16);
        groups.erase(groups.begin());
    }
}

inline float power_of_2(float x) { return exp2f(x); }
