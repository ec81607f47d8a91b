"""Continuing a text, token by token.

The keys and values of all tokens so far are cached, so a new token costs the work of one. When the
context is full, the cache starts again with the context's last half: each token is drawn from the
half context before it, or more.

A continuation is a function of (model, prompt, sampling, seed): the token at position i is drawn
with Key(seed).fold_in(i). In a batch every request has its own seed, length and window. Other
requests change at most the last bits of its logits, through the order of sums in matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

import tensorgrad
from gpt.config import Sampling
from gpt.data.tokenizer import StreamDecoder, Tokenizer, required
from gpt.errors import UserError
from gpt.model import GPT
from gpt.model.cache import KVCache
from gpt.model.embedding import check_ids
from tensorgrad import Key
from tensorgrad.array import Array

__all__ = ["Sampling", "generate", "generate_batch", "generate_ids", "sample_id"]


def generate(
    model: GPT, tokenizer: Tokenizer | None, prompt: str | Sequence[int], *, sampling: Sampling, seed: int = 0
) -> Iterator[str]:
    """The text that follows the prompt, in pieces, as it is generated.

    Ends at the end-of-text token, before a stop text, or after `max_tokens`. A piece never ends
    inside a character; a character that is incomplete at the end is left out.

    Args:    prompt: text or ids; empty: begin a document.
    Raises:  UserError, at the call: no tokenizer, ids out of the vocabulary, no ids and no end of text.
    """
    tokenizer = required(tokenizer)
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
    """The whole continuation of each prompt with its seed, as `generate` gives it, generated together."""
    tokenizer = required(tokenizer)
    if len(seeds) != len(prompts):
        raise UserError(f"seeds: expected one for each of {len(prompts)} prompts, got {len(seeds)}: give as many")
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
    """The ids that follow `ids`, one at a time, until `end_id` or `max_tokens`. Ignores stop texts.

    Raises:  UserError, at the call: no ids, or ids out of the vocabulary.
    """
    request = _Request(_checked_ids(ids, model.config.vocab_size), Key(seed), sampling)
    return _new_ids(model, request, end_id, model.config.vocab_size)


def sample_id(logits_V: Array, sampling: Sampling, key: Key) -> int:
    """Draw an id from the logits of one position.

    Divide the logits by the temperature, keep the `top_k` likeliest tokens and normalise; then keep
    those within `top_p` and above `min_p`. Equal logits rank by id. One uniform number chooses among
    the tokens that are left, in proportion to their probabilities.
    """
    logits = logits_V.astype(np.float64)
    if not np.isfinite(logits).all():
        raise UserError("logits: expected finite numbers, got others: the model is broken, or diverged in training")
    if not sampling.temperature:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[: sampling.top_k or None]
    ranked = logits[order]
    # Subtract first, so that a tiny temperature makes no infinities.
    with np.errstate(over="ignore"):
        weights = np.exp((ranked - ranked[0]) / sampling.temperature)
    before = np.cumsum(weights) - weights
    is_kept = (before < sampling.top_p * weights.sum()) & (weights >= sampling.min_p)
    ends = np.cumsum(weights[is_kept])
    place = np.searchsorted(ends, float(key.uniform((), dtype="float64")) * ends[-1], side="right")
    return int(order[is_kept][min(place, len(ends) - 1)])


@dataclass(slots=True, eq=False)
class _Request:
    """One sequence that is being continued."""

    ids: list[int]
    key: Key
    sampling: Sampling
    window_start: int = 0  # position of the first id in the cache
    is_done: bool = False
    num_prompt: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_prompt = len(self.ids)

    def draw(self, logits_V: Array, end_id: int | None) -> None:
        """Add the next id, or end if it is `end_id`."""
        drawn = sample_id(logits_V, self.sampling, self.key.fold_in(len(self.ids)))
        if drawn == end_id:
            self.is_done = True
        else:
            self.ids.append(drawn)

    @property
    def has_room(self) -> bool:
        return not self.is_done and len(self.ids) - self.num_prompt < self.sampling.max_tokens


def _new_ids(model: GPT, request: _Request, end_id: int | None, num_ids: int) -> Iterator[int]:
    """The new ids of one request."""
    return (request.ids[-1] for advanced in _decode(model, [request], end_id, num_ids) for request in advanced)


def _decode(model: GPT, requests: list[_Request], end_id: int | None, num_ids: int) -> Iterator[list[_Request]]:
    """Add one id below `num_ids` to each request, and yield the requests that got one, until all are done.

    The caller may set `is_done` to end a request.
    """
    active = requests
    cache = model.empty_cache(len(active))
    logits_BV = np.stack([_begin(model, request, cache.row(row)) for row, request in enumerate(active)])
    while active:
        for request, logits_V in zip(active, logits_BV, strict=True):
            # A model may have more ids than its tokenizer: padding, which is never drawn.
            request.draw(logits_V[:num_ids], end_id)
        yield [request for request in active if not request.is_done]
        rows = [row for row, request in enumerate(active) if request.has_room]
        if len(rows) < len(active):
            cache, active = cache.select(rows), [active[row] for row in rows]
        if active:
            logits_BV = _advance(model, active, cache)


def _begin(model: GPT, request: _Request, cache: KVCache) -> Array:
    """Fill an empty cache of one sequence with the request's ids. Returns the logits after the last, (V,)."""
    length, capacity = len(request.ids) - request.window_start, model.config.context_length
    if length > capacity:
        request.window_start = len(request.ids) - max(1, capacity // 2)
    hidden_1TC = model.hidden([request.ids[request.window_start :]], cache=cache)
    with tensorgrad.no_grad():
        logits_V: Array = model.logits(hidden_1TC[:, -1:]).numpy()[0, 0]
    return logits_V


def _advance(model: GPT, requests: list[_Request], cache: KVCache) -> Array:
    """Feed each request's last id. Returns the logits after it, (B, V)."""
    is_full_B = cache.lengths_B >= model.config.context_length
    if not is_full_B.any():
        return model([request.ids[-1:] for request in requests], cache=cache).numpy()[:, 0]
    # Refill each full row alone, then feed the others together.
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
    """Ids in, text out: only whole characters, and nothing that may still become a stop text."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self.is_stopped = False
        self._decoder = StreamDecoder(tokenizer)
        self._stop = stop
        self._held = ""

    def feed(self, token_id: int) -> str:
        """The text that this id makes certain. From a stop text on, all text is dropped."""
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
        """The text that was held back and did not become a stop text."""
        out, self._held = self._held, ""
        return out


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def _prompt_ids(tokenizer: Tokenizer, prompt: str | Sequence[int]) -> list[int]:
    """The ids to continue. For an empty prompt: the end of text, or a newline if the tokenizer has none."""
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    if len(ids):
        return _checked_ids(ids, tokenizer.vocab_size)
    return tokenizer.encode("\n") if tokenizer.end_of_text_id is None else [tokenizer.end_of_text_id]


def _checked_ids(ids: Sequence[int], vocab_size: int) -> list[int]:
    if not len(ids):
        raise UserError("prompt: expected at least one token to continue, got none: give one")
    check_ids(np.asarray(ids), vocab_size)
    return [int(i) for i in ids]
