"""Layouts: round trips, errors, and the same numbers as transformers in both directions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad
from gpt.checkpoint import load
from gpt.checkpoint.hub import OWN_LAYOUT, family, from_hub, misfits, to_hub
from gpt.checkpoint.tensor_file import write_tensors
from gpt.config import ModelConfig
from gpt.errors import UserError
from gpt.model import GPT
from tensorgrad import Key, Tensor
from tensorgrad.tree import map_tensors, named_tensors, replace_tensors

SIZE: dict[str, Any] = {"vocab_size": 29, "context_length": 12, "num_layers": 2, "num_heads": 4, "model_dim": 32}
GPT2 = ModelConfig(**SIZE, ffn_dim=48, positions="learned", norm="layer_norm", activation="gelu_tanh", has_bias=True)
LLAMA = ModelConfig(**SIZE, num_kv_heads=2, ffn_dim=48, is_head_tied=False, rope_theta=500.0)
CONFIGS = {
    "gpt2": GPT2,
    "gpt2 untied": replace(GPT2, is_head_tied=False, dropout=0.1),
    "gpt2 without biases": replace(GPT2, has_bias=False),
    "gpt2 exact gelu": replace(GPT2, activation="gelu"),
    "gpt2 relu squared": replace(GPT2, activation="relu_squared", norm_eps=1e-3),
    "llama": LLAMA,
    "llama tied": replace(LLAMA, is_head_tied=True, dropout=0.1),
    "llama with biases": replace(LLAMA, has_bias=True, norm_eps=1e-3),
    "qwen3": replace(LLAMA, qk_norm=True),
}
OWN = {
    "sinusoidal": replace(GPT2, positions="sinusoidal"),
    "rope and layer norm": replace(LLAMA, norm="layer_norm"),
    "soft cap": replace(LLAMA, logit_soft_cap=30.0),
    "grouped gpt2": replace(GPT2, num_kv_heads=2),
    "n-grams": replace(LLAMA, ngram_length=3, ngram_rows=7),
}


def model_of(config: ModelConfig, dtype: str = "float32") -> GPT:
    """A model with random values in every parameter, biases and norms too."""
    names = iter(range(1000))

    def randomised(x: Tensor) -> Tensor:
        noise = Key(9).fold_in(next(names)).normal(x.shape, dtype="float64")
        values = 0.2 * noise if x.ndim > 1 else x.numpy() + 0.3 * noise
        return tensorgrad.tensor(values, dtype=dtype, requires_grad=True)

    return map_tensors(randomised, GPT.zeros(config, dtype=dtype))


def tokens_of(config: ModelConfig) -> Any:
    return Key(2).integers(0, config.vocab_size, (3, config.context_length + 1))


def assert_equal(a: GPT, b: GPT) -> None:
    assert a.config == b.config
    ours, theirs = named_tensors(a), named_tensors(b)
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        assert x.dtype == theirs[name].dtype
        np.testing.assert_array_equal(x.numpy(), theirs[name].numpy(), err_msg=name)


# --- there and back ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CONFIGS, *OWN])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip(name: str, dtype: str) -> None:
    model = model_of((CONFIGS | OWN)[name], dtype)
    values, tensors = to_hub(model, end_of_text_id=3)
    loaded, config = from_hub(json.loads(json.dumps(values)), tensors)
    assert config == model.config
    assert_equal(loaded, model)
    assert (loaded.head.weight is loaded.embedding.tokens) == config.is_head_tied
    assert all(x.requires_grad for x in named_tensors(loaded).values())


def test_each_model_has_its_family() -> None:
    assert {name: family(config) for name, config in CONFIGS.items()} == {name: name.split()[0] for name in CONFIGS}
    assert {family(config) for config in OWN.values()} == {OWN_LAYOUT}
    assert misfits(OWN["soft cap"], "llama") == ["logit_soft_cap=30.0 (needs 0)"]
    assert misfits(OWN["grouped gpt2"], "gpt2") == ["num_kv_heads=2 (needs 4, as num_heads)"]


def test_gpt2_layout() -> None:
    model = model_of(GPT2)
    values, tensors = to_hub(model, end_of_text_id=3)
    assert values["model_type"] == "gpt2"
    assert (values["eos_token_id"], values["n_inner"], values["n_positions"]) == (3, 48, 12)
    assert "lm_head.weight" not in tensors
    attention = model.blocks[1].attention
    np.testing.assert_array_equal(tensors["transformer.h.1.attn.c_attn.weight"], attention.qkv.weight.numpy().T)
    assert tensors["transformer.h.0.mlp.c_fc.weight"].shape == (32, 48)


def test_llama_layout() -> None:
    model = model_of(LLAMA)
    values, tensors = to_hub(model)
    assert values["num_key_value_heads"] == 2
    assert values["eos_token_id"] is None
    qkv = model.blocks[0].attention.qkv.weight.numpy()
    np.testing.assert_array_equal(tensors["model.layers.0.self_attn.k_proj.weight"], qkv[32:48])
    gate_up = named_tensors(model)["blocks.0.mlp.gate_up.weight"].numpy()
    np.testing.assert_array_equal(tensors["model.layers.0.mlp.up_proj.weight"], gate_up[48:])


def test_absent_biases_are_zeros_to_others_and_trained_ones_are_read() -> None:
    model = model_of(CONFIGS["gpt2 without biases"])
    values, tensors = to_hub(model)
    assert not tensors["transformer.h.0.ln_1.bias"].any()
    assert tensors["transformer.h.0.attn.c_attn.bias"].shape == (96,)
    tensors["transformer.h.0.ln_1.bias"] = np.ones(32, np.float32)
    loaded, config = from_hub(values, tensors)
    assert config.has_bias
    np.testing.assert_array_equal(named_tensors(loaded)["blocks.0.attention_norm.bias"].numpy(), np.ones(32))


def test_openais_own_names_and_buffers() -> None:
    """OpenAI's published file: names without prefix, and a causal mask for each layer."""
    model = model_of(GPT2)
    values, tensors = to_hub(model)
    bare = {name.removeprefix("transformer."): x for name, x in tensors.items()}
    bare["h.0.attn.bias"] = np.ones((1, 1, 12, 12), np.float32)
    bare["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    for key in ("has_bias", "tie_word_embeddings", "dtype"):
        del values[key]
    assert_equal(from_hub(values, bare)[0], model)


def test_a_stored_tied_head_is_ignored() -> None:
    model = model_of(GPT2)
    values, tensors = to_hub(model)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    assert_equal(from_hub(values, tensors)[0], model)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_as_float32(dtype: str, tmp_path: Path) -> None:
    model = model_of(LLAMA)
    values, tensors = to_hub(model)
    rounded = {name: _rounded(x, dtype) for name, x in tensors.items()}
    (tmp_path / "config.json").write_text(json.dumps(values))
    if dtype == "float16":
        write_tensors(tmp_path / "model.safetensors", {name: x.astype(np.float16) for name, x in rounded.items()})
    else:
        _write_bfloat16(tmp_path / "model.safetensors", rounded)
    loaded = load(tmp_path)
    assert loaded.tokenizer is None
    found = to_hub(loaded.model)[1]
    for name, x in rounded.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], x)


