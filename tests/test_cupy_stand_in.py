"""The stand-in for CuPy: what it refuses, what it counts, and that it has no name that CuPy lacks."""

from __future__ import annotations

import gc
import importlib.metadata
import sys

import numpy as np
import pytest

from tests.cupy_stand_in import installed, syncs
from tests.cupy_stand_in.memory import OutOfMemoryError
from tests.cupy_stand_in.surface import SURFACE, of_cupy

HOST = np.ones(3)
MIXTURES = {
    "operator": lambda a: a + HOST,
    "operator the other way": lambda a: HOST + a,
    "comparison": lambda a: a < HOST,
    "in place": lambda a: a.__iadd__(HOST),
    "in place on the host": lambda a: HOST.__iadd__(a),
    "ufunc": lambda a: np.add(a, HOST),
    "ufunc into the device": lambda a: np.add(HOST, 1, out=a),
    "function": lambda a: np.concatenate([HOST, a]),
    "conversion": np.asarray,
    "conversion in a list": lambda a: np.array([a, a]),
    "index": lambda a: a[np.array([0])],
    "index of a list": lambda a: a[[0, 1]],
    "index of the host": lambda a: HOST[a > 0],
    "assignment": lambda a: a.__setitem__(slice(None), HOST),
    "assignment of a list": lambda a: a.__setitem__(slice(None), [1.0, 2.0, 3.0]),
    "assignment to the host": lambda a: HOST.__setitem__(slice(None), a),
}


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES)
def test_host_and_device_do_not_mix(mixture, cupy):
    a = cupy.asarray(np.arange(3.0))
    with pytest.raises((TypeError, ValueError)):
        mixture(a)
    np.testing.assert_array_equal(a.get(), np.arange(3.0))
    assert (HOST == 1).all()


@pytest.mark.parametrize("name", ["asarray", "concatenate", "where", "matmul", "exp", "sum", "argsort", "take"])
def test_functions_refuse_arrays_of_the_host(name, cupy):
    arguments = {"concatenate": ([HOST],), "where": (cupy.ones(3) > 0, HOST, 0.0), "matmul": (cupy.ones((3, 3)), HOST)}
    if name == "asarray":  # an explicit copy
        assert isinstance(cupy.asarray(HOST), cupy.ndarray)
        return
    with pytest.raises((TypeError, AttributeError)):
        getattr(cupy, name)(*arguments.get(name, (HOST,)))


WAITS = {
    "bool": bool,
    "float": float,
    "int": int,
    "item": lambda a: a.item(),
    "tolist": lambda a: a.tolist(),
    "get": lambda a: a.get(),
    "an index of bools": lambda a: a[a > 0],
}


@pytest.mark.parametrize("what", WAITS)
def test_what_waits_for_the_device_is_counted_and_refused_where_asked(what, cupy):
    a = cupy.ones(())
    syncs.counts.clear()
    WAITS[what](a)
    assert syncs.counts == {what: 1}
    with syncs.forbidden():
        with pytest.raises(syncs.DeviceSynchronized, match=what):
            WAITS[what](a)
        with syncs.forbidden(False):
            WAITS[what](a)
    with syncs.forbidden():
        assert cupy.ones(3).sum().shape == ()  # which does not
    assert syncs.counts == {what: 2}


def test_transfers_are_counted(cupy):
    syncs.copies.clear()
    cupy.asarray(np.zeros(4)).get()
    assert syncs.copies == {"to the device": 32, "to the host": 32}


def test_results_without_axes_are_arrays_and_views_share_memory(cupy):
    a = cupy.asarray(np.arange(6.0).reshape(2, 3))
    for out in (a.sum(), a[0, 1], cupy.exp(a)[1, 1], a.max(axis=0)[0]):
        assert type(out) is cupy.ndarray
        assert out.shape == ()
    a[0][1:][...] = 7
    assert a.get().tolist() == [[0, 7, 7], [3, 4, 5]]
    used = cupy.get_default_memory_pool().used_bytes()
    view = a.T
    assert cupy.get_default_memory_pool().used_bytes() == used
    del view
    copy = a.copy()
    assert cupy.get_default_memory_pool().used_bytes() == used + 512
    del copy
    assert cupy.get_default_memory_pool().used_bytes() == used


def test_memory_ends(cupy):
    pool = cupy.get_default_memory_pool()
    pool.set_limit(pool.used_bytes() + 2048)
    try:
        a = cupy.empty(256)
        with pytest.raises(OutOfMemoryError, match="allocating 2,048 bytes"):
            pool.malloc(2048)
        with pytest.raises(MemoryError):
            cupy.empty(256)
        del a
        assert np.isnan(cupy.empty(256).get()).all()  # fresh memory is not zero
    finally:
        pool.set_limit(0)


def test_pools_keep_their_blocks_apart(cupy):
    gc.collect()
    default, own = cupy.get_default_memory_pool(), cupy.cuda.MemoryPool()
    default.free_all_blocks()
    used, (free, total) = default.used_bytes(), cupy.cuda.runtime.memGetInfo()
    with cupy.cuda.using_allocator(own.malloc):
        a = cupy.empty(256)
    assert (default.used_bytes(), default.free_bytes()) == (used, 0)
    assert (own.used_bytes(), own.free_bytes()) == (2048, 0)
    del a
    assert (own.used_bytes(), own.free_bytes()) == (0, 2048)
    default.free_all_blocks()  # which has nothing of the other's to give back
    assert cupy.cuda.runtime.memGetInfo() == (free - 2048, total)
    with pytest.raises(OutOfMemoryError):
        default.malloc(free - 1024)
    own.free_all_blocks()
    assert cupy.cuda.runtime.memGetInfo() == (free, total)


def test_it_is_as_narrow_as_cupy(cupy):
    a = cupy.ones((2, 2))
    for wrong in (
        lambda: a.max(initial=0),
        lambda: cupy.sum(a, where=a > 0),
        lambda: cupy.add.at(a, 0, 1.0),
        lambda: cupy.argsort(a, kind="quicksort"),
        lambda: cupy.linalg.solve(cupy.ones((3, 2, 2)), a),
        lambda: cupy.vecdot,
        lambda: cupy.matmul(a, a, out=cupy.empty((4, 2))[::2]),
    ):
        with pytest.raises((TypeError, ValueError, AttributeError, AssertionError)):
            wrong()
    assert cupy.asarray(np.arange(3))[cupy.asarray(np.array([5, -1]))].get().tolist() == [2, 2]  # around the end
    assert np.isnan(cupy.linalg.inv(cupy.zeros((2, 2))).get()).all()


def test_bfloat16_is_as_in_cupy(cupy):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    a = cupy.ones((2, 2), bfloat16)
    assert {(a * 2.0).dtype, (1 / a).dtype, cupy.where(a > 0, a, 0.0).dtype, a.sum().dtype, (a @ a).dtype} == {a.dtype}
    with pytest.raises(TypeError):
        cupy.matmul(a[None], a[None])
    with pytest.raises(TypeError):
        cupy.argsort(a)


def test_it_goes_as_it_came():
    before = sys.modules.get("cupy")
    with installed() as module:
        assert sys.modules["cupy"] is module
    assert sys.modules.get("cupy") is before


def test_its_names_are_those_of_cupy():
    """Where CuPy is installed: `python -m tests.cupy_stand_in.surface` writes them anew."""
    real = pytest.importorskip("cupy")
    if importlib.metadata.version("numpy") and real.__version__ == SURFACE["version"]:
        assert of_cupy(real) == SURFACE
