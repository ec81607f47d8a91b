"""Compare a function of ours with PyTorch's: what is compared, and what counts as agreement.

float64: each element within 1e-10 (values) or 1e-9 (gradients) of PyTorch's, relative to the scale of the tensor:
its largest element, or with `elementwise` each element itself. inf and nan must be the same; elementwise functions
must also agree in the sign of zero.
float32: the largest error of a tensor against PyTorch's float64 result is at most 4 times the error of PyTorch's own
float32 result, plus one unit in the last place of the scale. If it is larger, PyTorch may have been exact by luck: the
largest errors of 16 draws of the inputs then decide.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import tensorgrad as tg
from tensorgrad.tape import leaf
from tests.tensorgrad.oracle.inputs import KINDS, LAYOUTS, Shape, laid_out, of_kind, special

Arrays = list[np.ndarray]
Draw = Callable[[], Arrays]
Arguments = Sequence[dict[str, Any]] | Callable[[int], Sequence[dict[str, Any]]]

TOLERANCE = {"value": 1e-10, "gradient": 1e-9}
FACTOR = 4  # how much further from the truth than PyTorch's a float32 result may be
REDRAWS = 15
ROUNDING = 1e-5  # times the tolerances: 5 units in the last place of 1.0


@dataclass(frozen=True)
class Pair:
    """A function of ours, PyTorch's, and the inputs to call both with."""

    op: str
    theirs: Callable[..., Any]
    shapes: tuple[
        tuple[Shape, ...], ...
    ]  # the first set is tried with every kind and layout, the others with ordinary values
    ours: Callable[..., Any]
    arguments: Arguments = ({},)  # keyword arguments, or a function of the first input's number of axes
    domain: str | tuple[str, ...] = "any"
    kinds: tuple[str, ...] = KINDS
    elementwise: bool = False
    signed_zeros: bool = True  # compare the sign of a zero, if elementwise
    avoid: Callable[[np.ndarray], np.ndarray] | None = None  # where the two differ by convention: see conventions.py
    is_view: bool = False  # the result may share the input's memory
    floats: tuple[str, ...] = ("float64", "float32")
    dtypes: tuple[str, ...] = ()  # others that values are compared in: integers and bools

    def calls(self, dtype: str) -> Iterator[tuple[str, Draw, dict[str, Any]]]:
        """Yield everything to compare: (kind, a function that draws inputs, keyword arguments)."""
        rng = np.random.default_rng(zlib.crc32(self.op.encode()))
        for position, shapes in enumerate(self.shapes):
            domains = (self.domain,) * len(shapes) if isinstance(self.domain, str) else self.domain

            def make(kind: str, domains: Sequence[str] = domains, shapes: Sequence[Shape] = shapes) -> Arrays:
                return self.usual([of_kind(kind, d, s, rng, dtype) for d, s in zip(domains, shapes, strict=True)])

            arguments = self.arguments(len(shapes[0])) if callable(self.arguments) else self.arguments
            for some in arguments:
                yield "ordinary", lambda make=make: make("ordinary"), some
                if position:
                    continue
                for kind in self.kinds:
                    yield kind, lambda make=make, kind=kind: make(kind), some
                for layout in LAYOUTS:
                    yield layout, lambda make=make, at=layout: [laid_out(at, a) for a in make("ordinary")], some
                if len(shapes) > 1 and len(set(shapes)) == len(set(domains)) == 1:
                    yield "same tensor", lambda make=make, n=len(shapes): make("ordinary")[:1] * n, some
                if self.elementwise and self.kinds:
                    yield "special", lambda n=len(shapes): self.usual(special(n, dtype)), some

    def usual(self, arrays: Arrays) -> Arrays:
        """The arrays without the values where the two differ by convention."""
        return arrays if self.avoid is None else [np.where(self.avoid(a), 1, a).astype(a.dtype) for a in arrays]


def disagreements(pair: Pair) -> tuple[int, list[str]]:
    """The number of calls compared, and a line for each that disagrees."""
    count, wrong = 0, []
    for dtype in (*pair.floats, *pair.dtypes):
        is_float = dtype.startswith("float")
        for kind, draw, arguments in pair.calls(dtype if is_float else "float64"):
            if not is_float and kind not in ("ordinary", "ties", *LAYOUTS):
                continue
            count += 1
            arrays = draw()
            try:
                if is_float:
                    found = compare(pair, kind, arrays, arguments, dtype)
                    for _ in range(REDRAWS if too_far(found) else 0):
                        found = np.maximum(found, compare(pair, kind, draw(), arguments, dtype))
                    assert not too_far(found), (
                        f"{found[:, 0]} from the truth, PyTorch's {found[:, 1]} (value, gradient)"
                    )
                else:
                    compare_values(pair, [as_kind(dtype, a) for a in arrays], arguments)
            except Exception as problem:  # every error is listed with its call
                shapes = ", ".join(str(a.shape) for a in arrays)
                call = f"{dtype} {kind} {shapes} " + ", ".join(f"{k}={v}" for k, v in arguments.items())
                wrong.append(f"{call}: {problem if type(problem) is AssertionError else repr(problem)}")
    return count, wrong


