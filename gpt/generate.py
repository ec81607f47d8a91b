"""Continuing a text, token by token.

The keys and values of all tokens so far are cached, so each new token costs the work of one. When
the context is full, it begins anew with its last half: the window slides in steps of half a
context, and a token is drawn in view of at least that much.

A continuation is a function of (model, prompt, sampling, seed): the token at position i is drawn
with Key(seed).fold_in(i). In a batch every request keeps its own seed, length and window. The
others' presence changes at most the last bits of its logits, by the order of sums in the products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

import tensorgrad
from gpt.data.tokenizer import StreamDecoder, Tokenizer
from gpt.errors import UserError
from gpt.model import GPT
from gpt.model.cache import KVCache
from tensorgrad import Key
from tensorgrad.array import Array

__all__ = ["Sampling", "generate", "generate_batch", "generate_ids", "sample_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen, and when to stop."""

    max_tokens: int = 200  # at most this many new tokens
    temperature: float = 0.8  # logits are divided by it; 0: always the likeliest token
    top_k: int = 0  # only the k likeliest tokens; 0: all
    top_p: float = 1.0  # only the likeliest tokens that together have this probability
    min_p: float = 0.0  # only tokens at least this share as likely as the likeliest
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


def generate(
    model: GPT, tokenizer: Tokenizer | None, prompt: str | Sequence[int], *, sampling: Sampling, seed: int = 0
) -> Iterator[str]:
    """What follows the prompt, in pieces as it is made; without the prompt.

    Ends at the end-of-text token, before a stop text, or after `max_tokens`. A piece never ends
    within a character; one that the last token leaves incomplete is left out.

    Args:    prompt: text or ids; empty: the beginning of a document.
    Raises:  UserError, at once: no tokenizer, ids out of the vocabulary, nothing to begin with.
    """
    tokenizer = _usable(tokenizer)
    text = _Text(tokenizer, sampling.stop)
    request = _Request(_prompt_ids(tokenizer, prompt), Key(seed), sampling)

    def pieces() -> Iterator[str]:
        for token_id in _new_ids(model, request, tokenizer.end_of_text_id, tokenizer.vocab_size):
            if piece := text.feed(token_id):
                yield piece
            if text.is_stopped:
                return
        if piece := text.finish():
            yield piece

    return pieces()


def generate_batch(
    model: GPT,
    tokenizer: Tokenizer | None,
    prompts: Sequence[str | Sequence[int]],
    *,
    sampling: Sampling,
    seeds: Sequence[int],
) -> list[str]:
    """The whole continuation of each prompt with its seed, as `generate` would give it, made side by side."""
    tokenizer = _usable(tokenizer)
    if len(seeds) != len(prompts):
        raise UserError(f"seeds: expected one for each of {len(prompts)} prompts, got {len(seeds)}")
    requests = [_Request(_prompt_ids(tokenizer, p), Key(s), sampling) for p, s in zip(prompts, seeds, strict=True)]
    texts = [_Text(tokenizer, sampling.stop) for _ in prompts]
    outputs = [""] * len(prompts)
    number = {id(request): i for i, request in enumerate(requests)}
    for advanced in _decode(model, requests, tokenizer.end_of_text_id, tokenizer.vocab_size):
        for request in advanced:
            i = number[id(request)]
            outputs[i] += texts[i].feed(request.ids[-1])
            request.is_done |= texts[i].is_stopped
    return [out + text.finish() for out, text in zip(outputs, texts, strict=True)]


def generate_ids(
    model: GPT, ids: Sequence[int], *, sampling: Sampling, seed: int = 0, end_id: int | None = None
) -> Iterator[int]:
    """The ids that follow `ids`, one at a time; ends before `end_id`. Stop texts play no part.

    Raises:  UserError, at once: no ids, or some out of the vocabulary.
    """
    request = _Request(_checked_ids(ids, model.config.vocab_size), Key(seed), sampling)
    return _new_ids(model, request, end_id, model.config.vocab_size)


def sample_id(logits_V: Array, sampling: Sampling, key: Key) -> int:
    """The id drawn from the logits of one position.

    The logits are divided by the temperature; of the resulting probabilities only those that
    `top_k` keeps remain, of these (together 1 again) those that `top_p` keeps, then those that
    `min_p` keeps. Equal logits rank by id. One uniform number then chooses among what is left.
    """
    logits = logits_V.astype(np.float64)
    if not np.isfinite(logits).all():
        raise UserError("logits: expected finite numbers, got others: the model is broken, or diverged in training")
    if not sampling.temperature:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[: sampling.top_k or None]
    ranked = logits[order]
    # Differences first: a tiny temperature must not make infinities.
    with np.errstate(over="ignore"):
        weights = np.exp((ranked - ranked[0]) / sampling.temperature)
    before = np.cumsum(weights) - weights
    is_kept = (before < sampling.top_p * weights.sum()) & (weights >= sampling.min_p)
    ends = np.cumsum(weights[is_kept])
    place = np.searchsorted(ends, float(key.uniform((), dtype="float64")) * ends[-1], side="right")
    return int(order[is_kept][min(place, len(ends) - 1)])


