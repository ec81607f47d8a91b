"""Configurations: refused values, derived values, presets, TOML in both directions, precedence."""

from __future__ import annotations

import json
import tomllib
from dataclasses import FrozenInstanceError, asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.config import DataConfig, ModelConfig, OptimConfig, TokenizerConfig, TrainConfig
from gpt.config_file import dotted_names, from_dict, from_toml, load_config, to_toml
from gpt.errors import UserError
from gpt.presets import PRESETS, preset

GPT2 = {"positions": "learned", "norm": "layer_norm", "activation": "gelu_tanh", "has_bias": True}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ModelConfig(model_dim=100, num_heads=3),
            r"model\.model_dim.*num_heads = 3, got 100.*99 or 102",
        ),
        (lambda: ModelConfig(model_dim=2, num_heads=4), r"model\.model_dim.*got 2: take 4, or"),
        (lambda: ModelConfig(num_heads=4, num_kv_heads=3), r"model\.num_kv_heads.*divisor.*got 3"),
        (
            lambda: ModelConfig(model_dim=12, num_heads=4),
            r"even head dimension.*got model_dim / num_heads = 3",
        ),
        (lambda: ModelConfig(model_dim=9, num_heads=3, positions="sinusoidal"), r"model_dim.*even.*got 9"),
        (lambda: ModelConfig(dropout=1.0), r"model\.dropout.*\[0, 1\), got 1\.0"),
        (lambda: ModelConfig(dropout=-0.1), r"model\.dropout"),
        (lambda: ModelConfig(num_layers=0), r"model\.num_layers: expected 1 or more, got 0"),
        (lambda: ModelConfig(ffn_dim=-1), r"model\.ffn_dim: expected 0 or more"),
        (lambda: ModelConfig(norm_eps=0.0), r"model\.norm_eps: expected a number above 0"),
        (lambda: ModelConfig(norm_eps=float("nan")), r"model\.norm_eps: expected a finite number"),
        (lambda: ModelConfig(num_layers=True), r"model\.num_layers: expected an integer, got True"),
        (lambda: ModelConfig(num_layers=2.0), r"model\.num_layers: expected an integer, got 2\.0"),  # type: ignore[arg-type]
        (lambda: ModelConfig(has_bias=1), r"model\.has_bias: expected true or false, got 1"),  # type: ignore[arg-type]
        (lambda: ModelConfig(norm="batch"), r"model\.norm: expected one of layer_norm"),  # type: ignore[arg-type]
        (lambda: TokenizerConfig(vocab_size=256), r"tokenizer\.vocab_size: expected 257 or more"),
        (lambda: DataConfig(holdout=0.0), r"data\.holdout.*\(0, 1\)"),
        (lambda: DataConfig(holdout=1), r"data\.holdout"),
        (lambda: DataConfig(paths=["a"]), r"data\.paths: expected a list of strings"),  # type: ignore[arg-type]
        (lambda: OptimConfig(learning_rate=0.0), r"optim\.learning_rate"),
        (lambda: OptimConfig(learning_rate=float("inf")), r"optim\.learning_rate: expected a finite number"),
        (lambda: OptimConfig(min_learning_rate_ratio=1.5), r"optim\.min_learning_rate_ratio"),
        (lambda: OptimConfig(beta2=1.0), r"optim\.beta2"),
        (lambda: OptimConfig(beta1=-0.1), r"optim\.beta1"),
        (lambda: OptimConfig(warmup_steps=-1), r"optim\.warmup_steps"),
        (lambda: ModelConfig(ngram_length=0), r"model\.ngram_length: expected 1 or more"),
        (lambda: OptimConfig(optimizer="sgd"), r"optim\.optimizer: expected one of adamw, muon"),
        (lambda: OptimConfig(muon_learning_rate=0.0), r"optim\.muon_learning_rate"),
        (lambda: OptimConfig(muon_momentum=1.0), r"optim\.muon_momentum"),
        (lambda: TrainConfig(steps=0), r"^steps: expected 1 or more, got 0"),
        (lambda: TrainConfig(batch_size=16, micro_batch_size=5), r"micro_batch_size.*batch_size = 16, got 5"),
        (lambda: TrainConfig(seed=2**64), r"seed"),
        (lambda: TrainConfig(seed=-1), r"seed"),
        (lambda: TrainConfig(model={"num_layers": 2}), r"model: expected a ModelConfig"),  # type: ignore[arg-type]
        (lambda: TrainConfig(device="tpu"), r"device: expected cpu, cuda or cuda:N, got 'tpu'"),
        (lambda: TrainConfig(device="cuda:"), r"device: expected cpu, cuda or cuda:N, got 'cuda:'"),
        (lambda: TrainConfig(precision="fp8"), r"precision: expected one of float32"),  # type: ignore[arg-type]
        (lambda: TrainConfig(cuda_graph=True), r"cuda_graph: expected device cuda with it, got cpu"),
        (lambda: TrainConfig(threads=-1), r"threads: expected 0 or more, got -1"),
        (lambda: TrainConfig(threads=10**6), r"threads: expected 1024 at most, got 1000000: 0 takes one per core"),
        (lambda: TrainConfig(unordered=True), r"unordered: expected device cuda with it, got cpu"),
        (lambda: TrainConfig(require_fast=True), r"require_fast: expected device cuda with it, got cpu"),
    ],
)
def test_impossible_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_configurations_are_frozen_and_equal_by_value() -> None:
    config = TrainConfig()
    with pytest.raises(FrozenInstanceError):
        config.steps = 3  # type: ignore[misc]
    assert config == TrainConfig()
    assert hash(config) == hash(TrainConfig())


