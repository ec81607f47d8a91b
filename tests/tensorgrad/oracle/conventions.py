"""Where ours and PyTorch differ on purpose, with the reason and both results; and functions PyTorch does not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import tensorgrad as tg

nan, inf = math.nan, math.inf


@dataclass(frozen=True)
class Difference:
    """A point where the two give different values or gradients (of the sum) in float64."""

    name: str
    reason: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    at: Any
    value: tuple[Any, Any]  # ours, PyTorch's
    gradient: tuple[Any, Any] | None = None  # None: not compared


def unseen(q: Any, k: Any, v: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (
        lambda x: tg.scaled_dot_product_attention(x, k, v, mask=np.zeros((1, 1, 1, 2), bool)),
        lambda x: functional.scaled_dot_product_attention(
            x, torch.tensor(k), torch.tensor(v), attn_mask=torch.zeros((1, 1, 1, 2), dtype=torch.bool)
        ),
    )


STANDARD = "the array API's standard says so"
PAIR = np.array([[[[0.5], [1.0]]]])

DIFFERENCES = (
    Difference("sign of nan", STANDARD, tg.sign, torch.sign, [nan], ([nan], [0.0])),
    Difference(
        "floor_divide of or by inf",
        STANDARD,
        lambda x: tg.floor_divide(x, tg.tensor([1.0, -inf], dtype="float64")),
        lambda x: torch.floor_divide(x.detach(), torch.tensor([1.0, -inf], dtype=torch.float64)),
        *([inf, 2.0], ([inf, -0.0], [nan, -1.0])),
    ),
    Difference(
        "negative zero ** -0.5",
        f"{STANDARD} and IEEE's pow; PyTorch takes 1 / sqrt(x)",
        *(lambda x: x**-0.5, lambda x: x**-0.5, [-0.0], ([inf], [-inf])),
    ),
    Difference(
        "the derivative of negative zero ** 0.5",
        "as above, of the power in it",
        *(lambda x: x**0.5, lambda x: x**0.5, [-0.0], ([-0.0], [-0.0]), ([inf], [-inf])),
    ),
    Difference(
        "prod with an inf",
        "the product of the others; PyTorch divides the product by the element",
        *(tg.prod, torch.prod, [2.0, inf, 3.0], (inf, inf), ([inf, 6.0, inf], [inf, nan, inf])),
    ),
    Difference(
        "amax with a nan, along several axes",
        "the nan is the largest, and gets the gradient, as in PyTorch's own max over everything",
        lambda x: tg.max(x, axis=(0, 1)),
        lambda x: torch.amax(x, (0, 1)),
        *([[1.0, nan]], (nan, nan), ([[0.0, 1.0]], [[nan, nan]])),
    ),
    Difference(
        "the derivative of var without degrees of freedom",
        "that of the quotient by 0, with its sign; PyTorch's has none over everything, and over one axis another value",
        lambda x: tg.var(x, correction=3),
        lambda x: torch.var(x, correction=3),
        *([1.0, 4.0], (inf, inf), ([-inf, inf], [inf, inf])),
    ),
    Difference(
        "the derivative of logsumexp where all are -inf",
        "no element has a weight; PyTorch's difference of infinities is nan",
        *(lambda x: tg.logsumexp(x, axis=0), lambda x: torch.logsumexp(x, 0), [-inf, -inf], (-inf, -inf)),
        ([0.0, 0.0], [nan, nan]),
    ),
    Difference(
        "logsumexp of -inf only",
        "no element has a part in it; PyTorch's gradient is exp(-inf - -inf)",
        lambda x: tg.logsumexp(x, axis=0),
        lambda x: torch.logsumexp(x, 0),
        *([-inf, -inf], (-inf, -inf), ([0.0, 0.0], [nan, nan])),
    ),
    Difference(
        "cross_entropy of an ignored row of nan",
        "an ignored row has no part in the loss",
        lambda x: tg.cross_entropy(x, np.array([0, -100])),
        lambda x: functional.cross_entropy(x, torch.tensor([0, -100])),
        [[0.0, 0.0], [0.0, nan]],
        (math.log(2), math.log(2)),
        ([[-0.5, 0.5], [0.0, 0.0]], [[-0.5, 0.5], [nan, nan]]),
    ),
    Difference(
        "cosine_similarity below eps",
        "the derivative of what is computed; PyTorch's is that of the norm, past the bound that took its place",
        lambda x: tg.cosine_similarity(x, tg.tensor([[3.0, 4.0]], dtype="float64"), eps=10.0),
        lambda x: functional.cosine_similarity(x, torch.tensor([[3.0, 4.0]], dtype=torch.float64), eps=10.0),
        *([[1.0, 0.0]], ([0.03], [0.03]), ([[0.03, 0.04]], [[0.027, 0.04]])),
    ),
    Difference(
        "kl_div in a target of 0",
        "the limit; targets of 0 are common, and PyTorch's nan spreads",
        lambda t: tg.kl_div(tg.zeros((1,), dtype="float64"), t, reduction="sum"),
        lambda t: functional.kl_div(torch.zeros(1, dtype=torch.float64), t, reduction="sum"),
        *([0.0], (0.0, 0.0), ([-inf], [nan])),
    ),
    Difference(
        "attention of a query that may see no key",
        "zeros for a token that padding leaves alone; PyTorch's answer depends on the kernel",
        *unseen(PAIR, PAIR, PAIR),
        *([[[[1.0]]]], ([[[[0.0]]]], [[[[0.0]]]])),
    ),
    Difference(
        "gelu far below 0",
        "right to the last digits; PyTorch's 1 + erf cancels",
        *(tg.gelu, functional.gelu, [-10.0], ([-7.61985302416053e-23], [-0.0])),
        ([-7.61840009646482e-22], [-7.69459862670642e-22]),
    ),
    Difference(
        "the derivative of expm1 far below 0",
        "as above; PyTorch's y + 1 cancels",
        *(tg.expm1, torch.expm1, [-50.0], ([-1.0], [-1.0]), ([1.92874984796392e-22], [0.0])),
    ),
    Difference(
        "the derivative of sigmoid far above 0",
        "as above; PyTorch's 1 - y cancels",
        *(tg.sigmoid, torch.sigmoid, [50.0], ([1.0], [1.0]), ([1.92874984796392e-22], [0.0])),
    ),
)

# The public functions that PyTorch does not have.
WITHOUT_PEER: dict[str, str] = {
    "broadcast_shapes": "of shapes, not of tensors",
    "unique_all": "PyTorch does not tell where each element is first; its other results are unique_inverse's",
    "dropout": "its mask comes from our own keys",
    "rope": "no such function in PyTorch; its definition in basic ops is compared in test_definitions.py",
}
