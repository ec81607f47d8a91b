"""The second order of all functions that decompose matrices or solve with them, against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

torch = pytest.importorskip("torch")

from tests.tensorgrad.oracle import matrix  # noqa: E402
from tests.tensorgrad.oracle.compare import Pair, flat, for_torch  # noqa: E402

pytestmark = pytest.mark.oracle

PAIRS = [pair for pair in matrix.table.pairs if pair.op != "matrix_rank"]


def weighted(outs: Any, module: Any) -> Any:
    """A sum of the outputs' squares, each element with its own weight, so that no symmetry hides an error."""
    terms = []
    for out in flat(outs):
        weights = np.random.default_rng(3).normal(size=tuple(out.shape))
        terms.append((out * out * module.asarray(weights)).sum())
    return sum(terms[1:], start=terms[0])


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{i}-{pair.op}" for i, pair in enumerate(PAIRS)])
def test_the_gradient_of_the_gradient(pair: Pair) -> None:
    for kind, draw, arguments in pair.calls("float64"):
        if kind != "ordinary":
            continue
        arrays = draw()
        xs = [tg.tensor(a, requires_grad=True) for a in arrays]
        ts = [torch.tensor(a, requires_grad=True) for a in arrays]
        out = weighted(pair.ours(*xs, **arguments), tg)
        peer = weighted(pair.theirs(*ts, **for_torch(arguments, "float64")), torch)
        if not out.requires_grad:
            continue
        first = tg.grad(out, xs, create_graph=True)
        firsts = torch.autograd.grad(peer, ts, create_graph=True, allow_unused=True, materialize_grads=True)
        slope, slopes = weighted(first, tg), weighted(firsts, torch)
        if not slope.requires_grad or not slopes.requires_grad:
            continue  # PyTorch knows that a 1 by 1 determinant is linear
        seconds = torch.autograd.grad(slopes, ts, allow_unused=True, materialize_grads=True)
        for got, want in zip(tg.grad(slope, xs), seconds, strict=True):
            expected = want.numpy(force=True)
            scale = max(1.0, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(got.numpy(), expected, atol=1e-9 * scale, rtol=0, err_msg=str(arguments))
