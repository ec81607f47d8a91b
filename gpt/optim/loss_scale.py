"""Loss scaling: gradients multiplied through backward so that float16 does not flush them to zero.

The factor is as large as overflow permits: halved when a gradient is not finite (that update is left
out), doubled after `_PATIENCE` updates without one. All of it is arithmetic on the device; nothing
waits for a result.

Source: Micikevicius et al., "Mixed precision training", 2018, section 3.2; the numbers are PyTorch's.
"""

from __future__ import annotations

from tensorgrad.array import Array, module_of

__all__ = ["update_scale"]

FIRST = 2.0**16
_PATIENCE = 2000
_LARGEST = 2.0**24  # far above what any loss needs, far below what float32 holds


def update_scale(state_2: Array, norm: Array) -> None:
    """Adapt [factor, updates since it last changed] in place, after a gradient of this norm. Never below 1."""
    xp = module_of(state_2)
    scale, count = state_2[0], state_2[1]
    is_finite = xp.isfinite(norm)
    is_due = count + 1 >= _PATIENCE
    grown = xp.where(is_due, xp.minimum(scale * 2, _LARGEST), scale)
    state_2[0] = xp.where(is_finite, grown, xp.maximum(scale / 2, 1))
    state_2[1] = xp.where(is_finite & ~is_due, count + 1, 0)
