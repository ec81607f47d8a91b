"""Random numbers as pure functions of a key: no global state, no order of calls.

A `Key` names one infinite stream of 64-bit words, the counter-based generator Philox4x64-10
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The word at position i is
a function of (key, i) alone, so any part of a stream can be made anywhere, on any device, and
dropout can be replayed by keeping 16 bytes. New streams come from `fold_in`: the key of
(seed, step, sample) is `Key(seed).fold_in(step).fold_in(sample)`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import array as arrays
from tensorgrad import philox
from tensorgrad.arguments import as_integer, as_shape, as_size
from tensorgrad.array import Array
from tensorgrad.dtype import DTypeLike, as_dtype, is_float
from tensorgrad.errors import ArgumentError, DTypeError, ShapeError, shown

__all__ = ["Key", "RowKeys"]

_WORD = 1 << 64
# `fold_in` draws from counters that no stream of values reaches: their top word is all ones.
_FOLD_COUNTER = (_WORD - 1) << 192


@dataclass(frozen=True, slots=True)
class Key:
    """One stream of random numbers. `Key(seed)` for any seed in 0 .. 2**64 - 1.

    The same key gives the same integers and uniforms on every device, and on every run.
    """

    seed: int
    stream: int = 0

    def __post_init__(self) -> None:
        for name, word in (("seed", self.seed), ("stream", self.stream)):
            if isinstance(word, bool) or not isinstance(word, int) or not 0 <= word < _WORD:
                raise ArgumentError(f"Key: expected {name} in 0 .. 2**64 - 1, got {shown(word)}: take it modulo 2**64")

    def fold_in(self, data: int) -> Key:
        """The key of an independent stream, a function of this key and of `data` >= 0 (< 2**64)."""
        return Key(*philox.block(_FOLD_COUNTER + _as_word(data) + 1, self.seed, self.stream)[:2])

    def split(self, count: int = 2) -> tuple[Key, ...]:
        """`count` independent keys: `fold_in(0)`, `fold_in(1)`, ..."""
        return tuple(self.fold_in(i) for i in range(as_size("split", "count", count)))

    def bits(self, count: int, *, start: int = 0) -> Array:
        """The words of the stream at `start`, `start` + 1, ...: `count` of them, uint64, on the CPU."""
        count, start = as_size("bits", "count", count), as_size("bits", "start", start)
        if (xp := arrays.creation_module()) is not np:
            return xp.empty(count, np.uint64)  # type: ignore[no-any-return]
        block, skipped = divmod(start, 4)  # one counter gives four words
        try:
            return self._generator(block).random_raw(skipped + count)[skipped:]  # type: ignore[no-any-return]
        except (MemoryError, ValueError):
            raise ShapeError(f"bits: expected a count that fits into memory, got {count}: draw fewer") from None

    def uniform(
        self, shape: tuple[int, ...] = (), *, start: int = 0, dtype: DTypeLike = "float32", device: str = "cpu"
    ) -> Array:
        """Uniform in [0, 1): the top 24 bits of a 32-bit half-word (float32), or 53 of a word (float64).

        `start` is how many numbers of this dtype come before these in the stream.
        """
        shape, start = as_shape("uniform", shape), as_size("uniform", "start", start)
        if (xp := arrays.module_on(device)) is None:
            return _uniform(lambda count, first: self.bits(count, start=first), math.prod(shape), start, dtype, shape)
        keys_12 = xp.empty((1, 2), np.uint64)  # filled by numbers: nothing is copied
        keys_12[0, 0], keys_12[0, 1] = np.uint64(self.seed), np.uint64(self.stream)
        return arrays.to_device(_uniform_on(xp, keys_12, math.prod(shape), start, dtype).reshape(shape), device)

    def normal(self, shape: tuple[int, ...] = (), *, dtype: DTypeLike = "float32", device: str = "cpu") -> Array:
        """Standard normal, by Box and Muller's transform in float64, rounded once to `dtype`."""
        shape = as_shape("normal", shape)
        if not is_float(as_dtype(dtype)):
            raise DTypeError(f"normal: expected a float dtype, got {as_dtype(dtype)}: use integers for whole numbers")
        size = math.prod(shape)
        pairs = (size + 1) // 2
        uniforms = self.uniform((2, pairs), dtype="float64")
        radius = np.sqrt(-2.0 * np.log1p(-uniforms[0]))
        angle = (2.0 * math.pi) * uniforms[1]
        values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
        return arrays.to_device(values.reshape(shape).astype(as_dtype(dtype)), device)

    def integers(self, low: int, high: int, shape: tuple[int, ...] = ()) -> Array:
        """Uniform int64 in [low, high), on the CPU; the bias is below (high - low) / 2**64."""
        low, high = as_integer("integers", "low", low), as_integer("integers", "high", high)
        shape = as_shape("integers", shape)
        if low >= high:
            raise ArgumentError(f"integers: expected low < high, got [{low}, {high}): exchange them")
        span = np.uint64(high - low)
        return (self.bits(math.prod(shape)) % span).astype(np.int64).reshape(shape) + low

    def permutation(self, count: int) -> Array:
        """A uniformly random order of 0 .. count - 1, int64, on the CPU."""
        return np.argsort(self.bits(count), kind="stable")

    def _generator(self, counter: int) -> Any:
        return np.random.Philox(key=self.seed + (self.stream << 64), counter=counter)


