"""`nvmath.bindings.cublasLt` of the stand-in: descriptors, heuristics, and products made from addresses alone."""

from __future__ import annotations

import ctypes
import sys
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tensorgrad.kernels import reference
from tensorgrad.kernels.gemm import cublaslt, plan

__all__ = ["EPILOGUES", "FLOATS", "Binding", "memory", "standing_in"]

FLOATS = {0: np.float32, 1: np.float64, 2: np.float16}


def memory(address: int, dtype: type, count: int) -> np.ndarray:
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)


class Binding(types.ModuleType):
    """The part of `nvmath.bindings.cublasLt` that the library uses, computed with NumPy."""

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

    LACKING_STATUS = 15  # "not supported"

    class cuBLASLtError(Exception):
        def __init__(self, status: int) -> None:
            self.status = status

    def __init__(self) -> None:
        super().__init__("nvmath.bindings.cublasLt")
        self.objects: dict[int, dict[Any, Any]] = {}
        self.algorithms: list[int] = []  # the first byte of each algorithm that was run
        self.launches: set[tuple[int, int, int]] = set()  # workspace, its size, stream
        self.epilogues: Counter[int] = Counter()  # how often each was run
        self.num_proposals = 3
        self.handles: set[int] = set()  # the handles that products were run with
        self.lacking: set[int] = set()  # epilogues without an algorithm
        self.failing: set[int] = set()  # epilogues whose algorithms are proposed, and do not run
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
        self._check(self.objects[operation_desc], self.objects[ddesc])
        if not self.num_proposals or self.objects[operation_desc].get(7) in self.lacking:
            raise self.cuBLASLtError(self.LACKING_STATUS if self.num_proposals else 15)
        results = memory(heuristic_results_array, cublaslt._RESULT, requested_algo_count)
        assert results.itemsize == 96
        for number in range(self.num_proposals):
            results[number]["algorithm"][:] = number + 1
        memory(return_algo_count, np.int32, 1)[0] = self.num_proposals

    def _check(self, description: dict[Any, Any], output: dict[Any, Any]) -> None:
        """Check the conditions that cublasLt.h sets for an epilogue, and nvmath-python for BGRADB."""
        epilogue = description.get(7, 1)
        if epilogue & (self.Epilogue.BIAS | self.Epilogue.BGRADB):
            assert description[8], "the pointer tells the heuristic its alignment"
            assert description[26] == output["type"]
        if epilogue == self.Epilogue.BGRADB:
            assert description[4], "B is to be transposed"
        if epilogue & 128:
            assert description[11] % 16 == 0
            assert description[12] % 8 == 0
            assert description[12] >= output["rows"]

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
        self.launches.add((workspace, workspace_size_in_bytes, stream))
        self.algorithms.append(memory(algo, np.uint8, 64)[63])
        self.handles.add(light_handle)
        if self.algorithms[-1] in self.refused or self.objects[compute_desc].get(7) in self.failing:
            raise self.cuBLASLtError(15)
        description = self.objects[compute_desc]
        self.epilogues[description.get(7, 1)] += 1
        scale = FLOATS[description["scale"]]
        assert memory(alpha, scale, 1)[0] == 1
        layouts = [self.objects[number] for number in (adesc, bdesc, ddesc)]
        for index in range(layouts[2].get(5, 1)):
            left, right, into = (
                self._matrix(address, layout, index) for address, layout in zip((a, b, d), layouts, strict=True)
            )
            left, right = (z.T if description[key] else z for z, key in ((left, 3), (right, 4)))
            total = left.astype(scale) @ right.astype(scale)
            if memory(beta, scale, 1)[0]:  # with a factor of 0 the output is not read
                with np.errstate(invalid="ignore", over="ignore"):  # of memory that was not written to yet
                    total += into
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
            with np.errstate(over="ignore"):
                into[...] = total

    def _matrix(self, address: int, layout: dict[Any, Any], index: int) -> np.ndarray:
        dtype, rows, columns = FLOATS[layout["type"]], layout["rows"], layout["cols"]
        start = address + index * layout.get(6, 0) * np.dtype(dtype).itemsize
        flat = memory(start, dtype, (columns - 1) * layout["ld"] + rows)
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (flat.itemsize, layout["ld"] * flat.itemsize))


EPILOGUES = {name: value for name, value in vars(Binding.Epilogue).items() if not name.startswith("_")}


@contextmanager
def standing_in() -> Iterator[Binding]:
    """A context in which nvmath-python's binding is this one."""
    found = Binding()
    package = types.ModuleType("nvmath.bindings")
    package.cublasLt = found  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:  # it keeps other modules that are imported meanwhile
        patch.setitem(sys.modules, "nvmath", types.ModuleType("nvmath"))
        patch.setitem(sys.modules, "nvmath.bindings", package)
        # CuPy aligns memory to 512 bytes, so that a step's plans are the same each time; NumPy only to 16.
        patch.setattr(plan, "_MAX_ALIGNMENT", 16)
        yield found