def test_zero_means_derived() -> None:
    model = ModelConfig(num_heads=4, model_dim=256, activation="gelu")
    assert (model.kv_heads, model.head_dim, model.ffn_width) == (4, 64, 1024)
    assert replace(model, activation="swiglu").ffn_width == 704  # 8/3 * 256 = 682.7
    assert replace(model, activation="swiglu", model_dim=384).ffn_width == 1024  # exactly 8/3
    assert replace(model, num_kv_heads=2, ffn_dim=10).kv_heads == 2
    assert replace(model, ffn_dim=10).ffn_width == 10
    run = TrainConfig(batch_size=12, model=model)
    assert (run.micro_batch, run.tokens_per_step) == (12, 12 * 256)
    assert replace(run, micro_batch_size=3).micro_batch == 3


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2-124m", 124_439_808),
        ("gpt2-350m", 354_823_168),
        ("gpt2-774m", 774_030_080),
        ("gpt2-1558m", 1_557_611_200),
    ],
)
def test_published_parameter_counts_of_gpt2(name: str, count: int) -> None:
    assert replace(preset(name).model, vocab_size=50_257).num_parameters == count


def test_published_parameter_counts_of_llamas() -> None:
    tiny_llama = ModelConfig(
        vocab_size=32_000, context_length=2048, num_layers=22, num_heads=32, num_kv_heads=4, model_dim=2048,
        ffn_dim=5632, is_head_tied=False,
    )  # fmt: skip
    assert tiny_llama.num_parameters == 1_100_048_384
    llama_3_2_1b = replace(
        tiny_llama, vocab_size=128_256, num_layers=16, num_kv_heads=8, ffn_dim=8192, is_head_tied=True
    )
    assert llama_3_2_1b.num_parameters == 1_235_814_400


def test_parameter_count_needs_a_vocabulary() -> None:
    model = ModelConfig()
    with pytest.raises(UserError, match=r"vocab_size.*with_vocabulary"):
        _ = model.num_parameters
    assert model.with_vocabulary(65).vocab_size == 65
    assert replace(model, vocab_size=128).with_vocabulary(65).vocab_size == 128
    with pytest.raises(UserError, match=r"at least the tokenizer's 65 ids, got 64"):
        replace(model, vocab_size=64).with_vocabulary(65)


def test_flops_per_token() -> None:
    model = replace(preset("gpt2-124m").model, vocab_size=50_257)
    # All parameters but the position table, the norms and the biases are weights of products.
    weights = 12 * 12 * 768**2 + 50_257 * 768
    assert model.flops_per_token() == 6 * weights + 12 * 12 * 768 * 1024
    assert replace(model, context_length=512).flops_per_token() == 6 * weights + 12 * 12 * 768 * 512
    # An untied head costs no more operations than a tied one.
    assert replace(model, is_head_tied=False).flops_per_token() == model.flops_per_token()


def test_presets_are_valid_and_found_by_name() -> None:
    for name, make in PRESETS.items():
        config = make()
        assert config == preset(name)
        assert config.steps > config.optim.warmup_steps
    with pytest.raises(UserError, match=r"got 'gpt2-124': did you mean gpt2-124m\?"):
        preset("gpt2-124")


def test_shakespeare_presets_are_those_of_nanogpt() -> None:
    # nanoGPT prints its size without the position table: 10.65 M and 0.80 M.
    for name, millions in (("shakespeare-char", 10.65), ("shakespeare-char-cpu", 0.80)):
        model = preset(name).model.with_vocabulary(65)
        count = model.num_parameters - model.context_length * model.model_dim
        assert round(count / 1e6, 2) == millions
    cpu = preset("shakespeare-char-cpu")
    assert (cpu.steps, cpu.batch_size, cpu.model.context_length, cpu.model.dropout) == (2000, 12, 64, 0.0)
    assert (cpu.optim.learning_rate, cpu.optim.beta2, cpu.optim.warmup_steps) == (1e-3, 0.99, 100)
    assert (cpu.model.activation, cpu.model.has_bias, cpu.model.is_head_tied) == ("gelu", False, True)


