"""Loss scaling: a factor on the loss keeps small gradients from becoming zero in float16.

The factor is as large as overflow allows. It is halved when a gradient is not finite (and that update
is skipped), and doubled after `_PATIENCE` updates in a row that were finite. All of this is arithmetic
on the device, so that nothing waits for it.

Source: Micikevicius et al., "Mixed precision training", 2018, section 3.2; the numbers are PyTorch's.
"""

from __future__ import annotations

from tensorgrad.array import Array, module_of

__all__ = ["update_scale"]

FIRST = 2.0**16
_PATIENCE = 2000
_LARGEST = 2.0**24  # far above what any loss needs, far below what float32 holds


def update_scale(state_2: Array, norm: Array) -> None:
    """Update [factor, updates since its last change] in place for a gradient's norm. The factor is at least 1."""
    xp = module_of(state_2)
    scale, count = state_2[0], state_2[1]
    is_finite = xp.isfinite(norm)
    is_due = count + 1 >= _PATIENCE
    grown = xp.where(is_due, xp.minimum(scale * 2, _LARGEST), scale)
    state_2[0] = xp.where(is_finite, grown, xp.maximum(scale / 2, 1))
    state_2[1] = xp.where(is_finite & ~is_due, count + 1, 0)
