"""A whole training step of one GPT, by tensorgrad and by its peers, from the same weights on the same batches.

    python benchmarks/train_step.py --configurations tiny baby --rounds 9 --threads 2

A step is forward, backward, clipping of the gradients' norm to 1, and AdamW. Each contestant is a process of its own
(`benchmarks/contestants.py`), so its peak memory is its own. First each computes the gradients of the initial weights
and the losses of the first steps; they must agree with PyTorch's in float32 (without PyTorch, with the first contestant
that runs). Then they take turns of a few steps, so that other load on the machine meets all of them alike.

A contestant that cannot run here (JAX is not installed; the processor has no bfloat16 products) or that disagrees is
left out, and the result says why. One that disagrees also makes the exit status 1. The result goes to
benchmarks/results/train_step.json, after every row.

A ratio below 1 says that the contestant takes less time or memory than its peer. Each round gives one ratio, of the two
turns in that round; the median is reported. `cpu_ms` is the CPU time of all threads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.process import Process
from benchmarks.record import RESULTS, ROOT, store
from benchmarks.workloads import WORKLOADS

CONTESTANTS = ("tensorgrad", "tensorgrad-numpy", "tensorgrad-bf16", "torch", "torch-compile", "torch-bf16", "jax")
CHECKED_STEPS = 3
STEPS_PER_TURN = {"tiny": 20, "baby": 2, "mid": 2, "gpt2": 1}
# For losses, and for each tensor's gradient relative to its largest value: float32 sums in another order; products of
# bfloat16 operands.
TOLERANCES = {"float32": 2e-4, "bf16": 6e-2}
PACKAGES = ("numpy", "torch", "numba", "onednn-cpu-gomp")


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


class Disagreement(RuntimeError):
    """A contestant computes something else than the reference."""


class Race:
    """The contestants of one workload. One that fails is left out, with the reason, and the others go on."""

    def __init__(self, workload: str, threads: int) -> None:
        self.workload, self.threads = workload, threads
        self.agreement: dict[str, dict[str, Any]] = {}
        self.left_out: dict[str, str] = {}  # contestant -> reason
        self.has_disagreement = False

    @contextlib.contextmanager
    def leaving_out(self, name: str) -> Iterator[None]:
        """Leave `name` out if the block raises RuntimeError, instead of ending the race."""
        try:
            yield
        except RuntimeError as problem:
            self.left_out[name] = str(problem)
            self.has_disagreement |= isinstance(problem, Disagreement)
            print(f"{self.workload}: {name} is left out: {problem}", flush=True)

    def check(self, names: list[str]) -> None:
        """Find how far each one's losses and gradients are from the reference's, and leave out any that is too far."""
        with tempfile.TemporaryDirectory() as folder:
            # PyTorch first, as the reference; bfloat16 last, which is none.
            for name in sorted({"torch", *names}, key=lambda name: (name != "torch", name.endswith("bf16"), name)):
                with self.leaving_out(name):
                    losses = self._first_results(name, Path(folder) / f"{name}.npz")
                    reference = next(iter(self.agreement), name)
                    self.agreement[name] = self._compared_to(reference, name, losses, Path(folder))

    def _first_results(self, name: str, gradients: Path) -> list[float]:
        """The first losses; each command gets fresh weights in a process of its own."""
        found = []
        for command, argument in (("gradients", str(gradients)), ("losses", CHECKED_STEPS)):
            contestant = Contestant(name, self.workload, self.threads)
            try:
                found.append(contestant.ask(command, argument))
            finally:
                contestant.end()
        losses: list[float] = found[1]
        return losses

    def _compared_to(self, reference: str, name: str, losses: list[float], folder: Path) -> dict[str, Any]:
        with np.load(folder / f"{reference}.npz") as expected, np.load(folder / f"{name}.npz") as got:
            if set(expected.files) != set(got.files):
                raise Disagreement(f"expected the parameters of {reference}, got {sorted(got.files)}")
            errors = [np.abs(got[k] - expected[k]).max() / np.abs(expected[k]).max() for k in expected.files]
        expected_losses = losses if name == reference else self.agreement[reference]["losses"]
        loss_error = max(abs(a - b) for a, b in zip(losses, expected_losses, strict=True))
        found = {"losses": losses, "loss_error": loss_error, "gradient_error": float(max(errors))}
        tolerance = TOLERANCES["bf16" if name.endswith("bf16") else "float32"]
        if not max(loss_error, found["gradient_error"]) <= tolerance:
            raise Disagreement(f"expected the results of {reference} within {tolerance}, got {found}")
        return found

    def run(self, names: list[str], rounds: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give each contestant `rounds` turns: the names and results of the contestants that ran to the end."""
        contestants = {name: Contestant(name, self.workload, self.threads) for name in names if name in self.agreement}
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
        for name, contestant in contestants.items():
            with self.leaving_out(name):
                contestant.ask("steps", 2)
        for number in range(rounds):
            # Every other round in reverse order: a load that comes and goes favours none of them.
            for name in contestants if number % 2 else reversed(contestants):
                if name not in self.left_out:
                    time.sleep(0.05)  # until the threads of the one before have gone to sleep
                    with self.leaving_out(name):
                        turns[name].append(contestants[name].ask("steps", STEPS_PER_TURN[self.workload]))
        results: dict[str, dict[str, Any]] = {}
        for name, contestant in contestants.items():
            if name not in self.left_out:
                with self.leaving_out(name):
                    results[name] = self._result(contestant, turns[name])
            contestant.end()
        for name, result in results.items():
            for peer in ("torch", "torch-bf16") if name == "tensorgrad-bf16" else ("torch",):
                if peer in results and peer != name:
                    result[f"over_{peer}"] = compared(turns[name], turns[peer], result, results[peer])
            yield name, result

    def _result(self, contestant: Contestant, turns: list[dict[str, float]]) -> dict[str, Any]:
        workload = WORKLOADS[self.workload]
        step_ms = statistics.median(turn["step_ms"] for turn in turns)
        memory = contestant.ask("memory")  # before the shares, whose measurement needs memory itself
        return {
            "step_ms": round(step_ms, 2),
            "cpu_ms": round(statistics.median(turn["cpu_ms"] for turn in turns), 2),
            "tokens_per_s": round(workload.batch_size * workload.model.context_length / step_ms * 1000),
            **{f"{group}_share": round(share, 3) for group, share in contestant.ask("shares").items()},
            **memory,
            "library": contestant.ask("library"),
        }


