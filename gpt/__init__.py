"""gpt: pre-training of a language model, from raw text to a base model, built on tensorgrad.

One folder per stage, in the order in which data flows:

    data                  raw text -> token ids -> batches
    model                 ids -> vectors -> blocks -> logits -> loss
    optim                 gradients -> an update by AdamW or Muon
    train                 one step, and a whole run
    checkpoint            a run on disk; Hugging Face's GPT-2 and Llama
    evaluate, generate    using the model

Shapes are suffixes of names, `q_BHTD`, one letter per axis:

    B batch   T time (queries)   S time (keys)   C width   H heads   K key-value heads
    D head width   E half a head   F ffn width   V vocabulary   N rows

    loaded = gpt.load("runs/default-001")
    logits_BTV = loaded.model([loaded.tokenizer.encode("The default value is")])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt.checkpoint import load
    from gpt.config import ModelConfig, TrainConfig
    from gpt.errors import UserError
    from gpt.model import GPT

__all__ = ["GPT", "ModelConfig", "TrainConfig", "UserError", "load"]

_HOMES = {
    "GPT": "gpt.model",
    "ModelConfig": "gpt.config",
    "TrainConfig": "gpt.config",
    "UserError": "gpt.errors",
    "load": "gpt.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line's `--help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gpt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
