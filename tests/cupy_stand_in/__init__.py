"""A CuPy without a GPU, for tests: `cupy` and `cupyx` on NumPy's memory, as strict as the real one, or stricter.

    with installed() as cupy:
        x = tensorgrad.tensor([1.0], device="cuda")

Its arrays refuse to meet NumPy's, in operators, functions, indices, assignments and `out=`, and to become NumPy's
other than by `get` and `asnumpy`. It has the names that CuPy has (`surface`), no scalars, no errors out of linear
algebra unless asked, indices that wrap around; it counts what would wait for the device, and within
`syncs.forbidden()` refuses it. Fresh memory is poisoned; a memory pool counts it, and has an end. What CuPy does
silently and no program of ours may rely on, copying a NumPy index to the device above all, is refused here.
Matrix products are plans, which the interpreter carries out by columns, as cuBLAS would (`products`).
Speed, streams and races it cannot show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.cupy_stand_in import module
from tests.cupy_stand_in.products import interpreting

__all__ = ["installed"]


@contextmanager
def installed() -> Iterator[ModuleType]:
    """Within it `import cupy` finds the stand-in, and its products are interpreted."""
    with module.installed() as cupy, interpreting():
        yield cupy