def _rounded(x: Any, dtype: str) -> Any:
    if dtype == "float16":
        return x.astype(np.float16).astype(np.float32)
    return (x.view(np.uint32) & 0xFFFF0000).view(np.float32)


def _write_bfloat16(path: Path, tensors: dict[str, Any]) -> None:
    header, body = {}, b""
    for name, x in tensors.items():
        data = (x.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(x.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (GPT2, {"model_type": "bert"}, r"expected model_type gpt2, llama, qwen3 or tensorgrad-gpt, got 'bert'"),
        (GPT2, {"model_type": None}, r"expected model_type"),
        (GPT2, {"activation_function": "swish"}, r"expected activation_function one of .*, got 'swish'"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, r"scale_attn_by_inverse_layer_idx = False, got True"),
        (GPT2, {"n_layer": 3}, r"transformer\.h\.2\.ln_1\.weight: expected this tensor for 3 layers, got none"),
        (GPT2, {"n_layer": 1}, r"transformer\.h\.1\..*: expected no such tensor in a gpt2 model"),
        (GPT2, {"vocab_size": 30}, r"transformer\.wte\.weight: expected floats of shape \(30, 32\), got .*\(29, 32\)"),
        (GPT2, {"n_head": 5}, r"model\.model_dim: expected a multiple of model\.num_heads = 5"),
        (GPT2, {"n_embd": "wide"}, r"model\.model_dim: expected an integer, got 'wide'"),
        (LLAMA, {"hidden_act": "gelu"}, r"hidden_act = silu, got 'gelu'"),
        (LLAMA, {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1.0}}, r"rope_type = default, got 'llama3'"),
        (LLAMA, {"head_dim": 16}, r"head_dim 8 .*got 16"),
        (LLAMA, {"mlp_bias": True}, r"mlp_bias = False, got True"),
        (LLAMA, {"num_key_value_heads": 4}, r"k_proj\.weight: expected floats of shape \(32, 32\), got .*\(16, 32\)"),
    ],
)
def test_a_config_that_cannot_be(config: ModelConfig, change: dict[str, Any], message: str) -> None:
    values, tensors = to_hub(model_of(config))
    with pytest.raises(UserError, match=message):
        from_hub(values | change, tensors)


def test_values_that_are_missing() -> None:
    values, tensors = to_hub(model_of(GPT2))
    del values["n_embd"]
    with pytest.raises(UserError, match=r"config\.json: expected a value for n_embd"):
        from_hub(values, tensors)


