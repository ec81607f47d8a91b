"""A run's measurements: the file `metrics.jsonl`, and the speed.

`metrics.jsonl` has one JSON object per line, in the order of events. Every line has a `step`, the
number of updates so far. There are two kinds of line, for training and for evaluation:

    {"step": 40, "loss": 5.2, "learning_rate": 0.0004, "grad_norm": 1.1, "tokens_per_s": 20480.0, ...}
    {"step": 250, "heldout_loss": 3.9, "perplexity": 49.4, "bits_per_byte": 2.3, "elapsed_s": 61.0}

Lines are only appended, so the file can be watched, and a killed run loses at most the line that it
was writing. A line counts if it ends with a newline.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import TypedDict, cast

from gpt.atomic import write_atomically
from gpt.errors import UserError

__all__ = ["MetricsLog", "Record", "SpeedMeter", "read_metrics", "truncate_after"]

_SPEED_WINDOW_STEPS = 50


class _Step(TypedDict):
    step: int  # updates so far


class Record(_Step, total=False):
    """One line of `metrics.jsonl`. A value that is not finite is written as null and read as NaN."""

    loss: float  # training loss in nats per token, mean over the steps since the last training line
    learning_rate: float
    grad_norm: float  # global norm, before clipping
    tokens: int  # tokens trained on since the run began
    tokens_per_s: float
    heldout_loss: float  # nats per token
    perplexity: float
    bits_per_byte: float
    elapsed_s: float  # training time since the run began, without interruptions


class MetricsLog(AbstractContextManager["MetricsLog"]):
    """Appends records to `metrics.jsonl`, and hands each to the operating system at once."""

    def __init__(self, path: Path) -> None:
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: Record) -> None:
        finite = {key: _finite_or_none(value) for key, value in record.items()}
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")
        self._file.flush()

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[Record]:
    """All complete records, in order. Skips an incomplete last line; any other broken line is a UserError."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise UserError(f"{path}: expected a metrics file, got: {error.strerror}: check the path") from error
    records: list[Record] = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            is_record = isinstance(values["step"], int)
        except (ValueError, TypeError, KeyError):
            is_record = False
        if not is_record:
            raise UserError(
                f"{path}, line {number}: expected a JSON object with a step, got {line[:60]!r}: remove that line"
            )
        numbers = {key: math.nan if value is None else value for key, value in values.items()}
        records.append(cast(Record, numbers))
    return records


def truncate_after(path: Path, step: int) -> None:
    """Remove the records after `step`: a resumed run repeats those steps."""
    if not path.exists():
        return
    kept = [record for record in read_metrics(path) if record["step"] <= step]
    lines = [json.dumps({key: _finite_or_none(value) for key, value in record.items()}) for record in kept]
    write_atomically(path, "".join(line + "\n" for line in lines).encode())


class SpeedMeter:
    """Tokens per second and the time left, from the median of the last 50 steps.

    With a median, a step that waits for a checkpoint counts no more than any other step, and a change
    of speed shows after 25 steps.
    """

    def __init__(self) -> None:
        self._seconds_per_token: deque[float] = deque(maxlen=_SPEED_WINDOW_STEPS)

    def add_step(self, tokens: int, seconds: float) -> None:
        self._seconds_per_token.append(seconds / tokens)

    @property
    def tokens_per_s(self) -> float:
        """0 before the first step."""
        slowness = median(self._seconds_per_token) if self._seconds_per_token else 0.0
        return 1.0 / slowness if slowness > 0 else 0.0

    def time_left_s(self, tokens_left: int) -> float:
        """Infinite before the first step; 0 if nothing is left."""
        if not tokens_left:
            return 0.0
        return tokens_left / self.tokens_per_s if self.tokens_per_s > 0 else math.inf


def _drop_torn_line(path: Path) -> None:
    """Cut the file after its last newline, so that the next record starts a new line."""
    if not path.exists():
        return
    content = path.read_bytes()
    complete_bytes = content.rfind(b"\n") + 1
    if complete_bytes < len(content):
        os.truncate(path, complete_bytes)


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
