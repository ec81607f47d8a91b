"""The first bad value: which op made a nan or an inf out of finite values, and where the program called it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tensorgrad.array import is_array, module_of
from tensorgrad.cotangent import Scatter
from tensorgrad.dtype import is_float
from tensorgrad.errors import NonFiniteError
from tensorgrad.residuals import residuals
from tensorgrad.tape import data
from tensorgrad.tools.watch import Call, Watcher, arrays_in, watching

__all__ = ["find_non_finite"]


@contextmanager
def find_non_finite() -> Iterator[None]:
    """Within it, the first op whose result is not finite although its operands are raises NonFiniteError.

    On the way back, so does the first op whose vjp makes a gradient that is not finite out of a finite
    one, or whose incoming gradients are finite while their sum is not. The error names the op, where the
    program called it, and the ranges of its operands. An op is not blamed for passing on a nan or an inf
    (a mask of -inf passes), but it is blamed for making a nan out of infs. Ops inside an op count only if
    the outer op's result is not finite.

        with tensorgrad.find_non_finite():
            loss = model.loss(ids, targets)
            loss.backward()

    Put the forward inside as well: the place of an op's call is noted as the op is recorded. Each result
    is read once more: a model's training step takes a fifth longer, a program of tiny arrays ten times as
    long. Outside it costs nothing.
    """
    with watching(_Finder()):
        yield


Values = list[tuple[str, Any]]  # (name, array or float)


class Contents(NamedTuple):
    """The number of bad elements."""

    nans: int
    infs: int


FINITE = Contents(0, 0)


class _Finder(Watcher):
    """Notes for each call, in `call.notes[self]`, the path to the first bad value made inside it; its end decides.

    For a sum of gradients, which may overwrite one of them, it notes what they contain before the sum.
    """

    def begin(self, call: Call) -> None:
        if call.is_sum:
            call.notes[self] = _contents(_named("gradient", [*map(_values, call.arguments.values())]))

    def end(self, call: Call, result: Any) -> None:
        if result is None:
            return
        if call.is_sum:
            after = _named("sum", _values(result))
            bad, given = _contents(after), call.notes[self]
            if _is_new(bad, given):
                self._raise(call, (), _named("gradient", _values(call.arguments["y"])), after, bad)
            return
        # Among the options, arrays only: a number, such as the order of a norm, is no operand.
        arrays = {name: x for name, x in call.options.items() if is_array(data(x))}
        operands = [named for name, x in (call.arguments | arrays).items() for named in _named(name, x)]
        results = _named("result", result)
        bad = _contents(results)
        is_part = call.caller is not None
        # Looked at in any case: bad operands also excuse the op's gradients.
        given = _contents(operands) if bad != FINITE or not is_part else FINITE
        if call.site is not None and not is_part:
            call.site.had_bad_operands = given != FINITE
        if _is_new(bad, given):
            self._blame(call, is_part, operands, results, bad)

    def cotangents(self, call: Call, result: Any) -> None:
        assert call.node is not None
        sent = _named("gradient sent on", _values(result))
        bad = _contents(sent)
        if bad == FINITE:
            return
        given, kept = _named("gradient", _values(call.arguments["g"])), [("kept", a) for a in residuals(call.node)]
        # What an op keeps may be infinite for good reason, as the log-sum-exp of a row that is masked out.
        is_excused = call.site is None or call.site.had_bad_operands
        if _is_new(bad, _contents(given + kept if is_excused else given)):
            is_part = call.caller is not None and call.site is call.caller.site
            self._blame(call, is_part, given + kept, sent, bad)

    def _blame(self, call: Call, is_part: bool, before: Values, after: Values, bad: Contents) -> None:
        path = (call.name, *call.notes.get(self, ()))
        if is_part and call.caller is not None:
            call.caller.notes.setdefault(self, path)
        else:
            self._raise(call, path, before, after, bad)

    def _raise(self, call: Call, path: tuple[str, ...], before: Values, after: Values, bad: Contents) -> None:
        site = call.site
        path = ((call.name,) if site is None else (site.op, call.name)) + path
        path = tuple(name for i, name in enumerate(path) if i == 0 or name != path[i - 1])
        file, line = (site.file, site.line) if site is not None else ("unknown", 0)
        raise NonFiniteError(_message(call, path, before, after, bad), path, call.is_backward, file, line)


def _message(call: Call, path: tuple[str, ...], before: Values, after: Values, bad: Contents) -> str:
    inside = f" (inside it {', '.join(path[1:])})" if path[1:] else ""
    count = " and ".join(f"{n} {name}" for n, name in ((bad.nans, "nan"), (bad.infs, "inf")) if n)
    what = "a finite gradient on the way back" if call.is_backward else "a finite result"
    what = "a finite sum of the gradients that reach it" if call.is_sum else what
    where = f"called at {call.site}" if call.site is not None else "recorded outside find_non_finite"
    lines = [f"{path[0]}{inside}: expected {what}, got {count}, {where}: look at its operands"]
    lines += [f"    {name}: {_range(a)}" for name, a in before + after]
    return "\n".join(lines)


def _named(name: str, value: Any) -> Values:
    """The arrays and floats in a value."""
    return [(name + place, a) for place, a in arrays_in([value])]


def _is_new(bad: Contents, given: Contents) -> bool:
    """Whether there are bad elements that the given ones do not explain."""
    return (bad.nans > 0 and not given.nans) or (bad.infs > 0 and not given.nans and not given.infs)


def _values(result: Any) -> Any:
    """Cotangents, each Scatter replaced by its values."""
    if type(result) is Scatter:
        return result.values
    return [_values(part) for part in result] if isinstance(result, (list, tuple)) else result


def _contents(values: Values) -> Contents:
    nans = infs = 0
    for _, a in values:
        if type(a) is float:
            nans, infs = nans + math.isnan(a), infs + math.isinf(a)
        elif is_float(a.dtype):
            xp = module_of(a)
            if not xp.isfinite(a).all():
                nans, infs = nans + int(xp.isnan(a).sum()), infs + int(xp.isinf(a).sum())
    return Contents(nans, infs)


def _range(a: Any) -> str:
    """Shape, dtype, the range of the finite elements and the number of the others."""
    if type(a) is float:
        return str(a)
    text = f"{a.dtype} {a.shape}"
    if not a.size:
        return text + ", empty"
    if not is_float(a.dtype):
        return text + f", {a.min()} .. {a.max()}"
    nans, infs = _contents([("", a)])
    finite = a[module_of(a).isfinite(a)].astype(np.float64)
    text += f", {finite.min():.6g} .. {finite.max():.6g}" if finite.size else ""
    return text + "".join(f", {n} {name}" for n, name in ((nans, "nan"), (infs, "inf")) if n)
