"""Models in the layouts of Hugging Face's `transformers`: GPT-2, Llama, and Qwen3 for QK-norm.

A layout is config.json and named arrays. One table, `_entries`, pairs each of our parameters with its
place in the layout, for `to_hub` and `from_hub` alike: GPT-2 stores matrices as (in, out), and Llama
splits our fused products. An option that a layout lacks (GPT-2 without biases, Llama's dropout) is an
extra key in config.json. A model that fits no family is stored under our names, for this library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

import tensorgrad
from gpt.config import ModelConfig
from gpt.errors import UserError
from gpt.model import GPT
from gpt.model.precision import Precision
from tensorgrad.array import Array, to_numpy
from tensorgrad.tree import named_tensors, replace_tensors

__all__ = ["OWN_LAYOUT", "family", "from_hub", "misfits", "to_hub"]

OWN_LAYOUT = "tensorgrad-gpt"
"""The model_type in config.json of a model that fits no family."""

_GPT2_ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu_squared": "relu2"}
# The values of our fields that a family can have.
_ANY_NEEDS: dict[str, tuple[Any, ...]] = {"logit_soft_cap": (0,), "ngram_length": (1,)}
_GPT2_NEEDS = {"positions": ("learned",), "norm": ("layer_norm",), "activation": tuple(_GPT2_ACTIVATIONS)}
_LLAMA_NEEDS = {"positions": ("rope",), "norm": ("rms_norm",), "activation": ("swiglu",)}
_NEEDS = {
    "gpt2": {**_GPT2_NEEDS, "qk_norm": (False,), **_ANY_NEEDS},
    "llama": {**_LLAMA_NEEDS, **_ANY_NEEDS, "qk_norm": (False,)},
    "qwen3": {**_LLAMA_NEEDS, **_ANY_NEEDS, "qk_norm": (True,), "has_bias": (False,)},
}
# Our sizes, and their names in config.json.
_GPT2_SIZES = {
    **{"vocab_size": "vocab_size", "context_length": "n_positions", "num_layers": "n_layer"},
    **{"num_heads": "n_head", "model_dim": "n_embd"},
}
_LLAMA_SIZES = {
    **{"vocab_size": "vocab_size", "context_length": "max_position_embeddings", "num_layers": "num_hidden_layers"},
    **{"num_heads": "num_attention_heads", "model_dim": "hidden_size", "ffn_dim": "intermediate_size"},
}
# Tables in old files that are not parameters.
_BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")


def misfits(config: ModelConfig, model_type: str) -> list[str]:
    """Why a model does not fit a family, such as "positions=sinusoidal (needs learned)"; empty if it fits."""
    found = [
        f"{name}={getattr(config, name)} (needs {' or '.join(map(str, values))})"
        for name, values in _NEEDS[model_type].items()
        if getattr(config, name) not in values
    ]
    if model_type == "gpt2" and config.kv_heads != config.num_heads:
        found.append(f"num_kv_heads={config.kv_heads} (needs {config.num_heads}, as num_heads)")
    return found


def family(config: ModelConfig) -> str:
    """The model_type under which a model of this configuration is saved."""
    return next((name for name in _NEEDS if not misfits(config, name)), OWN_LAYOUT)


def to_hub(model: GPT, *, end_of_text_id: int | None = None) -> tuple[dict[str, Any], dict[str, Array]]:
    """The values of config.json, and the arrays by their names in the layout.

    Args:    end_of_text_id: the tokenizer's, which programs that generate read from config.json.
    """
    config, model_type = model.config, family(model.config)
    ours = {name: to_numpy(x.array) for name, x in named_tensors(model).items()}
    dtype = model.embedding.tokens.dtype
    if model_type == OWN_LAYOUT:
        return {"model_type": OWN_LAYOUT, **asdict(config)}, ours
    tensors: dict[str, Array] = {}
    for entry in _entries(config, model_type):
        array = ours.get(entry.ours)
        if array is None:
            # The layout has a bias where this model has none.
            array = np.zeros(ours[entry.ours.removesuffix("bias") + "weight"].shape[0], dtype)
        array = np.ascontiguousarray(array.T) if entry.is_transposed else array
        ends = np.cumsum(entry.rows, dtype=np.int64)[:-1]
        tensors.update(zip(entry.theirs, np.split(array, ends), strict=True))
    if model_type == "qwen3":
        tensors |= {name: np.ones(config.head_dim, dtype) for name in _qk_norms(config)}
    ids = {"bos_token_id": end_of_text_id, "eos_token_id": end_of_text_id}
    values = _gpt2_values(config) if model_type == "gpt2" else _llama_values(config, model_type)
    return {"model_type": model_type, "dtype": dtype.name, **values, **ids}, tensors


def from_hub(
    values: Mapping[str, Any], tensors: Mapping[str, Array], *, dtype: str | Precision | None = None
) -> tuple[GPT, ModelConfig]:
    """The model of a config.json and its arrays.

    Args:    dtype: the parameters' dtype, or a precision; None: float64 if all arrays are, else float32.
    Raises:  UserError: an unknown model_type, an option that this model lacks, a missing, unexpected
             or wrongly shaped array.
    """
    model_type = values.get("model_type")
    tensors = {name: array for name, array in tensors.items() if not name.endswith(_BUFFERS)}
    if model_type == "gpt2":
        # OpenAI's own files hold the model without its head, and their names have no prefix.
        tensors = {name if _has_prefix(name) else f"transformer.{name}": x for name, x in tensors.items()}
        config = _gpt2_config(values, tensors)
    elif model_type in ("llama", "qwen3"):
        config = _llama_config(values, str(model_type))
    elif model_type == OWN_LAYOUT:
        config = _own_config(values)
    else:
        raise UserError(f"config.json: expected model_type {', '.join(_NEEDS)} or {OWN_LAYOUT}, got {model_type!r}")
    if model_type == "qwen3":
        for name in _qk_norms(config):
            if not (_taken(tensors, name, (config.head_dim,)) == 1).all():
                raise UserError(f"{name}: expected ones, got other values: QK-norm has no weights here")
    if config.is_head_tied:
        tensors.pop("lm_head.weight", None)
    entries = list(_present(_entries(config, str(model_type)), config, tensors))
    if dtype is None:
        dtype = "float64" if all(x.dtype == np.float64 for x in tensors.values()) else "float32"
    model = GPT.zeros(config, dtype=dtype)
    ours = named_tensors(model)
    filled = {}
    for entry in entries:
        shape = ours[entry.ours].shape if entry.ours in ours else None
        array = entry.joined(tensors, shape)
        if shape is not None:
            filled[entry.ours] = tensorgrad.tensor(array, dtype=model.precision.parameter, requires_grad=True)
    if tensors:
        raise UserError(f"{min(tensors)}: expected no such tensor in a {model_type} model: is config.json of another?")
    return replace_tensors(model, filled), config


@dataclass(frozen=True, slots=True)
class _Entry:
    """One of our parameters, and the arrays of the layout that hold its rows."""

    ours: str
    theirs: tuple[str, ...]
    rows: tuple[int, ...] = ()  # in each of `theirs`, if there are several
    is_transposed: bool = False

    def joined(self, tensors: dict[str, Array], shape: tuple[int, ...] | None) -> Array:
        """Our array, taken out of `tensors`. `shape` None: we have no such parameter, any shape will do."""
        if shape is None:
            return tensors.pop(self.theirs[0])
        if self.is_transposed:
            return _taken(tensors, self.theirs[0], shape[::-1]).T
        rows = self.rows or shape[:1]
        parts = [_taken(tensors, name, (n, *shape[1:])) for name, n in zip(self.theirs, rows, strict=True)]
        return np.concatenate(parts)


def _entries(config: ModelConfig, model_type: str) -> Iterator[_Entry]:
    if model_type == OWN_LAYOUT:
        for name in named_tensors(GPT.zeros(config)):
            yield _Entry(name, (name,))
    elif model_type == "gpt2":
        yield from _gpt2_entries(config)
    else:
        yield from _llama_entries(config)


def _gpt2_entries(config: ModelConfig) -> Iterator[_Entry]:
    yield _Entry("embedding.tokens", ("transformer.wte.weight",))
    yield _Entry("embedding.positions", ("transformer.wpe.weight",))
    modules = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    for layer in range(config.num_layers):
        for ours, theirs in modules.items():
            for kind in ("weight", "bias"):
                yield _Entry(
                    f"blocks.{layer}.{ours}.{kind}",
                    (f"transformer.h.{layer}.{theirs}.{kind}",),
                    is_transposed=kind == "weight" and not ours.endswith("norm"),
                )
    yield _Entry("norm.weight", ("transformer.ln_f.weight",))
    yield _Entry("norm.bias", ("transformer.ln_f.bias",))
    if not config.is_head_tied:
        yield _Entry("head.weight", ("lm_head.weight",))


def _llama_entries(config: ModelConfig) -> Iterator[_Entry]:
    yield _Entry("embedding.tokens", ("model.embed_tokens.weight",))
    kv_rows = config.kv_heads * config.head_dim
    kinds = ("weight", "bias") if config.has_bias else ("weight",)
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        yield _Entry(f"{ours}.attention_norm.weight", (f"{theirs}.input_layernorm.weight",))
        yield _Entry(f"{ours}.mlp_norm.weight", (f"{theirs}.post_attention_layernorm.weight",))
        for kind in kinds:
            yield _Entry(
                f"{ours}.attention.qkv.{kind}",
                tuple(f"{theirs}.self_attn.{letter}_proj.{kind}" for letter in "qkv"),
                rows=(config.model_dim, kv_rows, kv_rows),
            )
            yield _Entry(f"{ours}.attention.out.{kind}", (f"{theirs}.self_attn.o_proj.{kind}",))
            yield _Entry(
                f"{ours}.mlp.gate_up.{kind}",
                (f"{theirs}.mlp.gate_proj.{kind}", f"{theirs}.mlp.up_proj.{kind}"),
                rows=(config.ffn_width, config.ffn_width),
            )
            yield _Entry(f"{ours}.mlp.down.{kind}", (f"{theirs}.mlp.down_proj.{kind}",))
    yield _Entry("norm.weight", ("model.norm.weight",))
    if not config.is_head_tied:
        yield _Entry("head.weight", ("lm_head.weight",))


def _qk_norms(config: ModelConfig) -> list[str]:
    """The names of Qwen3's QK-norm weights. Our QK-norm has none, which equals weights of one."""
    layers = range(config.num_layers)
    return [f"model.layers.{layer}.self_attn.{letter}_norm.weight" for layer in layers for letter in "qk"]


