"""The namespace `tensorgrad.linalg`: the standard's names, the same functions."""

from __future__ import annotations

import tensorgrad as tg

STANDARD = {
    *("cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power"),
    *("matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot"),
    *("trace", "vecdot", "vector_norm"),
}


def test_the_namespace_has_the_standard_s_names() -> None:
    assert STANDARD | {"norm"} == set(tg.linalg.__all__)
    for name in tg.linalg.__all__:
        assert getattr(tg.linalg, name) is getattr(tg, name)
