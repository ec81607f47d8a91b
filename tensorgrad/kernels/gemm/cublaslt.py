"""Products by cublasLt, as nvmath-python binds it: descriptors are kept, algorithms timed once.

For each plan the library proposes algorithms. The first call times them on its own arrays, and the fastest is
remembered on disk for the device and the library's version. Only algorithms that add in a fixed order, in float32 or
better, are requested. Everything runs on the current stream, in a workspace for each stream, so a product that has run
once can be captured in a CUDA graph. Where the library has no algorithm with an epilogue (at some sizes, dtypes or
alignments), our own kernels do its work in a pass over memory; each plan finds that out once, and it is no fallback.

Source: cublasLt documentation; `nvmath.bindings.cublasLt`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad.array import Array, address_of, cuda_module
from tensorgrad.kernels.cuda.compile import cache_folder, write_whole
from tensorgrad.kernels.gemm.extras import apart
from tensorgrad.kernels.gemm.plan import Matrix, NotInProduct, Plan, Product
from tensorgrad.kernels.gemm.tf32 import is_tf32_allowed

__all__ = ["CublasLt"]

_log = logging.getLogger("tensorgrad")

WORKSPACE_BYTES = 32 << 20  # what cublasLt asks for on Hopper
CANDIDATES = 32  # proposals to time
RUNS = 3  # of each; the median counts

# Numbers of the C interface: cudaDataType_t, cublasComputeType_t, cublasStatus_t, and the layout of
# cublasLtMatmulHeuristicResult_t.
_DATA_TYPES = {"float64": 1, "float32": 0, "float16": 2, "bfloat16": 14}
_COMPUTE_64F, _COMPUTE_32F, _COMPUTE_32F_TF32 = 70, 68, 77
_INVALID_VALUE, _NOT_SUPPORTED = 7, 15
_ALGORITHM_BYTES = 64
_RESULT_FIELDS = {
    "algorithm": (np.uint8, _ALGORITHM_BYTES),
    "workspace": np.uint64,
    "state": np.int32,
    "waves": np.float32,
    "reserved": (np.int32, 4),
}
_RESULT = np.dtype([(name, *(kind if isinstance(kind, tuple) else (kind,))) for name, kind in _RESULT_FIELDS.items()])


class CublasLt:
    """Runs products on the current device. Raises ImportError without nvmath-python, and that package's errors."""

    def __init__(self) -> None:
        from nvmath.bindings import cublasLt

        self._lt = cublasLt
        self._cupy = cuda_module()
        self._by_device: dict[int, _OnDevice] = {}
        self._current()

    def __call__(self, product: Product) -> None:
        self._current().compute(product)

    def _current(self) -> _OnDevice:
        number = self._cupy.cuda.runtime.getDevice()
        if number not in self._by_device:
            self._by_device[number] = _OnDevice(self._lt, self._cupy, number)
        return self._by_device[number]


