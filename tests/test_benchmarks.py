"""The races on the CPU go on when a contestant cannot run, and leave out one that computes something else."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from benchmarks import train_step
from benchmarks.process import Process

# Answers as benchmarks/contestants.py does, with three faults.
PROGRAM = """
import json, sys
import numpy as np
name = sys.argv[1]
if name == "jax":
    print(json.dumps({"error": "ImportError: no JAX"}))
    sys.exit(1)
for line in sys.stdin:
    command, argument = json.loads(line)
    if command == "gradients":
        np.savez(argument, weight=np.ones(3, np.float32))
    if name == "torch-compile" and command == "steps":
        sys.exit(3)
    losses = [2.0 if name == "tensorgrad-numpy" else 1.0] * 3
    memory = {"peak_mb": 2.0, "peak_above_loaded_mb": 1.0}
    steps = {"step_ms": 1.0, "cpu_ms": 1.0}
    answers = {"losses": losses, "steps": steps, "memory": memory, "shares": {}, "library": name}
    print(json.dumps(answers.get(command)), flush=True)
"""


class Contestant(Process):
    def __init__(self, name: str, workload: str, threads: int) -> None:
        super().__init__(name, [sys.executable, "-c", PROGRAM, name])


def test_a_contestant_that_cannot_run_is_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(train_step, "Contestant", Contestant)
    names = ["tensorgrad", "jax", "torch-compile", "tensorgrad-numpy", "torch"]
    given = ["--configurations", "tiny", "--contestants", *names, "--rounds", "1", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["train_step.py", *given])
    with pytest.raises(SystemExit, match="1"):  # tensorgrad-numpy disagrees
        train_step.main()
    result: dict[str, Any] = json.loads((tmp_path / "train_step.json").read_text())
    race = result["configurations"]["tiny"]
    assert set(race["contestants"]) == {"tensorgrad", "torch"}
    assert race["contestants"]["tensorgrad"]["over_torch"]["step"] == 1
    assert race["left_out"].pop("tensorgrad-numpy").startswith("expected the results of torch within 0.0002, got")
    assert race["left_out"] == {
        "jax": "ImportError: no JAX",
        "torch-compile": "torch-compile ended while asked to steps: exit status 3",
    }


def test_a_process_that_ends_is_reported():
    process = Process("mine", [sys.executable, "-c", "input()"])
    with pytest.raises(RuntimeError, match="mine ended while asked to steps"):
        process.ask("steps", 1)
    process.end()
