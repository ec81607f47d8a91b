"""Training: from text and a configuration to a run folder.

    run/config.toml        the resolved configuration
    run/data/              tokenizer.json and the token shards, train and heldout
    run/metrics.jsonl      losses, learning rate, speed
    run/loss.png           the curves
    run/checkpoints/step-00001000/

Step n is a function of (seed, n) and of the parameters and moments before it: batches, learning
rate and dropout have no state of their own. So a run resumed from a checkpoint goes on exactly as
if it had never stopped, and the same command gives the same weights.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpt.checkpoint import (
    checkpoint_folder,
    checkpoints,
    load,
    load_training_state,
    save_checkpoint,
)
from gpt.config import TokenizerConfig, TrainConfig
from gpt.config_file import from_toml, to_toml
from gpt.data import IGNORED_TARGET, TokenData, write_shards
from gpt.errors import UserError
from gpt.evaluate import Evaluation, evaluate_tokens
from gpt.generate import Sampling, generate
from gpt.interrupt import stop_signals
from gpt.metrics import MetricsLog, Record, SpeedMeter, read_metrics, truncate_after
from gpt.model import GPT
from gpt.muon import make_optimizer
from gpt.optim import AdamW
from gpt.precision import Precision
from gpt.report import ProgressLine, loss_plot, run_summary
from gpt.schedule import learning_rate
from gpt.text import Corpus, read_corpus, split_documents
from gpt.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer, load_tokenizer, train_bpe
from tensorgrad import Key, threads
from tensorgrad.array import Array
from tensorgrad.random import RowKeys

__all__ = ["Run", "resume", "train", "train_step"]

_NUM_SAMPLES = 3
_PROMPT_TOKENS = 32
_SAMPLING = Sampling(max_tokens=120, temperature=0.8, top_p=0.95)
_MAX_BAD_STEPS = 10  # consecutive gradients that are not finite, before the run is given up

# What the one seed of a run is used for, each through a key of its own.
_INITIALISATION, _DATA, _DROPOUT, _SAMPLES = range(4)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: the trained model, and its evaluation on all held-out text."""

    run_dir: Path
    config: TrainConfig
    model: GPT
    tokenizer: Tokenizer
    evaluation: Evaluation


