"""Numbers and tables in plain text, as the tools print them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bytes_text", "count_text", "table"]


def bytes_text(count: float) -> str:
    """1536 -> "1.50 KiB": three digits and the unit."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def count_text(count: float) -> str:
    """1500000 -> "1.50 M": three digits and the factor of ten."""
    return _scaled(count, 1000, ("", "k", "M", "G", "T", "P", "E")).strip()


def _scaled(count: float, step: int, units: Sequence[str]) -> str:
    power = 0
    while power < len(units) - 1 and round(count, 1) >= step - 0.5:
        count, power = count / step, power + 1
    digits = 0 if not power or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{digits}f} {units[power]}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Aligned columns: the first `left` of them at their left, the others at their right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
