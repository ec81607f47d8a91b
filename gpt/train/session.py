"""A run in progress: model, optimizer, data and position.

`advance` launches a step without waiting for it, and returns a Reading of the step's numbers. So on a
GPU the host is one step ahead of the device.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt.checkpoint import checkpoint_folder, checkpoints, load, load_training_state, save_checkpoint
from gpt.config import TrainConfig
from gpt.data import TokenData
from gpt.data.loader import AHEAD, Loader
from gpt.data.tokenizer import Tokenizer, load_tokenizer
from gpt.evaluate import Evaluation, evaluate_tokens
from gpt.model import GPT
from gpt.model.precision import Precision
from gpt.optim import AdamW, make_optimizer, rates
from gpt.optim.schedule import learning_rate
from gpt.train.cuda_graph import GraphStep
from gpt.train.metrics import Record
from gpt.train.step import Batch, host_batch, run_step
from gpt.train.transfer import Download, Transfer, Upload
from tensorgrad import Key
from tensorgrad.array import Array, to_device

__all__ = ["NUM_UPLOADS", "SAMPLES", "Reading", "Session", "batch_of_step"]

# A run has one seed. Each use of it has its own key.
_INITIALISATION, _DATA, _DROPOUT, SAMPLES = range(4)

NUM_UPLOADS = AHEAD + 1  # the ones made ahead, and the one in use


@dataclass(frozen=True, slots=True)
class Reading:
    """The numbers of one update. On a GPU, `read` waits for the step to end."""

    step: int  # updates so far, with this one
    learning_rate: float
    download: Download

    def read(self) -> tuple[float, float, float]:
        """The mean loss, the gradient's norm before clipping, and the loss scale."""
        loss, norm, scale = self.download.read().tolist()
        return loss, norm, scale


@dataclass(slots=True)
class Session:
    """A run between its steps. Enter `loader` before the first `advance`."""

    config: TrainConfig
    run_dir: Path
    model: GPT
    tokenizer: Tokenizer
    optimizer: AdamW
    heldout: TokenData
    transfer: Transfer
    loader: Loader[Upload]
    step: int  # updates launched
    elapsed_s: float  # training time, without interruptions
    graph_step: GraphStep | None = None  # launches the step as a CUDA graph; None: kernel by kernel

    @classmethod
    def open(cls, config: TrainConfig, run_dir: Path, checkpoint: Path | None, transfer: Transfer) -> Session:
        """The run at a checkpoint; None: before the first step."""
        tokenizer = load_tokenizer(run_dir / "data")
        precision = Precision.of(config.precision, config.device)
        if checkpoint is None:
            model = GPT.init(config.model, Key(config.seed).fold_in(_INITIALISATION), dtype=precision)
            state = None
        else:
            model = load(checkpoint, dtype=precision).model
            state = load_training_state(checkpoint)
        model = model.to(config.device)
        optimizer = make_optimizer(model, config.optim, is_loss_scaled=precision.is_loss_scaled)
        if state is not None:
            optimizer.load_state(state.arrays)
        data = TokenData.open(run_dir / "data", "train", tokenizer)
        step = 0 if state is None else int(state.values["step"])

        def make(step: int) -> Upload:
            return transfer.upload(batch_of_step(config, data, step))

        session = cls(
            config=config,
            run_dir=run_dir,
            model=model,
            tokenizer=tokenizer,
            optimizer=optimizer,
            heldout=TokenData.open(run_dir / "data", "heldout", tokenizer),
            transfer=transfer,
            loader=Loader(make, range(step, config.steps)),
            step=step,
            elapsed_s=0.0 if state is None else float(state.values["elapsed_s"]),
        )
        if config.cuda_graph:
            session.graph_step = GraphStep(session._run_step)
        return session

    def advance(self) -> Reading:
        """Launch the next update."""
        upload = self.loader.next()
        upload.wait()
        if self.graph_step is None:
            report_3 = self._run_step(upload.arrays)
        else:
            self.optimizer.refresh_copy(self.model.compute_dtype)  # a replayed graph does not check whether it must
            report_3 = self.graph_step(upload.arrays)
            self.optimizer.note_update()
        upload.release()
        rate = learning_rate(self.config.optim, self.step, self.config.steps)
        self.step += 1
        return Reading(self.step, rate, self.transfer.download(report_3))

    def try_out(self) -> None:
        """Run forward and backward on one micro-batch of the run's shape, and discard the result.

        This compiles kernels and chooses providers, so that an error comes before the first step.
        """
        shape = (self.config.micro_batch, self.config.model.context_length)
        ids_BT = to_device(np.zeros(shape, np.int64), self.config.device)
        dropout_key = Key(0) if self.config.model.dropout else None
        self.model.loss(ids_BT, ids_BT, key=dropout_key, recompute=self.config.recompute).backward()
        self.optimizer.zero_gradients()

    def _run_step(self, arrays: Mapping[str, Array]) -> Array:
        return run_step(
            self.model,
            self.optimizer,
            Batch(**arrays),
            micro_batch_size=self.config.micro_batch,
            is_recomputed=self.config.recompute,
        )

    def evaluate(self, max_batches: int | None) -> tuple[Evaluation, Record]:
        """Evaluate the first `max_batches` of the held-out text (None: all). Also returns the line for the metrics.

        A batch has `batch_size` sequences, of which `micro_batch` are in memory at once, as in training.
        """
        size = self.config.micro_batch
        num_parts = None if max_batches is None else max_batches * (self.config.batch_size // size)
        result = evaluate_tokens(self.model, self.heldout, size, max_batches=num_parts)
        record: Record = {
            "step": self.step,
            "heldout_loss": result.loss,
            "perplexity": result.perplexity,
            "bits_per_byte": result.bits_per_byte,
            "elapsed_s": self.elapsed_s,
        }
        return result, record

    def save(self) -> None:
        """Write a checkpoint, then remove the oldest ones beyond `keep_checkpoints`."""
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


def batch_of_step(config: TrainConfig, data: TokenData, step: int) -> dict[str, Array]:
    """The arrays of step number `step`, from 0, with its dropout keys: a function of (seed, step) alone."""
    seed = Key(config.seed)
    ids_BT, targets_BT = data.batch(seed.fold_in(_DATA), step, config.batch_size, config.model.context_length)
    step_key = seed.fold_in(_DROPOUT).fold_in(step)
    return host_batch(
        ids_BT,
        targets_BT,
        rates(config.optim, learning_rate(config.optim, step, config.steps), step + 1),
        vocab_size=config.model.vocab_size,
        micro_batch_size=config.micro_batch,
        keys=[step_key.fold_in(sample) for sample in range(config.batch_size)] if config.model.dropout else (),
    )
