"""One update of the parameters: forward, backward, optimizer.

`train_step` does all of it from arrays on the CPU and returns two numbers. A run does the same in
two halves, so that nothing waits for the device:

    host_batch    on the CPU, in the loader's thread: everything that depends on the ids' values
    run_step      on the device: launches the update, and returns numbers that are still on the device
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt.data import IGNORED_TARGET
from gpt.errors import UserError
from gpt.model import GPT
from gpt.model.embedding import check_ids
from gpt.optim import AdamW, rates
from tensorgrad import Key
from tensorgrad.array import Array, device_of, module_of, to_device, to_numpy
from tensorgrad.random import RowKeys
from tensorgrad.sorted_ids import SortedIds

__all__ = ["Batch", "host_batch", "run_step", "train_step"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The inputs of one update, on the model's device."""

    ids_BT: Array
    targets_BT: Array
    order_BT: Array  # for each micro-batch, the stable argsort of its ids
    num_targets: Array  # float64, 0-d: how many targets are scored
    rates_3: Array  # float64: see `gpt.optim.rates`
    keys_B2: Array | None = None  # uint64: seed and stream of each sequence's dropout key; None: no dropout


def host_batch(
    ids_BT: Array,
    targets_BT: Array,
    rates_3: Array,
    *,
    vocab_size: int,
    micro_batch_size: int,
    keys: Sequence[Key] = (),
) -> dict[str, Array]:
    """The fields of a `Batch`, by name, as arrays on the CPU. Sorts the ids for the embedding's gradient.

    Args:    keys: one dropout key per sequence; empty: no dropout.
    Raises:  UserError: no scored target, or an id outside the vocabulary.
    """
    num_targets = np.count_nonzero(targets_BT != IGNORED_TARGET)
    if not num_targets:
        raise UserError("train_step: expected at least one target, got a batch without any: leave it out")
    check_ids(ids_BT, vocab_size)
    order_BT = np.empty(ids_BT.shape, np.int64)
    for start in range(0, len(ids_BT), micro_batch_size):
        rows = slice(start, start + micro_batch_size)
        order_BT[rows] = SortedIds.of(ids_BT[rows]).order_N.reshape(order_BT[rows].shape)
    values = {
        "ids_BT": ids_BT,
        "targets_BT": targets_BT,
        "order_BT": order_BT,
        "num_targets": np.array(num_targets, np.float64),
        "rates_3": rates_3,
    }
    return {**values, "keys_B2": RowKeys(tuple(keys)).pairs_on("cpu")} if keys else values


def run_step(model: GPT, optimizer: AdamW, batch: Batch, *, micro_batch_size: int, is_recomputed: bool) -> Array:
    """One update along the gradient of the mean loss over all scored targets. Reads nothing from the device.

    The gradient does not depend on `micro_batch_size`: each micro-batch adds the gradient of its
    summed loss, divided by the number of targets of the whole batch.

    Returns: (3,) float64 on the device: the mean loss in nats per token, the gradient's global norm
             before clipping, and the loss scale of this step.
    """
    report_3 = module_of(batch.rates_3).zeros(3, np.float64)
    mean_loss, gradient_norm, loss_scale = (report_3[i, ...] for i in range(3))
    loss_scale[...] = optimizer.loss_scale
    optimizer.zero_gradients()
    # With loss scaling an overflow is expected: it shows that the scale is too large.
    quiet: dict[str, Any] = {} if optimizer.scale_state_2 is None else {"over": "ignore", "invalid": "ignore"}
    with optimizer.rounding(model.compute_dtype):
        for start in range(0, len(batch.ids_BT), micro_batch_size):
            rows = slice(start, start + micro_batch_size)
            ids = SortedIds(batch.ids_BT[rows], batch.order_BT[rows].reshape(-1))
            key = None if batch.keys_B2 is None else RowKeys.of(batch.keys_B2[rows])
            loss = model.loss(ids, batch.targets_BT[rows], key=key, reduction="sum", recompute=is_recomputed)
            with np.errstate(**quiet):
                loss.backward((loss_scale / batch.num_targets).astype(loss.dtype))
            mean_loss += loss.array
    mean_loss /= batch.num_targets
    gradient_norm[...] = optimizer.update(batch.rates_3)
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
    """One update from arrays on the CPU; waits for its numbers.

    Args:
        targets_BT: the ids one token later, IGNORED_TARGET at positions that are not scored. The
            loss is the mean over the scored targets, so documents of unequal length weigh by their tokens.
        micro_batch_size: sequences in memory at once; the last micro-batch may be smaller.
        number: the update's number, from 1.
        keys: one dropout key per sequence; empty: no dropout.
        is_recomputed: compute each block again in backward, for less memory.
    Returns: the mean loss in nats per token, and the gradient's global norm before clipping.
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
