"""Products by plans through cuBLAS's gemmEx, which CuPy binds: the fallback where nvmath-python is missing.

What cublasLt does in the product takes passes of its own here: biases, sums of rows, GELUs. CuPy refuses cuBLAS
while a CUDA graph is captured.

Source: cuBLAS documentation, cublasGemmStridedBatchedEx; `cupy_backends.cuda.libs.cublas`.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.array import address_of, cuda_module
from tensorgrad.kernels.gemm.extras import apart
from tensorgrad.kernels.gemm.plan import NotInProduct, Product
from tensorgrad.kernels.gemm.tf32 import is_tf32_allowed

__all__ = ["GemmEx"]

# Numbers of the C interface: cudaDataType_t, cublasComputeType_t, cublasGemmAlgo_t.
_DATA_TYPES = {"float64": 1, "float32": 0, "float16": 2, "bfloat16": 14}
_COMPUTE_64F, _COMPUTE_32F, _COMPUTE_32F_TF32 = 70, 68, 77
_DEFAULT_ALGORITHM = -1


class GemmEx:
    """A runner of products. Raises ImportError where CuPy finds no cuBLAS."""

    def __init__(self) -> None:
        from cupy_backends.cuda.libs import cublas

        self._cublas = cublas
        self._cupy = cuda_module()

    def __call__(self, product: Product) -> None:
        plan = product.plan
        if plan.gelu:
            raise NotInProduct
        if plan.has_bias or plan.has_row_sums:
            apart(self, product)
            return
        is_double = plan.dtype == "float64"
        if is_double:
            compute = _COMPUTE_64F
        else:
            compute = _COMPUTE_32F_TF32 if is_tf32_allowed() and plan.dtype == "float32" else _COMPUTE_32F
        one, beta = (np.asarray(v, np.float64 if is_double else np.float32) for v in (1.0, float(plan.accumulate)))
        a, b, d = map(address_of, (product.a, product.b, product.out))
        data_type, out_type = _DATA_TYPES[plan.dtype], _DATA_TYPES[plan.out_dtype]
        self._cublas.gemmStridedBatchedEx(
            self._cupy.cuda.device.get_cublas_handle(),
            *(int(plan.a.is_transposed), int(plan.b.is_transposed), plan.m, plan.n, plan.k),
            one.ctypes.data,
            *(a, data_type, plan.a.leading, plan.a.batch_stride),
            *(b, data_type, plan.b.leading, plan.b.batch_stride),
            beta.ctypes.data,
            *(d, out_type, plan.d.leading, plan.d.batch_stride, plan.batch),
            compute,
            _DEFAULT_ALGORITHM,
        )
