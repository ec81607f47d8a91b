"""Every public function against PyTorch on the CPU, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg

torch = pytest.importorskip("torch")

from tests.tensorgrad.oracle import conventions, elementwise, linalg, matrix, nn, reduce, shape  # noqa: E402
from tests.tensorgrad.oracle.compare import Pair, disagreements  # noqa: E402
from tests.tensorgrad.oracle.conventions import DIFFERENCES, Difference  # noqa: E402

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings(r"ignore:(var|std)\(\). degrees of freedom:UserWarning"),
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning"),
]

TABLES = (elementwise, reduce, shape, linalg, matrix, nn)
PAIRS = [pair for module in TABLES for pair in module.table.pairs]


@pytest.mark.parametrize("pair", PAIRS, ids=[f"{i}-{pair.op}" for i, pair in enumerate(PAIRS)])
def test_values_and_gradients_agree(pair: Pair) -> None:
    count, wrong = disagreements(pair)
    assert not wrong, f"{pair.op}: {len(wrong)} of {count} calls disagree:\n" + "\n".join(wrong[:12])


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda d: d.name)
def test_the_two_differ_where_they_are_meant_to(difference: Difference) -> None:
    x = tg.tensor(np.array(difference.at, np.float64), requires_grad=True)
    t = torch.tensor(difference.at, dtype=torch.float64, requires_grad=True)
    with np.errstate(all="ignore"):
        out, peer = difference.ours(x), difference.theirs(t)
        results = [(out, peer, difference.value)]
        if difference.gradient is not None:
            dx, dt = tg.grad(out.sum(), x)[0], torch.autograd.grad(peer.sum(), t)[0]
            results.append((dx, dt, difference.gradient))
    for ours, theirs, expected in results:
        np.testing.assert_allclose(ours.numpy(), expected[0], rtol=1e-13)
        np.testing.assert_allclose(theirs.detach().numpy(), expected[1], rtol=1e-13)


def test_only_functions_with_a_peer_are_said_to_have_none() -> None:
    assert not {pair.op for pair in PAIRS} & conventions.WITHOUT_PEER.keys()
