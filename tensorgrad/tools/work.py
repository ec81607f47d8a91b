"""The operations of one call of an op, forward and backward, found by calling it again on shapes alone."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import ops
from tensorgrad.array import is_array
from tensorgrad.backward import grad
from tensorgrad.dtype import is_float
from tensorgrad.tape import is_recording, leaf, recording
from tensorgrad.tensor import Tensor
from tensorgrad.tools.abstract import abstract
from tensorgrad.tools.abstract.array import AbstractArray
from tensorgrad.tools.watch import Call

__all__ = ["Work", "work_of"]


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations."""

    forward_flops: int
    backward_flops: int


_NONE = Work(0, 0)


def work_of(call: Call, known: dict[Hashable, Work]) -> Work:
    """The work of a call with Tensors; none for the program's own ops, and for ops that need values.

    Args: known: the work of calls seen before, to which this one is added.
    """
    if call.name not in ops.__all__ or not _has_tensor((*call.arguments.values(), *call.options.values())):
        return _NONE
    key = call.name, is_recording(), _key((*call.arguments.items(), *call.options.items()))
    if key not in known:
        known[key] = _measured(call, is_recorded=is_recording())
    return known[key]


def _measured(call: Call, *, is_recorded: bool) -> Work:
    op = getattr(ops, call.name)
    leaves: list[Tensor] = []
    try:
        with abstract() as meter, recording():
            values = {name: _without_values(x, leaves) for name, x in (call.arguments | call.options).items()}
            args, options = [], {}
            for name, parameter in _parameters(op).items():
                if parameter.kind is parameter.VAR_POSITIONAL:
                    args += values[name]
                elif parameter.kind is parameter.KEYWORD_ONLY:
                    options[name] = values[name]
                else:
                    args.append(values[name])
            out = op(*args, **options)
            forward = meter.flops
            outs = [x for x in (out if isinstance(out, (tuple, list)) else [out]) if type(x) is Tensor]
            outs = [x for x in outs if x.requires_grad]
            if outs and is_recorded:
                grad(outs, leaves, [x.detach() for x in outs])
            return Work(forward, meter.flops - forward)
    except Exception:  # NoValueError, or another: a count is no reason to stop the program
        return _NONE


def _has_tensor(x: Any) -> bool:
    return any(map(_has_tensor, x)) if isinstance(x, (list, tuple)) else type(x) is Tensor


def _without_values(x: Any, leaves: list[Tensor]) -> Any:
    """x with abstract Tensors in place of float ones; other Tensors stay, as shapes may depend on their values."""
    if isinstance(x, (list, tuple)):
        parts = [_without_values(part, leaves) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if type(x) is not Tensor or not is_float(x.dtype):
        return x
    array: Any = AbstractArray(x.shape, x.dtype, x.array.strides)
    if not x.requires_grad:
        return Tensor(array)
    leaves.append(leaf(array))
    return leaves[-1]


def _key(x: Any) -> Any:
    """The part of x that the work of a call depends on."""
    if isinstance(x, (list, tuple)):
        return tuple(map(_key, x))
    if type(x) is Tensor:
        return _key(x.array), x.requires_grad
    if is_array(x) or isinstance(x, np.generic):
        return x.shape, x.dtype, getattr(x, "strides", ())
    if isinstance(x, (bool, int, str, type(None))):
        return x
    return repr(x) if isinstance(x, slice) else type(x)


@functools.cache
def _parameters(op: Any) -> Any:
    return inspect.signature(op).parameters
