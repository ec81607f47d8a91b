"""A stand-in for cuDNN's frontend that computes what a graph says with NumPy, from addresses and strides alone.

It knows the calls that `attention/cudnn.py` makes and refuses others: an argument of another name, a tensor that is
not given at execution, a call out of order.
"""

from __future__ import annotations

import ctypes
import os
import types
from typing import Any

import numpy as np

from tensorgrad.kernels import reference
from tensorgrad.kernels.attending import Attending

__version__ = "1.27.3"
data_type = types.SimpleNamespace(BFLOAT16="bfloat16", HALF="float16", FLOAT="float32")
heur_mode = types.SimpleNamespace(A="A")
diagonal_alignment = types.SimpleNamespace(TOP_LEFT="top left")
WORKSPACE_BYTES = 640

plans: list[Any] = []  # every planned graph, with its options
executions: list[dict[str, Any]] = []
streams: dict[int, int] = {}
refused: list[float] = []
limits: list[str | None] = []  # on a backward's workspace, at the time of planning
has_no_linear_backward: list[bool] = []  # any length: no backward works within a limit
declined_kinds: set[str] = set()  # of shapes: "odd", "grouped", "all"
failed: list[str] = []  # the error that planning ends in, if any
UNLUCKY_SCALE = 13  # for which there is no plan


class cudnnGraphNotSupportedError(Exception): ...


def forget() -> None:
    for record in (plans, executions, refused, limits, has_no_linear_backward, declined_kinds, failed):
        record.clear()


def create_handle() -> int:
    streams[len(streams) + 1] = 0
    return len(streams)


def set_stream(handle: int, stream: int) -> None:
    streams[handle] = stream


class FakeTensor:
    def __init__(self, dtype: str, uid: int | None = None, dim: Any = None, stride: Any = None) -> None:
        self.dtype, self.uid, self.dim, self.stride, self.is_output = dtype, uid, dim, stride, False

    def set_output(self, is_output: bool) -> FakeTensor:
        self.is_output = is_output
        return self

    def set_uid(self, uid: int) -> FakeTensor:
        self.uid = uid
        return self

    def set_dim(self, dim: list[int]) -> FakeTensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> FakeTensor:
        self.stride = stride
        return self

    def set_data_type(self, dtype: str) -> FakeTensor:
        self.dtype = dtype
        return self

    def at(self, address: int) -> np.ndarray:
        dtype = np.dtype(self.dtype)
        reach = 1 + sum((n - 1) * stride for n, stride in zip(self.dim, self.stride, strict=True))
        memory = (ctypes.c_char * (reach * dtype.itemsize)).from_address(address)
        strides = [stride * dtype.itemsize for stride in self.stride]
        return np.lib.stride_tricks.as_strided(np.frombuffer(memory, dtype), self.dim, strides)


