"""The keys and values of all tokens so far, so that a new token costs the work of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpt.config import ModelConfig
from gpt.errors import UserError
from gpt.model.positions import Positions
from tensorgrad import Tensor, zeros
from tensorgrad.array import Array, device_of, module_of, to_device, to_numpy

__all__ = ["KVCache", "LayerCache"]


@dataclass(frozen=True, slots=True)
class LayerCache:
    """One layer's part of a cache, ready for the keys and values of new tokens at `positions`."""

    keys_BKSD: Array
    values_BKSD: Array
    positions: Positions
    length: int  # S: keys of the longest sequence, the new ones included
    mask: Array | None  # keys that each new token may see; None: all, or as `is_causal` says
    is_causal: bool

    def append(self, k_BKTD: Tensor, v_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values at their positions. Returns all keys and all values, (B, K, S, D)."""
        for buffer_BKSD, new_BKTD in ((self.keys_BKSD, k_BKTD.array), (self.values_BKSD, v_BKTD.array)):
            if isinstance(self.positions, slice):
                buffer_BKSD[:, :, self.positions] = new_BKTD
            else:
                rows_B1 = module_of(buffer_BKSD).arange(len(buffer_BKSD))[:, None]
                buffer_BKSD[rows_B1, :, self.positions] = new_BKTD.transpose(0, 2, 1, 3)
        return Tensor(self.keys_BKSD[:, :, : self.length]), Tensor(self.values_BKSD[:, :, : self.length])


@dataclass(frozen=True, slots=True)
class KVCache:
    """Buffers for B sequences of up to `context_length` tokens. The sequences may differ in length."""

    keys: tuple[Array, ...]  # per layer (B, K, context_length, D)
    values: tuple[Array, ...]
    ids_BS: NDArray[np.int64]  # the tokens, if the model has n-grams; else (B, 0)
    lengths_B: NDArray[np.int64]  # tokens in each sequence

    @classmethod
    def empty(cls, config: ModelConfig, batch_size: int, dtype: str, device: str = "cpu") -> KVCache:
        shape = (batch_size, config.kv_heads, config.context_length, config.head_dim)
        layers = range(config.num_layers)
        return cls(
            keys=tuple(zeros(shape, dtype=dtype, device=device).array for _ in layers),
            values=tuple(zeros(shape, dtype=dtype, device=device).array for _ in layers),
            ids_BS=np.zeros((batch_size, config.context_length if config.ngram_length > 1 else 0), np.int64),
            lengths_B=np.zeros(batch_size, np.int64),
        )

    def row(self, index: int) -> KVCache:
        """One sequence's part, as a view: tokens added to it are added to this cache."""
        return self._rows(slice(index, index + 1))

    def select(self, rows: list[int]) -> KVCache:
        """A copy of these sequences."""
        return self._rows(rows)

    def _rows(self, rows: slice | list[int]) -> KVCache:
        index = self._index(rows)
        keys, values = (tuple(buffer[index] for buffer in buffers) for buffers in (self.keys, self.values))
        return KVCache(keys, values, self.ids_BS[rows], self.lengths_B[rows])

    def _index(self, rows: slice | list[int]) -> Any:
        """The rows as an index of the buffers, on their device."""
        return rows if isinstance(rows, slice) else to_device(np.array(rows, np.int64), device_of(self.keys[0]))

    def put(self, rows: list[int], part: KVCache) -> None:
        """Write the sequences of `part`, which `select(rows)` made, back into these rows."""
        index = self._index(rows)
        for mine, theirs in zip((*self.keys, *self.values), (*part.keys, *part.values), strict=True):
            mine[index] = theirs
        self.ids_BS[rows] = part.ids_BS
        self.lengths_B[rows] = part.lengths_B

    def begin(self, batch_size: int, num_new: int) -> list[LayerCache]:
        """The layers' parts, ready for `num_new` more tokens of each sequence. UserError if they do not fit."""
        capacity = self.keys[0].shape[2]
        if batch_size != len(self.lengths_B):
            raise UserError(
                f"cache: expected ids of {len(self.lengths_B)} sequences, got {batch_size}: make a new cache"
            )
        length = int(self.lengths_B.max()) + num_new
        if length > capacity:
            raise UserError(
                f"cache: expected at most {capacity} tokens (the context length), got {length}: "
                "start a new cache with the last tokens"
            )
        positions: Positions = slice(length - num_new, length)
        mask: Array | None = None
        if (self.lengths_B != self.lengths_B[0]).any():
            positions = positions_BT = self.lengths_B[:, None] + np.arange(num_new)
            mask = np.arange(length) <= positions_BT[:, None, :, None]
        elif 1 < num_new < length:
            mask = np.arange(length) <= np.arange(length - num_new, length)[None, None, :, None]
        is_causal = mask is None and num_new == length
        device = device_of(self.keys[0])
        mask = mask if mask is None else to_device(mask, device)
        positions = positions if isinstance(positions, slice) else to_device(positions, device)
        return [
            LayerCache(keys, values, positions, length, mask, is_causal)
            for keys, values in zip(self.keys, self.values, strict=True)
        ]

    def last_ids(self, count: int) -> NDArray[np.int64]:
        """The last `count` tokens of each sequence, (B, count), -1 before its first."""
        places_BN = self.lengths_B[:, None] + np.arange(-count, 0)
        return np.where(places_BN < 0, -1, np.take_along_axis(self.ids_BS, np.maximum(places_BN, 0), axis=1))

    def advance(self, ids_BT: Array) -> None:
        """Count the new tokens, after every layer has appended their keys and values."""
        num_new = ids_BT.shape[1]
        if self.ids_BS.size:
            np.put_along_axis(self.ids_BS, self.lengths_B[:, None] + np.arange(num_new), to_numpy(ids_BT), axis=1)
        self.lengths_B[:] += num_new
