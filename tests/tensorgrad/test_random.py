"""Key: the published Philox numbers, streams that do not overlap, distributions, pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.kernels import cuda_kernels
from tensorgrad.kernels.reference import philox as definition
from tensorgrad.random import Key, RowKeys, as_pairs, from_pairs
from tests.cupy_stand_in import syncs

MASK = (1 << 64) - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 as Salmon et al. define it (2011, section 3.3), in Python integers."""
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(high >> 64) ^ c[1] ^ k0, high & MASK, (low >> 64) ^ c[3] ^ k1, low & MASK]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return c


def test_the_definition_gives_the_published_numbers() -> None:
    """The three known answers of Random123, the authors' library."""
    assert philox([0] * 4, [0] * 2) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox([MASK] * 4, [MASK] * 2) == [
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    ]


@pytest.mark.parametrize("key", [tg.Key(0), tg.Key(12345), tg.Key(MASK, 77), tg.Key(3).fold_in(4)])
def test_bits_are_philox_s(key: tg.Key) -> None:
    expected = [word for block in range(1, 4) for word in philox([block, 0, 0, 0], [key.seed, key.stream])]
    assert key.bits(12).tolist() == expected
    np.testing.assert_array_equal(key.bits(7), np.random.Philox(key=key.seed + (key.stream << 64)).random_raw(7))


def test_fold_in_draws_from_counters_that_no_stream_reaches() -> None:
    folded = tg.Key(5, 6).fold_in(9)
    assert [folded.seed, folded.stream] == philox([10, 0, 0, MASK], [5, 6])[:2]
    last = tg.Key(MASK, 6).fold_in(MASK)  # whose counter carries
    assert [last.seed, last.stream] == philox([0, 1, 0, MASK], [MASK, 6])[:2]


def test_a_shorter_draw_is_the_beginning_of_a_longer_one() -> None:
    key = tg.Key(1)
    np.testing.assert_array_equal(key.bits(5), key.bits(9)[:5])
    np.testing.assert_array_equal(key.uniform((3,)), key.uniform((8,))[:3])
    np.testing.assert_array_equal(key.uniform((6,)), key.uniform((2, 3)).ravel())


@pytest.mark.parametrize("start", range(11))
def test_a_draw_may_start_anywhere_in_the_stream(start: int) -> None:
    key = tg.Key(8, 9)
    np.testing.assert_array_equal(key.bits(5, start=start), key.bits(16)[start : start + 5])
    for dtype in ("float32", "float64"):
        whole = key.uniform((16,), dtype=dtype)
        np.testing.assert_array_equal(key.uniform((5,), start=start, dtype=dtype), whole[start : start + 5])


@pytest.mark.parametrize(
    "draw",
    [
        lambda k: k.bits(5),
        lambda k: k.uniform((5,)),
        lambda k: k.normal((5,)),
        lambda k: k.permutation(9),
        lambda k: k.integers(0, 1000, (9,)),
    ],
)
def test_draws_are_pure_functions_of_the_key(draw: Callable[[tg.Key], Any]) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002  the global generator must not change
    np.testing.assert_array_equal(draw(tg.Key(3, 4)), draw(tg.Key(3, 4)))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert (draw(tg.Key(3, 4)) != draw(tg.Key(3, 5))).any()
    assert (draw(tg.Key(3, 4)) != draw(tg.Key(4, 4))).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform(dtype: str) -> None:
    u = tg.Key(2).uniform((100_001,), dtype=dtype)
    assert u.dtype == dtype
    assert u.min() >= 0
    assert u.max() < 1
    # Standard error of the mean 0.0009, of the mean square 0.0009, of a bin of 1/10 0.00095.
    assert abs(u.mean() - 1 / 2) < 0.004
    assert abs((u.astype(np.float64) ** 2).mean() - 1 / 3) < 0.004
    assert np.abs(np.histogram(u, bins=10, range=(0, 1))[0] / u.size - 0.1).max() < 0.005
    assert len(np.unique(u)) > 0.99 * u.size


def test_the_largest_uniform_is_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definition, "words", lambda keys_R2, count, start: np.full((1, count), MASK, np.uint64))
    for dtype, bits in (("float32", 24), ("float64", 53)):
        assert Key(0).uniform((1,), dtype=dtype)[0] == 1 - 2.0**-bits
    assert np.isfinite(Key(0).normal((2,), dtype="float64")).all()


