"""Matrix products and what is made of them."""

from __future__ import annotations

from tests.tensorgrad.oracle.inputs import FINITE, KINDS, choices
from tests.tensorgrad.oracle.table import Table

table = Table()

VECTORS = (((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((4,), (4,)), ((2, 1, 3), (5, 3)), ((2, 0), (2, 0)))

table.pair(
    "matmul",
    *(((2, 3, 4), (2, 4, 5)), ((3, 3), (3, 3)), ((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 3)), ((2, 3, 4), (4,))),
    *(((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3))),
    *(((2, 3, 0), (0,)), ((1, 1), (1, 1)), ((0, 2, 3), (3, 4)), ((4,), (2, 4, 3))),
)
table.pair("matmul", ((3, 3), (3, 3)))  # one shape, so that one tensor can be both
table.pair(
    "linear",
    *(((2, 3, 4), (5, 4), (5,)), ((2, 3, 4), (5, 4)), ((4,), (5, 4), (5,)), ((0, 4), (5, 4), (5,)), ((3, 1), (1, 1))),
)
table.pair(
    "tensordot",
    ((2, 3, 4), (3, 4, 2)),
    arguments=choices(axes=(2, 0, ((1,), (0,)), ((2, 0), (1, 2)), ((-1, 0), (-2, 2)))),
    dtypes=("int64",),
)
table.pair("vecdot", *VECTORS, arguments=choices(axis=(-1,)))
table.pair("vecdot", ((3, 4, 2),) * 2, arguments=choices(axis=(0, 1, -2)))
table.pair("cross", ((4, 3), (4, 3)), ((2, 1, 3), (4, 3)), ((3,), (3,)))
table.pair("cross", ((3, 4), (3, 4)), arguments=choices(axis=(0, -2)))
table.pair("outer", ((4,), (4,)), ((3,), (2,)), ((0,), (2,)), dtypes=("int64",))
table.pair("kron", *(((2, 3), (2, 3)), ((2, 3), (4,)), ((), (2, 2)), ((2,), (3, 1, 2))), dtypes=("int64",))
MATRICES = (((3, 4, 2),), ((3, 3),), ((2, 4),), ((0, 3),))
table.pair("diagonal", *MATRICES, arguments=choices(offset=(0, 1, -1, -2)), dtypes=("int64", "bool"))
table.pair("trace", *MATRICES, arguments=choices(offset=(0, 1, -2)), dtypes=("int64", "int32"))
EINSUMS = {
    "ij,jk->ik": ((3, 4), (4, 2)),
    "bij,bkj->bik": ((2, 3, 4), (2, 5, 4)),
    "i,i->": ((4,), (4,)),
    "i,j->ij": ((3,), (4,)),
    "i,j": ((3,), (4,)),
    "ij->ji": ((3, 4),),
    "ij->": ((3, 4),),
    "ij->j": ((3, 4),),
    "ii->": ((3, 3),),
    "ii->i": ((3, 3),),
    "iij->j": ((3, 3, 4),),
    "iji->ij": ((3, 4, 3),),
    "ii,i->i": ((3, 3), (3,)),
    "ij,ij->ij": ((3, 4), (3, 4)),
    "...ij,...jk->...ik": ((2, 3, 4), (2, 4, 5)),
    "...i,i->...": ((2, 3, 4), (4,)),
    "i...->...": ((3, 4, 2),),
    "ij,jk,kl->il": ((2, 3), (3, 4), (4, 2)),
    "ab,cd->": ((2, 3), (2, 2)),
    "bthd,bshd->bhts": ((2, 3, 2, 4), (2, 5, 2, 4)),
    "ij,kj->ik": ((0, 3), (2, 3)),
    "...ij->ij": ((2, 3, 4),),
    "...ij,...jk->...ki": ((2, 1, 2, 3), (3, 3, 1)),
    "ij,ij->": ((2, 3), (1, 3)),
    "Ab,bA": ((2, 3), (3, 2)),
    ",i->i": ((), (3,)),
    "i,j,k->kji": ((2,), (3,), (2,)),
    "bi,bj,bij->b": ((2, 3), (2, 2), (1, 3, 2)),
    "ij,jk,kl,lm->im": ((2, 3), (3, 2), (2, 4), (4, 2)),
}
for subscripts, shapes in EINSUMS.items():
    table.pair(
        "einsum",
        shapes,
        of=lambda f, s=subscripts: lambda *xs: f(s, *xs),
        kinds=KINDS if len(shapes) < 3 else FINITE,  # inf times 0 occurs in one order of products and not in another
    )