class pygraph:
    STEPS = ("validate", "build_operation_graph", "create_execution_plans", "check_support", "build_plans")

    def __init__(self, *, io_data_type: str, intermediate_data_type: str, compute_data_type: str, handle: int) -> None:
        assert intermediate_data_type == compute_data_type == data_type.FLOAT
        assert handle in streams
        self.dtype = io_data_type
        self.done: list[str] = []
        self.inputs: dict[str, FakeTensor] = {}
        self.outputs: list[FakeTensor] = []
        self.options: dict[str, Any] = {}

    def tensor(self, *, name: str, uid: int, dim: list[int], stride: list[int]) -> FakeTensor:
        return FakeTensor(self.dtype, uid, dim, stride)

    def sdpa(self, *, q: Any, k: Any, v: Any, generate_stats: bool, name: str, **options: Any) -> list[FakeTensor]:
        assert generate_stats
        return self._op({"q": q, "k": k, "v": v}, 2, options)

    def sdpa_backward(
        self,
        *,
        q: Any,
        k: Any,
        v: Any,
        o: Any,
        dO: Any,
        stats: Any,
        use_deterministic_algorithm: bool,
        name: str,
        **options: Any,
    ) -> list[FakeTensor]:
        self.is_deterministic = use_deterministic_algorithm
        return self._op({"g": dO, "q": q, "k": k, "v": v, "out": o, "stats": stats}, 3, options)

    def _op(self, inputs: dict[str, FakeTensor], outputs: int, options: dict[str, Any]) -> list[FakeTensor]:
        assert options.keys() <= {"attn_scale", "diagonal_alignment", "diagonal_band_right_bound"}
        if "diagonal_alignment" in options:
            assert (options["diagonal_alignment"], options["diagonal_band_right_bound"]) == ("top left", 0)
        self.inputs, self.options = inputs, options
        self.outputs = [FakeTensor(self.dtype) for _ in range(outputs)]
        return self.outputs

    def _step(self, name: str) -> None:
        assert name == self.STEPS[len(self.done)], f"{name} after {self.done}"
        self.done.append(name)

    def validate(self) -> None:
        self._step("validate")
        tensors = [*self.inputs.values(), *self.outputs]
        assert len({tensor.uid for tensor in tensors}) == len(tensors)
        assert all(tensor.is_output for tensor in self.outputs)
        assert all(tensor.stride[-1] == 1 for tensor in tensors)

    def build_operation_graph(self) -> None:
        self._step("build_operation_graph")

    def create_execution_plans(self, modes: list[str]) -> None:
        assert modes == ["A"]
        self._step("create_execution_plans")

    def check_support(self) -> None:
        self._step("check_support")
        if "g" in self.inputs:
            limits.append(os.environ.get("CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT"))
            if has_no_linear_backward and limits[-1] not in (None, "-1"):
                raise cudnnGraphNotSupportedError("no engine with so little memory")
        if failed:
            raise RuntimeError(failed[0])
        if kind := self._declined_kind():
            raise cudnnGraphNotSupportedError(f"no engine for {kind}")
        if self.options["attn_scale"] == UNLUCKY_SCALE:
            refused.append(UNLUCKY_SCALE)
            raise cudnnGraphNotSupportedError(f"no engine for scale {UNLUCKY_SCALE}")

    def _declined_kind(self) -> str | None:
        (_, heads, queries, _), (_, kv_heads, keys, _) = (self.inputs[name].dim for name in "qk")
        kinds = {"odd": queries % 2 or keys % 2, "grouped": heads != kv_heads, "all": True}
        return next((kind for kind, holds in kinds.items() if holds and kind in declined_kinds), None)

    def build_plans(self) -> None:
        self._step("build_plans")
        plans.append(self)

    def get_workspace_size(self) -> int:
        assert self.done[-1] == "build_plans"
        return WORKSPACE_BYTES

    def execute(self, addresses: dict[int, int], workspace: int, *, handle: int) -> None:
        assert all(type(address) is int and address for address in addresses.values())
        (ctypes.c_char * WORKSPACE_BYTES).from_address(workspace)[:] = b"\xff" * WORKSPACE_BYTES  # may be written
        inputs = {name: tensor.at(addresses.pop(tensor.uid)) for name, tensor in self.inputs.items()}
        outputs = [tensor.at(addresses.pop(tensor.uid)) for tensor in self.outputs]
        assert not addresses, "an address of no tensor"
        wide = {name: value.astype(np.float64) for name, value in inputs.items()}
        attending = Attending(is_causal="diagonal_alignment" in self.options, scale=self.options["attn_scale"])
        if "g" in wide:
            stats = wide.pop("stats")[..., 0]
            results = reference.attention_gradient(*wide.values(), stats, attending)
        else:
            out, stats = reference.attention(*wide.values(), attending)
            results = (out, stats[..., None])
        for output, result in zip(outputs, results, strict=True):
            output[...] = result
        executions.append({"stream": streams[handle], "graph": self})
