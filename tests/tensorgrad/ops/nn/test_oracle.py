"""The neural ops, and the conventions at points without a derivative, against PyTorch on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

torch = pytest.importorskip("torch")
functional = torch.nn.functional
pytestmark = pytest.mark.oracle

TARGETS = np.array([[1, -100, 4], [0, 2, 2]])
MASK = np.random.default_rng(0).random((2, 1, 5, 7)) < 0.7
MASK[..., 0] = True
BIAS = np.random.default_rng(1).normal(size=(4, 5, 7))
QKV = ((2, 4, 5, 6), (2, 4, 7, 6), (2, 4, 7, 3))
GROUPED = ((2, 4, 5, 6), (2, 2, 5, 6), (2, 2, 5, 6))


def attention(**options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Ours and PyTorch's, with the same options."""
    mask = options.pop("mask", None)

    def typed(x: Any) -> Any:
        return (
            mask
            if mask is None or mask.dtype == bool
            else mask.astype(x.dtype if type(x) is tg.Tensor else str(x.dtype)[6:])
        )

    def ours(q: Any, k: Any, v: Any) -> Any:
        return tg.scaled_dot_product_attention(q, k, v, mask=typed(q), **options)

    def theirs(q: Any, k: Any, v: Any) -> Any:
        attn_mask = None if mask is None else torch.tensor(typed(q))
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=attn_mask, enable_gqa=q.shape[1] != k.shape[1], **options
        )

    return ours, theirs


def entropy(**options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return (
        lambda x: tg.cross_entropy(x, TARGETS, **options),
        lambda x: functional.cross_entropy(x.movedim(-1, 1), torch.tensor(TARGETS), **options),
    )


CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "softmax": (lambda x: tg.softmax(x, axis=1), lambda x: torch.softmax(x, 1), ((2, 5, 3),)),
    "log_softmax": (lambda x: tg.log_softmax(x), lambda x: torch.log_softmax(x, -1), ((2, 5, 3),)),
    "cross_entropy mean": (*entropy(), ((2, 3, 5),)),
    "cross_entropy sum": (*entropy(reduction="sum"), ((2, 3, 5),)),
    "cross_entropy none": (*entropy(reduction="none"), ((2, 3, 5),)),
    "cross_entropy ignore": (
        lambda x: tg.cross_entropy(x, TARGETS % 5, ignore_index=2),
        lambda x: functional.cross_entropy(x.movedim(-1, 1), torch.tensor(TARGETS % 5), ignore_index=2),
        ((2, 3, 5),),
    ),
    "layer_norm": (
        lambda x, w, b: tg.layer_norm(x, w, b),
        lambda x, w, b: functional.layer_norm(x, w.shape, w, b, 1e-5),
        ((2, 3, 8), (8,), (8,)),
    ),
    "rms_norm": (
        lambda x, w: tg.rms_norm(x, w, eps=1e-5),
        lambda x, w: functional.rms_norm(x, w.shape, w, 1e-5),
        ((2, 3, 8), (8,)),
    ),
    "gelu": (tg.gelu, functional.gelu, ((4, 5),)),
    "gelu tanh": (
        lambda x: tg.gelu(x, approximate="tanh"),
        lambda x: functional.gelu(x, approximate="tanh"),
        ((4, 5),),
    ),
    "silu": (tg.silu, functional.silu, ((4, 5),)),
    "embedding": (
        lambda w: tg.embedding(w, TARGETS % 6),
        lambda w: functional.embedding(torch.tensor(TARGETS % 6), w),
        ((6, 3),),
    ),
    "linear": (tg.linear, functional.linear, ((2, 3, 4), (5, 4), (5,))),
    "logsumexp": (lambda x: tg.logsumexp(x, axis=(0, 2)), lambda x: torch.logsumexp(x, (0, 2)), ((2, 3, 4),)),
    "einsum": (
        lambda x, y: tg.einsum("bij,bkj->bik", x, y),
        lambda x, y: torch.einsum("bij,bkj->bik", x, y),
        ((2, 3, 4), (2, 5, 4)),
    ),
    "attention": (*attention(), QKV),
    "attention causal": (*attention(is_causal=True), GROUPED[:1] * 3),
    "attention causal, unequal lengths": (*attention(is_causal=True), QKV),
    "attention bool mask": (*attention(mask=MASK), QKV),
    "attention float mask": (*attention(mask=BIAS), QKV),
    "attention grouped": (*attention(), GROUPED),
    "attention grouped causal": (*attention(is_causal=True), GROUPED),
    "attention scaled": (*attention(scale=0.3), QKV),
}


