"""Elements repeated: every copy's gradient comes home."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tests.tensorgrad.ops.shape.moves import SHAPES, assert_moves_like, numbered


@given(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), st.lists(st.integers(0, 3), max_size=4))
def test_tile_is_numpy_s(shape: tuple[int, ...], counts: list[int]) -> None:
    assert_moves_like(lambda x: tg.tile(x, counts), lambda a: np.tile(a, counts), shape)


@given(SHAPES, st.data())
def test_repeat_is_numpy_s(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    length = int(np.prod(shape)) if axis is None else shape[axis]
    kind = data.draw(st.sampled_from([np.int64, np.uint8]))
    counts = data.draw(
        st.integers(0, 3) | hnp.arrays(kind, (1,) if axis is None else (length,), elements=st.integers(0, 3))
    )
    assert_moves_like(lambda x: tg.repeat(x, counts, axis=axis), lambda a: np.repeat(a, counts, axis), shape)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.sampled_from(["xy", "ij"]))
def test_meshgrid_is_numpy_s(sizes: list[int], indexing: str) -> None:
    vectors = [numbered((n,)) for n in sizes]
    ours = tg.meshgrid(*map(tg.tensor, vectors), indexing=indexing)
    for got, expected in zip(ours, np.meshgrid(*vectors, indexing=indexing), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)


MODES = {"replicate": "edge", "reflect": "reflect", "circular": "wrap"}


@given(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), st.data())
def test_pad_is_numpy_s(shape: tuple[int, ...], data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["constant", *MODES]))
    longest = {"constant": 4, "replicate": 4, "reflect": -1, "circular": 0}[mode]
    limits = [4 if longest == 4 else max(n + longest, 0) for n in shape]
    limits = [0 if n == 0 and mode != "constant" else limit for n, limit in zip(shape, limits, strict=True)]
    widths = tuple(data.draw(st.tuples(st.integers(0, limit), st.integers(0, limit))) for limit in limits)
    if mode == "constant":
        x = tg.tensor(numbered(shape), requires_grad=True)
        out = tg.pad(x, widths, value=-1.5)
        expected = np.pad(numbered(shape), widths, constant_values=-1.5) if shape else numbered(shape)
        np.testing.assert_array_equal(out.numpy(), expected)
        assert (
            tg.grad(out, x, numbered(out.shape))[0].numpy().tolist()
            == numbered(out.shape)[tuple(slice(b, b + n) for (b, _), n in zip(widths, shape, strict=True))].tolist()
        )
    else:
        numpy_pad = lambda a: np.pad(a, widths, mode=MODES[mode]) if shape else a  # noqa: E731
        assert_moves_like(lambda x: tg.pad(x, widths, mode=mode), numpy_pad, shape)


def test_every_dtype_is_repeated() -> None:
    for dtype in ("bool", "uint8", "int64"):
        x = tg.tensor([0, 1], dtype=dtype)
        padded = tg.pad(x, 1, value=x[1].item())
        outs = [tg.tile(x, (2,)), tg.repeat(x, 2), padded, tg.meshgrid(x, x)[1], tg.pad(x, 1, mode="reflect")]
        assert {out.dtype for out in outs} == {np.dtype(dtype)}
        assert padded.numpy().tolist() == [1, 0, 1, 1]
        assert tg.pad(x, 1).numpy().tolist() == [0, 0, 1, 0]


def test_what_they_refuse() -> None:
    x, whole = tg.ones((2, 3)), tg.ones((2,), dtype="int8")
    for program, kind, message in (
        (lambda: tg.tile(x, (-1,)), tg.ShapeError, "tile: expected sizes >= 0"),
        (lambda: tg.tile(x, 2), tg.ShapeError, "tile: expected a shape"),
        (lambda: tg.repeat(x, -1), tg.ShapeError, "repeat: expected repeats >= 0, got -1"),
        (lambda: tg.repeat(x, 1.5), tg.ShapeError, "repeat: expected repeats to be an integer"),
        (lambda: tg.repeat(x, [1, 2], axis=1), tg.ShapeError, "repeat: expected 3 repeats >= 0 for axis 1"),
        (lambda: tg.repeat(x, [1, -2], axis=0), tg.ShapeError, "repeat: expected 2 repeats >= 0"),
        (lambda: tg.repeat(x, [1.0, 2.0], axis=0), tg.DTypeError, "repeat: expected integers, got .* of dtype float64"),
        (lambda: tg.meshgrid(x), tg.ShapeError, "meshgrid: expected vectors"),
        (lambda: tg.meshgrid(x[0], whole), tg.DTypeError, "meshgrid: expected tensors of one dtype"),
        (lambda: tg.meshgrid(x[0], indexing="yx"), tg.ArgumentError, "meshgrid: expected indexing"),
        (lambda: tg.pad(x, ((1, 1),)), tg.ShapeError, r"pad: expected \(before, after\) >= 0 for each of 2 axes"),
        (lambda: tg.pad(x, -1), tg.ShapeError, "pad: expected"),
        (lambda: tg.pad(x, (1, 2, 3)), tg.ShapeError, "pad: expected"),
        (lambda: tg.pad(x, np.array([1, 2])), tg.ShapeError, "pad: expected"),
        (lambda: tg.pad(x, 1, mode="edge"), tg.ArgumentError, "pad: expected mode"),
        (lambda: tg.pad(x, 1, value="0"), tg.DTypeError, "pad: expected value to be a Python number"),
        (lambda: tg.pad(whole, 1, value=1.5), tg.DTypeError, "pad: expected an integer"),
        (lambda: tg.pad(whole, 1, value=300), tg.DTypeError, "pad: expected a value that int8 can hold"),
        (lambda: tg.pad(x, 2, mode="reflect"), tg.ShapeError, r"pad: expected widths that reflect can fill.* 2 elem"),
        (lambda: tg.pad(x, 4, mode="circular"), tg.ShapeError, "pad: expected widths that circular can fill"),
        (lambda: tg.pad(x[:0], 1, mode="replicate"), tg.ShapeError, "can fill, got"),
    ):
        with pytest.raises(kind, match=message):
            program()
