"""One layer: attention, then the MLP. Each reads the normalised residual stream and adds to it."""

from __future__ import annotations

from dataclasses import dataclass

from gpt.config import ModelConfig
from gpt.model.attention import Attention
from gpt.model.cache import LayerCache
from gpt.model.dropout import Dropout
from gpt.model.initializer import Initializer
from gpt.model.mlp import MLP, SwiGLU, init_mlp
from gpt.model.norm import Norm, init_norm
from gpt.model.positions import Rotation
from tensorgrad import Tensor

__all__ = ["Block"]


@dataclass(frozen=True, slots=True)
class Block:
    """x = x + attention(norm(x)); x = x + mlp(norm(x)). With dropout, also on what each adds."""

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: MLP | SwiGLU

    @classmethod
    def init(cls, config: ModelConfig, make: Initializer) -> Block:
        return cls(
            attention_norm=init_norm(config, make),
            attention=Attention.init(config, make.at(0)),
            mlp_norm=init_norm(config, make),
            mlp=init_mlp(config, make.at(1)),
        )

    def __call__(
        self,
        x_BTC: Tensor,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
        dropout: Dropout | None = None,
    ) -> Tensor:
        if dropout is None:
            x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), rotation, cache)
            return x_BTC + self.mlp(self.mlp_norm(x_BTC))
        attended_BTC = self.attention(self.attention_norm(x_BTC), rotation, cache, dropout.at(0))
        x_BTC = x_BTC + dropout.at(1)(attended_BTC)
        return x_BTC + dropout.at(2)(self.mlp(self.mlp_norm(x_BTC)))
