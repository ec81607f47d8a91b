"""One contestant of `benchmarks/train_step.py`: a process that trains one workload with one library and precision.

    python benchmarks/contestants.py NAME WORKLOAD THREADS

It reads commands from standard input, one JSON list [command, argument] a line, and answers each with a line of JSON:

    gradients FILE    the loss of the initial weights; their gradients are written to FILE (npz)
    losses N          the losses of the first N training steps
    steps N           N training steps: their median time, and the median CPU time of all threads
    generate [IDS, N] the most likely N tokens after IDS, one after the other, and the seconds they took
    shares            the shares of a step spent in matrix products, and in attention
    memory            the largest resident memory so far: of the process, and above what was in use before training
    library           the library that computes, with its version

If it cannot run, it answers {"error": REASON} and ends.

"products" are the products of whole matrices: for tensorgrad everything in `tensorgrad.kernels.gemm`, with the sums
and biases that it adds; for PyTorch mm, addmm, bmm and linear. "attention" has its own products and softmax: for
tensorgrad the kernels `attention` and `attention_gradient`; for PyTorch scaled_dot_product_attention and its backward.
Neither has the conversions to bfloat16. tensorgrad's shares are of the CPU time of all threads, PyTorch's of the CPU
time that its profiler sees; JAX gives none.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.workloads import BETAS, CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY, WORKLOADS, Workload
from gpt.errors import UserError

SHARES = ("products", "attention")


class Trainer(Protocol):
    """A model in training; `contestants.py` says what each method answers."""

    def library(self) -> str: ...

    def step(self, number: int) -> float: ...

    def gradients(self) -> tuple[float, dict[str, Any]]: ...

    def shares(self) -> dict[str, float]: ...

    def generate(self, ids: list[int], count: int) -> list[int]: ...


class TensorgradTrainer:
    """The step of `gpt train`."""

    def __init__(self, workload: Workload, threads: int, precision: str) -> None:
        from gpt.config import OptimConfig
        from gpt.model import GPT
        from gpt.optim import AdamW
        from tensorgrad.tree import named_tensors

        self.workload = workload
        self.model = GPT.init(workload.model, _key(), dtype=precision)
        self.tensors = named_tensors(self.model)
        for name, values in workload.weights():
            self.tensors[name].data[...] = values
        config = OptimConfig(beta1=BETAS[0], beta2=BETAS[1], weight_decay=WEIGHT_DECAY, clip_norm=CLIP_NORM)
        self.optimizer = AdamW(self.model, config)

    def library(self) -> str:
        from tensorgrad.kernels import implementations

        return implementations()

    def step(self, number: int) -> float:
        from gpt.train.step import train_step

        ids, targets = self.workload.batch(number)
        size = self.workload.batch_size
        step = {"micro_batch_size": size, "learning_rate": LEARNING_RATE, "number": number + 1}
        return train_step(self.model, self.optimizer, ids, targets, **step)[0]  # type: ignore[arg-type]

    def gradients(self) -> tuple[float, dict[str, Any]]:
        loss = self.model.loss(*self.workload.batch(0))
        loss.backward()
        return loss.item(), {name: x.grad.numpy() for name, x in self.tensors.items() if x.grad is not None}

    def generate(self, ids: list[int], count: int) -> list[int]:
        from gpt.generate import Sampling, generate_ids

        return list(generate_ids(self.model, ids, sampling=Sampling(temperature=0.0, max_tokens=count)))

    def shares(self) -> dict[str, float]:
        from tensorgrad.kernels import cpu_kernels, gemm

        attention = [(cpu_kernels()[0], name) for name in ("attention", "attention_gradient")]
        products = [(gemm, name) for name in gemm.__all__ if "matmul" in name or "affine" in name]
        with timed({"products": products, "attention": attention}) as spent:
            start = time.process_time()
            for number in range(3):
                self.step(number)
            total = time.process_time() - start
        return {group: sum(seconds for name, seconds in spent if name == group) / total for group in SHARES}


@contextlib.contextmanager
def timed(functions: dict[str, list[tuple[Any, str]]]) -> Iterator[list[tuple[str, float]]]:
    """Measure the CPU time of functions, by group, including the tasks that they hand to other threads.

    Args:    functions: for each group, the owner and the name of each function.
    Returns: a list that fills with pairs (group, seconds); a group's time is the sum of its pairs.
    """
    spent: list[tuple[str, float]] = []  # appended to from all threads
    running = threading.local()  # the group that the thread is working for

    def watched(function: Callable[..., Any], group: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(running, "group", "")
            if outer == group:
                return function(*args, **kwargs)
            running.group, start = group, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.thread_time() - start
                spent.extend([(group, took), (outer, -took)])
                running.group = outer

        return run

    def handing_on(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(tasks: Sequence[Callable[[], Any]], *args: Any) -> Any:
            group = getattr(running, "group", "")
            return function([watched(task, group) for task in tasks] if group else tasks, *args)

        return run

    with contextlib.ExitStack() as stack:
        for group, places in functions.items():
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, watched(getattr(owner, name), group)))
        for module in [m for name, m in sys.modules.items() if name.startswith("tensorgrad.kernels.")]:
            for name in {"run_all", "run_later"} & vars(module).keys():
                stack.enter_context(mock.patch.object(module, name, handing_on(getattr(module, name))))
        yield spent


def _key() -> Any:
    from tensorgrad import Key

    return Key(0)


def memory_mb(field: str) -> float:
    """A field of /proc/self/status in MB: VmRSS, the resident memory, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024


