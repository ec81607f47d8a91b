"""Every fused op against its definition in basic ops: the same values, and the same gradients of both orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.ops.nn.activation import gelu_definition, silu_definition, swiglu_definition
from tensorgrad.ops.nn.attention import attention_definition, rope_definition, self_attention_definition
from tensorgrad.ops.nn.cross_entropy import cross_entropy_definition
from tensorgrad.ops.nn.mlp import ACTIVATIONS, mlp_definition
from tensorgrad.ops.nn.norm import layer_norm_definition, rms_norm_definition
from tensorgrad.ops.nn.softmax import log_softmax_definition, softmax_definition

WEIGHT = np.array([0.5, 2.0, 1.0, 0.3, 0.0])
IDS = np.array([[1, -100, 4], [0, 2, 2]])
COS, SIN = np.cos(np.arange(6.0).reshape(3, 2)), np.sin(np.arange(6.0).reshape(3, 2))
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
        lambda *xs: attention_definition(*xs, MASK, True, 0.4),
        ((2, 4, 3, 2), (2, 2, 4, 2), (2, 2, 4, 3)),
    ),
    "self attention": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True),
        lambda x: self_attention_definition(x, 2, True, 2**-0.5, None, None, None),
        ((2, 3, 4, 2),),
    ),
    "self attention, turned": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True, rotation=(COS, SIN)),
        lambda x: self_attention_definition(x, 2, True, 0.5, None, (COS, SIN), None),
        ((2, 3, 4, 4),),
    ),
    "self attention, normalised": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True, qk_norm_eps=0.1),
        lambda x: self_attention_definition(x, 2, True, 0.5, 0.1, None, None),
        ((2, 3, 4, 4),),
    ),
    "self attention, normalised and turned": (
        lambda x: tg.self_attention(x, num_heads=2, is_causal=True, qk_norm_eps=0.1, rotation=(COS, SIN)),
        lambda x: self_attention_definition(x, 2, True, 0.5, 0.1, (COS, SIN), None),
        ((2, 3, 4, 4),),
    ),
    "self attention dropout": (
        lambda x: tg.self_attention(x, num_heads=2, dropout_rate=0.3, key=tg.Key(1)),
        lambda x: self_attention_definition(x, 2, False, 2**-0.5, None, None, (tg.Key(1), 0.3)),
        ((2, 3, 4, 2),),
    ),
    "attention dropout": (
        lambda *xs: tg.scaled_dot_product_attention(*xs, mask=MASK, dropout_rate=0.3, key=tg.Key(1)),
        lambda *xs: attention_definition(*xs, MASK, False, 2**-0.5, (tg.Key(1), 0.3)),
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