def as_kind(dtype: str, a: np.ndarray) -> np.ndarray:
    """Convert ordinary numbers to integers or bools."""
    if dtype == "bool":
        return a > 0
    return (np.abs(4 * a) if dtype.startswith("u") else 4 * a).astype(dtype)


def compare(pair: Pair, kind: str, arrays: Arrays, arguments: dict[str, Any], dtype: str) -> np.ndarray:
    """Raise AssertionError if ours and PyTorch's differ in a value or a gradient; float32 errors are returned instead.

    Returns the largest float32 errors against float64: ours, PyTorch's and their scale, for values and for gradients.
    """
    elementwise = pair.elementwise and len({a.shape for a in arrays}) == 1
    # If one tensor is several inputs its gradients add up and may cancel: errors count relative to numbers of order 1.
    # Elsewhere a result that cancels counts relative to the rounding errors of numbers of order 1 at least.
    least = 1.0 if kind == "same tensor" else 0.0 if elementwise else ROUNDING
    before = [a.copy() for a in arrays]
    # Ordinary numbers must cause no warning.
    with np.errstate(all="warn" if kind in ("ordinary", *LAYOUTS) else "ignore", under="ignore"):
        outs, grads, cotangents = run_ours(pair, arrays, arguments, None)
        again, grads_again, _ = run_ours(pair, arrays, arguments, cotangents)
    for a, b in zip(arrays, before, strict=True):
        assert same_bits(a, b), "an input was changed"
    for a, b in zip([*outs, *grads], [*again, *grads_again], strict=True):
        assert same_bits(a, b), "a repeated call gave other bits"
    check_memory(pair, arrays, outs, grads, cotangents)

    peers, peer_grads = run_theirs(pair, arrays, arguments, cotangents, dtype)
    assert len(outs) == len(peers), f"{len(outs)} results, PyTorch has {len(peers)}"
    if dtype != "float64":
        truths, truth_grads = run_theirs(pair, arrays, arguments, cotangents, "float64")
    found = np.zeros((2, 3))
    for number, (role, ours, theirs, true) in enumerate(
        (
            ("value", outs, peers, peers if dtype == "float64" else truths),
            ("gradient", grads, peer_grads, peer_grads if dtype == "float64" else truth_grads),
        )
    ):
        for position, (got, want, truth) in enumerate(zip(ours, theirs, true, strict=True)):
            name = f"{role} {position}"
            assert got.dtype == want.dtype, f"{name} has dtype {got.dtype}, PyTorch's {want.dtype}"
            assert got.shape == want.shape, f"{name} has shape {got.shape}, PyTorch's {want.shape}"
            if got.dtype.kind != "f":
                assert (got == want).all(), f"{name} is {got.tolist()}, PyTorch's {want.tolist()}"
            elif dtype == "float64":
                agree(name, got, want, TOLERANCE[role], elementwise, least)
                if elementwise and pair.signed_zeros and role == "value":
                    different = (got == 0) & (want == 0) & (np.signbit(got) != np.signbit(want))
                    assert not different.any(), f"{name} is {got[different][0]}, not {want[different][0]}"
            else:
                found[number] = np.maximum(found[number], narrow_errors(name, got, want, truth, elementwise, least))
    return found


def compare_values(pair: Pair, arrays: Arrays, arguments: dict[str, Any]) -> None:
    outs = [out.numpy() for out in flat(pair.ours(*map(tg.asarray, arrays), **arguments))]
    peers = [out.numpy() for out in flat(pair.theirs(*map(torch_copy, arrays), **for_torch(arguments, "float32")))]
    for got, want in zip(outs, peers, strict=True):
        assert got.dtype == want.dtype, f"dtype is {got.dtype}, PyTorch's {want.dtype}"
        assert got.shape == want.shape, f"shape is {got.shape}, PyTorch's {want.shape}"
        assert np.array_equal(got, want, equal_nan=True), f"{got.tolist()}, PyTorch's {want.tolist()}"


# --- running both ------------------------------------------------------------------------------


def flat(result: Any) -> list[Any]:
    return [result] if isinstance(result, (tg.Tensor, torch.Tensor)) else list(result)


def run_ours(pair: Pair, arrays: Arrays, arguments: dict[str, Any], cotangents: Any) -> Any:
    """(values, gradients, cotangents), with the given or random cotangents. A missing gradient counts as zero."""
    dtype = str(arrays[0].dtype)
    # One array given twice is one leaf given twice.
    leaves = {id(a): leaf(a) for a in arrays}
    outs = flat(pair.ours(*(leaves[id(a)] for a in arrays), **with_floats(arguments, dtype)))
    if cotangents is None:
        rng = np.random.default_rng(7)
        cotangents = [rng.normal(size=out.shape).astype(dtype if out.dtype.kind != "f" else out.dtype) for out in outs]
    differentiable = [(out, g) for out, g in zip(outs, cotangents, strict=True) if out.requires_grad]
    if differentiable:
        grads = tg.grad([out for out, _ in differentiable], list(leaves.values()), [g for _, g in differentiable])
        found = [g.numpy() for g in grads]
    else:
        found = [np.zeros_like(x.numpy()) for x in leaves.values()]
    return [out.numpy() for out in outs], found, cotangents


