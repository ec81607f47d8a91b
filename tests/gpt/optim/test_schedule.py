"""Learning-rate schedules: end points, bounds, continuity, nanoGPT's numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.config import OptimConfig
from gpt.optim.schedule import constant, learning_rate, warmup_cosine, warmup_stable_decay

SCHEDULES = ("cosine", "warmup_stable_decay", "constant")

optims = st.builds(
    OptimConfig,
    schedule=st.sampled_from(SCHEDULES),
    learning_rate=st.floats(1e-6, 1.0),
    min_learning_rate_ratio=st.floats(0.0, 1.0),
    warmup_steps=st.integers(0, 60),
    decay_steps=st.integers(0, 60),
)


@given(optim=optims, step=st.integers(0, 200), total_steps=st.integers(1, 150))
def test_never_negative_never_above_the_peak(optim: OptimConfig, step: int, total_steps: int) -> None:
    rate = learning_rate(optim, step, total_steps)
    assert 0.0 <= rate <= optim.learning_rate * (1 + 1e-12)


@given(optim=optims, total_steps=st.integers(1, 150))
def test_warm_up_rises_and_the_rest_never_does(optim: OptimConfig, total_steps: int) -> None:
    rates = [learning_rate(optim, step, total_steps) for step in range(total_steps + 1)]
    top = rates.index(max(rates))
    assert all(a <= b for a, b in pairwise(rates[: top + 1]))
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(rates[top:]))


@given(schedule=st.sampled_from(SCHEDULES), warmup_steps=st.integers(0, 5000), step=st.integers(0, 20_000))
def test_continuous_in_the_step(schedule: str, warmup_steps: int, step: int) -> None:
    """No jump: in 10,000 steps, one step changes the rate by at most a hundredth (or the warm-up's share)."""
    optim = OptimConfig(schedule=schedule, warmup_steps=warmup_steps, learning_rate=1.0)  # type: ignore[arg-type]
    # Steepest is the square root's first step of 2,000: sqrt(1 / 2000) = 0.022.
    change = learning_rate(optim, step + 1, 10_000) - learning_rate(optim, step, 10_000)
    assert abs(change) <= max(0.0224, 1 / (warmup_steps + 1)) * (1 + 1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_end_points(schedule: str) -> None:
    optim = OptimConfig(
        schedule=schedule,  # type: ignore[arg-type]
        learning_rate=2e-3,
        min_learning_rate_ratio=0.25,
        warmup_steps=9,
        decay_steps=40,
    )
    assert learning_rate(optim, 0, 100) == pytest.approx(2e-4, rel=1e-12)
    assert learning_rate(optim, 9, 100) == pytest.approx(2e-3, rel=1e-12)
    end = 2e-3 if schedule == "constant" else 5e-4
    assert learning_rate(optim, 100, 100) == pytest.approx(end, rel=1e-12)
    assert learning_rate(optim, 1000, 100) == pytest.approx(end, rel=1e-12)


def test_cosine_is_half_way_at_half_time() -> None:
    assert warmup_cosine(55, 1.0, 0.2, warmup_steps=10, total_steps=100) == pytest.approx(0.6, rel=1e-12)


def test_nanogpt_values() -> None:
    """nanoGPT's CPU run: peak 1e-3, floor 1e-4, 100 warm-up steps of 2,000; values from its formula."""

    def rate(step: int) -> float:
        return warmup_cosine(step, 1e-3, 1e-4, warmup_steps=100, total_steps=2000)

    assert rate(0) == pytest.approx(1e-3 / 101, rel=1e-12)
    assert rate(99) == pytest.approx(1e-3 * 100 / 101, rel=1e-12)
    assert rate(100) == pytest.approx(1e-3, rel=1e-12)
    assert rate(1050) == pytest.approx(5.5e-4, rel=1e-12)
    assert rate(2000) == 1e-4


def test_stable_decay_has_a_plateau_and_a_root_shaped_end() -> None:
    def rate(step: int, total_steps: int = 100) -> float:
        return warmup_stable_decay(step, 1.0, 0.0, warmup_steps=10, decay_steps=16, total_steps=total_steps)

    assert [rate(step) for step in range(10, 85)] == [1.0] * 75
    assert rate(88) == pytest.approx(1 - math.sqrt(4 / 16), rel=1e-12)
    assert rate(100) == 0.0
    # Before the decay, the length of the run makes no difference.
    assert [rate(step) for step in range(84)] == [rate(step, 1000) for step in range(84)]


def test_default_decay_is_the_last_fifth() -> None:
    optim = OptimConfig(schedule="warmup_stable_decay", warmup_steps=0, learning_rate=1.0)
    assert learning_rate(optim, 80, 100) == 1.0
    assert learning_rate(optim, 81, 100) < 1.0


def test_runs_shorter_than_the_warm_up_only_warm_up() -> None:
    rates = [warmup_cosine(step, 1.0, 0.1, warmup_steps=100, total_steps=20) for step in range(20)]
    assert rates == [constant(step, 1.0, warmup_steps=100) for step in range(20)]
