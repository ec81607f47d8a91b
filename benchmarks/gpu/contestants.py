"""One contestant of `benchmarks/gpu/train.py`: a process that trains with tensorgrad or PyTorch on the given device.

    python benchmarks/gpu/contestants.py NAME DEVICE BATCH_SIZE [small]

NAME is one of NAMES. It reads one JSON list [command, argument] a line and answers each with a line of JSON:

    steps N      N training steps and a wait for the device: their mean time in milliseconds, and the last loss
    profile N    N steps under a profiler of the device's kernels: milliseconds per step by category, and idle time
    memory       the largest memory taken from the driver, in bytes
    origin       the machine, and the providers that computed
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.peers.torch_trainer import TorchTrainer
from benchmarks.workloads import BETAS, CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY, Workload, gpt2_workload

NAMES = ("tensorgrad", "tensorgrad-graph", "torch", "torch-compile")

# A kernel belongs to the first category whose pattern its name matches, and to elementwise if it matches none.
CATEGORIES = {
    "attention": r"fmha|flash|sdpa|attention|mha_",
    "GEMM": r"gemm|cutlass|nvjet|xmma|cublas|splitK|sm\d+_xmma",
    "loss": r"cross_entropy|softmax|nll",
    "optimizer": r"adam|multi_tensor|squares|root_of_sum|norm_reduce|foreach|lpnorm",
    "copies": r"memcpy|memset",
}


def workload_for(batch_size: int, *, is_small: bool) -> Workload:
    """GPT-2 124M at T = 1024, its vocabulary padded to a multiple of 128, without biases as nanoGPT has it."""
    if is_small:
        return gpt2_workload(128, 32, 2, 2, 32, batch_size, has_bias=False)
    return gpt2_workload(50304, 1024, 12, 12, 768, batch_size, has_bias=False)


class Ours:
    """The step of `gpt train`: loader, upload, step, and reading the numbers of the step before."""

    def __init__(self, workload: Workload, device: str, stack: contextlib.ExitStack, *, is_recorded: bool) -> None:
        from benchmarks.gpu.machine import Machine
        from gpt.config import OptimConfig, TokenizerConfig, TrainConfig
        from gpt.data.loader import Loader
        from gpt.model import GPT
        from gpt.model.precision import Precision
        from gpt.optim import AdamW, rates
        from gpt.train.cuda_graph import GraphStep
        from gpt.train.session import NUM_UPLOADS, Session
        from gpt.train.step import host_batch
        from gpt.train.transfer import transfer_to
        from tensorgrad import Key, threads
        from tensorgrad.array import to_device
        from tensorgrad.tree import named_tensors

        self.machine = Machine(device, is_small=False)
        is_gpu = device != "cpu"
        precision = "bf16" if is_gpu else "float32"
        optim = OptimConfig(
            learning_rate=LEARNING_RATE,
            schedule="constant",
            warmup_steps=0,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=WEIGHT_DECAY,
            clip_norm=CLIP_NORM,
        )
        config = TrainConfig(
            steps=1_000_000,
            batch_size=workload.batch_size,
            precision=precision,
            device=device,
            cuda_graph=is_recorded and is_gpu,
            model=workload.model,
            tokenizer=TokenizerConfig(kind="bytes"),
            optim=optim,
        )
        stack.enter_context(threads())
        transfer = stack.enter_context(transfer_to(device, num_slots=NUM_UPLOADS))
        model = GPT.init(workload.model, Key(0), dtype=Precision.of(precision, device)).to(device)
        tensors = named_tensors(model)
        for name, values in workload.weights():
            tensors[name].data[...] = to_device(values, device)

        def make(step: int) -> Any:
            ids, targets = workload.batch(step)
            size = {"vocab_size": workload.model.vocab_size, "micro_batch_size": workload.batch_size}
            return transfer.upload(host_batch(ids, targets, rates(optim, LEARNING_RATE, step + 1), **size))

        nothing: Any = None
        self.session = Session(
            config=config,
            run_dir=nothing,
            model=model,
            tokenizer=nothing,
            optimizer=AdamW(model, optim),
            heldout=nothing,
            transfer=transfer,
            loader=stack.enter_context(Loader(make, itertools.count())),
            step=0,
            elapsed_s=0.0,
        )
        if config.cuda_graph:
            self.session.graph_step = GraphStep(self.session._run_step)

    def steps(self, count: int) -> float:
        last = self.session.advance()
        for _ in range(count - 1):
            newer = self.session.advance()
            last.read()
            last = newer
        return last.read()[0]

    def memory(self) -> int | None:
        if not self.machine.is_gpu:
            return None
        graph = self.session.graph_step
        pools = [self.machine.cupy.get_default_memory_pool(), *([graph._pool] if graph and graph._pool else [])]
        return sum(int(pool.total_bytes()) for pool in pools)

    def origin(self) -> dict[str, Any]:
        return self.machine.origin()


class Torch(TorchTrainer):
    """nanoGPT's step: bfloat16 autocast, flash attention, fused AdamW, batches copied from pinned memory."""

    def __init__(self, workload: Workload, device: str, *, is_compiled: bool) -> None:
        import torch

        self.torch, self.workload, self.device, self.number = torch, workload, device, 0
        self.is_gpu = device != "cpu"
        torch.set_float32_matmul_precision("high")
        self.weights = {name: torch.tensor(x, device=device).requires_grad_() for name, x in workload.weights()}
        values = list(self.weights.values())
        groups = [
            {"params": [x for x in values if x.ndim >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [x for x in values if x.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)
        self.loss: Callable[..., Any] = torch.compile(self._loss) if is_compiled and self.is_gpu else self._loss

    def _batch(self) -> tuple[Any, Any]:
        arrays = (self.torch.from_numpy(x) for x in self.workload.batch(self.number))
        self.number += 1
        if not self.is_gpu:
            return tuple(arrays)  # type: ignore[return-value]
        return tuple(x.pin_memory().to(self.device, non_blocking=True) for x in arrays)  # type: ignore[return-value]

    def steps(self, count: int) -> float:
        torch = self.torch
        batch = self._batch()
        for _ in range(count):
            with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.is_gpu):
                loss = self.loss(*batch)
            batch = self._batch()  # the next one while the device computes this one, as in nanoGPT
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(self.weights.values()), CLIP_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def memory(self) -> int | None:
        return int(self.torch.cuda.max_memory_reserved()) if self.is_gpu else None

    def origin(self) -> dict[str, Any]:
        return {"torch": self.torch.__version__, "cuda": self.torch.version.cuda}


def profiled(run: Callable[[int], float], count: int) -> dict[str, float] | None:
    """Milliseconds per step by category of kernel, from PyTorch's profiler, which sees the kernels of all libraries.

    `idle` is the time without a kernel between the first and the last. None without PyTorch or a GPU.
    """
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.cuda.init()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run(count)
        torch.cuda.synchronize()
    spans = []
    for event in profile.profiler.kineto_results.events():
        is_annotation = re.match(r"##|Optimizer\.|ProfilerStep|Torch-Compiled", event.name())
        if event.device_type() == torch.autograd.DeviceType.CUDA and not is_annotation:
            spans.append((event.start_ns(), event.start_ns() + event.duration_ns(), event.name()))
    return by_category(spans, count)


def by_category(spans: list[tuple[int, int, str]], count: int) -> dict[str, float]:
    """Milliseconds per step by category, from spans (start_ns, end_ns, name).

    Spans that overlap count in full for their categories; `idle` is the time that no span covers.
    """
    found: defaultdict[str, float] = defaultdict(float)
    busy_until, idle = min(start for start, _, _ in spans), 0
    for start, end, name in sorted(spans):
        kind = next((k for k, names in CATEGORIES.items() if re.search(names, name, re.IGNORECASE)), "elementwise")
        found[kind] += end - start
        idle += max(0, start - busy_until)
        busy_until = max(busy_until, end)
    return {kind: round(ns / count / 1e6, 4) for kind, ns in {**found, "idle": idle}.items()}


def main(name: str, device: str, batch_size: str, *flags: str) -> None:
    workload = workload_for(int(batch_size), is_small="small" in flags)
    answers = sys.stdout
    with contextlib.ExitStack() as stack:
        # Whatever the libraries print goes to standard error: standard output is for the answers.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        contestant: Ours | Torch
        if name.startswith("torch"):
            contestant = Torch(workload, device, is_compiled=name == "torch-compile")
        else:
            contestant = Ours(workload, device, stack, is_recorded=name == "tensorgrad-graph")
        for line in sys.stdin:
            command, argument = json.loads(line)
            answer: Any
            if command == "steps":
                start = time.perf_counter()
                loss = contestant.steps(argument)
                answer = {"step_ms": (time.perf_counter() - start) / argument * 1000, "loss": loss}
            elif command == "profile":
                answer = profiled(contestant.steps, argument)
            else:
                answer = contestant.memory() if command == "memory" else contestant.origin()
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
