"""A kernel gives the same bits in the process that compiles it and in one that reads it from disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

_PROGRAM = """
import hashlib, numpy as np, tensorgrad as tg
logits = tg.tensor(np.random.default_rng(0).standard_normal((64, 300)).astype(np.float32), requires_grad=True)
loss = tg.cross_entropy(logits, np.arange(64), reduction="sum")  # shares a sum with log_softmax
loss.backward()
for x in (logits.grad, tg.softmax(logits), tg.log_softmax(logits)):
    print(hashlib.sha256(x.numpy().tobytes()).hexdigest())
"""


def test_a_kernel_from_the_disk_is_the_one_that_was_compiled(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", _PROGRAM]
    first, second = (subprocess.run(command, env=environment, capture_output=True, check=True).stdout for _ in range(2))
    assert list(tmp_path.rglob("*.nbi"))
    assert first == second
