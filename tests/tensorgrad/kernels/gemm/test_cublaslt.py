"""cublasLt is asked for what the plan says: by a binding that carries it out from addresses and descriptors.

The binding stands where nvmath-python's does, with the same functions; where that is installed the
arguments of each are compared.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import providers, reference
from tensorgrad.kernels.gemm import cublaslt, cuda, plan
from tensorgrad.kernels.gemm.plan import product_of
from tests.cupy_stand_in.cublaslt import EPILOGUES, Binding, standing_in
from tests.cupy_stand_in.kernels import choosing_anew
from tests.tensorgrad.kernels.gemm.test_plan import at_alignment


class Device(np.ndarray):
    """A NumPy array with its address where CuPy has it."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.ctypes.data)


def on_device(a: np.ndarray) -> Any:
    return a.view(Device)


class Clock:
    """CuPy as far as the provider uses it; algorithm 2 is the fastest."""

    times: Iterator[float]
    device = 0

    def __init__(self) -> None:
        stream = types.SimpleNamespace(ptr=77, is_capturing=lambda: False)
        event = types.SimpleNamespace(record=lambda: None, synchronize=lambda: None)
        self.cuda = types.SimpleNamespace(
            alloc=lambda size: types.SimpleNamespace(ptr=4096),
            get_current_stream=lambda: stream,
            Event=lambda: event,
            get_elapsed_time=lambda start, end: next(self.times),
            runtime=types.SimpleNamespace(
                getDevice=lambda: self.device, getDeviceProperties=lambda number: {"name": b"device %d" % number}
            ),
        )
        self.empty = lambda size, dtype: on_device(np.empty(size, dtype))


@pytest.fixture
def binding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Binding]:
    clock = Clock()
    clock.times = iter([3.0, 3.0, 3.0, 1.0, 9.0, 1.0, 2.0, 2.0, 2.0] * 100)
    monkeypatch.setattr(cublaslt, "cuda_module", lambda: clock)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with choosing_anew(), standing_in() as found:
        yield found
    assert found.launches <= {(4096, 32 << 20, 77)}


