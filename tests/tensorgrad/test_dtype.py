"""Names of dtypes, and the table of tolerances that the other tests use."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.dtype import accumulation_dtype, as_dtype, is_float, tolerance


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
    assert 1 < tolerance(name) / np.finfo(name).eps < 64


def test_integers_have_no_tolerance() -> None:
    with pytest.raises(tg.DTypeError, match="exact"):
        tolerance("int64")


def test_float16_statistics_do_not_overflow() -> None:
    """65,504 is the largest float16; a sum of squares passes it at once."""
    x = tg.tensor(np.full((1, 256), 100.0, np.float16))
    weight = tg.ones((256,), dtype="float16")
    for out in (tg.rms_norm(x, weight), tg.softmax(x) * 256.0):
        assert out.dtype == np.float16
        np.testing.assert_allclose(out.numpy(), 1.0, rtol=tolerance("float16"))
    assert tg.cross_entropy(x, np.array([3])).dtype == np.float32
