"""Every fused op against its definition in basic ops: the same values, and the same gradients of both orders."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import gemm
from tensorgrad.kernels.attending import Attending
from tensorgrad.ops.nn.activation import gelu_definition, silu_definition, swiglu_definition
from tensorgrad.ops.nn.attention import attention_definition, rope_definition, self_attention_definition
from tensorgrad.ops.nn.cross_entropy import cross_entropy_definition
from tensorgrad.ops.nn.mlp import ACTIVATIONS, mlp_definition
from tensorgrad.ops.nn.norm import layer_norm_definition, rms_norm_definition
from tensorgrad.ops.nn.softmax import log_softmax_definition, softmax_definition
from tensorgrad.random import as_pairs

WEIGHT = np.array([0.5, 2.0, 1.0, 0.3, 0.0])
IDS = np.array([[1, -100, 4], [0, 2, 2]])
COS, SIN = np.cos(np.arange(6.0).reshape(3, 2)), np.sin(np.arange(6.0).reshape(3, 2))
DROPPING = Attending(is_causal=False, scale=2**-0.5, dropout=(as_pairs(tg.Key(1), "cpu"), 0.3))
MASK = np.tril(np.ones((3, 4), bool), 1)[None, None]

PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "gelu": (tg.gelu, lambda x: gelu_definition(x, "none"), ((3, 4),)),
    "gelu tanh": (lambda x: tg.gelu(x, approximate="tanh"), lambda x: gelu_definition(x, "tanh"), ((3, 4),)),
    "silu": (tg.silu, silu_definition, ((3, 4),)),
    "swiglu": (tg.swiglu, swiglu_definition, ((2, 3, 4),)),
    "softmax": (lambda x: tg.softmax(x, axis=1), lambda x: softmax_definition(x, 1), ((2, 3, 4),)),
    "log_softmax": (lambda x: tg.log_softmax(x, axis=0), lambda x: log_softmax_definition(x, 0), ((2, 3, 4),)),
    "cross_entropy": (
        lambda x: tg.cross_entropy(x, IDS),
        lambda x: cross_entropy_definition(x, IDS, None, -100, 0.0, 0.0, "mean"),
        ((2, 3, 5),),
    ),
    "cross_entropy none": (
        lambda x: tg.cross_entropy(x, IDS, reduction="none"),
        lambda x: cross_entropy_definition(x, IDS, None, -100, 0.0, 0.0, "none"),
        ((2, 3, 5),),
    ),
    "cross_entropy everything": (
        lambda x: tg.cross_entropy(x, IDS, weight=WEIGHT, label_smoothing=0.2, z_loss=0.1),
        lambda x: cross_entropy_definition(x, IDS, WEIGHT, -100, 0.2, 0.1, "mean"),
        ((2, 3, 5),),
    ),
    "layer_norm": (tg.layer_norm, lambda *xs: layer_norm_definition(*xs, eps=1e-5), ((2, 3, 5), (5,), (5,))),
    "layer_norm no bias": (tg.layer_norm, lambda *xs: layer_norm_definition(*xs, eps=1e-5), ((4, 5), (5,))),
    "rms_norm": (
        lambda *xs: tg.rms_norm(*xs, eps=1e-6),
        lambda *xs: rms_norm_definition(*xs, eps=1e-6),
        ((2, 3, 5), (5,)),
    ),
    "layer_norm of two axes": (
        tg.layer_norm,
        lambda *xs: layer_norm_definition(*xs, axes=2, eps=1e-5),
        ((2, 3, 5), (3, 5), (3, 5)),
    ),
    "layer_norm without weight": (
        lambda x, b: tg.layer_norm(x, None, b),
        lambda x, b: layer_norm_definition(x, None, b, eps=1e-5),
        ((4, 5), (5,)),
    ),
    "rms_norm of two axes": (
        lambda x: tg.rms_norm(x, normalized_shape=(3, 5), eps=0.1),
        lambda x: rms_norm_definition(x, axes=2, eps=0.1),
        ((2, 3, 5),),
    ),
    "rope": (lambda x: tg.rope(x, COS, SIN), lambda x: rope_definition(x, COS, SIN), ((2, 3, 4),)),
    "attention": (
        lambda *xs: tg.scaled_dot_product_attention(*xs, mask=MASK, is_causal=True, scale=0.4),
        lambda *xs: attention_definition(*xs, MASK, Attending(is_causal=True, scale=0.4)),
        ((2, 4, 3, 2), (2, 2, 4, 2), (2, 2, 4, 3)),
    ),
    "self attention": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True),
        lambda x: self_attention_definition(x, 2, None, None, Attending(is_causal=True, scale=2**-0.5)),
        ((2, 3, 4, 2),),
    ),
    "self attention, turned": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True, rotation=(COS, SIN)),
        lambda x: self_attention_definition(x, 2, None, (COS, SIN), Attending(is_causal=True, scale=0.5)),
        ((2, 3, 4, 4),),
    ),
    "self attention, normalised": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True, qk_norm_eps=0.1),
        lambda x: self_attention_definition(x, 2, 0.1, None, Attending(is_causal=True, scale=0.5)),
        ((2, 3, 4, 4),),
    ),
    "self attention, normalised and turned": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True, qk_norm_eps=0.1, rotation=(COS, SIN)),
        lambda x: self_attention_definition(x, 2, 0.1, (COS, SIN), Attending(is_causal=True, scale=0.5)),
        ((2, 3, 4, 4),),
    ),
    "self attention dropout": (
        lambda x: tg.self_attention(x, num_heads=2, dropout_rate=0.3, key=tg.Key(1)),
        lambda x: self_attention_definition(x, 2, None, None, DROPPING),
        ((2, 3, 4, 2),),
    ),
    "attention dropout": (
        lambda *xs: tg.scaled_dot_product_attention(*xs, mask=MASK, dropout_rate=0.3, key=tg.Key(1)),
        lambda *xs: attention_definition(*xs, MASK, DROPPING),
        ((2, 4, 3, 2), (2, 2, 4, 2), (2, 2, 4, 3)),
    ),
}


for name in ACTIVATIONS:
    for biases in ((), ((8 if name == "swiglu" else 4,), (5,))):
        PAIRS[f"mlp {name}{' with biases' if biases else ''}"] = (
            lambda *xs, a=name: tg.mlp(*xs, activation=a),
            lambda *xs, a=name: mlp_definition(*xs, activation=a),
            ((2, 3, 3), (8 if name == "swiglu" else 4, 3), (5, 4), *biases),
        )


@pytest.mark.parametrize("name", PAIRS)
def test_a_fused_op_is_its_definition(name: str) -> None:
    fused, definition, shapes = PAIRS[name]
    arrays = [np.random.default_rng([7, i]).normal(size=shape) for i, shape in enumerate(shapes)]

    def run(f: Callable[..., Any], create_graph: bool) -> list[np.ndarray]:
        xs = [tg.tensor(a, requires_grad=True) for a in arrays]
        out = tg.sin(f(*xs))  # so that rope, which is linear, has a second order too
        g = np.random.default_rng(8).normal(size=out.shape)
        first = tg.grad(out, xs, g, create_graph=create_graph)
        second = tg.grad(sum(tg.square(d).sum() for d in first), xs) if create_graph else ()
        return [t.numpy() for t in (out, *first, *second)]

    expected = run(definition, True)
    for create_graph in (False, True):
        found = run(fused, create_graph)
        for got, want in zip(found, expected[: len(found)], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


# An op of three or more matrices, and how many products the gradients of some of them take.
PRODUCTS: list[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...], dict[tuple[int, ...], int]]] = [
    ("linear", tg.linear, ((5, 4), (3, 4), (3,)), {(0,): 1, (1,): 1, (2,): 0, (1, 2): 1, (0, 1, 2): 2}),
    (
        "mlp",
        tg.mlp,
        ((5, 4), (8, 4), (4, 8), (8,), (4,)),
        {(0,): 2, (1,): 2, (2,): 1, (3,): 1, (4,): 0, (2, 4): 1, (0, 1): 3, (0, 1, 2, 3, 4): 4},
    ),
    (
        "linear_cross_entropy",
        lambda x, w: tg.linear_cross_entropy(x, w, tg.arange(5, device=x.device) % 3),
        ((5, 4), (3, 4)),
        {(0,): 1, (1,): 1, (0, 1): 2},
    ),
    (
        "solve",
        lambda x, y: tg.solve(x + 3 * tg.eye(4, dtype="float64", device=x.device), y),
        ((4, 4), (4, 2)),
        {(0,): 1, (1,): 0},
    ),
    (
        "recompute",
        tg.recompute(lambda x, w, v: tg.linear(tg.tanh(tg.linear(x, w)), v)),
        ((5, 4), (3, 4), (2, 3)),
        {(0,): 2 + 2, (1,): 2 + 2, (2,): 2 + 1, (0, 1, 2): 2 + 4},
    ),
]


@pytest.mark.parametrize(("name", "f", "shapes", "counts"), PRODUCTS, ids=[row[0] for row in PRODUCTS])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_no_product_is_made_for_a_gradient_that_is_not_requested(
    name: str, f: Any, shapes: Any, counts: dict[tuple[int, ...], int], device: str, cupy: Any, monkeypatch: Any
) -> None:
    arrays = [np.random.default_rng([7, i]).normal(size=shape) for i, shape in enumerate(shapes)]
    xs = [tg.tensor(a, requires_grad=True, device=device) for a in arrays]
    made: list[int] = []
    for module in (gemm.cpu, importlib.import_module("tensorgrad.kernels.gemm.cuda")):
        for product in ("matmul", "matmul_into"):
            if original := getattr(module, product, None):
                counted = functools.wraps(original)(lambda *a, f=original, **k: made.append(1) or f(*a, **k))
                monkeypatch.setattr(module, product, counted)

    def gradients(which: Any) -> list[np.ndarray]:
        out = tg.sin(f(*xs)).sum()
        made.clear()
        return [g.numpy() for g in tg.grad(out, [xs[i] for i in which])]

    everything = gradients(range(len(xs)))
    for which, count in counts.items():
        found = gradients(which)
        assert len(made) == count, which
        for got, i in zip(found, which, strict=True):
            np.testing.assert_allclose(got, everything[i], rtol=1e-12)


def test_no_product_is_made_either_where_the_gradient_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention's definition takes two products, and the gradients only the products that lead to a requested one."""
    q, k, v = (tg.tensor(np.random.default_rng(i).normal(size=(1, 2, 3, 4)), requires_grad=True) for i in range(3))
    made, matmul = [], gemm.cpu.matmul
    monkeypatch.setattr(gemm.cpu, "matmul", lambda a, b: made.append(1) or matmul(a, b))
    for wanted, count in (((q,), 2 + 2), ((k,), 2 + 2), ((v,), 2 + 1), ((q, k, v), 2 + 4)):
        out = tg.scaled_dot_product_attention(q, k, v).sum()
        made.clear()
        first = tg.grad(out, wanted, create_graph=True)
        assert len(made) == count
        tg.grad(sum(tg.square(g).sum() for g in first), (q, k, v))  # all three take part, requested or not


@pytest.mark.parametrize(
    "needed", [(True, False, False), (False, True, False), (False, True, True), (True, False, True)]
)
def test_joint_gradients_reach_only_the_inputs_that_need_them(needed: tuple[bool, ...]) -> None:
    arrays = [np.random.default_rng([9, i]).normal(size=shape) for i, shape in enumerate(((3, 4), (4,), (4,)))]

    def gradients(flags: tuple[bool, ...], **options: Any) -> list[np.ndarray | None]:
        xs = [tg.tensor(a, requires_grad=flag) for a, flag in zip(arrays, flags, strict=True)]
        wanted = [x for x in xs if x.requires_grad]
        found = iter(tg.grad(tg.sin(tg.layer_norm(*xs)).sum(), wanted, **options))
        return [next(found).numpy() if flag else None for flag in flags]

    everything = gradients((True, True, True))
    for options in ({}, {"create_graph": True}):
        for got, expected, flag in zip(gradients(needed, **options), everything, needed, strict=True):
            if flag:
                np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)
