"""The shim detects what would fail on a GPU, so that a kernel which passes in it deserves some trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad.kernels.cuda.launch import Kernel, launch, running_with
from tests.cuda_shim import Shim, ShimError, is_available, sanitized

pytestmark = pytest.mark.skipif(not is_available(), reason="needs g++")

SOURCE = """
extern "C" __global__ void neighbour(const float* in, float* out) {
    SHARED(float, kept);
    kept[threadIdx.x] = in[threadIdx.x];
#if HAS_BARRIER
    __syncthreads();
#endif
    out[threadIdx.x] = kept[(threadIdx.x + 1) % blockDim.x];
}

extern "C" __global__ void divergent() {
    if (threadIdx.x < 40) __syncthreads();
}

extern "C" __global__ void two_barriers() {
    if (threadIdx.x < 40) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

extern "C" __global__ void left_lanes(int* out) {
    if (lane_id() < 5) return;
    out[threadIdx.x] = warp_sum(1);
}

extern "C" __global__ void warps(const float* in, float* total, float* largest, unsigned* votes, double* all) {
    SHARED(double, scratch);
    const float x = in[threadIdx.x];
    total[threadIdx.x] = warp_sum(x);
    largest[threadIdx.x] = warp_max(x);
    votes[threadIdx.x] = __ballot_sync(ALL_LANES, x > 0);
    all[threadIdx.x] = block_sum((double)x, scratch);
}

extern "C" __global__ void numbered(int* out, int64 count) {
    const int64 i = ((int64)blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) out[i] = (int)i;
}

extern "C" __global__ void vectors(float* x) {
    if (threadIdx.x == 0) store(x, load<4>(x));
}

extern "C" __global__ void converted(const float* in, Bfloat16* b, Float16* h, float* from_b, float* from_h) {
    const int i = threadIdx.x;
    b[i] = narrow<Bfloat16>(in[i]);
    h[i] = narrow<Float16>(in[i]);
    from_b[i] = wide(b[i]);
    from_h[i] = wide(h[i]);
}
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "planted.cu"
    path.write_text(SOURCE)
    return str(path)


def run(source: str, name: str, *arguments: object, grid: tuple[int, ...] = (1,), threads: int = 64, seed: int = 0,
        shared_bytes: int = 0, has_barrier: int = 1) -> None:  # fmt: skip
    with running_with(Shim(seed)):
        kernel = Kernel(source, name, {"HAS_BARRIER": has_barrier})
        launch(kernel, grid, (threads,), *arguments, shared_bytes=shared_bytes)


@pytest.mark.parametrize("has_barrier", [0, 1])
def test_a_missing_barrier_gives_wrong_results(source: str, has_barrier: int) -> None:
    given = np.arange(64, dtype=np.float32)
    is_right = []
    for seed in range(5):
        out = np.full(64, np.nan, np.float32)
        run(source, "neighbour", given, out, seed=seed, shared_bytes=256, has_barrier=has_barrier)
        is_right.append(np.array_equal(out, np.roll(given, -1)))
    assert all(is_right) if has_barrier else not any(is_right)


@pytest.mark.parametrize(
    ("name", "message"),
    [("divergent", "never reach"), ("two_barriers", "barriers of lines"), ("left_lanes", "waits for lanes")],
)
def test_threads_that_do_not_meet_are_an_error(source: str, name: str, message: str) -> None:
    arguments = [np.zeros(64, np.int32)] if name == "left_lanes" else []
    with pytest.raises(ShimError, match=message):
        run(source, name, *arguments)


def test_arguments_of_other_sizes_are_an_error(source: str) -> None:
    with pytest.raises(ShimError, match=r"numbered: expected arguments of \[8, 8\] bytes, got \[8, 4\]"):
        run(source, "numbered", np.zeros(4, np.int32), np.int32(4))
    with pytest.raises(ShimError, match="expected arrays"):
        run(source, "numbered", [1, 2], np.int64(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (1, 65536)}, r"a grid of 1 to \(2147483647, 65535, 65535\), got \(1, 65536\)"),
        ({"grid": (2**31,)}, "a grid of 1 to"),
        ({"threads": 1056}, "a block of 1 to"),
        ({"threads": 48}, "whole warps"),
        ({"shared_bytes": 99 * 1024 + 16}, "101376 bytes of shared memory at most"),
    ],
)
def test_what_no_device_launches_is_an_error(source: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ShimError, match=f"divergent: expected .*{message}"):
        run(source, "divergent", **options)