def run_theirs(pair: Pair, arrays: Arrays, arguments: dict[str, Any], cotangents: Any, dtype: str) -> Any:
    leaves = {id(a): torch_copy(a.astype(dtype)).requires_grad_() for a in arrays}
    outs = flat(pair.theirs(*(leaves[id(a)] for a in arrays), **for_torch(arguments, dtype)))
    gs = [torch_copy(g).to(out.dtype) for g, out in zip(cotangents, outs, strict=True)]
    differentiable = [(out, g) for out, g in zip(outs, gs, strict=True) if out.requires_grad]
    if differentiable:
        found = torch.autograd.grad(
            [out for out, _ in differentiable],
            list(leaves.values()),
            [g for _, g in differentiable],
            allow_unused=True,
            materialize_grads=True,
        )
    else:
        found = [torch.zeros_like(x) for x in leaves.values()]
    return [out.detach().numpy() for out in outs], [g.numpy() for g in found]


def torch_copy(a: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(a)).reshape(a.shape)


def with_floats(arguments: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The arguments, float arrays among them in `dtype`."""
    return {
        k: v.astype(dtype) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v for k, v in arguments.items()
    }


def for_torch(arguments: dict[str, Any], dtype: str) -> dict[str, Any]:
    return {k: torch_copy(v) if isinstance(v, np.ndarray) else v for k, v in with_floats(arguments, dtype).items()}


# --- agreement ---------------------------------------------------------------------------------


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def check_memory(pair: Pair, arrays: Arrays, outs: Any, grads: Any, cotangents: Any) -> None:
    """Check that gradients share no memory with other arrays, and values none with inputs unless they are views."""
    for g in grads:
        for other in (*arrays, *outs, *cotangents, *(h for h in grads if h is not g)):
            assert not np.shares_memory(g, other), "a gradient shares memory"
    if not pair.is_view:
        for out in outs:
            assert not any(np.shares_memory(out, a) for a in arrays), "the result shares memory with an input"


def classes(a: np.ndarray) -> np.ndarray:
    """0 finite, 1 inf, 2 -inf, 3 nan."""
    return np.isposinf(a) + 2 * np.isneginf(a) + 3 * np.isnan(a)


def scales(want: np.ndarray, elementwise: bool, least: float, dtype: Any) -> np.ndarray:
    """The scale of errors: the largest finite element, or each element; at least `least` and the smallest normal."""
    sizes = np.abs(np.where(np.isfinite(want), want, 0))
    return np.maximum(
        sizes if elementwise else sizes.max(initial=0), max(least, float(np.finfo(dtype).smallest_normal))
    )


def agree(name: str, got: np.ndarray, want: np.ndarray, tolerance: float, elementwise: bool, least: float) -> None:
    different = classes(got) != classes(want)
    assert not different.any(), f"{name} is {got[different][0]}, PyTorch's {want[different][0]}{where(different)}"
    with np.errstate(invalid="ignore"):
        found = np.abs(got - want) / scales(want, elementwise, least, want.dtype)
    found = found[np.isfinite(want)]
    assert (found <= tolerance).all(), f"{name} is {found.max():.2g} from PyTorch's"


def narrow_errors(
    name: str, got: np.ndarray, want: np.ndarray, truth: np.ndarray, elementwise: bool, least: float
) -> tuple[float, float, float]:
    """The largest errors of ours and of PyTorch's, and their scale. An inf or nan in ours alone fails."""
    with np.errstate(all="ignore"):
        rounded = truth.astype(np.float32)
    strange = (classes(got) != classes(rounded)) & (classes(got) != classes(want))
    assert not strange.any(), (
        f"{name} is {got[strange][0]}, PyTorch's {want[strange][0]}, in truth {truth[strange][0]}{where(strange)}"
    )
    counted = np.isfinite(got) & np.isfinite(want) & np.isfinite(rounded)
    got, want, truth = (a[counted].astype(np.float64) for a in (got, want, truth))
    scale = scales(truth, elementwise, least, np.float32)
    unit = scale if elementwise else 1.0
    ours, theirs = (float((np.abs(a - truth) / unit).max(initial=0)) for a in (got, want))
    return ours, theirs, 1.0 if elementwise else float(scale)


def too_far(found: np.ndarray) -> bool:
    ours, theirs, scale = found.T
    return bool((ours > FACTOR * theirs + np.finfo(np.float32).eps * scale).any())


def where(different: np.ndarray) -> str:
    return f" at {tuple(int(i[0]) for i in np.nonzero(different))} and {int(different.sum()) - 1} others"
