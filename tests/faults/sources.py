"""The places where gradients are written, and every fault that can be planted there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.kinds import rewritings

__all__ = ["PACKAGE", "ROOT", "Fault", "enumerate_faults"]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tensorgrad"

# Files that are all about gradients; and of others, the classes and functions that are.
ENGINE = {
    "backward.py": None,
    "transforms.py": None,
    "cotangent.py": ("Scatter",),
    "tape.py": ("record", "record_joint"),
}
# What reports, compares or only refuses has no gradient to be wrong.
LEFT_OUT = ("_check_cotangent", "_output", "_leaves")


@dataclass(frozen=True)
class Fault:
    """One wrong program: a file of the package with one place rewritten."""

    path: str  # in the package
    function: str  # the qualified name of the function around it
    outermost: tuple[str, ...]  # the function of the module that this lies in, or class and method
    line: int
    kind: str
    before: str
    after: str
    number: int  # among those of this kind in this function
    source: str  # of the whole file, with the fault

    @property
    def id(self) -> str:
        return f"{self.path}:{self.function}:{self.kind}:{self.number}"


def enumerate_faults() -> list[Fault]:
    """Every fault in a fixed order, each with a unique id that does not depend on line numbers."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name in ENGINE or name.startswith(("ops/", "kernels/reference/")):
            found += list(_faults_of_file(name, path.read_text()))
    return found


def _faults_of_file(path: str, source: str) -> Iterator[Fault]:
    tree = ast.parse(source)
    numbers: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for function, root in _regions(path, tree):
        for before, kind, after in _faults_of_region(function, root, is_kernel=path.startswith("kernels/")):
            wrong = _spliced(source, before, after)
            if wrong in seen or wrong == source:
                continue
            seen.add(wrong)
            names = [getattr(f, "name", "<lambda>") for f in function]
            outermost = tuple(names[: 1 + isinstance(function[0], ast.ClassDef)])
            name = ".".join(names)
            number = numbers[name, kind] = numbers.get((name, kind), 0) + 1
            yield Fault(
                path, name, outermost, before.lineno, kind, ast.unparse(before), ast.unparse(after), number, wrong
            )


def _regions(path: str, tree: ast.Module) -> Iterator[tuple[list[ast.AST], ast.AST]]:
    """The functions and lambdas about gradients: each as a list from the outermost function around it to itself."""
    outer: list[tuple[list[ast.AST], ast.FunctionDef]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            outer.append(([], node))
        elif isinstance(node, ast.ClassDef):
            outer += [([node], method) for method in node.body if isinstance(method, ast.FunctionDef)]
    helpers = _called([f for _, f in outer if _is_gradient(f)], {f.name: f for _, f in outer if f.name.startswith("_")})
    for around, function in outer:
        if function.name in LEFT_OUT:
            continue
        engine = ENGINE.get(path, ())
        is_engine = engine is None or bool({function.name, *(c.name for c in around)} & set(engine))  # type: ignore[attr-defined]
        if is_engine or _is_gradient(function) or function in helpers:
            yield [*around, function], function
            continue
        inner = [n for n in ast.walk(function) if n is not function and isinstance(n, (ast.FunctionDef, ast.Lambda))]
        vjps = [n for n in inner if _is_gradient(n)]
        named = {n.name: n for n in inner if isinstance(n, ast.FunctionDef)}
        for vjp in dict.fromkeys([*vjps, *_called(vjps, named)]):
            yield [*around, function, vjp], vjp


def _is_gradient(function: ast.FunctionDef | ast.Lambda) -> bool:
    first = function.args.args[0].arg if function.args.args else ""
    name = getattr(function, "name", "")
    return first == "g" or name.endswith(("_gradient", "_definition", "_vjp")) or name == "scatter_add"


def _called(functions: list, known: dict[str, ast.FunctionDef]) -> list[ast.FunctionDef]:
    """The functions of `known` that `functions` call, directly or through others."""
    found: list[ast.FunctionDef] = []
    stack = list(functions)
    while stack:
        for node in ast.walk(stack.pop()):
            function = known.get(node.id) if isinstance(node, ast.Name) else None
            if function is not None and function not in found and function not in functions:
                found.append(function)
                stack.append(function)
    return found


def _faults_of_region(
    chain: list[ast.AST], root: ast.AST, *, is_kernel: bool
) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """(node, kind of fault, replacement) for every fault of one function."""
    functions = [f for f in chain if isinstance(f, (ast.FunctionDef, ast.Lambda))]
    names = {n.id for f in functions for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    names |= {a.arg for f in functions for a in [*f.args.args, *f.args.kwonlyargs]}
    # Kernels have no history; with a way of its own for arrays, a vjp may use their values freely there.
    has_two_ways = any("type(g)" in ast.unparse(n) for n in ast.walk(root) if isinstance(n, ast.Compare))
    operands = (
        set() if has_two_ways or is_kernel else {a.arg for f in functions for a in f.args.args if _may_be_tensor(a)}
    )
    inert = _inert(root)
    asked = [n.value for n in ast.walk(root) if isinstance(n, ast.Attribute)]  # for its shape, say
    results = _results(root)
    tests = [n.test for n in ast.walk(root) if isinstance(n, (ast.If, ast.IfExp))]
    for node in _places(root):
        if node in inert:
            continue
        seen = set() if node in asked else operands
        for kind, after in rewritings(node, names, seen, is_result=node in results, is_test=node in tests):
            if (
                is_kernel
                and kind == "wrong dtype"
                and isinstance(after, ast.expr)
                and "astype" not in ast.unparse(after)
            ):
                continue  # a wider dtype than needed: slower, no less exact
            yield node, kind, after


def _inert(root: ast.AST) -> list[ast.AST]:
    """Nodes whose value changes nothing: an array that is asked for the dtype that all share; the -1 of a reshape."""
    found: list[ast.AST] = []
    for node in ast.walk(root):
        if isinstance(node, ast.Attribute) and node.attr in ("dtype", "ndim"):
            found.append(node.value)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "reshape":
            found += [n for n in ast.walk(node) if isinstance(n, ast.Constant) and n.value == 1]
    return found


def _may_be_tensor(argument: ast.arg) -> bool:
    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
    return argument.arg == "g" or annotation.split(" | ")[0] in ("TensorLike", "Tensor")


def _results(root: ast.AST) -> list[ast.AST]:
    if isinstance(root, ast.Lambda):
        return [root.body]
    inner = [n for n in ast.walk(root) if n is not root and isinstance(n, (ast.FunctionDef, ast.Lambda))]
    hidden = {id(n) for f in inner for n in ast.walk(f)}
    return [n.value for n in ast.walk(root) if isinstance(n, ast.Return) and n.value and id(n) not in hidden]


def _places(node: ast.AST) -> Iterator[ast.AST]:
    """The node and those below it, without annotations, messages and refusals."""
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.If) and all(isinstance(n, ast.Raise) for n in node.body):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "args", "decorator_list") and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _places(child)


def _spliced(source: str, before: ast.AST, after: ast.AST) -> str:
    """The source with one node's text replaced."""
    lines = source.splitlines(keepends=True)
    start = len("".join(lines[: before.lineno - 1]).encode()) + before.col_offset
    end = len("".join(lines[: before.end_lineno - 1]).encode()) + before.end_col_offset
    text = ast.unparse(after)
    if isinstance(before, ast.expr):
        text = f"({text})" if not isinstance(before, ast.Slice) else text
    raw = source.encode()
    return (raw[:start] + text.encode() + raw[end:]).decode()
