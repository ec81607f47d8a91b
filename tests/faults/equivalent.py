"""Faults that are none: the reason why each program is as right as before, by the fault's id."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "ops/nn/definition.py:through:factor or offset:1": "the list twice over: only as many as there are inputs are read",
}
