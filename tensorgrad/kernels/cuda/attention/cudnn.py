"""Attention by cuDNN's fused graphs, through nvidia-cudnn-frontend: no framework, only addresses.

A graph describes a computation on tensors of given shapes and strides; cuDNN turns it into a plan, which is kept. A
call gives the plan one address per tensor. Its statistics are the log-sum-exps of the scaled scores, like ours.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.allocator import available_bytes, shown_bytes
from tensorgrad.array import Array, address_of
from tensorgrad.errors import DeviceError
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention.heads import Unsupported, aligned, check_widths, gradients_like, heads_last
from tensorgrad.kernels.packing import element_strides
from tensorgrad.kernels.unordered import is_unordered_allowed

__all__ = ["CuDNN", "Problem", "backward_graph", "forward_graph", "load"]

VERSIONS = ((1, 26), (1, 29))  # the frontend's: from the first, up to but not including the second
MAX_HEAD_DIM = 128  # in the backward, on every architecture since sm_80
# The share of the available memory that the scores kept by a backward may take. The first backward is planned while the
# activations of the whole forward are held, so little more is needed later: the other half is for gradients, and for
# free blocks too small to be of use.
SCORES_SHARE = 0.5
_LIMIT = "CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT"  # the frontend's name for it; "-1": no limit

# Which tensor an address belongs to, within a graph.
Q, K, V, OUT, STATS, G, DQ, DK, DV = range(1, 10)

View = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides, in elements


@dataclass(frozen=True)
class Problem:
    """Everything that a plan depends on. `tensors`: q, k, v, out; for a backward also g, dq, dk, dv.

    `is_deterministic`: sums in a fixed order. A forward always is.
    """

    tensors: tuple[View, ...]
    dtype: str
    is_causal: bool
    scale: float
    is_deterministic: bool


def load() -> Any:
    """The frontend's module. Raises ImportError, DeviceError (a version outside VERSIONS)."""
    import cudnn

    version = tuple(int(part) for part in cudnn.__version__.split(".")[:2])
    if not VERSIONS[0] <= version < VERSIONS[1]:
        raise DeviceError(
            f"cudnn: expected nvidia-cudnn-frontend >= {_dotted(VERSIONS[0])}, < {_dotted(VERSIONS[1])}, "
            f"got {cudnn.__version__}: install one of those"
        )
    return cudnn


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def forward_graph(cudnn: Any, problem: Problem, **target: Any) -> Any:
    """q, k, v -> out, stats. `target`: handle, or sm_count and sm_version without a device."""
    graph = _graph(cudnn, problem, target)
    q, k, v, out = problem.tensors
    result, stats = graph.sdpa(
        q=_tensor(graph, "q", Q, q),
        k=_tensor(graph, "k", K, k),
        v=_tensor(graph, "v", V, v),
        generate_stats=True,
        name="attention",
        **_options(cudnn, problem),
    )
    _output(result, OUT, out)
    _output(stats, STATS, _stats_view(q)).set_data_type(cudnn.data_type.FLOAT)
    return graph


def backward_graph(cudnn: Any, problem: Problem, **target: Any) -> Any:
    """g, q, k, v, out, stats -> dq, dk, dv."""
    graph = _graph(cudnn, problem, target)
    q, k, v, out, g, *gradients = problem.tensors
    results = graph.sdpa_backward(
        q=_tensor(graph, "q", Q, q),
        k=_tensor(graph, "k", K, k),
        v=_tensor(graph, "v", V, v),
        o=_tensor(graph, "out", OUT, out),
        dO=_tensor(graph, "g", G, g),
        stats=_tensor(graph, "stats", STATS, _stats_view(q)).set_data_type(cudnn.data_type.FLOAT),
        use_deterministic_algorithm=problem.is_deterministic,
        name="attention_gradient",
        **_options(cudnn, problem),
    )
    for result, uid, view in zip(results, (DQ, DK, DV), gradients, strict=True):
        _output(result, uid, view)
    return graph


def _graph(cudnn: Any, problem: Problem, target: dict[str, Any]) -> Any:
    types = cudnn.data_type
    return cudnn.pygraph(
        io_data_type={"bfloat16": types.BFLOAT16, "float16": types.HALF}[problem.dtype],
        intermediate_data_type=types.FLOAT,
        compute_data_type=types.FLOAT,
        **target,
    )


def _tensor(graph: Any, name: str, uid: int, view: View) -> Any:
    return graph.tensor(name=name, uid=uid, dim=list(view[0]), stride=list(view[1]))


def _output(tensor: Any, uid: int, view: View) -> Any:
    return tensor.set_output(True).set_uid(uid).set_dim(list(view[0])).set_stride(list(view[1]))


def _stats_view(q: View) -> View:
    batch, heads, queries, _ = q[0]
    return (batch, heads, queries, 1), (heads * queries, queries, 1, 1)


def _options(cudnn: Any, problem: Problem) -> dict[str, Any]:
    options = {"attn_scale": problem.scale}
    if problem.is_causal:  # query t sees keys 0 .. t, whichever is longer
        options |= {"diagonal_alignment": cudnn.diagonal_alignment.TOP_LEFT, "diagonal_band_right_bound": 0}
    return options


def _check_extras(attending: Attending) -> None:
    """cuDNN's dropout draws other numbers than ours, and its masks are not tried: our own kernels compute both."""
    if attending.mask is not None or attending.dropout is not None:
        raise Unsupported("a mask" if attending.mask is not None else "dropout")


