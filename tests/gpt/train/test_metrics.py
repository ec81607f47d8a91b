"""The metrics file through crashes and resumes; the speed meter."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.errors import UserError
from gpt.train.metrics import (
    MetricsLog,
    Record,
    SpeedMeter,
    read_metrics,
    truncate_after,
)


def _write(path: Path, *records: Record) -> None:
    with MetricsLog(path) as log:
        for record in records:
            log.write(record)


def test_records_come_back_in_order_and_each_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    records: list[Record] = [
        {"step": 1, "loss": 2.5},
        {"step": 1, "heldout_loss": 2.25},
        {"step": 2, "loss": 2.0},
    ]
    with MetricsLog(path) as log:
        for count, record in enumerate(records, start=1):
            log.write(record)
            assert read_metrics(path) == records[:count]
    assert [json.loads(line) for line in path.read_text().splitlines()] == records


def test_opening_again_appends(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    _write(path, {"step": 1})
    _write(path, {"step": 2})
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]


@given(cut=st.integers(1, 30))
def test_a_torn_last_line_is_left_out_and_then_overwritten(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "metrics.jsonl"
    _write(path, {"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25, "tokens": 8192})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read_metrics(path) == [{"step": 1, "loss": 2.5}]
    _write(path, {"step": 3})
    assert read_metrics(path) == [{"step": 1, "loss": 2.5}, {"step": 3}]


def test_not_finite_is_null_in_the_file_and_nan_when_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    _write(path, {"step": 1, "loss": math.nan, "grad_norm": math.inf})
    assert json.loads(path.read_text()) == {"step": 1, "loss": None, "grad_norm": None}
    (record,) = read_metrics(path)
    assert math.isnan(record["loss"])
    truncate_after(path, 1)
    assert json.loads(path.read_text())["loss"] is None


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"loss": 1.0}', '{"step": "3"}', ""])
def test_a_broken_line_inside_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: expected a JSON object with a step"):
        read_metrics(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: expected a metrics file, got: No such file"):
        read_metrics(tmp_path / "none.jsonl")


def test_truncate_after_keeps_the_step_itself(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    truncate_after(path, 3)  # no file: nothing to do
    assert not path.exists()
    losses: list[Record] = [{"step": step, "loss": step / 3} for step in range(1, 6)]
    _write(path, *losses, {"step": 3, "heldout_loss": 1.5})
    truncate_after(path, 3)
    assert read_metrics(path) == [
        {"step": 1, "loss": 1 / 3},
        {"step": 2, "loss": 2 / 3},
        {"step": 3, "loss": 1.0},
        {"step": 3, "heldout_loss": 1.5},
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_speed_is_the_median_of_the_latest_steps() -> None:
    meter = SpeedMeter()
    assert meter.tokens_per_s == 0.0
    assert meter.time_left_s(100) == math.inf
    assert meter.time_left_s(0) == 0.0
    for _ in range(10):
        meter.add_step(1000, 0.5)
    meter.add_step(1000, 60.0)  # a pause, for a checkpoint
    assert meter.tokens_per_s == pytest.approx(2000)
    assert meter.time_left_s(10_000) == pytest.approx(5)
    for _ in range(26):
        meter.add_step(1000, 0.25)
    assert meter.tokens_per_s == pytest.approx(4000)
    for _ in range(50):
        meter.add_step(1000, 1.0)
    assert meter.tokens_per_s == pytest.approx(1000)
