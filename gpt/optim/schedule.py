"""The learning rate as a pure function of the step: a resumed run needs no state for it.

All three schedules begin with a linear warm-up and count steps from 0; `total_steps` is the length of
the run. They are continuous in the step, never negative and never above `peak`. From the end of the
run on, `warmup_cosine` and `warmup_stable_decay` give `floor`, if the warm-up is over by then.
"""

from __future__ import annotations

import math

from gpt.config import OptimConfig

__all__ = ["constant", "learning_rate", "warmup_cosine", "warmup_stable_decay"]


def learning_rate(optim: OptimConfig, step: int, total_steps: int) -> float:
    """The learning rate of update number `step` (0 is the first) under `optim`."""
    peak = optim.learning_rate
    floor = peak * optim.min_learning_rate_ratio
    match optim.schedule:
        case "cosine":
            return warmup_cosine(step, peak, floor, warmup_steps=optim.warmup_steps, total_steps=total_steps)
        case "warmup_stable_decay":
            return warmup_stable_decay(
                step,
                peak,
                floor,
                warmup_steps=optim.warmup_steps,
                decay_steps=optim.decay_steps or max(1, total_steps // 5),
                total_steps=total_steps,
            )
        case "constant":
            return constant(step, peak, warmup_steps=optim.warmup_steps)


def constant(step: int, peak: float, *, warmup_steps: int) -> float:
    """A linear warm-up, then `peak` for ever.

    The first update has 1 / (warmup_steps + 1) of the peak, the first after the warm-up all of it.
    This is nanoGPT's convention, so that runs compare.
    """
    return peak * min(1.0, (step + 1) / (warmup_steps + 1))


def warmup_cosine(step: int, peak: float, floor: float, *, warmup_steps: int, total_steps: int) -> float:
    """A linear warm-up, then half a cosine down to `floor` at `total_steps`.

    Source: Loshchilov & Hutter 2017 (arXiv:1608.03983), without restarts.
    """
    if step < warmup_steps:
        return constant(step, peak, warmup_steps=warmup_steps)
    if step >= total_steps:
        return floor
    share_done = (step - warmup_steps) / (total_steps - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * share_done))


def warmup_stable_decay(
    step: int, peak: float, floor: float, *, warmup_steps: int, decay_steps: int, total_steps: int
) -> float:
    """A linear warm-up, a plateau at `peak`, and over the last `decay_steps` a drop to `floor`.

    During the decay the rate is peak - (peak - floor) * sqrt(share of the decay done), which reaches
    a lower loss than a linear decay (Hägele et al. 2024, arXiv:2405.18392). The plateau does not
    depend on the run's length: a checkpoint from it can be trained on, or decayed at any time. If
    warm-up and decay overlap in a short run, the smaller of the two applies.
    """
    share_done = (step - (total_steps - decay_steps)) / decay_steps
    decayed = peak - (peak - floor) * math.sqrt(min(1.0, max(0.0, share_done)))
    return min(constant(step, peak, warmup_steps=warmup_steps), decayed)
