"""Fused kernels: their closed list, and the choice of an implementation for an array.

A kernel works on arrays only and knows nothing of gradients; `ops` pairs each with its backward. `reference` defines
every kernel and runs on NumPy and CuPy alike. Faster sets have the same functions and are chosen here by the kind of
array, if they pass a short check: `compiled` for NumPy's arrays, where numba is installed, and `cuda` for CuPy's.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Protocol

import numpy as np

from tensorgrad.array import Array, ForeignArray, cuda_module, to_numpy
from tensorgrad.dtype import DType
from tensorgrad.errors import ArgumentError, DeviceError
from tensorgrad.kernels import gemm, providers, reference
from tensorgrad.kernels.attending import Attending

__all__ = ["Kernels", "cpu_kernels", "cuda_kernels", "implementations", "kernels_for"]


class Kernels(Protocol):
    """Shapes: N rows, C width, V classes; B batch, H heads, K key/value heads, T and S lengths, D head width.

    Every result has the dtype of the first argument; statistics (mean, rstd, log-sum-exp, losses)
    have its accumulation dtype. No argument is written to unless its description says so.

    Random keys are arrays (R, 2) uint64: a seed and a stream in each row. There is one key for each row of the operand,
    on its device; or a single key for all of it, in an array on the CPU, which a device gets by value.
    """

    def erf(self, x: Array) -> Array: ...

    def erfc(self, x: Array) -> Array: ...

    def gelu(self, x: Array, approximate: str) -> Array: ...

    def gelu_gradient(self, g: Array, x: Array, approximate: str) -> Array: ...

    def silu(self, x: Array) -> Array: ...

    def silu_gradient(self, g: Array, x: Array) -> Array: ...

    def swiglu(self, x: Array) -> Array:
        """x (..., 2 F), the gate first: silu(gate) * value, (..., F)."""
        ...

    def swiglu_gradient(self, g: Array, x: Array) -> Array: ...

    def mlp_activation(self, x_NG: Array, bias_G: Array | None, activation: str, is_rounded: bool) -> Array:
        """The activation of x + bias, (N, F); the bias is added to x in place.

        `activation`: gelu, gelu_tanh, relu_squared; or swiglu, whose x is (N, G = 2 F) with the gate first, where
        for the others G = F. `is_rounded`, of float32 on the CPU: to `kernels.bfloat16.BFLOAT16`.
        """
        ...

    def mlp_activation_gradient(
        self, g_NF: Array, x_NG: Array, activation: str, is_rounded: bool, has_bias: bool
    ) -> tuple[Array, Array, Array | None]:
        """The activation of x again, dx, and dbias: the sums of dx over the rows, in its accumulation dtype.

        g may be overwritten. `is_rounded` as above, for the activation and dx; dbias is None without `has_bias`.
        """
        ...

    def softmax(self, x_NC: Array) -> Array: ...

    def softmax_gradient(self, g_NC: Array, y_NC: Array) -> Array: ...

    def log_softmax(self, x_NC: Array) -> Array: ...

    def log_softmax_gradient(self, g_NC: Array, y_NC: Array) -> Array: ...

    def cross_entropy(
        self, logits_NV: Array, targets_N: Array, spread_V: Array | None
    ) -> tuple[Array, Array | None, Array, Array]:
        """For each row: -log p[target]; -log p @ spread, if given; the largest logit, and the sum of exp(x - largest).

        p is softmax(logits). All (N,). A row whose target is -1 does not count: whatever it holds, it gives 0, 0, 0
        and 1, and its gradient is 0.
        """
        ...

    def cross_entropy_gradient(
        self,
        softmax_N: Array,
        target_N: Array,
        spread_N: Array,
        logits_NV: Array,
        targets_N: Array,
        spread_V: Array | None,
        largest_N: Array,
        total_N: Array,
        *,
        out_NV: Array | None = None,
        is_rounded: bool = False,
    ) -> Array:
        """softmax_N * p - target_N * onehot(target) - spread_N * spread, in the dtype of the logits, (N, V).

        It is written to `out_NV` where one is given, in C order and of that dtype: this may be `logits_NV` itself.
        With `is_rounded`, for float32 on the CPU, it is rounded to BFLOAT16, in the first halves of that array's rows.
        """
        ...

    def layer_norm(
        self, x_NC: Array, weight_C: Array | None, bias_C: Array | None, eps: float
    ) -> tuple[Array, Array, Array]:
        """The output, and each row's mean and 1 / standard deviation: (N, C), (N, 1), (N, 1).

        Without a weight it is 1, bit for bit; without a bias, 0.
        """
        ...

    def layer_norm_gradient(
        self, g_NC: Array, x_NC: Array, weight_C: Array | None, mean_N1: Array, rstd_N1: Array
    ) -> tuple[Array, Array | None, Array]:
        """dx, dweight, dbias; dweight is None without a weight."""
        ...

    def rms_norm(self, x_NC: Array, weight_C: Array | None, eps: float) -> tuple[Array, Array]:
        """The output, and each row's 1 / root mean square: (N, C), (N, 1). Without a weight it is 1, bit for bit."""
        ...

    def rms_norm_gradient(
        self, g_NC: Array, x_NC: Array, weight_C: Array | None, rstd_N1: Array
    ) -> tuple[Array, Array | None]:
        """dx, dweight; dweight is None without a weight."""
        ...

    def attention(self, q_BHTD: Array, k_BKSD: Array, v_BKSD: Array, attending: Attending) -> tuple[Array, Array]:
        """The output and each query's log-sum-exp of scores: (B, H, T, D), (B, H, T)."""
        ...

    def attention_gradient(
        self,
        g_BHTD: Array,
        q_BHTD: Array,
        k_BKSD: Array,
        v_BKSD: Array,
        out_BHTD: Array,
        logsumexp_BHT: Array,
        attending: Attending,
    ) -> tuple[Array, Array, Array]:
        """dq, dk, dv."""
        ...

    def uniform(self, keys_R2: Array, count: int, start: int, dtype: DType) -> Array:
        """Numbers `start`, `start` + 1, ... of each key's stream, in [0, 1): (R, count), made where the keys are.

        float32: the top 24 bits of a half-word, the lower half first. float64: the top 53 bits of a word.
        """
        ...

    def fold_in(self, keys_R2: Array, data: int) -> Array:
        """For each key the key of another stream, a function of the key and of `data` in 0 .. 2**64 - 1: (R, 2)."""
        ...

    def dropout(self, x: Array, keys_R2: Array, rate: float) -> Array:
        """x / (1 - rate) where the keys' float32 numbers are >= rate; else 0.

        A single key numbers the elements of x in order; otherwise each row of the first axis has its own key.
        """
        ...

    def rope(self, x: Array, cos_TE: Array, sin_TE: Array, out: Array | None = None) -> Array:
        """x (..., T, D) with the halves of its last axis rotated by angles (T, E = D / 2). `out` may be x."""
        ...

    def cast(self, x: Array, dtype: DType, out: Array | None = None) -> Array:
        """A copy of x in another float dtype; in `out` if given, an array of that dtype in C order."""
        ...

    def take_rows(self, table: Array, ids: Array) -> Array:
        """table[ids] for a matrix table: (..., C)."""
        ...

    def column_sums(self, x_NC: Array, dtype: DType) -> Array:
        """The sums over the rows, (C,), added in the accumulation dtype of x and returned in `dtype`."""
        ...

    def fill_rows(self, out_NC: Array, row_C: Array) -> None:
        """Write `row`, which has the dtype of `out`, to every row of `out`. These are dense and do not overlap."""
        ...

    def scatter_add(self, buffer: Array, index: Any, values: Array, order: Array | None = None) -> None:
        """Add values to buffer[index] in place, in a fixed order where the index repeats.

        `order`, for an index of rows: its flattened stable argsort, (N,), if the caller has it.
        """
        ...

    def global_norm(self, flat: Array) -> Array:
        """The Euclidean norm of a flat buffer, a 0-d float64 array on its device; the CPU adds it up in float64."""
        ...

    def adamw(
        self,
        parameters: Array,
        gradients: Array,
        first_moment: Array,
        second_moment: Array,
        rates_4: Array,
        *,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        copy: Array | None = None,
    ) -> None:
        """One AdamW step over flat buffers, in place. Nothing changes if the gradients' factor is not finite.

        `rates_4`, float64 and on the buffers' device, so that nothing waits for it: the learning rate,
        1 - beta1**step, 1 - beta2**step (steps count from 1), and the gradients' factor.
        `copy`, a flat buffer of another float dtype, holds `cast` of the parameters, before the step and after it.
        """
        ...


