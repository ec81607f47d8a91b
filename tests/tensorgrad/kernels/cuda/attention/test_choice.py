"""Which provider computes which call, with stand-ins for CuPy and cuDNN; the shim runs the kernels."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.array import to_device, to_numpy
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import cuda, providers, reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda import attention, attention_gradient
from tensorgrad.kernels.cuda.attention.cudnn import CuDNN
from tensorgrad.kernels.cuda.attention.heads import Unsupported
from tensorgrad.kernels.cuda.launch import running_with
from tensorgrad.ops.nn import attention as op
from tensorgrad.random import Key, RowKeys, as_pairs
from tests.cuda_shim import Shim, is_available
from tests.tensorgrad.kernels.cuda.attention import fake_cudnn
from tests.tensorgrad.kernels.cuda.attention.inputs import attention_inputs

pytestmark = pytest.mark.skipif(not is_available(), reason="needs g++")

ONE, EACH = as_pairs(Key(1), "cpu"), as_pairs(RowKeys(Key(1).split(2)), "cpu")


@pytest.fixture
def shim(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shim]:
    """The shim, running kernels for CuPy's stand-in; no cuDNN; nothing chosen."""
    monkeypatch.setitem(sys.modules, "cudnn", None)
    for name in ("_choices", "_chosen", "_fallbacks"):
        monkeypatch.setattr(providers, name, {})
    fake_cudnn.forget()
    found = Shim(5)

    def run(kernel: Any, grid: Any, block: Any, arguments: tuple[Any, ...], shared_bytes: int) -> None:
        hosts = tuple(a._host if isinstance(a, cupy.ndarray) else a for a in arguments)
        found(kernel, grid, block, hosts, shared_bytes)

    with running_with(run):
        yield found


@pytest.fixture
def with_cudnn(shim: Shim, monkeypatch: pytest.MonkeyPatch) -> Shim:
    monkeypatch.setitem(sys.modules, "cudnn", fake_cudnn)
    return shim


def compute(
    element: str, width: int, queries: int, keys: int, *, scale: float = 0.2, heads: int = 2, **rest: Any
) -> None:
    """Both directions on the device, with one head of keys, checked against the definition."""
    arrays = attention_inputs(element, width, heads, 1, queries, keys)
    mask, dropout = rest.get("mask"), rest.get("dropout")
    attending = Attending(is_causal=mask is None, scale=scale, mask=mask, dropout=dropout)
    wide = [x.astype(np.float64) for x in arrays]
    forward = reference.attention(*wide[1:], attending)
    wanted = (*forward, *reference.attention_gradient(*wide, *forward, attending))
    g, q, k, v = (to_device(x, "cuda") for x in arrays)
    if dropout is not None and dropout[0] is EACH:
        attending = replace(attending, dropout=(to_device(EACH, "cuda"), dropout[1]))
    attending = attending if mask is None else replace(attending, mask=to_device(mask, "cuda"))
    out, logsumexp = attention(q, k, v, attending)
    results = (out, logsumexp, *attention_gradient(g, q, k, v, out, logsumexp, attending))
    limit = 4e-3 if element == "float16" else 1e-5 if element == "float32" else 1e-12
    for got, expected in zip(results, wanted, strict=True):
        assert np.abs(to_numpy(got) - expected).max() <= limit * max(0.01, np.abs(expected).max())


def choices() -> list[providers.Choice]:
    """The choices for attention: the definition chooses a provider of products as well."""
    return [choice for choice in providers.choices() if choice.need.startswith("attention")]


def chosen() -> dict[str, str]:
    return {choice.need: choice.chosen for choice in choices()}


def kernels_of(shim: Shim) -> set[str]:
    found = {kernel.source for kernel in shim.launched}
    shim.launched.clear()
    return found


def test_cudnn_is_chosen_where_it_computes_rightly(with_cudnn: Shim) -> None:
    with providers.requiring_fast():
        compute("float16", 32, 40, 40)
    assert chosen() == {"attention in float16": "cudnn"}
    assert not with_cudnn.launched
    assert len(fake_cudnn.executions) == 6  # two shapes in the trial, then the call: twice each


def test_our_own_kernel_is_chosen_where_there_is_no_cudnn(shim: Shim) -> None:
    compute("float16", 32, 40, 40)
    (choice,) = choices()
    assert choice.chosen == "flash"
    assert choice.rejected[0][0] == "cudnn"
    assert "cudnn" in choice.rejected[0][1]
    assert kernels_of(shim) == {"attention_flash.cu"}
    with pytest.raises(DeviceError, match="attention in float16: expected cudnn"), providers.requiring_fast():
        raise AssertionError("the choice is to be refused")


