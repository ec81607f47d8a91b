"""python -m tests.faults: see the package's description."""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

from tests.faults.campaign import STAGES, Outcome, campaign, check_the_checks
from tests.faults.equivalent import EQUIVALENT
from tests.faults.sources import ROOT, enumerate_faults


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Plant faults; count those noticed.")
    parser.add_argument("--sample", type=int, metavar="N", help="only N of them, chosen by --seed")
    parser.add_argument("--of-each", type=int, metavar="N", help="only the first N of a kind in a function")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="PART", help="only those whose id contains this")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    options = parser.parse_args()
    faults = [fault for fault in enumerate_faults() if options.only in fault.id]
    if options.of_each:
        faults = [fault for fault in faults if fault.number <= options.of_each]
    if options.sample is not None:
        faults = random.Random(options.seed).sample(faults, min(options.sample, len(faults)))
    faults = [fault for fault in faults if fault.id not in EQUIVALENT]
    check_the_checks(faults)
    start = time.perf_counter()
    outcomes = []
    for outcome in campaign(faults, stages=options.stages, processes=options.processes):
        outcomes.append(outcome)
        if outcome.survived or outcome.by == "hangs":
            print(_line(outcome), flush=True)
    print(_table(outcomes))
    survivors = [outcome for outcome in outcomes if outcome.survived]
    share = 1 - len(survivors) / max(len(outcomes), 1)
    print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} faults noticed, {share:.2%}, {_seconds(start):.0f} s")
    if options.json:
        options.json.write_text(json.dumps(_result(outcomes, _seconds(start)), indent=1) + "\n")
    return 0 if share >= 0.98 else 1


def _line(outcome: Outcome) -> str:
    fault = outcome.fault
    fate = "survived" if outcome.survived else f"{outcome.stage} {outcome.by}"
    return f"{fault.id} (line {fault.line}): {fault.before} -> {fault.after}: {fate}"


def _counts(outcomes: list[Outcome]) -> dict[str, Counter[str]]:
    """By file: how many faults each stage noticed; "" counts the survivors."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.fault.path, Counter())[outcome.stage] += 1
    return dict(sorted(counts.items()))


def _table(outcomes: list[Outcome]) -> str:
    counts = _counts(outcomes)
    rows = [*counts.items(), ("all", sum(counts.values(), Counter()))]
    head = f"{'file':36}{'faults':>8}" + "".join(f"{stage:>13}" for stage in STAGES) + f"{'survive':>9}"
    lines = [
        f"{path:36}{count.total():8}" + "".join(f"{count[stage]:13}" for stage in STAGES) + f"{count['']:9}"
        for path, count in rows
    ]
    return "\n".join([head, *lines])


def _result(outcomes: list[Outcome], seconds: float) -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "machine": platform.machine(),
        "seconds": round(seconds),
        "faults": len(outcomes),
        "noticed": sum(not outcome.survived for outcome in outcomes),
        "by kind": dict(sorted(Counter(outcome.fault.kind for outcome in outcomes).items())),
        "by file": {path: {stage or "survived": n for stage, n in c.items()} for path, c in _counts(outcomes).items()},
        "hang": sorted(outcome.fault.id for outcome in outcomes if outcome.by == "hangs"),
        "survivors": sorted(_line(outcome) for outcome in outcomes if outcome.survived),
        "equivalent": EQUIVALENT,
    }


def _seconds(start: float) -> float:
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
