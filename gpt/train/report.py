"""The output of a run: a progress line, a plot of its losses, a summary at its end."""

from __future__ import annotations

import io
import math
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from gpt.atomic import write_atomically
from gpt.errors import UserError
from gpt.train.metrics import Record, read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray
    from rich.progress import Progress

__all__ = ["ProgressLine", "loss_plot", "run_summary"]

_LIVE_INTERVAL_S = 0.2  # a refresh costs about a millisecond
_TRAIN_COLOR = "#8aa9c9"
_HELDOUT_COLOR = "#b3400f"


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """The progress of a run, on a terminal or in a log.

        with ProgressLine(total_steps=1000) as progress:
            progress.update(record, time_left_s)      # after every step
            progress.heldout(record)                  # after an evaluation; stays on the screen

    A terminal has one line, rewritten in place. Any other stream gets a new line every
    `plain_interval_s` seconds and one at the end, so that a log stays short.
    """

    def __init__(self, total_steps: int, *, stream: TextIO | None = None, plain_interval_s: float = 10.0) -> None:
        self._total_steps = total_steps
        self._stream = stream or sys.stdout
        self._plain_interval_s = plain_interval_s
        self._shown_at_s = -math.inf
        self._unshown_step: int | None = None
        self._status = ""
        self._live: Progress | None = None

    def __enter__(self) -> ProgressLine:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            console = Console(file=self._stream, highlight=False)
            if not console.is_dumb_terminal:
                columns = (BarColumn(bar_width=20), TextColumn("{task.description}"))
                # No refresher thread: it would take time from training.
                self._live = Progress(*columns, console=console, auto_refresh=False)
                self._live.add_task("", total=self._total_steps)
                self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._unshown_step is not None:
            self._show(self._unshown_step)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, record: Record, time_left_s: float) -> None:
        """Show a training record, now if the last one shown is old enough, otherwise at a later call."""
        self._status = _status(record, self._total_steps, time_left_s)
        self._unshown_step = record["step"]
        interval_s = self._plain_interval_s if self._live is None else _LIVE_INTERVAL_S
        if time.monotonic() - self._shown_at_s >= interval_s:
            self._show(record["step"])

    def heldout(self, record: Record) -> None:
        """Print the result of an evaluation as a permanent line."""
        self.message(f"step {record['step']:,}  held-out {_heldout_text(record)}")

    def message(self, text: str) -> None:
        """Print a permanent line, above the progress line."""
        if self._live is not None:
            self._live.console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def _show(self, step: int) -> None:
        if self._live is not None:
            self._live.update(self._live.task_ids[0], completed=step, description=self._status, refresh=True)
        else:
            print(self._status, file=self._stream, flush=True)
        self._shown_at_s = time.monotonic()
        self._unshown_step = None


def loss_plot(metrics_path: Path, out_png: Path) -> None:
    """Plot training and held-out loss over the steps as a PNG. Its title is the run's name.

    The axis on the right gives the held-out loss in bits per byte. That is the same curve on another
    scale, as the held-out text has a fixed number of bytes per token.
    """
    from matplotlib.figure import Figure

    records = read_metrics(metrics_path)
    train = [(r["step"], r["loss"]) for r in records if math.isfinite(r.get("loss", math.nan))]
    heldout = [r for r in records if math.isfinite(r.get("heldout_loss", math.nan))]
    if not train and not heldout:
        raise UserError(f"{metrics_path}: expected at least one loss, got none: train for some steps first")

    # A Figure without pyplot: no global state, no display.
    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if train:
        axes.plot(*zip(*train, strict=True), color=_TRAIN_COLOR, linewidth=0.9, label="training")
    if heldout:
        points = [(r["step"], r["heldout_loss"]) for r in heldout]
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color=_HELDOUT_COLOR, linewidth=1.8, marker="o", markersize=4, label="held out")
        last = f"{losses[-1]:.3f}"
        axes.annotate(last, points[-1], (0, 7), textcoords="offset points", ha="center", color=_HELDOUT_COLOR)
        _add_bits_axis(axes, heldout[-1])
    axes.set_title(metrics_path.resolve().parent.name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["top"].set_visible(False)
    axes.legend(frameon=False)

    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_atomically(out_png, png.getvalue())


def run_summary(records: Sequence[Record], *, num_parameters: int, run_dir: Path) -> str:
    """The table at the end of a run: parameters, tokens, losses, and a command to try next."""
    train = [record for record in records if "loss" in record]
    heldout = [record for record in records if "heldout_loss" in record]
    rows = [("run", str(run_dir)), ("parameters", f"{num_parameters:,}")]
    if train:
        last = train[-1]
        pace = f"{last.get('tokens', 0):,} tokens in {_duration(last.get('elapsed_s', 0.0))}"
        rows.append(("trained on", f"{pace}, {last.get('tokens_per_s', 0.0):,.0f} tokens/s"))
        rows.append(("training loss", f"{last['loss']:.4f} nats per token at step {last['step']:,}"))
    if heldout:
        best = min(heldout, key=lambda record: record["heldout_loss"])
        rows.append(("held-out", _heldout_text(heldout[-1])))
        if best["heldout_loss"] < heldout[-1]["heldout_loss"]:
            rows.append(("", f"it was best at step {best['step']:,}: {_heldout_text(best)}"))
    rows.append(("sample more", f'gpt sample {shlex.quote(str(run_dir))} --prompt "..."'))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _add_bits_axis(axes: Axes, record: Record) -> None:
    """Add a right-hand axis in bits per byte, unless the record lacks it or its loss is 0."""
    if not record["heldout_loss"] or not math.isfinite(record.get("bits_per_byte", math.nan)):
        return
    bits_per_nat = record["bits_per_byte"] / record["heldout_loss"]

    def to_bits(nats: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(nats, dtype=np.float64) * bits_per_nat

    def to_nats(bits: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(bits, dtype=np.float64) / bits_per_nat

    bits_axis = axes.secondary_yaxis("right", functions=(to_bits, to_nats))
    bits_axis.set_ylabel("held out: bits per byte", color=_HELDOUT_COLOR)
    bits_axis.tick_params(colors=_HELDOUT_COLOR)


def _status(record: Record, total_steps: int, time_left_s: float) -> str:
    parts = [f"step {record['step']:,}/{total_steps:,}"]
    if "loss" in record:
        parts.append(f"loss {record['loss']:.3f}")
    if "tokens_per_s" in record:
        parts.append(f"{record['tokens_per_s']:,.0f} tokens/s")
    if "learning_rate" in record:
        parts.append(f"lr {record['learning_rate']:.2e}")
    parts.append(f"{_duration(time_left_s)} left")
    return "  ".join(parts)


def _heldout_text(record: Record) -> str:
    parts = [f"loss {record['heldout_loss']:.4f}"]
    if "perplexity" in record:
        parts.append(f"perplexity {record['perplexity']:,.2f}")
    if "bits_per_byte" in record:
        parts.append(f"{record['bits_per_byte']:.4f} bits per byte")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """2:05, from one hour on 1:02:05; ? if unknown."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}:{minutes_left:02}:{seconds_left:02}" if hours else f"{minutes}:{seconds_left:02}"