def kernels_for(a: Array) -> Kernels:
    """The kernels for arrays of `a`'s kind."""
    if isinstance(a, np.ndarray):
        return cpu_kernels()[0]
    return a.kernels if isinstance(a, ForeignArray) else cuda_kernels()


def cuda_kernels() -> Kernels:
    """The kernels for CuPy's arrays: our own in CUDA if they compile and compute correctly, else the reference."""
    return providers.choose("kernels", (("cuda", _tried_cuda), ("reference", lambda: reference)))


def _tried_cuda() -> Kernels:
    """The CUDA kernels, once one has compiled and computed a known result. Raises what went wrong."""
    from tensorgrad.kernels import cuda

    x_NC = np.linspace(-3, 3, 80, dtype=np.float32).reshape(2, 40)
    got = to_numpy(cuda.softmax(cuda_module().asarray(x_NC)))
    if not np.allclose(got, reference.softmax(x_NC), rtol=1e-5):
        raise DeviceError(f"kernels: expected the softmax of known numbers, got {got[0, :3]}: update the driver")
    return cuda


@functools.cache
def cpu_kernels() -> tuple[Kernels, str]:
    """The kernels for NumPy's arrays, and their description: numba's version, or why it is not used.

    The environment variable TENSORGRAD_KERNELS, read once, asks for `reference` or `compiled`, for tests and
    comparisons. Raises ArgumentError for another value, or if `compiled` does not work.
    """
    wanted = os.environ.get("TENSORGRAD_KERNELS", "")
    if wanted not in ("", "reference", "compiled"):
        raise ArgumentError(
            f"TENSORGRAD_KERNELS: expected reference or compiled, got {wanted!r}: unset it for the faster that works"
        )
    if wanted == "reference":
        return reference, "NumPy, as TENSORGRAD_KERNELS asks for"
    try:
        from tensorgrad.kernels import compiled

        problem = compiled.problem()
    except ImportError as error:  # not installed, or built for another NumPy
        problem = str(error)
    if not problem:
        return compiled, f"numba {compiled.version()}"
    if wanted:
        raise ArgumentError(
            f"TENSORGRAD_KERNELS: expected numba for the compiled kernels, got none that works ({problem}): "
            "install this package's extra cpu, or unset the variable"
        )
    return reference, f"NumPy (numba: {problem})"


def implementations() -> str:
    """One line that names what computes the fused kernels and the matrix products on this CPU."""
    return f"kernels: {cpu_kernels()[1]}; products: {gemm.cpu_provider()}"
