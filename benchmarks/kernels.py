"""Each fused kernel on the CPU, ours beside PyTorch's, with the shapes of a training step.

    python benchmarks/kernels.py --configurations baby gpt2 --threads 2

Ours and PyTorch's take turns, with a pause in which the other's threads go to sleep. The median time of the rounds is
reported, and the median of the rounds' ratios. GB/s count each operand read once and each result written once, and
compare with a copy in the same run; small operands stay in the cache and may exceed it. Attention counts the operations
for the scores that the mask leaves, and compares with a product of 1024 x 1024 matrices. On a machine that is also
doing something else, run it with one thread and compare CPU times: threads that wait for each other also wait for the
other work. The result goes to benchmarks/results/kernels.json.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.record import store
from benchmarks.workloads import WORKLOADS, Workload
from gpt.model import GPT
from tensorgrad import Key, threads
from tensorgrad.array import Array
from tensorgrad.kernels import gemm, implementations, kernels_for
from tensorgrad.kernels.attending import Attending
from tensorgrad.kernels.threads import run_all
from tensorgrad.tree import named_tensors

MIN_TURN_S = 0.01
PAUSE_S = 0.02


@dataclass(frozen=True)
class Case:
    """One kernel of ours, PyTorch's (None if it has none), and the least that both must do."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None
    nbytes: int = 0
    flops: int = 0


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def cases(workload: Workload) -> Iterator[Case]:
    import torch

    model = workload.model
    rows, width = workload.batch_size * model.context_length, model.model_dim
    yield from norms(torch, rows, width)
    yield from activations(torch, rows, model.ffn_width)
    yield from losses(torch, rows, model.vocab_size)
    yield from attentions(torch, workload.batch_size, model.num_heads, model.context_length, width // model.num_heads)
    size = sum(x.size for x in named_tensors(GPT.init(model, Key(0))).values())
    yield from optimizers(torch, size)


def norms(torch: Any, rows: int, width: int) -> Iterator[Case]:
    x, g = normal(rows, width), normal(rows, width, seed=1)
    weight, bias = normal(width), normal(width, seed=1)
    kernels, aten, size = kernels_for(x), torch.ops.aten, x.nbytes
    t, tg, tweight, tbias = (torch.from_numpy(a) for a in (x, g, weight, bias))
    shape, eps = [width], 1e-5
    _, mean, rstd = kernels.layer_norm(x, weight, bias, eps)
    _, tmean, trstd = aten.native_layer_norm(t, shape, tweight, tbias, eps)
    yield Case(
        "layer_norm",
        lambda: kernels.layer_norm(x, weight, bias, eps),
        lambda: aten.native_layer_norm(t, shape, tweight, tbias, eps),
        2 * size,
    )
    yield Case(
        "layer_norm_gradient",
        lambda: kernels.layer_norm_gradient(g, x, weight, mean, rstd),
        lambda: aten.native_layer_norm_backward(tg, t, shape, tmean, trstd, tweight, tbias, [True] * 3),
        3 * size,
    )
    _, scale = kernels.rms_norm(x, weight, eps)
    leaf, leaf_weight = t.clone().requires_grad_(), tweight.clone().requires_grad_()
    out = torch.nn.functional.rms_norm(leaf, shape, leaf_weight, eps)
    yield Case(
        "rms_norm",
        lambda: kernels.rms_norm(x, weight, eps),
        lambda: torch.nn.functional.rms_norm(t, shape, tweight, eps),
        2 * size,
    )
    yield Case(
        "rms_norm_gradient",
        lambda: kernels.rms_norm_gradient(g, x, weight, scale),
        lambda: torch.autograd.grad(out, (leaf, leaf_weight), tg, retain_graph=True),
        3 * size,
    )


def activations(torch: Any, rows: int, width: int) -> Iterator[Case]:
    x, g = normal(rows, width), normal(rows, width, seed=1)
    kernels, aten, size = kernels_for(x), torch.ops.aten, x.nbytes
    t, tg = torch.from_numpy(x), torch.from_numpy(g)
    for approximate in ("none", "tanh"):
        ours = functools.partial(kernels.gelu, x, approximate)
        yield Case(f"gelu {approximate}", ours, functools.partial(aten.gelu, t, approximate=approximate), 2 * size)
        ours = functools.partial(kernels.gelu_gradient, g, x, approximate)
        theirs = functools.partial(aten.gelu_backward, tg, t, approximate=approximate)
        yield Case(f"gelu_gradient {approximate}", ours, theirs, 3 * size)
    yield Case("silu", lambda: kernels.silu(x), lambda: aten.silu(t), 2 * size)
    yield Case("silu_gradient", lambda: kernels.silu_gradient(g, x), lambda: aten.silu_backward(tg, t), 3 * size)
    half = width // 2
    g_half = np.ascontiguousarray(g[:, :half])
    leaf, tg_half = t.clone().requires_grad_(), torch.from_numpy(g_half)

    def theirs_swiglu(pairs: Any) -> Any:
        return torch.nn.functional.silu(pairs[:, :half]) * pairs[:, half:]

    out = theirs_swiglu(leaf)
    yield Case("swiglu", lambda: kernels.swiglu(x), lambda: theirs_swiglu(t), size * 3 // 2)
    yield Case(
        "swiglu_gradient",
        lambda: kernels.swiglu_gradient(g_half, x),
        lambda: torch.autograd.grad(out, leaf, tg_half, retain_graph=True),
        size * 5 // 2,
    )


def losses(torch: Any, rows: int, classes: int) -> Iterator[Case]:
    logits = normal(rows, classes)
    targets = np.random.default_rng(0).integers(0, classes, rows)
    kernels, size, functional = kernels_for(logits), logits.nbytes, torch.nn.functional
    t, ttargets = torch.from_numpy(logits), torch.from_numpy(targets)
    _, _, largest, total = kernels.cross_entropy(logits, targets, None)
    each = np.full(rows, 1 / rows, np.float32)
    leaf = t.clone().requires_grad_()
    loss = functional.cross_entropy(leaf, ttargets)
    yield Case(
        "cross_entropy",
        lambda: kernels.cross_entropy(logits, targets, None),
        lambda: functional.cross_entropy(t, ttargets),
        size,
    )
    yield Case(
        "cross_entropy_gradient",
        lambda: kernels.cross_entropy_gradient(each, each, each, logits, targets, None, largest, total),
        lambda: torch.autograd.grad(loss, leaf, retain_graph=True),
        2 * size,
    )
    yield Case("softmax", lambda: kernels.softmax(logits), lambda: torch.softmax(t, 1), 2 * size)


def attentions(torch: Any, batch: int, heads: int, length: int, depth: int) -> Iterator[Case]:
    parts = normal(batch, length, 3 * heads, depth)  # views of one product's result, as in the model
    q, k, v = (parts[:, :, i * heads : (i + 1) * heads].transpose(0, 2, 1, 3) for i in range(3))
    g = normal(batch, length, heads, depth, seed=1).transpose(0, 2, 1, 3)
    kernels, scale = kernels_for(q), depth**-0.5
    tensors = [torch.from_numpy(a).requires_grad_() for a in (q, k, v)]
    attend = functools.partial(torch.nn.functional.scaled_dot_product_attention, is_causal=True)
    tg, tout = torch.from_numpy(g), attend(*tensors)
    attending = Attending(is_causal=True, scale=scale)
    out, logsumexp = kernels.attention(q, k, v, attending)
    flops = 2 * 2 * batch * heads * depth * length * (length + 1) // 2
    yield Case(
        "attention",
        lambda: kernels.attention(q, k, v, attending),
        lambda: attend(*(x.detach() for x in tensors)),
        flops=flops,
    )
    yield Case(
        "attention_gradient",
        lambda: kernels.attention_gradient(g, q, k, v, out, logsumexp, attending),
        lambda: torch.autograd.grad(tout, tensors, tg, retain_graph=True),
        flops=flops * 5 // 2,
    )
    angles = normal(length, depth // 2)
    cos, sin = np.cos(angles), np.sin(angles)
    yield Case("rope", lambda: kernels.rope(q, cos, sin), None, 2 * q.nbytes)


def optimizers(torch: Any, size: int) -> Iterator[Case]:
    parameters, gradients = normal(size), normal(size, seed=1)
    moments = np.zeros(size, np.float32), np.zeros(size, np.float32)
    kernels = kernels_for(parameters)
    rates = np.array([1e-4, 0.1, 0.05, 1.0])
    leaf = torch.from_numpy(parameters.copy()).requires_grad_()
    leaf.grad = torch.from_numpy(gradients)
    optimizer = torch.optim.AdamW([leaf], lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    options = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}
    yield Case(
        "adamw",
        lambda: kernels.adamw(parameters, gradients, *moments, rates, **options),
        optimizer.step,
        7 * parameters.nbytes,
    )
    yield Case(
        "global_norm",
        lambda: kernels.global_norm(gradients),
        lambda: torch.linalg.vector_norm(leaf.grad).item(),
        gradients.nbytes,
    )


# --- measuring ---------------------------------------------------------------------------------


def turn(work: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of a call and of CPU time, averaged over MIN_TURN_S of calls."""
    work()
    count, seconds, start, cpu_start = 0, 0.0, time.perf_counter(), time.process_time()
    while seconds < MIN_TURN_S:
        work()
        count, seconds = count + 1, time.perf_counter() - start
    return seconds / count * 1000, (time.process_time() - cpu_start) / count * 1000


def measured(case: Case, rounds: int) -> dict[str, float]:
    ours, theirs = [], []
    for _ in range(rounds):
        time.sleep(PAUSE_S)
        ours.append(turn(case.ours))
        if case.theirs is not None:
            time.sleep(PAUSE_S)
            theirs.append(turn(case.theirs))
    ms, cpu_ms = (statistics.median(values) for values in zip(*ours, strict=True))
    result = {"ms": round(ms, 4), "cpu_ms": round(cpu_ms, 4)}
    result |= {"gb_per_s": round(case.nbytes / ms / 1e6, 2)} if case.nbytes else {}
    result |= {"gflop_per_s": round(case.flops / ms / 1e6, 2)} if case.flops else {}
    if theirs:
        result["torch_ms"], result["torch_cpu_ms"] = (
            round(statistics.median(values), 4) for values in zip(*theirs, strict=True)
        )
        for i, name in enumerate(("over_torch", "cpu_over_torch")):
            result[name] = round(statistics.median(a[i] / b[i] for a, b in zip(ours, theirs, strict=True)), 3)
    return result


def bounds(count: int) -> dict[str, float]:
    """The best that the machine does: a copy's GB/s, read and written, and a product's GFLOP/s."""
    source, target = np.ones(1 << 26, np.float32), np.zeros(1 << 26, np.float32)
    step = source.size // count
    tasks = [
        functools.partial(np.copyto, target[i * step : (i + 1) * step], source[i * step : (i + 1) * step])
        for i in range(count)
    ]
    copy_ms = min(turn(lambda: run_all(tasks))[0] for _ in range(7))
    a = normal(1024, 1024)
    product_ms = min(turn(lambda: gemm.matmul(a, a))[0] for _ in range(7))
    return {
        "copy_gb_per_s": round(2 * source.nbytes / copy_ms / 1e6, 2),
        "product_gflop_per_s": round(2 * 1024**3 / product_ms / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--name", default="kernels", help="name of the file in benchmarks/results, without .json")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    with threads(options.threads):
        limits = bounds(options.threads)
        print(implementations())
        print(f"copy {limits['copy_gb_per_s']} GB/s, product {limits['product_gflop_per_s']} GFLOP/s")
        print(f"{'':32}{'ms':>10}{'GB/s':>10}{'GFLOP/s':>10}{'torch ms':>10}  over torch: time, CPU time")
        result: dict[str, Any] = {"threads": options.threads, "rounds": options.rounds, "kernels": implementations()}
        result |= {"bounds": limits, "configurations": {}}
        for name in options.configurations:
            rows = result["configurations"][name] = {}
            for case in cases(WORKLOADS[name]):
                row = rows[case.name] = measured(case, options.rounds)
                keys = ("gb_per_s", "gflop_per_s", "torch_ms", "over_torch", "cpu_over_torch")
                columns = "".join(f"{row.get(key, math.nan):>10.2f}" for key in keys)
                print(f"{name + ' ' + case.name:32}{row['ms']:>10.3f}{columns}", flush=True)
    print(store(options.name, result, ("numpy", "numba", "torch")))


if __name__ == "__main__":
    main()
