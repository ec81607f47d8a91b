"""tensorgrad: tensors with reverse-mode automatic differentiation, of any order, on NumPy and CuPy.

    x = tensorgrad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (tensorgrad.exp(x) * x).sum()
    y.backward()
    x.grad

Start reading at `tape.py` and `backward.py`; then any file in `ops/`.
"""

from importlib import import_module
from math import e, inf, nan, pi
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tensorgrad import creation, errors, info, linalg, ops, transforms, tree
from tensorgrad.backward import grad
from tensorgrad.check import check_grads
from tensorgrad.cotangent import Scatter
from tensorgrad.creation import *  # noqa: F403
from tensorgrad.dtype import (
    as_dtype,
    can_cast,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    result_type,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tensorgrad.dtype import bool_ as bool
from tensorgrad.errors import *  # noqa: F403
from tensorgrad.kernels.gemm.tf32 import allow_tf32
from tensorgrad.kernels.threads import threads
from tensorgrad.kernels.unordered import allow_unordered
from tensorgrad.memory import MemoryInfo, memory_info
from tensorgrad.ops.broadcast import *  # noqa: F403
from tensorgrad.ops.elementwise import *  # noqa: F403
from tensorgrad.ops.index import *  # noqa: F403
from tensorgrad.ops.linalg import *  # noqa: F403
from tensorgrad.ops.logic import *  # noqa: F403
from tensorgrad.ops.nn import *  # noqa: F403
from tensorgrad.ops.reduce import *  # noqa: F403
from tensorgrad.ops.shape import *  # noqa: F403
from tensorgrad.ops.sorting import *  # noqa: F403
from tensorgrad.random import Key
from tensorgrad.tape import is_recording, no_grad, record, record_joint
from tensorgrad.tensor import Tensor
from tensorgrad.transforms import *  # noqa: F403

__version__ = "0.1.0"

__array_api_version__ = "2024.12"

newaxis = None  # in an index: a new axis of size 1


def __array_namespace_info__() -> ModuleType:
    """The array API's description of this library: its devices, dtypes, defaults and capabilities."""
    return info


if TYPE_CHECKING:
    from tensorgrad.tools.abstract import abstract
    from tensorgrad.tools.doctor import doctor
    from tensorgrad.tools.graph import graph
    from tensorgrad.tools.non_finite import find_non_finite
    from tensorgrad.tools.profile import profile
else:  # a type checker would let any name pass
    _TOOLS = {
        **{"abstract": "abstract", "doctor": "doctor", "find_non_finite": "non_finite", "graph": "graph"},
        "profile": "profile",
    }

    def __getattr__(name: str) -> Any:
        """Import at first use: the tools, and `bfloat16`, if ml_dtypes is installed."""
        if name in _TOOLS:
            globals()[name] = found = getattr(import_module(f"tensorgrad.tools.{_TOOLS[name]}"), name)
            return found
        try:
            if name == "bfloat16":
                return as_dtype(name)
            raise AttributeError(f"module 'tensorgrad' has no attribute {name!r}")
        except errors.DTypeError as problem:
            raise AttributeError(str(problem)) from None


__all__ = ["Key", "MemoryInfo", "Scatter", "Tensor", "linalg", "memory_info", "ops", "threads", "tree"]
__all__ += ["check_grads", "grad", "is_recording", "no_grad", "record", "record_joint"]
__all__ += ["abstract", "allow_tf32", "allow_unordered", "doctor", "find_non_finite", "graph", "profile"]
__all__ += ["bool", "can_cast", "finfo", "float16", "float32", "float64", "iinfo", "int8", "int16", "int32", "int64"]
__all__ += ["isdtype", "result_type", "uint8", "uint16", "uint32", "uint64"]
__all__ += ["e", "inf", "nan", "newaxis", "pi"]
__all__ += ops.__all__
__all__ += creation.__all__
__all__ += transforms.__all__
__all__ += errors.__all__
