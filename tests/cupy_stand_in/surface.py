"""CuPy's surface: its names, the parameters of its functions and the loops of its ufuncs, read from its package.

`surface.json` was written from CuPy itself, where it is installed (it imports without a device):

    python -m tests.cupy_stand_in.surface

The stand-in offers these names and parameters and no others, so that what works on it can work on CuPy.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PATH", "SURFACE", "of_cupy"]

PATH = Path(__file__).with_name("surface.json")


def _known_to_numpy(surface: dict[str, Any]) -> dict[str, Any]:
    """The surface without functions that the NumPy installed has dropped: nothing could compute them."""
    known = dict(surface)
    for part, module in (("functions", np), ("linalg", np.linalg), ("ufuncs", np)):
        known[part] = {name: value for name, value in surface.get(part, {}).items() if hasattr(module, name)}
    return known


SURFACE = _known_to_numpy(json.loads(PATH.read_text()) if PATH.exists() else {})


def of_cupy(cupy: Any) -> dict[str, Any]:
    """The names that this CuPy shares with NumPy, and the names of its arrays."""
    return {
        "version": cupy.__version__,
        "functions": _functions(cupy, np),
        "linalg": _functions(cupy.linalg, np.linalg),
        "ufuncs": {
            name: list(getattr(cupy, name).types)
            for name in sorted(dir(cupy))
            if type(getattr(cupy, name)).__name__ == "ufunc"
        },
        "ndarray": [name for name in dir(cupy.ndarray) if not name.startswith("_") or name.startswith("__")],
    }


def _functions(module: Any, numpy_module: Any) -> dict[str, list[str] | None]:
    """Each function's parameters; None if it has no signature."""
    found: dict[str, list[str] | None] = {}
    for name in sorted(dir(module)):
        value = getattr(module, name)
        kind = type(value).__name__
        if name.startswith("_") or isinstance(value, type) or not callable(value) or kind == "ufunc":
            continue
        if hasattr(numpy_module, name):
            try:
                found[name] = list(inspect.signature(value).parameters)
            except (TypeError, ValueError):
                found[name] = None
    return found


if __name__ == "__main__":
    import cupy

    found = of_cupy(cupy)
    parts = [
        f'"{part}": {{\n' + ",\n".join(f"  {json.dumps(name)}: {json.dumps(v)}" for name, v in names.items()) + "\n}"
        if isinstance(names, dict)
        else f'"{part}": {json.dumps(names)}'
        for part, names in found.items()
    ]
    PATH.write_text("{\n" + ",\n".join(parts) + "\n}\n")
