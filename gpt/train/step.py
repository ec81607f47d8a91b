"""One update: the batch, its gradient, and the optimizer's step, with nothing read back from the device.

    values = host_batch(ids_BT, targets_BT, ...)     on the CPU, for instance by the loader's thread
    batch = Batch(**those values, on the device)
    report_3 = run_step(model, optimizer, batch, ...)  mean loss, gradient norm, loss scale: on the device

`train_step` is all of it in one call, for who wants the numbers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt.data import IGNORED_TARGET
from gpt.errors import UserError
from gpt.model import GPT
from gpt.optim import AdamW, rates
from tensorgrad import Key
from tensorgrad.array import Array, device_of, module_of, to_device, to_numpy
from tensorgrad.random import RowKeys
from tensorgrad.sorted_ids import SortedIds

__all__ = ["Batch", "host_batch", "run_step", "train_step"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one update needs to know, on the model's device."""

    ids_BT: Array
    targets_BT: Array
    order_BT: Array  # in the rows of each micro-batch, the stable argsort of its ids
    numbers_4: Array  # float64: those of `optim.rates`, and how many targets count
    keys_B2: Array | None = None  # uint64: seed and stream of each sequence's key for dropout; None: no dropout


def host_batch(
    ids_BT: Array,
    targets_BT: Array,
    rates_3: Array,
    *,
    vocab_size: int,
    micro_batch_size: int,
    keys: Sequence[Key] = (),
) -> dict[str, Array]:
    """The arrays of a Batch by name, on the CPU: all that depends on what the ids are is done here.

    Args:    keys: for dropout, one per sequence; none: no dropout.
    Raises:  UserError: no target, or an id that the model does not know.
    """
    num_targets = int(np.count_nonzero(targets_BT != IGNORED_TARGET))
    if not num_targets:
        raise UserError("train_step: expected at least one target, got a batch without any")
    if ids_BT.min() < 0 or ids_BT.max() >= vocab_size:
        raise UserError(
            f"ids: expected 0 .. {vocab_size - 1} (the vocabulary), got {ids_BT.min()} .. {ids_BT.max()}: "
            "use the tokenizer that the model was trained with"
        )
    order_BT = np.empty(ids_BT.shape, np.int64)
    for start in range(0, len(ids_BT), micro_batch_size):
        rows = slice(start, start + micro_batch_size)
        order_BT[rows] = SortedIds.of(ids_BT[rows]).order_N.reshape(order_BT[rows].shape)
    values = {
        "ids_BT": ids_BT,
        "targets_BT": targets_BT,
        "order_BT": order_BT,
        "numbers_4": np.append(rates_3, float(num_targets)),
    }
    return {**values, "keys_B2": RowKeys(tuple(keys)).pairs_on("cpu")} if keys else values


def run_step(model: GPT, optimizer: AdamW, batch: Batch, *, micro_batch_size: int, is_recomputed: bool) -> Array:
    """One update by the gradient of the mean loss over all targets of the batch, however it is split.

    Returns: (3,) float64 on the device: the mean loss in nats per token, the gradient's norm before
             clipping, and the loss scale of this step.
    """
    xp = module_of(batch.numbers_4)
    num_targets = batch.numbers_4[3]
    report_3 = xp.zeros(3, np.float64)
    report_3[2] = optimizer.loss_scale
    optimizer.zero_gradients()
    # Where the loss is scaled, an overflow is how it is found that the scale is too large.
    quiet: dict[str, Any] = {} if optimizer.scale_state_2 is None else {"over": "ignore", "invalid": "ignore"}
    with optimizer.rounding(model.compute_dtype):
        for start in range(0, batch.ids_BT.shape[0], micro_batch_size):
            rows = slice(start, start + micro_batch_size)
            ids = SortedIds(batch.ids_BT[rows], batch.order_BT[rows].reshape(-1))
            key = None if batch.keys_B2 is None else RowKeys.of(batch.keys_B2[rows])
            loss = model.loss(ids, batch.targets_BT[rows], key=key, reduction="sum", recompute=is_recomputed)
            with np.errstate(**quiet):
                loss.backward((report_3[2] / num_targets).astype(loss.dtype))
            report_3[0] += loss.array
    report_3[0] /= num_targets
    report_3[1] = optimizer.update(batch.numbers_4[:3])
    return report_3  # type: ignore[no-any-return]


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
    """One update from arrays on the CPU, and its numbers.

    Args:
        targets_BT: IGNORED_TARGET where there is nothing to predict: such positions count nowhere,
            so a batch of documents of unequal length has the same gradient in any split.
        micro_batch_size: sequences in memory at once; the last part may be smaller.
        number: of this update, from 1.
        keys: for dropout, one per sequence; none: no dropout.
    Returns: the mean loss in nats per token, and the gradient's norm before clipping.
    """
    values = host_batch(
        ids_BT,
        targets_BT,
        rates(optimizer.config, learning_rate, number),
        vocab_size=model.config.vocab_size,
        micro_batch_size=micro_batch_size,
        keys=keys,
    )
    device = device_of(optimizer.gradients)
    batch = Batch(**{name: to_device(value, device) for name, value in values.items()})
    report_3 = run_step(model, optimizer, batch, micro_batch_size=micro_batch_size, is_recomputed=is_recomputed)
    loss, norm, _ = to_numpy(report_3).tolist()
    return loss, norm
