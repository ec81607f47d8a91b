"""Training GPT-2 124M at T = 1024 on one GPU: our step beside PyTorch's, on the same card with the same batches.

    python benchmarks/gpu/train.py                                    # writes results/gpu_train.json
    python benchmarks/gpu/train.py --device cpu --small               # a rehearsal

PyTorch's step is nanoGPT's: bfloat16 autocast, flash attention, fused AdamW; once eager and once through
torch.compile. Each contestant is a process (`benchmarks/gpu/contestants.py`). They take turns, and a ratio compares two
turns in one round. All start from the same weights and see the same batches, and their first losses must agree.

Model FLOPs utilisation, by PaLM's definition (arXiv:2204.02311, appendix B): tokens per second times

    6 N + 12 L H Q T    operations for each token, forward and backward

divided by a peak: the data sheet's for dense bfloat16, and the speed of an 8192^3 product in this run. Here N is the
number of weights in products, L of layers, H of heads of width Q, and T of tokens in the context; neither recomputation
nor the causal mask is deducted.

Time by category is the device's time by the names of its kernels; `idle` is the time without a kernel. Peak memory is
what each contestant's allocator took from the driver.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.gpu.contestants import NAMES, workload_for
from benchmarks.gpu.machine import Machine, arguments, check_fast
from benchmarks.process import Process
from benchmarks.record import ROOT
from tensorgrad.errors import DeviceError

LOSS_TOLERANCE = 0.02  # nats, for the first step's loss: bfloat16 rounds at different places


def race(contestants: dict[str, Process], rounds: int, steps: int, warm_up: int) -> dict[str, list[dict[str, float]]]:
    """The turns of each contestant, the first step first, after a warm-up that compiles and tunes."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for name, contestant in contestants.items():
        first = contestant.ask("steps", 1)
        print(f"{name}: first loss {first['loss']:.4f} after {first['step_ms'] / 1000:.1f} s", flush=True)
        turns[name].append(first)
        contestant.ask("steps", warm_up)
    for number in range(rounds):
        # Every other round in reverse order: a drift favours none of them.
        for name in contestants if number % 2 else reversed(contestants):
            turns[name].append(contestants[name].ask("steps", steps))
    return turns


def main() -> None:
    assert __doc__
    parser = arguments(__doc__)
    parser.add_argument("--contestants", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--batch-size", type=int, default=0, help="sequences; 0: 16, with which four contestants fit in 80 GB"
    )
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--name", default="gpu_train", help="name of the file in --results, without .json")
    options = parser.parse_args()
    machine = Machine(options.device, is_small=options.small, dtype=options.dtype)
    batch_size = 2 if options.small else options.batch_size or 16
    rounds, steps, warm_up = (2, 2, 4) if options.small else (options.rounds or 7, 10, 10)
    workload = workload_for(batch_size, is_small=options.small)
    peaks = machine.peaks()
    flags = [options.device, str(batch_size), *(["small"] if options.small else [])]
    script = str(ROOT / "benchmarks" / "gpu" / "contestants.py")
    # In a rehearsal one thread each: on a shared machine PyTorch's threads would wait for each other.
    env = None if machine.is_gpu else os.environ | {"OMP_NUM_THREADS": "1"}
    contestants = {name: Process(name, [sys.executable, script, name, *flags], env) for name in options.contestants}
    turns = race(contestants, rounds, steps, warm_up)
    result: dict[str, Any] = {
        "model": "GPT-2 124M" if not options.small else "a rehearsal",
        "batch_size": batch_size,
        "context_length": workload.model.context_length,
        "flops_per_token": workload.model.flops_per_token(),
        "peaks": {**peaks, "datasheet_tflop_per_s": machine.datasheet_tflops()},
        "rounds": rounds,
        "steps_per_turn": steps,
        "contestants": {},
    }
    for name, contestant in contestants.items():
        result["contestants"][name] = {
            **speed(turns[name][1:], workload, result["peaks"]),
            "first_loss": turns[name][0]["loss"],
            "category_ms": contestant.ask("profile", steps),
            "peak_memory_bytes": contestant.ask("memory"),
            "origin": contestant.ask("origin"),
        }
        contestant.end()
    result["ratios"] = ratios(turns)
    show(result)
    machine.store(options.name, result, options.results)
    losses = [one["first_loss"] for one in result["contestants"].values()]
    if max(losses) - min(losses) > LOSS_TOLERANCE:
        raise SystemExit(f"the first losses differ, so the contestants compute different things: {losses}")
    if machine.is_gpu and not options.allow_slow:
        check_providers(result["contestants"])
        check_fast()


def speed(turns: list[dict[str, float]], workload: Any, peaks: dict[str, float | None]) -> dict[str, Any]:
    """The median step over the turns, and the speeds that follow from it."""
    step_ms = statistics.median(turn["step_ms"] for turn in turns)
    tokens_per_s = workload.batch_size * workload.model.context_length / step_ms * 1000
    tflops = tokens_per_s * workload.model.flops_per_token() / 1e12
    datasheet, measured = peaks["datasheet_tflop_per_s"], peaks["product_tflop_per_s"]
    assert measured
    return {
        "step_ms": round(step_ms, 3),
        "tokens_per_s": round(tokens_per_s),
        "model_tflop_per_s": round(tflops, 4),
        "mfu_of_datasheet": None if datasheet is None else round(tflops / datasheet, 4),
        "mfu_of_measured_product": round(tflops / measured, 4),
        "turns_ms": [round(turn["step_ms"], 3) for turn in turns],
    }


def ratios(turns: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Our speed over PyTorch's, the median over the rounds; above 1 ours is faster."""
    found = {}
    for ours in (name for name in turns if name.startswith("tensorgrad")):
        for peer in (name for name in turns if name.startswith("torch")):
            pairs = zip(turns[ours][1:], turns[peer][1:], strict=True)
            found[f"{ours} over {peer}"] = round(statistics.median(b["step_ms"] / a["step_ms"] for a, b in pairs), 4)
    return found


def check_providers(contestants: dict[str, Any]) -> None:
    """Raise DeviceError if a fallback computed anything of ours."""
    for name, one in contestants.items():
        slow = [f"{need}: {p['rejected']}" for need, p in one["origin"].get("providers", {}).items() if p["rejected"]]
        slow += one["origin"].get("fallbacks", [])
        if slow:
            raise DeviceError(f"{name}: expected the fast providers, got {slow[0]}: mend that, or --allow-slow")


def show(result: dict[str, Any]) -> None:
    print(f"{'':20}{'step ms':>10}{'tokens/s':>12}{'MFU':>8}{'GB':>8}  ms by category")
    for name, one in result["contestants"].items():
        utilisation = one["mfu_of_datasheet"] or one["mfu_of_measured_product"]
        memory = one["peak_memory_bytes"]
        gigabytes = "-" if memory is None else f"{memory / 1e9:.1f}"
        categories = ", ".join(f"{kind} {ms:.2f}" for kind, ms in (one["category_ms"] or {}).items())
        print(
            f"{name:20}{one['step_ms']:>10.2f}{one['tokens_per_s']:>12,}{utilisation:>8.1%}{gigabytes:>8}  {categories}"
        )
    print(", ".join(f"{pair} {ratio:.3f}" for pair, ratio in result["ratios"].items()), flush=True)


if __name__ == "__main__":
    main()
