"""The pool that kernels and matrix products share."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tensorgrad.kernels import gemm
from tensorgrad.kernels.threads import available_cores, finish, is_threaded, run_all, run_later, threads


def blas_threads() -> list[int]:
    return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]


def test_results_come_in_the_order_of_the_tasks() -> None:
    tasks = [lambda i=i: i * i for i in range(23)]
    expected = [i * i for i in range(23)]
    assert run_all(tasks) == expected
    for count in (1, 2, 5, 40):
        with threads(count):
            assert run_all(tasks) == expected
    with threads(2):
        assert run_all([]) == []


def test_the_work_is_shared_among_threads_of_the_pool() -> None:
    both = threading.Barrier(2, timeout=20)

    def task() -> str:
        both.wait()  # passes only if two tasks run at the same time
        return threading.current_thread().name

    with threads(2):
        names = run_all([task, task])
    assert len(set(names)) == 2
    assert sorted(name.startswith("tensorgrad") for name in names) == [False, True]  # the caller is one of them


def test_whoever_is_free_takes_the_next_task() -> None:
    has_ended = threading.Event()
    order = []

    def long() -> None:
        assert has_ended.wait(20)  # passes only if another thread does all the others meanwhile
        order.append("long")

    def short() -> None:
        order.append("short")

    def last() -> None:
        has_ended.set()

    with threads(2):
        run_all([long, short, short, last])
    assert order == ["short", "short", "long"]


def test_the_first_error_is_raised_once_all_tasks_are_done() -> None:
    done = []

    def task(number: int) -> None:
        if number in (1, 3):
            raise RuntimeError(f"from task {number}")
        done.append(number)

    for _ in range(20):
        done.clear()
        with threads(3), pytest.raises(RuntimeError, match="from task 1"):
            run_all([lambda i=i: task(i) for i in range(6)])
        assert sorted(done) == [0, 2, 4, 5]


def test_the_blas_has_one_thread_within_and_its_own_again_after() -> None:
    before = blas_threads()
    with threads(2):
        assert set(blas_threads()) <= {1}
        assert is_threaded()
    assert blas_threads() == before
    assert not is_threaded()


def test_an_error_in_a_task_reaches_the_caller_and_everything_is_restored() -> None:
    before = blas_threads()

    def fail() -> None:
        raise RuntimeError("from a task")

    with pytest.raises(RuntimeError, match="from a task"), threads(2):
        run_all([fail, fail])
    assert blas_threads() == before
    assert not is_threaded()


def test_a_task_may_run_tasks_itself() -> None:
    with threads(1):
        assert run_all([lambda: run_all([lambda: 1, lambda: 2])] * 2) == [[1, 2], [1, 2]]
    with threads(2):
        assert run_all([lambda: run_all([lambda: 1, lambda: 2])] * 9) == [[1, 2]] * 9


def test_another_thread_has_no_pool() -> None:
    seen = []
    with threads(2):
        other = threading.Thread(target=lambda: seen.append(is_threaded()))
        other.start()
        other.join()
    assert seen == [False]


def test_errstate_of_the_caller_holds_in_the_threads() -> None:
    def task() -> float:
        return float(np.divide(np.ones(1), np.zeros(1))[0])

    with threads(2), np.errstate(divide="ignore"):
        assert run_all([task, task]) == [np.inf, np.inf]
    with threads(2), np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        run_all([task, task])


def test_later_is_at_once_without_other_threads() -> None:
    out = np.zeros(3)
    run_later([lambda: out.__iadd__(1)], out)
    assert out.tolist() == [1, 1, 1]
    with threads(1):
        run_later([lambda: out.__iadd__(1)], out)
        assert out.tolist() == [2, 2, 2]


def test_what_is_left_for_later_is_done_while_the_caller_goes_on() -> None:
    out, is_done = np.zeros(3), threading.Event()

    def task() -> None:
        out[:] = 1
        is_done.set()

    with threads(2):
        run_later([task], out)
        assert is_done.wait(20)  # passes only if another thread does it
        finish()
    assert out.tolist() == [1, 1, 1]


@pytest.mark.parametrize("count", [2, 3])
def test_jobs_that_write_to_the_same_array_are_done_in_order(count: int) -> None:
    rng = np.random.default_rng(0)
    arrays, expected = np.zeros((2, 7, 50))  # more than may be left at a time
    with threads(count):
        for number in range(60):
            row = rng.integers(7)
            parts = arrays[row, :25], arrays[row, 25:]
            # The order of two such steps matters.
            run_later([lambda x=x, n=number: np.add(x * 3 % 1000, n, out=x) for x in parts], arrays[row])
            expected[row] = expected[row] * 3 % 1000 + number
            if number % 7 == 0:
                finish(arrays[row])
                np.testing.assert_array_equal(arrays[row], expected[row])
        finish()
        np.testing.assert_array_equal(arrays, expected)


def test_a_job_goes_before_what_was_left_for_later_which_the_caller_does_while_it_waits() -> None:
    is_held, has_begun, may_end = threading.Event(), threading.Event(), threading.Event()

    def mine() -> None:
        is_held.set()
        assert has_begun.wait(20)  # passes only if the other thread takes the job before the task left for later

    def others() -> None:
        has_begun.set()
        assert may_end.wait(20)  # passes only if the caller, waiting for this, does what was left for later

    arrays = np.zeros((2, 1))
    with threads(2):
        run_later([lambda: is_held.wait(20)], arrays[0])
        run_later([may_end.set], arrays[1])
        run_all([mine, others])
    assert may_end.is_set()


def test_an_error_in_what_was_left_for_later_is_raised_when_it_is_waited_for() -> None:
    def fail() -> None:
        raise RuntimeError("from a later task")

    out = np.zeros(1)
    with threads(2):
        run_later([fail, lambda: out.__iadd__(1)], out)
        with pytest.raises(RuntimeError, match="from a later task"):
            finish(out)
        assert out[0] == 1
        finish()  # it was raised
    with pytest.raises(RuntimeError, match="from a later task"), threads(2):
        run_later([fail], out)


def test_a_later_task_has_the_errstate_of_the_caller_and_no_pool() -> None:
    seen = []

    def task() -> None:
        seen.append(is_threaded())
        np.divide(np.ones(1), np.zeros(1))

    with threads(2):
        with np.errstate(divide="ignore"):
            run_later([task, task], np.zeros(1))
        finish()
    assert seen == [False, False]


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 or more, got 0"), threads(0):
        pass
    assert available_cores() >= 1


@pytest.mark.parametrize(("m", "k", "n"), [(600, 300, 200), (200, 300, 600), (601, 257, 203), (4, 5, 6), (3000, 64, 3)])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_a_product_in_parts_is_the_product(m: int, k: int, n: int, is_transposed: bool) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(k, m)).T if is_transposed else rng.normal(size=(m, k))
    b = rng.normal(size=(n, k)).T if is_transposed else rng.normal(size=(k, n))
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(gemm.matmul(a, b))
    np.testing.assert_allclose(results[0], a @ b, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_shapes_that_do_not_fit_are_refused_in_parts_too() -> None:
    with threads(2), pytest.raises(ValueError, match="mismatch"):
        gemm.matmul(np.ones((600, 300)), np.ones((301, 600)))
