"""What all tests share: a hypothesis profile, fixtures, and the choice of processes for the whole suite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

# The same examples on every run and every machine; no file is written next to the tests.
hypothesis.settings.register_profile("stable", derandomize=True, deadline=None, database=None, max_examples=150)
hypothesis.settings.load_profile("stable")

MOST_WORKERS = 4  # each takes up to 1.5 GB, and some tests compute on two threads


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in several processes if pytest-xdist is installed, and a selection of tests in this one."""
    option = config.option
    if hasattr(config, "workerinput") or getattr(option, "numprocesses", 0) is not None:
        return  # a worker process, or -n was given, or pytest-xdist is missing
    if config.args_source is not pytest.Config.ArgsSource.ARGS and not (option.markexpr or option.keyword):
        option.numprocesses = "auto"
        option.dist = "loadfile"  # a file's fixtures, which compile or train, run in one process


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process per core, up to MOST_WORKERS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@pytest.fixture
def cupy() -> Iterator[Any]:
    """The stand-in for CuPy, which `import cupy` finds during the test: device "cuda" without a GPU."""
    from tests.cupy_stand_in import installed
    from tests.cupy_stand_in.kernels import choosing_anew

    with installed() as module, choosing_anew():
        yield module


@pytest.fixture
def cupy_kernels(cupy: Any) -> Iterator[Any]:
    """`cupy`, with the CUDA kernels run by the shim; returns the shim, which records the launches."""
    from tests.cuda_shim import is_available
    from tests.cupy_stand_in.kernels import launching

    if not is_available():
        pytest.skip("needs g++")
    with launching() as shim:
        yield shim


@pytest.fixture
def normal() -> Callable[..., np.ndarray]:
    """normal(*shape, seed=0): a float64 array of standard normal numbers."""

    def make(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng([seed, *shape]).normal(size=shape)

    return make
