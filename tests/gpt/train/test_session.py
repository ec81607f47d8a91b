"""Steps are read one step late: everything happens at its step, and every number belongs to its step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpt import checkpoint, train
from gpt.config import ModelConfig, OptimConfig, TokenizerConfig, TrainConfig
from gpt.data import TokenData
from gpt.errors import UserError
from gpt.evaluate import evaluate_tokens
from gpt.model import GPT
from gpt.optim import AdamW
from gpt.optim.schedule import learning_rate
from gpt.train.metrics import read_metrics
from gpt.train.session import Session, batch_of_step
from gpt.train.step import train_step
from gpt.train.transfer import HostTransfer
from tensorgrad import Key
from tensorgrad.sorted_ids import SortedIds

CONFIG = TrainConfig(
    steps=6,
    batch_size=4,
    micro_batch_size=2,
    eval_interval_steps=0,
    checkpoint_interval_steps=3,
    keep_checkpoints=0,
    log_interval_steps=1,
    model=ModelConfig(context_length=8, num_layers=1, num_heads=2, model_dim=16),
    tokenizer=TokenizerConfig(kind="bytes"),
    optim=OptimConfig(warmup_steps=2),
)


class Slow(HostTransfer):
    """A transfer that delivers a step's numbers only when they are read, and notes when that happens."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.count = 0

    def download(self, values):
        self.count += 1
        return SlowDownload(self, self.count, values.copy())


class SlowDownload:
    def __init__(self, transfer: Slow, step: int, values: np.ndarray) -> None:
        self.transfer, self.step, self.values = transfer, step, values
        transfer.events.append(f"launched {step}")

    def read(self) -> np.ndarray:
        self.transfer.events.append(f"read {self.step}")
        return self.values


@pytest.fixture
def slow(monkeypatch) -> Slow:
    transfer = Slow()
    opened = Session.open.__func__
    monkeypatch.setattr(
        Session,
        "open",
        classmethod(lambda cls, config, run_dir, found, _: opened(cls, config, run_dir, found, transfer)),
    )
    save = Session.save
    monkeypatch.setattr(Session, "save", lambda self: (transfer.events.append(f"saved {self.step}"), save(self)))
    return transfer


def test_a_step_is_looked_at_when_the_next_is_under_way(text, tmp_path, slow):
    train.train(CONFIG, [str(text)], tmp_path / "run")
    assert slow.events == [
        *("launched 1", "launched 2", "read 1", "launched 3", "read 2", "read 3", "saved 3"),
        *("launched 4", "launched 5", "read 4", "launched 6", "read 5", "read 6", "saved 6"),
    ]
    records = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in r]
    assert [r["step"] for r in records] == list(range(1, 7))
    assert [r["learning_rate"] for r in records] == [learning_rate(CONFIG.optim, step, 6) for step in range(6)]


def test_the_numbers_are_those_of_their_step(text, tmp_path, slow):
    """The losses and norms of a run equal those of the same steps one by one."""
    run = train.train(CONFIG, [str(text)], tmp_path / "run")
    model = GPT.init(run.config.model, Key(0).fold_in(0))
    optimizer = AdamW(model, CONFIG.optim)
    data = TokenData.open(tmp_path / "run" / "data", "train", run.tokenizer)
    records = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in r]
    for step, record in enumerate(records):
        values = batch_of_step(run.config, data, step)
        loss, norm = train_step(
            model,
            optimizer,
            values["ids_BT"],
            values["targets_BT"],
            micro_batch_size=2,
            learning_rate=learning_rate(CONFIG.optim, step, 6),
            number=step + 1,
        )
        assert (record["loss"], record["grad_norm"]) == (loss, norm)


def test_what_is_not_finite_is_reported_with_its_step(text, tmp_path, slow, monkeypatch, capsys):
    monkeypatch.setattr("gpt.train.run._MAX_BAD_STEPS", 2)
    update, norms = AdamW.update, {2: np.nan, 4: np.inf, 5: np.nan}

    def planted(self, rates_3):
        norm = update(self, rates_3)
        return np.asarray(norms.get(slow.count + 1, norm))

    monkeypatch.setattr(AdamW, "update", planted)
    with pytest.raises(UserError, match="got none in 2 steps in a row up to step 5"):
        train.train(CONFIG, [str(text)], tmp_path / "run")
    printed = capsys.readouterr().out
    reported = [n for n in range(1, 7) if f"step {n}: the gradient is not finite" in printed]
    assert reported == [2, 4, 5]
    # Step 6 was running; nothing of steps 5 and 6 was kept.
    assert checkpoint.load_training_state(tmp_path / "run").values["step"] == 3
    assert [r["step"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4]


def test_what_the_loader_meets_reaches_the_user(text, tmp_path, monkeypatch):
    samples = TokenData.samples

    def broken(self, key, first_sample, count, context_length):
        if first_sample >= 8:
            raise UserError("shards: expected a file, got none: put it back")
        return samples(self, key, first_sample, count, context_length)

    monkeypatch.setattr(TokenData, "samples", broken)
    with pytest.raises(UserError, match="put it back"):
        train.train(CONFIG, [str(text)], tmp_path / "run")


def test_a_batch_is_a_function_of_seed_and_step(text, tmp_path):
    config = train.train(replace(CONFIG, steps=1), [str(text)], tmp_path / "run").config
    config = replace(config, model=replace(config.model, dropout=0.1))
    run = checkpoint.load(tmp_path / "run")
    batches = []
    for order in ((0, 1, 2), (2, 0, 1)):
        data = TokenData.open(tmp_path / "run" / "data", "train", run.tokenizer)
        batches.append({step: batch_of_step(config, data, step) for step in order})
    for step in range(3):
        values, again = batches[0][step], batches[1][step]
        assert values["keys_B2"].shape == (4, 2)
        assert len(np.unique(values["keys_B2"])) == 8
        for name, value in values.items():
            assert value.tobytes() == again[name].tobytes()
        for rows in (slice(0, 2), slice(2, 4)):
            expected = SortedIds.of(values["ids_BT"][rows]).order_N
            np.testing.assert_array_equal(values["order_BT"][rows].reshape(-1), expected)
        assert values["num_targets"] == 4 * 8


@pytest.mark.parametrize("micro_batch_size", [1, 2, 0])
@pytest.mark.parametrize("max_batches", [2, None])
def test_an_evaluation_computes_one_micro_batch_at_a_time(micro_batch_size, max_batches, text, tmp_path, monkeypatch):
    """Training fits in memory with the micro-batch, so an evaluation of the whole batch might not."""
    config = replace(CONFIG, steps=1, micro_batch_size=micro_batch_size)
    train.train(config, [str(text)], tmp_path / "run")
    config = replace(config, model=checkpoint.load(tmp_path / "run").config)
    session = Session.open(config, tmp_path / "run", checkpoint.checkpoints(tmp_path / "run")[-1], HostTransfer())
    expected = evaluate_tokens(session.model, session.heldout, config.batch_size, max_batches=max_batches)
    sizes, loss = [], GPT.loss

    def counted(self, ids_BT, targets_BT, **keywords):
        sizes.append(len(ids_BT))
        return loss(self, ids_BT, targets_BT, **keywords)

    monkeypatch.setattr(GPT, "loss", counted)
    found, record = session.evaluate(max_batches)
    assert set(sizes) == {config.micro_batch}
    assert (found.num_tokens, found.num_bytes) == (expected.num_tokens, expected.num_bytes)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert record["heldout_loss"] == found.loss
    if not micro_batch_size:
        assert found == expected
