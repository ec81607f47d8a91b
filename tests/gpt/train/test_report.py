"""Progress on a terminal and in a log, the loss plot, the summary."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path

import pytest

from gpt.errors import UserError
from gpt.train.metrics import MetricsLog, Record
from gpt.train.report import ProgressLine, loss_plot, run_summary

TRAIN: Record = {
    "step": 120, "loss": 3.21987, "learning_rate": 1e-3, "tokens": 491_520, "tokens_per_s": 20_480.4,
    "elapsed_s": 125.0,
}  # fmt: skip
HELDOUT: Record = {"step": 100, "heldout_loss": 3.5, "perplexity": math.exp(3.5), "bits_per_byte": 2.25}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_log_a_line_at_the_first_update_every_interval_and_at_the_end() -> None:
    log = io.StringIO()
    with ProgressLine(1000, stream=log, plain_interval_s=3600) as progress:
        for step in range(1, 6):
            progress.update({**TRAIN, "step": step}, 65.0)
        progress.heldout(HELDOUT)
    assert log.getvalue().splitlines() == [
        "step 1/1,000  loss 3.220  20,480 tokens/s  lr 1.00e-03  1:05 left",
        "step 100  held-out loss 3.5000, perplexity 33.12, 2.2500 bits per byte",
        "step 5/1,000  loss 3.220  20,480 tokens/s  lr 1.00e-03  1:05 left",
    ]


def test_in_a_log_every_update_with_no_interval_and_none_twice() -> None:
    log = io.StringIO()
    with ProgressLine(10, stream=log, plain_interval_s=0) as progress:
        for step in range(1, 4):
            progress.update({"step": step}, math.inf)
    assert log.getvalue().splitlines() == [f"step {step}/10  ? left" for step in (1, 2, 3)]


def test_the_last_line_is_shown_when_training_fails() -> None:
    log = io.StringIO()

    def train() -> None:
        with ProgressLine(10, stream=log, plain_interval_s=3600) as progress:
            progress.update({"step": 1}, 1.0)
            progress.update({"step": 2}, 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert log.getvalue().splitlines()[-1].startswith("step 2/10")


def test_on_a_terminal_one_line_is_rewritten_and_evaluations_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    with ProgressLine(1000, stream=terminal) as progress:
        progress.update(TRAIN, 3725.0)
        progress.heldout(HELDOUT)
        progress.message("[brackets] are no markup")
        progress.update({**TRAIN, "step": 1000}, 0.0)
    text = terminal.getvalue()
    assert "step 120/1,000  loss 3.220  20,480 tokens/s  lr 1.00e-03  1:02:05 left" in text
    assert "step 100  held-out loss 3.5000" in text
    assert "[brackets] are no markup" in text
    assert "step 1,000/1,000" in text
    assert "\x1b[2K" in text  # lines were erased to be rewritten


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with ProgressLine(1000, stream=terminal) as progress:
        progress.update(TRAIN, 1.0)
    assert "\x1b" not in terminal.getvalue()
    assert "step 120/1,000" in terminal.getvalue()


def _metrics(path: Path, *, heldout: bool = True, train: bool = True) -> Path:
    with MetricsLog(path) as log:
        for step in range(10, 210, 10):
            loss = 2 + 3 * math.exp(-step / 50)
            if train:
                log.write({"step": step, "loss": math.nan if step == 50 else loss})
            if heldout and step % 100 == 0:
                log.write({"step": step, "heldout_loss": loss + 0.1, "bits_per_byte": (loss + 0.1) / 2})
    return path


@pytest.mark.parametrize(("heldout", "train"), [(True, True), (False, True), (True, False)])
def test_loss_plot_is_one_png_file(tmp_path: Path, heldout: bool, train: bool) -> None:
    out = tmp_path / "loss.png"
    loss_plot(_metrics(tmp_path / "metrics.jsonl", heldout=heldout, train=train), out)
    content = out.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (960, 576)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["loss.png", "metrics.jsonl"]


def test_loss_plot_shows_both_curves_both_units_and_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: object, **kwargs: object) -> None:
        drawn.append(figure)
        save(figure, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    run = tmp_path / "runs" / "default-007"
    run.mkdir(parents=True)
    loss_plot(_metrics(run / "metrics.jsonl"), run / "loss.png")
    axes = drawn[0].axes[0]
    assert axes.get_title() == "default-007"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss (nats per token)")
    train, heldout = axes.get_lines()
    assert (train.get_label(), heldout.get_label()) == ("training", "held out")
    assert list(train.get_xdata()) == [step for step in range(10, 210, 10) if step != 50]  # type: ignore[arg-type]
    assert list(heldout.get_xdata()) == [100, 200]  # type: ignore[arg-type]
    (bits,) = axes.child_axes
    assert bits.get_ylabel() == "held out: bits per byte"
    assert bits.get_ylim() == pytest.approx([limit / 2 for limit in axes.get_ylim()])


def test_loss_plot_of_nothing_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match="expected at least one loss"):
        loss_plot(tmp_path / "metrics.jsonl", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


def test_summary() -> None:
    worse: Record = {**HELDOUT, "step": 120, "heldout_loss": 3.75}
    text = run_summary([HELDOUT, TRAIN, worse], num_parameters=5_300_224, run_dir=Path("runs/my run"))
    assert text.splitlines() == [
        "run            runs/my run",
        "parameters     5,300,224",
        "trained on     491,520 tokens in 2:05, 20,480 tokens/s",
        "training loss  3.2199 nats per token at step 120",
        "held-out       loss 3.7500, perplexity 33.12, 2.2500 bits per byte",
        "               it was best at step 100: loss 3.5000, perplexity 33.12, 2.2500 bits per byte",
        "sample more    gpt sample 'runs/my run' --prompt \"...\"",
    ]


def test_summary_of_a_run_without_measurements() -> None:
    text = run_summary([], num_parameters=10, run_dir=Path("runs/x"))
    assert [line.split()[0] for line in text.splitlines()] == ["run", "parameters", "sample"]