@pytest.mark.parametrize(
    ("declined", "heads", "length"),
    [({"odd"}, 2, 40), ({"grouped"}, 1, 40), ({"odd", "grouped"}, 1, 40)],
)
def test_a_cudnn_that_declines_some_shapes_is_chosen_for_the_others(
    with_cudnn: Shim, declined: set[str], heads: int, length: int
) -> None:
    fake_cudnn.declined_kinds |= declined
    with providers.requiring_fast():
        compute("float16", 32, length, length, heads=heads)
    assert chosen() == {"attention in float16": "cudnn"}
    assert not with_cudnn.launched
    others = {"odd": (1, 41), "grouped": (2, 40)}
    for kind in declined:
        compute("float16", 32, others[kind][1], others[kind][1], heads=others[kind][0])
    assert kernels_of(with_cudnn) == {"attention_flash.cu"}
    reasons = {f"cuDNN has no plan: no engine for {kind}" for kind in declined}
    assert {fallback.reason for fallback in providers.fallbacks()} == reasons


def test_a_first_call_that_cudnn_declines_does_not_lose_it(with_cudnn: Shim) -> None:
    fake_cudnn.declined_kinds.add("grouped")
    compute("float16", 12, 40, 40)  # heads of a width that it does not take either
    assert chosen()["attention in float16"] == "cudnn"
    assert len(fake_cudnn.executions) == 2  # of equal heads, in the trial
    compute("float16", 32, 40, 40, heads=1)
    assert len(fake_cudnn.executions) == 4