@pytest.mark.parametrize(("dtype", "relative"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_agree(name: str, dtype: str, relative: float) -> None:
    ours, theirs, shapes = CASES[name]
    arrays = [np.random.default_rng([3, i]).normal(size=shape).astype(dtype) for i, shape in enumerate(shapes)]
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    out, expected = ours(*xs), theirs(*ts)
    assert str(expected.dtype) == f"torch.{out.dtype}"
    g = np.random.default_rng(4).normal(size=out.shape).astype(dtype)
    dxs = tg.grad(out, xs, g)
    dts = torch.autograd.grad(expected, ts, torch.tensor(g))
    for got, want in zip((out, *dxs), (expected, *dts), strict=True):
        want = want.detach().numpy()
        np.testing.assert_allclose(got.numpy(), want, rtol=relative, atol=relative * np.abs(want).max())


NO_TARGET = (
    lambda x: tg.cross_entropy(x[None], np.array([-100]), reduction="sum"),
    lambda x: functional.cross_entropy(x[None], torch.tensor([-100]), reduction="sum"),
)


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "at"),
    [
        ("max of all shares a tie", lambda x: x.max(), lambda x: x.max(), [3.0, 1.0, 3.0]),
        ("min of all shares a tie", lambda x: x.min(), lambda x: x.min(), [1.0, 1.0, 3.0]),
        ("max along an axis picks one", lambda x: x.max(axis=0), lambda x: x.max(0).values, [3.0, 1.0, 3.0]),
        ("maximum halves a tie", lambda x: tg.maximum(x, x * 1.0), lambda x: torch.maximum(x, x * 1.0), [1.0, 2.0]),
        ("maximum with 0", lambda x: tg.maximum(x, 0), lambda x: torch.maximum(x, torch.zeros_like(x)), [0.0, 1.0]),
        ("abs", lambda x: abs(x), lambda x: x.abs(), [0.0, -1.0, 2.0]),
        ("clip", lambda x: tg.clip(x, -1.0, 1.0), lambda x: x.clamp(-1, 1), [-1.0, 1.0, 1.5, 0.0]),
        ("relu", tg.relu, torch.relu, [0.0, -1.0, 1.0]),
        ("sqrt", tg.sqrt, torch.sqrt, [0.0, 4.0]),
        ("x ** 2", lambda x: x**2, lambda x: x**2, [0.0, -3.0]),
        ("x ** 1", lambda x: x**1, lambda x: x**1, [0.0, -3.0]),
        ("x ** 0", lambda x: x**0, lambda x: x**0, [0.0, -3.0]),
        ("x ** 0.5", lambda x: x**0.5, lambda x: x**0.5, [0.0, 3.0]),
        ("x ** y in x", lambda x: x ** np.arange(3.0), lambda x: x ** torch.arange(3.0, dtype=x.dtype), [0.0] * 3),
        ("0 ** y in y", lambda y: np.zeros(3) ** y, lambda y: torch.zeros_like(y) ** y, [0.0, 1.0, 2.0]),
        ("prod with a zero", lambda x: tg.prod(x), lambda x: x.prod(), [2.0, 0.0, 3.0]),
        ("prod with zeros", lambda x: tg.prod(x), lambda x: x.prod(), [0.0, 0.0, 3.0]),
        ("std", lambda x: tg.std(x, correction=1), lambda x: x.std(), [1.0, 2.0, 4.0]),
        ("sigmoid far out", tg.sigmoid, torch.sigmoid, [-1000.0, 1000.0]),
        ("no target at all", *NO_TARGET, [1.0, 2.0]),
    ],
)  # fmt: skip
def test_conventions_agree(name: str, ours: Any, theirs: Any, at: list[float]) -> None:
    x = tg.tensor(np.array(at), requires_grad=True)
    t = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    with np.errstate(divide="ignore"):
        out = ours(x)
        (dx,) = tg.grad(out.sum(), x)
    expected = theirs(t)
    (dt,) = torch.autograd.grad(expected.sum(), t)
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(dx.numpy(), dt.numpy(), rtol=1e-14)


def test_a_query_that_sees_nothing_gets_zeros_where_pytorch_gives_nan_or_zeros() -> None:
    mask = np.ones((1, 1, 3, 3), bool)
    mask[..., 1, :] = False
    q, k, v = (tg.tensor(np.random.default_rng(i).normal(size=(1, 1, 3, 2))) for i in range(3))
    theirs = functional.scaled_dot_product_attention(
        *(torch.tensor(x.numpy()) for x in (q, k, v)), attn_mask=torch.tensor(mask)
    ).numpy()
    out = tg.scaled_dot_product_attention(q, k, v, mask=mask).numpy()
    np.testing.assert_allclose(out[..., [0, 2], :], theirs[..., [0, 2], :], rtol=1e-12)
    np.testing.assert_array_equal(out[..., 1, :], 0)
