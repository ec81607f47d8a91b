"""What this machine can compute with, which library computes what and why, and whether known numbers come out right."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensorgrad import ops
from tensorgrad.array import cuda_module, to_device
from tensorgrad.dtype import as_dtype
from tensorgrad.errors import DeviceError, DTypeError
from tensorgrad.kernels import implementations
from tensorgrad.memory import memory_info
from tensorgrad.tape import leaf
from tensorgrad.tensor import Tensor

__all__ = ["doctor"]

# The libraries of the extras, each after its dependencies; for CUDA 13 or 12, whichever is installed.
_LIBRARIES = (
    *("cupy-cuda13x", "cupy-cuda12x", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12", "nvidia-cublas"),
    *("nvidia-cublas-cu12", "nvmath-python", "nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn-frontend"),
)
# Largest relative error of the self-test, by dtype.
_ALLOWED = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}


def doctor(*, report: Callable[[str], None] = print) -> bool:
    """Report the CPU, the GPU if there is one, their libraries and providers, and a short self-test of each.

    On a GPU kernels are compiled at first use, which takes some seconds. Returns whether all tests passed.
    """
    report(
        f"tensorgrad {_version('tensorgrad-gpt') or 'from its sources'}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    )
    report(f"CPU: {implementations()}")
    is_right = _tested("cpu", report)
    try:
        cupy = cuda_module()
    except DeviceError as problem:
        for line in _without_gpu(problem):
            report(line)
        return is_right
    for line in _gpu(cupy):
        report(line)
    is_right &= _tested("cuda", report)
    for line in _choices():
        report(line)
    return is_right


def _without_gpu(problem: DeviceError) -> Iterator[str]:
    yield "GPU: none"
    yield str(problem)
    yield "device cpu computes everything, with the providers named above"


def _gpu(cupy: Any) -> Iterator[str]:
    runtime = cupy.cuda.runtime
    for number in range(runtime.getDeviceCount()):
        found = runtime.getDeviceProperties(number)
        name = found["name"].decode() if isinstance(found["name"], bytes) else found["name"]
        yield (
            f"GPU {number}: {name}, compute capability {found['major']}.{found['minor']}, "
            f"{found['multiProcessorCount']} multiprocessors"
        )
    yield f"memory: {memory_info('cuda')}"
    yield f"CUDA: driver for {_cuda_version(runtime.driverGetVersion())}, runtime {_cuda_version(_runtime(cupy))}"
    versions = ((name, _version(name)) for name in _LIBRARIES)
    yield f"libraries: {', '.join(f'{name} {version}' for name, version in versions if version) or 'none'}"


def _choices() -> Iterator[str]:
    """Which provider the self-test chose for each need, and why not one preferred to it."""
    from tensorgrad.kernels import providers

    for choice in providers.choices():
        reasons = "; ".join(f"not {name}: {reason}" for name, reason in choice.rejected)
        yield f"{choice.need}: {choice.chosen}" + (f" ({reasons})" if reasons else "")
    for fallback in providers.fallbacks():
        yield f"{fallback.need}: {fallback.used} for some calls ({fallback.reason})"


def _tested(device: str, report: Callable[[str], None]) -> bool:
    """Run the self-test on a device, and report it in one line. Returns whether it passed."""
    start = time.perf_counter()
    try:
        dtypes = ("float32",) if device == "cpu" else ("float32", "float16", *_bfloat16())
        errors = {f"{what} in {dtype}": (e, _ALLOWED[dtype]) for dtype in dtypes for what, e in _errors(device, dtype)}
    except Exception as problem:  # the report is about whatever goes wrong in a foreign library
        report(f"self-test on {device}: FAILED: {type(problem).__name__}: {problem}")
        return False
    wrong = [what for what, (error, allowed) in errors.items() if not error <= allowed]
    found = ", ".join(f"{what} {error:.0e}" for what, (error, _) in errors.items())
    verdict = f"FAILED: {', '.join(wrong)}" if wrong else "passed"
    report(f"self-test on {device}: {found} of float64: {verdict} in {time.perf_counter() - start:.1f} s")
    return not wrong


def _bfloat16() -> tuple[str, ...]:
    try:
        return (as_dtype("bfloat16").name,)
    except DTypeError:  # without ml_dtypes, which the extras install
        return ()


def _errors(device: str, dtype: str) -> Iterator[tuple[str, float]]:
    """How far a product, a fused kernel and the gradient through both and attention are from float64 on the CPU."""
    rng = np.random.default_rng(0)
    given = [rng.normal(size=shape) / 4 for shape in ((2, 32, 64), (64, 192), (64,), (64,), (2, 32, 64))]
    rounded = [a.astype(as_dtype(dtype)) for a in given]
    exact = _computed([leaf(a.astype(np.float64)) for a in rounded])
    found = _computed([leaf(to_device(a, device)) for a in rounded])
    for what, x, y in zip(("product", "layer_norm", "gradient"), found, exact, strict=True):
        difference = x.astype("float64").numpy() - y.numpy()
        yield what, float(np.linalg.norm(difference) / np.linalg.norm(y.numpy()))


def _computed(leaves: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    x_BTC, weight, scale, shift, cotangent = leaves
    product = ops.matmul(x_BTC, weight)
    normal = ops.layer_norm(x_BTC, scale, shift)
    heads = ops.reshape(ops.matmul(normal, weight), (2, 32, 3, 2, 32))
    q, k, v = (ops.permute_dims(heads[:, :, i], (0, 2, 1, 3)) for i in range(3))
    attended = ops.permute_dims(ops.scaled_dot_product_attention(q, k, v, is_causal=True), (0, 2, 1, 3))
    ops.reshape(attended, (2, 32, 64)).backward(cotangent.detach())
    gradient = weight.grad
    assert gradient is not None
    return product.detach(), normal.detach(), gradient


def _version(distribution: str) -> str:
    """The version of a distribution; "" if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _runtime(cupy: Any) -> int:
    return int(cupy.cuda.get_local_runtime_version())


def _cuda_version(number: int) -> str:
    """A version of CUDA as people write it: 13.2 for 13020."""
    return f"{number // 1000}.{number % 1000 // 10}"
