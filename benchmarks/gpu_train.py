"""Training GPT-2 124M at T = 1024 on one GPU: our step beside PyTorch's, on the same card at the same batch.

    python benchmarks/gpu_train.py                                    # writes results/gpu_train.json
    python benchmarks/gpu_train.py --device cpu --small               # a rehearsal

PyTorch's is a nanoGPT-style step written for this comparison: bfloat16 autocast, flash attention, fused AdamW, eager
and through torch.compile. Each contestant is a process (`benchmarks/gpu_contestants.py`); they take turns, and a ratio
is of two turns in one round. All start from the same weights and see the same batches; their first losses must agree.

Model FLOPs utilisation, by PaLM's definition (arXiv:2204.02311, appendix B): tokens per second times

    6 N + 12 L H Q T    operations for each token, forward and backward

(N weights in products, L layers, H heads of width Q, T tokens of context; recomputation and the causal mask are not
deducted), over a peak: the data sheet's for dense bfloat16, and the one that an 8192^3 product reached in this run.

Time by category is the device's, by kernel name; `idle` is when no kernel ran. Peak memory is what each took from the
driver through its allocator.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.gpu_contestants import NAMES, workload_for
from benchmarks.gpu_machine import Machine, arguments, check_fast
from benchmarks.process import Process
from benchmarks.record import ROOT
from tensorgrad.errors import DeviceError

LOSS_TOLERANCE = 0.02  # nats, of the first step's loss: bfloat16 in other places


def race(contestants: dict[str, Process], rounds: int, steps: int, warm_up: int) -> dict[str, list[dict[str, float]]]:
    """The turns of each, after a warm-up that compiles and tunes."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for name, contestant in contestants.items():
        first = contestant.ask("steps", 1)
        print(f"{name}: first loss {first['loss']:.4f} after {first['step_ms'] / 1000:.1f} s", flush=True)
        turns[name].append(first)
        contestant.ask("steps", warm_up)
    for number in range(rounds):
        # Every other round in reverse order: what drifts favours nobody.
        for name in contestants if number % 2 else reversed(contestants):
            turns[name].append(contestants[name].ask("steps", steps))
    return turns


def main() -> None:
    assert __doc__
    parser = arguments(__doc__)
    parser.add_argument("--contestants", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--batch-size", type=int, default=0, help="sequences; 0: 16, of which four contestants fit 80 GB"
    )
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--name", default="gpu_train", help="of the file in the results' folder")
    options = parser.parse_args()
    machine = Machine(options.device, is_small=options.small, dtype=options.dtype)
    batch_size = 2 if options.small else options.batch_size or 16
    rounds, steps, warm_up = (2, 2, 4) if options.small else (options.rounds or 7, 10, 10)
    workload = workload_for(batch_size, is_small=options.small)
    peaks = machine.peaks()
    flags = [options.device, str(batch_size), *(["small"] if options.small else [])]
    script = str(ROOT / "benchmarks" / "gpu_contestants.py")
    # In a rehearsal one thread each: PyTorch's would wait for each other on a machine that is shared.
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
    """Medians over the turns."""
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
    """Our speed over PyTorch's, the median over rounds: above 1 ours is faster."""
    found = {}
    for ours in (name for name in turns if name.startswith("tensorgrad")):
        for peer in (name for name in turns if name.startswith("torch")):
            pairs = zip(turns[ours][1:], turns[peer][1:], strict=True)
            found[f"{ours} over {peer}"] = round(statistics.median(b["step_ms"] / a["step_ms"] for a, b in pairs), 4)
    return found


def check_providers(contestants: dict[str, Any]) -> None:
    """Raise DeviceError if ours was computed by a fallback."""
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