class _OnDevice:
    """One device's handle, workspaces, prepared plans and their algorithms."""

    def __init__(self, lt: Any, cupy: Any, number: int) -> None:
        self._lt, self._cupy = lt, cupy
        self._handle = lt.create()
        self._workspaces: dict[int, Any] = {}  # by stream: two streams at work must not share one
        self._prepared: dict[tuple[Plan, bool], _Prepared] = {}
        name = cupy.cuda.runtime.getDeviceProperties(number)["name"]
        self._tuned = TunedAlgorithms(f"{name!r} cublasLt {lt.get_version()}")

    def compute(self, product: Product) -> None:
        key = (product.plan, is_tf32_allowed())
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = _Prepared(self._lt, *key)
            prepared.point_to(product)
            prepared.algorithm = self._algorithm(prepared, product, key)
            if prepared.algorithm is None:
                _log.info("gemm: cublasLt has no algorithm with %s: a kernel of ours does that", _extra(product.plan))
            self._prepared[key] = prepared
        else:
            prepared.point_to(product)
        if prepared.algorithm is not None:
            self._run(prepared, product, prepared.algorithm)
        elif product.plan.gelu:
            raise NotInProduct
        else:
            apart(self.compute, product)

    def _run(self, prepared: _Prepared, product: Product, algorithm: np.ndarray[Any, Any], out: Any = None) -> None:
        a, b, d = map(address_of, (product.a, product.b, product.out if out is None else out))
        stream = self._cupy.cuda.get_current_stream().ptr
        if stream not in self._workspaces:
            self._workspaces[stream] = self._cupy.cuda.alloc(WORKSPACE_BYTES)
        self._lt.matmul(
            self._handle,
            *(prepared.description, prepared.one_address),
            *(a, prepared.a, b, prepared.b),
            prepared.beta_address,
            *(d, prepared.d, d, prepared.d),
            algorithm.ctypes.data,
            self._workspaces[stream].ptr,
            WORKSPACE_BYTES,
            stream,
        )

    def _algorithm(self, prepared: _Prepared, product: Product, key: tuple[Plan, bool]) -> np.ndarray[Any, Any] | None:
        """The fastest algorithm; None if the library has none with the plan's epilogue.

        Raises RuntimeError if it has none for a plan without an epilogue.
        """
        plan, is_plain = product.plan, _epilogue(product.plan) is None
        if not is_plain and not _may_have_epilogue(plan):
            return None
        known = self._tuned.get(*key)
        if known is not None and self._is_usable(prepared, known):
            return known
        proposals = self._proposals(prepared, plan)
        if not proposals:
            if is_plain:
                raise RuntimeError(f"cublasLt has no algorithm for {plan}")
            return None
        if (is_plain and len(proposals) == 1) or self._is_capturing():
            return proposals[0]
        # Timing may overwrite the output many times, but must not add to it.
        scratch = self._cupy.empty(plan.d.extent(plan.batch), product.out.dtype) if plan.accumulate else product.out
        times = [self._time(prepared, product, algorithm, scratch) for algorithm in proposals]
        best = proposals[int(np.argmin(times))]
        if min(times) == math.inf:
            if is_plain:
                raise RuntimeError(f"cublasLt proposes algorithms for {plan}, and runs none of them")
            return None
        self._tuned.put(*key, best)
        return best

    def _proposals(self, prepared: _Prepared, plan: Plan) -> list[np.ndarray[Any, Any]]:
        lt = self._lt
        wish = lt.MatmulPreferenceAttribute
        preference = lt.matmul_preference_create()
        try:
            a, b, d, _ = plan.alignments
            values = {
                wish.MAX_WORKSPACE_BYTES: np.uint64(WORKSPACE_BYTES),
                # Partial sums must not be added in the output itself, in any order, and not be rounded to its dtype.
                wish.REDUCTION_SCHEME_MASK: np.uint32(lt.ReductionScheme.COMPUTE_TYPE),
                wish.MIN_ALIGNMENT_A_BYTES: np.uint32(a),
                wish.MIN_ALIGNMENT_B_BYTES: np.uint32(b),
                wish.MIN_ALIGNMENT_C_BYTES: np.uint32(d),
                wish.MIN_ALIGNMENT_D_BYTES: np.uint32(d),
            }
            for attribute, value in values.items():
                held = np.asarray(value)
                lt.matmul_preference_set_attribute(preference, attribute, held.ctypes.data, held.nbytes)
            results, count = np.zeros(CANDIDATES, _RESULT), np.zeros(1, np.int32)
            lt.matmul_algo_get_heuristic(
                *(self._handle, *prepared.all, preference, CANDIDATES),
                results.ctypes.data,
                count.ctypes.data,
            )
        except lt.cuBLASLtError as problem:
            # The library may call an epilogue that it lacks an invalid value.
            has_extra = _epilogue(plan) is not None
            if problem.status != _NOT_SUPPORTED and not (has_extra and problem.status == _INVALID_VALUE):
                raise
            count[0] = 0
        finally:
            lt.matmul_preference_destroy(preference)
        return [r["algorithm"].copy() for r in results[: int(count[0])] if r["state"] == 0]

    def _is_usable(self, prepared: _Prepared, algorithm: np.ndarray[Any, Any]) -> bool:
        """Whether the library accepts an algorithm from disk, and our workspace is large enough for it."""
        result = np.zeros(1, _RESULT)
        try:
            self._lt.matmul_algo_check(self._handle, *prepared.all, algorithm.ctypes.data, result.ctypes.data)
        except self._lt.cuBLASLtError:
            return False
        return bool(result["state"][0] == 0 and result["workspace"][0] <= WORKSPACE_BYTES)

    def _time(self, prepared: _Prepared, product: Product, algorithm: np.ndarray[Any, Any], scratch: Array) -> float:
        cuda = self._cupy.cuda
        times = []
        for _ in range(RUNS):
            start, end = cuda.Event(), cuda.Event()
            start.record()
            try:
                self._run(prepared, product, algorithm, scratch)
            except self._lt.cuBLASLtError:  # some algorithms are refused only at their launch
                return math.inf
            end.record()
            end.synchronize()
            times.append(cuda.get_elapsed_time(start, end))
        return float(np.median(times))

    def _is_capturing(self) -> bool:
        return bool(self._cupy.cuda.get_current_stream().is_capturing())


