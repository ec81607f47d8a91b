"""nanoGPT's character-level recipe for a CPU in PyTorch, written from its published settings.

    python benchmarks/peers/nanogpt.py tinyshakespeare.txt --target 1.886

The model is GPT-2's without biases and dropout: 4 layers, 4 heads, width 128, context 64. Batches have 12 sequences.
AdamW has betas 0.9 and 0.99, a decay of 0.1 for matrices, and clips the gradients' norm at 1. The learning rate warms
up over 100 steps to 1e-3, then follows a cosine to 1e-4 at step 2000. Every 250 steps it evaluates the loss on 20
random batches of each part of the text and prints a line of JSON. It stops at the first validation loss that is at most
the target. Two things make it faster than nanoGPT's own program: AdamW is PyTorch's fused one, and it writes no
checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
STEPS, WARMUP_STEPS, PEAK_RATE, FLOOR_RATE = 2000, 100, 1e-3, 1e-4
EVAL_INTERVAL_STEPS, EVAL_BATCHES = 250, 20


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x_BTC: Tensor) -> Tensor:
        batch, time_, _ = x_BTC.shape
        heads = self.qkv(self.norms[0](x_BTC)).view(batch, time_, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended_BHTD = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x_BTC = x_BTC + self.out(attended_BHTD.transpose(1, 2).reshape(x_BTC.shape))
        return x_BTC + self.down(functional.gelu(self.up(self.norms[1](x_BTC))))


class Model(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                is_residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS) if is_residual else 0.02)

    def forward(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        x_BTC = self.tokens(ids_BT) + self.positions.weight
        for block in self.blocks:
            x_BTC = block(x_BTC)
        logits_BTV = self.norm(x_BTC) @ self.tokens.weight.T
        return functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--target", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1337)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    text = arguments.text.read_text()
    ids_of = {character: number for number, character in enumerate(sorted(set(text)))}
    ids = torch.from_numpy(np.array([ids_of[character] for character in text]))
    split = int(0.9 * len(ids))
    parts = {"train": ids[:split], "validation": ids[split:]}
    model = Model(len(ids_of))
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.99), fused=True)
    for step in range(STEPS + 1):
        if step % EVAL_INTERVAL_STEPS == 0:
            losses = {name: mean_loss(model, part) for name, part in parts.items()}
            print(json.dumps({"step": step, **losses, "at_s": time.time()}), flush=True)
            if losses["validation"] <= arguments.target:
                break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        loss = model(*batch(parts["train"]))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(json.dumps({"step": step, "whole_validation": whole_loss(model, parts["validation"])}), flush=True)


def batch(part: Tensor) -> tuple[Tensor, Tensor]:
    places = torch.randint(len(part) - CONTEXT, (BATCH, 1)) + torch.arange(CONTEXT + 1)
    tokens = part[places]
    return tokens[:, :-1], tokens[:, 1:]


def learning_rate(step: int) -> float:
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / (WARMUP_STEPS + 1)
    share = min(1.0, (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS))
    return FLOOR_RATE + 0.5 * (1 + math.cos(math.pi * share)) * (PEAK_RATE - FLOOR_RATE)


@torch.no_grad()
def mean_loss(model: Model, part: Tensor) -> float:
    return float(np.mean([model(*batch(part)).item() for _ in range(EVAL_BATCHES)]))


@torch.no_grad()
def whole_loss(model: Model, part: Tensor) -> float:
    """The mean loss over consecutive windows of the whole part: not in the recipe, and computed after its time."""
    count = (len(part) - 1) // CONTEXT
    ids, targets = (part[first : first + count * CONTEXT].view(count, CONTEXT) for first in (0, 1))
    losses = [(model(x, y).item(), len(x)) for x, y in zip(ids.split(64), targets.split(64), strict=True)]
    return sum(loss * rows for loss, rows in losses) / count


if __name__ == "__main__":
    main()
