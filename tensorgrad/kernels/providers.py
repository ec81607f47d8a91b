"""Which implementation computes what on a device: chosen once by trying, and kept with the reasons.

Each need (kernels, attention, gemm) has candidates in order of preference. A candidate is probed at first use: import
it, look at its version, compute something tiny and compare. The first that passes is used from then on. Which ones
were rejected before it, and why, is logged once and kept: for `tensorgrad.doctor`, for the results of benchmarks, and
for `--require-fast`, under which a fallback is an error.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tensorgrad.errors import DeviceError

__all__ = ["Choice", "Fallback", "choices", "choose", "fallbacks", "fell_back", "forget", "requiring_fast"]

Provider = TypeVar("Provider")

_log = logging.getLogger("tensorgrad")


@dataclass(frozen=True)
class Choice:
    """The provider chosen for a need, and why the preferred ones were rejected."""

    need: str
    chosen: str
    rejected: tuple[tuple[str, str], ...]  # name and reason, in order of preference


@dataclass(frozen=True)
class Fallback:
    """A kind of call that the chosen provider does not take, and the provider used instead."""

    need: str
    used: str
    reason: str


_choices: dict[str, Choice] = {}
_chosen: dict[str, Any] = {}
_fallbacks: dict[Fallback, None] = {}  # a set that keeps its order
_is_fast_required: contextvars.ContextVar[bool] = contextvars.ContextVar("_is_fast_required", default=False)
_is_probing: contextvars.ContextVar[bool] = contextvars.ContextVar("_is_probing", default=False)


def choose(need: str, candidates: Sequence[tuple[str, Callable[[], Provider]]]) -> Provider:
    """The provider that the first successful probe returns; the same one from then on.

    Args:    candidates: names and probes, in order of preference. The last should always work.
    Raises:  DeviceError: no candidate works, or, within `requiring_fast`, the first does not.
    """
    if need in _chosen:
        return _chosen[need]  # type: ignore[no-any-return]
    rejected: list[tuple[str, str]] = []
    for name, probe in candidates:
        token = _is_probing.set(True)
        try:
            provider = probe()
        except Exception as problem:  # any failure in a foreign library is a reason not to use it
            rejected.append((name, f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__))
            continue
        finally:
            _is_probing.reset(token)
        _choices[need], _chosen[need] = Choice(need, name, tuple(rejected)), provider
        if rejected:
            _log.warning("%s by %s: %s", need, name, _reasons(rejected))
            if _is_fast_required.get():
                raise _too_slow(need, candidates[0][0], name, _reasons(rejected))
        return provider
    raise DeviceError(
        f"{need}: expected one of {', '.join(name for name, _ in candidates)} to work, got {_reasons(rejected)}: "
        "install the extra cuda13 or cuda12"
    )


def fell_back(need: str, used: str, reason: str) -> None:
    """Report, once, that `used` computes a kind of call, for `reason`. Calls made by a probe do not count.

    Raises:  DeviceError within `requiring_fast`.
    """
    if _is_probing.get():
        return
    fallback = Fallback(need, used, reason)
    if fallback not in _fallbacks:
        _fallbacks[fallback] = None
        _log.warning("%s by %s: %s", need, used, reason)
    if _is_fast_required.get():
        raise _too_slow(need, _choices[need].chosen if need in _choices else "a faster one", used, reason)


def choices() -> tuple[Choice, ...]:
    """The choices so far, sorted by need."""
    return tuple(_choices[need] for need in sorted(_choices))


def fallbacks() -> tuple[Fallback, ...]:
    """The fallbacks so far, in the order in which they first happened."""
    return tuple(_fallbacks)


def forget() -> None:
    """Choose anew at the next use: for tests, and after something was installed."""
    _choices.clear()
    _chosen.clear()
    _fallbacks.clear()


@contextmanager
def requiring_fast() -> Iterator[None]:
    """Within it a fallback to a slower provider raises DeviceError, and so does a choice that fell back before."""
    for choice in choices():
        if choice.rejected:
            raise _too_slow(choice.need, choice.rejected[0][0], choice.chosen, _reasons(choice.rejected))
    token = _is_fast_required.set(True)
    try:
        yield
    finally:
        _is_fast_required.reset(token)


def _reasons(rejected: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in rejected)


def _too_slow(need: str, expected: str, got: str, why: str) -> DeviceError:
    return DeviceError(f"{need}: expected {expected}, as the fast provider is required, got {got}, as {why}: fix that")