def test_an_access_at_an_odd_address_is_an_error(source: str) -> None:
    x = np.zeros(9, np.float32)
    first = x.ctypes.data // 4 % 4  # by how many elements the array begins past a multiple of 16 bytes
    at_16 = x[-first % 4 :]
    run(source, "vectors", at_16)
    with pytest.raises(ShimError, match="vectors: an access to 16 bytes at an address that is no multiple"):
        run(source, "vectors", at_16[1:])


def test_warps_and_blocks_compute_together(source: str) -> None:
    x = np.random.default_rng(0).normal(size=96).astype(np.float32)
    total, largest = np.empty(96, np.float32), np.empty(96, np.float32)
    votes, everything = np.empty(96, np.uint32), np.empty(96, np.float64)
    run(source, "warps", x, total, largest, votes, everything, threads=96, shared_bytes=24)
    by_warp = x.reshape(3, 32)
    np.testing.assert_allclose(total.reshape(3, 32), by_warp.sum(1, keepdims=True).repeat(32, 1), rtol=1e-5)
    np.testing.assert_array_equal(largest.reshape(3, 32), by_warp.max(1, keepdims=True).repeat(32, 1))
    expected = [sum(1 << i for i in range(32) if row[i] > 0) for row in by_warp]
    np.testing.assert_array_equal(votes.reshape(3, 32), np.array(expected, np.uint32)[:, None].repeat(32, 1))
    np.testing.assert_allclose(everything, np.full(96, x.astype(np.float64).sum()), rtol=1e-12)


def test_blocks_of_a_grid(source: str) -> None:
    out = np.full(1000, -1, np.int32)
    run(source, "numbered", out, np.int64(1000), grid=(4, 4))
    np.testing.assert_array_equal(out, np.arange(1000))


def test_16_bit_floats_are_rounded_to_the_nearest_even(source: str) -> None:
    x = np.array([0, -0.0, 1, 1 + 2**-8, 1 + 3 * 2**-8, 1e-8, -3e-8, 6e4, 7e4, 3e38, np.inf, np.nan], np.float32)
    x = np.resize(x, 64)
    b, h = np.zeros(64, np.uint16), np.zeros(64, np.uint16)
    from_b, from_h = np.zeros(64, np.float32), np.zeros(64, np.float32)
    run(source, "converted", x, b, h, from_b, from_h)
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    np.testing.assert_array_equal(h[~np.isnan(x)], half.view(np.uint16)[~np.isnan(x)])
    np.testing.assert_array_equal(from_h, half.astype(np.float32))
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint32) << 16
    np.testing.assert_array_equal(from_b[~np.isnan(x)], rounded.view(np.float32)[~np.isnan(x)])
    assert np.isnan(from_b[np.isnan(x)]).all()


@pytest.mark.parametrize("count", [64, 67])
def test_the_address_sanitizer_finds_a_write_out_of_bounds(source: str, count: int) -> None:
    program = f"""
    import numpy as np
    from tensorgrad.kernels.cuda.launch import Kernel, launch, running_with
    from tests.cuda_shim import Shim
    Shim.sanitizes = True
    with running_with(Shim()):
        kernel = Kernel({source!r}, "numbered", {{"HAS_BARRIER": 1}})
        launch(kernel, (4,), (32,), np.zeros(64, np.int32), np.int64({count}))
    """
    done = sanitized(program)
    if count == 64:
        assert done.returncode == 0, done.stderr
    else:
        assert "heap-buffer-overflow" in done.stderr
        assert "planted.cu" in done.stderr or "kernel.cpp" in done.stderr
