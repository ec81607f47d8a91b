"""One process at a time in a folder: two that trained one run would write over each other's files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt.errors import UserError

__all__ = ["is_locked", "locked", "preparation_folder"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it the folder is this process's, also where it is moved meanwhile; a process that dies gives it back.

    Raises:  UserError: another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: expected a folder that nobody else trains in, got one where another process does: "
                "wait for it, or name another"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether some process has the folder; one that is not there nobody has."""
    try:
        with locked(folder):
            return False
    except UserError:
        return True
    except OSError:
        return False


def preparation_folder(run_dir: Path) -> Path:
    """Where a run is prepared before its folder is there."""
    return run_dir.with_name(f".{run_dir.name}.tmp")