@dataclass(frozen=True, slots=True)
class RowKeys:
    """A key for each row of an array's first axis, used as one `Key` is by random ops.

    A row's numbers then depend on its own key only, not on which rows stand beside it: dropout of a
    sample is the same in every split of its batch.

    The keys are Keys; or a device's array of their seeds and streams, (R, 2) uint64, which kernels read when they run:
    so a step that was recorded as a CUDA graph draws new numbers once other keys are copied there.
    """

    keys: tuple[Key, ...] | Array

    def __post_init__(self) -> None:
        if isinstance(self.keys, tuple):
            is_right = all(isinstance(key, Key) for key in self.keys)
        else:
            is_right = arrays.is_array(self.keys) and not isinstance(self.keys, np.ndarray)
            is_right = is_right and self.keys.dtype == np.uint64 and self.keys.shape[1:] == (2,)
        if not is_right:
            raise DTypeError(f"RowKeys: expected a tuple of Keys, got {shown(self.keys)}: make them with Key.split")

    @classmethod
    def of(cls, pairs_R2: Array) -> RowKeys:
        """Of seeds and streams, (R, 2) uint64, wherever they are."""
        if isinstance(pairs_R2, np.ndarray):
            return cls(tuple(Key(seed, stream) for seed, stream in pairs_R2.tolist()))
        return cls(pairs_R2)

    def pairs_on(self, device: str) -> Array:
        """Seeds and streams, (R, 2) uint64, on a device: copied there, unless they are there already."""
        pairs: Any = self.keys
        if isinstance(pairs, tuple):
            pairs = np.array([(key.seed, key.stream) for key in pairs], np.uint64).reshape(-1, 2)
        return arrays.to_device(pairs, device)

    def rows(self, start: int, stop: int) -> RowKeys:
        """Those of some of the rows."""
        return RowKeys(self.keys[start:stop])

    def fold_in(self, data: int) -> RowKeys:
        """`Key.fold_in` of each."""
        if isinstance(self.keys, tuple):
            return RowKeys(tuple(key.fold_in(data) for key in self.keys))
        return RowKeys(_folded_on(self.keys, _as_word(data)))

    def uniform(
        self, shape: tuple[int, ...], *, start: int = 0, dtype: DTypeLike = "float32", device: str = "cpu"
    ) -> Array:
        """Uniform in [0, 1), each row from number `start` of its stream on; `shape` begins with the number of keys."""
        shape, start = as_shape("uniform", shape), as_size("uniform", "start", start)
        if not shape or shape[0] != len(self.keys):
            raise ShapeError(
                f"uniform: expected a shape of {len(self.keys)} rows, one per key, got {shape}: "
                "let the first axis be the rows"
            )
        if (xp := arrays.module_on(device)) is None:
            keys = RowKeys.of(self.pairs_on("cpu")).keys
            rows = [key.uniform(shape[1:], start=start, dtype=dtype) for key in keys]
            return np.stack(rows) if rows else np.empty(shape, as_dtype(dtype))
        return _uniform_on(xp, self.pairs_on(device), math.prod(shape[1:]), start, dtype).reshape(shape)


def _as_word(data: Any) -> int:
    """What is folded into a key. Raises ArgumentError."""
    try:
        word = operator.index(data)  # an element of an integer array as well
    except TypeError:
        word = -1
    if not 0 <= word < _WORD:
        raise ArgumentError(f"fold_in: expected an integer in 0 .. 2**64 - 1, got {shown(data)}: take it modulo 2**64")
    return word


def _uniform(
    words: Callable[[int, int], Array], size: int, start: int, dtype: DTypeLike, shape: tuple[int, ...]
) -> Array:
    """Numbers in [0, 1) of the `words` of a stream, or of several, (..., count); `size` of each, all in `shape`."""
    if as_dtype(dtype) == np.float64:
        return ((words(size, start) >> np.uint64(11)) * 2.0**-53).reshape(shape)
    if as_dtype(dtype) == np.float32:
        word, skipped = divmod(start, 2)
        halves = words((skipped + size + 1) // 2, word).view(np.uint32)[..., skipped : skipped + size]
        return ((halves >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)
    raise DTypeError(
        f"uniform: expected dtype float32 or float64, got {as_dtype(dtype)}: convert the numbers afterwards"
    )


def _folded_on(keys_R2: Array, data: int) -> Array:
    """`Key.fold_in` of keys on a device, there."""
    from tensorgrad.kernels import cuda_kernels, reference  # which need keys

    if cuda_kernels() is reference:
        return philox.folded(arrays.module_of(keys_R2), keys_R2, data)
    from tensorgrad.kernels.cuda.random import fold_in

    return fold_in(keys_R2, data)


def _uniform_on(xp: Any, keys_R2: Array, count: int, start: int, dtype: DTypeLike) -> Array:
    """Of each key, its seed and stream, the numbers from `start` on, (R, count), made on the keys' device."""
    from tensorgrad.kernels import cuda_kernels, reference  # which need keys

    if cuda_kernels() is not reference and as_dtype(dtype) in (np.float32, np.float64):
        from tensorgrad.kernels.cuda.random import uniform

        return uniform(keys_R2, count, start, as_dtype(dtype))

    def words(count: int, first: int) -> Array:
        block, skipped = divmod(first, 4)
        made = philox.words(xp, keys_R2[:, :1], keys_R2[:, 1:], block, -(-(skipped + count) // 4))
        return xp.ascontiguousarray(made[:, skipped : skipped + count])  # type: ignore[no-any-return]

    return _uniform(words, count, start, dtype, (keys_R2.shape[0], count))
