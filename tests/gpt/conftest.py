"""A text to learn, for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{i} squared is {i * i}, and cubed it is {i**3}.\n" for i in range(120)))
    return path
