"""Writes results, each with its origin: the date, the commit, the machine, the versions of the packages."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def store(name: str, result: dict[str, Any], packages: tuple[str, ...], folder: Path = RESULTS) -> Path:
    """Write `result`, with its origin and the versions of `packages`, to NAME.json in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"origin": origin(packages), **result}, indent=1) + "\n")
    return path


def origin(packages: tuple[str, ...]) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": None if (changes := _changes()) is None else bool(changes),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _changes() -> str | None:
    """The uncommitted changes outside of results, which a benchmark writes part by part."""
    return git("status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results")


def git(*arguments: str) -> str | None:
    """The output of a git command in this checkout; None without git or in a copy without history."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