@contextlib.contextmanager
def opened(name: str, workload: Workload, threads: int) -> Iterator[tuple[Trainer, float]]:
    """The trainer, and the memory in MB that was in use when its libraries were loaded and nothing else."""
    library, _, variant = name.partition("-")
    if library == "torch":
        import torch

        from benchmarks.peers.torch_trainer import TorchTrainer

        loaded = memory_mb("VmRSS")
        torch.manual_seed(0)
        yield TorchTrainer(workload, threads, is_bf16=variant == "bf16", is_compiled=variant == "compile"), loaded
        return
    if library == "jax":
        from benchmarks.peers.jax_trainer import JaxTrainer, limit_threads

        limit_threads(threads)
        import jax

        jax.devices()
        loaded = memory_mb("VmRSS")
        yield JaxTrainer(workload), loaded
        return
    import tensorgrad
    from gpt.cli import _keep_freed_memory
    from tensorgrad.kernels import gemm, kernels_for

    if variant == "numpy":  # as if the extras were not installed
        sys.modules["numba"] = None  # type: ignore[assignment]
        gemm.onednn.problem = lambda: "left out"  # type: ignore[assignment]
    _keep_freed_memory()
    # numba and oneDNN are loaded at their first use; the memory of what numba compiles counts as the contestant's.
    kernels_for(np.ones(1, np.float32))
    gemm.cpu_provider()
    with tensorgrad.threads(threads):
        loaded = memory_mb("VmRSS")
        yield TensorgradTrainer(workload, threads, "bf16" if variant == "bf16" else "float32"), loaded


def answer(trainer: Trainer, loaded_mb: float, command: str, argument: Any, *, first_step: int) -> Any:
    """What `trainer` answers to a command; `first_step` is the number of steps that were timed before."""
    match command:
        case "gradients":
            loss, gradients = trainer.gradients()
            np.savez(argument, **gradients)
            return loss
        case "losses":
            return [trainer.step(number) for number in range(argument)]
        case "steps":
            wall, cpu = [], []
            for number in range(first_step, first_step + argument):
                start, cpu_start = time.perf_counter(), time.process_time()
                trainer.step(number)
                wall.append(time.perf_counter() - start)
                cpu.append(time.process_time() - cpu_start)
            return {"step_ms": statistics.median(wall) * 1000, "cpu_ms": statistics.median(cpu) * 1000}
        case "generate":
            start = time.perf_counter()
            ids = trainer.generate(*argument)
            return {"ids": ids, "seconds": time.perf_counter() - start}
        case "shares":
            return trainer.shares()
        case "library":
            return trainer.library()
        case _:
            peak = memory_mb("VmHWM")
            return {"peak_mb": round(peak, 1), "peak_above_loaded_mb": round(peak - loaded_mb, 1)}


def main(name: str, workload: str, threads: str) -> None:
    # The answers get a file of their own: whatever the libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        with opened(name, WORKLOADS[workload], int(threads)) as (trainer, loaded_mb):
            number = 0
            for line in sys.stdin:
                command, argument = json.loads(line)
                print(
                    json.dumps(answer(trainer, loaded_mb, command, argument, first_step=number)),
                    file=answers,
                    flush=True,
                )
                number += argument if command == "steps" else 0
    except Exception as problem:
        print(json.dumps({"error": f"{type(problem).__name__}: {problem}"}), file=answers, flush=True)
        if not isinstance(problem, (ImportError, UserError)):  # these two say what is missing here
            raise
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
