"""Matrix products of the stand-in's arrays: their plans, carried out by the interpreter on their memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tensorgrad.kernels.gemm import cuda
from tensorgrad.kernels.gemm.plan import Product
from tests.cupy_stand_in import graphs
from tests.cupy_stand_in.array import ndarray
from tests.gemm_interpreter import interpret

__all__ = ["interpreting"]


@contextmanager
def interpreting() -> Iterator[list[Product]]:
    """A context in which the interpreter carries out every product on a device; yields the list of their plans."""
    products: list[Product] = []

    def host(array: Any) -> Any:
        if type(array) is not ndarray:
            raise TypeError(f"a product's operand is {type(array)}, not memory of the device")
        return array._host

    def run(product: Product) -> None:
        names = ("a", "b", "out", "bias", "row_sums", "aux")
        arrays = {name: getattr(product, name) for name in names}
        hosts = {name: host(array) for name, array in arrays.items() if array is not None}
        graphs.saved(*hosts.values())
        interpret(replace(product, **hosts))
        graphs.note(lambda: interpret(replace(product, **hosts)))
        products.append(replace(product, a=None, b=None, out=None, bias=None, row_sums=None, aux=None))

    with cuda.running_with(run):
        yield products
