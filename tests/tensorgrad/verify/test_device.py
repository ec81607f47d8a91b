"""Every case of the certificate on a device: on CuPy's stand-in here, and the certificate itself on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from tensorgrad.array import to_device
from tensorgrad.dtype import DType, as_dtype
from tensorgrad.errors import DTypeError
from tensorgrad.tape import leaf
from tensorgrad.verify import certify, checks
from tensorgrad.verify.case import Case, draw
from tensorgrad.verify.cases import CASES
from tensorgrad.verify.certificate import functions
from tensorgrad.verify.checks import devices, dtypes
from tensorgrad.verify.derivatives import along
from tensorgrad.verify.memory_layouts import LAYOUTS
from tests.tensorgrad.each import each, each_case

# Relative and absolute tolerance of values and derivatives against the CPU's in the same dtype.
NEAR = {"float64": (1e-7, 1e-9), "float32": (1e-3, 1e-4), "float16": (0.1, 0.05), "bfloat16": (0.5, 0.3)}

CERTIFIED_CASES = 8  # at most, per function, spread over its cases: all of them take twice as long


def cases_of(name: str) -> list[Case]:
    return [case for case in CASES if case.op == name]


def compare_devices(case: Case, dtype: str, layout: str) -> None:
    """Value, gradient, jvp and second order on "cuda" are the CPU's."""
    target, lay = as_dtype(dtype), LAYOUTS[layout]
    inputs = [lay(x.astype(target)) for x in case.inputs()]
    rng = np.random.default_rng(0)
    out = case.f(*map(leaf, inputs)).array
    if not case.is_differentiable:
        got = case.f(*(leaf(lay(to_device(x, "cuda"))) for x in inputs))
        assert got.device == "cuda:0"
        np.testing.assert_allclose(got.numpy(), out, *NEAR[dtype])
        return
    weights = draw("any", out.shape, rng).astype(out.dtype)
    tangents = [np.asarray(0.25 * draw("any", x.shape, rng)).astype(target) for x in inputs]
    expected = along(case.f, inputs, weights, tangents)
    placed = [[lay(to_device(x, "cuda")) for x in xs] for xs in (inputs, tangents)]
    for got, wanted in zip(along(case.f, placed[0], weights, placed[1]), expected, strict=True):
        np.testing.assert_allclose(got, wanted, *NEAR[dtype], err_msg=case.name)


@pytest.mark.parametrize("name", functions())
def test_each_function_is_the_same_on_a_device(name, cupy):
    each_case(lambda case: compare_devices(case, "float64", "transposed"), cases_of(name))


@pytest.mark.parametrize("name", functions())
def test_each_function_is_the_same_in_narrow_dtypes(name, cupy):
    """The function's first case in each narrow dtype that the function takes and that NumPy has here."""
    case = cases_of(name)[0]

    def check(dtype: DType) -> None:
        try:
            case.f(*(leaf(x.astype(dtype)) for x in case.inputs()))
        except DTypeError:
            assert dtype != "float32"  # not every function takes the narrowest dtypes
        else:
            compare_devices(case, dtype.name, "contiguous")

    each(check, ((dtype.name, dtype) for dtype in dtypes() if dtype != "float64"))


@pytest.mark.untraced
@pytest.mark.parametrize("name", functions())
def test_the_certificate_s_derivatives_hold_on_a_device(name, cupy, monkeypatch):
    """Every derivative is the CPU's, which differences certify: some of a function's cases, in one layout and dtype."""
    truth = checks._truth
    monkeypatch.setattr(checks, "_truth", lambda case, lay, has_ties: truth(case, lay, has_ties=True))
    monkeypatch.setattr(checks, "devices", lambda: ["cuda"])
    monkeypatch.setattr(checks, "dtypes", lambda: [as_dtype("float64")])
    monkeypatch.setattr(checks, "LAYOUTS", {"strided": LAYOUTS["strided"]})
    cases = cases_of(name)
    found = checks.examine(name, cases[:: -(-len(cases) // CERTIFIED_CASES)])
    assert found.cases
    assert found.worst or not cases[0].is_differentiable
    assert not found.failures, found.failures[0]


def test_the_certificate_checks_the_device_too(cupy):
    assert devices() == ["cpu", "cuda"]
    said: list[str] = []
    assert certify(["tanh", "rms_norm"], report=said.append).holds, said
    assert "devices: cpu, cuda" in said[-2]


@pytest.mark.gpu
@pytest.mark.parametrize("name", functions())
def test_the_certificate_holds_on_a_gpu(name):
    if "cuda" not in devices():
        pytest.skip("no CUDA device")
    said: list[str] = []
    assert certify([name], report=said.append).holds, "\n".join(said)
