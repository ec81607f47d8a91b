"""cublasLt is asked for what the plan says: by a binding that carries it out from addresses and descriptors.

The binding stands where nvmath-python's does, with the same functions; where that is installed the
arguments of each are compared.
"""

from __future__ import annotations

import ctypes
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import reference
from tensorgrad.kernels.cuda import providers
from tensorgrad.kernels.gemm import cublaslt, cuda
from tensorgrad.kernels.gemm.plan import product_of
from tests.cupy_stand_in.kernels import choosing_anew

FLOATS = {0: np.float32, 1: np.float64, 2: np.float16}


class Device(np.ndarray):
    """A NumPy array with its address where CuPy has it."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.ctypes.data)


def on_device(a: np.ndarray) -> Any:
    return a.view(Device)


def memory(address: int, dtype: type, count: int) -> np.ndarray:
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)


class Binding(types.ModuleType):
    """What `nvmath.bindings.cublasLt` has, of what is used; it computes with NumPy."""

    class MatmulDescAttribute:
        TRANSA, TRANSB, EPILOGUE, BIAS_POINTER, BIAS_DATA_TYPE = 3, 4, 7, 8, 26
        EPILOGUE_AUX_POINTER, EPILOGUE_AUX_LD = 11, 12

    class MatrixLayoutAttribute:
        BATCH_COUNT, STRIDED_BATCH_OFFSET = 5, 6

    class MatmulPreferenceAttribute:
        MAX_WORKSPACE_BYTES, REDUCTION_SCHEME_MASK = 1, 3
        MIN_ALIGNMENT_A_BYTES, MIN_ALIGNMENT_B_BYTES, MIN_ALIGNMENT_C_BYTES, MIN_ALIGNMENT_D_BYTES = 5, 6, 7, 8

    class Epilogue:
        BIAS, BGRADB = 4, 512
        GELU, GELU_BIAS, GELU_AUX, GELU_AUX_BIAS, DGELU = 32, 36, 160, 164, 192

    class ReductionScheme:
        COMPUTE_TYPE = 2

    class cuBLASLtError(Exception):
        def __init__(self, status: int) -> None:
            self.status = status

    def __init__(self) -> None:
        super().__init__("nvmath.bindings.cublasLt")
        self.objects: dict[int, dict[Any, Any]] = {}
        self.algorithms: list[int] = []  # the first byte of each that was run
        self.num_proposals = 3
        self.has_no_extras = False
        self.unusable: set[int] = set()  # as read from disk
        self.refused: set[int] = set()  # when launched

    def _made(self, **fields: Any) -> int:
        self.objects[len(self.objects) + 1] = fields
        return len(self.objects)

    def create(self) -> int:
        return self._made()

    def get_version(self) -> int:
        return 130000

    def matmul_desc_create(self, compute_type: int, scale_type: int) -> int:
        return self._made(compute=compute_type, scale=scale_type)

    def matmul_desc_set_attribute(self, matmul_desc: int, attr: int, buf: int, size_in_bytes: int) -> None:
        self.objects[matmul_desc][attr] = int.from_bytes(ctypes.string_at(buf, size_in_bytes), sys.byteorder)

    def matrix_layout_create(self, type: int, rows: int, cols: int, ld: int) -> int:  # noqa: A002
        return self._made(type=type, rows=rows, cols=cols, ld=ld)

    def matrix_layout_set_attribute(self, mat_layout: int, attr: int, buf: int, size_in_bytes: int) -> None:
        self.matmul_desc_set_attribute(mat_layout, attr, buf, size_in_bytes)

    def matmul_preference_set_attribute(self, pref: int, attr: int, buf: int, size_in_bytes: int) -> None:
        self.matmul_desc_set_attribute(pref, attr, buf, size_in_bytes)

    def matmul_preference_create(self) -> int:
        return self._made()

    def matmul_preference_destroy(self, pref: int) -> None:
        self.preference = self.objects[pref]

    def matmul_algo_get_heuristic(
        self, light_handle: int, operation_desc: int, adesc: int, bdesc: int, cdesc: int, ddesc: int,
        preference: int, requested_algo_count: int, heuristic_results_array: int, return_algo_count: int,
    ) -> None:  # fmt: skip
        assert cdesc == ddesc
        if not self.num_proposals or (7 in self.objects[operation_desc] and self.has_no_extras):
            raise self.cuBLASLtError(15)
        results = memory(heuristic_results_array, cublaslt._RESULT, requested_algo_count)
        assert results.itemsize == 96
        for number in range(self.num_proposals):
            results[number]["algorithm"][:] = number + 1
        memory(return_algo_count, np.int32, 1)[0] = self.num_proposals

    def matmul_algo_check(
        self, light_handle: int, operation_desc: int, adesc: int, bdesc: int, cdesc: int, ddesc: int, algo: int,
        result: int,
    ) -> None:  # fmt: skip
        if memory(algo, np.uint8, 64)[0] in self.unusable:
            raise self.cuBLASLtError(15)

    def matmul(
        self, light_handle: int, compute_desc: int, alpha: int, a: int, adesc: int, b: int, bdesc: int, beta: int,
        c: int, cdesc: int, d: int, ddesc: int, algo: int, workspace: int, workspace_size_in_bytes: int, stream: int,
    ) -> None:  # fmt: skip
        assert (c, cdesc) == (d, ddesc)
        assert (workspace, workspace_size_in_bytes, stream) == (4096, 32 << 20, 77)
        self.algorithms.append(memory(algo, np.uint8, 64)[63])
        if self.algorithms[-1] in self.refused:
            raise self.cuBLASLtError(15)
        description = self.objects[compute_desc]
        scale = FLOATS[description["scale"]]
        assert memory(alpha, scale, 1)[0] == 1
        layouts = [self.objects[number] for number in (adesc, bdesc, ddesc)]
        for index in range(layouts[2].get(5, 1)):
            left, right, into = (
                self._matrix(address, layout, index) for address, layout in zip((a, b, d), layouts, strict=True)
            )
            left, right = (z.T if description[key] else z for z, key in ((left, 3), (right, 4)))
            # With a factor of 0 the output is not read.
            total = left.astype(scale) @ right.astype(scale) + (into if memory(beta, scale, 1)[0] else 0)
            epilogue = description.get(7, 0)
            if epilogue in (self.Epilogue.BIAS, self.Epilogue.GELU_BIAS, self.Epilogue.GELU_AUX_BIAS):
                total += memory(description[8], FLOATS[description[26]], into.shape[0])[:, None]
            if description.get(7) == self.Epilogue.BGRADB:
                memory(description[8], FLOATS[description[26]], into.shape[1])[:] = right.sum(axis=0)
            if epilogue in (self.Epilogue.GELU_AUX, self.Epilogue.GELU_AUX_BIAS, self.Epilogue.DGELU):
                assert description[12] % 8 == 0
                rows, columns = into.shape
                layout = {"type": layouts[2]["type"], "rows": rows, "cols": columns, "ld": description[12]}
                aux = self._matrix(description[11], layout, 0)
            if epilogue == self.Epilogue.DGELU:
                total = reference.gelu_gradient(total, aux.astype(scale), "tanh")
            elif epilogue & self.Epilogue.GELU:
                if epilogue & 128:
                    aux[...] = total
                total = reference.gelu(total, "tanh")
            into[...] = total

    def _matrix(self, address: int, layout: dict[Any, Any], index: int) -> np.ndarray:
        dtype, rows, columns = FLOATS[layout["type"]], layout["rows"], layout["cols"]
        start = address + index * layout.get(6, 0) * np.dtype(dtype).itemsize
        flat = memory(start, dtype, (columns - 1) * layout["ld"] + rows)
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, layout["ld"] * flat.itemsize))


class Clock:
    """CuPy as far as the provider uses it; algorithm 2 is the fastest."""

    times: Iterator[float]

    def __init__(self) -> None:
        stream = types.SimpleNamespace(ptr=77, is_capturing=lambda: False)
        event = types.SimpleNamespace(record=lambda: None, synchronize=lambda: None)
        self.cuda = types.SimpleNamespace(
            alloc=lambda size: types.SimpleNamespace(ptr=4096),
            get_current_stream=lambda: stream,
            Event=lambda: event,
            get_elapsed_time=lambda start, end: next(self.times),
            Device=lambda: types.SimpleNamespace(id=0),
            runtime=types.SimpleNamespace(getDeviceProperties=lambda number: {"name": b"a device"}),
        )
        self.empty = lambda size, dtype: on_device(np.empty(size, dtype))


@pytest.fixture
def binding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Binding]:
    found = Binding()
    package = types.ModuleType("nvmath.bindings")
    package.cublasLt = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvmath", types.ModuleType("nvmath"))
    monkeypatch.setitem(sys.modules, "nvmath.bindings", package)
    clock = Clock()
    clock.times = iter([3.0, 3.0, 3.0, 1.0, 9.0, 1.0, 2.0, 2.0, 2.0] * 100)
    monkeypatch.setattr(cublaslt, "cuda_module", lambda: clock)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with choosing_anew():
        yield found


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


def test_a_gelu_that_is_no_part_of_a_product(binding: Binding) -> None:
    """None where the library has no algorithm, and said; where it is not asked, for its precision or its sizes."""
    x, w, bias = (on_device(np.ones(shape, np.float16)) for shape in ((6, 5), (16, 5), (16,)))
    h = on_device(np.ones((6, 16), np.float16))
    with cuda.running_with(cublaslt.CublasLt()):
        for a, b in ((x.astype(np.float32), w.astype(np.float32)), (x, w[:12]), (x[:0], w)):
            assert cuda.matmul_gelu(a, b.T, None, keeps_input=True) is None
            assert cuda.matmul_gelu_gradient(a, b.T, h) is None
        assert not providers.fallbacks()
        binding.has_no_extras = True
        assert cuda.matmul_gelu(x, w.T, bias, keeps_input=True) is None
        assert cuda.matmul_gelu_gradient(x, w.T, h) is None
        reasons = [f"it has no algorithm with {what} in float16" for what in ("GELU", "GELU's gradient")]
        assert [fallback.reason for fallback in providers.fallbacks()] == reasons
        with providers.requiring_fast(), pytest.raises(DeviceError, match="no algorithm with GELU in float16"):
            cuda.matmul_gelu(x, w.T, bias, keeps_input=True)


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


def test_what_the_library_has_no_algorithm_for_takes_a_pass_of_its_own(binding: Binding) -> None:
    binding.has_no_extras = True
    x, w, bias, sums = np.ones((6, 4), np.float32), np.ones((8, 4), np.float32), np.arange(8.0), np.zeros(6, np.float32)
    bias = bias.astype(np.float32)
    np.testing.assert_array_equal(product(x, w.T, np.zeros((6, 8), np.float32), bias=bias), x @ w.T + bias)
    np.testing.assert_array_equal(product(x, w.T, np.zeros((6, 8), np.float32), row_sums=sums), x @ w.T)
    np.testing.assert_array_equal(sums, 4)
    reasons = ["it has no algorithm with a bias in float32", "it has no algorithm with sums of rows in float32"]
    assert [fallback.reason for fallback in providers.fallbacks()] == reasons
    with providers.requiring_fast():
        product(x, w.T, np.zeros((6, 8), np.float32))
        for extras in ({"bias": bias}, {"row_sums": sums}):
            with pytest.raises(DeviceError, match=r"gemm: expected .*, got cublasLt and another pass, as it has no"):
                product(x, w.T, np.zeros((6, 8), np.float32), **extras)


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
    with pytest.raises(RuntimeError, match=r"no algorithm for Plan\(m=4"):
        product(np.ones((4, 4)), np.ones((4, 4)), np.zeros((4, 4)))


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
        if name.startswith("_"):
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