def test_the_fast_preset_has_the_size_of_the_one_it_replaces() -> None:
    fast, base = (preset(name) for name in ("shakespeare-char-cpu-fast", "shakespeare-char-cpu"))
    sizes = [config.model.with_vocabulary(65).num_parameters for config in (fast, base)]
    assert 0.9 < sizes[0] / sizes[1] < 1.1
    assert fast.model.context_length == base.model.context_length
    assert fast.tokenizer == base.tokenizer
    assert fast.steps * fast.tokens_per_step < base.steps * base.tokens_per_step / 5


def test_gpt2_presets_train_on_half_a_million_tokens_a_step() -> None:
    assert preset("gpt2-124m").tokens_per_step == 524_288
    assert preset("gpt2-1558m").tokens_per_step == 1_048_576
    assert preset("gpt2-124m").model.vocab_size == 50_304


@pytest.mark.parametrize("name", PRESETS)
def test_toml_and_dict_there_and_back(name: str) -> None:
    config = preset(name)
    assert from_toml(to_toml(config)) == config
    assert from_dict(json.loads(json.dumps(asdict(config)))) == config


@given(
    paths=st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
    learning_rate=st.floats(min_value=1e-300, max_value=1e300),
    seed=st.integers(0, 2**64 - 1),
    recompute=st.booleans(),
)
def test_any_value_survives_toml(paths: list[str], learning_rate: float, seed: int, recompute: bool) -> None:
    config = TrainConfig(
        seed=seed,
        recompute=recompute,
        data=DataConfig(paths=tuple(paths)),
        optim=OptimConfig(learning_rate=learning_rate),
    )
    # Through UTF-8, as through a file: `tomllib` wants the file's newlines, not the platform's.
    assert from_toml(to_toml(config).encode().decode()) == config


def test_a_file_from_before_a_field_was_there_has_its_default() -> None:
    text = to_toml(TrainConfig())
    assert "unordered = false\n" in text
    assert from_toml(text.replace("unordered = false\n", "")) == TrainConfig()


def test_every_field_is_written() -> None:
    values = tomllib.loads(to_toml(TrainConfig()))
    written = {f"{k}.{n}" if n else k for k, v in values.items() for n in (v if isinstance(v, dict) else [""])}
    assert written == set(dotted_names(TrainConfig()))
    assert {item.name for item in fields(OptimConfig)} == set(values["optim"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step = 3", r"step: .*did you mean steps\?"),
        ("[model]\nnum_layer = 3", r"model\.num_layer: .*did you mean model\.num_layers\?"),
        ("[model]\nlearning_rate = 3", r"model\.learning_rate.*did you mean optim\.learning_rate\?"),
        ("learning_rate = 3", r"^learning_rate.*did you mean optim\.learning_rate\?"),
        ("[optimizer]\nbeta1 = 0.9", r"optimizer.*did you mean optim\?"),
        ("model = 3", r"model: expected a group of fields, got 3: set its fields, such as model\.vocab_size"),
        ("[steps]\nx = 1", r"steps: expected an integer, got \{'x': 1\}"),
        ('steps = "10"', r"steps: expected an integer, got '10'"),
        ("steps = 10.0", r"steps: expected an integer, got 10\.0"),
        ("steps = true", r"steps: expected an integer, got True"),
        ('[data]\npaths = "a.txt"', r"data\.paths: expected a list of strings"),
        ("[data]\npaths = [1]", r"data\.paths: expected a list of strings"),
        ("[optim]\nlearning_rate = nan", r"optim\.learning_rate: expected a finite number"),
        ("steps = ", r"expected TOML"),
    ],
)
def test_toml_mistakes_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_toml(text)


def test_a_toml_file_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(UserError, match=r"run\.toml: expected a TOML file, got: No such file"):
        from_toml(path)
    path.write_text("steps = 0")
    with pytest.raises(UserError, match=r"run\.toml: steps: expected 1 or more"):
        from_toml(path)
    path.write_bytes(b"steps = 3 # \xff")
    with pytest.raises(UserError, match=r"run\.toml: expected TOML"):
        from_toml(path)


def test_integers_stand_for_floats_in_toml() -> None:
    assert from_toml("[optim]\nclip_norm = 0").optim.clip_norm == 0.0


def test_related_values_are_checked_together() -> None:
    # Each of the two values would fail with the other's default.
    model = from_toml("[model]\nnum_heads = 3\nmodel_dim = 96").model
    assert model.head_dim == 32


def test_precedence_is_preset_toml_overrides(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("steps = 7\nbatch_size = 6\n[model]\nnum_layers = 2\n")
    config = load_config("shakespeare-char", path, {"steps": 9, "model.dropout": 0.5})
    assert (config.steps, config.batch_size, config.seed) == (9, 6, 0)
    assert (config.model.num_layers, config.model.dropout, config.model.num_heads) == (2, 0.5, 6)
    assert load_config() == preset("default")
    with pytest.raises(UserError, match=r"model\.dropuot.*did you mean model\.dropout\?"):
        load_config(overrides={"model.dropuot": 0.5})