class CuDNN:
    """A provider of attention that keeps a plan for each problem, on the current device of `xp` (CuPy).

    Both directions raise Unsupported if cuDNN has no plan. Gradients are summed in a fixed order, unless
    `is_deterministic` is false or `allow_unordered` is in force.
    """

    def __init__(self, xp: Any, *, is_deterministic: bool = True) -> None:
        self.is_deterministic = is_deterministic
        self._xp = xp
        self._cudnn = load()
        self._handle = functools.cache(lambda device: self._cudnn.create_handle())
        self._plan = functools.cache(self._make_plan)

    def attention(self, q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, attending: Attending) -> tuple[Array, Array]:
        _check_extras(attending)
        check_widths(q_BHTD, v_BKSD, 8, MAX_HEAD_DIM)
        q, k, v = (aligned(x) for x in (q_BHTD, k_BKSD, v_BKSD))
        out = heads_last(q.shape, q.dtype, self._xp)
        stats = self._xp.empty(q.shape[:3], np.float32)
        problem = _problem((q, k, v, out), attending, is_deterministic=True)
        self._run(forward_graph, problem, {Q: q, K: k, V: v, OUT: out, STATS: stats})
        return out, stats

    def attention_gradient(
        self,
        g_BHTD: Array,
        q_BHTD: Array,
        k_BKSD: Array,
        v_BKSD: Array,
        out_BHTD: Array,
        logsumexp_BHT: Array,
        attending: Attending,
    ) -> tuple[Array, Array, Array]:
        _check_extras(attending)
        check_widths(q_BHTD, v_BKSD, 8, MAX_HEAD_DIM)
        g, q, k, v, out = (aligned(x) for x in (g_BHTD, q_BHTD, k_BKSD, v_BKSD, out_BHTD))
        dq, dk, dv = gradients_like(q, k, v, self._xp)
        is_deterministic = self.is_deterministic and not is_unordered_allowed()
        problem = _problem((q, k, v, out, g, dq, dk, dv), attending, is_deterministic=is_deterministic)
        stats = self._xp.ascontiguousarray(logsumexp_BHT)
        tensors = {Q: q, K: k, V: v, OUT: out, G: g, STATS: stats, DQ: dq, DK: dk, DV: dv}
        self._run(backward_graph, problem, tensors)
        return dq, dk, dv

    def _run(self, make: Callable[..., Any], problem: Problem, tensors: dict[int, Array]) -> None:
        cuda = self._xp.cuda
        device = cuda.Device().id
        handle = self._handle(device)
        plan = self._plan(make, problem, device)
        if isinstance(plan, str):
            raise Unsupported(plan)
        graph, workspace_bytes = plan
        self._cudnn.set_stream(handle=handle, stream=cuda.get_current_stream().ptr)
        # From CuPy's pool, in the order of the stream: free again for what is enqueued after this call.
        workspace = self._xp.empty(max(1, workspace_bytes), np.uint8)
        graph.execute({uid: address_of(x) for uid, x in tensors.items()}, address_of(workspace), handle=handle)

    def _make_plan(self, make: Callable[..., Any], problem: Problem, device: int) -> tuple[Any, int] | str:
        """The planned graph and the size of its workspace in bytes; or the reason why there is no plan."""
        reason = ""
        available = available_bytes(self._xp)
        for limit in _limits(problem, int(SCORES_SHARE * available)):
            graph = make(self._cudnn, problem, handle=self._handle(device))
            try:
                with _limiting(limit):
                    graph.validate()
                    graph.build_operation_graph()
                    graph.create_execution_plans([self._cudnn.heur_mode.A])
                    graph.check_support()
                    graph.build_plans()
            except (self._cudnn.cudnnGraphNotSupportedError, RuntimeError) as error:  # the latter: no engine is found
                reason = f"cuDNN has no plan: {error}"
                continue
            workspace_bytes = graph.get_workspace_size()
            if workspace_bytes <= available:
                return graph, workspace_bytes
            reason = f"cuDNN's plan needs {shown_bytes(workspace_bytes)}, {shown_bytes(available)} are available"
        return reason


def _problem(tensors: tuple[Array, ...], attending: Attending, *, is_deterministic: bool) -> Problem:
    views = tuple((x.shape, element_strides(x)) for x in tensors)
    return Problem(views, tensors[0].dtype.name, attending.is_causal, attending.scale, is_deterministic)


def _limits(problem: Problem, max_scores_bytes: int) -> tuple[str, ...]:
    """The limits on a backward's workspace to try in turn; "": none is set.

    On Hopper cuDNN's backward in a fixed order keeps a gradient of every score, B H T S 16-bit numbers. It is fast.
    Where that takes too much memory, cuDNN 9.25 and later has a slower one in a fixed order that works in memory linear
    in T, but plans it only under a limit. Earlier versions ignore the limit.
    """
    (batch, heads, queries, _), keys = problem.tensors[0][0], problem.tensors[1][0][2]
    is_large = 2 * batch * heads * queries * keys > max_scores_bytes
    is_asked = len(problem.tensors) > 4 and problem.is_deterministic and _LIMIT not in os.environ
    return (str(max_scores_bytes), "-1") if is_large and is_asked else ("",)


@contextmanager
def _limiting(limit: str) -> Iterator[None]:
    """Within it the environment holds this limit, as the frontend looks for it nowhere else."""
    if limit:
        os.environ[_LIMIT] = limit
    try:
        yield
    finally:
        if limit:
            del os.environ[_LIMIT]
