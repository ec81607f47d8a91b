"""The configuration of a run, and of sampling: frozen values that are checked when they are made.

A `TrainConfig` decides everything that a run computes. Its own fields are about the run; four groups
are about the model, the tokenizer, the data and the optimizer. A field has one name everywhere:
`config.model.num_layers` in Python, `num_layers` under `[model]` in a TOML file, `--model.num-layers`
on the command line. A run folder keeps its configuration in `config.toml` (see gpt/config_file.py).

A value that cannot work raises a UserError here, before anything is read or written. 0 often means
"choose for me"; the comment beside the field says what is chosen, and a property (`kv_heads`,
`ffn_width`, `micro_batch`) gives the number.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

from gpt.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["DataConfig", "ModelConfig", "OptimConfig", "Sampling", "TokenizerConfig", "TrainConfig"]

_FFN_MULTIPLE = 64
_MAX_THREADS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Architecture of a decoder-only transformer: GPT-2, Llama, or something between."""

    vocab_size: int = 0  # ids the model knows; 0: as many as the tokenizer has; more than that: padded
    context_length: int = 256  # tokens that a prediction can look back on
    num_layers: int = 6  # blocks of attention and MLP
    num_heads: int = 4  # attention heads; they share model_dim
    num_kv_heads: int = 0  # heads of keys and values; 0: num_heads
    model_dim: int = 256  # width of the residual stream
    ffn_dim: int = 0  # width inside the MLP; 0: 4 model_dim, with swiglu 8/3 model_dim rounded up to 64s
    positions: Literal["learned", "sinusoidal", "rope"] = "rope"  # how position is encoded
    norm: Literal["layer_norm", "rms_norm"] = "rms_norm"  # before attention, MLP and head
    norm_eps: float = 1e-5  # added to the variance or mean square
    activation: Literal["gelu", "gelu_tanh", "swiglu", "relu_squared"] = "swiglu"  # inside the MLP
    has_bias: bool = False  # biases in linear layers and layer norms
    is_head_tied: bool = True  # the output matrix is the token embedding
    dropout: float = 0.0  # of embeddings, attention weights and each residual branch
    ngram_length: int = 1  # longest n-gram with an embedding; 1: only single tokens have one
    ngram_rows: int = 2048  # rows of the table for each n > 1, shared by n-grams of one hash
    rope_theta: float = 10000.0  # base of the rotary wavelengths
    qk_norm: bool = False  # rms-normalise queries and keys per head, without parameters
    logit_soft_cap: float = 0.0  # logits become cap * tanh(logits / cap); 0: unchanged

    def __post_init__(self) -> None:
        _check_types(self, ModelConfig, "model")
        _check_at_least(self, "model", 1, "context_length", "num_layers", "num_heads", "model_dim")
        _check_at_least(self, "model", 1, "ngram_length", "ngram_rows")
        _check_at_least(self, "model", 0, "vocab_size", "num_kv_heads", "ffn_dim", "logit_soft_cap")
        _check_above_zero(self, "model", "norm_eps", "rope_theta")
        if not 0 <= self.dropout < 1:
            raise UserError(f"model.dropout: expected a share in [0, 1), got {self.dropout}: 0 turns dropout off")
        if self.model_dim % self.num_heads:
            below = self.model_dim - self.model_dim % self.num_heads
            near = " or ".join(str(width) for width in (below, below + self.num_heads) if width)
            raise UserError(
                f"model.model_dim: expected a multiple of model.num_heads = {self.num_heads}, "
                f"got {self.model_dim}: take {near}, or another number of heads"
            )
        if self.num_heads % self.kv_heads:
            raise UserError(
                f"model.num_kv_heads: expected a divisor of model.num_heads = {self.num_heads}, "
                f"got {self.num_kv_heads}: every key-value head serves the same number of query heads"
            )
        if self.positions == "rope" and self.head_dim % 2:
            raise UserError(
                f"model.num_heads: expected an even head dimension for rope (it turns pairs), "
                f"got model_dim / num_heads = {self.head_dim}: change either, or take learned positions"
            )
        if self.positions == "sinusoidal" and self.model_dim % 2:
            raise UserError(
                f"model.model_dim: expected an even width for sinusoidal positions (sine and cosine), "
                f"got {self.model_dim}: take {self.model_dim + 1}, or learned positions"
            )

    @property
    def head_dim(self) -> int:
        """D: the width of one head."""
        return self.model_dim // self.num_heads

    @property
    def kv_heads(self) -> int:
        """K: `num_kv_heads`, or `num_heads` if that is 0."""
        return self.num_kv_heads or self.num_heads

    @property
    def ffn_width(self) -> int:
        """F: `ffn_dim`, or the activation's default if that is 0.

        SwiGLU has three matrices and the others have two: 8/3 and 4 times the model's width give both
        the same number of parameters (Shazeer 2020, arXiv:2002.05202).
        """
        if self.ffn_dim:
            return self.ffn_dim
        if self.activation != "swiglu":
            return 4 * self.model_dim
        return math.ceil(8 * self.model_dim / (3 * _FFN_MULTIPLE)) * _FFN_MULTIPLE

    @property
    def num_parameters(self) -> int:
        """The exact number of parameters; a tied head counts once. Needs `vocab_size`."""
        embeddings = (self.known_vocab_size + (self.ngram_length - 1) * self.ngram_rows) * self.model_dim
        if self.positions == "learned":
            embeddings += self.context_length * self.model_dim
        has_norm_bias = self.norm == "layer_norm" and self.has_bias
        norms = (2 * self.num_layers + 1) * self.model_dim * (2 if has_norm_bias else 1)
        head = 0 if self.is_head_tied else self._head_matrix
        return embeddings + self.num_layers * (self._block_matrices + self._block_biases) + norms + head

    def flops_per_token(self) -> int:
        """Floating-point operations to train on one token, forward and backward.

            6 N + 12 L H D T

        N counts the weights in matrix products: the blocks' and the output head's (tied or not),
        without embedding lookup, norms and biases. Each costs a multiplication and an addition
        forward, and twice that backward. The second term is attention's two products over the whole
        context of T tokens: the masked half is not deducted, and recomputation is not added.
        Source: PaLM (arXiv:2204.02311), appendix B, which defines a machine's utilisation so.
        """
        weights = self.num_layers * self._block_matrices + self._head_matrix
        return 6 * weights + 12 * self.num_layers * self.model_dim * self.context_length

    def with_vocabulary(self, num_tokens: int) -> ModelConfig:
        """This configuration for a tokenizer of `num_tokens` ids: `vocab_size` filled in, or checked."""
        if self.vocab_size and self.vocab_size < num_tokens:
            raise UserError(
                f"model.vocab_size: expected at least the tokenizer's {num_tokens} ids, "
                f"got {self.vocab_size}: raise it, or set 0 to take the tokenizer's number"
            )
        return replace(self, vocab_size=self.vocab_size or num_tokens)

    @property
    def known_vocab_size(self) -> int:
        """V: `vocab_size`; a UserError if the tokenizer has yet to decide it."""
        if not self.vocab_size:
            raise UserError(
                "model.vocab_size: expected the number of ids, got 0 (the tokenizer decides): "
                "use config.with_vocabulary(tokenizer.vocab_size) first"
            )
        return self.vocab_size

    @property
    def _head_matrix(self) -> int:
        return self.known_vocab_size * self.model_dim

    @property
    def _block_matrices(self) -> int:
        kv_width = self.kv_heads * self.head_dim
        attention = 2 * self.model_dim * self.model_dim + 2 * self.model_dim * kv_width
        return attention + self._ffn_matrices * self.model_dim * self.ffn_width

    @property
    def _block_biases(self) -> int:
        if not self.has_bias:
            return 0
        kv_width = self.kv_heads * self.head_dim
        mlp = (self._ffn_matrices - 1) * self.ffn_width + self.model_dim
        return 2 * self.model_dim + 2 * kv_width + mlp

    @property
    def _ffn_matrices(self) -> int:
        return 3 if self.activation == "swiglu" else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig:
    """How text becomes ids."""

    kind: Literal["bytes", "characters", "bpe"] = "bpe"  # bpe is trained on the training text
    vocab_size: int = 4096  # ids of bpe, with bytes and <|endoftext|>; the other kinds need no number

    def __post_init__(self) -> None:
        _check_types(self, TokenizerConfig, "tokenizer")
        _check_at_least(self, "tokenizer", 257, "vocab_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The text, and the share of it that is held out to evaluate the model."""

    paths: tuple[str, ...] = ()  # files, folders or - ; none: the prose of this Python installation
    holdout: float = 0.1  # share of the text that is held out

    def __post_init__(self) -> None:
        _check_types(self, DataConfig, "data")
        if not 0 < self.holdout < 1:
            raise UserError(f"data.holdout: expected a share in (0, 1), got {self.holdout}: 0.1 is usual")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW, or Muon and AdamW, and the schedule of the learning rate (see gpt/optim/schedule.py)."""

    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: Muon for the blocks' matrices, AdamW for the rest
    learning_rate: float = 1e-3  # at its peak
    muon_learning_rate: float = 0.02  # for muon's matrices, at its peak
    muon_momentum: float = 0.95  # decay of their gradient's running mean
    min_learning_rate_ratio: float = 0.1  # the last learning rate, as a share of the peak
    schedule: Literal["cosine", "warmup_stable_decay", "constant"] = "cosine"  # after the warm-up
    warmup_steps: int = 100  # steps of linear warm-up
    decay_steps: int = 0  # final decay of warmup_stable_decay, in steps; 0: the last fifth of the run
    beta1: float = 0.9  # decay of the gradient's running mean
    beta2: float = 0.99  # decay of the squared gradient's running mean
    eps: float = 1e-8  # added to the root of the second moment
    weight_decay: float = 0.1  # for matrices; biases and norms do not decay
    clip_norm: float = 1.0  # largest global gradient norm; 0: no clipping

    def __post_init__(self) -> None:
        _check_types(self, OptimConfig, "optim")
        _check_above_zero(self, "optim", "learning_rate", "muon_learning_rate", "eps")
        _check_at_least(self, "optim", 0, "warmup_steps", "decay_steps", "weight_decay", "clip_norm")
        if not 0 <= self.min_learning_rate_ratio <= 1:
            raise UserError(
                f"optim.min_learning_rate_ratio: expected a share in [0, 1], "
                f"got {self.min_learning_rate_ratio}: 0.1 ends at a tenth of the peak"
            )
        for name in ("beta1", "beta2", "muon_momentum"):
            if not 0 <= (decay := getattr(self, name)) < 1:
                raise UserError(f"optim.{name}: expected a decay in [0, 1), got {decay}: 0.9 is usual")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole training run."""

    steps: int = 1000  # optimizer steps
    batch_size: int = 16  # sequences per optimizer step
    micro_batch_size: int = 0  # sequences in memory at once, a divisor of batch_size; 0: all of them
    time_limit_s: float = 0.0  # stop after this many seconds, at the end of a step; 0: never
    eval_interval_steps: int = 250  # steps between evaluations on held-out text; 0: only at the end
    eval_batches: int = 0  # batches of batch_size sequences in an evaluation; 0: all held-out text
    checkpoint_interval_steps: int = 250  # steps between checkpoints; 0: only at the end
    keep_checkpoints: int = 2  # latest checkpoints kept; 0: all
    log_interval_steps: int = 10  # steps between lines of metrics.jsonl
    seed: int = 0  # of initialisation, data order and dropout
    precision: Literal["float32", "float64", "bf16", "fp16"] = "float32"  # bf16, fp16: mixed precision
    device: str = "cpu"  # where the arrays live: cpu, cuda, or cuda:N for GPU number N
    threads: int = 0  # on the CPU; results do not depend on it; 0: one per core
    require_fast: bool = False  # on a GPU: fail rather than use a slower library
    unordered: bool = False  # on a GPU: sum attention's gradients in any order, so a run cannot be repeated bit for bit
    cuda_graph: bool = False  # on a GPU: record the step once, then launch it as one; bitwise the same
    recompute: bool = False  # compute each block again in backward: less memory, more time
    model: ModelConfig = field(default_factory=ModelConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        _check_types(self, TrainConfig)
        _check_at_least(self, "", 1, "steps", "batch_size", "log_interval_steps")
        _check_at_least(
            self, "", 0, "threads", "micro_batch_size", "time_limit_s", "eval_interval_steps", "eval_batches"
        )
        _check_at_least(self, "", 0, "checkpoint_interval_steps", "keep_checkpoints")
        if self.threads > _MAX_THREADS:
            raise UserError(f"threads: expected {_MAX_THREADS} at most, got {self.threads}: 0 takes one per core")
        if not 0 <= self.seed < 2**64:
            raise UserError(f"seed: expected an integer in 0 .. 2**64 - 1, got {self.seed}: 0 is as good")
        if self.batch_size % self.micro_batch:
            raise UserError(
                f"micro_batch_size: expected a divisor of batch_size = {self.batch_size}, "
                f"got {self.micro_batch_size}: 0 takes the batch in one piece"
            )
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise UserError(f"device: expected cpu, cuda or cuda:N, got {self.device!r}: choose one of those")
        for name in ("require_fast", "unordered", "cuda_graph"):
            if getattr(self, name) and self.device == "cpu":
                raise UserError(f"{name}: expected device cuda with it, got cpu: set device, or leave it out")

    @property
    def micro_batch(self) -> int:
        """`micro_batch_size`, or `batch_size` if that is 0."""
        return self.micro_batch_size or self.batch_size

    @property
    def tokens_per_step(self) -> int:
        """Tokens predicted in one optimizer step."""
        return self.batch_size * self.model.context_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen, and when to stop."""

    max_tokens: int = 200  # at most this many new tokens
    temperature: float = 0.8  # divides the logits; 0: always the likeliest token; 1: draw as the model says
    top_k: int = 0  # draw from the k likeliest tokens; 0: from all
    top_p: float = 1.0  # draw from the likeliest tokens that together have this probability
    min_p: float = 0.0  # drop tokens less likely than this share of the likeliest one's probability
    stop: tuple[str, ...] = ()  # end before the first of these texts

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"max_tokens: expected 1 or more, got {self.max_tokens}: raise it")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"temperature: expected a number from 0 on, got {self.temperature}: 0.8 is usual")
        if self.top_k < 0:
            raise UserError(f"top_k: expected 0 (all tokens) or more, got {self.top_k}: raise it")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p: expected a share in (0, 1], got {self.top_p}: 1 keeps all tokens")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min_p: expected a share in [0, 1], got {self.min_p}: 0 keeps all tokens")
        if isinstance(self.stop, str) or not all(self.stop):
            raise UserError(f"stop: expected texts that are not empty, got {self.stop!r}: leave it out for none")


def _check_types(config: DataclassInstance, declared: type, group: str = "") -> None:
    """Raise UserError unless each field of `declared` has its type. A float may be an int; a bool is no number."""
    for name, hint in get_type_hints(declared).items():
        value = getattr(config, name)
        if get_origin(hint) is Literal:
            expected = "one of " + ", ".join(map(str, get_args(hint)))
            is_right = value in get_args(hint)
        elif get_origin(hint) is tuple:
            expected = "a list of strings"
            is_right = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        elif hint is float:
            expected = "a finite number"
            is_right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        elif hint is int:
            expected = "an integer"
            is_right = isinstance(value, int) and not isinstance(value, bool)
        else:
            expected = "true or false" if hint is bool else f"a {hint.__name__}"
            is_right = isinstance(value, hint)
        if not is_right:
            raise UserError(f"{_dotted(group, name)}: expected {expected}, got {value!r}: give it such a value")


def _check_at_least(config: DataclassInstance, group: str, minimum: int, *names: str) -> None:
    for name in names:
        if (value := getattr(config, name)) < minimum:
            raise UserError(f"{_dotted(group, name)}: expected {minimum} or more, got {value}: raise it")


def _check_above_zero(config: DataclassInstance, group: str, *names: str) -> None:
    for name in names:
        if (value := getattr(config, name)) <= 0:
            raise UserError(f"{_dotted(group, name)}: expected a number above 0, got {value}: raise it")


def _dotted(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name