@pytest.mark.parametrize("config", [*CONFIGS.values(), *OWN.values()])
def test_a_missing_tensor_is_named(config: ModelConfig) -> None:
    values, tensors = to_hub(model_of(config))
    for name in tensors:
        rest = {other: x for other, x in tensors.items() if other != name}
        with pytest.raises(UserError, match=f"^{name}: expected this tensor"):
            from_hub(values, rest)


def test_qk_norm_weights_are_refused() -> None:
    values, tensors = to_hub(model_of(CONFIGS["qwen3"]))
    tensors["model.layers.1.self_attn.k_norm.weight"] = np.full(8, 2, np.float32)
    with pytest.raises(UserError, match=r"layers\.1\.self_attn\.k_norm\.weight: expected ones"):
        from_hub(values, tensors)


# --- transformers as the oracle ----------------------------------------------------------------


@pytest.fixture
def transformers() -> Any:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return pytest.importorskip("transformers")


def _write(folder: Path, model: GPT) -> None:
    values, tensors = to_hub(model)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    write_tensors(folder / "model.safetensors", tensors)


def _theirs(transformers: Any, folder: Path, dtype: str) -> Any:
    import torch

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    if dtype == "float64":
        _keep_float64(model)
    return model.eval()


def _keep_float64(model: Any) -> None:
    """transformers computes RMSNorm and the rotary angles in float32, whatever the dtype."""
    import torch

    def exact_norm(module: Any) -> Callable[[Any], Any]:
        return lambda x: torch.nn.functional.rms_norm(x, x.shape[-1:], module.weight, module.variance_epsilon)

    def exact_rope(x: Any, position_ids: Any) -> Any:
        parameters = model.config.rope_parameters
        width = model.config.head_dim
        frequencies = parameters["rope_theta"] ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = position_ids[..., None].double() * torch.cat([frequencies, frequencies])
        return angles.cos(), angles.sin()

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = exact_norm(module)
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.forward = exact_rope


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_computes_the_same(
    name: str, dtype: str, tolerance: float, transformers: Any, tmp_path: Path
) -> None:
    """Logits, loss and every parameter's gradient, from the folder that we write."""
    import torch

    ours = model_of(replace(CONFIGS[name], dropout=0.0), dtype)
    _write(tmp_path, ours)
    theirs = _theirs(transformers, tmp_path, dtype)
    tokens = tokens_of(ours.config)
    ids, targets = tokens[:, :-1], tokens[:, 1:].copy()
    targets[1, 4:] = -100

    logits = theirs(torch.tensor(ids)).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    loss.backward()
    assert np.abs(ours(ids).numpy() - logits.detach().numpy()).max() < tolerance * 10
    our_loss = ours.loss(ids, targets)
    assert our_loss.item() == pytest.approx(loss.item(), rel=tolerance)

    names = named_tensors(ours)
    gradients = tensorgrad.grad(our_loss, list(names.values()))
    gradient_tree = replace_tensors(ours, dict(zip(names, gradients, strict=True)))
    in_their_layout = to_hub(gradient_tree)[1]
    checked = 0
    for their_name, parameter in theirs.named_parameters():
        is_extra = their_name.endswith(("q_norm.weight", "k_norm.weight"))
        if is_extra or (their_name.endswith("bias") and not ours.config.has_bias):
            continue
        found, expected = in_their_layout[their_name], parameter.grad.numpy()
        assert np.abs(found - expected).max() < tolerance * np.abs(expected).max(), their_name
        checked += found.size
    assert checked == ours.config.num_parameters


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "llama with biases"])
def test_a_folder_that_transformers_writes(model_type: str, is_tied: bool, transformers: Any, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    if model_type == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=29, n_positions=12, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=is_tied
        )
        theirs = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(
            vocab_size=29,
            max_position_embeddings=12,
            hidden_size=32,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_parameters={"rope_type": "default", "rope_theta": 300.0},
            attention_bias=model_type != "llama",
            mlp_bias=model_type != "llama",
            tie_word_embeddings=is_tied,
        )
        theirs = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0, 0.2)
    theirs.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.config.is_head_tied == is_tied
    ids = tokens_of(loaded.config)[:, :-1]
    expected = theirs.eval()(torch.tensor(ids)).logits.detach().numpy()
    assert np.abs(loaded.model(ids).numpy() - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_shards_that_transformers_writes(transformers: Any, tmp_path: Path) -> None:
    model = model_of(LLAMA)
    _write(tmp_path / "one", model)
    _theirs(transformers, tmp_path / "one", "float32").save_pretrained(tmp_path / "many", max_shard_size="8KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    assert_equal(load(tmp_path / "many").model, replace(model, config=load(tmp_path / "many").config))
