"""Training: the numbers of a step, and runs as functions of their configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpt import checkpoint, train
from gpt.config import ModelConfig, OptimConfig, TokenizerConfig, TrainConfig
from gpt.config_file import from_toml
from gpt.data import IGNORED_TARGET
from gpt.errors import UserError
from gpt.model import GPT
from gpt.optim import AdamW
from gpt.train.lock import locked
from gpt.train.metrics import read_metrics
from gpt.train.session import Session
from tensorgrad import Key, threads
from tensorgrad.kernels import gemm

SMALL = TrainConfig(
    steps=12,
    batch_size=4,
    eval_interval_steps=6,
    checkpoint_interval_steps=4,
    keep_checkpoints=0,
    log_interval_steps=1,
    model=ModelConfig(context_length=16, num_layers=2, num_heads=2, model_dim=16, dropout=0.1),
    tokenizer=TokenizerConfig(kind="bytes"),
    optim=OptimConfig(warmup_steps=2),
)
GPT2_LIKE = replace(
    SMALL.model, positions="learned", norm="layer_norm", activation="gelu_tanh", has_bias=True, vocab_size=50
)


def weights(run_dir: Path) -> dict[str, np.ndarray]:
    return {name: x.data for name, x in named(checkpoint.load(run_dir).model).items()}


def named(model: GPT) -> dict:
    from tensorgrad.tree import named_tensors

    return named_tensors(model)


def assert_same_weights(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    assert list(ours) == list(theirs)
    for name, x in ours.items():
        assert x.tobytes() == theirs[name].tobytes(), name


@pytest.mark.parametrize("config", [replace(SMALL.model, vocab_size=50), GPT2_LIKE], ids=["llama", "gpt2"])
def test_accumulation_is_the_gradient_of_the_mean_over_tokens(config):
    """1 x 32 = 4 x 8 = 32 x 1, on documents of unequal length, with dropout."""
    ids = Key(1).integers(0, 50, (32, 16))
    targets = Key(2).integers(0, 50, (32, 16))
    lengths = Key(3).integers(1, 17, (32,))
    targets[np.arange(16) >= lengths[:, None]] = IGNORED_TARGET
    keys = [Key(4).fold_in(i) for i in range(32)]
    results = []
    for size in (32, 8, 1):
        model = GPT.init(config, Key(0), dtype="float64")
        optimizer = AdamW(model, OptimConfig())
        loss, norm = train.train_step(
            model, optimizer, ids, targets, micro_batch_size=size, learning_rate=1e-3, number=1, keys=keys
        )
        results.append((loss, norm, optimizer.gradients.copy()))
    for loss, norm, gradients in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-12)
        assert norm == pytest.approx(results[0][1], rel=1e-12)
        scale = np.abs(results[0][2]).max()
        np.testing.assert_allclose(gradients, results[0][2], rtol=0, atol=1e-12 * scale)
    # The loss is the mean over all scored targets, not the mean of the sequences' means.
    model = GPT.init(config, Key(0), dtype="float64")
    per_sequence = [model.loss(ids[i : i + 1], targets[i : i + 1], reduction="mean").item() for i in range(32)]
    by_tokens = float(np.average(per_sequence, weights=lengths))
    assert model.loss(ids, targets).item() == pytest.approx(by_tokens, rel=1e-12)
    assert abs(by_tokens - float(np.mean(per_sequence))) > 1e-6


def test_a_batch_without_targets_is_refused():
    model = GPT.init(GPT2_LIKE, Key(0))
    nothing = np.full((2, 8), IGNORED_TARGET)
    with pytest.raises(UserError, match="expected at least one target"):
        train.train_step(
            model,
            AdamW(model, OptimConfig()),
            np.zeros((2, 8), np.int64),
            nothing,
            micro_batch_size=2,
            learning_rate=0.1,
            number=1,
        )


def test_recomputation_gives_the_same_run(text, tmp_path):
    train.train(replace(SMALL, steps=3), [str(text)], tmp_path / "kept")
    train.train(replace(SMALL, steps=3, recompute=True), [str(text)], tmp_path / "recomputed")
    assert_same_weights(tmp_path / "kept", tmp_path / "recomputed")


def test_a_run_leaves_a_complete_folder(text, tmp_path, capsys):
    run_dir = tmp_path / "run"
    result = train.train(SMALL, [str(text)], run_dir)
    printed = capsys.readouterr().out
    assert sorted(path.name for path in run_dir.iterdir()) == [
        "checkpoints",
        "config.toml",
        "data",
        "loss.png",
        "metrics.jsonl",
    ]
    assert [path.name for path in checkpoint.checkpoints(run_dir)] == [
        "step-00000004",
        "step-00000008",
        "step-00000012",
    ]
    assert (run_dir / "loss.png").read_bytes().startswith(b"\x89PNG")
    records = read_metrics(run_dir / "metrics.jsonl")
    assert [r["step"] for r in records if "loss" in r] == list(range(1, 13))
    assert [r["step"] for r in records if "heldout_loss" in r] == [6, 12]
    assert records[-1]["heldout_loss"] == result.evaluation.loss
    assert records[0]["loss"] > result.evaluation.loss
    resolved = from_toml(run_dir / "config.toml")
    assert resolved.model.vocab_size == 257
    assert resolved.data.paths == (str(text),)
    for expected in ("257 ids", "held-out loss", "held-out prompt 3", f"gpt sample {run_dir}"):
        assert expected in printed
    assert checkpoint.load(run_dir).tokenizer.decode([104, 105]) == "hi"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_weight_depends_on_the_number_of_threads(text, tmp_path, precision, monkeypatch):
    if precision == "bf16" and not gemm.has_fast_bfloat16():
        pytest.skip("no fast products of bfloat16")
    pools = []
    monkeypatch.setattr("gpt.train.run.threads", lambda count: pools.append(count) or threads(count))
    # Wide enough for products to be cut into parts.
    model = replace(SMALL.model, context_length=64, model_dim=128, num_heads=4)
    config = replace(SMALL, steps=2, batch_size=8, precision=precision, model=model, eval_interval_steps=0)
    for count in (1, 2, 3):
        train.train(replace(config, threads=count), [str(text)], tmp_path / f"run{count}")
    assert_same_weights(tmp_path / "run1", tmp_path / "run2")
    assert_same_weights(tmp_path / "run1", tmp_path / "run3")
    assert pools == [1, 2, 3]


def test_the_same_command_gives_the_same_weights(text, tmp_path):
    for name in ("a", "b"):
        train.train(SMALL, [str(text)], tmp_path / name)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    train.train(replace(SMALL, seed=1), [str(text)], tmp_path / "c")
    assert any(x.tobytes() != weights(tmp_path / "c")[name].tobytes() for name, x in weights(tmp_path / "a").items())


@pytest.mark.parametrize(("stopped_at", "optimizer"), [(1, "adamw"), (5, "adamw"), (8, "adamw"), (5, "muon")])
def test_a_resumed_run_ends_like_an_uninterrupted_one(text, tmp_path, stopped_at, optimizer, monkeypatch):
    """A signal before, between or at checkpoints: weights, moments and metrics are the same in the end."""
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    config = replace(SMALL, optim=replace(SMALL.optim, optimizer=optimizer))
    train.train(config, [str(text)], whole)
    advance = Session.advance

    def advance_and_stop(session):
        result = advance(session)
        if session.step == stopped_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Session, "advance", advance_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train.train(config, [str(text)], resumed)
    assert checkpoint.load_training_state(resumed).values["step"] == stopped_at
    train.resume(resumed)
    assert_same_weights(whole, resumed)
    ours, theirs = checkpoint.load_training_state(whole), checkpoint.load_training_state(resumed)
    for name, x in ours.arrays.items():
        assert x.tobytes() == theirs.arrays[name].tobytes()
    curves = [
        [
            {k: v for k, v in r.items() if k not in ("elapsed_s", "tokens_per_s")}
            for r in read_metrics(d / "metrics.jsonl")
        ]
        for d in (whole, resumed)
    ]
    assert curves[0] == curves[1]


def test_a_killed_run_goes_on_from_its_last_checkpoint(text, tmp_path):
    """kill -9 leaves the last complete checkpoint, and the resumed run ends as an undisturbed one."""
    run_dir = tmp_path / "killed"
    config = replace(SMALL, steps=400, checkpoint_interval_steps=5, eval_interval_steps=0, keep_checkpoints=2)
    program = (
        "import sys; from pathlib import Path; from gpt import train; from gpt.config_file import from_toml;"
        "train.train(from_toml(Path(sys.argv[1])), [sys.argv[2]], Path(sys.argv[3]))"
    )
    from gpt.config_file import to_toml

    (tmp_path / "c.toml").write_text(to_toml(config))
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "c.toml"), str(text), str(run_dir)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 60
    while len(checkpoint.checkpoints(run_dir)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    reached = checkpoint.load_training_state(run_dir).values["step"]
    assert reached < 400
    stop_at = reached + 7  # no need to go through all 400 steps
    toml = run_dir / "config.toml"
    toml.write_text(toml.read_text().replace("steps = 400\n", f"steps = {stop_at}\n", 1))
    train.resume(run_dir)
    assert checkpoint.load_training_state(run_dir).values["step"] == stop_at
    assert [r["step"] for r in read_metrics(run_dir / "metrics.jsonl") if "loss" in r] == list(range(1, stop_at + 1))


def test_a_finished_run_cannot_be_resumed(text, tmp_path):
    train.train(replace(SMALL, steps=2), [str(text)], tmp_path / "run")
    with pytest.raises(UserError, match="2 steps are done"):
        train.resume(tmp_path / "run")


def test_a_run_that_was_killed_while_its_end_was_evaluated_is_finished(text, tmp_path):
    run_dir, config = tmp_path / "run", replace(SMALL, steps=2, eval_interval_steps=1, eval_batches=1)
    evaluate = Session.evaluate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "evaluate", lambda self, batches: 1 / 0 if batches is None else evaluate(self, batches))
        with pytest.raises(ZeroDivisionError):
            train.train(config, [str(text)], run_dir)
    run = train.resume(run_dir)
    assert np.isfinite(run.evaluation.loss)
    assert (run_dir / "loss.png").exists()
    assert [r["step"] for r in read_metrics(run_dir / "metrics.jsonl") if "heldout_loss" in r] == [1, 2]
    with pytest.raises(UserError, match="2 steps are done"):
        train.resume(run_dir)


def test_a_time_limit_stops_at_the_end_of_a_step(text, tmp_path):
    run = train.train(replace(SMALL, time_limit_s=1e-6), [str(text)], tmp_path / "run")
    assert checkpoint.load_training_state(tmp_path / "run").values["step"] == 1
    assert np.isfinite(run.evaluation.loss)


def test_old_checkpoints_are_removed(text, tmp_path):
    train.train(replace(SMALL, keep_checkpoints=2), [str(text)], tmp_path / "run")
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "run")] == ["step-00000008", "step-00000012"]


def test_training_works_outside_the_main_thread(text, tmp_path):
    runs = []
    thread = threading.Thread(
        target=lambda: runs.append(train.train(replace(SMALL, steps=2), [str(text)], tmp_path / "run"))
    )
    thread.start()
    thread.join()
    assert runs[0].run_dir == tmp_path / "run"


def test_gradients_that_stay_infinite_end_the_run(text, tmp_path, monkeypatch):
    monkeypatch.setattr(AdamW, "update", lambda *_: float("nan"))
    with pytest.raises(UserError, match=r"lower optim\.learning_rate"):
        train.train(SMALL, [str(text)], tmp_path / "run")


@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe"])
def test_every_tokenizer_trains(text, tmp_path, kind):
    config = replace(SMALL, steps=2, tokenizer=TokenizerConfig(kind=kind, vocab_size=300))
    run = train.train(config, [str(text)], tmp_path / kind)
    assert run.config.model.vocab_size == run.tokenizer.vocab_size
    assert run.evaluation.num_bytes == pytest.approx(0.1 * len(text.read_text()), rel=0.01)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got nothing"),
        (b"far too short", "shorter than one context"),
        (bytes(range(256)) * 40, "text"),
    ],
    ids=["empty", "short", "binary"],
)
def test_a_text_that_cannot_be_trained_on_leaves_nothing_behind(tmp_path, content, message):
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        train.train(SMALL, [str(path)], tmp_path / "runs" / "today" / "run")
    assert [item.name for item in tmp_path.iterdir()] == ["bad"]


def test_a_missing_file_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError, match="no-such-file"):
        train.train(SMALL, [str(tmp_path / "no-such-file")], tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_run_folder_in_use_is_refused(text, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").write_text("x")
    with pytest.raises(UserError, match="new or empty folder"):
        train.train(SMALL, [str(text)], tmp_path / "run")
    assert (tmp_path / "run" / "mine").read_text() == "x"


def test_impossible_run_folders_are_refused_before_anything_is_done(text, tmp_path, monkeypatch):
    monkeypatch.setattr("gpt.train.run.read_corpus", None)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"run folder: expected a place for a new folder, .*Not a directory"):
        train.train(SMALL, [str(text)], tmp_path / "file" / "run")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match=r"run folder: expected a new or empty folder, got \.:"):
        train.train(SMALL, [str(text)], Path())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "here", "text.txt"]


def test_a_run_folder_may_be_a_link(text, tmp_path):
    (tmp_path / "disk" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "run")
    train.train(replace(SMALL, steps=1), [str(text)], tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "disk" / "run")] == ["step-00000001"]


def test_one_process_at_a_time_is_in_a_run_folder(text, tmp_path):
    run_dir, preparing = tmp_path / "run", tmp_path / ".run.tmp"
    preparing.mkdir()
    with locked(preparing), pytest.raises(UserError, match="expected a folder that no other process trains in"):
        train.train(replace(SMALL, steps=1), [str(text)], run_dir)
    assert preparing.exists()  # it belongs to the other process
    train.train(replace(SMALL, steps=1), [str(text)], run_dir)
    with locked(run_dir), pytest.raises(UserError, match="expected a folder that no other process trains in"):
        train.resume(run_dir)


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match="expected a run folder"):
        train.resume(tmp_path)


def test_bad_utf8_is_counted_and_printed(tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_bytes(b"caf\xe9 and more ordinary words, over and over again. " * 60)
    train.train(replace(SMALL, steps=1), [str(path)], tmp_path / "run")
    assert "60 sequences were not UTF-8 and became U+FFFD" in capsys.readouterr().out
