"""The whole model: ids -> vectors -> blocks -> logits -> loss.

    model = GPT.init(config, Key(0))
    logits_BTV = model(ids_BT)
    model.loss(ids_BT, targets_BT).backward()

A model is a frozen tree of dataclasses whose Tensors are its parameters; `tensorgrad.tree` lists and
replaces them. There is no registration and no train or eval mode: dropout happens only in calls that
are given a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import tensorgrad
from gpt.config import ModelConfig
from gpt.errors import UserError
from gpt.model.block import Block
from gpt.model.cache import KVCache, LayerCache
from gpt.model.dropout import Dropout
from gpt.model.embedding import Embedding, check_ids
from gpt.model.initializer import Initializer
from gpt.model.linear import Linear, cast
from gpt.model.norm import Norm, init_norm
from gpt.model.positions import Positions, Rotation, rope_tables
from gpt.model.precision import Precision
from tensorgrad import Key, Tensor
from tensorgrad.array import Array, is_array, to_device
from tensorgrad.dtype import DType, as_dtype
from tensorgrad.random import RowKeys
from tensorgrad.sorted_ids import SortedIds, ids_of
from tensorgrad.tree import map_tensors

__all__ = ["GPT"]


@dataclass(frozen=True, slots=True)
class GPT:
    """A decoder-only transformer. The configuration makes it a GPT-2, a Llama, or something between."""

    config: ModelConfig
    precision: Precision
    embedding: Embedding
    blocks: tuple[Block, ...]
    norm: Norm
    head: Linear  # (V, C); if tied, its weight is the Tensor embedding.tokens itself

    @classmethod
    def init(cls, config: ModelConfig, key: Key, *, dtype: str | Precision = "float32") -> GPT:
        """A new model, initialised as GPT-2 is. Each parameter depends on the key and its own place alone."""
        return cls._make(config, key, Precision.of(dtype))

    @classmethod
    def zeros(cls, config: ModelConfig, *, dtype: str | Precision = "float32") -> GPT:
        """A model of zeros, to be filled from a file."""
        return cls._make(config, None, Precision.of(dtype))

    @classmethod
    def _make(cls, config: ModelConfig, key: Key | None, precision: Precision) -> GPT:
        vocab_size = config.known_vocab_size  # checked before anything is made
        make = Initializer(key, precision.parameter, precision.product)
        embedding = Embedding.init(config, make.at(0))
        head = (
            Linear(embedding.tokens, None, precision.product)
            if config.is_head_tied
            else Linear.init(config.model_dim, vocab_size, make.at(1), has_bias=False)
        )
        blocks = tuple(Block.init(config, make.at(2).at(layer)) for layer in range(config.num_layers))
        return cls(config, precision, embedding, blocks, init_norm(config, make), head)

    def to(self, device: str) -> GPT:
        """The model with its parameters on `device`; the model itself if they are there already."""
        if self.device == device:
            return self
        return map_tensors(lambda x: tensorgrad.tensor(x.array, device=device, requires_grad=x.requires_grad), self)

    @property
    def device(self) -> str:
        """Where the parameters are: cpu, or cuda:N."""
        return self.embedding.tokens.device

    @property
    def compute_dtype(self) -> DType:
        """The dtype of the activations."""
        return as_dtype(self.precision.compute or self.embedding.tokens.dtype)

    def empty_cache(self, batch_size: int = 1) -> KVCache:
        """A cache for `model(ids, cache=cache)`: room for `batch_size` sequences of context_length tokens."""
        return KVCache.empty(self.config, batch_size, self.compute_dtype.name, self.device)

    def __call__(
        self, ids_BT: Any, *, key: Key | RowKeys | None = None, cache: KVCache | None = None, recompute: bool = False
    ) -> Tensor:
        """Logits (B, T, V): at each token, for the token that comes next. Arguments as for `hidden`."""
        hidden_BTC = self.hidden(ids_BT, key=key, cache=cache, recompute=recompute)
        if cache is None:
            return self.logits(hidden_BTC)
        with tensorgrad.no_grad():
            return self.logits(hidden_BTC)

    def loss(
        self,
        ids_BT: Any,
        targets_BT: Any,
        *,
        key: Key | RowKeys | None = None,
        reduction: str = "mean",
        recompute: bool = False,
    ) -> Tensor:
        """Cross-entropy in nats. `targets_BT` are the ids one token later; targets of -100 are not scored.

        Args:
            reduction: "mean" over the scored targets, or "sum". To accumulate the gradient of a mean
                over micro-batches, divide each sum by the number of scored targets in all of them.
            key, recompute: as for `hidden`.
        """
        hidden_BTC = self.hidden(ids_BT, key=key, recompute=recompute)
        targets = targets_BT.array if isinstance(targets_BT, Tensor) else targets_BT
        targets = to_device(targets if is_array(targets) else np.asarray(targets), hidden_BTC.device)
        if self.config.logit_soft_cap:
            return tensorgrad.cross_entropy(self.logits(hidden_BTC), targets, reduction=reduction)
        return self.head.cross_entropy(hidden_BTC, targets, reduction=reduction)

    def hidden(
        self, ids_BT: Any, *, key: Key | RowKeys | None = None, cache: KVCache | None = None, recompute: bool = False
    ) -> Tensor:
        """The head's input, (B, T, C): embedding, blocks, final norm.

        Args:
            ids_BT: integers in 0 .. V - 1, as an array, nested lists, a Tensor or SortedIds; T is at
                most context_length. The values of an array on a GPU are not checked: that would wait.
            key: for dropout at the configuration's rate; None: no dropout. With RowKeys, one key per
                sequence, a sequence's masks do not depend on the batch that it is in.
            cache: the ids continue the sequences in it, and are added to it; nothing is recorded.
            recompute: keep only each block's input for backward, and compute the block again there.
        Raises: UserError: ids of another kind, shape or range, more than fit, or a cache of another batch.
        """
        ids = self._checked(ids_BT)
        if cache is None:
            return self._hidden(ids, slice(0, ids.shape[1]), None, None, self._dropout(key), recompute)
        if key is not None or recompute:
            raise UserError("cache: expected neither dropout nor recomputation with it, got one: they are for training")
        layers = cache.begin(*ids.shape)
        num_before = self.config.ngram_length - 1
        before_BN = to_device(cache.last_ids(num_before), self.device) if num_before else None
        with tensorgrad.no_grad():
            out_BTC = self._hidden(ids, layers[0].positions, before_BN, layers, None, False)
        cache.advance(ids_of(ids))
        return out_BTC

    def logits(self, hidden_BTC: Tensor) -> Tensor:
        """The head: (B, T, V)."""
        logits_BTV = self.head(hidden_BTC)
        cap = self.config.logit_soft_cap
        return tensorgrad.tanh(logits_BTV / cap) * cap if cap else logits_BTV

    def _hidden(
        self,
        ids_BT: Array | SortedIds,
        positions: Positions,
        before_BN: Array | None,
        cache: list[LayerCache] | None,
        dropout: Dropout | None,
        recompute: bool,
    ) -> Tensor:
        x_BTC = cast(self.embedding(ids_BT, positions, before_BN), self.compute_dtype)
        x_BTC = x_BTC if dropout is None else dropout.at(0)(x_BTC)
        rotation = self._rotation(positions, x_BTC)
        for layer, block in enumerate(self.blocks):
            run = tensorgrad.recompute(block) if recompute else block
            layer_cache = None if cache is None else cache[layer]
            x_BTC = run(x_BTC, rotation, layer_cache, None if dropout is None else dropout.at(1 + layer))
        return self.norm(x_BTC)

    def _rotation(self, positions: Positions, x_BTC: Tensor) -> Rotation | None:
        config = self.config
        if config.positions != "rope":
            return None
        cos, sin = rope_tables(
            config.context_length, config.head_dim, config.rope_theta, x_BTC.dtype.name, x_BTC.device
        )
        return cos[positions], sin[positions]

    def _dropout(self, key: Key | RowKeys | None) -> Dropout | None:
        rate = self.config.dropout
        return Dropout(rate, key) if key is not None and rate else None

    def _checked(self, ids_BT: Any) -> Array | SortedIds:
        """The ids on the model's device, after every check that can be made without waiting for a GPU."""
        if isinstance(ids_BT, SortedIds):
            self._checked(ids_BT.ids)
            return ids_BT.to(self.device)
        ids = ids_BT.array if isinstance(ids_BT, Tensor) else ids_BT
        try:
            ids = ids if is_array(ids) else np.asarray(ids)
        except ValueError:
            raise UserError("ids: expected rows of one length, got different ones: cut or pad them") from None
        if ids.dtype.kind not in "iu" or ids.ndim != 2 or not ids.size:
            raise UserError(
                f"ids: expected integers of shape (B, T), got {ids.dtype} of shape {ids.shape}: reshape or convert"
            )
        if ids.shape[1] > self.config.context_length:
            raise UserError(
                f"ids: expected at most {self.config.context_length} tokens (the context length), "
                f"got {ids.shape[1]}: cut them"
            )
        if isinstance(ids, np.ndarray):
            check_ids(ids, self.config.vocab_size)
        return to_device(ids, self.device)