class _Prepared:
    """The library's descriptions of one plan."""

    algorithm: np.ndarray[Any, Any] | None

    def __init__(self, lt: Any, plan: Plan, is_tf32_allowed: bool) -> None:
        self._lt, self._plan = lt, plan
        is_double = plan.dtype == "float64"
        if is_double:
            compute = _COMPUTE_64F
        else:
            compute = _COMPUTE_32F_TF32 if is_tf32_allowed and plan.dtype == "float32" else _COMPUTE_32F
        self.one, self.beta = (
            np.asarray(value, np.float64 if is_double else np.float32) for value in (1.0, float(plan.accumulate))
        )
        self.one_address, self.beta_address = self.one.ctypes.data, self.beta.ctypes.data
        self.description = lt.matmul_desc_create(compute, _DATA_TYPES["float64" if is_double else "float32"])
        is_attribute = lt.MatmulDescAttribute
        self._set(is_attribute.TRANSA, np.int32(plan.a.is_transposed))
        self._set(is_attribute.TRANSB, np.int32(plan.b.is_transposed))
        if (epilogue := _epilogue(plan)) is not None:
            self._set(is_attribute.EPILOGUE, np.int32(getattr(lt.Epilogue, epilogue)))
        if plan.aux is not None:
            self._set(is_attribute.EPILOGUE_AUX_LD, np.int64(plan.aux.leading))
        self.a, self.b = (self._layout(z, plan.dtype) for z in (plan.a, plan.b))
        self.d = self._layout(plan.d, plan.out_dtype)
        self.all = (self.description, self.a, self.b, self.d, self.d)

    def point_to(self, product: Product) -> None:
        """Put the product's addresses into the description, which holds those of the epilogue."""
        attribute = self._lt.MatmulDescAttribute
        vector = product.bias if product.bias is not None else product.row_sums
        if product.aux is not None:
            self._set(attribute.EPILOGUE_AUX_POINTER, np.uint64(address_of(product.aux)))
        if vector is not None:
            self._set(attribute.BIAS_POINTER, np.uint64(address_of(vector)))
            self._set(attribute.BIAS_DATA_TYPE, np.int32(_DATA_TYPES[vector.dtype.name]))

    def _set(self, attribute: int, value: Any) -> None:
        held = np.asarray(value)
        self._lt.matmul_desc_set_attribute(self.description, attribute, held.ctypes.data, held.nbytes)

    def _layout(self, matrix: Matrix, dtype: str) -> int:
        lt, attribute = self._lt, self._lt.MatrixLayoutAttribute
        layout: int = lt.matrix_layout_create(_DATA_TYPES[dtype], matrix.rows, matrix.columns, matrix.leading)
        if self._plan.batch > 1:
            for name, value in (
                (attribute.BATCH_COUNT, np.int32(self._plan.batch)),
                (attribute.STRIDED_BATCH_OFFSET, np.int64(matrix.batch_stride)),
            ):
                held = np.asarray(value)
                lt.matrix_layout_set_attribute(layout, name, held.ctypes.data, held.nbytes)
        return layout


def _epilogue(plan: Plan) -> str | None:
    """The library's name of the plan's epilogue; None if the product stands alone."""
    if plan.gelu == "gradient":
        return "DGELU"
    if plan.gelu:
        return f"GELU{'_AUX' if plan.aux is not None else ''}{'_BIAS' if plan.has_bias else ''}"
    if plan.has_bias:
        return "BIAS"
    return "BGRADB" if plan.has_row_sums else None


def _may_have_epilogue(plan: Plan) -> bool:
    """Whether to ask the library for the plan's epilogue.

    It has a bias or sums, not both; sums only of an operand that it reads transposed; and for k = 1 neither sums nor
    GELU's gradient. Source: `nvmath.linalg.advanced`, which asks for no others.
    """
    if plan.has_row_sums and (plan.has_bias or not plan.b.is_transposed):
        return False
    return plan.k > 1 or not (plan.has_row_sums or plan.gelu == "gradient")


def _extra(plan: Plan) -> str:
    """The plan's epilogue in words."""
    names = {"value": "GELU", "gradient": "GELU's gradient"}
    return f"{names.get(plan.gelu, 'a bias' if plan.has_bias else 'sums of rows')} in {plan.dtype}"


class TunedAlgorithms:
    """The fastest algorithm of each plan: a file for each device and library, in the user's cache folder."""

    def __init__(self, signature: str) -> None:
        name = hashlib.sha256(signature.encode()).hexdigest()[:16]
        self.path: Path = cache_folder() / f"gemm-{name}.json"
        self._found = self._stored()

    def _stored(self) -> dict[str, str]:
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet, or a spoilt file, which `put` replaces
            return {}
        return stored if isinstance(stored, dict) else {}

    def get(self, plan: Plan, is_tf32_allowed: bool) -> np.ndarray[Any, Any] | None:
        code = self._found.get(self._key(plan, is_tf32_allowed))
        try:
            algorithm = None if code is None else np.frombuffer(bytes.fromhex(code), np.uint8).copy()
        except (TypeError, ValueError):
            return None
        return algorithm if algorithm is not None and algorithm.size == _ALGORITHM_BYTES else None

    def put(self, plan: Plan, is_tf32_allowed: bool, algorithm: np.ndarray[Any, Any]) -> None:
        # Read again, for what other processes have found meanwhile.
        self._found = {**self._stored(), **self._found, self._key(plan, is_tf32_allowed): algorithm.tobytes().hex()}
        write_whole(self.path, json.dumps(self._found).encode())

    def _key(self, plan: Plan, is_tf32_allowed: bool) -> str:
        return json.dumps([*dataclasses.astuple(plan), is_tf32_allowed])