def test_normal() -> None:
    z = tg.Key(7).normal((100_001,), dtype="float64")
    assert abs(z.mean()) < 0.013  # four standard errors
    assert abs(z.var() - 1) < 0.018
    assert abs((z**3).mean()) < 0.05
    assert abs((z**4).mean() - 3) < 0.13
    for edge in (-1.0, 0.5, 2.0):
        assert abs((z < edge).mean() - (1 + math.erf(edge / math.sqrt(2))) / 2) < 0.007
    np.testing.assert_array_equal(tg.Key(7).normal((9,)), tg.Key(7).normal((9,), dtype="float64").astype(np.float32))
    assert tg.Key(7).normal(()).shape == ()
    assert tg.Key(7).normal((0, 3)).shape == (0, 3)


def test_integers() -> None:
    v = tg.Key(1).integers(-3, 4, (70_000,))
    assert v.dtype == np.int64
    counts = np.bincount(v + 3, minlength=7)
    assert len(counts) == 7
    assert np.abs(counts - 10_000).max() < 400  # four standard errors
    assert tg.Key(1).integers(5, 6, (3,)).tolist() == [5, 5, 5]
    assert tg.Key(1).integers(0, 2**40, (4,)).max() > 2**32
    with pytest.raises(ValueError, match="low < high"):
        tg.Key(1).integers(3, 3)


def test_permutation() -> None:
    assert sorted(tg.Key(0).permutation(50).tolist()) == list(range(50))
    assert tg.Key(0).permutation(0).tolist() == []
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(6000):
        order = tuple(tg.Key(9).fold_in(seed).permutation(3).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    chi_squared = sum((n - 1000) ** 2 / 1000 for n in counts.values())
    assert chi_squared < 20.5  # five degrees of freedom: 1 in 1,000


def test_streams_are_independent() -> None:
    keys = [
        tg.Key(0),
        tg.Key(1),
        tg.Key(0).fold_in(0),
        tg.Key(0).fold_in(1),
        tg.Key(1).fold_in(0),
        tg.Key(0).fold_in(0).fold_in(0),
    ]
    draws = np.stack([key.uniform((20_000,), dtype="float64") for key in keys])
    correlation = np.corrcoef(draws) - np.eye(len(keys))
    assert np.abs(correlation).max() < 4 / math.sqrt(20_000)
    first = {int(tg.Key(0).fold_in(i).bits(1)[0]) for i in range(2000)}
    assert len(first) == 2000
    assert tg.Key(0).fold_in(1).fold_in(2) != tg.Key(0).fold_in(2).fold_in(1)
    assert tg.Key(0).split(3) == tuple(tg.Key(0).fold_in(i) for i in range(3))


def test_fold_in_takes_elements_of_integer_arrays() -> None:
    for kind in (np.int64, np.int32, np.uint8, np.uint64):
        assert tg.Key(0).fold_in(kind(3)) == tg.Key(0).fold_in(3)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda: tg.Key(-1), "Key: expected seed"),
        (lambda: tg.Key(1 << 64), "Key: expected seed"),
        (lambda: tg.Key(True), "Key: expected seed"),
        (lambda: tg.Key(1.0), "Key: expected seed"),
        (lambda: tg.Key(0, -1), "Key: expected stream"),
        (lambda: tg.Key(0).fold_in(-1), "fold_in: "),
        (lambda: tg.Key(0).fold_in(1 << 64), "fold_in: "),
        (lambda: tg.Key(0).fold_in("a"), "fold_in: "),
        (lambda: tg.Key(0).fold_in(1.0), "fold_in: "),
        (lambda: tg.Key(0).uniform((2,), dtype="int64"), "uniform: "),
        (lambda: tg.Key(0).uniform((2**60,)), "uniform: expected a count that fits into memory"),
        (lambda: tg.Key(0).bits(2**60), "bits: expected a count that fits into memory"),
    ],
)
def test_errors(program: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, tg.DTypeError), match=message):
        program()


def test_keys_are_values() -> None:
    assert tg.Key(3) == tg.Key(3)
    assert len({tg.Key(3), tg.Key(3), tg.Key(4)}) == 2
    with pytest.raises(AttributeError):
        tg.Key(3).seed = 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start", [0, 1, 6, 13])
def test_a_device_makes_the_same_numbers_without_a_copy(dtype, start, cupy):
    key = Key(2**64 - 5, 2**63 + 11)
    cuda_kernels()  # kernels are tried at first use, on a copy of known numbers
    syncs.copies.clear()
    made = key.uniform((3, 7), start=start, dtype=dtype, device="cuda")
    assert not syncs.copies
    assert np.array_equal(made.get(), key.uniform((3, 7), start=start, dtype=dtype))


def test_keys_come_back_from_the_array_that_kernels_take() -> None:
    rows = RowKeys((Key(1, 2), Key(MASK, 5)))
    assert as_pairs(Key(MASK, 3), "cpu").tolist() == [[MASK, 3]]
    assert as_pairs(rows, "cpu").tolist() == [[1, 2], [MASK, 5]]
    for key in (Key(MASK, 3), rows, RowKeys(())):
        assert from_pairs(as_pairs(key, "cpu")) == key


