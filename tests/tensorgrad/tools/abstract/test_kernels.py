"""The kernels on shapes: they allocate like the reference, and count by the formula."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import kernels_for, reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.tools.abstract.array import AbstractArray
from tensorgrad.tools.flops import kernel_flops

ROWS, HEADS = np.ones((600, 512), np.float32), np.ones((2, 4, 300, 64), np.float32)
ROW, KEYS, TARGETS = np.ones(512, np.float32), np.ones((2, 2, 300, 64), np.float32), np.zeros(600, np.int64)
STAT, LSE, TABLE = np.ones((600, 1), np.float32), np.ones((2, 4, 300), np.float32), np.ones((300, 32), np.float32)
CALLS: dict[str, tuple[Any, ...]] = {
    "gelu": (ROWS, "none"),
    "gelu_gradient": (ROWS, ROWS, "tanh"),
    "silu": (ROWS,),
    "swiglu": (ROWS,),
    "swiglu_gradient": (ROWS[:, :256], ROWS),
    "mlp_activation": (ROWS, ROW, "swiglu", False),
    "mlp_activation_gradient": (ROWS.copy(), ROWS, "gelu_tanh", False, True),
    "softmax": (ROWS,),
    "log_softmax_gradient": (ROWS, ROWS),
    "layer_norm": (ROWS, ROW, ROW, 1e-5),
    "layer_norm_gradient": (ROWS, ROWS, ROW, STAT, STAT),
    "rms_norm_gradient": (ROWS, ROWS, ROW, STAT),
    "attention": (HEADS, KEYS, KEYS, Attending(is_causal=True, scale=0.1)),
    "attention_gradient": (HEADS, HEADS, KEYS, KEYS, HEADS, LSE, Attending(is_causal=True, scale=0.1)),
    "rope": (HEADS, TABLE, TABLE),
    "scatter_add": (ROWS.copy(), np.arange(600), ROWS),
}


@pytest.mark.parametrize("name", CALLS)
def test_memory(name: str) -> None:
    args = CALLS[name]
    with np.errstate(all="ignore"):
        getattr(reference, name)(*args)
        tracemalloc.start()
        try:
            real = getattr(reference, name)(*args)
            real_live, real_peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    fakes = [AbstractArray(x.shape, x.dtype, x.strides) if isinstance(x, np.ndarray) else x for x in args]
    with tg.abstract() as meter:
        found = getattr(kernels_for(fakes[0]), name)(*fakes)  # type: ignore[arg-type]
    assert meter.live_bytes <= real_live <= meter.live_bytes + 30_000
    assert 0.9 * real_peak - 30_000 <= meter.peak_bytes <= 1.1 * real_peak
    assert meter.flops == kernel_flops(name, args)
    for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (real, found)), strict=True):
        assert a is b is None or (a.shape, a.dtype, a.strides) == (b.shape, b.dtype, b.strides)


def test_a_norm_has_no_value() -> None:
    flat = AbstractArray((5,), np.float32)
    norm = kernels_for(flat).global_norm(flat)  # type: ignore[arg-type]
    assert (type(norm), norm.shape, norm.dtype) == (AbstractArray, (), np.float64)
