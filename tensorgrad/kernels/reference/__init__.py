"""The fused kernels in plain array expressions: their definition, on NumPy and on CuPy."""

# ruff: noqa: F403  a file's __all__ names its kernels

from tensorgrad.kernels.reference.activation import *
from tensorgrad.kernels.reference.attention import *
from tensorgrad.kernels.reference.cast import *
from tensorgrad.kernels.reference.dropout import *
from tensorgrad.kernels.reference.error_function import *
from tensorgrad.kernels.reference.mlp import *
from tensorgrad.kernels.reference.norm import *
from tensorgrad.kernels.reference.optimizer import *
from tensorgrad.kernels.reference.philox import *
from tensorgrad.kernels.reference.rows import *
from tensorgrad.kernels.reference.scatter import *
from tensorgrad.kernels.reference.softmax import *
