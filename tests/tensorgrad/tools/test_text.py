"""Numbers and tables as people read them."""

from __future__ import annotations

import pytest

from tensorgrad.tools.text import bytes_text, count_text, table


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10 * 1024 - 1, "10.0 KiB"),
        (1536 * 1024, "1.50 MiB"),
        (1024**2 - 1, "1.00 MiB"),
        (123 * 1024**3, "123 GiB"),
        (1024**6, "1024 PiB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (99_950, "100 k"), (999_999, "1.00 M"), (4e18, "4.00 E")],
)
def test_counts(count: float, text: str) -> None:
    assert count_text(count) == text


def test_table() -> None:
    assert table(("op", "n"), [("add", "1"), ("x", "20")]) == "op    n\nadd   1\nx    20"
