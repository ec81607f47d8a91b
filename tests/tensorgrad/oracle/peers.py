"""PyTorch's spelling of each public function: a callable that takes our arguments, one line for each function.

A parameter that PyTorch does not have is left out of the callable: calls that give it are not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

linalg = torch.linalg

Peer = Callable[..., Any]

# Functions that PyTorch has under our name and with our arguments.
SAME: dict[Any, str] = {
    torch: "abs negative positive square sign ceil floor round trunc exp exp2 expm1 log log2 log10 log1p sqrt rsqrt"
    " sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh erf erfc sigmoid reciprocal isfinite isinf isnan"
    " signbit logical_not logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift"
    " bitwise_right_shift add subtract multiply divide not_equal less less_equal greater greater_equal"
    " remainder copysign nextafter matmul outer kron nan_to_num moveaxis pow",
    functional: "relu relu6 leaky_relu hardtanh elu selu celu silu mish softplus softsign logsigmoid linear bilinear"
    " conv1d gelu mse_loss l1_loss huber_loss smooth_l1_loss kl_div binary_cross_entropy"
    " binary_cross_entropy_with_logits",
    linalg: "solve inv det slogdet matrix_power matrix_rank pinv svdvals eigvalsh cholesky",
}


# --- elementwise -------------------------------------------------------------------------------


def of_numbers_too(f: Peer) -> Peer:
    """PyTorch's function of two tensors, for a number in the place of one too."""

    def theirs(x: Any, y: Any) -> Any:
        dtype = (x if isinstance(x, torch.Tensor) else y).dtype
        return f(torch.as_tensor(x, dtype=dtype), torch.as_tensor(y, dtype=dtype))

    return theirs


def clip(x: Any, low: Any, high: Any) -> Any:
    """PyTorch gives the result the shape of x, and refuses to have no bound."""
    if low is None and high is None:
        return x.clone()
    shape = torch.broadcast_shapes(*(a.shape for a in (x, low, high) if isinstance(a, torch.Tensor)))
    return torch.clamp(x.expand(shape), low, high)


# --- axes --------------------------------------------------------------------------------------


def every_axis(x: Any, axis: Any) -> tuple[int, ...]:
    """PyTorch's tuple for an axis argument."""
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def over_axes(f: Peer) -> Peer:
    """A reduction that takes several axes."""
    return lambda x, axis=None, keepdims=False, **rest: f(x, every_axis(x, axis), keepdim=keepdims, **rest)


def identity_without_axes(f: Peer, alone: Peer) -> Peer:
    """PyTorch reduces over every axis when it is given none; ours reduces over none."""
    reduced = over_axes(f)
    return lambda x, axis=None, keepdims=False, **rest: (
        alone(x) if axis == () and x.ndim else reduced(x, axis, keepdims, **rest)
    )


def typed(f: Peer) -> Peer:
    """A reduction that takes our name of a dtype."""
    return lambda x, axis=None, dtype=None, keepdims=False: f(
        x, axis, keepdims, **({} if dtype is None else {"dtype": torch_dtype(dtype)})
    )


def torch_dtype(dtype: Any) -> Any:
    return getattr(torch, str(np.dtype(dtype)))


def step_by_step(f: Peer) -> Peer:
    """A reduction that PyTorch has along one axis only, taken axis by axis."""

    def theirs(x: Any, axis: Any = None, keepdims: bool = False, **rest: Any) -> Any:
        if not x.ndim:
            return f(x, **rest)
        for i in sorted((i % x.ndim for i in every_axis(x, axis)), reverse=True):
            x = f(x, i, keepdim=keepdims, **rest)
        return x

    return theirs