@pytest.mark.parametrize("is_failing", [False, True])
def test_a_cudnn_that_declines_everything_is_not_used(with_cudnn: Shim, is_failing: bool) -> None:
    """It says so, or planning fails."""
    if is_failing:
        fake_cudnn.failed.append("no engine for all")
    fake_cudnn.declined_kinds.add("all")
    compute("float16", 32, 40, 40)
    (choice,) = choices()
    assert choice.chosen == "flash"
    assert choice.rejected == (("cudnn", "Unsupported: cuDNN has no plan: no engine for all"),)


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (4, 2, 33, 40)])
def test_a_cudnn_that_is_wrong_for_one_shape_is_not_used(
    with_cudnn: Shim, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    """Both the call's own kind of shape and odd lengths with grouped heads are tried."""
    right = reference.attention

    def wrong(q: np.ndarray, k: np.ndarray, *rest: Any) -> Any:
        out, logsumexp = right(q, k, *rest)
        return out * (1.01 if (*q.shape[1:2], *k.shape[1:2], q.shape[2], k.shape[2]) == shape else 1), logsumexp

    parts = types.SimpleNamespace(attention=wrong, attention_gradient=reference.attention_gradient)
    monkeypatch.setattr(fake_cudnn, "reference", parts)
    compute("float16", 32, 40, 40, heads=1)
    (choice,) = choices()
    assert choice.chosen == "flash"
    assert "out is wrong by 1.0e-02" in choice.rejected[0][1]


def test_a_cudnn_that_computes_wrongly_is_not_used(with_cudnn: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    right = reference.attention_gradient

    def wrong(*arguments: Any) -> Any:
        dq, dk, dv = right(*arguments)
        return dq, dk, dv * 1.01

    parts = types.SimpleNamespace(attention=reference.attention, attention_gradient=wrong)
    monkeypatch.setattr(fake_cudnn, "reference", parts)
    compute("float16", 32, 40, 40)
    (choice,) = choices()
    assert choice.chosen == "flash"
    assert choice.rejected == (
        ("cudnn", "ArithmeticError: dv is wrong by 1.0e-02 of its size, where 3e-03 is allowed"),
    )


def test_without_a_compiler_it_is_unfused(shim: Shim) -> None:
    def none(*arguments: Any) -> None:
        raise DeviceError("no compiler")

    with running_with(none):
        compute("float32", 32, 20, 20)
    (choice,) = choices()
    assert choice == providers.Choice("attention in float32", "unfused", (("plain", "DeviceError: no compiler"),))


@pytest.mark.parametrize("element", ["float32", "float64"])
def test_wide_floats_are_computed_by_the_plain_kernel(with_cudnn: Shim, element: str) -> None:
    with providers.requiring_fast():
        compute(element, 32, 20, 30)
    assert chosen() == {f"attention in {element}": "plain"}
    assert not fake_cudnn.executions


def test_what_cudnn_does_not_take_the_next_one_does(with_cudnn: Shim) -> None:
    compute("float16", 32, 40, 40)
    compute("float16", 32, 40, 40, scale=fake_cudnn.UNLUCKY_SCALE)
    assert kernels_of(with_cudnn) == {"attention_flash.cu"}
    compute("float16", 12, 40, 40)  # neither takes this, so the definition does
    assert not with_cudnn.launched
    assert [fallback.reason for fallback in providers.fallbacks()] == [
        "cuDNN has no plan: no engine for scale 13",
        "heads of width 12",  # from cuDNN, then from our own kernel
        "heads of width 12",
    ]


def test_what_the_only_kernel_does_not_take_is_unfused(shim: Shim) -> None:
    compute("float16", 12, 40, 40)
    assert [fallback.reason for fallback in providers.fallbacks()] == ["heads of width 12"]


def test_a_few_queries_need_no_plan(with_cudnn: Shim) -> None:
    """Generating attends to another length at every token."""
    with providers.requiring_fast():
        compute("float16", 32, 40, 40)
        before = len(fake_cudnn.plans)
        for keys in (17, 18):
            compute("float16", 32, 1, keys)
            compute("float16", 32, 1, keys, mask=np.ones((1, 1, 1, keys), bool))
    assert len(fake_cudnn.plans) == before
    assert not providers.fallbacks()


@pytest.mark.parametrize("rest", [{"mask": np.tri(40, dtype=bool)[None, None]}, {"dropout": (ONE, 0.3)}])
def test_masks_and_dropout_are_our_own_kernel_s(with_cudnn: Shim, rest: dict[str, Any]) -> None:
    with providers.requiring_fast():
        compute("float16", 32, 40, 40, **rest)
    assert chosen() == {"attention in float16, with a mask or dropout": "flash"}
    assert kernels_of(with_cudnn) == {"attention_flash.cu"}
    assert not fake_cudnn.executions
    compute("float16", 12, 40, 40, **rest)  # not taken either, so the definition computes it
    assert [fallback.reason for fallback in providers.fallbacks()] == ["heads of width 12"]


def test_cudnn_refuses_what_is_our_own_kernel_s(with_cudnn: Shim, cupy: Any) -> None:
    x = to_device(np.ones((1, 1, 16, 16), np.float16), "cuda")
    provider = CuDNN(cupy)
    for rest, said in (({"mask": x}, "a mask"), ({"dropout": (ONE, 0.3)}, "dropout")):
        with pytest.raises(Unsupported, match=said):
            provider.attention(x, x, x, Attending(is_causal=True, scale=1.0, **rest))
        with pytest.raises(Unsupported, match=said):
            provider.attention_gradient(x, x, x, x, x, x, Attending(is_causal=True, scale=1.0, **rest))


def test_without_a_compiler_masks_and_dropout_are_unfused(shim: Shim) -> None:
    def none(*arguments: Any) -> None:
        raise DeviceError("no compiler")

    with running_with(none):
        compute("float32", 32, 20, 20, dropout=(EACH, 0.3), mask=np.ones((1, 1, 20, 1), bool))
    (choice,) = choices()
    need = "attention in float32, with a mask or dropout"
    assert choice == providers.Choice(need, "unfused", (("plain", "DeviceError: no compiler"),))


@pytest.mark.parametrize("shape", [(0, 2, 3, 16), (1, 2, 0, 16)])
def test_nothing_is_computed_of_nothing(with_cudnn: Shim, shape: tuple[int, ...]) -> None:
    q = to_device(np.empty(shape, np.float16), "cuda")
    out, logsumexp = attention(q, q, q, Attending(is_causal=True, scale=0.5))
    assert out.shape == shape
    assert logsumexp.shape == shape[:-1]
    assert not choices()


def test_the_ops_use_it(with_cudnn: Shim, normal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op, "kernels_for", lambda a: reference if isinstance(a, np.ndarray) else cuda)
    x, g = normal(2, 20, 4, 16).astype(np.float16), normal(2, 20, 2, 16, seed=1).astype(np.float16)

    def by_parts(qkv: tg.Tensor) -> tg.Tensor:
        q, k, v = (qkv[:, :, part].permute_dims(0, 2, 1, 3) for part in (slice(2), slice(2, 3), slice(3, 4)))
        return tg.scaled_dot_product_attention(q, k, v, is_causal=True).permute_dims(0, 2, 1, 3)

    found = []
    for device in ("cpu", "cuda"):
        for f in (by_parts, lambda qkv: tg.self_attention(qkv, num_heads=2, is_causal=True)):
            qkv = tg.tensor(x, device=device, requires_grad=True)
            out = f(qkv)
            out.backward(to_device(g, device))
            found.append((out.numpy(), qkv.grad.numpy()))
    for out, gradient in found[1:]:
        np.testing.assert_allclose(out, found[0][0], rtol=4e-3, atol=4e-3)
        np.testing.assert_allclose(gradient, found[0][1], rtol=4e-3, atol=4e-3)
    np.testing.assert_array_equal(found[2][1], found[3][1])
    assert chosen() == {"attention in float16": "cudnn"}
