"""The rules by which work is counted."""

from __future__ import annotations

import numpy as np
import pytest

from tensorgrad.kernels import Kernels
from tensorgrad.kernels.attending import Attending
from tensorgrad.tools.flops import einsum_flops, kernel_flops, linalg_flops, matmul_flops, seen_pairs


def test_products() -> None:
    assert matmul_flops((5, 3, 7), (7, 2), 5 * 3 * 2) == 2 * 5 * 3 * 2 * 7
    assert matmul_flops((7,), (7,), 1) == 14
    assert einsum_flops("ij,jk->ik", [(3, 7), (7, 2)]) == 2 * 3 * 7 * 2
    assert einsum_flops("ij->i", [(3, 7)]) == 21


def test_decompositions() -> None:
    assert linalg_flops("inv", (3, 4, 4)) == 3 * 2 * 64
    assert linalg_flops("qr", (5, 2)) == linalg_flops("qr", (2, 5)) == 4 * 5 * 4
    assert linalg_flops("norm", (7,)) == 7


@pytest.mark.parametrize("queries", range(5))
@pytest.mark.parametrize("keys", range(5))
def test_seen_pairs(queries: int, keys: int) -> None:
    assert seen_pairs(queries, keys, False) == queries * keys
    assert seen_pairs(queries, keys, True) == int(np.tril(np.ones((queries, keys))).sum())


def test_every_kernel_has_a_rule() -> None:
    names = {name for name in vars(Kernels) if not name.startswith("_")}
    x = np.ones((2, 3, 4, 2), np.float32)
    attending = Attending(is_causal=False, scale=1.0)
    args = {
        "attention": (x, x, x, attending),
        "attention_gradient": (x, x, x, x, x, x[..., 0], attending),
        "cross_entropy": (x, x, None),
        "cross_entropy_gradient": (x, x, x, x, x, None, x, x),
        "mlp_activation": (x, None, "gelu", False),
        "mlp_activation_gradient": (x, x, "gelu", False, False),
        "scatter_add": (x, 0, x),
    }
    without_floats = {"cast", "fill_rows", "fold_in", "take_rows", "uniform"}
    for name in names:
        assert (kernel_flops(name, args.get(name, (x, x))) > 0) == (name not in without_floats), name
