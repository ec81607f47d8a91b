"""Training: from text and a configuration to a run folder.

    run/config.toml        the configuration, complete
    run/data/              tokenizer.json, and the token shards train and heldout
    run/metrics.jsonl      losses, learning rate, speed
    run/loss.png           a plot of the losses
    run/checkpoints/step-00001000/

Step n depends only on (seed, n) and on the parameters and moments before it: batches, learning rate
and dropout have no state. So a resumed run continues exactly as if it had never stopped, and the same
command gives the same weights; with `unordered`, only up to the rounding of attention's gradients.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gpt.checkpoint import checkpoints, load_training_state
from gpt.config import TokenizerConfig, TrainConfig
from gpt.config_file import from_toml, to_toml
from gpt.data import TokenData, write_shards
from gpt.data.corpus import Corpus, read_corpus, split_documents
from gpt.data.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer, train_bpe
from gpt.errors import UserError
from gpt.evaluate import Evaluation
from gpt.generate import Sampling, generate
from gpt.model import GPT
from gpt.model.precision import Precision
from gpt.train.interrupt import stop_signals
from gpt.train.lock import locked, preparation_folder
from gpt.train.metrics import MetricsLog, Record, SpeedMeter, read_metrics, truncate_after
from gpt.train.report import ProgressLine, loss_plot, run_summary
from gpt.train.session import NUM_UPLOADS, SAMPLES, Reading, Session
from gpt.train.transfer import transfer_to
from tensorgrad import Key, allow_unordered, threads
from tensorgrad.array import to_device
from tensorgrad.kernels import implementations
from tensorgrad.kernels.providers import requiring_fast

__all__ = ["Run", "resume", "train"]

_NUM_SAMPLES = 3
_PROMPT_TOKENS = 32
_SAMPLING = Sampling(max_tokens=120, temperature=0.8, top_p=0.95)
_MAX_BAD_STEPS = 10  # steps in a row without a finite gradient that end a run


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: the trained model, and its evaluation on all held-out text."""

    run_dir: Path
    config: TrainConfig
    model: GPT
    tokenizer: Tokenizer
    evaluation: Evaluation


def train(config: TrainConfig, paths: Sequence[str], run_dir: Path) -> Run:
    """Train a model on the text in `paths` (none: the docs in this Python installation).

    Args:    run_dir: a new or empty folder. It appears when the text is tokenised and all is ready.
    Raises:  UserError: wrong text or configuration, or a run_dir that is in use or cannot be made. It
             leaves nothing behind.
    """
    place = run_dir.resolve()  # through links
    if place == Path.cwd() or (run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir()))):
        raise UserError(f"run folder: expected a new or empty folder, got {run_dir}: name another, or --resume it")
    _check_machine(config)
    config = replace(config, data=replace(config.data, paths=tuple(paths)))
    temporary = preparation_folder(place)
    new_parents = [folder for folder in place.parents if not folder.exists()]
    try:
        temporary.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"run folder: expected a place for a new folder, got {run_dir}: {error.strerror}: name another"
        ) from None
    with locked(temporary):  # also after it is renamed to the run's folder
        try:
            corpus = read_corpus(paths)
            print(corpus.description, flush=True)
            shutil.rmtree(temporary / "data", ignore_errors=True)  # left by a run that was killed here
            config = _prepare(config, corpus, temporary)
            if place.exists():
                place.rmdir()
            temporary.rename(place)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            for folder in new_parents:
                with contextlib.suppress(OSError):  # another run is there now
                    folder.rmdir()
            raise
        return _run(config, run_dir, None)


def resume(run_dir: Path) -> Run:
    """Continue an interrupted run from its newest checkpoint, or from the start if it has none."""
    if not (run_dir / "config.toml").is_file() or not (run_dir / "data").is_dir():
        raise UserError(f"resume: expected a run folder (with config.toml and data), got {run_dir}: check the path")
    config = from_toml(run_dir / "config.toml")
    _check_machine(config)
    with locked(run_dir):
        found = checkpoints(run_dir)
        checkpoint = found[-1] if found else None
        if checkpoint is not None and _is_finished(run_dir, checkpoint, config):
            raise UserError(
                f"resume: expected an interrupted run, got {run_dir}, whose {config.steps:,} steps are done: "
                "sample from it, or train a new one"
            )
        return _run(config, run_dir, checkpoint)


