"""A contestant of a benchmark as a process: its peak memory is its own, and it sleeps until its turn."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Process"]


class Process:
    """A program that reads commands, one JSON list [command, argument] a line, and answers each with a line of JSON."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.name = name
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)

    def ask(self, command: str, argument: Any = None) -> Any:
        """The answer to one command. Raises RuntimeError if the program answers {"error": reason}, or has ended."""
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):  # it has ended; its last answer may say why
            self.process.stdin.write(json.dumps([command, argument]) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended while asked to {command}: exit status {self.process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def end(self) -> None:
        """Close its input, and wait until it ends."""
        self.process.communicate()
