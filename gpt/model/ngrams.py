"""N-grams -> rows of a table, by a hash: there are too many n-grams to give each its own row.

Source: Pagnoni et al., "Byte latent transformer", 2024 (arXiv:2412.09871), section 3.2.1.
"""

from __future__ import annotations

from tensorgrad.array import Array, module_of

__all__ = ["ngram_rows"]

_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd: spreads consecutive numbers evenly (Knuth, 6.4)


def ngram_rows(ids_BT: Array, before_BN: Array | None, length: int, num_rows: int) -> Array:
    """For each token, the row of the n-gram of `length` tokens that it ends: (B, T), in 0 .. num_rows - 1.

    Args:    before_BN: the ids before ids_BT, N >= length - 1, with -1 where a text has none;
             None: every text begins with ids_BT.
    """
    xp = module_of(ids_BT)
    batch, time = ids_BT.shape
    lead = length - 1
    padded = xp.zeros((batch, lead + time), "uint64")  # 0: before the text
    padded[:, lead:] = ids_BT + 1
    if before_BN is not None and lead:
        padded[:, :lead] = before_BN[:, -lead:] + 1
    code_BT = padded[:, :time]
    for offset in range(1, length):
        code_BT = (code_BT * xp.uint64(_MULTIPLIER)) ^ padded[:, offset : offset + time]
    code_BT = code_BT * xp.uint64(_MULTIPLIER)
    rows_BT: Array = (code_BT >> xp.uint64(32)) % xp.uint64(num_rows)  # the upper bits mix all lower ones
    return rows_BT.astype("int64")