@dataclass(slots=True, eq=False)
class _Request:
    """One sequence on its way."""

    ids: list[int]
    key: Key
    sampling: Sampling
    window_start: int = 0  # where the ids in the cache begin
    is_done: bool = False
    num_prompt: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_prompt = len(self.ids)

    def draw(self, logits_V: Array, end_id: int | None) -> None:
        """Add the next id, or end before it."""
        drawn = sample_id(logits_V, self.sampling, self.key.fold_in(len(self.ids)))
        if drawn == end_id:
            self.is_done = True
        else:
            self.ids.append(drawn)

    @property
    def has_room(self) -> bool:
        return not self.is_done and len(self.ids) - self.num_prompt < self.sampling.max_tokens


def _new_ids(model: GPT, request: _Request, end_id: int | None, num_ids: int) -> Iterator[int]:
    """The ids that one request gets."""
    return (request.ids[-1] for advanced in _decode(model, [request], end_id, num_ids) for request in advanced)


def _decode(model: GPT, requests: list[_Request], end_id: int | None, num_ids: int) -> Iterator[list[_Request]]:
    """Add an id below `num_ids` to each request in turn, and give out those that got one, until all are done.

    The caller may set `is_done` of a request that it wants no more of.
    """
    active = requests
    cache = model.empty_cache(len(active))
    logits_BV = np.stack([_begin(model, request, cache.row(row)) for row, request in enumerate(active)])
    while active:
        for request, logits_V in zip(active, logits_BV, strict=True):
            # A model may have more ids than its tokenizer: padding, which stands for nothing.
            request.draw(logits_V[:num_ids], end_id)
        yield [request for request in active if not request.is_done]
        rows = [row for row, request in enumerate(active) if request.has_room]
        if len(rows) < len(active):
            cache, active = cache.select(rows), [active[row] for row in rows]
        if active:
            logits_BV = _advance(model, active, cache)


def _begin(model: GPT, request: _Request, cache: KVCache) -> Array:
    """Fill an empty cache of one sequence with the request's ids; returns the logits after the last, (V,)."""
    length, capacity = len(request.ids) - request.window_start, model.config.context_length
    if length > capacity:
        request.window_start = len(request.ids) - max(1, capacity // 2)
    hidden_1TC = model.hidden([request.ids[request.window_start :]], cache=cache)
    with tensorgrad.no_grad():
        logits_V: Array = model.logits(hidden_1TC[:, -1:]).numpy()[0, 0]
    return logits_V


def _advance(model: GPT, requests: list[_Request], cache: KVCache) -> Array:
    """Feed each request's last id; returns the logits after it, (B, V)."""
    is_full_B = cache.lengths_B >= model.config.context_length
    if not is_full_B.any():
        return model([request.ids[-1:] for request in requests], cache=cache).numpy()[:, 0]
    # The rows whose window slides are filled alone, and the others go on together.
    logits_BV = np.empty((len(requests), model.config.vocab_size), model.compute_dtype)
    for row in np.flatnonzero(is_full_B).tolist():
        cache.lengths_B[row] = 0
        logits_BV[row] = _begin(model, requests[row], cache.row(row))
    rest: list[int] = np.flatnonzero(~is_full_B).tolist()
    if rest:
        part = cache.select(rest)
        logits_BV[rest] = _advance(model, [requests[row] for row in rest], part)
        cache.put(rest, part)
    return logits_BV


class _Text:
    """Ids in, text out: whole characters only, and nothing that could turn out to be a stop text."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self.is_stopped = False
        self._decoder = StreamDecoder(tokenizer)
        self._stop = stop
        self._held = ""

    def feed(self, token_id: int) -> str:
        """The text that is certain with this id; what follows a stop text is dropped."""
        if self.is_stopped:
            return ""
        self._held += self._decoder.feed(token_id)
        places = [place for place in map(self._held.find, self._stop) if place >= 0]
        if places:
            self.is_stopped = True
            out, self._held = self._held[: min(places)], ""
            return out
        certain = len(self._held) - max((_overlap(self._held, stop) for stop in self._stop), default=0)
        out, self._held = self._held[:certain], self._held[certain:]
        return out

    def finish(self) -> str:
        """What was held back, as no stop text came of it."""
        out, self._held = self._held, ""
        return out


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def _usable(tokenizer: Tokenizer | None) -> Tokenizer:
    if tokenizer is None:
        raise UserError("expected a model with a tokenizer, got none beside it: put its tokenizer.json there")
    return tokenizer


def _prompt_ids(tokenizer: Tokenizer, prompt: str | Sequence[int]) -> list[int]:
    """The ids to continue. An empty prompt is the end of the text before, or an empty line where there is none."""
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    if len(ids):
        return _checked_ids(ids, tokenizer.vocab_size)
    return tokenizer.encode("\n") if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id]


def _checked_ids(ids: Sequence[int], vocab_size: int) -> list[int]:
    if not len(ids):
        raise UserError("prompt: expected at least one token to continue, got none: give one")
    bad = [i for i in ids if not 0 <= i < vocab_size]
    if bad:
        raise UserError(f"prompt: expected ids in 0 .. {vocab_size - 1}, got {bad[0]}: use the model's own tokenizer")
    return [int(i) for i in ids]
