"""The checks of one function: each of its cases, in every memory layout and dtype, on every device.

The truth of the value is the case's own expression. The truth of the Jacobian is differences of order 8
(`check.difference`) of the function's values in float64, one input element at a time; of the second order, such
differences of the gradients, which the Jacobian has certified; of the third (`derivatives.bend_by_backward`), such
differences of the second order along one direction. Every element is compared by one measure for all functions:

    error = |got - true| / max(|true|, FLOOR * max(1, |what was differenced|))

So an element's error is relative to the element or, for a small one, to what differences can resolve; the size of other
elements does not matter. A narrow dtype is compared with float64 at the same, rounded, inputs. Its allowed error is
derived: ROUNDINGS times the change of the float64 result when every input and cotangent is off by one rounding (the
root mean square of PERTURBATIONS such changes, and one rounding of the result). As terms cancel, eight times the
largest such change of any element, or one rounding of 1, is added.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tensorgrad.array import Array, cuda_module, to_device, to_numpy
from tensorgrad.dtype import DType, accumulation_dtype, as_dtype
from tensorgrad.errors import DeviceError, DTypeError, GradientError
from tensorgrad.tape import leaf
from tensorgrad.tensor import Tensor
from tensorgrad.verify.case import Case, Shape, draw
from tensorgrad.verify.derivatives import (
    along,
    bend_by_backward,
    bend_by_differences,
    by_backward,
    by_differences,
    flattened,
)
from tensorgrad.verify.findings import Findings, Names, elements
from tensorgrad.verify.memory_layouts import EXPANDED, LAYOUTS, Layout

__all__ = ["devices", "examine"]

FLOOR = 3e-4
VALUE_FLOOR = 1e-2
ROUNDINGS = 16
PERTURBATIONS = 8

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def devices() -> list[str]:
    """The devices that functions can run on here."""
    try:
        cuda_module()
    except DeviceError:
        return ["cpu"]
    return ["cpu", "cuda"]


def dtypes() -> list[DType]:
    """The float dtypes; bfloat16 only where the package ml_dtypes gives it to NumPy."""
    found = []
    for name in EPS:
        try:
            found.append(as_dtype(name))
        except DTypeError:
            continue
    return found


def examine(op: str, cases: Iterable[Case]) -> Findings:
    """Check all `cases` of the function named `op`."""
    findings = Findings(op)
    for case in cases:
        findings.cases += 1
        for version in [case] if case.same is None else [case, _of_one_tensor(case, case.same)]:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                _examine(version, findings)
    return findings


def _of_one_tensor(case: Case, shape: Shape) -> Case:
    """The same call, with one tensor as all of its inputs."""
    count = len(case.shapes)
    return replace(
        case,
        name=f"{case.name} of one tensor",
        f=lambda x: case.f(*[x] * count),
        expected=lambda x: case.expected(*[x] * count),
        shapes=(shape,),
    )


def _examine(case: Case, findings: Findings) -> None:
    truth: _Truth | None = None
    for layout, lay in LAYOUTS.items():
        if truth is not None and all(lay(a).flags.c_contiguous for a in (*truth.inputs, truth.weights)):
            continue  # no array here has the axes to lie differently
        if truth is None or layout == EXPANDED:
            try:
                truth = _truth(case, lay, has_ties=layout == EXPANDED and case.domain == "distinct")
            except Exception as problem:
                findings.fail(f"case {case.name}, {layout}: raised {type(problem).__name__}: {problem}")
                return
        for device in devices():
            # A constant may depend on integers made from the inputs, which 16 bits would round to other integers.
            for dtype in dtypes() if case.is_differentiable else dtypes()[:2]:
                where = f"case {case.name}, {layout} {dtype} on {device}"
                _Trial(case, truth, lay, dtype, device, where, findings).run()


@dataclass(frozen=True)
class _Truth:
    """Inputs of a case, a cotangent of its output, a direction of its inputs, and the right results there."""

    inputs: list[Array]
    weights: Array
    tangents: list[Array]
    value: Array
    jacobian: Array
    hessian: Array
    bend: Array
    curvature: Array
    narrow: dict[tuple[DType, DType], list[list[Array]]] = field(init=False, default_factory=dict)  # for all layouts


def _truth(case: Case, lay: Layout, has_ties: bool) -> _Truth:
    rng = np.random.default_rng(len(case.name))
    inputs = [lay(x).copy() for x in case.inputs()]
    value = np.asarray(case.expected(*inputs))
    weights = lay(draw("any", value.shape, rng)).copy()
    tangents = [np.asarray(0.25 * draw("any", x.shape, rng)) for x in inputs]  # short, so as to cross no kink
    if not case.is_differentiable:
        return _Truth(inputs, weights, tangents, value, *[np.zeros(0)] * 4)
    if problem := _mismatch(case, value, case.f(*map(leaf, inputs))):
        raise GradientError(problem)
    if has_ties:  # differences do not see a tie broken: the same numbers in plain memory are the truth
        plain = by_backward(case.f, inputs, weights)
        bend = bend_by_backward(case.f, inputs, weights, tangents)
        return _Truth(inputs, weights, tangents, value, plain.by_vjp, plain.hessian, bend, np.zeros(bend.shape))
    jacobian, hessian = by_differences(case.f, inputs, weights)
    bend, curvature = bend_by_differences(case.f, inputs, weights, tangents)
    return _Truth(inputs, weights, tangents, value, jacobian, hessian, bend, curvature)


class _Trial:
    """One case in one layout and dtype on one device."""

    def __init__(
        self, case: Case, truth: _Truth, lay: Layout, dtype: DType, device: str, where: str, findings: Findings
    ) -> None:
        self.case, self.truth, self.lay, self.dtype, self.device = case, truth, lay, dtype, device
        self.where, self.findings = where, findings
        self.output = elements("output", truth.value.shape)
        self.input = elements("input", *(x.shape for x in truth.inputs))

    def run(self) -> None:
        """Check it. An exception is a failure, and so is an input that was written to."""
        inputs = self.placed(self.truth.inputs, self.dtype)
        before = [to_numpy(x).copy() for x in inputs]
        try:
            self.check(inputs)
        except Exception as problem:
            self.findings.fail(f"{self.where}: raised {type(problem).__name__}: {problem}")
        if not all(np.array_equal(to_numpy(x), b) for x, b in zip(inputs, before, strict=True)):
            self.findings.fail(f"{self.where}: an input was written to")

    def placed(self, arrays: Iterable[Array], dtype: DType) -> list[Array]:
        return [self.lay(to_device(a.astype(dtype), self.device)) for a in arrays]

    def compare(self, column: str, what: str, got: Array, true: Array, scale: Array, *names: Names) -> None:
        self.findings.compare(column, f"{self.where}, {what}", got, true, scale, *names)

    def check(self, inputs: list[Array]) -> None:
        try:
            out = self.case.f(*map(leaf, inputs))
        except DTypeError:
            if self.dtype.itemsize == 2:  # not every backend has these
                return
            raise
        if problem := _mismatch(self.case, self.truth.value, out):
            self.findings.fail(f"{self.where}: {problem}")
        elif not self.case.is_differentiable:
            self.check_constant(out, inputs)
        # A 16-bit dtype may be summed in a wider one.
        elif out.dtype not in (self.dtype, accumulation_dtype(self.dtype)):
            self.findings.fail(f"{self.where}: expected a result of dtype {self.dtype}, got {out.dtype}")
        elif self.dtype == np.float64:
            self.check_float64(inputs)
        else:
            self.check_narrow(inputs, out.dtype)

    def check_constant(self, out: Tensor, inputs: list[Array]) -> None:
        """The value of a function without derivatives: as expected, exactly, or within roundings if float."""
        true = np.asarray(self.case.expected(*(to_numpy(x).astype(np.float64) for x in inputs))).ravel()
        is_float = true.dtype.kind == "f"
        allowed = ROUNDINGS * EPS[self.dtype.name] * np.maximum(1, np.abs(true)) if is_float else np.zeros(true.shape)
        self.compare("constant", "value", flattened([out]), true.astype(np.float64), allowed, self.output)

    def check_float64(self, inputs: list[Array]) -> None:
        """Every derivative against the truth, and against NumPy's on another device."""
        truth, output, input = self.truth, self.output, self.input
        (weights,) = self.placed([truth.weights], self.dtype)
        got = by_backward(self.case.f, inputs, weights)
        value, gradient = truth.value.ravel(), truth.weights.ravel() @ truth.jacobian
        self.compare("value", "value", got.value, value, np.maximum(np.abs(value), VALUE_FLOOR), output)
        scale = _scale(truth.jacobian, value)
        self.compare("vjp", "vjp", got.by_vjp, truth.jacobian, scale, output, input)
        self.compare("jvp", "jvp", got.by_jvp, truth.jacobian, scale, output, input)
        scale = _scale(gradient, gradient)
        self.compare("vjp", "gradient", got.gradient, gradient, scale, input)
        self.compare("vjp", "gradient with create_graph", got.recorded, gradient, scale, input)
        self.compare(
            "second", "second order", got.hessian, truth.hessian, _scale(truth.hessian, gradient), input, input
        )
        bend = bend_by_backward(self.case.f, inputs, weights, truth.tangents)
        self.compare("third", "third order", bend, truth.bend, _scale(truth.bend, truth.curvature), input)
        if self.device != "cpu":
            other = by_backward(self.case.f, truth.inputs, truth.weights)
            for what in ("value", "by_vjp", "by_jvp", "hessian"):
                a, b = np.ravel(getattr(got, what)), np.ravel(getattr(other, what))
                scale = np.maximum(np.abs(b), VALUE_FLOOR)
                self.compare("device", f"{what} against the cpu", a, b, scale, elements("element", b.shape))

    def check_narrow(self, inputs: list[Array], out_dtype: DType) -> None:
        """The value and every element of the derivatives along one direction, against float64."""
        truth, eps = self.truth, EPS[self.dtype.name]
        (weights,) = self.placed([truth.weights], out_dtype)
        tangents = [to_device(t.astype(self.dtype), self.device) for t in truth.tangents]
        got = along(self.case.f, inputs, weights, tangents)
        if (self.dtype, out_dtype) not in truth.narrow:
            arrays = [to_numpy(a).astype(np.float64) for a in (*inputs, weights, *tangents)]
            truth.narrow[self.dtype, out_dtype] = list(self.rounded_alike(arrays, eps))
        true, *moved = truth.narrow[self.dtype, out_dtype]
        column = "float32" if self.dtype == np.float32 else "16 bits"
        names = (self.output, self.input, self.output, self.input)
        for i, what in enumerate(("value", "gradient", "jvp", "second order")):
            spread = np.sqrt(np.mean([np.square(m[i] - true[i]) for m in moved], axis=0))
            allowed = ROUNDINGS * (spread + eps * np.abs(true[i])) + 8 * spread.max(initial=eps)
            self.compare(column, what, got[i], true[i], allowed, names[i])

    def rounded_alike(self, wide: list[Array], eps: float) -> Iterator[list[Array]]:
        """The float64 results at inputs, cotangent and tangents, then at perturbed ones, off by one rounding."""
        rng, count = np.random.default_rng(0), len(self.truth.inputs)
        for scale in (0.0, *[eps] * PERTURBATIONS):
            arrays = [np.asarray(a * (1 + scale * rng.normal(size=a.shape))) if scale else a for a in wide]
            yield along(self.case.f, arrays[:count], arrays[count], arrays[count + 1 :])


def _mismatch(case: Case, value: Array, out: Any) -> str:
    """How `out` differs from the Tensor that the case promises; empty if it does not."""
    if type(out) is Tensor and out.shape == value.shape and out.requires_grad == case.is_differentiable:
        return ""
    kind = "needs a gradient" if case.is_differentiable else "is a constant"
    got = out if type(out) is Tensor else type(out).__name__
    return f"expected a Tensor of shape {value.shape} that {kind}, got {got}"


def _scale(true: Array, differenced: Array) -> Array:
    """What an error in each element is relative to: see the head of this file."""
    floor = FLOOR * np.maximum(1, np.abs(differenced))
    return np.maximum(np.abs(true), floor if true.ndim == 1 else floor[:, None])
