"""Our own kernels, run on the CPU in the shim, against the definition in float64."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad.array import address_of
from tensorgrad.kernels import reference
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention import tiled
from tensorgrad.kernels.cuda.attention.heads import Unsupported
from tensorgrad.kernels.cuda.launch import running_with
from tensorgrad.kernels.packing import element_strides, packed
from tensorgrad.random import Key, RowKeys, as_pairs
from tests.cuda_shim import Shim, is_available
from tests.tensorgrad.kernels.cuda.attention.inputs import attention_inputs, exact, memory_of_nan, rounded
from tests.tensorgrad.tolerances import TOLERANCES

pytestmark = pytest.mark.skipif(not is_available(), reason="needs g++")

SCALE = 0.21


def both(arrays: tuple[np.ndarray, ...], is_causal: bool, seed: int, **rest: Any) -> list[np.ndarray]:
    """out, log-sum-exp, dq, dk, dv."""
    attending = Attending(is_causal=is_causal, scale=SCALE, **rest)
    with memory_of_nan(), running_with(Shim(seed)):
        out, logsumexp = tiled.attention(*arrays[1:], attending)
        gradients = tiled.attention_gradient(*arrays, out, logsumexp, attending)
    return [out, logsumexp, *gradients]


def definition(
    arrays: tuple[np.ndarray, ...], is_causal: bool, mask: np.ndarray | None = None, dropout: Any = None
) -> list[np.ndarray]:
    wide = [exact(x) for x in arrays]
    if mask is not None and mask.dtype != bool:
        mask = exact(mask)
    attending = Attending(is_causal=is_causal, scale=SCALE, mask=mask, dropout=dropout)
    out, logsumexp = reference.attention(*wide[1:], attending)
    return [out, logsumexp, *reference.attention_gradient(*wide, out, logsumexp, attending)]


def check(element: str, got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    limit = TOLERANCES[element]
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        values = a if i == 1 else exact(a)
        assert values.shape == b.shape
        is_finite = np.isfinite(b)  # the log-sum-exp of nothing is not
        np.testing.assert_array_equal(values[~is_finite], b[~is_finite])
        allowed = 2e-6 if i == 1 and element != "float64" else limit
        difference, size = np.abs(values[is_finite] - b[is_finite]), np.abs(b[is_finite]).max()
        assert difference.max() <= allowed * size  # what was not written is nan


# Lengths below, at and past the edges of tiles; more queries than keys, and fewer.
@pytest.mark.parametrize(
    ("element", "width", "heads", "kv_heads", "queries", "keys", "is_causal"),
    [
        ("bfloat16", 64, 2, 2, 137, 137, True),
        ("bfloat16", 64, 2, 1, 129, 65, False),
        ("bfloat16", 64, 1, 1, 1, 64, True),
        ("bfloat16", 128, 2, 1, 67, 67, True),
        ("bfloat16", 128, 1, 1, 33, 90, False),
        ("float16", 32, 2, 1, 150, 70, True),
        ("float16", 32, 2, 1, 40, 150, True),
        ("float16", 32, 1, 1, 128, 128, False),
        ("float32", 24, 4, 2, 19, 19, True),
        ("float32", 24, 1, 1, 32, 7, False),
        ("float64", 24, 2, 1, 35, 50, True),
        ("float64", 24, 2, 2, 50, 35, True),
        ("float64", 24, 3, 1, 16, 16, False),
    ],
)
def test_both_directions(
    element: str, width: int, heads: int, kv_heads: int, queries: int, keys: int, is_causal: bool
) -> None:
    arrays = attention_inputs(element, width, heads, kv_heads, queries, keys)
    check(element, both(arrays, is_causal, seed=queries), definition(arrays, is_causal))


MASKS = {  # shape, and whether it is bool
    "of bool": (("B", "H", "T", "S"), True),
    "added": (("B", "H", "T", "S"), False),
    "of keys": (("B", "1", "1", "S"), True),
    "of heads, added": (("1", "H", "T", "S"), False),
}


def mask_of(name: str | None, element: str, heads: int, queries: int, keys: int) -> np.ndarray | None:
    """A mask. If it differs by query, the third query sees nothing."""
    if name is None:
        return None
    letters, is_bool = MASKS[name]
    sizes = {"B": 2, "H": heads, "T": queries, "S": keys, "1": 1}
    random = np.random.default_rng([queries, keys])
    mask = random.random([sizes[letter] for letter in letters]) < 0.7
    if letters[2] == "T":
        mask[0, :, 2] = False
    return mask if is_bool else rounded(np.where(mask, random.normal(size=mask.shape), -np.inf), element)


ONE, EACH = as_pairs(Key(2**64 - 5, 3), "cpu"), as_pairs(RowKeys(Key(1).split(2)), "cpu")


# A counter gives 8 numbers. A row of weights begins at any of them, unless the keys are a multiple of 8.
@pytest.mark.parametrize(
    ("element", "width", "heads", "kv_heads", "queries", "keys", "is_causal", "mask", "dropout"),
    [
        ("bfloat16", 64, 2, 1, 75, 75, True, None, (ONE, 0.3)),
        ("bfloat16", 64, 1, 1, 70, 88, False, "added", (EACH, 0.3)),
        ("bfloat16", 128, 2, 1, 67, 37, True, "of bool", (EACH, 0.1)),
        ("float16", 32, 2, 1, 40, 72, True, "of keys", None),
        ("float16", 32, 2, 2, 81, 66, True, "of heads, added", (ONE, 0.5)),
        ("float32", 24, 4, 2, 19, 19, True, None, (EACH, 0.3)),
        ("float64", 24, 2, 1, 35, 50, True, "of bool", (ONE, 0.3)),
        ("float64", 24, 2, 2, 18, 24, False, "of heads, added", (EACH, 0.3)),
        ("float32", 24, 2, 1, 18, 21, False, "of keys", None),
    ],
)
def test_masks_and_dropout(
    element: str,
    width: int,
    heads: int,
    kv_heads: int,
    queries: int,
    keys: int,
    is_causal: bool,
    mask: Any,
    dropout: Any,
) -> None:
    arrays = attention_inputs(element, width, heads, kv_heads, queries, keys)
    given = mask_of(mask, element, heads, queries, keys)
    got = both(arrays, is_causal, seed=queries, mask=given, dropout=dropout)
    check(element, got, definition(arrays, is_causal, given, dropout))


@pytest.mark.parametrize(("element", "width"), [("float16", 32), ("float64", 24)])
def test_the_bits_do_not_depend_on_the_order_of_threads_and_blocks(element: str, width: int) -> None:
    arrays = attention_inputs(element, width, 2, 1, 70, 70)
    for a, b in zip(both(arrays, True, seed=1), both(arrays, True, seed=2), strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_scores_neither_overflow_nor_vanish() -> None:
    arrays = attention_inputs("float16", 32, 1, 1, 60, 60, spread=6.0)
    wanted = definition(arrays, True)
    assert wanted[1].max() > 100
    check("float16", both(arrays, True, seed=3), wanted)


@pytest.mark.parametrize(("element", "width"), [("float16", 32), ("float32", 24)])
def test_gradients_of_one_projection_are_views_of_one_buffer(element: str, width: int) -> None:
    arrays = attention_inputs(element, width, 2, 1, 20, 20)
    _, _, *gradients = both(arrays, True, seed=4)
    for gradient, x in zip(gradients, arrays[1:], strict=True):
        assert element_strides(gradient) == element_strides(x)
    whole = packed(tuple(gradients))
    assert whole.shape == (2, 20, 4, width)
    assert address_of(whole) == address_of(gradients[0])
    np.testing.assert_array_equal(whole[:, :, 3], gradients[2][:, 0])
    copies = tuple(x.copy() for x in gradients)
    np.testing.assert_array_equal(packed(copies), whole)
    assert address_of(packed(copies)) != address_of(copies[0])


def at_an_odd_address(x: np.ndarray) -> np.ndarray:
    """A dense copy of x that begins one element after its memory does."""
    copy = np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    copy[...] = x
    return copy


def test_rows_that_do_not_begin_at_multiples_of_16_bytes_are_copied() -> None:
    g, q, k, v = attention_inputs("float16", 32, 1, 1, 20, 30)
    wanted = both((g, q, k, v), False, seed=5)
    padded = tuple(np.concatenate([x[..., :1], x], -1)[..., 1:] for x in (g, q, k, v))
    strided = tuple(np.repeat(x, 2, -1)[..., ::2] for x in (g, q, k, v))
    shifted = tuple(at_an_odd_address(x) for x in (g, q, k, v))
    for others in (padded, strided, shifted):
        for a, b in zip(both(others, False, seed=5), wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    g, q, k, v = attention_inputs("float64", 24, 1, 1, 20, 30)
    wanted = both((g, q, k, v), False, seed=5)
    for a, b in zip(both(tuple(np.repeat(x, 2, -1)[..., ::2] for x in (g, q, k, v)), False, 5), wanted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("dtype", "width", "value_width", "said"),
    [
        (np.float16, 40, 40, "heads of width 40"),
        (np.float32, 160, 160, "heads of width 160"),
        (np.float32, 16, 8, "values of width 8, keys of width 16"),
    ],
)
def test_what_they_do_not_take(dtype: Any, width: int, value_width: int, said: str) -> None:
    attending = Attending(is_causal=True, scale=1)
    k, v = np.ones((1, 1, 3, width), dtype), np.ones((1, 1, 3, value_width), dtype)
    with pytest.raises(Unsupported, match=said):
        tiled.attention(k, k, v, attending)
    with pytest.raises(Unsupported, match=said):
        tiled.attention_gradient(v, k, k, v, v, np.ones((1, 1, 3), np.float32), attending)


PROGRAM = """
import sys
import numpy as np
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention import tiled
from tensorgrad.kernels.cuda.launch import running_with
from tensorgrad.random import Key, RowKeys, as_pairs
from tests.cuda_shim import Shim
from tests.tensorgrad.kernels.cuda.attention.inputs import Memory, attention_inputs

