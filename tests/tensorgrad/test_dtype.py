"""Names of dtypes, what they promote to, and the tolerances that the other tests use."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.dtype import accumulation_dtype, as_dtype, is_float
from tests.tensorgrad.tolerances import TOLERANCES


@pytest.mark.parametrize(
    "name", ["float64", "float32", "float16", "bool", "int64", "int32", "int16", "int8", "uint64", "uint8"]
)
def test_names_types_and_dtypes_are_the_same(name: str) -> None:
    assert as_dtype(name) == as_dtype(np.dtype(name)) == as_dtype(np.dtype(name).type)
    assert is_float(as_dtype(name)) == name.startswith("float")


@pytest.mark.parametrize("bad", ["float128", "complex64", "object", "half precision", np.str_, object, "S3"])
def test_other_dtypes_are_refused(bad: object) -> None:
    with pytest.raises(tg.DTypeError, match="dtype: expected one of float64"):
        as_dtype(bad)


def test_sums_are_accumulated_in_float32_or_better() -> None:
    assert accumulation_dtype(np.dtype("float16")) == np.float32
    assert accumulation_dtype(np.dtype("float32")) == np.float32
    assert accumulation_dtype(np.dtype("float64")) == np.float64
    assert accumulation_dtype(np.dtype("int16")) == np.int16


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_a_tolerance_is_some_units_in_the_last_place(name: str) -> None:
    assert 1 < TOLERANCES[name] / np.finfo(name).eps < 64


def test_float16_statistics_do_not_overflow() -> None:
    """65,504 is the largest float16; a sum of squares passes it at once."""
    x = tg.tensor(np.full((1, 256), 100.0, np.float16))
    weight = tg.ones((256,), dtype="float16")
    for out in (tg.rms_norm(x, weight), tg.softmax(x) * 256.0):
        assert out.dtype == np.float16
        np.testing.assert_allclose(out.numpy(), 1.0, rtol=TOLERANCES["float16"])
    assert tg.cross_entropy(x, np.array([3])).dtype == np.float32


# --- the array API's names and functions ---------------------------------------------------------

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


@pytest.mark.parametrize("name", ["bool", *INTEGERS, *FLOATS])
def test_dtypes_are_attributes(name: str) -> None:
    assert getattr(tg, name) == np.dtype(name)
    assert getattr(tg, name) is as_dtype(name)


def test_bfloat16_is_there_where_ml_dtypes_is() -> None:
    try:
        import ml_dtypes
    except ImportError:
        with pytest.raises(AttributeError, match="ml_dtypes"):
            _ = tg.bfloat16
        return
    assert tg.bfloat16 == np.dtype(ml_dtypes.bfloat16)
    assert tg.finfo("bfloat16").eps == 2.0**-7
    assert tg.result_type(tg.bfloat16, tg.float32) == tg.float32
    assert not tg.can_cast("float16", "bfloat16")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="complex64"):
        _ = tg.complex64


@pytest.mark.parametrize("name", FLOATS)
def test_finfo(name: str) -> None:
    limits = np.finfo(name)
    for source in (name, np.dtype(name), np.dtype(name).type, tg.ones((2,), dtype=name), np.ones(1, name)):
        info = tg.finfo(source)
        assert (info.bits, info.dtype) == (limits.bits, np.dtype(name))
        numbers = (info.eps, info.max, info.min, info.smallest_normal)
        assert numbers == (limits.eps, limits.max, limits.min, limits.smallest_normal)
        assert {type(number) for number in numbers} == {float}
    with pytest.raises(tg.DTypeError, match="finfo: expected a float dtype, got int8"):
        tg.finfo("int8")


@pytest.mark.parametrize("name", INTEGERS)
def test_iinfo(name: str) -> None:
    limits = np.iinfo(name)
    for source in (name, np.dtype(name), tg.ones((2,), dtype=name)):
        info = tg.iinfo(source)
        assert (info.bits, info.max, info.min, info.dtype) == (limits.bits, limits.max, limits.min, np.dtype(name))
        assert type(info.max) is int
    for other in ("float32", "bool"):
        with pytest.raises(tg.DTypeError, match=f"iinfo: expected an integer dtype, got {other}"):
            tg.iinfo(other)


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("bool", ["bool"]),
        ("signed integer", INTEGERS[:4]),
        ("unsigned integer", INTEGERS[4:]),
        ("integral", INTEGERS),
        ("real floating", FLOATS),
        ("complex floating", []),
        ("numeric", INTEGERS + FLOATS),
        ("int8", ["int8"]),
        (np.dtype("float32"), ["float32"]),
        (("bool", "real floating"), ["bool", *FLOATS]),
        (("signed integer", np.uint8), [*INTEGERS[:4], "uint8"]),
        ((), []),
    ],
)
def test_isdtype(kind: object, members: list[str]) -> None:
    assert [name for name in ["bool", *INTEGERS, *FLOATS] if tg.isdtype(name, kind)] == [
        name for name in ["bool", *INTEGERS, *FLOATS] if name in members
    ]
    with pytest.raises(tg.DTypeError):
        tg.isdtype("int8", "number")


# The array API's table: row and column promote to the entry.
PROMOTIONS = {
    ("int8", "int8"): "int8",
    ("int8", "int64"): "int64",
    ("uint8", "int8"): "int16",
    ("uint8", "int16"): "int16",
    ("uint16", "int8"): "int32",
    ("uint32", "int8"): "int64",
    ("uint32", "uint64"): "uint64",
    ("float16", "float32"): "float32",
    ("float32", "float64"): "float64",
    ("bool", "bool"): "bool",
}
UNDEFINED = [("uint64", "int8"), ("int64", "uint64"), ("bool", "int8"), ("int8", "float64"), ("bool", "float32")]


@pytest.mark.parametrize(("pair", "expected"), PROMOTIONS.items())
def test_promotion(pair: tuple[str, str], expected: str) -> None:
    a, b = pair
    for left, right in ((a, b), (b, a)):
        assert tg.result_type(left, right) == expected
        assert tg.result_type(tg.ones((1,), dtype=left), np.dtype(right)) == expected
        assert tg.can_cast(left, expected)
        assert tg.can_cast(tg.ones((1,), dtype=left), right) == (expected == right)


@pytest.mark.parametrize("pair", UNDEFINED)
def test_promotion_across_kinds_is_refused(pair: tuple[str, str]) -> None:
    for left, right in (pair, pair[::-1]):
        with pytest.raises(tg.DTypeError, match=f"result_type: .*{left}"):
            tg.result_type(left, right)
        assert not tg.can_cast(left, right)


def test_python_numbers_take_the_dtype_of_the_others() -> None:
    assert tg.result_type("int8", 1) == "int8"
    assert tg.result_type(1.5, "float16", 2) == "float16"
    assert tg.result_type(True, "bool") == "bool"
    assert tg.result_type(np.float64(1), "float32") == "float64"
    assert tg.result_type("int8", "int32", "uint8") == "int32"
    for others in ((1.5, "int8"), (True, "int8"), (1, "bool"), (1.0, 2), ()):
        with pytest.raises(tg.DTypeError, match="result_type: expected"):
            tg.result_type(*others)
