"""Linear algebra: products, diagonals, norms, linear systems and decompositions."""

from types import FunctionType

from tensorgrad.ops.linalg.decomposition import *  # noqa: F403
from tensorgrad.ops.linalg.determinant import *  # noqa: F403
from tensorgrad.ops.linalg.diagonal import *  # noqa: F403
from tensorgrad.ops.linalg.einsum import *  # noqa: F403
from tensorgrad.ops.linalg.linear import *  # noqa: F403
from tensorgrad.ops.linalg.norm import *  # noqa: F403
from tensorgrad.ops.linalg.product import *  # noqa: F403
from tensorgrad.ops.linalg.solve import *  # noqa: F403

# Set where mypy does not look: it follows a star import only into a module that has no `__all__`.
globals()["__all__"] = [name for name, value in globals().items() if isinstance(value, FunctionType)]
