"""The fused kernels on CUDA devices.

Each file pairs a source in `cu/` with the functions of the `Kernels` protocol that launch it. The reference computes
what has no CUDA kernel, and the calls that a kernel does not take (rows too wide for shared memory).
"""

# ruff: noqa: F403  a file's __all__ names its kernels

from tensorgrad.kernels.reference import *

# isort: split
# These replace the reference's.
from tensorgrad.kernels.cuda.activation import *
from tensorgrad.kernels.cuda.attention import *
from tensorgrad.kernels.cuda.cast import *
from tensorgrad.kernels.cuda.mlp import *
from tensorgrad.kernels.cuda.norm import *
from tensorgrad.kernels.cuda.optimizer import *
from tensorgrad.kernels.cuda.random import *
from tensorgrad.kernels.cuda.rope import *
from tensorgrad.kernels.cuda.rows import *
from tensorgrad.kernels.cuda.scatter import *
from tensorgrad.kernels.cuda.softmax import *
