"""Sums of products over named axes."""

from __future__ import annotations

import functools
import math
import re
import string
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tensorgrad.errors import ShapeError
from tensorgrad.ops.broadcast import reshape
from tensorgrad.ops.common import TensorLike, operand, operands
from tensorgrad.ops.elementwise import multiply
from tensorgrad.ops.linalg.diagonal import diagonal
from tensorgrad.ops.linalg.operand import sum_in_dtype
from tensorgrad.ops.linalg.product import matmul
from tensorgrad.ops.shape import permute_dims
from tensorgrad.tape import record
from tensorgrad.tensor import Tensor

__all__ = ["einsum"]

_TERM = re.compile(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*")


def einsum(subscripts: str, *xs: TensorLike) -> Tensor:
    """Sums of products over named axes: "bthd,bshd->bhts".

    A letter names an axis of each operand that has it; letters missing from the output are summed
    over. A letter repeated within an operand takes the diagonal. "..." stands for any axes in front, which
    broadcast; without "->" the output is "..." and, in alphabetical order, the letters that occur once.
    A size of 1 broadcasts to the size of its letter in another operand. Spaces do not count.

    Every pair of operands becomes one matrix product, so backward costs about twice the forward. Three or
    more are contracted in the order that takes the fewest operations.

    Returns: the output, never a view of an operand.
    Raises:  ShapeError, DTypeError.
    """
    if not isinstance(subscripts, str):
        raise ShapeError(
            f"einsum: expected subscripts such as 'ij,jk->ik' first, got {type(subscripts).__name__}: "
            "put the operands after them"
        )
    arrays = [operand("einsum", x) for x in xs]
    for x in xs[1:]:
        operands("einsum", xs[0], x)
    terms, output, sizes = _parse(subscripts, tuple(a.shape for a in arrays))
    if len(xs) == 1 and sorted(terms[0]) == sorted(output):
        return permute_dims(_copy(xs[0]), [terms[0].index(c) for c in output])
    left = [_simplified(term, x, sizes) for term, x in zip(terms, xs, strict=True)]
    for group in _order(tuple(term for term, _ in left), output, tuple(sizes.items())):
        picked = [left[i] for i in group]
        left = [pair for i, pair in enumerate(left) if i not in group]
        while len(picked) > 1:
            first, second, *picked = picked
            needed = output + "".join(term for term, _ in (*picked, *left))
            picked.insert(0, _contract(*first, *second, needed, sizes))
        left += picked
    ((term, x),) = left
    return _arranged(*_summed(term, x, output), output)  # type: ignore[no-any-return]


def _copy(x: Any) -> Any:
    return record(operand("einsum", x).copy(), (x, lambda g: g))


def _simplified(term: str, x: Any, sizes: dict[str, int]) -> tuple[str, Any]:
    """The operand with each letter once, without the letters along which it broadcasts."""
    while len(set(term)) < len(term):
        letter = next(c for c in term if term.count(c) > 1)
        i, j = term.index(letter), term.rindex(letter)
        others = [axis for axis in range(len(term)) if axis not in (i, j)]
        x = diagonal(permute_dims(x, [*others, i, j]))
        term = "".join(term[axis] for axis in others) + letter
    kept = "".join(c for c, n in zip(term, x.shape, strict=True) if n == sizes[c])
    return kept, _shaped(x, [sizes[c] for c in kept])


def _contract(p: str, x: Any, q: str, y: Any, needed: str, sizes: dict[str, int]) -> tuple[str, Any]:
    """The product of two operands, summed over the letters that are not `needed` further on."""
    p, x = _summed(p, x, q + needed)
    q, y = _summed(q, y, p + needed)
    inner = [c for c in p if c in q and c not in needed]
    rows, columns = [c for c in p if c not in q], [c for c in q if c not in p]
    if not inner or not (rows or columns):
        order = [*dict.fromkeys(c for c in needed if c in p + q), *inner]
        x, y = (
            _shaped(_arranged(term, z, [c for c in order if c in term]), [sizes[c] if c in term else 1 for c in order])
            for term, z in ((p, x), (q, y))
        )
        return _summed("".join(order), multiply(x, y), needed)
    batch = [c for c in p if c in q and c in needed]
    shape = [sizes[c] for c in batch]
    height, depth, width = (math.prod(sizes[c] for c in letters) for letters in (rows, inner, columns))
    x = _shaped(_arranged(p, x, batch + rows + inner), [*shape, height, depth])
    y = _shaped(_arranged(q, y, batch + inner + columns), [*shape, depth, width])
    order = batch + rows + columns
    return "".join(order), _shaped(matmul(x, y), [sizes[c] for c in order])


def _summed(term: str, x: Any, kept: str) -> tuple[str, Any]:
    """x summed over the letters that are not in `kept`."""
    axes = tuple(i for i, c in enumerate(term) if c not in kept)
    return "".join(c for c in term if c in kept), sum_in_dtype(x, axes) if axes else x


def _arranged(term: str, x: Any, order: Iterable[str]) -> Any:
    """x with its axes in another order."""
    axes = [term.index(c) for c in order]
    return permute_dims(x, axes) if axes != sorted(axes) else x


def _shaped(x: Any, shape: list[int]) -> Any:
    """x reshaped, or x itself, which spares backward a step."""
    return x if list(x.shape) == shape else reshape(x, shape)


@functools.lru_cache(maxsize=256)
def _order(terms: tuple[str, ...], output: str, sizes: tuple[tuple[str, int], ...]) -> list[tuple[int, ...]]:
    """Which operands to contract at each step; a result goes to the end of the list."""
    if len(terms) < 3:
        return [tuple(range(len(terms)))]
    shapes = [tuple(dict(sizes)[c] for c in term) for term in terms]
    stand_ins = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    path: list[Any] = np.einsum_path(
        ",".join(terms) + "->" + output, *stand_ins, optimize="optimal" if len(terms) < 7 else "greedy"
    )[0]
    return path[1:]


@functools.lru_cache(maxsize=256)
def _parse(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[str], str, dict[str, int]]:
    """Terms and output with one letter per axis, "..." spelled out, and each letter's size."""
    text = "".join(subscripts.split())
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if not all(_TERM.fullmatch(part) for part in (*terms, output)):
        raise ShapeError(
            f"einsum: expected subscripts of letters, ',', '->' and at most one '...' a term, got {subscripts!r}: "
            "separate terms with a comma"
        )
    if len(terms) != len(shapes):
        raise ShapeError(
            f"einsum: expected {len(terms)} operands for {subscripts!r}, got {len(shapes)}: "
            "give one term for each operand"
        )
    widths = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    for term, width, shape in zip(terms, widths, shapes, strict=True):
        if width < 0 or (width > 0 and "..." not in term):
            raise ShapeError(
                f"einsum: expected {len(term)} axes for {term!r}, got shape {shape}: give one letter for each axis"
            )
    spare = [c for c in string.ascii_letters if c not in text]
    batch = "".join(spare[: max(widths)])
    terms = [term.replace("...", batch[len(batch) - width :]) for term, width in zip(terms, widths, strict=True)]
    if not arrow:
        every = "".join(terms)
        output = batch + "".join(sorted(c for c in set(every) if every.count(c) == 1 and c not in batch))
    output = output.replace("...", batch)
    if not set(output) <= set("".join(terms)) or len(set(output)) != len(output):
        raise ShapeError(
            f"einsum: expected an output of distinct input letters, got {subscripts!r}: "
            "name letters of the input, each once"
        )
    return terms, output, _sizes(subscripts, terms, shapes)


def _sizes(subscripts: str, terms: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Each letter's size. Raises ShapeError where an axis does not fit."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        own: dict[str, int] = {}
        for c, n in zip(term, shape, strict=True):
            if own.setdefault(c, n) != n or (n != 1 and sizes.setdefault(c, n) != n):
                raise ShapeError(
                    f"einsum: expected one size for each letter of {subscripts!r}, or 1 in another operand, "
                    f"got shapes {', '.join(map(str, shapes))}: "
                    "name axes of different sizes by different letters"
                )
    return {c: sizes.get(c, 1) for term in terms for c in term}