def compared(
    ours: list[dict[str, float]], peers: list[dict[str, float]], result: dict[str, Any], peer: dict[str, Any]
) -> dict[str, float]:
    """Ratios to a peer: of the steps' time, of their CPU time, of memory above what was loaded, of all memory."""
    return {
        "step": round(statistics.median(a["step_ms"] / b["step_ms"] for a, b in zip(ours, peers, strict=True)), 3),
        "cpu": round(statistics.median(a["cpu_ms"] / b["cpu_ms"] for a, b in zip(ours, peers, strict=True)), 3),
        "memory": round(result["peak_above_loaded_mb"] / peer["peak_above_loaded_mb"], 3),
        "process_memory": round(result["peak_mb"] / peer["peak_mb"], 3),
    }


def shown(workload: str, name: str, row: dict[str, Any]) -> str:
    ratio = row.get("over_torch")
    tail = f"{ratio['step']:.2f} {ratio['memory']:.2f}" if ratio else ""
    shares = "".join(
        f"{row[share]:>10.0%}" if share in row else f"{'-':>10}" for share in ("products_share", "attention_share")
    )
    return (
        f"{workload + ' ' + name:24}{row['step_ms']:>10.1f}{row['cpu_ms']:>10.1f}{row['tokens_per_s']:>10,}"
        f"{shares}{row['peak_above_loaded_mb']:>9.0f}  {tail}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configurations", nargs="+", choices=STEPS_PER_TURN, default=list(STEPS_PER_TURN))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--name", default="train_step", help="name of the file in --results, without .json")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    parser.add_argument("--jax-python", default=sys.executable, help="the Python that has JAX, if it is another one")
    options = parser.parse_args()
    Contestant.jax_python = options.jax_python
    result: dict[str, Any] = {"threads": options.threads, "rounds": options.rounds, "configurations": {}}
    print(
        f"{'':24}{'step ms':>10}{'cpu ms':>10}{'tokens/s':>10}{'products':>10}{'attention':>10}{'peak MB':>9}"
        "  over torch: step, memory"
    )
    has_disagreement = False
    for workload in options.configurations:
        names = [name for name in options.contestants if workload != "tiny" or not name.endswith("bf16")]
        race, rows = Race(workload, options.threads), {}
        race.check(names)
        result["configurations"][workload] = {
            "agreement": race.agreement,
            "contestants": rows,
            "left_out": race.left_out,
        }
        for name, row in race.run(names, options.rounds):
            rows[name] = row
            print(shown(workload, name, row), flush=True)
            store(options.name, result, PACKAGES, options.results)
        store(options.name, result, PACKAGES, options.results)  # also where no contestant could run
        has_disagreement |= race.has_disagreement
    sys.exit(1 if has_disagreement else 0)


if __name__ == "__main__":
    main()
