"""The processes that `benchmarks/train_step.py` lets compete: one per library and precision.

    python benchmarks/contestants.py NAME WORKLOAD THREADS

Reads commands from the standard input, a JSON list [command, argument] a line, and answers in JSON:

    gradients FILE    the loss of the initial weights; their gradients are written to FILE (npz)
    losses N          the losses of the first N training steps
    steps N           N training steps: their median time, and the median CPU time of all threads
    generate [IDS, N] the likeliest N tokens after IDS, one after the other: which, and in how many seconds
    shares            which shares of a step are spent in matrix products, and in attention
    memory            the largest resident memory so far, of the process and above what was loaded before
    library           who computes, in words

Products are those of whole matrices: of ours, all that `tensorgrad.kernels.gemm` makes, with the sums and biases
that it adds; of PyTorch's, mm, addmm, bmm and linear. What is computed inside of attention, its products and its
softmax, is counted apart: of ours the kernels' functions `attention` and `attention_gradient`, of PyTorch's
scaled_dot_product_attention and its backward. Conversions to bfloat16 are in neither. Ours are shares of the CPU
time of all threads, PyTorch's of the time of those that its profiler sees; JAX has none.
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

from benchmarks.workloads import WORKLOADS, Workload

LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP_NORM = 1e-3, (0.9, 0.95), 0.1, 1.0
SHARES = ("products", "attention")


class Trainer(Protocol):
    def library(self) -> str: ...

    def step(self, number: int) -> float: ...

    def gradients(self) -> tuple[float, dict[str, Any]]: ...

    def shares(self) -> dict[str, float]: ...

    def generate(self, ids: list[int], count: int) -> list[int]: ...


class TensorgradTrainer:
    """What `gpt train` does in a step."""

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
    """CPU time of the functions of these names: pairs of group and seconds, of the tasks that they hand on too."""
    spent: list[tuple[str, float]] = []  # what threads append to
    running = threading.local()  # the group that this thread works for

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


class TorchTrainer:
    """nanoGPT's step, with functions in the place of modules, which saves PyTorch their overhead."""

    def __init__(self, workload: Workload, threads: int, *, is_bf16: bool, is_compiled: bool) -> None:
        import torch

        self.torch, self.workload, self.is_bf16 = torch, workload, is_bf16
        torch.set_num_threads(threads)
        self.weights = {name: torch.tensor(values).requires_grad_() for name, values in workload.weights()}
        values = list(self.weights.values())
        groups = [
            {"params": [x for x in values if x.ndim >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [x for x in values if x.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)
        self.loss: Callable[..., Any] = torch.compile(self._loss) if is_compiled else self._loss

    def library(self) -> str:
        return f"torch {self.torch.__version__}"

    def _loss(self, ids: Any, targets: Any) -> Any:
        logits = self._logits(ids, None, 0)
        return self.torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))

    def _logits(self, ids: Any, cache: list[tuple[Any, Any]] | None, start: int) -> Any:
        """With a cache, of ids at the positions from `start` on: one, or the first ones; and of the last id only."""
        functional = self.torch.nn.functional
        weights, model = self.weights, self.workload.model

        def linear(x: Any, name: str) -> Any:
            return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

        def norm(x: Any, name: str) -> Any:
            weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
            return functional.layer_norm(x, (x.shape[-1],), weight, bias, model.norm_eps)

        batch, time_, width = *ids.shape, model.model_dim
        end = start + time_
        x = functional.embedding(ids, weights["embedding.tokens"]) + weights["embedding.positions"][start:end]
        for layer in range(model.num_layers):
            name = f"blocks.{layer}"
            qkv = linear(norm(x, f"{name}.attention_norm"), f"{name}.attention.qkv").split(width, dim=2)
            q, k, v = (part.view(batch, time_, model.num_heads, -1).transpose(1, 2) for part in qkv)
            if cache is not None:
                keys, values = cache[layer]
                keys[:, :, start:end], values[:, :, start:end] = k, v
                k, v = keys[:, :, :end], values[:, :, :end]
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=time_ > 1)
            attended = attended.transpose(1, 2).contiguous().view(batch, time_, width)
            x = x + linear(attended, f"{name}.attention.out")
            hidden = linear(norm(x, f"{name}.mlp_norm"), f"{name}.mlp.up")
            x = x + linear(functional.gelu(hidden, approximate="tanh"), f"{name}.mlp.down")
        x = x if cache is None else x[:, -1:]
        return functional.linear(norm(x, "norm"), weights["embedding.tokens"])

    def generate(self, ids: list[int], count: int) -> list[int]:
        torch, model = self.torch, self.workload.model
        shape = (1, model.num_heads, model.context_length, model.head_dim)
        cache = [(torch.empty(shape), torch.empty(shape)) for _ in range(model.num_layers)]
        found: list[int] = []
        with torch.inference_mode():
            new = torch.tensor([ids])
            for _ in range(count):
                logits = self._logits(new, cache, len(ids) + len(found) - new.shape[1])
                new = logits[:, -1].argmax(dim=-1, keepdim=True)
                found.append(int(new))
        return found

    def _forward(self, number: int) -> Any:
        ids, targets = (self.torch.from_numpy(x) for x in self.workload.batch(number))
        with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.is_bf16):
            return self.loss(ids, targets)

    def step(self, number: int) -> float:
        loss = self._forward(number)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(list(self.weights.values()), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    def gradients(self) -> tuple[float, dict[str, Any]]:
        loss = self._forward(0)
        loss.backward()
        return loss.item(), {name: x.grad.numpy() for name, x in self.weights.items()}

    def shares(self) -> dict[str, float]:
        with self.torch.profiler.profile() as profile:
            for number in range(3):
                self.step(number)
        events = profile.key_averages()
        total = sum(event.self_cpu_time_total for event in events)

        def share(*names: str) -> float:
            return float(sum(event.self_cpu_time_total for event in events if event.key.startswith(names)) / total)

        products = ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear", "aten::_linear")
        return {"products": share(*products), "attention": share("aten::_scaled_dot_product")}


def memory_mb(field: str) -> float:
    """A field of /proc/self/status: VmRSS, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) / 1024


@contextlib.contextmanager
def opened(name: str, workload: Workload, threads: int) -> Iterator[tuple[Trainer, float]]:
    """The trainer, and the memory in use when its libraries were loaded and nothing else was there."""
    library, _, variant = name.partition("-")
    if library == "torch":
        import torch

        loaded = memory_mb("VmRSS")
        torch.manual_seed(0)
        yield TorchTrainer(workload, threads, is_bf16=variant == "bf16", is_compiled=variant == "compile"), loaded
        return
    import tensorgrad
    from gpt.cli import _keep_freed_memory
    from tensorgrad.kernels import gemm, kernels_for

    if library == "jax":
        from benchmarks.jax_trainer import JaxTrainer, limit_threads

        limit_threads(threads)
        import jax

        jax.devices()
        loaded = memory_mb("VmRSS")
        given = {"learning_rate": LEARNING_RATE, "betas": BETAS, "weight_decay": WEIGHT_DECAY, "clip_norm": CLIP_NORM}
        yield JaxTrainer(workload, given), loaded
        return
    if variant == "numpy":  # as if the extras were not installed
        sys.modules["numba"] = None  # type: ignore[assignment]
        gemm.onednn.problem = lambda: "left out"  # type: ignore[assignment]
    _keep_freed_memory()
    # Loaded at their first use: numba (what it compiles counts as ours) and oneDNN.
    kernels_for(np.ones(1, np.float32))
    gemm.cpu_provider()
    with tensorgrad.threads(threads):
        loaded = memory_mb("VmRSS")
        yield TensorgradTrainer(workload, threads, "bf16" if variant == "bf16" else "float32"), loaded


def main(name: str, workload: str, threads: str) -> None:
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with opened(name, WORKLOADS[workload], int(threads)) as (trainer, loaded):
        number = 0
        for line in sys.stdin:
            command, argument = json.loads(line)
            answer: Any
            if command == "gradients":
                answer, gradients = trainer.gradients()
                np.savez(argument, **gradients)
            elif command == "losses":
                answer = [trainer.step(number) for number in range(argument)]
            elif command == "steps":
                wall, cpu = [], []
                for _ in range(argument):
                    start, cpu_start = time.perf_counter(), time.process_time()
                    trainer.step(number)
                    wall.append(time.perf_counter() - start)
                    cpu.append(time.process_time() - cpu_start)
                    number += 1
                answer = {"step_ms": statistics.median(wall) * 1000, "cpu_ms": statistics.median(cpu) * 1000}
            elif command == "generate":
                start = time.perf_counter()
                ids = trainer.generate(*argument)
                answer = {"ids": ids, "seconds": time.perf_counter() - start}
            elif command == "shares":
                answer = trainer.shares()
            elif command == "library":
                answer = trainer.library()
            else:
                peak = memory_mb("VmHWM")
                answer = {"peak_mb": round(peak, 1), "peak_above_loaded_mb": round(peak - loaded, 1)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
