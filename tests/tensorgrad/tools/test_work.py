"""The work of a call, found by calling it again on shapes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.tools.watch import Call, Watcher, watching
from tensorgrad.tools.work import Work, work_of
from tests.tensorgrad.each import CASES_OF, each


class Works(Watcher):
    def __init__(self) -> None:
        self.known: dict[Hashable, Work] = {}
        self.found: list[Work] = []

    def begin(self, call: Call) -> None:
        if call.caller is None and not call.is_backward:
            self.found.append(work_of(call, self.known))


def works(f: Any) -> list[tuple[int, int]]:
    with watching(watcher := Works()):
        f()
    return [(work.forward_flops, work.backward_flops) for work in watcher.found]


X = tg.ones((3, 4), requires_grad=True)


def test_forward_and_backward() -> None:
    assert works(lambda: X * 2) == [(12, 12)]
    assert works(lambda: X @ tg.ones((4, 5))) == [(120, 120)]
    assert works(lambda: X @ tg.ones((4, 5), requires_grad=True)) == [(120, 240)]
    assert works(lambda: tg.einsum("ij,kj->ik", X, X)) == [(2 * 9 * 4, 2 * 2 * 9 * 4)]
    assert works(lambda: tg.concat([X, X])) == [(0, 0)]
    assert works(lambda: X[np.array([0, 0])])[0][0] == 0


def test_nothing_recorded() -> None:
    assert works(lambda: X.detach() * 2) == [(12, 0)]
    with tg.no_grad():
        assert works(lambda: X * 2) == [(12, 0)]


def test_what_is_not_counted() -> None:
    assert works(lambda: tg.nonzero(X)) == [(0, 0)]
    assert works(lambda: tg.exp(np.ones(3))) == [(0, 0)]


def test_calls_alike_are_measured_once() -> None:
    with watching(watcher := Works()):
        for scale in (2.0, 3.0):
            _ = X * scale
        _ = X[0] * 2.0
    assert len(watcher.found) == 4
    assert len(watcher.known) == 3


def test_no_op_is_disturbed() -> None:
    def check(op: str) -> None:
        leaves = [tg.tensor(a, requires_grad=True) for a in CASES_OF[op][0].inputs()]
        works(lambda: CASES_OF[op][0].f(*leaves))
        assert all(x.grad is None for x in leaves)

    each(check, ((op, op) for op in CASES_OF))
