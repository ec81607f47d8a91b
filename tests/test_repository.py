"""The repository's own rules: what imports what, how long files are, what no file may contain."""

from __future__ import annotations

import ast
import glob
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("tensorgrad/**/*.py"), *ROOT.glob("gpt/**/*.py")])
MAX_LINES = 400
# Longer, with the reason.
LONGER = {"tensorgrad.tensor": "a method of two lines for each of Python's operators"}
HEAVY = (
    "cupy",
    "jax",
    "matplotlib",
    "numba",
    "rich",
    "safetensors",
    "tensorflow",
    "tokenizers",
    "torch",
    "transformers",
    "tyro",
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Import(NamedTuple):
    """That a module of this repository imports another: as it is loaded, or inside a function, as it runs."""

    source: str
    target: str
    line: int
    is_inside: bool


def imports_of(path: Path) -> Iterator[Import]:
    """What a module imports from this repository; for type checking alone is left out, as that never runs."""

    def visit(node: ast.AST, is_inside: bool) -> Iterator[Import]:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            wholes = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [whole if whole in MODULES else str(node.module) for whole in wholes]
        for name in names:
            if name in MODULES and name != name_of(path):
                yield Import(name_of(path), name, node.lineno, is_inside)
        is_checking = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.orelse if is_checking else ast.iter_child_nodes(node):
            yield from visit(child, is_inside or isinstance(node, ast.FunctionDef))

    return visit(ast.parse(path.read_text()), False)


MODULES = {name_of(path) for path in SOURCES}
IMPORTS = [found for path in SOURCES for found in imports_of(path)]

# The rooms of both packages, the lowest floor first: modules, and folders with all that is in them. A room imports from
# lower floors and from itself, inside functions too.
FLOORS = [
    ["tensorgrad.errors"],
    ["tensorgrad.allocator", "tensorgrad.arguments", "tensorgrad.dtype"],
    ["tensorgrad.array"],
    ["tensorgrad.kernels", "tensorgrad.sorted_ids", "tensorgrad.writes"],
    ["tensorgrad.random", "tensorgrad.rounding"],
    ["tensorgrad.cotangent"],
    ["tensorgrad.tensor"],
    ["tensorgrad.tape", "tensorgrad.tree"],
    ["tensorgrad.interop", "tensorgrad.residuals"],
    ["tensorgrad.backward"],
    ["tensorgrad.ops"],
    ["tensorgrad.check", "tensorgrad.creation", "tensorgrad.info", "tensorgrad.linalg"],
    ["tensorgrad.memory", "tensorgrad.transforms"],
    ["tensorgrad.distributed", "tensorgrad.tools"],
    ["tensorgrad"],
    ["tensorgrad.verify"],
    ["gpt.atomic", "gpt.errors"],
    ["gpt.config"],
    ["gpt.presets"],
    ["gpt.config_file", "gpt.data", "gpt.model", "gpt.optim"],
    ["gpt.checkpoint", "gpt.evaluate", "gpt.generate", "gpt.parallel"],
    ["gpt.compare", "gpt.plan", "gpt.serve", "gpt.train"],
    ["gpt"],
    ["gpt.cli"],
]
# The one circle, at the foot of tensor.py: Tensor's methods call functions that are written with Tensors.
CIRCLE = {
    ("tensorgrad.tensor", target)
    for target in ("tensorgrad.backward", "tensorgrad.interop", "tensorgrad.ops", "tensorgrad.tape")
}


def room_of(module: str) -> str:
    """The room of a module; the package itself if no room inside it holds the module."""
    rooms = {room for floor in FLOORS for room in floor}
    while module not in rooms and "." in module:
        module = module.rpartition(".")[0]
    return module


def test_every_module_has_a_room():
    assert {name for name in MODULES if room_of(name) in ("tensorgrad", "gpt")} == {"tensorgrad", "gpt"}


def test_imports_lead_down():
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    upwards = {
        found
        for found in IMPORTS
        if (source := room_of(found.source)) != (target := room_of(found.target))
        and floor_of[source] <= floor_of[target]
    }
    assert {(found.source, found.target) for found in upwards} == CIRCLE
    # Only where everything that Tensor needs to exist has run.
    tree = ast.parse((ROOT / "tensorgrad" / "tensor.py").read_text())
    (end,) = (node.end_lineno for node in tree.body if isinstance(node, ast.ClassDef))
    assert all(found.line > end and not found.is_inside for found in upwards)


def test_imports_have_no_circle():
    """But the one; and `kernels` chooses among its implementations at first use, which import from it."""
    graph = {
        name: {found.target for found in IMPORTS if found.source == name and not is_choice(found)} for name in MODULES
    }
    graph["tensorgrad.tensor"] -= {target for _, target in CIRCLE}
    # A package's __init__ gathers its modules; what imports the package itself is checked through them.
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def is_choice(found: Import) -> bool:
    return found.is_inside and room_of(found.source) == room_of(found.target) == "tensorgrad.kernels"


def test_tensorgrad_never_imports_gpt():
    for path in ROOT.glob("tensorgrad/**/*.py"):
        assert not re.search(r"^\s*(import|from) gpt\b", path.read_text(), re.MULTILINE), path


def test_a_file_is_short_enough_to_read_at_once():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    long = {name: count for name, count in lines.items() if count > MAX_LINES and name not in LONGER}
    assert not long, f"{long} lines, expected {MAX_LINES} at most: split them by meaning"


def test_a_module_says_what_it_is_for():
    silent = [name_of(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent, f"{silent}: add a docstring"


def test_nothing_loads_code_and_nothing_is_left_to_do():
    forbidden = re.compile(r"\bpickle\b(?!s)|\beval\(|\bexec\(|\bTODO\b|\bFIXME\b|\bXXX\b")
    for path in SOURCES:
        assert not forbidden.search(path.read_text()), path


def test_public_names_exist_and_are_documented():
    import tensorgrad

    assert sorted(set(tensorgrad.__all__)) == sorted(tensorgrad.__all__)
    for name in tensorgrad.__all__:
        value = getattr(tensorgrad, name)
        assert name == "newaxis" or value.__doc__, name


@pytest.mark.parametrize("package", ["tensorgrad", "gpt", "gpt.cli"])
def test_importing_a_package_imports_nothing_heavy(package):
    program = f"import sys, {package}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.split() == []


def test_the_wheel_has_every_package():
    """setuptools finds every folder with Python files, and the package data covers every other file."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert declared["packages"]["find"] == {"include": ["tensorgrad*", "gpt*"], "namespaces": False}
    for folder in {path.parent for path in SOURCES}:
        while folder != ROOT:  # without one of these files setuptools leaves the whole folder out
            assert (folder / "__init__.py").exists(), folder
            folder = folder.parent
    for package, patterns in declared["package-data"].items():
        found = {path for pattern in patterns for path in glob.glob(f"{ROOT / package}/{pattern}", recursive=True)}
        for path in (ROOT / package).rglob("*"):
            is_source = path.is_dir() or path.suffix == ".py" or path.parent.name == "__pycache__"
            assert is_source or str(path) in found, path


def test_readme_and_ci_agree_on_the_test_command():
    command = ".venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
    assert command in (ROOT / "README.md").read_text()
    assert command in (ROOT / ".ci" / "run").read_text()
