"""The contestant in PyTorch: nanoGPT's training step, and generation with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.workloads import BETAS, CLIP_NORM, LEARNING_RATE, WEIGHT_DECAY, Workload

__all__ = ["TorchTrainer"]


class TorchTrainer:
    """nanoGPT's step, written with functions instead of modules to save PyTorch the modules' overhead."""

    def __init__(self, workload: Workload, threads: int, *, is_bf16: bool, is_compiled: bool) -> None:
        import torch

        self.torch, self.workload, self.is_bf16 = torch, workload, is_bf16
        torch.set_num_threads(threads)
        self.weights = {name: torch.tensor(values).requires_grad_() for name, values in workload.weights()}
        values = list(self.weights.values())
        groups = [
            {"params": [x for x in values if x.ndim >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [x for x in values if x.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)
        self.loss: Callable[..., Any] = torch.compile(self._loss) if is_compiled else self._loss

    def library(self) -> str:
        return f"torch {self.torch.__version__}"

    def _loss(self, ids: Any, targets: Any) -> Any:
        logits = self._logits(ids, None, 0)
        return self.torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))

    def _logits(self, ids: Any, cache: list[tuple[Any, Any]] | None, start: int) -> Any:
        """The logits of all ids; with a cache, of the last id only.

        Args:
            ids: (B, T); with a cache the ids at the positions from `start` on.
            cache: for each layer its keys and values (B, H, context, D), which are written in place.
        """
        functional = self.torch.nn.functional
        weights, model = self.weights, self.workload.model

        def linear(x: Any, name: str) -> Any:
            return functional.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

        def norm(x: Any, name: str) -> Any:
            weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
            return functional.layer_norm(x, (x.shape[-1],), weight, bias, model.norm_eps)

        batch, time_, width = *ids.shape, model.model_dim
        end = start + time_
        x = functional.embedding(ids, weights["embedding.tokens"]) + weights["embedding.positions"][start:end]
        for layer in range(model.num_layers):
            name = f"blocks.{layer}"
            qkv = linear(norm(x, f"{name}.attention_norm"), f"{name}.attention.qkv").split(width, dim=2)
            q, k, v = (part.view(batch, time_, model.num_heads, -1).transpose(1, 2) for part in qkv)
            if cache is not None:
                keys, values = cache[layer]
                keys[:, :, start:end], values[:, :, start:end] = k, v
                k, v = keys[:, :, :end], values[:, :, :end]
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=time_ > 1)
            attended = attended.transpose(1, 2).contiguous().view(batch, time_, width)
            x = x + linear(attended, f"{name}.attention.out")
            hidden = linear(norm(x, f"{name}.mlp_norm"), f"{name}.mlp.up")
            x = x + linear(functional.gelu(hidden, approximate="tanh"), f"{name}.mlp.down")
        x = x if cache is None else x[:, -1:]
        return functional.linear(norm(x, "norm"), weights["embedding.tokens"])

    def generate(self, ids: list[int], count: int) -> list[int]:
        torch, model = self.torch, self.workload.model
        shape = (1, model.num_heads, model.context_length, model.head_dim)
        cache = [(torch.empty(shape), torch.empty(shape)) for _ in range(model.num_layers)]
        found: list[int] = []
        with torch.inference_mode():
            new = torch.tensor([ids])
            for _ in range(count):
                logits = self._logits(new, cache, len(ids) + len(found) - new.shape[1])
                new = logits[:, -1].argmax(dim=-1, keepdim=True)
                found.append(int(new))
        return found

    def _forward(self, number: int) -> Any:
        ids, targets = (self.torch.from_numpy(x) for x in self.workload.batch(number))
        with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.is_bf16):
            return self.loss(ids, targets)

    def step(self, number: int) -> float:
        loss = self._forward(number)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(list(self.weights.values()), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    def gradients(self) -> tuple[float, dict[str, Any]]:
        loss = self._forward(0)
        loss.backward()
        return loss.item(), {name: x.grad.numpy() for name, x in self.weights.items()}

    def shares(self) -> dict[str, float]:
        with self.torch.profiler.profile() as profile:
            for number in range(3):
                self.step(number)
        events = profile.key_averages()
        total = sum(event.self_cpu_time_total for event in events)

        def share(*names: str) -> float:
            return float(sum(event.self_cpu_time_total for event in events if event.key.startswith(names)) / total)

        products = ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear", "aten::_linear")
        return {"products": share(*products), "attention": share("aten::_scaled_dot_product")}
