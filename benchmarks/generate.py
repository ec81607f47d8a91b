"""Generation by tensorgrad and by PyTorch: a model of GPT-2's size, one sequence, 256 tokens, a key-value cache.

    python benchmarks/generate.py --rounds 5 --threads 2

Both have the same weights (benchmarks/workloads.py) and take the most likely token each time; first they must agree on
24 tokens. Each is a process of its own, and they take turns. Both caches are two arrays per layer, as long as the
context and written in place. The result goes to benchmarks/results/generate.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.record import store
from benchmarks.train_step import Contestant

PROMPT_TOKENS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", default="gpt2-1024")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    prompt = np.random.default_rng(2).integers(0, 1000, PROMPT_TOKENS).tolist()
    contestants = {name: Contestant(name, options.workload, options.threads) for name in ("tensorgrad", "torch")}
    ids = {name: contestant.ask("generate", [prompt, 24])["ids"] for name, contestant in contestants.items()}
    if ids["tensorgrad"] != ids["torch"]:
        raise SystemExit(f"expected the same tokens, got {ids}")
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(options.rounds):
        for name in contestants if number % 2 else reversed(contestants):
            time.sleep(0.05)  # until the threads of the one before have gone to sleep
            found = contestants[name].ask("generate", [prompt, options.tokens])
            speeds[name].append(options.tokens / found["seconds"])
    result: dict[str, Any] = {"tokens": options.tokens, "threads": options.threads, "rounds": options.rounds}
    for name, contestant in contestants.items():
        result[name] = {"tokens_per_s": round(statistics.median(speeds[name]), 2)}
        contestant.end()
    ratios = [a / b for a, b in zip(speeds["tensorgrad"], speeds["torch"], strict=True)]
    result["speed_over_torch"] = round(statistics.median(ratios), 3)
    for name in contestants:
        print(f"{name:12}{result[name]['tokens_per_s']:>8.1f} tokens/s")
    print(f"ours / PyTorch: {result['speed_over_torch']}; written to {store('generate', result, ('numpy', 'torch'))}")


if __name__ == "__main__":
    main()
