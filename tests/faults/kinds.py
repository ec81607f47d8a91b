"""The ways in which a gradient goes wrong: rewritings of one expression or statement, each with a kind."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

__all__ = ["Rewriting", "rewritings"]

Rewriting = tuple[str, ast.AST]  # the kind of fault, and the code that replaces the node

# Calls whose first argument, alone, is what a forgetful author writes.
UNDONE = {
    "sum_to": "missing un-broadcast",
    "negative": "sign",
    "matrix_transpose": "transposed",
    "swapaxes": "transposed",
    "transpose": "transposed",
    "permute_dims": "transposed",
    "moveaxis": "transposed",
    "flip": "order reversed",
    "reversed": "order reversed",
    "astype": "wrong dtype",
    "tril": "transposed",
    "triu": "transposed",
    "conj": "sign",
}
MIRRORED = {"tril": "triu", "triu": "tril"}
PAIRED_CALLS = ("divide", "subtract", "matmul", "pow", "solve")
TERMS = {"add": "dropped term", "subtract": "dropped term", "multiply": "dropped factor", "divide": "dropped factor"}
# Calls that return several cotangents at once.
LISTS = ("definition_vjp", "run_back_to", "like", "list", "tuple", "attention_gradient")
SWAPPED_BINARY = (ast.Sub, ast.Div, ast.MatMult, ast.Pow)
COMPARISONS = {
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
SIBLINGS = (
    ("x_shape", "y_shape"),
    ("x", "y"),
    ("a", "b"),
    ("q", "k"),
    ("k", "v"),
    ("mean", "rstd"),
    ("dq", "dk"),
    ("dk", "dv"),
    ("dweight", "dbias"),
    ("first", "second"),
    ("have", "g"),
    ("rows", "keys"),
    ("cos", "sin"),
    ("l", "q"),
    ("u", "v"),
)


def rewritings(
    node: ast.AST, names: set[str], operands: set[str], *, is_result: bool, is_test: bool
) -> Iterator[Rewriting]:
    """The faults that can be planted at this node.

    Args:
        names: readable here; operands: the op's own among them, which may be Tensors.
        is_result: the node is the cotangent that a vjp returns; is_test: it decides between two branches.
    """
    if is_result and isinstance(node, ast.expr):
        yield from _of_result(node)
    if is_test and isinstance(node, ast.expr):
        yield "wrong branch", _not(node)
    if isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.BinOp):
        yield from _of_binary(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "sign", node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield "wrong comparison", _changed(node, ops=[COMPARISONS[type(node.ops[0])]()])
    elif isinstance(node, ast.AugAssign):
        yield "dropped term", ast.Pass()
        if isinstance(node.op, ast.Sub | ast.Add):
            yield "sign", _changed(node, op=ast.Add() if isinstance(node.op, ast.Sub) else ast.Sub())
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from _of_name(node, names, operands)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float) and abs(node.value) < 100:
        yield "factor or offset", ast.Constant(node.value + 1)
    elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield "transposed", node.value
    elif isinstance(node, ast.keyword):
        yield from _of_keyword(node)
    elif isinstance(node, ast.Slice) and node.step is not None:
        yield "order reversed", _changed(node, step=None)


def _of_result(node: ast.expr) -> Iterator[Rewriting]:
    has_parts = isinstance(node, (ast.Tuple, ast.List))
    for i, part in enumerate(node.elts if has_parts else [node]):
        call = getattr(part, "func", None)
        name = getattr(call, "attr", getattr(call, "id", ""))
        if isinstance(part, (ast.Constant, ast.ListComp)) or name in LISTS or "zeros" in name:
            continue
        for kind, wrong in (
            ("sign", ast.UnaryOp(ast.USub(), part)),
            ("factor or offset", ast.BinOp(part, ast.Mult(), ast.Constant(2))),
        ):
            yield kind, _changed(node, elts=_replaced(node.elts, i, wrong)) if has_parts else wrong


def _of_call(node: ast.Call) -> Iterator[Rewriting]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    # A method's first argument is the object, unless that is the array module.
    is_method = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") not in ("xp", "np")
    args = [node.func.value, *node.args] if is_method and isinstance(node.func, ast.Attribute) else node.args
    if name in UNDONE and args:
        yield UNDONE[name], args[0]
    if name == "astype" and is_method:
        yield "wrong dtype", _changed(node, args=[ast.Constant("float16")])
    if name in MIRRORED:
        function = copy.deepcopy(node.func)
        setattr(function, "attr" if isinstance(function, ast.Attribute) else "id", MIRRORED[name])
        yield "transposed", _changed(node, func=function)
    if name in PAIRED_CALLS and len(node.args) == 2:
        yield "swapped operands", _changed(node, args=node.args[::-1])
    if name == "where" and len(node.args) == 3:
        yield "wrong branch", _changed(node, args=[node.args[0], node.args[2], node.args[1]])
    if name in TERMS and len(node.args) == 2:
        yield TERMS[name], node.args[0]
        if name != "divide":
            yield TERMS[name], node.args[1] if name != "subtract" else ast.UnaryOp(ast.USub(), node.args[1])
    if name in ("add", "subtract") and isinstance(node.func, ast.Name):
        yield "sign", _changed(node, func=ast.Name({"add": "subtract", "subtract": "add"}[name], ast.Load()))


def _of_binary(node: ast.BinOp) -> Iterator[Rewriting]:
    if isinstance(node.op, SWAPPED_BINARY):
        yield "swapped operands", _changed(node, left=node.right, right=node.left)
    if isinstance(node.op, ast.Add | ast.Sub):
        yield "sign", _changed(node, op=ast.Add() if isinstance(node.op, ast.Sub) else ast.Sub())
        yield "dropped term", node.left
        yield "dropped term", node.right if isinstance(node.op, ast.Add) else ast.UnaryOp(ast.USub(), node.right)
    if isinstance(node.op, ast.Mult | ast.Div):
        yield "dropped factor", node.left
    if isinstance(node.op, ast.Mult):
        yield "dropped factor", node.right


def _of_name(node: ast.Name, names: set[str], operands: set[str]) -> Iterator[Rewriting]:
    for pair in SIBLINGS:
        if node.id in pair:
            other = pair[1 - pair.index(node.id)]
            if other in names:
                yield "swapped operands", ast.Name(other, ast.Load())
    if node.id in operands:
        if "out" in names and node.id != "out":
            yield "output for input", ast.Name("out", ast.Load())
        yield "lost history", ast.parse(f"__import__('tensorgrad').tape.data({node.id})", mode="eval").body


def _of_keyword(node: ast.keyword) -> Iterator[Rewriting]:
    if node.arg == "keepdims":
        yield "keepdims", _changed(node, value=_not(node.value))
    elif node.arg == "axis" and not isinstance(node.value, ast.Tuple):
        constant = ast.unparse(node.value)
        yield "wrong axis", _changed(node, value=ast.Constant({"0": -1, "-1": 0}.get(constant, 0)))
    elif node.arg == "dtype":
        yield "wrong dtype", _changed(node, value=ast.Constant("float16"))
    elif node.arg in ("repeats", "create_graph", "keep_graph", "stop_there"):
        yield "wrong branch", _changed(node, value=_not(node.value))


def _not(test: ast.expr) -> ast.expr:
    return (
        test.operand if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else ast.UnaryOp(ast.Not(), test)
    )


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _replaced(parts: list[ast.expr], i: int, part: ast.expr) -> list[ast.expr]:
    return [*parts[:i], part, *parts[i + 1 :]]
