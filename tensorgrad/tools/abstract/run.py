"""`abstract()`: within it, all new tensors are without data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tensorgrad.array import making_with
from tensorgrad.tools.abstract import kernels  # noqa: F401  gives abstract arrays their kernels
from tensorgrad.tools.abstract.functions import functions
from tensorgrad.tools.abstract.meter import Meter, current

__all__ = ["abstract"]


@contextmanager
def abstract() -> Iterator[Meter]:
    """Within it tensors have a shape and a dtype but no data; a meter counts what real ones would cost.

        with tensorgrad.abstract() as meter:
            model = GPT.init(config, Key(0))
            meter.reset_peak()
            model.loss(ids, targets).backward()
        print(meter)        # FLOPs and bytes by op; meter.flops, meter.peak_bytes, meter.live_bytes

    The same code runs as on data, with the same errors about shapes and dtypes; new arrays and random
    numbers are abstract too. Memory is counted as this library on NumPy would use it, freed by reference
    count. Code that depends on values, such as the number of elements that a mask picks, raises
    NoValueError; checks of values, such as ids being in range, are left out.
    """
    meter = Meter()
    token = current.set(meter)
    try:
        with making_with(functions):
            yield meter
    finally:
        current.reset(token)