def _gpt2_values(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{theirs: getattr(config, ours) for ours, theirs in _GPT2_SIZES.items()},
        "n_inner": config.ffn_width,
        "activation_function": _GPT2_ACTIVATIONS[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout),
        "tie_word_embeddings": config.is_head_tied,
        "has_bias": config.has_bias,
    }


def _gpt2_config(values: Mapping[str, Any], tensors: Mapping[str, Array]) -> ModelConfig:
    _refuse_unless(values, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    ours_by_theirs = {theirs: ours for ours, theirs in _GPT2_ACTIVATIONS.items()}
    ours_by_theirs["gelu_pytorch_tanh"] = "gelu_tanh"
    activation = values.get("activation_function", "gelu_new")
    if activation not in ours_by_theirs:
        known = ", ".join(ours_by_theirs)
        raise UserError(f"config.json: expected activation_function one of {known}, got {activation!r}")
    # has_bias false says that the file's biases are untrained zeros. Trust it only if they are still zeros.
    has_bias = values.get("has_bias", True) or any(x.any() for name, x in tensors.items() if name.endswith(".bias"))
    return ModelConfig(
        **{ours: _value(values, theirs) for ours, theirs in _GPT2_SIZES.items()},
        ffn_dim=values.get("n_inner") or 0,
        positions="learned",
        norm="layer_norm",
        norm_eps=values.get("layer_norm_epsilon", 1e-5),
        activation=ours_by_theirs[activation],  # type: ignore[arg-type]
        has_bias=has_bias,
        is_head_tied=values.get("tie_word_embeddings", True),
        dropout=values.get("resid_pdrop", 0.1),
    )


def _llama_values(config: ModelConfig, model_type: str) -> dict[str, Any]:
    architectures = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    return {
        "architectures": [architectures[model_type]],
        **{theirs: getattr(config, ours) for ours, theirs in _LLAMA_SIZES.items()},
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.ffn_width,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        # transformers before version 5 reads the first of these, later versions the second.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": config.has_bias,
        "mlp_bias": config.has_bias,
        "tie_word_embeddings": config.is_head_tied,
        "dropout": config.dropout,
    }


def _llama_config(values: Mapping[str, Any], model_type: str) -> ModelConfig:
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    _refuse_unless(values, hidden_act="silu", use_sliding_window=False)
    _refuse_unless(rope, rope_type="default", type="default")
    has_bias = values.get("attention_bias", False)
    if model_type == "llama":
        _refuse_unless(values, mlp_bias=has_bias)
    else:
        _refuse_unless(values, attention_bias=False)
    config = ModelConfig(
        **{ours: _value(values, theirs) for ours, theirs in _LLAMA_SIZES.items()},
        num_kv_heads=values.get("num_key_value_heads") or 0,
        positions="rope",
        norm="rms_norm",
        norm_eps=values.get("rms_norm_eps", 1e-6),
        activation="swiglu",
        has_bias=has_bias,
        is_head_tied=values.get("tie_word_embeddings", False),
        dropout=values.get("dropout", 0.0),
        rope_theta=rope.get("rope_theta") or values.get("rope_theta", 10000.0),
        qk_norm=model_type == "qwen3",
    )
    if (values.get("head_dim") or config.head_dim) != config.head_dim:
        raise UserError(
            f"config.json: expected head_dim {config.head_dim} (hidden_size / num_attention_heads), "
            f"got {values['head_dim']}: heads of another width are not supported"
        )
    return config


def _own_config(values: Mapping[str, Any]) -> ModelConfig:
    return ModelConfig(**{item.name: _value(values, item.name) for item in fields(ModelConfig)})


def _has_prefix(name: str) -> bool:
    return name.startswith(("transformer.", "lm_head."))


def _value(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise UserError(f"config.json: expected a value for {name}, got none: is it the model's own file?")
    return values[name]


def _refuse_unless(values: Mapping[str, Any], **expected: Any) -> None:
    """Raise UserError for an option that would change the computation and that this model lacks."""
    for name, value in expected.items():
        if values.get(name, value) != value:
            raise UserError(f"config.json: expected {name} = {value}, got {values[name]!r}: not supported")


def _present(entries: Iterator[_Entry], config: ModelConfig, tensors: Mapping[str, Array]) -> Iterator[_Entry]:
    """The entries, after a check that their tensors exist, before any array of the model's size is made."""
    for entry in entries:
        for name in entry.theirs:
            if name not in tensors:
                raise UserError(
                    f"{name}: expected this tensor for {config.num_layers} layers, got none: "
                    "is the file complete, and config.json the model's own?"
                )
        yield entry


def _taken(tensors: dict[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    """Remove the array `name` from `tensors` and return it. UserError unless it has this shape."""
    if name not in tensors:
        raise UserError(f"{name}: expected this tensor, got none: is the file complete?")
    array = tensors.pop(name)
    if array.shape != shape or array.dtype.kind != "f":
        raise UserError(f"{name}: expected floats of shape {shape}, got {array.dtype} of shape {array.shape}")
    return array
