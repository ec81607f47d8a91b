"""Indexing of every kind against NumPy, and its gradients against the definition: sums over the positions named."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(1.0, 1.0 + np.prod(shape, dtype=int)).reshape(shape)


def one_axis_index(size: int) -> st.SearchStrategy[Any]:
    """What may stand for one axis: an integer, a slice with either sign of step, an integer array, a mask."""
    bounds = st.none() | st.integers(-size - 2, size + 2)
    slices = st.builds(slice, bounds, bounds, st.none() | st.integers(-3, 3).filter(bool))
    masks = hnp.arrays(bool, size)
    if not size:
        return slices | masks
    return slices | masks | st.integers(-size, size - 1) | index_arrays(size)


def index_arrays(size: int) -> st.SearchStrategy[Any]:
    kinds = st.sampled_from([np.int64, np.int32, np.int8])
    return kinds.flatmap(
        lambda kind: hnp.arrays(
            kind, st.sampled_from([(3,), (1,), (2, 3), (2, 1), ()]), elements=st.integers(-size, size - 1)
        )
    )


@st.composite
def arrays_with_indices(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    """An array, and an index that fits: one part per axis for some first and some last axes, `...`, None between."""
    shape = draw(SHAPES)
    first = draw(st.integers(0, len(shape)))
    last = draw(st.integers(first, len(shape)))
    parts = [draw(one_axis_index(n)) for n in shape[:first]]
    if last > first or draw(st.booleans()):
        parts.append(Ellipsis)
        parts += [draw(one_axis_index(n)) for n in shape[last:]]
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    index = tuple(parts)
    return numbered(shape), index[0] if len(index) == 1 and draw(st.booleans()) else index


@given(arrays_with_indices())
def test_getitem_is_numpy_s_and_its_gradient_counts_positions(pair: tuple[np.ndarray, Any]) -> None:
    a, index = pair
    x = tg.tensor(a, requires_grad=True)
    try:
        expected = np.asarray(a[index])
    except IndexError:  # the arrays do not broadcast
        with pytest.raises(tg.ShapeError, match="getitem"):
            x[index]
        return
    out = x[index]
    np.testing.assert_array_equal(out.numpy(), expected)
    g = numbered(expected.shape)
    dx_expected = np.zeros(a.shape)
    np.add.at(dx_expected, index, g)
    for create_graph in (False, True):
        (dx,) = tg.grad(x[index], x, g, create_graph=create_graph)
        np.testing.assert_array_equal(dx.numpy(), dx_expected)
    # The other direction, and through it the gradient of the gradient.
    x.grad = tg.asarray(np.ones(a.shape))
    out.backward(g)
    np.testing.assert_array_equal(x.grad.numpy(), 1.0 + dx_expected)


@given(arrays_with_indices())
def test_index_add_is_numpy_s_add_at(pair: tuple[np.ndarray, Any]) -> None:
    a, index = pair
    try:
        shape = np.asarray(a[index]).shape
    except IndexError:
        with pytest.raises(tg.ShapeError, match="index_add"):
            tg.index_add(a, index, 1.0)
        return
    x, values = tg.tensor(a, requires_grad=True), tg.tensor(numbered(shape) / 8, requires_grad=True)
    expected = a.copy()
    np.add.at(expected, index, values.numpy())
    out = tg.index_add(x, index, values)
    np.testing.assert_array_equal(out.numpy(), expected)
    dx, dvalues = tg.grad(out, [x, values], g := numbered(a.shape))
    np.testing.assert_array_equal(dx.numpy(), g)
    np.testing.assert_array_equal(dvalues.numpy(), g[index])
    np.testing.assert_array_equal(x.numpy(), a)  # a copy was changed, not x


@given(arrays_with_indices())
def test_index_update_is_numpy_s_assignment(pair: tuple[np.ndarray, Any]) -> None:
    a, index = pair
    counts = np.zeros(a.shape, int)
    try:
        np.add.at(counts, index, 1)
    except IndexError:
        return
    if counts.max(initial=0) > 1:
        return  # which of two values stays is not defined
    shape = np.asarray(a[index]).shape
    x, values = tg.tensor(a, requires_grad=True), tg.tensor(-numbered(shape), requires_grad=True)
    expected = a.copy()
    expected[index] = -numbered(shape)
    out = tg.index_update(x, index, values)
    np.testing.assert_array_equal(out.numpy(), expected)
    dx, dvalues = tg.grad(out, [x, values], g := numbered(a.shape))
    np.testing.assert_array_equal(dx.numpy(), np.where(counts > 0, 0, g))
    np.testing.assert_array_equal(dvalues.numpy(), g[index])


@given(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), st.data())
def test_take_along_axis_is_numpy_s(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    where_shape = tuple(data.draw(st.integers(0, 3)) if i == axis % len(shape) else n for i, n in enumerate(shape))
    size = shape[axis]
    indices = data.draw(hnp.arrays(np.int64, where_shape, elements=st.integers(-size, size - 1)))
    x = tg.tensor(numbered(shape), requires_grad=True)
    out = tg.take_along_axis(x, indices, axis=axis)
    np.testing.assert_array_equal(out.numpy(), np.take_along_axis(x.numpy(), indices, axis=axis))
    rebuilt = np.zeros(shape)
    for position in np.ndindex(*indices.shape):
        target = list(position)
        target[axis] = indices[position]
        rebuilt[tuple(target)] += numbered(indices.shape)[position]
    np.testing.assert_array_equal(tg.grad(out, x, numbered(indices.shape))[0].numpy(), rebuilt)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.uint64])
@pytest.mark.parametrize("rows", [100, 300])
def test_ids_in_any_integer_dtype(kind: type, rows: int) -> None:
    """Also where the dtype could not hold the number of rows: bytes that index a table of more than 256."""
    ids = np.array([[5, 99], [5, 5]], kind)
    w = tg.tensor(numbered((rows, 2)), requires_grad=True)
    out = tg.embedding(w, ids)
    np.testing.assert_array_equal(out.numpy(), numbered((rows, 2))[ids.astype(int)])
    (dw,) = tg.grad(out.sum(), w)
    expected = np.zeros((rows, 2))
    expected[5], expected[99] = 3, 1
    np.testing.assert_array_equal(dw.numpy(), expected)


def test_negative_ids_of_a_narrow_dtype_wrap_in_getitem() -> None:
    w = tg.tensor(numbered((300, 2)), requires_grad=True)
    (dw,) = tg.grad(w[np.array([-1, -1, 3], np.int8)].sum(), w)
    np.testing.assert_array_equal(dw.numpy()[[299, 3, 0], 0], [2, 1, 0])


@pytest.mark.parametrize("index", [[0, 0, 1], ((0, 0, 1),), ([0, 0, 1], slice(None)), (((0, 0), (1, 0)),), range(2)])
def test_sequences_count_as_integer_arrays_with_repeats(index: Any) -> None:
    x = tg.tensor(numbered((3, 2)), requires_grad=True)
    expected = np.zeros((3, 2))
    np.add.at(expected, index, 1.0)
    np.testing.assert_array_equal(tg.grad(x[index].sum(), x)[0].numpy(), expected)


def test_an_index_may_be_a_tensor() -> None:
    x = tg.tensor(numbered((3, 4)), requires_grad=True)
    rows = tg.tensor([2, 0, 2])
    np.testing.assert_array_equal(x[rows, 1].numpy(), x.numpy()[[2, 0, 2], 1])
    np.testing.assert_array_equal(x[x > 5.0].numpy(), x.numpy()[x.numpy() > 5])
    np.testing.assert_array_equal(tg.take(x, rows, axis=0).numpy(), x.numpy()[[2, 0, 2]])
    np.testing.assert_array_equal(tg.embedding(x, rows).numpy(), x.numpy()[[2, 0, 2]])
    assert x[tg.tensor(1)].shape == (4,)


def test_values_of_more_axes_than_the_place_are_refused_before_anything_is_computed() -> None:
    x, values = tg.ones((3,), requires_grad=True), tg.ones((1, 1, 2), requires_grad=True)
    for op in (tg.index_add, tg.index_update):
        with pytest.raises(tg.ShapeError, match=op.__name__):
            op(x, slice(0, 2), values)


def test_second_order_of_repeated_rows() -> None:
    ids = np.array([1, 1, 0])
    tg.check_grads(
        lambda w: tg.square(tg.embedding(w, ids)) * tg.exp(w[:1]), np.random.default_rng(0).normal(size=(3, 2)), order=3
    )


def test_the_gradient_of_a_look_up_is_summed_in_a_fixed_order() -> None:
    """1e16 + 1 - 1e16 is 0 or 1, by the order: positions are added one after the other, every time."""
    g = np.array([[1e16], [1.0], [-1e16], [1.0]])
    w = tg.tensor(np.zeros((2, 1)), requires_grad=True)
    results = {tg.grad(tg.embedding(w, np.array([1, 1, 1, 1])), w, g)[0].numpy()[1, 0] for _ in range(5)}
    assert len(results) == 1


@pytest.mark.parametrize("padding_idx", [2, -1])
@pytest.mark.parametrize("create_graph", [False, True])
def test_the_padding_row_of_an_embedding_gets_no_gradient(padding_idx: int, create_graph: bool) -> None:
    w = tg.tensor(np.ones((3, 2)), requires_grad=True)
    out = tg.embedding(w, np.array([[2, 0], [2, 1]]), padding_idx=padding_idx)
    np.testing.assert_array_equal(out.numpy(), np.ones((2, 2, 2)))
    (dw,) = tg.grad(out, w, np.ones((2, 2, 2)), create_graph=create_graph)
    np.testing.assert_array_equal(dw.numpy(), [[1, 1], [1, 1], [0, 0]])
    (dw,) = tg.grad(tg.embedding(w, np.array(2), padding_idx=padding_idx), w, np.ones(2), create_graph=create_graph)
    np.testing.assert_array_equal(dw.numpy(), 0)


@pytest.mark.parametrize("padding_idx", [3, -4, 1.5])
def test_a_padding_row_that_is_not_there_is_refused(padding_idx: Any) -> None:
    with pytest.raises(tg.ShapeError, match=r"embedding: expected padding_idx"):
        tg.embedding(np.ones((3, 2)), np.array([0]), padding_idx=padding_idx)


# --- what else may stand in an index, and other ways to look up --------------------------------------

MASKS = np.array([[True, False, True], [False, False, True]])


@pytest.mark.parametrize(
    "index",
    [
        True,
        False,
        np.True_,
        np.array(False),
        (True, ...),
        (slice(None), True),
        (None, True, 0),
        (np.int64(1), np.uint8(0)),
        np.array(1),
        (np.array(-1), slice(None, None, -2)),
        MASKS,
        (MASKS, slice(1)),
        (MASKS[:, 0], 2),
        (slice(None), MASKS[0], None),
        (MASKS[:, 0], ..., [0, 1]),
        ([[0], [1]], MASKS[0]),
        ([0, 1], slice(None), [1, 1]),
        ([0, 1], None, [2, 2]),
        (..., [[0, 0], [1, -1]], slice(None, None, -1)),
        (slice(5, 1, -3), slice(-1, None, -2)),
        (slice(np.int64(0), np.int32(2)),),
        ...,
        (None, ..., None),
        [],
        [[]],
        np.zeros((0, 2), np.int8),
    ],
    ids=repr,
)
def test_every_kind_of_index(index: Any) -> None:
    a = numbered((2, 3, 2))
    expected = np.asarray(a[index])
    for wrapped in (index, as_tensors(index)):
        x = tg.tensor(a, requires_grad=True)
        out = x[wrapped]
        np.testing.assert_array_equal(out.numpy(), expected)
        g = numbered(expected.shape)
        dx_expected = np.zeros(a.shape)
        np.add.at(dx_expected, index, g)
        for create_graph in (False, True):
            np.testing.assert_array_equal(tg.grad(x[wrapped], x, g, create_graph=create_graph)[0].numpy(), dx_expected)


def as_tensors(index: Any) -> Any:
    """The index with Tensors in the place of its arrays."""
    if isinstance(index, tuple):
        return tuple(map(as_tensors, index))
    return tg.asarray(index) if isinstance(index, np.ndarray) else index


@given(st.integers(1, 5), st.data())
def test_take_in_a_vector_needs_no_axis(n: int, data: st.DataObject) -> None:
    where = data.draw(index_arrays(n))
    assert tg.take(tg.tensor(numbered((n,))), where).numpy().tolist() == numbered((n,))[where].tolist()


def test_take_along_axis_broadcasts_either_way() -> None:
    for shape, indices, axis in (
        ((3, 4), [[0, 3]], 1),
        ((1, 4), [[0], [3], [3]], 1),
        ((2, 3, 4), [[[0], [2]]], -1),
        ((1, 3), [[0, 0, 0], [0, 0, 0]], 0),
    ):
        where = np.array(indices)
        if where.ndim == 3:
            where = where[:, :1]
        a = numbered(shape)
        x = tg.tensor(a, requires_grad=True)
        out = tg.take_along_axis(x, where, axis=axis)
        np.testing.assert_array_equal(out.numpy(), np.take_along_axis(a, where, axis))
        g = numbered(out.shape)
        expected = np.zeros(a.size + 1)
        np.add.at(expected, out.numpy().astype(int), g)
        np.testing.assert_array_equal(tg.grad(out, x, g)[0].numpy().ravel(), expected[1:])


@given(hnp.arrays(st.sampled_from([bool, np.int8, np.float64]), hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)))
def test_nonzero_is_numpy_s(a: np.ndarray) -> None:
    for got, expected in zip(tg.nonzero(tg.tensor(a)), np.nonzero(a), strict=True):
        np.testing.assert_array_equal(got.numpy(), expected)
        assert got.dtype == np.int64


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda x: x[3], "getitem: expected an index that fits shape"),
        (lambda x: x[0, 0, 0], "getitem: expected an index that fits shape"),
        (lambda x: x[np.ones((2, 3), bool)], "getitem: expected an index that fits shape"),
        (lambda x: x[..., ...], "getitem: expected an index that fits shape"),
        (lambda x: x[[[1, 2], [1]]], "ragged"),
        (lambda x: tg.take(x, [0]), "take: expected axis for 2 axes, got None"),
        (lambda x: tg.take(x, [3], axis=0), "getitem: expected an index that fits shape"),
        (lambda x: tg.take_along_axis(x, np.array([0])), "take_along_axis: expected indices of 2 axes"),
        (lambda x: tg.take_along_axis(x, np.array([[2], [0], [0]])), "take_along_axis: expected indices that fit"),
        (lambda x: tg.take_along_axis(x, np.array([[0], [0]])), "take_along_axis: expected indices that fit"),
        (lambda x: tg.nonzero(x[0, 0]), "nonzero: expected at least one axis"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(program: Any, message: str) -> None:
    with pytest.raises(tg.ShapeError, match=message):
        program(tg.ones((3, 2)))


@pytest.mark.parametrize("index", [1.0, [0.5], "0", np.array([1.5]), (0, 1.5)])
def test_an_index_of_another_dtype_is_refused(index: Any) -> None:
    with pytest.raises(tg.TensorgradError, match="getitem: expected"):
        tg.ones((3, 2))[index]