def _is_finished(run_dir: Path, checkpoint: Path, config: TrainConfig) -> bool:
    """Whether all steps are done, and the evaluation and the plot that follow them."""
    step, metrics = load_training_state(checkpoint).values["step"], run_dir / "metrics.jsonl"
    records = read_metrics(metrics) if metrics.exists() else []
    is_evaluated = any("heldout_loss" in record and record["step"] == step for record in records)
    return step >= config.steps and is_evaluated and (run_dir / "loss.png").exists()


# --- before the first step ---------------------------------------------------------------------


def _check_machine(config: TrainConfig) -> None:
    """Raise UserError or DeviceError for a precision or device that this machine lacks, before any work."""
    Precision.of(config.precision, config.device)
    to_device(np.zeros(1), config.device)


def _prepare(config: TrainConfig, corpus: Corpus, folder: Path) -> TrainConfig:
    """Split and tokenise the corpus into `folder`. Returns the configuration with `vocab_size` filled in."""
    split = split_documents(corpus, config.data.holdout)
    print(f"held out: {split.rule}", flush=True)
    # Characters that only the held-out text has need ids too: as nanoGPT, take them from all of the text.
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
    data.windows_per_epoch(config.model.context_length)  # raises for a text shorter than one context
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


def _run(config: TrainConfig, run_dir: Path, checkpoint: Path | None) -> Run:
    """Train from the checkpoint (None: from the start) to the last step, then report and sample."""
    fast = requiring_fast() if config.require_fast else contextlib.nullcontext()
    unordered = allow_unordered() if config.unordered else contextlib.nullcontext()
    with threads(config.threads or None), transfer_to(config.device, num_slots=NUM_UPLOADS) as transfer:
        with fast, unordered:  # only for training, not for the samples
            session = Session.open(config, run_dir, checkpoint, transfer)
            if config.device != "cpu":
                session.try_out()
            evaluation = _run_steps(session)
        loss_plot(run_dir / "metrics.jsonl", run_dir / "loss.png")
        _print_samples(session)
    records = read_metrics(run_dir / "metrics.jsonl")
    print(run_summary(records, num_parameters=config.model.num_parameters, run_dir=run_dir), flush=True)
    return Run(run_dir, config, session.model, session.tokenizer, evaluation)


def _run_steps(session: Session) -> Evaluation:
    """Do all remaining steps, with metrics, evaluations and checkpoints when they are due."""
    config, metrics_path = session.config, session.run_dir / "metrics.jsonl"
    truncate_after(metrics_path, session.step)
    with (
        stop_signals() as stop,
        MetricsLog(metrics_path) as log,
        ProgressLine(config.steps) as progress,
        session.loader,
    ):
        progress.message(f"model: {config.model.num_parameters:,} parameters; run folder: {session.run_dir}")
        if config.device == "cpu":
            progress.message(implementations())
        if config.unordered:
            progress.message(
                "unordered: cuDNN sums attention's gradients in any order, so runs differ in the last bits"
            )
        watch = _Watch(session, log, progress)
        while session.step < config.steps:
            started_s = time.perf_counter()
            watch.see(session.advance())
            is_last = session.step == config.steps
            is_evaluated = not is_last and _is_due(session.step, config.eval_interval_steps)
            is_saved = is_last or _is_due(session.step, config.checkpoint_interval_steps)
            is_stopping = stop.is_set()
            # Read the step before while the present one runs, unless all numbers are needed now.
            watch.catch_up(started_s, leave=0 if is_evaluated or is_saved or is_stopping else 1)
            is_out_of_time = 0 < config.time_limit_s <= session.elapsed_s
            if is_out_of_time:
                watch.catch_up(time.perf_counter(), leave=0)
            if is_evaluated:
                _, record = session.evaluate(config.eval_batches or None)
                log.write(record)
                progress.heldout(record)
            if is_saved or is_stopping or is_out_of_time:
                session.save()
            if is_stopping:
                raise KeyboardInterrupt
            if is_out_of_time:
                break
        evaluation, record = session.evaluate(None)
        log.write(record)
        progress.heldout(record)
    return evaluation


