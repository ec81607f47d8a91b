"""A contestant of a benchmark, in a process of its own: so its peak memory is its own, and it waits for its turn."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Process"]


class Process:
    """A program that reads commands, a JSON list [command, argument] a line, and answers each with a line of JSON."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.name = name
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)

    def ask(self, command: str, argument: Any = None) -> Any:
        """The answer to one command. RuntimeError if the process ended."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([command, argument]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended while asked to {command}")
        return json.loads(line)

    def end(self) -> None:
        """Let it end, and wait until it has."""
        self.process.communicate()
