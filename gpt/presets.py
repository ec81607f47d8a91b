"""Whole configurations by name. A preset gives only what differs from `TrainConfig()`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace

from gpt.config import ModelConfig, OptimConfig, TokenizerConfig, TrainConfig
from gpt.errors import UserError

__all__ = ["PRESETS", "preset"]


def default() -> TrainConfig:
    """A Llama of 2.7 M parameters with QK-norm, to learn 2 MB of text in minutes on two CPU cores.

    On so little text two layers learn as much as four, in little more than half the time, and Muon far
    more than AdamW (benchmarks/ablation.py). `transformers` has this model (Qwen3); tables of n-grams
    would help, but it has no model with them.
    """
    return TrainConfig(
        steps=600,
        batch_size=8,
        eval_interval_steps=120,
        eval_batches=8,
        checkpoint_interval_steps=120,
        model=ModelConfig(context_length=256, num_layers=2, num_heads=4, model_dim=256, qk_norm=True),
        tokenizer=TokenizerConfig(kind="bpe", vocab_size=4096),
        optim=OptimConfig(
            optimizer="muon",
            learning_rate=4e-3,
            muon_momentum=0.9,
            min_learning_rate_ratio=0.0,
            schedule="warmup_stable_decay",
            warmup_steps=15,
            decay_steps=420,
            beta2=0.98,
        ),
    )


def shakespeare_char() -> TrainConfig:
    """nanoGPT's `config/train_shakespeare_char.py`: characters, 10.7 M parameters, for a GPU.

    These are nanoGPT's numbers, so that losses compare. The evaluation differs: it reads all held-out
    text in order, whereas nanoGPT averages over random batches.
    """
    return TrainConfig(
        steps=5000,
        batch_size=64,
        checkpoint_interval_steps=500,
        model=ModelConfig(
            num_heads=6, model_dim=384, positions="learned", norm="layer_norm", activation="gelu", dropout=0.2
        ),
        tokenizer=TokenizerConfig(kind="characters"),
    )


def shakespeare_char_cpu() -> TrainConfig:
    """The variant of `shakespeare-char` that nanoGPT's README gives for a CPU: 0.8 M parameters."""
    base = shakespeare_char()
    return replace(
        base,
        steps=2000,
        batch_size=12,
        model=replace(base.model, context_length=64, num_layers=4, num_heads=4, model_dim=128, dropout=0.0),
    )


def shakespeare_char_cpu_fast() -> TrainConfig:
    """As many parameters as `shakespeare-char-cpu`, which learn as much from a fourteenth of the text.

    Half of them are in tables of n-grams, which cost no matrix products and make two layers enough.
    Muon trains the other half. benchmarks/ablation.py measures the effect of each option.
    """
    base = shakespeare_char_cpu()
    return replace(
        base,
        steps=140,
        eval_interval_steps=50,
        eval_batches=10,
        checkpoint_interval_steps=0,
        model=replace(
            base.model,
            num_layers=2,
            positions="rope",
            norm="rms_norm",
            activation="relu_squared",
            qk_norm=True,
            ngram_length=4,
            ngram_rows=1024,
        ),
        optim=OptimConfig(
            optimizer="muon", learning_rate=6e-3, muon_momentum=0.7, warmup_steps=5, beta2=0.98, weight_decay=0.0
        ),
    )


def llama_nano() -> TrainConfig:
    """A small Llama with all of its parts: RoPE, RMSNorm, SwiGLU, grouped key-value heads, untied head."""
    return TrainConfig(
        steps=5000,
        model=ModelConfig(
            context_length=512, num_layers=8, num_heads=8, num_kv_heads=2, model_dim=384, is_head_tied=False
        ),
        tokenizer=TokenizerConfig(kind="bpe", vocab_size=8192),
        optim=OptimConfig(warmup_steps=200, beta2=0.95),
    )


def gpt2_124m() -> TrainConfig:
    """GPT-2 small, trained on 10 billion tokens as llm.c's `run_gpt2_124M.sh` does."""
    return _gpt2(num_layers=12, num_heads=12, model_dim=768, learning_rate=6e-4, steps=18_865, micro_batch_size=16)


def gpt2_350m() -> TrainConfig:
    """GPT-2 medium, trained on 31 billion tokens as llm.c's `run_gpt2_350M.sh` does."""
    return _gpt2(num_layers=24, num_heads=16, model_dim=1024, learning_rate=3e-4, steps=60_000, micro_batch_size=8)


def gpt2_774m() -> TrainConfig:
    """GPT-2 large, trained on 150 billion tokens as llm.c's `run_gpt2_774M.sh` does."""
    return _gpt2(num_layers=36, num_heads=20, model_dim=1280, learning_rate=2.5e-4, steps=286_102, micro_batch_size=4)


def gpt2_1558m() -> TrainConfig:
    """GPT-2 XL, trained on 34 billion tokens as llm.c's `run_gpt2_1558M.sh` does: a million a step."""
    config = _gpt2(num_layers=48, num_heads=25, model_dim=1600, learning_rate=6e-4, steps=32_000, micro_batch_size=2)
    return replace(config, batch_size=1024, optim=replace(config.optim, min_learning_rate_ratio=0.1))


def _gpt2(
    *, num_layers: int, num_heads: int, model_dim: int, learning_rate: float, steps: int, micro_batch_size: int
) -> TrainConfig:
    """One of GPT-2's sizes (Radford et al. 2019, table 2) with llm.c's training: 0.5 M tokens a step.

    The vocabulary of 50,257 ids is padded to 50,304, a multiple of 64, as nanoGPT and llm.c do.
    """
    return TrainConfig(
        steps=steps,
        batch_size=512,
        micro_batch_size=micro_batch_size,
        eval_batches=20,
        checkpoint_interval_steps=1000,
        model=ModelConfig(
            vocab_size=50_304,
            context_length=1024,
            num_layers=num_layers,
            num_heads=num_heads,
            model_dim=model_dim,
            positions="learned",
            norm="layer_norm",
            activation="gelu_tanh",
            has_bias=True,
        ),
        tokenizer=TokenizerConfig(kind="bpe", vocab_size=50_257),
        optim=OptimConfig(learning_rate=learning_rate, min_learning_rate_ratio=0.0, warmup_steps=700, beta2=0.95),
    )


PRESETS: Mapping[str, Callable[[], TrainConfig]] = {
    "default": default,
    "shakespeare-char-cpu": shakespeare_char_cpu,
    "shakespeare-char-cpu-fast": shakespeare_char_cpu_fast,
    "shakespeare-char": shakespeare_char,
    "llama-nano": llama_nano,
    "gpt2-124m": gpt2_124m,
    "gpt2-350m": gpt2_350m,
    "gpt2-774m": gpt2_774m,
    "gpt2-1558m": gpt2_1558m,
}


def preset(name: str) -> TrainConfig:
    """The preset of that name. UserError, with the most similar name, if there is none."""
    if name not in PRESETS:
        nearest = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)[0]
        names = ", ".join(PRESETS)
        raise UserError(f"preset: expected one of {names}, got {name!r}: did you mean {nearest}?")
    return PRESETS[name]()