class _Watch:
    """Reads each step, one step late: writes metrics, shows progress, and counts gradients that are not finite."""

    def __init__(self, session: Session, log: MetricsLog, progress: ProgressLine) -> None:
        self._session, self._log, self._progress = session, log, progress
        self._unread: deque[Reading] = deque()
        self._losses: list[float] = []  # since the last line of metrics
        self._bad_steps = 0
        self._speed = SpeedMeter()

    def see(self, reading: Reading) -> None:
        """Note a step that was launched."""
        self._unread.append(reading)

    def catch_up(self, started_s: float, *, leave: int) -> None:
        """Read all noted steps but the last `leave`, and count the time since `started_s` as training time.

        Raises:  UserError: too many steps in a row without a finite gradient.
        """
        readings = [self._unread.popleft() for _ in range(len(self._unread) - leave)]
        seen = [(reading, *reading.read()) for reading in readings]
        seconds = time.perf_counter() - started_s
        self._session.elapsed_s += seconds
        if seen:
            self._speed.add_step(len(seen) * self._session.config.tokens_per_step, seconds)
        for step in seen:
            self._look_at(*step)

    def _look_at(self, reading: Reading, loss: float, norm: float, scale: float) -> None:
        config = self._session.config
        if math.isfinite(norm):
            self._bad_steps = 0
        elif scale > 1:  # loss scaling found the factor too large and halved it
            self._progress.message(
                f"step {reading.step:,}: the gradient overflowed; scaled by {scale / 2:,.0f} from now"
            )
        else:
            self._bad_steps += 1
            self._progress.message(f"step {reading.step:,}: the gradient is not finite; the update was skipped")
        if self._bad_steps == _MAX_BAD_STEPS:
            raise UserError(
                f"train: expected finite gradients, got none in {self._bad_steps} steps in a row up to step "
                f"{reading.step}: lower optim.learning_rate, then start again or --resume from a checkpoint"
            )
        self._losses.append(loss)
        record: Record = {
            "step": reading.step,
            "loss": sum(self._losses) / len(self._losses),
            "learning_rate": reading.learning_rate,
            "grad_norm": norm,
            "tokens": reading.step * config.tokens_per_step,
            "tokens_per_s": self._speed.tokens_per_s,
            "elapsed_s": self._session.elapsed_s,
        }
        tokens_left = (config.steps - reading.step) * config.tokens_per_step
        self._progress.update(record, self._speed.time_left_s(tokens_left))
        if reading.step % config.log_interval_steps == 0 or reading.step == config.steps:
            self._log.write(record)
            self._losses.clear()


def _is_due(step: int, interval_steps: int) -> bool:
    return interval_steps > 0 and step % interval_steps == 0


def _print_samples(session: Session) -> None:
    """Print continuations of the beginnings of held-out documents, which the seed chooses."""
    key = Key(session.config.seed).fold_in(SAMPLES)
    for number, ids in enumerate(_prompts(session.heldout, key)):
        print(f"\n--- held-out prompt {number + 1}, continued after the arrow ---")
        print(session.tokenizer.decode(ids), end=" -> ", flush=True)
        for piece in generate(session.model, session.tokenizer, ids, sampling=_SAMPLING, seed=number):
            print(piece, end="", flush=True)
        print(flush=True)
    print()


def _prompts(heldout: TokenData, key: Key) -> Iterator[list[int]]:
    """The first tokens of long documents, or, if there are too few, tokens from random places."""
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