def product(x: np.ndarray, y: np.ndarray, out: np.ndarray, **extras: Any) -> np.ndarray:
    given = {name: on_device(z) if isinstance(z, np.ndarray) else z for name, z in extras.items()}
    with cuda.running_with(cublaslt.CublasLt()):
        cuda.matmul(on_device(x), on_device(y), out=on_device(out), **given)
    return out


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_products_with_their_extras(binding: Binding, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-4, 5, (6, 5)).astype(dtype), rng.integers(-4, 5, (8, 5)).astype(dtype)
    bias, sums = rng.integers(-4, 5, 8).astype(dtype), np.zeros(6, dtype)
    out = np.zeros((6, 8), dtype)
    np.testing.assert_array_equal(product(x, w.T, out, bias=bias), x @ w.T + bias)
    np.testing.assert_array_equal(product(x, w.T, out, row_sums=sums), x @ w.T)
    np.testing.assert_array_equal(sums, x.sum(axis=1))
    total = np.ones((5, 5), np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_array_equal(product(x.T, x, total, accumulate=True), 1 + x.T @ x)
    batched = rng.integers(-4, 5, (3, 5, 6)).astype(dtype)
    np.testing.assert_array_equal(product(batched, x, np.zeros((3, 5, 5), dtype)), batched @ x)


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_gelu_and_its_gradient_are_parts_of_products(binding: Binding, has_bias: bool) -> None:
    rng = np.random.default_rng(0)
    x, w, bias = (on_device(rng.normal(size=shape).astype(np.float16)) for shape in ((6, 5), (16, 5), (16,)))
    given = bias if has_bias else None
    exact = x.astype(float) @ w.T.astype(float) + (bias.astype(float) if has_bias else 0)
    with cuda.running_with(cublaslt.CublasLt()):
        both, alone = (cuda.matmul_gelu(x, w.T, given, keeps_input=keeps) for keeps in (True, False))
        assert both is not None
        assert alone is not None
        h, y = both
        np.testing.assert_allclose(h, exact, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(y, reference.gelu(exact, "tanh"), rtol=2e-3, atol=2e-3)
        assert alone[0] is None
        np.testing.assert_array_equal(alone[1], y)
        for _ in range(2):
            dh = cuda.matmul_gelu_gradient(x, w.T, h)
            product = x.astype(float) @ w.T.astype(float)
            expected = reference.gelu_gradient(product, np.asarray(h).astype(float), "tanh")
            np.testing.assert_allclose(dh, expected, rtol=2e-3, atol=2e-3)
    names = [o[7] for o in binding.objects.values() if "compute" in o]
    assert names == ([164, 36, 192] if has_bias else [160, 32, 192])
    assert not providers.fallbacks()


def test_a_gelu_that_is_no_part_of_a_product(binding: Binding, caplog: pytest.LogCaptureFixture) -> None:
    """None where the library has no algorithm, and logged once; where it is not asked, for precision or sizes."""
    x, w, bias = (on_device(np.ones(shape, np.float16)) for shape in ((6, 5), (16, 5), (16,)))
    h = on_device(np.ones((6, 16), np.float16))
    with cuda.running_with(cublaslt.CublasLt()):
        for a, b in ((x.astype(np.float32), w.astype(np.float32)), (x, w[:12]), (x[:0], w)):
            assert cuda.matmul_gelu(a, b.T, None, keeps_input=True) is None
            assert cuda.matmul_gelu_gradient(a, b.T, h) is None
        binding.lacking = set(EPILOGUES.values())
        with caplog.at_level("INFO", "tensorgrad"), providers.requiring_fast():
            for _ in range(2):
                assert cuda.matmul_gelu(x, w.T, bias, keeps_input=True) is None
                assert cuda.matmul_gelu_gradient(x, w.T, h) is None
    assert caplog.messages == [
        f"gemm: cublasLt has no algorithm with {what} in float16: a kernel of ours does that"
        for what in ("GELU", "GELU's gradient")
    ]
    assert not providers.fallbacks()


def test_a_gelu_that_the_library_calls_wrong_or_does_not_run(binding: Binding, monkeypatch: pytest.MonkeyPatch) -> None:
    x: Any = on_device(np.ones((8, 8), np.float16))
    binding.refused = {1, 2, 3}
    with cuda.running_with(cublaslt.CublasLt()):
        for _ in range(2):
            assert cuda.matmul_gelu(x, x, None, keeps_input=True) is None
    assert binding.algorithms == [1, 2, 3]
    status = 7

    def failing(*_: int) -> None:
        raise binding.cuBLASLtError(status)

    monkeypatch.setattr(binding, "matmul_algo_get_heuristic", failing)
    with cuda.running_with(cublaslt.CublasLt()):
        assert cuda.matmul_gelu_gradient(x, x, x) is None
        with pytest.raises(binding.cuBLASLtError):
            cuda.matmul(x, x)
        status = 13
        with pytest.raises(binding.cuBLASLtError):
            cuda.matmul_gelu(x, x, None, keeps_input=False)


def test_the_fastest_algorithm_is_timed_once_and_remembered(binding: Binding, tmp_path: Path) -> None:
    x = np.ones((4, 4), np.float32)
    run = cublaslt.CublasLt()
    (one,) = product_of(on_device(x), on_device(x), on_device(np.zeros((4, 4), np.float32)))
    run(one)
    assert binding.algorithms == [1, 1, 1, 2, 2, 2, 3, 3, 3, 2]
    run(one)
    assert binding.algorithms[10:] == [2]
    assert binding.preference[1] == 32 << 20
    assert binding.preference[3] == 2  # no sums of parts made in place, none rounded
    binding.algorithms.clear()
    cublaslt.CublasLt()(one)
    assert binding.algorithms == [2]
    binding.unusable.add(2)
    binding.algorithms.clear()
    cublaslt.CublasLt()(one)
    assert len(binding.algorithms) == 10
    binding.unusable.clear()
    (path,) = (tmp_path / "tensorgrad").iterdir()
    for spoilt in ("{", '{"a": 1}', path.read_text().replace("02", "zz")):
        path.write_text(spoilt)
        binding.algorithms.clear()
        cublaslt.CublasLt()(one)
        assert len(binding.algorithms) == 10


def test_the_library_is_told_how_operands_are_aligned_and_asked_for_32_algorithms(binding: Binding) -> None:
    x, y, out = (at_alignment(16, multiple).reshape(4, 4) for multiple in (256, 64, 16))
    binding.num_proposals = 32
    with pytest.MonkeyPatch.context() as patch:  # undone before the binding's own patch of the same name
        patch.setattr(plan, "_MAX_ALIGNMENT", 256)
        product(x, y, out)
    assert [binding.preference[attribute] for attribute in (5, 6, 7, 8)] == [64, 256, 16, 16]  # A is y
    assert len(set(binding.algorithms)) == 32


def test_each_device_has_its_own(binding: Binding, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Handle, workspaces and times of algorithms: a stream's number may be another's on another device."""
    x = np.ones((4, 4), np.float32)
    (one,) = product_of(on_device(x), on_device(x), on_device(np.zeros((4, 4), np.float32)))
    run = cublaslt.CublasLt()
    for device in (0, 1, 0, 1):
        monkeypatch.setattr(Clock, "device", device)
        run(one)
    assert len(binding.algorithms) == 2 * 10 + 2
    assert len(binding.handles) == 2
    assert len(list((tmp_path / "tensorgrad").iterdir())) == 2


def test_tf32_only_when_it_is_asked_for(binding: Binding) -> None:
    x = np.ones((4, 4), np.float32)

    def computed_in() -> int:
        return next(o["compute"] for o in reversed(binding.objects.values()) if "compute" in o)

    product(x, x, np.zeros((4, 4), np.float32))
    assert computed_in() == 68
    with tg.allow_tf32():
        product(x, x, np.zeros((4, 4), np.float32))
    assert computed_in() == 77
    product(x.astype(float), x.astype(float), np.zeros((4, 4)))
    assert computed_in() == 70


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("way", ["refused", "wrong value", "not run"])
def test_what_the_library_has_no_algorithm_for_takes_a_pass_of_its_own(
    binding: Binding, monkeypatch: pytest.MonkeyPatch, dtype: str, way: str
) -> None:
    """Which is no fallback; the sum with a bias is rounded once."""
    binding.lacking = set(EPILOGUES.values())
    if way == "wrong value":
        monkeypatch.setattr(binding, "LACKING_STATUS", 7)
    if way == "not run":
        binding.lacking, binding.failing = set(), set(EPILOGUES.values())
    rng = np.random.default_rng(0)
    x, w, bias = (rng.normal(size=shape).astype(dtype) for shape in ((6, 4), (8, 4), (8,)))
    sums, pitched = np.zeros(6, dtype), np.zeros((6, 11), dtype)
    exact = x.astype(float) @ w.T.astype(float)
    close = {"rtol": 2e-3 if dtype == "float16" else 1e-6, "atol": 1e-3 if dtype == "float16" else 1e-6}
    with providers.requiring_fast():
        for _ in range(2):
            product(x, w.T, pitched[:, 1:9], bias=bias)
            np.testing.assert_allclose(pitched[:, 1:9], exact + bias, **close)
            assert (pitched[:, [0, 9, 10]] == 0).all()
            added = product(x, w.T, np.ones((6, 8), dtype), bias=bias, accumulate=True)
            np.testing.assert_allclose(added, exact + bias + 1, **close)
            out = product(np.asfortranarray(x), w.T, np.zeros((6, 8), dtype), row_sums=sums)
            np.testing.assert_allclose(out, exact, **close)
            np.testing.assert_allclose(sums, x.astype(float).sum(axis=1), **close)
    assert not providers.fallbacks()


def test_sums_are_asked_for_where_the_library_has_them(binding: Binding) -> None:
    """cublasLt sums an operand that it reads transposed, with several columns and no bias; else a pass does."""
    x, w = np.arange(24, dtype=np.float32).reshape(6, 4), np.ones((4, 8), np.float32)
    for given, y, extras, expected in (
        (np.asfortranarray(x), w, {}, 1),
        (x, w, {}, 0),
        (np.asfortranarray(x), w, {"bias": np.ones(8, np.float32)}, 0),
        (np.asfortranarray(x)[:, 1:2], w[:1], {}, 0),
    ):
        binding.epilogues.clear()
        sums, run = np.zeros(6, np.float32), cublaslt.CublasLt()
        with cuda.running_with(run):
            named = {name: on_device(z) for name, z in extras.items()}
            out = cuda.matmul(on_device(given), on_device(y), row_sums=on_device(sums), **named)
        np.testing.assert_array_equal(out, given @ y + extras.get("bias", 0))
        np.testing.assert_array_equal(sums, given.sum(axis=1))
        assert (binding.epilogues[EPILOGUES["BGRADB"]] > 0) == expected


def test_an_algorithm_that_does_not_run_is_not_chosen(binding: Binding) -> None:
    x = np.ones((4, 4), np.float32)
    binding.refused = {1, 2}
    np.testing.assert_array_equal(product(x, x, np.zeros((4, 4), np.float32)), 4)
    assert binding.algorithms == [1, 2, 3, 3, 3, 3]
    binding.refused = {1, 2, 3}
    with pytest.raises(RuntimeError, match="runs none of them"):
        product(x, x, np.zeros((4, 4), np.float32), accumulate=True)


def test_trying_algorithms_leaves_everything_else_alone(binding: Binding) -> None:
    whole = np.full((6, 20), 7, np.float32)
    x = np.ones((6, 4), np.float32)
    product(x, np.ones((4, 8), np.float32), whole[:, 5:13], accumulate=True)
    expected = np.full((6, 20), 7, np.float32)
    expected[:, 5:13] += 4
    np.testing.assert_array_equal(whole, expected)


def test_no_algorithm_is_an_error(binding: Binding) -> None:
    binding.num_proposals = 0
    x = on_device(np.ones((4, 4)))
    with cuda.running_with(cublaslt.CublasLt()):
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"no algorithm for Plan\(m=4"):
                cuda.matmul(x, x)
        binding.num_proposals = 1
        np.testing.assert_array_equal(cuda.matmul(x, x), 4)


def test_a_single_algorithm_needs_no_timing(binding: Binding) -> None:
    binding.num_proposals = 1
    np.testing.assert_array_equal(product(np.ones((4, 4)), np.ones((4, 4)), np.zeros((4, 4))), 4)
    assert binding.algorithms == [1]


def test_what_else_the_library_refuses_reaches_the_caller(binding: Binding, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: int) -> None:
        raise binding.cuBLASLtError(13)

    monkeypatch.setattr(binding, "matmul_algo_get_heuristic", failing)
    with pytest.raises(binding.cuBLASLtError):
        product(np.ones((4, 4)), np.ones((4, 4)), np.zeros((4, 4)))


def test_the_binding_is_nvmath_s() -> None:
    """Each function that the provider calls exists, with these arguments; each number is the library's."""
    real = pytest.importorskip("nvmath.bindings.cublasLt")
    for name, ours in vars(Binding).items():
        if name.startswith("_") or name == "LACKING_STATUS":
            continue
        theirs = getattr(real, name)
        if not isinstance(ours, type):
            own = ours.__code__.co_varnames[1 : ours.__code__.co_argcount]
            assert tuple(inspect.signature(theirs).parameters) == own, name
        elif issubclass(ours, Exception):
            assert issubclass(theirs, Exception)
        else:
            for member, value in vars(ours).items():
                assert member.startswith("_") or getattr(theirs, member) == value, member
    assert real.matmul_heuristic_result_dtype.itemsize == cublaslt._RESULT.itemsize
    for ours, theirs in zip(cublaslt._RESULT.names, real.matmul_heuristic_result_dtype.names, strict=True):
        assert cublaslt._RESULT.fields[ours][1] == real.matmul_heuristic_result_dtype.fields[theirs][1]
