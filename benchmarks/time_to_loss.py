"""How long nanoGPT's recipe in PyTorch and `gpt train` take from the start of the program to the same loss.

    python benchmarks/time_to_loss.py tinyshakespeare.txt

Each is a program of its own. Its clock runs from its start to the evaluation that finds a validation loss of at most
the target, so imports, tokenising and evaluations count. The validation text is the last tenth for both. nanoGPT's
recipe (benchmarks/peers/nanogpt.py) evaluates on 20 random batches every 250 steps; ours (`gpt train --preset
shakespeare-char-cpu-fast`) on the whole validation text, once at the end. The two take turns. The result also has the
loss of nanoGPT's model on the whole validation text.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.record import ROOT, store

PRESET = "shakespeare-char-cpu-fast"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--target", type=float, default=1.886)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        theirs = nanogpt(arguments.text, arguments.target, seed=1337 + number)
        mine = ours(arguments.text, arguments.target, seed=number)
        rounds.append({"nanogpt": theirs, "ours": mine, "ratio": round(mine["seconds"] / theirs["seconds"], 4)})
        print(
            f"nanoGPT {theirs['seconds']:6.1f} s (loss {theirs['loss']:.4f}, whole {theirs['whole_loss']:.4f})   "
            f"ours {mine['seconds']:5.1f} s (loss {mine['loss']:.4f})   ratio {rounds[-1]['ratio']:.3f}",
            flush=True,
        )
        ratio = statistics.median(r["ratio"] for r in rounds)
        result = {"target": arguments.target, "preset": PRESET, "median_ratio": ratio, "rounds": rounds}
        path = store("time_to_loss", result, ("numpy", "numba", "onednn-cpu-gomp", "torch"))
    is_reached = all(r[name]["is_reached"] for r in rounds for name in ("nanogpt", "ours"))
    print(f"median ratio {ratio:.3f}" + ("" if is_reached else "; the target was not always reached"))
    print(path)


def nanogpt(text: Path, target: float, *, seed: int) -> dict[str, Any]:
    """Run nanoGPT's recipe to the first evaluation that reaches the target, or to its end if none does."""
    command = [sys.executable, ROOT / "benchmarks" / "peers" / "nanogpt.py", text]
    command += ["--target", str(target), "--seed", str(seed)]
    started = time.time()
    output = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=True)
    *evaluations, last = [json.loads(line) for line in output.stdout.splitlines()]
    found = evaluations[-1]
    return {
        "seconds": round(found["at_s"] - started, 2),
        "step": found["step"],
        "loss": found["validation"],
        "whole_loss": last["whole_validation"],
        "is_reached": found["validation"] <= target,
    }


def ours(text: Path, target: float, *, seed: int) -> dict[str, Any]:
    """Run `gpt train` to its evaluation on the whole held-out text, at the end of the run."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        program = "import sys; from gpt.cli import main; sys.exit(main())"
        arguments = ["train", "--preset", PRESET, "--seed", str(seed), "--run-dir", str(run_dir), str(text)]
        started = time.time()
        process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)
        last: dict[str, Any] = {}
        seconds = 0.0
        while not seconds:
            time.sleep(0.01)
            is_over = process.poll() is not None
            last = final_evaluation(run_dir / "metrics.jsonl")
            if last or is_over:
                seconds = time.time() - started
        if process.wait():
            raise SystemExit(f"gpt train: expected exit status 0, got {process.returncode}: see its output above")
    return {
        "seconds": round(seconds, 2),
        "seconds_to_exit": round(time.time() - started, 2),
        "step": last["step"],
        "loss": last["heldout_loss"],
        "is_reached": last["heldout_loss"] <= target,
    }


def final_evaluation(metrics: Path) -> dict[str, Any]:
    """The last line of a finished run's metrics, or nothing while the run goes on."""
    config = metrics.with_name("config.toml")
    if not metrics.exists():
        return {}
    steps = next(int(line.split("=")[1]) for line in config.read_text().splitlines() if line.startswith("steps = "))
    *_, line = metrics.read_text().split("\n")[:-1] or [""]
    values: dict[str, Any] = json.loads(line) if line else {}
    return values if values.get("step") == steps and "heldout_loss" in values else {}


if __name__ == "__main__":
    main()
