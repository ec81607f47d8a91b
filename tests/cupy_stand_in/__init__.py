"""A CuPy without a GPU, for tests: `cupy` and `cupyx` on NumPy's memory, as strict as CuPy or stricter.

    with installed() as cupy:
        x = tensorgrad.tensor([1.0], device="cuda")

Its arrays refuse NumPy arrays in operators, functions, indices, assignments and `out=`, and become NumPy arrays only
by `get` and `asnumpy`. It has exactly CuPy's names (`surface`), returns arrays instead of scalars, raises no errors
from linear algebra unless asked to, and wraps indices around. It counts what would wait for the device, and refuses
such a wait within `syncs.forbidden()`. Fresh memory is poisoned; the memory pool counts it and has a limit. It also
refuses what CuPy does silently and our code must not rely on, above all copying a NumPy index to the device.
Matrix products are plans, which the interpreter carries out column-major, as cuBLAS would (`products`).
It cannot show speed, streams or races.
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
    """A context in which `import cupy` finds the stand-in, and its products are interpreted."""
    with module.installed() as cupy, interpreting():
        yield cupy
