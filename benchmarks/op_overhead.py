"""The time of one recorded op on one element, forward and backward, in tensorgrad, PyTorch and HIPS autograd.

    python benchmarks/op_overhead.py        # autograd is left out where it is not installed

Each op is measured in a chain of 1000, per op, and alone, with its own backward. The libraries take turns, so that
other load on the machine meets all of them alike; the medians of the rounds are reported. One thread, float32, and
every check that a library makes by default. The result goes to benchmarks/results/op_overhead.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import tensorgrad as tg
from benchmarks.record import store

try:
    import autograd
    import autograd.numpy as anp
except ImportError:
    autograd = None

LENGTH = 1000
Op = Callable[[Any, Any], Any]  # (the value so far, a constant of its shape) -> a value of its shape

# name: (shape, ours, PyTorch's, autograd's or None)
OPS: dict[str, tuple[tuple[int, ...], Op, Op, Op | None]] = {
    "multiply": ((1,), lambda y, c: y * c, lambda y, c: y * c, lambda y, c: y * c),
    "add": ((1,), lambda y, c: y + c, lambda y, c: y + c, lambda y, c: y + c),
    "exp": ((1,), lambda y, c: tg.exp(y), lambda y, c: torch.exp(y), lambda y, c: anp.exp(y)),
    "sum": (
        (1,),
        lambda y, c: tg.sum(y, axis=0, keepdims=True),
        lambda y, c: torch.sum(y, 0, keepdim=True),
        lambda y, c: anp.sum(y, axis=0, keepdims=True),
    ),
    "matmul": ((1, 1), lambda y, c: y @ c, lambda y, c: y @ c, lambda y, c: anp.matmul(y, c)),
    "getitem": ((1,), lambda y, c: y[0:1], lambda y, c: y[0:1], lambda y, c: y[0:1]),
    "layer_norm": (
        (1,),
        lambda y, c: tg.layer_norm(y, c, c),
        lambda y, c: torch.nn.functional.layer_norm(y, (1,), c, c),
        None,
    ),
}
Run = Callable[[int], tuple[float, float]]  # number of ops in a row -> seconds forward, backward


def ours(op: Op, shape: tuple[int, ...]) -> Run:
    ones = np.ones(shape, np.float32)
    return chain(op, tg.tensor(ones, requires_grad=True), tg.tensor(ones), ones)


def pytorch(op: Op, shape: tuple[int, ...]) -> Run:
    return chain(op, torch.ones(shape, requires_grad=True), torch.ones(shape), torch.ones(shape))


def chain(op: Op, x: Any, c: Any, g: Any) -> Run:
    def run(length: int) -> tuple[float, float]:
        x.grad = None
        start = time.process_time()
        y = x
        for _ in range(length):
            y = op(y, c)
        middle = time.process_time()
        y.backward(g)
        return middle - start, time.process_time() - middle

    return run


def hips(op: Op, shape: tuple[int, ...]) -> Run:
    x, c, g = (np.ones(shape, np.float32) for _ in range(3))

    def run(length: int) -> tuple[float, float]:
        def f(y: Any) -> Any:
            for _ in range(length):
                y = op(y, c)
            return y

        start = time.process_time()
        vjp, _ = autograd.make_vjp(f)(x)
        middle = time.process_time()
        vjp(g)
        return middle - start, time.process_time() - middle

    return run


def measure(runs: dict[str, Run], length: int, rounds: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Each library's median microseconds per op, (forward, backward)."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run(length)
    for _ in range(rounds):
        for name, run in runs.items():
            times = [run(length) for _ in range(repeats)]
            found[name].append(tuple(sum(part) / (length * repeats) * 1e6 for part in zip(*times, strict=True)))
    return {
        name: tuple(round(statistics.median(part), 3) for part in zip(*rows, strict=True))
        for name, rows in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    np.seterr(all="ignore")  # a chain of exp overflows
    rows = []
    print(f"{'us per op, forward + backward':34}{'ours':>16}{'PyTorch':>16}{'autograd':>16}{'ours / PyTorch':>16}")
    with tg.threads(1):
        for name, (shape, op, torch_op, hips_op) in OPS.items():
            runs = {"tensorgrad": ours(op, shape), "torch": pytorch(torch_op, shape)}
            if autograd is not None and hips_op is not None:
                runs["autograd"] = hips(hips_op, shape)
            for kind, length, repeats in ((f"chain of {LENGTH}", LENGTH, 1), ("alone", 1, 300)):
                found = measure(runs, length, rounds, repeats)
                ratio = round(sum(found["tensorgrad"]) / sum(found["torch"]), 3)
                rows.append({"op": name, "kind": kind, "us_forward_backward": found, "ours_over_torch": ratio})
                texts = (
                    f"{found[k][0]:.2f} + {found[k][1]:.2f}" if k in found else "-"
                    for k in ("tensorgrad", "torch", "autograd")
                )
                print(f"{name + ', ' + kind:34}" + "".join(f"{text:>16}" for text in texts) + f"{ratio:>16.2f}")
    path = store("op_overhead", {"rounds": rounds, "rows": rows}, ("numpy", "torch", "autograd"))
    worst = max(rows, key=lambda row: row["ours_over_torch"])
    print(
        f"written to {path}; the largest ratio to PyTorch: {worst['ours_over_torch']} ({worst['op']}, {worst['kind']})"
    )


if __name__ == "__main__":
    main()
