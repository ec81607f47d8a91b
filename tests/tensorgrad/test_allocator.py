"""The guard around device memory: the peak is exact, and the pool is seldom asked."""

from __future__ import annotations

import random
from typing import Any

from tensorgrad.allocator import Use, available_bytes


class Pool:
    """Counts the questions: CuPy's walks all its blocks for each answer."""

    def __init__(self) -> None:
        self.used = self.questions = 0

    def used_bytes(self) -> int:
        self.questions += 1
        return self.used


def test_the_peak_is_exact_and_the_pool_seldom_asked() -> None:
    """Steps of a training run: activations pile up and go again, between thousands of short-lived arrays."""
    draw, pool, use, peak = random.Random(0), Pool(), Use(), 0
    pool.used = 5000  # by arrays from before the allocator was wrapped
    for step in range(4):
        kept: list[int] = []
        for i in range(4000):
            size = draw.randint(0, 1000)
            pool.used += size
            use.add(size, pool)
            peak = max(peak, pool.used)
            assert use.peak == peak or not size
            if i < 2000 and draw.random() < 0.3:
                kept.append(size)
            else:
                pool.used -= size
                pool.used -= kept.pop() if i >= 2000 and kept else 0
        pool.used -= sum(kept)
        if step:
            assert pool.questions < 100
        pool.questions = 0


def test_an_answer_starts_the_count_anew() -> None:
    pool, use = Pool(), Use()
    for size in (100, 50):
        pool.used += size
        use.add(size, pool)
    assert (use.peak, pool.questions) == (150, 2)
    pool.used = 0
    assert use.ask(pool) == 0
    for _ in range(3):
        use.add(50, pool)  # each is freed at once
    assert (use.peak, pool.questions) == (150, 3)
    use.add(1, pool)
    assert (use.peak, use.bound, pool.questions) == (150, 0, 4)


def test_what_is_available_is_free_or_kept_within_the_pool_s_limit(cupy: Any) -> None:
    pool = cupy.get_default_memory_pool()
    free, _ = cupy.cuda.runtime.memGetInfo()
    before = free + pool.free_bytes()
    assert available_bytes(cupy) == before
    x = cupy.empty(1 << 20, "uint8")
    assert available_bytes(cupy) == before - (1 << 20)
    try:
        pool.set_limit(pool.used_bytes() + 4096)
        assert available_bytes(cupy) == 4096
    finally:
        pool.set_limit(0)
    del x
    assert available_bytes(cupy) == before
