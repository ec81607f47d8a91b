"""Raw text -> token ids -> batches."""

from gpt.data.batches import IGNORED_TARGET, EvalBatch, TokenData
from gpt.data.shards import write_shards

__all__ = ["IGNORED_TARGET", "EvalBatch", "TokenData", "write_shards"]
