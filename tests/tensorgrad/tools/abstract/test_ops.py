"""Every public op on shapes: the same shapes, dtypes and errors as on data, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.verify.case import Case
from tests.tensorgrad.each import CASES_OF, each_case

# Cases whose results have a shape that depends on values: they are refused.
NEED_VALUES = (
    "getitem:where-",  # a mask computed from x
    "nonzero:",
    "one_hot:all-",  # as many classes as the largest id says
    "repeat:one-",  # a tensor of counts
    "unique_all:",
    "unique_counts:",
    "unique_inverse:",
    "unique_values:",
)


def described(x: Any) -> Any:
    """Shapes and dtypes."""
    return [described(part) for part in x] if isinstance(x, (tuple, list)) else (x.shape, x.dtype)


def run(case: Case, dtype: str, *, create_graph: bool) -> Any:
    """What the case's results, gradients, and gradients of those look like."""
    leaves = [tg.tensor(a, dtype=dtype, requires_grad=True) for a in case.inputs()]
    out = case.f(*leaves)
    if not case.is_differentiable:
        return described(out)
    g = tg.ones(out.shape, dtype=out.dtype)
    gradients = tg.grad(out, leaves, g, create_graph=create_graph)
    found = [described(out), described(gradients)]
    wanted = [x for x in gradients if x.requires_grad]
    if wanted:
        found.append(described(tg.grad(wanted, leaves, [tg.ones(x.shape, dtype=x.dtype) for x in wanted])))
    return found


def compare(case: Case, create_graph: bool) -> None:
    """The case on shapes gives the shapes and dtypes that it gives on data, and leaves no memory behind."""
    dtype = "float64" if create_graph else "float32"
    real = run(case, dtype, create_graph=create_graph)
    with tg.abstract() as meter:
        if case.name.startswith(NEED_VALUES):
            with pytest.raises(tg.NoValueError):
                run(case, dtype, create_graph=create_graph)
        else:
            assert run(case, dtype, create_graph=create_graph) == real
    assert meter.live_bytes == 0 or case.name.startswith(NEED_VALUES)


@pytest.mark.parametrize("create_graph", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("op", CASES_OF)
def test_shapes_and_dtypes(op: str, create_graph: bool) -> None:
    each_case(lambda case: compare(case, create_graph), CASES_OF[op])


X = (3, 4)
WRONG: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, i: x + tg.ones((5,)),
    "dtype": lambda x, i: x * i,
    "matmul": lambda x, i: x @ x,
    "linear": lambda x, i: tg.linear(x, tg.ones((2, 5))),
    "bias": lambda x, i: tg.linear(x, tg.ones((2, 4)), tg.ones((3,))),
    "reshape": lambda x, i: x.reshape(5, 2),
    "broadcast": lambda x, i: tg.broadcast_to(x, (3, 5)),
    "axis": lambda x, i: x.sum(axis=2),
    "twice": lambda x, i: x.sum(axis=(0, -2)),
    "index": lambda x, i: x[3],
    "indices": lambda x, i: x[:, np.array([0, 4])],
    "axes": lambda x, i: x[0, 0, 0],
    "concat": lambda x, i: tg.concat([x, tg.ones((3, 5))]),
    "where": lambda x, i: tg.where(x > 0, x, tg.ones((2,))),
    "einsum": lambda x, i: tg.einsum("ij,jk->ik", x, x),
    "norm": lambda x, i: tg.layer_norm(x, tg.ones((3,)), tg.ones((3,))),
    "attention": lambda x, i: tg.scaled_dot_product_attention(x, x, x),
    "rope": lambda x, i: tg.rope(x, tg.ones((3, 3)), tg.ones((3, 3))),
    "loss": lambda x, i: tg.cross_entropy(x, i[:2]),
    "ids": lambda x, i: tg.embedding(x, x),
    "out of range": lambda x, i: tg.embedding(x, np.array([7])),
    "swiglu": lambda x, i: tg.swiglu(x[:, :3]),
    "mlp": lambda x, i: tg.mlp(x, tg.ones((5, 4)), tg.ones((4, 6))),
    "squeeze": lambda x, i: x.squeeze(0),
    "backward": lambda x, i: (x * 2).backward(),
    "cotangent": lambda x, i: (x * 2).backward(tg.ones((4, 3))),
    "no history": lambda x, i: i.backward(),
    "index_update": lambda x, i: tg.index_update(x, 0, tg.ones((3,))),
    "tensor": lambda x, i: tg.tensor([[1.0], [1.0, 2.0]]),
    "integer leaf": lambda x, i: tg.tensor([1, 2], requires_grad=True),
    "solve": lambda x, i: tg.solve(x, x),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_errors(wrong: str) -> None:
    def message() -> tuple[type, str]:
        x, ids = tg.ones(X, requires_grad=True), tg.tensor([0, 1, 2])
        with pytest.raises(tg.TensorgradError) as caught:
            WRONG[wrong](x, ids)
        return type(caught.value), str(caught.value)

    real = message()
    with tg.abstract():
        assert message() == real
