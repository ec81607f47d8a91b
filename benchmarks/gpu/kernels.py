"""Each kernel of GPT-2 124M's training step: milliseconds, GB/s or TFLOP/s, and the share of the measured peak.

    python benchmarks/gpu/kernels.py                          # all sections
    python benchmarks/gpu/kernels.py --sections gemm
    python benchmarks/gpu/kernels.py --device cpu --small     # a rehearsal

The sizes are for a micro-batch of 16 sequences of 1024 tokens: large enough to fill the device and to leave its cache.
The bytes count each input read once and each output written once; their peak is the bandwidth of a copy, measured in
the same run. For products and attention the operations count; their peak is an 8192^3 product.

A section is a function that yields cases; SECTIONS lists them.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.gpu.machine import Machine, arguments, check_fast
from tensorgrad.array import device_of, to_device
from tensorgrad.errors import DeviceError
from tensorgrad.kernels import gemm, kernels_for
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.cuda.attention import tiled
from tensorgrad.kernels.cuda.attention.cudnn import CuDNN
from tensorgrad.random import Key, RowKeys, as_pairs
from tensorgrad.sorted_ids import SortedIds


@dataclass(frozen=True)
class Case:
    """One call, and the least that it must do: bytes to move, or operations."""

    name: str
    work: Callable[[], Any]
    nbytes: int = 0
    flops: int = 0


@dataclass(frozen=True)
class Sizes:
    """The sizes of GPT-2 124M, with the letters of `gpt/__init__.py`."""

    B: int = 16
    T: int = 1024
    C: int = 768
    H: int = 12
    F: int = 3072
    V: int = 50304
    parameters: int = 124_475_904

    @property
    def N(self) -> int:
        return self.B * self.T


SMALL = Sizes(B=2, T=64, C=64, H=2, F=256, V=512, parameters=20_000)


def norms(machine: Machine, s: Sizes) -> Iterator[Case]:
    x, g = machine.normal(s.N, s.C), machine.normal(s.N, s.C)
    weight, bias = machine.normal(s.C), machine.normal(s.C)
    kernels, size = kernels_for(x), x.nbytes
    _, mean, rstd = kernels.layer_norm(x, weight, bias, 1e-5)
    yield Case("layer_norm", lambda: kernels.layer_norm(x, weight, bias, 1e-5), 2 * size)
    yield Case("layer_norm_gradient", lambda: kernels.layer_norm_gradient(g, x, weight, mean, rstd), 3 * size)
    _, scale = kernels.rms_norm(x, weight, 1e-5)
    yield Case("rms_norm", lambda: kernels.rms_norm(x, weight, 1e-5), 2 * size)
    yield Case("rms_norm_gradient", lambda: kernels.rms_norm_gradient(g, x, weight, scale), 3 * size)


def activations(machine: Machine, s: Sizes) -> Iterator[Case]:
    x, g = machine.normal(s.N, s.F), machine.normal(s.N, s.F)
    kernels, size = kernels_for(x), x.nbytes
    yield Case("gelu_tanh", lambda: kernels.gelu(x, "tanh"), 2 * size)
    yield Case("gelu_tanh_gradient", lambda: kernels.gelu_gradient(g, x, "tanh"), 3 * size)
    # As in an MLP's backward: the gradient is written over g, and the activation is computed again.
    yield Case(
        "gelu_tanh_gradient and gelu_tanh",
        lambda: kernels.mlp_activation_gradient(g, x, "gelu_tanh", False, False),
        4 * size,
    )
    half = machine.normal(s.N, s.F // 2)
    yield Case("swiglu", lambda: kernels.swiglu(x), size + half.nbytes)
    yield Case("swiglu_gradient", lambda: kernels.swiglu_gradient(half, x), 2 * size + half.nbytes)


def elementwise(machine: Machine, s: Sizes) -> Iterator[Case]:
    x, y = machine.normal(s.N, s.C), machine.normal(s.N, s.C)
    yield Case("add (residual)", lambda: x + y, 3 * x.nbytes)
    wide = machine.normal(s.parameters, dtype=np.float32)
    size = s.parameters * (4 + x.dtype.itemsize)
    yield Case("cast of the parameters", lambda: kernels_for(wide).cast(wide, x.dtype), size)
    yield Case("column_sums", lambda: kernels_for(x).column_sums(x, wide.dtype), x.nbytes)
    yield Case("fill_rows", lambda: kernels_for(x).fill_rows(x, y[0]), x.nbytes)
    heads = machine.normal(s.B, s.H, s.T, s.C // s.H)
    cos, sin = (machine.normal(s.T, s.C // s.H // 2, scale=0.5) for _ in range(2))
    yield Case("rope", lambda: kernels_for(heads).rope(heads, cos, sin), 2 * heads.nbytes)
    samples, keys = x.reshape(s.B, s.T, s.C), as_pairs(RowKeys(Key(0).split(s.B)), device_of(x))
    yield Case("dropout", lambda: kernels_for(x).dropout(x, as_pairs(Key(0), device_of(x)), 0.1), 2 * x.nbytes)
    yield Case("dropout, a key per sample", lambda: kernels_for(x).dropout(samples, keys, 0.1), 2 * x.nbytes)
    if torch := _torch(machine):
        theirs, their_parameters = torch.from_dlpack(x), torch.from_dlpack(wide)
        yield Case("cast of the parameters, PyTorch", lambda: their_parameters.to(theirs.dtype), size)
        yield Case("dropout, PyTorch", lambda: torch.nn.functional.dropout(theirs, 0.1), 2 * x.nbytes)


def loss(machine: Machine, s: Sizes) -> Iterator[Case]:
    logits, targets = machine.normal(s.N, s.V), machine.integers(s.V, s.N)
    kernels = kernels_for(logits)
    _, _, largest, total = kernels.cross_entropy(logits, targets, None)
    share = machine.normal(s.N, dtype=largest.dtype, scale=1e-5)
    yield Case("cross_entropy", lambda: kernels.cross_entropy(logits, targets, None), logits.nbytes)
    yield Case(
        "cross_entropy_gradient",
        lambda: kernels.cross_entropy_gradient(share, share, share, logits, targets, None, largest, total),
        2 * logits.nbytes,
    )


def embedding(machine: Machine, s: Sizes) -> Iterator[Case]:
    # Ids with the frequencies of text: the n-th most frequent has a share of about 1 / n.
    shares = 1 / np.arange(1, s.V + 1)
    host = machine.random.choice(s.V, s.N, p=shares / shares.sum())
    ids = SortedIds.of(host).to(machine.device)
    table, g = machine.normal(s.V, s.C, dtype=np.float32), machine.normal(s.N, s.C, dtype=np.float32)
    num_rows = len(np.unique(host))
    yield Case("embedding", lambda: kernels_for(table).take_rows(table, ids.ids), 2 * g.nbytes)
    if torch := _torch(machine):
        their_table, their_ids = torch.from_dlpack(table), torch.from_dlpack(ids.ids)
        yield Case("embedding, PyTorch", lambda: torch.nn.functional.embedding(their_ids, their_table), 2 * g.nbytes)
    yield Case(
        "embedding_gradient",
        lambda: kernels_for(table).scatter_add(table, ids.ids, g, ids.order_N),
        g.nbytes + 2 * num_rows * s.C * 4,
    )


def optimizer(machine: Machine, s: Sizes) -> Iterator[Case]:
    buffers = [machine.normal(s.parameters, dtype=np.float32, scale=0.02) for _ in range(3)]
    second = machine.normal(s.parameters, dtype=np.float32) ** 2
    kernels = kernels_for(second)
    rates = to_device(np.array([1e-4, 0.1, 0.05, 1.0]), machine.device)
    options: Any = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    copy = machine.normal(s.parameters)
    size = 28 * s.parameters
    yield Case("global_norm", lambda: kernels.global_norm(buffers[1]), 4 * s.parameters)
    yield Case("adamw", lambda: kernels.adamw(*buffers, second, rates, **options), size)
    yield Case(
        "adamw and a 16-bit copy",
        lambda: kernels.adamw(*buffers, second, rates, **options, copy=copy),
        size + copy.nbytes,
    )


def products(machine: Machine, s: Sizes) -> Iterator[Case]:
    """Every product of a block and of the head at 64 sequences, plain and as `linear` computes it, beside PyTorch's.

    Y = X W^T (+ bias), dX = dY W, dW = dY^T X. "added": into a float32 buffer; "sums": the bias's gradient comes with
    the product. Where the library can make GELU or its gradient a part of a product, that is measured too. "own" bias
    and sums come from our kernels, which serve where the library has neither.
    """
    rows = (1 if machine.is_small else 4) * s.N
    torch = _torch(machine)
    shapes = {"qkv": (3 * s.C, s.C), "out": (s.C, s.C), "up": (s.F, s.C), "down": (s.C, s.F), "head": (s.V, s.C)}
    for name, (wide, narrow) in shapes.items():
        x, weight, g = machine.normal(rows, narrow), machine.normal(wide, narrow), machine.normal(rows, wide)
        bias, buffer = machine.normal(wide), machine.normal(wide, narrow, dtype=np.float32)
        works: dict[str, Callable[..., Any]] = {
            "forward": lambda x, w, g: gemm.matmul(x, w.T),
            "forward + bias": lambda x, w, g, bias=bias: gemm.affine(x, w.T, bias),
            "dX": lambda x, w, g: gemm.matmul(g, w),
            "dW": lambda x, w, g: gemm.matmul(g.T, x),
            "dW added": lambda x, w, g, buffer=buffer: gemm.matmul_into(g.T, x, buffer, accumulate=True),
        }
        kernels = kernels_for(x)
        works["dW added, own sums"] = lambda x, w, g, buffer=buffer, kernels=kernels: (
            gemm.matmul_into(g.T, x, buffer, accumulate=True),
            kernels.column_sums(g, buffer.dtype),
        )
        out = machine.normal(rows, wide)
        works["forward + own bias"] = lambda x, w, g, bias=bias, out=out, kernels=kernels: (
            kernels.fill_rows(out, bias),
            gemm.matmul_into(x, w.T, out, accumulate=True),
        )
        if gemm.sums_beside_products(x):
            works["dW added, sums"] = lambda x, w, g, buffer=buffer: gemm.matmul_with_sums(
                g.T, x, buffer.dtype, buffer, accumulate=True
            )
        if name == "up" and gemm.affine_gelu(x, weight.T, bias, keeps_input=True):
            works["forward + bias + GELU"] = lambda x, w, g, bias=bias: gemm.affine_gelu(x, w.T, bias, keeps_input=True)
        if name == "down" and gemm.matmul_gelu_gradient(g, weight, x) is not None:
            works["dX, GELU's gradient"] = lambda x, w, g: gemm.matmul_gelu_gradient(g, w, x)
        for kind, work in works.items():
            yield Case(f"{name}, {kind}", functools.partial(work, x, weight, g), flops=2 * rows * wide * narrow)
        if torch:
            theirs = [torch.from_dlpack(z) for z in (x, weight, g, bias)]
            peers: dict[str, Callable[..., Any]] = {
                "forward": lambda x, w, g, bias: torch.matmul(x, w.t()),
                "forward + bias": lambda x, w, g, bias: torch.nn.functional.linear(x, w, bias),
                "dX": lambda x, w, g, bias: torch.matmul(g, w),
                "dW": lambda x, w, g, bias: torch.matmul(g.t(), x),
            }
            for kind, work in peers.items():
                whole = functools.partial(work, *theirs)
                yield Case(f"{name}, {kind}, PyTorch", whole, flops=2 * rows * wide * narrow)


def _torch(machine: Machine) -> Any:
    """PyTorch, if it is installed and can use the same device; else None."""
    if not importlib.util.find_spec("torch"):
        return None
    import torch

    return torch if not machine.is_gpu or torch.cuda.is_available() else None


def attention(machine: Machine, s: Sizes) -> Iterator[Case]:
    """Causal attention of 64 sequences; queries, keys and values are views of one array (B, T, 3, H, D).

    First by the provider that the model uses, then by each one: cuDNN with a backward that adds in a fixed order, cuDNN
    with one that does not, and our own kernel, whose order is always fixed.
    """
    D, B = s.C // s.H, 4 * s.B
    qkv = machine.normal(B, s.T, 3, s.H, D)
    q, k, v = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    g = machine.normal(B, s.T, s.H, D).transpose(0, 2, 1, 3)
    kernels, scale = kernels_for(qkv), D**-0.5
    attending = Attending(is_causal=True, scale=scale)
    out, logsumexp = kernels.attention(q, k, v, attending)
    flops = 2 * B * s.H * s.T * s.T * D  # two products of T x T x D, and the mask takes half of each
    yield Case("forward", lambda: kernels.attention(q, k, v, attending), flops=flops)
    yield Case(
        "backward",
        lambda: kernels.attention_gradient(g, q, k, v, out, logsumexp, attending),
        flops=5 * flops // 2,
    )
    dropping = replace(attending, dropout=(as_pairs(Key(0), device_of(q)), 0.1))
    yield Case("forward with dropout", lambda: kernels.attention(q, k, v, dropping), flops=flops)
    dropped, dropped_logsumexp = kernels.attention(q, k, v, dropping)
    yield Case(
        "backward with dropout",
        lambda: kernels.attention_gradient(g, q, k, v, dropped, dropped_logsumexp, dropping),
        flops=5 * flops // 2,
    )
    if torch := _torch(machine):
        theirs = [torch.from_dlpack(x).contiguous() for x in (q, k, v)]
        sdpa = torch.nn.functional.scaled_dot_product_attention
        yield Case("forward with dropout, PyTorch", lambda: sdpa(*theirs, dropout_p=0.1, is_causal=True), flops=flops)
    for name, provider in attention_providers(machine):
        yield Case(
            f"{name}, forward",
            lambda p=provider: p.attention(q, k, v, attending),  # type: ignore[misc]
            flops=flops,
        )
        yield Case(
            f"{name}, backward",
            lambda p=provider: p.attention_gradient(g, q, k, v, out, logsumexp, attending),  # type: ignore[misc]
            flops=5 * flops // 2,
        )


def attention_providers(machine: Machine) -> Iterator[tuple[str, Any]]:
    """Each provider that works on this machine."""
    if not machine.is_gpu:
        return
    try:
        yield "cudnn, fixed order", CuDNN(machine.cupy)
        yield "cudnn, any order", CuDNN(machine.cupy, is_deterministic=False)
    except (ImportError, DeviceError) as problem:
        print(f"attention: no cuDNN: {problem}", flush=True)
    yield "own kernel", tiled


SECTIONS: dict[str, Callable[[Machine, Sizes], Iterator[Case]]] = {
    "norms": norms,
    "activations": activations,
    "elementwise": elementwise,
    "loss": loss,
    "embedding": embedding,
    "optimizer": optimizer,
    "gemm": products,
    "attention": attention,
}


def measured(machine: Machine, section: str, case: Case, peaks: dict[str, float]) -> dict[str, Any]:
    ms = machine.milliseconds(case.work)
    row: dict[str, Any] = {"section": section, "name": case.name, "ms": round(ms, 5)}
    if case.flops:
        row["tflop_per_s"] = round(case.flops / ms / 1e9, 3)
        row["percent_of_peak"] = round(100 * row["tflop_per_s"] / peaks["product_tflop_per_s"], 1)
    else:
        row["gb_per_s"] = round(case.nbytes / ms / 1e6, 3)
        row["percent_of_peak"] = round(100 * row["gb_per_s"] / peaks["copy_gb_per_s"], 1)
    return row


def main() -> None:
    assert __doc__
    parser = arguments(__doc__)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    machine = Machine(options.device, is_small=options.small, dtype=options.dtype)
    sizes = SMALL if options.small else Sizes()
    peaks = machine.peaks()
    print(f"{machine.name}: {', '.join(f'{name} {value:,.1f}' for name, value in peaks.items())}", flush=True)
    rows, failed = [], []
    for section in options.sections:
        try:
            for case in SECTIONS[section](machine, sizes):
                rows.append(measured(machine, section, case, peaks))
                row = rows[-1]
                speed = f"{row['gb_per_s']:,.0f} GB/s" if "gb_per_s" in row else f"{row['tflop_per_s']:,.1f} TFLOP/s"
                print(
                    f"{section + ': ' + case.name:36}{row['ms']:>10.4f} ms{speed:>16}{row['percent_of_peak']:>7.1f} %",
                    flush=True,
                )
        except Exception as problem:  # one broken kernel must not hide the others
            failed.append({"section": section, "problem": f"{type(problem).__name__}: {problem}"})
            print(f"{section}: {failed[-1]['problem']}", flush=True)
        machine.free()
    result = {"sizes": vars(sizes), "peaks": peaks, "rows": rows, "failed": failed}
    machine.store("gpu_kernels", result, options.results)
    if machine.is_gpu and not options.allow_slow:
        check_fast()
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