def test_rows_are_folded_into_one_by_one():
    keys = RowKeys((Key(1), Key(2, 5))).fold_in(7)
    assert keys == RowKeys((Key(1).fold_in(7), Key(2, 5).fold_in(7)))


def test_rows_that_are_not_the_keys_are_refused():
    with pytest.raises(tg.ShapeError, match="expected a shape of 2 rows, one per key, got \\(3, 4\\)"):
        RowKeys((Key(1), Key(2, 5))).uniform((3, 4))


def test_a_device_makes_the_same_numbers_for_rows(cupy):
    keys = RowKeys((Key(1), Key(2, 5), Key(0)))
    assert np.array_equal(keys.uniform((3, 5, 2), device="cuda").get(), keys.uniform((3, 5, 2)))
    assert RowKeys(()).uniform((0, 4), device="cuda").shape == (0, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_of_a_device_makes_the_same_numbers(dtype, cupy_kernels):
    key = Key(2**64 - 5, 2**63 + 11)
    syncs.copies.clear()
    made = key.uniform((3, 7), start=13, dtype=dtype, device="cuda")
    assert syncs.copies["to the device"] == 320  # to try the kernels, once
    assert np.array_equal(made.get(), key.uniform((3, 7), start=13, dtype=dtype))
    rows = RowKeys((Key(1), Key(2, 5)))
    assert np.array_equal(rows.uniform((2, 5), dtype=dtype, device="cuda").get(), rows.uniform((2, 5), dtype=dtype))
    assert RowKeys(()).uniform((0, 4), dtype=dtype, device="cuda").shape == (0, 4)
    assert {kernel.name for kernel in cupy_kernels.launched} == {
        "softmax",
        f"uniform_{'double' * (dtype == 'float64') or 'float'}",
    }


@pytest.mark.parametrize("fixture", ["cupy", "cupy_kernels"])
def test_keys_on_a_device_are_folded_and_drawn_from_there(fixture, request):
    """By array expressions and by kernels. Nothing is copied, and keys copied there later take effect."""
    request.getfixturevalue(fixture)
    cuda_kernels()  # kernels are tried at first use
    keys = RowKeys((Key(1), Key(2**64 - 1, 2**63 + 5), Key(0, 3)))
    assert RowKeys.of(keys.pairs_on("cpu")) == keys
    pairs = keys.pairs_on("cuda")
    there = RowKeys.of(pairs)
    assert there.pairs_on("cuda") is pairs
    syncs.copies.clear()
    folded = [there.fold_in(data) for data in (0, 7, 2**64 - 1)]
    drawn = [k.uniform((3, 5), start=2, device="cuda") for k in (there, folded[1], folded[1].rows(1, 3))[:2]]
    part = folded[1].rows(1, 3).uniform((2, 4), device="cuda")
    assert not syncs.copies
    for data, found in zip((0, 7, 2**64 - 1), folded, strict=True):
        assert RowKeys.of(found.pairs_on("cpu")) == keys.fold_in(data)
    for found, expected in zip(drawn, (keys, keys.fold_in(7)), strict=True):
        assert np.array_equal(found.get(), expected.uniform((3, 5), start=2))
    assert np.array_equal(part.get(), keys.fold_in(7).uniform((3, 4))[1:])
    assert np.array_equal(there.uniform((3, 4)), keys.uniform((3, 4)))
    pairs[...] = keys.fold_in(9).pairs_on("cuda")
    assert np.array_equal(there.fold_in(1).uniform((3, 4)), keys.fold_in(9).fold_in(1).uniform((3, 4)))


def test_rows_of_a_key_start_where_they_are_asked_to():
    keys = RowKeys((Key(1), Key(2, 5)))
    assert np.array_equal(keys.uniform((2, 4), start=3), keys.uniform((2, 7))[:, 3:])


def test_keys_that_are_none_are_refused(cupy):
    wrong = [np.zeros((2, 2), np.uint64), cupy.zeros((2, 2)), cupy.zeros((2, 3), np.uint64), [Key(1)], (Key(1), 2)]
    for keys in wrong:
        with pytest.raises(tg.DTypeError, match="RowKeys: expected a tuple of Keys"):
            RowKeys(keys)
    on_device = RowKeys(cupy.zeros((2, 2), np.uint64))
    with pytest.raises(tg.DeviceError, match="dropout: expected operands on one device"):
        tg.dropout(np.ones((2, 3)), on_device, rate=0.5)
    q = np.ones((2, 1, 3, 4))
    with pytest.raises(tg.DeviceError, match="attention: expected operands on one device"):
        tg.scaled_dot_product_attention(q, q, q, dropout_rate=0.5, key=on_device)
