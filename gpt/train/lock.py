"""A lock on a folder: two processes that trained one run would overwrite each other's files."""

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
    """Hold the folder for this process, even if the folder is moved. The lock ends with the process.

    Raises:  UserError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: expected a folder that no other process trains in, got one in use: "
                "wait for that process, or name another folder"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder; False if there is no such folder."""
    try:
        with locked(folder):
            return False
    except UserError:
        return True
    except OSError:
        return False


def preparation_folder(run_dir: Path) -> Path:
    """The folder in which a run is prepared. It is then renamed to `run_dir`."""
    return run_dir.with_name(f".{run_dir.name}.tmp")
