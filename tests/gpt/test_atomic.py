"""A failed write leaves the old file. For folders, see tests/gpt/checkpoint/test_folder.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt.atomic import write_atomically


def test_a_failed_atomic_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
