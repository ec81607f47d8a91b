"""Questions about a GPU whose answers decide between ways to compute.

    python benchmarks/gpu/first.py                            # writes results/gpu_first.json
    python benchmarks/gpu/first.py --device cpu --small       # a rehearsal

What bandwidth does a copy reach? What does a launch cost Python? How fast are GPT-2's products, alone and with what the
engine adds to them? Can a graph record attention and products, and what does a recorded step of small kernels cost?
(`kernels.py` measures attention, with and without a fixed order.) A question that fails is answered by its error.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import tensorgrad as tg
from benchmarks.gpu.machine import Machine, arguments
from gpt.train.cuda_graph import GraphStep
from tensorgrad.kernels import gemm, kernels_for
from tensorgrad.kernels.attending import Attending

Answer = dict[str, Any]


def copy_bandwidth(machine: Machine) -> Answer:
    """GB/s, read and written, by size in bytes: from sizes that fit in the cache to sizes that do not."""
    found = {}
    for exponent in range(14, 18) if machine.is_small else range(20, 31, 2):
        source = machine.normal(1 << (exponent - 1), 1) if machine.is_gpu else machine.normal(1 << (exponent - 2), 1)
        target = source.copy()

        def copy(source: Any = source, target: Any = target) -> None:
            target[...] = source

        found[str(source.nbytes)] = round(2 * source.nbytes / machine.milliseconds(copy) / 1e6, 1)
    return found


def launch_cost(machine: Machine) -> Answer:
    """Microseconds of the host for a call with almost no work; a step makes several hundred of them."""
    x, y, weight = machine.normal(8, 64), machine.normal(8, 64), machine.normal(64)
    kernels = kernels_for(x)
    a, b = tg.tensor(x, requires_grad=True), tg.tensor(y)
    return {
        "ufunc": machine.host_microseconds(lambda: x + y),
        "fused kernel (layer_norm)": machine.host_microseconds(lambda: kernels.layer_norm(x, weight, weight, 1e-5)),
        "product": machine.host_microseconds(lambda: gemm.matmul(x, y.T)),
        "recorded op (add)": machine.host_microseconds(lambda: a + b),
    }


def products(machine: Machine) -> Answer:
    """TFLOP/s of the products of GPT-2 124M's step at two micro-batches: Y = X W^T, dX = dY W, dW = dY^T X."""
    width, wide, vocab, sizes = (64, 256, 512, (64,)) if machine.is_small else (768, 3072, 50304, (16384, 65536))
    maps = {"qkv": (3 * width, width), "out": (width, width), "up": (wide, width), "down": (width, wide)}
    maps["head"] = (vocab, width)
    found = {}
    for rows in sizes:
        for name, (out, into) in maps.items():
            if name == "head" and rows == 65536:
                continue  # its logits alone would take 6.6 GB, and the shape brings nothing new
            x, g, weight = machine.normal(rows, into), machine.normal(rows, out), machine.normal(out, into)
            ways = {"forward": (x, weight.T), "dX": (g, weight), "dW": (g.T, x)}
            for way, (a, b) in ways.items():
                ms = machine.milliseconds(functools.partial(gemm.matmul, a, b))
                found[f"{name} {way} {rows}"] = round(2 * rows * out * into / ms / 1e9, 3)
    return found


def linear_and_gelu(machine: Machine) -> Answer:
    """Milliseconds of the MLP's first layer in the engine: what bias, GELU and their gradients add to the product."""
    rows, width, wide = (64, 64, 256) if machine.is_small else (16384, 768, 3072)
    x = tg.tensor(machine.normal(rows, width), requires_grad=True)
    weight = tg.tensor(machine.normal(wide, width, scale=0.02), requires_grad=True)
    bias = tg.tensor(machine.normal(wide), requires_grad=True)
    g = machine.normal(rows, wide)

    def both_ways(f: Callable[[], Any]) -> Callable[[], None]:
        return lambda: f().backward(g)

    ways = {
        "linear": lambda: tg.linear(x, weight),
        "linear, bias": lambda: tg.linear(x, weight, bias),
        "linear, bias, gelu": lambda: tg.gelu(tg.linear(x, weight, bias), approximate="tanh"),
    }
    found = {f"{name}, forward": machine.milliseconds(f) for name, f in ways.items()}
    return found | {f"{name}, forward and backward": machine.milliseconds(both_ways(f)) for name, f in ways.items()}


def recording(machine: Machine) -> Answer:
    """Whether a graph can record each kind of work, and the host's microseconds for eager and recorded calls."""
    if not machine.is_gpu:
        return {"skipped": "there are no graphs on a CPU"}
    batch, heads, time, width = 2, 4, 128, 64
    qkv = machine.normal(batch, time, 3, heads, width)
    a, b = machine.normal(256, 256), machine.normal(256, 256)

    def attend(arrays: Any) -> Any:
        q, k, v = (arrays["x"][:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        return kernels_for(q).attention(q, k, v, Attending(is_causal=True, scale=width**-0.5))[0]

    def many(arrays: Any) -> Any:
        x = arrays["x"]
        for _ in range(100):
            x = x + 1
        return x

    ways: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "attention": (attend, qkv),
        "product": (lambda arrays: gemm.matmul(arrays["x"], b), a),
        "100 small kernels": (many, a),
    }
    found: Answer = {}
    with machine.cupy.cuda.Stream(non_blocking=True):  # the default stream cannot be recorded
        for name, (work, x) in ways.items():
            try:
                found[f"{name}, eager"] = machine.host_microseconds(lambda work=work, x=x: work({"x": x}))
                step = GraphStep(work)
                for _ in range(3):
                    recorded = step({"x": x})
                machine.synchronize()
                same = recorded.get().tobytes() == work({"x": x}).get().tobytes()
                found[f"{name}, recorded"] = machine.host_microseconds(lambda step=step, x=x: step({"x": x}))
                found[f"{name}, recorded is bitwise the same"] = same
            except Exception as problem:
                found[f"{name}, recorded"] = f"{type(problem).__name__}: {problem}"
    return found


QUESTIONS: dict[str, Callable[[Machine], Answer]] = {
    "copy_gb_per_s": copy_bandwidth,
    "launch_us": launch_cost,
    "product_tflop_per_s": products,
    "linear_and_gelu_ms": linear_and_gelu,
    "recording_us": recording,
}


def main() -> None:
    assert __doc__
    options = arguments(__doc__).parse_args()
    machine = Machine(options.device, is_small=options.small, dtype=options.dtype)
    result: dict[str, Answer] = {}
    for name, question in QUESTIONS.items():
        try:
            result[name] = question(machine)
        except Exception as problem:  # the error is the answer, and the other questions are still asked
            result[name] = {"failed": f"{type(problem).__name__}: {problem}"}
        print(name, result[name], flush=True)
        machine.free()
    machine.store("gpu_first", result, options.results)


if __name__ == "__main__":
    main()
