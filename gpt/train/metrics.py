"""What a run measures: the file `metrics.jsonl` and the speed.

`metrics.jsonl` has one JSON object a line, in the order in which things happened; every line has a
`step` (the number of updates done), and a line is one of two kinds, told apart by its keys:

    {"step": 40, "loss": 5.2, "learning_rate": 0.0004, "grad_norm": 1.1, "tokens_per_s": 20480.0, ...}
    {"step": 250, "heldout_loss": 3.9, "perplexity": 49.4, "bits_per_byte": 2.3, "elapsed_s": 61.0}

The file is only appended to, line by line, so that it can be watched, and so that a run that is
killed loses at most the line being written. A line counts once its newline is there.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import TypedDict, cast

from gpt.atomic import write_atomically
from gpt.errors import UserError

__all__ = [
    "MetricsLog",
    "Record",
    "SpeedMeter",
    "read_metrics",
    "truncate_after",
]

_SPEED_WINDOW_STEPS = 50


class _Step(TypedDict):
    step: int  # updates done when this was measured


class Record(_Step, total=False):
    """One line of `metrics.jsonl`. A value that is not finite is written as null and read as NaN."""

    loss: float  # training loss, nats per token, mean over the steps since the last such line
    learning_rate: float
    grad_norm: float  # global norm, before clipping
    tokens: int  # trained on since the run began
    tokens_per_s: float
    heldout_loss: float  # nats per token
    perplexity: float
    bits_per_byte: float
    elapsed_s: float  # training time since the run began, interruptions left out


class MetricsLog:
    """Appends records to `metrics.jsonl`; what it has written is in the hands of the system at once."""

    def __init__(self, path: Path) -> None:
        _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: Record) -> None:
        finite = {key: _finite_or_none(value) for key, value in record.items()}
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[Record]:
    """All complete records, in order. A torn last line is left out; a broken one before it is an error."""
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
    """Forget what was measured after `step`: a resumed run goes through those steps again."""
    if not path.exists():
        return
    kept = [record for record in read_metrics(path) if record["step"] <= step]
    lines = [json.dumps({key: _finite_or_none(value) for key, value in record.items()}) for record in kept]
    write_atomically(path, "".join(line + "\n" for line in lines).encode())


class SpeedMeter:
    """Tokens per second and the time left, from the durations of the latest steps.

    The median of the last 50 is used: the step that waits for a checkpoint does not count for more
    than any other, and a change of pace shows after 25 steps.
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
        """Infinite before the first step, unless nothing is left."""
        if not tokens_left:
            return 0.0
        return tokens_left / self.tokens_per_s if self.tokens_per_s > 0 else math.inf


def _drop_torn_line(path: Path) -> None:
    """Cut what follows the last newline, so that the next record starts a line of its own."""
    if not path.exists():
        return
    content = path.read_bytes()
    complete_bytes = content.rfind(b"\n") + 1
    if complete_bytes < len(content):
        os.truncate(path, complete_bytes)


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
