"""A whole training step, ours and PyTorch's, of the same GPT from the same weights on the same batch.

    python benchmarks/train_step.py --configurations tiny baby --rounds 9 --threads 2

Forward, backward, clipping of the gradient's norm to 1, AdamW. Each contestant is a process of its own
(`benchmarks/contestants.py`), so that its peak memory is its own; they take turns of a few steps, so that
whatever else the machine does meets all of them. First each computes the gradients of the initial weights and
the losses of the first steps, which must agree with PyTorch's in float32. JAX competes where it is installed, for
this Python or for the one that --jax-python names. Written to benchmarks/results/train_step.json.

A ratio below 1 says that ours takes less. Of a contestant's turns each gives one ratio to the turn of its
peer in the same round, and the median of these is reported; `cpu_ms` is the time that its threads ran.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.process import Process
from benchmarks.record import ROOT, store
from benchmarks.workloads import WORKLOADS

CONTESTANTS = ("tensorgrad", "tensorgrad-numpy", "tensorgrad-bf16", "torch", "torch-compile", "torch-bf16", "jax")
CHECKED_STEPS = 3
STEPS_PER_TURN = {"tiny": 20, "baby": 2, "mid": 2, "gpt2": 1}
# Of losses, and of each tensor's largest gradient: float32 sums in another order, products of bfloat16 operands.
TOLERANCES = {"float32": 2e-4, "bf16": 6e-2}


class Contestant(Process):
    """A process that makes training steps when told to."""

    jax_python = sys.executable  # the interpreter that has JAX

    def __init__(self, name: str, workload: str, threads: int) -> None:
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        script = str(ROOT / "benchmarks" / "contestants.py")
        super().__init__(
            name,
            [self.jax_python if name == "jax" else sys.executable, script, name, workload, str(threads)],
            os.environ | dict.fromkeys(variables, str(threads)),
        )


def check(names: list[str], workload: str, threads: int) -> dict[str, dict[str, Any]]:
    """How far each one's losses and gradients are from PyTorch's in float32; SystemExit if too far."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in dict.fromkeys(["torch", *names]):
            contestant = Contestant(name, workload, threads)
            contestant.ask("gradients", str(Path(folder) / f"{name}.npz"))
            contestant.end()
            contestant = Contestant(name, workload, threads)
            losses = contestant.ask("losses", CHECKED_STEPS)
            contestant.end()
            with np.load(Path(folder) / "torch.npz") as expected, np.load(Path(folder) / f"{name}.npz") as got:
                if set(expected.files) != set(got.files):
                    raise SystemExit(f"{name}: expected the parameters of torch, got others")
                errors = [np.abs(got[k] - expected[k]).max() / np.abs(expected[k]).max() for k in expected.files]
            reference = losses if name == "torch" else found["torch"]["losses"]
            loss_error = max(abs(a - b) for a, b in zip(losses, reference, strict=True))
            found[name] = {"losses": losses, "loss_error": loss_error, "gradient_error": float(max(errors))}
            tolerance = TOLERANCES["bf16" if name.endswith("bf16") else "float32"]
            if found[name]["loss_error"] > tolerance or found[name]["gradient_error"] > tolerance:
                raise SystemExit(f"{workload}: {name} computes something else than torch: {found[name]}")
    return found


def measure(names: list[str], workload: str, threads: int, rounds: int) -> dict[str, dict[str, Any]]:
    contestants = {name: Contestant(name, workload, threads) for name in names}
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for contestant in contestants.values():
        contestant.ask("steps", 2)
    for number in range(rounds):
        # Every other round in reverse order: a load that comes and goes favours nobody.
        for name in names if number % 2 else reversed(names):
            time.sleep(0.05)  # until the last one's threads have stopped to wait for work
            turns[name].append(contestants[name].ask("steps", STEPS_PER_TURN[workload]))
    results: dict[str, dict[str, Any]] = {}
    tokens = WORKLOADS[workload].batch_size * WORKLOADS[workload].model.context_length
    for name, contestant in contestants.items():
        memory = contestant.ask("memory")
        step_ms = statistics.median(turn["step_ms"] for turn in turns[name])
        results[name] = {
            "step_ms": round(step_ms, 2),
            "cpu_ms": round(statistics.median(turn["cpu_ms"] for turn in turns[name]), 2),
            "tokens_per_s": round(tokens / step_ms * 1000),
            **{f"{name}_share": round(share, 3) for name, share in contestant.ask("shares").items()},
            **memory,
            "library": contestant.ask("library"),
        }
        contestant.end()
    for name, result in results.items():
        for peer in ("torch", "torch-bf16") if name == "tensorgrad-bf16" else ("torch",):
            if peer in results and peer != name:
                result[f"over_{peer}"] = compared(turns[name], turns[peer], result, results[peer])
    return results


def compared(
    ours: list[dict[str, float]], peers: list[dict[str, float]], result: dict[str, Any], peer: dict[str, Any]
) -> dict[str, float]:
    """Ratios to a peer: of the steps' time, of the time that threads ran, of memory above what is loaded."""
    return {
        "step": round(statistics.median(a["step_ms"] / b["step_ms"] for a, b in zip(ours, peers, strict=True)), 3),
        "cpu": round(statistics.median(a["cpu_ms"] / b["cpu_ms"] for a, b in zip(ours, peers, strict=True)), 3),
        "memory": round(result["peak_above_loaded_mb"] / peer["peak_above_loaded_mb"], 3),
        "process_memory": round(result["peak_mb"] / peer["peak_mb"], 3),
    }


def _has_no_jax(python: str) -> bool:
    return bool(subprocess.run([python, "-c", "import jax"], capture_output=True).returncode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", nargs="+", choices=STEPS_PER_TURN, default=list(STEPS_PER_TURN))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--name", default="train_step", help="of the file in benchmarks/results")
    parser.add_argument("--jax-python", default=sys.executable, help="the Python that has JAX, if another one does")
    options = parser.parse_args()
    Contestant.jax_python = options.jax_python
    if "jax" in options.contestants and _has_no_jax(options.jax_python):
        print(f"without JAX, which {options.jax_python} does not have")
        options.contestants.remove("jax")
    result: dict[str, Any] = {"threads": options.threads, "rounds": options.rounds, "configurations": {}}
    print(
        f"{'':24}{'step ms':>10}{'cpu ms':>10}{'tokens/s':>10}{'products':>10}{'attention':>10}{'peak MB':>9}"
        "  over torch: step, memory"
    )
    for workload in options.configurations:
        names = [name for name in options.contestants if workload != "tiny" or not name.endswith("bf16")]
        agreement = check(names, workload, options.threads)
        rows = measure(names, workload, options.threads, options.rounds)
        result["configurations"][workload] = {"agreement": agreement, "contestants": rows}
        for name, row in rows.items():
            ratio = row.get("over_torch")
            tail = f"{ratio['step']:.2f} {ratio['memory']:.2f}" if ratio else ""
            shares = "".join(
                f"{row[share]:>10.0%}" if share in row else f"{'-':>10}"
                for share in ("products_share", "attention_share")
            )
            print(
                f"{workload + ' ' + name:24}{row['step_ms']:>10.1f}{row['cpu_ms']:>10.1f}{row['tokens_per_s']:>10,}"
                f"{shares}{row['peak_above_loaded_mb']:>9.0f}  {tail}",
                flush=True,
            )
        store(options.name, result, ("numpy", "torch", "numba", "onednn-cpu-gomp"))


if __name__ == "__main__":
    main()