def extremum(at_once: Peer, along: Peer) -> Peer:
    """amax shares a tie evenly, max along an axis gives it to the index: ours does both."""

    def theirs(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if isinstance(axis, int):
            return along(x, axis, keepdim=keepdims).values
        return x.clone() if axis == () and x.ndim else at_once(x, every_axis(x, axis), keepdim=keepdims)

    return theirs


def spread(f: Peer) -> Peer:
    return lambda x, axis=None, correction=0.0, keepdims=False: f(
        x, every_axis(x, axis), correction=correction, keepdim=keepdims
    )


def running(at_once: Peer, initial: float) -> Peer:
    """A running sum or product with `include_initial`, which PyTorch does not have."""

    def theirs(x: Any, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Any:
        axis = 0 if axis is None else axis
        out = at_once(x, axis, **({} if dtype is None else {"dtype": torch_dtype(dtype)}))
        if not include_initial:
            return out
        shape = [1 if i == axis % out.ndim else n for i, n in enumerate(out.shape)]
        return torch.cat([torch.full(shape, initial, dtype=out.dtype), out], axis)

    return theirs


# --- shapes ------------------------------------------------------------------------------------


def concat(xs: Any, axis: Any = 0) -> Any:
    return torch.cat([x.reshape(-1) for x in xs]) if axis is None else torch.cat(xs, axis)


def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """PyTorch wants a shift for each axis."""
    return x.roll((shift,) * len(axis) if isinstance(axis, tuple) and isinstance(shift, int) else shift, axis)


def split(x: Any, sizes: Any, axis: int = 0) -> Any:
    return x.split(x.shape[axis] // sizes if isinstance(sizes, int) else tuple(sizes), axis)


def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    """PyTorch wants a tensor of as many counts as there are elements."""
    if not isinstance(repeats, int):
        repeats = torch.as_tensor(repeats)
        repeats = repeats.expand(x.numel() if axis is None else x.shape[axis]) if repeats.numel() == 1 else repeats
    return x.repeat_interleave(repeats, axis)


def pad(x: Any, pad_width: Any, mode: str = "constant", value: float = 0.0) -> Any:
    """PyTorch's widths begin at the last axis."""
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))[::-1].ravel().tolist()
    if mode == "constant":
        return functional.pad(x, widths, mode, float(value))
    if not x.ndim:
        return x.clone()
    return functional.pad(x[None, None], widths, mode)[0, 0]


def reshape(x: Any, shape: Any, copy: Any = None) -> Any:
    return x.reshape(shape).clone() if copy else x.reshape(shape)


def getitem(x: Any, index: Any) -> Any:
    return x[index]


def index_put(accumulate: bool) -> Peer:
    """x with values written or added at an index, by way of the flat positions that the index selects."""

    def theirs(x: Any, index: Any, values: Any) -> Any:
        places = torch.arange(x.numel()).reshape(x.shape)[index]
        values = torch.as_tensor(values, dtype=x.dtype).expand(places.shape).reshape(-1)
        return x.reshape(-1).index_put((places.reshape(-1),), values, accumulate=accumulate).reshape(x.shape)

    return theirs


def take(x: Any, indices: Any, axis: Any = None) -> Any:
    axis = 0 if axis is None else axis
    return x[(slice(None),) * (axis % x.ndim) + (torch.as_tensor(indices),)]


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    indices = torch.as_tensor(indices)
    return torch.take_along_dim(x, torch.where(indices < 0, indices + x.shape[axis], indices), axis)


def searchsorted(x1: Any, x2: Any, side: str = "left", sorter: Any = None) -> Any:
    return torch.searchsorted(x1.detach(), x2.detach(), side=side, sorter=sorter)


def einsum(subscripts: str, *xs: Any) -> Any:
    return torch.einsum(subscripts, *xs)


# --- matrices ----------------------------------------------------------------------------------


def tensordot(x: Any, y: Any, axes: Any = 2) -> Any:
    if not isinstance(axes, int):
        axes = tuple((a,) if isinstance(a, int) else tuple(a) for a in axes)
    return torch.tensordot(x, y, axes)


def trace(x: Any, offset: int = 0, dtype: Any = None) -> Any:
    total = torch.diagonal(x, offset, -2, -1)
    return total.sum(-1) if dtype is None else total.sum(-1, dtype=torch_dtype(dtype))


# --- neural networks ---------------------------------------------------------------------------


def gated(x: Any) -> Any:
    gate, up = x.chunk(2, -1)
    return functional.silu(gate) * up


ACTIVATIONS: dict[str, Peer] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda h: functional.gelu(h, approximate="tanh"),
    "relu_squared": lambda h: torch.square(torch.relu(h)),
    "swiglu": gated,
}


def mlp(x: Any, up: Any, down: Any, b: Any = None, c: Any = None, activation: str = "gelu_tanh") -> Any:
    return functional.linear(ACTIVATIONS[activation](functional.linear(x, up, b)), down, c)


def with_classes_second(loss: Peer) -> Peer:
    """PyTorch has the classes on axis 1."""

    def theirs(x: Any, targets: Any, axis: int = -1, **rest: Any) -> Any:
        if targets.is_floating_point() and x.ndim > 1:
            targets = targets.movedim(axis, 1)
        elif not targets.is_floating_point():
            targets = targets.long()
        return loss(x.movedim(axis, 1) if x.ndim > 1 else x, targets, **rest)

    return theirs


