"""Every call that the certificate's cases make, beside PyTorch: values and gradients, in float64 and float32."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.verify.cases import CASES
from tests.tensorgrad.calls import Call, calls, mapped
from tests.tensorgrad.each import each

torch = pytest.importorskip("torch")

from tests.tensorgrad.oracle.compare import (  # noqa: E402
    REDRAWS,
    Pair,
    compare,
    compare_values,
    too_far,
    torch_copy,
)
from tests.tensorgrad.oracle.conventions import WITHOUT_PEER  # noqa: E402
from tests.tensorgrad.oracle.peers import COMPARED, CONSTANT, NOT_COMPARED, PEERS  # noqa: E402

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning"),
]

NEAR = 0.005  # relative size of the changes that give further draws of the inputs


class Spelled:
    """One call as a function of its differentiable tensors, in either library."""

    def __init__(self, op: str, call: Call) -> None:
        self.op, self.call = op, call
        self.leaves: dict[int, np.ndarray] = {}
        constant = CONSTANT.get(op, ())
        mapped(self.note, (call.args, {name: x for name, x in call.keywords.items() if name not in constant}))

    def note(self, x: Any) -> None:
        if isinstance(x, tg.Tensor) and x.requires_grad:
            self.leaves[id(x)] = x.detach().numpy()

    def filled(self, xs: tuple[Any, ...], dtype: str, constant: Callable[[np.ndarray], Any]) -> Any:
        """The arguments with xs in the place of the differentiable tensors, and constants of `dtype`."""
        at = dict(zip(self.leaves, xs, strict=True))

        def put(x: Any) -> Any:
            if id(x) in at:
                return at[id(x)]
            a = x.detach().numpy() if isinstance(x, tg.Tensor) else x
            return constant(a.astype(dtype) if a.dtype.kind == "f" else a)

        return mapped(put, self.call.args), mapped(put, self.call.keywords)

    def result(self, f: Callable[..., Any], arguments: Any) -> Any:
        args, keywords = arguments
        return COMPARED.get(self.op, lambda out: out)(f(*args, **keywords))

    def pair(self, dtype: str) -> Pair:
        return Pair(
            self.op,
            # PyTorch's float64 is the truth for a float32.
            lambda *xs: self.result(
                PEERS[self.op], self.filled(xs, str(xs[0].dtype).removeprefix("torch.") if xs else dtype, torch_copy)
            ),
            (),
            lambda *xs: self.result(getattr(tg, self.op), self.filled(xs, dtype, tg.asarray)),
            is_view=True,
        )

    def arrays(self, dtype: str, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        """The values of the differentiable tensors, or values near them."""
        return [
            (a if rng is None else a * (1 + NEAR * rng.uniform(-1, 1, a.shape))).astype(dtype)
            for a in self.leaves.values()
        ]


def is_compared(op: str, call: Call) -> bool:
    """Whether PyTorch has all of the call's arguments, and means the same by them."""
    try:
        inspect.signature(PEERS[op]).bind(*call.args, **call.keywords)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        pass
    return not call.case.startswith(tuple(NOT_COMPARED))


def check(op: str, call: Call, dtype: str) -> None:
    spelled = Spelled(op, call)
    pair, rng = spelled.pair(dtype), np.random.default_rng(0)
    if not spelled.leaves:
        compare_values(pair, [], {})
        return
    found = compare(pair, "certified", spelled.arrays(dtype), {}, dtype)
    for _ in range(REDRAWS if too_far(found) else 0):
        found = np.maximum(found, compare(pair, "certified", spelled.arrays(dtype, rng), {}, dtype))
    assert not too_far(found), f"{found[:, 0]} from the truth, PyTorch's {found[:, 1]} (value, gradient)"


@pytest.mark.parametrize("op", sorted(PEERS))
def test_the_certificate_s_calls_agree(op: str) -> None:
    found = [call for call in calls(op) if is_compared(op, call)]
    assert found, f"{op}: add a case to tensorgrad/verify/cases that PyTorch can be asked too"
    each(
        lambda item: check(op, *item),
        ((f"{call.case} {dtype}", (call, dtype)) for call in found for dtype in ("float64", "float32")),
    )


def test_what_is_not_compared_is_there() -> None:
    names = [case.name for case in CASES]
    for beginning in NOT_COMPARED:
        assert any(name.startswith(beginning) for name in names), beginning


def test_every_function_has_a_peer_or_a_reason_for_having_none() -> None:
    public = set(tg.ops.__all__)
    missing = public - PEERS.keys() - WITHOUT_PEER.keys()
    assert not missing, f"{sorted(missing)}: add PyTorch's spelling to PEERS, or a reason to WITHOUT_PEER"
    assert PEERS.keys() | WITHOUT_PEER.keys() == public
    assert not PEERS.keys() & WITHOUT_PEER.keys()
