"""NumPy's functions on Tensors: this library's function of the same meaning, else NumPy's, on constants only.

NumPy hands each ufunc and most functions that meet a Tensor to `array_ufunc` and `array_function`
(its protocols NEP 13 and NEP 18). If this library has no such function, or lacks an argument, NumPy
computes the result, provided that no Tensor involved needs a gradient; otherwise the call is refused.
So no gradient is ever dropped silently.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tensorgrad.errors import GraphError
from tensorgrad.tree import map_tensors, named_tensors

__all__ = ["array_function", "array_ufunc"]

# NumPy's names that differ from this library's, which are the array API's; all other names are the same.
_NAMES = {
    "absolute": "abs",
    "amax": "max",
    "amin": "min",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "concatenate": "concat",
    "cumprod": "cumulative_prod",
    "cumsum": "cumulative_sum",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "power": "pow",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
    "transpose": "permute_dims",
    "true_divide": "divide",
}
# Functions of a Tensor's shape, not of its values: there is no gradient to drop.
_OF_SHAPES = ("ndim", "shape", "size")
_KEYWORDS = {"a_max": "max", "a_min": "min", "ddof": "correction"}


def array_ufunc(library: Any, ufunc: Any, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """`Tensor.__array_ufunc__`; `library` is the module whose functions take the place of NumPy's."""
    op = _ours(library, ufunc.__name__)
    if op is not None and method == "__call__" and not keywords:
        return op(*inputs)
    return _by_numpy(getattr(ufunc, method), f"{ufunc.__name__}.{method}", inputs, keywords)


def array_function(library: Any, function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """`Tensor.__array_function__`; `library` as for `array_ufunc`."""
    op = _ours(library, function.__name__)
    call = None if op is None else _translated(function, op, args, keywords)
    if op is None or call is None:
        return _by_numpy(function, function.__name__, args, keywords)
    return op(*call.args, **call.kwargs)


def _ours(library: Any, name: str) -> Callable[..., Any] | None:
    name = _NAMES.get(name, name)
    return getattr(library, name) if name in library.__all__ else None


def _translated(
    function: Any, op: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
) -> inspect.BoundArguments | None:
    """The call of `function` as one of `op`, which takes metadata by name only; None if `op` lacks an argument."""
    numpy_signature, our_signature = _signature(function), _signature(op)
    positional, named = list(args), dict(keywords)
    if numpy_signature is not None:
        given = numpy_signature.bind(*args, **keywords)
        positional, named = [], {}
        for position, (name, value) in enumerate(given.arguments.items()):
            kind = numpy_signature.parameters[name].kind
            name = _KEYWORDS.get(name, name)
            if kind is inspect.Parameter.VAR_POSITIONAL:
                positional.extend(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            elif name in keywords or (position and name in our_signature.parameters):
                named[name] = value
            else:
                positional.append(value)
    try:
        call: inspect.BoundArguments = our_signature.bind(*positional, **named)
        return call
    except TypeError:
        return None


@functools.cache
def _signature(function: Any) -> Any:
    try:
        return inspect.signature(function)
    except ValueError:  # some of NumPy's functions have none
        return None


def _by_numpy(function: Any, name: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """NumPy's own result, for constants; GraphError if a gradient would be lost."""
    if name not in _OF_SHAPES and any(x.requires_grad for x in named_tensors([args, keywords]).values()):
        raise GraphError(
            f"numpy.{name}: expected tensors that need no gradient, got one whose gradient NumPy would drop, "
            "as tensorgrad has no such function or argument: use tensorgrad's functions, or x.detach()"
        )
    return function(*map_tensors(lambda x: x.data, args), **map_tensors(lambda x: x.data, keywords))