element, width, missing = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Short(Memory):
    @staticmethod
    def empty(shape, dtype):
        memory = Memory.empty(int(np.prod(shape)) - missing, dtype)
        strides = np.empty(shape, dtype).strides
        return np.lib.stride_tricks.as_strided(memory, shape, strides)


g, q, k, v = (np.ascontiguousarray(x) for x in attention_inputs(element, width, 2, 1, 75, 75))
Shim.sanitizes = True
tiled.module_of = lambda a: Short
with running_with(Shim(1)):
    mask = np.random.default_rng(0).normal(size=(2, 1, 75, 75)).astype(element)
    for rest in ({},) if missing else ({}, {"mask": mask, "dropout": (as_pairs(RowKeys(Key(1).split(2)), "cpu"), 0.3)}):
        attending = Attending(is_causal=True, scale=0.2, **rest)
        out, logsumexp = tiled.attention(q, k, v, attending)
        gradients = tiled.attention_gradient(g, q, k, v, out, logsumexp, attending)
        assert missing or all(np.isfinite(x).all() for x in (out, logsumexp, *gradients))
"""


@pytest.mark.untraced
@pytest.mark.parametrize(("element", "width"), [("float16", 32), ("float64", 24)])
def test_nothing_outside_of_arrays_is_touched(element: str, width: int) -> None:
    """AddressSanitizer finds nothing, but does find an overflow if the results' memory is too short."""
    done = sanitized(element, width, missing=0)
    assert done.returncode == 0, done.stderr
    done = sanitized(element, width, missing=2)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def sanitized(element: str, width: int, missing: int) -> subprocess.CompletedProcess[str]:
    """PROGRAM with AddressSanitizer's runtime preloaded."""
    runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    if not Path(runtime.stdout.strip()).exists() or shutil.which("g++") is None:
        pytest.skip("needs AddressSanitizer")
    environment = os.environ | {"LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    arguments = [sys.executable, "-c", PROGRAM, element, str(width), str(missing)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