def cross_entropy(
    x: Any,
    targets: Any,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Any:
    return with_classes_second(functional.cross_entropy)(
        x, targets, axis, weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
    )


def linear_cross_entropy(
    x: Any, weight: Any, targets: Any, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Any:
    out = functional.linear_cross_entropy(
        x.reshape(-1, x.shape[-1]),
        weight,
        targets.reshape(-1).long(),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    return out.reshape(targets.shape) if reduction == "none" else out


def layer_norm(x: Any, weight: Any = None, bias: Any = None, normalized_shape: Any = None, eps: float = 1e-5) -> Any:
    shape = weight.shape if weight is not None else normalized_shape or x.shape[-1:]
    return functional.layer_norm(x, shape, weight, bias, eps)


def rms_norm(x: Any, weight: Any = None, normalized_shape: Any = None, eps: Any = None) -> Any:
    return functional.rms_norm(x, weight.shape if weight is not None else normalized_shape or x.shape[-1:], weight, eps)


def attention(q: Any, k: Any, v: Any, mask: Any = None, is_causal: bool = False, scale: Any = None) -> Any:
    """By PyTorch's definition: its flash kernel gives 0 for a row of nan."""
    with sdpa_kernel(SDPBackend.MATH):
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )


def self_attention(qkv: Any, num_heads: int, is_causal: bool = False, scale: Any = None) -> Any:
    kv_heads = (qkv.shape[2] - num_heads) // 2
    q, k, v = qkv.transpose(1, 2).split((num_heads, kv_heads, kv_heads), dim=1)
    return attention(q, k, v, is_causal=is_causal, scale=scale).transpose(1, 2)


PEERS: dict[str, Peer] = {
    **{name: getattr(place, name) for place, names in SAME.items() for name in names.split()},
    # --- elementwise
    "astype": lambda x, dtype, copy=True, device=None: x.to(torch_dtype(dtype)),
    "to_device": lambda x, device: x.to(device),
    "bitwise_invert": torch.bitwise_not,
    "clip": lambda x, min=None, max=None: clip(x, min, max),
    **{name: of_numbers_too(getattr(torch, name)) for name in ("maximum", "minimum", "logaddexp", "atan2", "hypot")},
    "equal": torch.eq,
    "floor_divide": lambda x, y: torch.floor_divide(x.detach(), y.detach()),
    "where": lambda condition, x, y: torch.where(torch.as_tensor(condition), x, y),
    # --- reductions
    "sum": typed(identity_without_axes(torch.sum, torch.clone)),
    "mean": identity_without_axes(torch.mean, torch.clone),
    "prod": typed(step_by_step(torch.prod)),
    "logsumexp": identity_without_axes(torch.logsumexp, torch.clone),
    "max": extremum(torch.amax, torch.max),
    "min": extremum(torch.amin, torch.min),
    "var": spread(torch.var),
    "std": spread(torch.std),
    "any": identity_without_axes(torch.any, torch.Tensor.bool),
    "all": identity_without_axes(torch.all, torch.Tensor.bool),
    "argmax": lambda x, axis=None, keepdims=False: torch.argmax(x, axis, keepdim=keepdims),
    "argmin": lambda x, axis=None, keepdims=False: torch.argmin(x, axis, keepdim=keepdims),
    "count_nonzero": lambda x, axis=None, keepdims=False: (x != 0).sum(every_axis(x, axis), keepdim=keepdims),
    "cumulative_sum": running(torch.cumsum, 0),
    "cumulative_prod": running(torch.cumprod, 1),
    "diff": lambda x, axis=-1, n=1, prepend=None, append=None: torch.diff(x, n, axis, prepend, append),
    # --- shapes
    "reshape": reshape,
    "permute_dims": lambda x, axes: x.permute(axes),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "broadcast_arrays": torch.broadcast_tensors,
    "matrix_transpose": lambda x: x.mT,
    "expand_dims": lambda x, axis: x.unsqueeze(axis),
    "squeeze": lambda x, axis: x.squeeze(axis),
    "flip": lambda x, axis=None: x.flip(every_axis(x, axis)),
    "roll": roll,
    "tril": lambda x, k=0: torch.tril(x, k),
    "triu": lambda x, k=0: torch.triu(x, k),
    "concat": concat,
    "stack": lambda xs, axis=0: torch.stack(xs, axis),
    "unstack": lambda x, axis=0: x.unbind(axis),
    "split": split,
    "tile": lambda x, repetitions: x.tile(repetitions),
    "repeat": repeat,
    "meshgrid": lambda *xs, indexing="xy": torch.meshgrid(*xs, indexing=indexing),
    "pad": pad,
    # --- selection and order
    "getitem": getitem,
    "take": take,
    "take_along_axis": take_along_axis,
    "index_update": index_put(accumulate=False),
    "index_add": index_put(accumulate=True),
    "nonzero": lambda x: torch.nonzero(x, as_tuple=True),
    "sort": lambda x, axis=-1, descending=False, stable=True: (
        torch.sort(x, dim=axis, descending=descending, stable=True).values
    ),
    "argsort": lambda x, axis=-1, descending=False, stable=True: torch.argsort(
        x, dim=axis, descending=descending, stable=True
    ),
    "topk": lambda x, k, axis=-1, largest=True: torch.topk(x, k, axis, largest),
    "searchsorted": searchsorted,
    "unique_values": lambda x: torch.unique(x.detach()),
    "unique_counts": lambda x: torch.unique(x.detach(), return_counts=True),
    "unique_inverse": lambda x: torch.unique(x.detach(), return_inverse=True),
    # --- matrices
    "einsum": einsum,
    "tensordot": tensordot,
    "vecdot": lambda x, y, axis=-1: linalg.vecdot(x, y, dim=axis),
    "cross": lambda x, y, axis=-1: linalg.cross(*torch.broadcast_tensors(x, y), dim=axis),
    "diagonal": lambda x, offset=0: torch.diagonal(x, offset, -2, -1),
    "trace": trace,
    # PyTorch's of ord 0 has no gradient.
    "vector_norm": lambda x, axis=None, keepdims=False, ord=2: linalg.vector_norm(
        x.detach() if ord == 0 else x, ord, dim=axis, keepdim=keepdims
    ),
    "matrix_norm": lambda x, keepdims=False, ord="fro": linalg.matrix_norm(x, ord, keepdim=keepdims),
    "norm": lambda x, ord=None, axis=None, keepdims=False: linalg.norm(x, ord, dim=axis, keepdim=keepdims),
    "eigh": linalg.eigh,
    "svd": lambda x, full_matrices=True: linalg.svd(x, full_matrices=full_matrices),
    "qr": lambda x, mode="reduced": linalg.qr(x, mode=mode),
    # --- neural networks
    "swiglu": gated,
    "mlp": mlp,
    "softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "log_softmax": lambda x, axis=-1: torch.log_softmax(x, axis),
    "cross_entropy": cross_entropy,
    "nll_loss": with_classes_second(functional.nll_loss),
    "linear_cross_entropy": linear_cross_entropy,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": functional.group_norm,
    "embedding": lambda weight, ids, padding_idx=None: functional.embedding(ids, weight, padding_idx),
    "one_hot": lambda ids, num_classes=-1: functional.one_hot(ids.long(), num_classes),
    "scaled_dot_product_attention": attention,
    "self_attention": self_attention,
    "cosine_similarity": lambda x1, x2, axis=1, eps=1e-8: functional.cosine_similarity(x1, x2, axis, eps),
    "normalize": lambda x, p=2.0, axis=1, eps=1e-12: functional.normalize(x, p, axis, eps),
    "pairwise_distance": lambda x1, x2, p=2.0, eps=1e-6, keepdims=False: functional.pairwise_distance(
        x1, x2, p, eps, keepdims
    ),
    "cdist": lambda x1, x2, p=2.0: torch.cdist(x1, x2, p, "donot_use_mm_for_euclid_dist"),
}


# --- what does not depend on LAPACK's choice of signs --------------------------------------------


def of_eigh(result: Any) -> Any:
    """The eigenvalues, the eigenvectors but for their signs, and a function of both."""
    w, v = result
    return w, v * v, v * (w * w)[..., None, :] @ v.mT


def of_svd(result: Any) -> Any:
    """The values, the squares of both vectors, and a function of all: of the first vectors, which have gradients."""
    u, s, vh = result
    k = s.shape[-1]
    u, vh = u[..., :k], vh[..., :k, :]
    return s, u * u, vh * vh, u * (s * s)[..., None, :] @ vh


def of_qr(result: Any) -> Any:
    q, r = result
    return q * q, r * r, q @ (r * r * r)


# Functions of the results that are compared instead of the results.
COMPARED: dict[str, Peer] = {"eigh": of_eigh, "svd": of_svd, "qr": of_qr}

# Arguments that have no gradient in PyTorch.
CONSTANT = {"binary_cross_entropy": ("weight",), "binary_cross_entropy_with_logits": ("weight", "pos_weight")}

# Calls that PyTorch refuses or understands differently: the beginning of the case's name, and the reason.
NOT_COMPARED = {
    "cosine_similarity:eps-": "another gradient by convention: see conventions.py",
    "getitem:slices-": "PyTorch has no negative steps",
    "getitem:scalars-": "the same",
    "group_norm:bias-": "PyTorch fails for a bias without a weight",
    "qr:Q-complete-": "no gradient of the vectors that are any basis of the rest",
    "qr:both-complete-3x2": "the same",
    "qr:R-complete-4x2": "the same",
    "remainder:of-": "PyTorch has no gradient in the divisor of a number",
    "scaled_dot_product_attention:bool-causal-": "PyTorch takes a mask or is_causal",
    "vector_norm:no axis-": "PyTorch takes no axes for all of them",
}
