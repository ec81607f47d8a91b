"""The repository's own rules: what imports what, how long files are, what no file may contain."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

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


def imports_at_the_top(path: Path) -> set[str]:
    """Modules of this repository that a module imports as it is loaded, type checking left out."""
    found = set()
    modules = {name_of(source) for source in SOURCES}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules else node.module)
    return found & modules - {name_of(path)}


def test_tensorgrad_never_imports_gpt():
    for path in ROOT.glob("tensorgrad/**/*.py"):
        assert not re.search(r"^\s*(import|from) gpt\b", path.read_text(), re.MULTILINE), path


def test_imports_have_an_order():
    """A line without cycles; the one exception is that Tensor's operators need ops, at the end of tensor.py."""
    graph = {name_of(path): imports_at_the_top(path) for path in SOURCES}
    graph["tensorgrad.tensor"] -= {"tensorgrad.ops", "tensorgrad.tape"}
    # A package's __init__ gathers its modules; what imports the package itself is checked through them.
    while graph:
        free = [name for name, needed in graph.items() if not needed & graph.keys()]
        assert free, f"a cycle among {sorted(graph)}"
        for name in free:
            del graph[name]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_short_enough_to_read_at_once(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES or name_of(path) in LONGER, f"{lines} lines: split it by meaning"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text())), path


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
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {name_of(path) for path in SOURCES if path.name == "__init__.py"}
    assert declared == present


def test_readme_and_ci_agree_on_the_test_command():
    command = ".venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
    assert command in (ROOT / "README.md").read_text()
    assert command in (ROOT / ".ci" / "run").read_text()