def train(config: TrainConfig, paths: Sequence[str], run_dir: Path) -> Run:
    """Train a model on the text in `paths` (none: the prose of this Python installation).

    Args:    run_dir: a new folder, or an empty one; complete as soon as it exists.
    Raises:  UserError: wrong text or configuration, or a run_dir in use; nothing is written then.
    """
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UserError(f"run folder: expected a new or empty folder, got {run_dir}: name another, or --resume it")
    Precision.of(config.precision)  # refuses what cannot be computed here
    config = replace(config, data=replace(config.data, paths=tuple(paths)))
    corpus = read_corpus(paths)
    _say_corpus(corpus)
    temporary = run_dir.with_name(f".{run_dir.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    new_parents = [folder for folder in run_dir.parents if not folder.exists()]
    try:
        config = _prepare(config, corpus, temporary)
        if run_dir.exists():
            run_dir.rmdir()
        temporary.rename(run_dir)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in new_parents:
            if folder.exists():
                folder.rmdir()
        raise
    return _run(config, run_dir, None)


def resume(run_dir: Path) -> Run:
    """Go on with an interrupted run from its newest checkpoint (from the start if it has none)."""
    if not (run_dir / "config.toml").is_file() or not (run_dir / "data").is_dir():
        raise UserError(f"resume: expected a run folder (with config.toml and data), got {run_dir}: check the path")
    config = from_toml(run_dir / "config.toml")
    found = checkpoints(run_dir)
    checkpoint = found[-1] if found else None
    if checkpoint is not None and load_training_state(checkpoint).values["step"] >= config.steps:
        raise UserError(
            f"resume: expected an interrupted run, got {run_dir}, whose {config.steps:,} steps are done: "
            "sample from it, or train a new one"
        )
    return _run(config, run_dir, checkpoint)


def train_step(
    model: GPT,
    optimizer: AdamW,
    ids_BT: Array,
    targets_BT: Array,
    *,
    micro_batch_size: int,
    learning_rate: float,
    number: int,
    keys: Sequence[Key] = (),
    is_recomputed: bool = False,
) -> tuple[float, float]:
    """One update by the gradient of the mean loss over all targets of the batch, however it is split.

    Args:
        targets_BT: IGNORED_TARGET where there is nothing to predict: such positions count nowhere,
            so a batch of documents of unequal length has the same gradient in any split.
        micro_batch_size: sequences in memory at once; the last part may be smaller.
        number: of this update, from 1.
        keys: for dropout, one per sequence; none: no dropout.
    Returns: the mean loss in nats per token, and the gradient's norm before clipping.
    """
    num_targets = int(np.count_nonzero(targets_BT != IGNORED_TARGET))
    if not num_targets:
        raise UserError("train_step: expected at least one target, got a batch without any")
    optimizer.zero_gradients()
    total = 0.0
    for start in range(0, ids_BT.shape[0], micro_batch_size):
        rows = slice(start, start + micro_batch_size)
        key = RowKeys(tuple(keys[rows])) if keys else None
        loss = model.loss(ids_BT[rows], targets_BT[rows], key=key, reduction="sum", recompute=is_recomputed)
        loss.backward(np.full(loss.shape, 1 / num_targets, loss.dtype))
        total += loss.item()
    return total / num_targets, float(optimizer.step(learning_rate, number))


# --- before the first step ---------------------------------------------------------------------


def _say_corpus(corpus: Corpus) -> None:
    print(corpus.description, flush=True)
    if corpus.replaced_sequences:
        print(f"{corpus.replaced_sequences:,} sequences that are not UTF-8 were replaced by U+FFFD", flush=True)


def _prepare(config: TrainConfig, corpus: Corpus, folder: Path) -> TrainConfig:
    """Split and tokenise the corpus into `folder`; returns the configuration with nothing left open."""
    split = split_documents(corpus, config.data.holdout)
    print(f"held out: {split.rule}", flush=True)
    # A character that only the held-out part has needs an id too: nanoGPT takes all of the text.
    texts = split.train + split.heldout if config.tokenizer.kind == "characters" else split.train
    tokenizer = _make_tokenizer(config.tokenizer, texts)
    config = replace(config, model=config.model.with_vocabulary(tokenizer.vocab_size))
    data_folder = folder / "data"
    data_folder.mkdir(parents=True)
    tokenizer.save(data_folder)
    write_shards(split.train, tokenizer, data_folder, "train")
    write_shards(split.heldout, tokenizer, data_folder, "heldout")
    data = TokenData.open(data_folder, "train", tokenizer)
    heldout = TokenData.open(data_folder, "heldout", tokenizer)
    data.windows_per_epoch(config.model.context_length)  # refuses a text shorter than one context
    if heldout.num_tokens < 2:
        raise UserError("data: expected at least 2 tokens to hold out, got fewer: give more text, or a larger holdout")
    print(
        f"tokenizer: {config.tokenizer.kind}, {tokenizer.vocab_size:,} ids; "
        f"{data.num_tokens:,} tokens to train on ({data.num_bytes / data.num_tokens:.2f} bytes each), "
        f"{heldout.num_tokens:,} held out",
        flush=True,
    )
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    return config


def _make_tokenizer(config: TokenizerConfig, texts: Sequence[str]) -> Tokenizer:
    match config.kind:
        case "bytes":
            return byte_tokenizer()
        case "characters":
            return character_tokenizer(texts)
        case "bpe":
            return train_bpe(texts, config.vocab_size)


# --- the loop ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Session:
    """One process's part of a run: everything open, and how far it is."""

    config: TrainConfig
    run_dir: Path
    model: GPT
    tokenizer: Tokenizer
    optimizer: AdamW
    data: TokenData
    heldout: TokenData
    step: int  # updates done
    elapsed_s: float  # spent on them, interruptions left out

    @classmethod
    def open(cls, config: TrainConfig, run_dir: Path, checkpoint: Path | None) -> _Session:
        """The run as the checkpoint left it; without one, before the first step."""
        tokenizer = load_tokenizer(run_dir / "data")
        if checkpoint is None:
            model = GPT.init(config.model, Key(config.seed).fold_in(_INITIALISATION), dtype=config.precision)
            state = None
        else:
            model = load(checkpoint, dtype=config.precision).model
            state = load_training_state(checkpoint)
        optimizer = make_optimizer(model, config.optim)
        if state is not None:
            optimizer.load_state(state.arrays)
        return cls(
            config=config,
            run_dir=run_dir,
            model=model,
            tokenizer=tokenizer,
            optimizer=optimizer,
            data=TokenData.open(run_dir / "data", "train", tokenizer),
            heldout=TokenData.open(run_dir / "data", "heldout", tokenizer),
            step=0 if state is None else int(state.values["step"]),
            elapsed_s=0.0 if state is None else float(state.values["elapsed_s"]),
        )

    def advance(self) -> tuple[float, float, float]:
        """The next update. Returns its loss, gradient norm and learning rate."""
        config, seed = self.config, Key(self.config.seed)
        rate = learning_rate(config.optim, self.step, config.steps)
        ids_BT, targets_BT = self.data.batch(
            seed.fold_in(_DATA), self.step, config.batch_size, config.model.context_length
        )
        keys: list[Key] = []
        if config.model.dropout:
            step_key = seed.fold_in(_DROPOUT).fold_in(self.step)
            keys = [step_key.fold_in(sample) for sample in range(config.batch_size)]
        loss, norm = train_step(
            self.model,
            self.optimizer,
            ids_BT,
            targets_BT,
            micro_batch_size=config.micro_batch,
            learning_rate=rate,
            number=self.step + 1,
            keys=keys,
            is_recomputed=config.recompute,
        )
        self.step += 1
        return loss, norm, rate

    def evaluate(self, max_batches: int | None) -> tuple[Evaluation, Record]:
        """Loss on the first `max_batches` of the held-out text (None: on all), and its line in the metrics."""
        result = evaluate_tokens(self.model, self.heldout, self.config.batch_size, max_batches=max_batches)
        record: Record = {
            "step": self.step,
            "heldout_loss": result.loss,
            "perplexity": result.perplexity,
            "bits_per_byte": result.bits_per_byte,
            "elapsed_s": self.elapsed_s,
        }
        return result, record

    def save(self) -> None:
        """Write a checkpoint, then remove those beyond `keep_checkpoints`."""
        save_checkpoint(
            checkpoint_folder(self.run_dir, self.step),
            self.model,
            self.config,
            self.tokenizer,
            arrays=self.optimizer.state(),
            values={"step": self.step, "elapsed_s": self.elapsed_s},
        )
        if self.config.keep_checkpoints:
            for old in checkpoints(self.run_dir)[: -self.config.keep_checkpoints]:
                shutil.rmtree(old)


def _run(config: TrainConfig, run_dir: Path, checkpoint: Path | None) -> Run:
    """Go from the checkpoint (None: from the start) to the last step, and look at the result."""
    with threads():
        return _run_steps(_Session.open(config, run_dir, checkpoint))


def _run_steps(session: _Session) -> Run:
    config, run_dir = session.config, session.run_dir
    metrics_path = run_dir / "metrics.jsonl"
    truncate_after(metrics_path, session.step)
    speed = SpeedMeter()
    losses: list[float] = []  # since the last line of metrics
    bad_steps = 0
    with stop_signals() as stop, MetricsLog(metrics_path) as log, ProgressLine(config.steps) as progress:
        progress.message(f"model: {config.model.num_parameters:,} parameters; run folder: {run_dir}")
        while session.step < config.steps:
            started_s = time.perf_counter()
            loss, norm, rate = session.advance()
            seconds = time.perf_counter() - started_s
            session.elapsed_s += seconds
            speed.add_step(config.tokens_per_step, seconds)
            bad_steps = 0 if math.isfinite(norm) else bad_steps + 1
            if bad_steps:
                progress.message(f"step {session.step:,}: the gradient is not finite; the update was left out")
            if bad_steps == _MAX_BAD_STEPS:
                raise UserError(
                    f"train: expected finite gradients, got {bad_steps} steps in a row without, up to step "
                    f"{session.step}: lower optim.learning_rate, and start again or --resume from a checkpoint"
                )
            losses.append(loss)
            record: Record = {
                "step": session.step,
                "loss": sum(losses) / len(losses),
                "learning_rate": rate,
                "grad_norm": norm,
                "tokens": session.step * config.tokens_per_step,
                "tokens_per_s": speed.tokens_per_s,
                "elapsed_s": session.elapsed_s,
            }
            is_last = session.step == config.steps
            progress.update(record, speed.time_left_s((config.steps - session.step) * config.tokens_per_step))
            if session.step % config.log_interval_steps == 0 or is_last:
                log.write(record)
                losses.clear()
            if not is_last and _is_due(session.step, config.eval_interval_steps):
                _, heldout_record = session.evaluate(config.eval_batches or None)
                log.write(heldout_record)
                progress.heldout(heldout_record)
            is_out_of_time = 0 < config.time_limit_s <= session.elapsed_s
            is_stopping = stop.is_set() or is_out_of_time
            if is_last or is_stopping or _is_due(session.step, config.checkpoint_interval_steps):
                session.save()
            if stop.is_set():
                raise KeyboardInterrupt
            if is_out_of_time:
                break
        evaluation, final_record = session.evaluate(None)
        log.write(final_record)
        progress.heldout(final_record)
    loss_plot(metrics_path, run_dir / "loss.png")
    _print_samples(session)
    summary = run_summary(read_metrics(metrics_path), num_parameters=config.model.num_parameters, run_dir=run_dir)
    print(summary, flush=True)
    return Run(run_dir, config, session.model, session.tokenizer, evaluation)


def _is_due(step: int, interval_steps: int) -> bool:
    return interval_steps > 0 and step % interval_steps == 0


def _print_samples(session: _Session) -> None:
    """Continuations of the beginnings of held-out documents, chosen by the seed."""
    key = Key(session.config.seed).fold_in(_SAMPLES)
    for number, ids in enumerate(_prompts(session.heldout, key)):
        print(f"\n--- held-out prompt {number + 1}, continued after the arrow ---")
        print(session.tokenizer.decode(ids), end=" -> ", flush=True)
        for piece in generate(session.model, session.tokenizer, ids, sampling=_SAMPLING, seed=number):
            print(piece, end="", flush=True)
        print(flush=True)
    print()


def _prompts(heldout: TokenData, key: Key) -> Iterator[list[int]]:
    """The first tokens of documents that have enough of them; else of random places."""
    starts = heldout.shards.document_starts
    long_enough = np.flatnonzero(np.diff(starts) > 2 * _PROMPT_TOKENS)
    if len(long_enough) >= _NUM_SAMPLES:
        places = starts[long_enough[key.permutation(len(long_enough))[:_NUM_SAMPLES]]]
    else:
        length = min(_PROMPT_TOKENS, heldout.num_tokens)
        places = key.integers(0, heldout.num_tokens - length + 1, (_NUM_SAMPLES,))
    for place in places:
        end = min(int(place) + _PROMPT_TOKENS, heldout.num_tokens)
        yield heldout.shards.tokens(np.arange(int(place), end)).tolist()
