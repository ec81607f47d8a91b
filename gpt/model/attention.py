"""The block's first half: causal self-attention.

One product makes queries, keys and values. There may be fewer key-value heads than query heads; each
then serves a group of query heads (Ainslie et al., "GQA", 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorgrad
from gpt.config import ModelConfig
from gpt.model.cache import LayerCache
from gpt.model.dropout import Dropout
from gpt.model.initializer import Initializer, residual_std
from gpt.model.linear import Linear
from gpt.model.positions import Rotation, rotate
from tensorgrad import Tensor

__all__ = ["Attention"]


@dataclass(frozen=True, slots=True)
class Attention:
    """Each token attends to itself and the tokens before it."""

    qkv: Linear  # ((H + 2 K) D, C): the rows of all query heads, then key heads, then value heads
    out: Linear  # (C, H D)
    num_heads: int
    num_kv_heads: int
    has_qk_norm: bool
    norm_eps: float

    @classmethod
    def init(cls, config: ModelConfig, make: Initializer) -> Attention:
        width, heads, kv_heads = config.model_dim, config.num_heads, config.kv_heads
        qkv_width = (heads + 2 * kv_heads) * config.head_dim
        return cls(
            qkv=Linear.init(width, qkv_width, make.at(0), has_bias=config.has_bias),
            out=Linear.init(width, width, make.at(1), has_bias=config.has_bias, std=residual_std(config)),
            num_heads=heads,
            num_kv_heads=kv_heads,
            has_qk_norm=config.qk_norm,
            norm_eps=config.norm_eps,
        )

    def __call__(
        self,
        x_BTC: Tensor,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
        dropout: Dropout | None = None,
    ) -> Tensor:
        batch, time, width = x_BTC.shape
        key_end = self.num_heads + self.num_kv_heads
        heads_BTJD = self.qkv(x_BTC).reshape(batch, time, key_end + self.num_kv_heads, -1)
        if cache is None:
            # The fused op reads queries, keys and values out of the product, and writes one gradient for it.
            out_BTHD = tensorgrad.self_attention(
                heads_BTJD,
                num_heads=self.num_heads,
                is_causal=True,
                qk_norm_eps=self.norm_eps if self.has_qk_norm else None,
                rotation=rotation,
                dropout_rate=0.0 if dropout is None else dropout.rate,
                key=None if dropout is None else dropout.key,
            )
            return self.out(out_BTHD.reshape(batch, time, width))
        q_BHTD = heads_BTJD[:, :, : self.num_heads].permute_dims(0, 2, 1, 3)
        k_BKTD = heads_BTJD[:, :, self.num_heads : key_end].permute_dims(0, 2, 1, 3)
        v_BKTD = heads_BTJD[:, :, key_end:].permute_dims(0, 2, 1, 3)
        if self.has_qk_norm:
            q_BHTD, k_BKTD = self._unit_rms(q_BHTD), self._unit_rms(k_BKTD)
        if rotation is not None:
            q_BHTD, k_BKTD = rotate(q_BHTD, rotation), rotate(k_BKTD, rotation)
        k_BKSD, v_BKSD = cache.append(k_BKTD, v_BKTD)
        out_BHTD = tensorgrad.scaled_dot_product_attention(
            q_BHTD, k_BKSD, v_BKSD, mask=cache.mask, is_causal=cache.is_causal
        )
        return self.out(out_BHTD.permute_dims(0, 2, 1, 3).reshape(batch, time, width))

    def _unit_rms(self, x_BHTD: Tensor) -> Tensor:
        return tensorgrad.rms_norm(x_BHTD, eps=self.norm_eps)
