"""Tensors on a device: made, moved and shared there, and an error where they meet the host's."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.array import to_device
from tensorgrad.tape import leaf
from tensorgrad.verify.cases import CASES
from tests.cupy_stand_in import syncs

SEVERAL = {case.op: case for case in reversed(CASES) if len(case.shapes) > 1 and case.op != "broadcast_arrays"}


@pytest.mark.parametrize("name", sorted(SEVERAL))
@pytest.mark.parametrize("is_first_on_cpu", [False, True])
def test_operands_on_two_devices_are_an_error_that_names_the_op(name, is_first_on_cpu, cupy):
    case = SEVERAL[name]
    inputs = case.inputs()
    on_device = [leaf(to_device(x, "cuda")) for x in inputs]
    mixed = [
        leaf(x) if (i == 0) == is_first_on_cpu else y for i, (x, y) in enumerate(zip(inputs, on_device, strict=True))
    ]
    syncs.copies.clear()
    with pytest.raises(tg.DeviceError, match=r"^[\w.]+: expected .* on (one device|cpu|cuda:0), got "):
        case.f(*mixed)
    assert not syncs.copies["to the host"]


@pytest.mark.parametrize(
    "use",
    [
        lambda x, i: x[i],
        lambda x, i: tg.take(x, i),
        lambda x, i: tg.index_update(x, i, 0.0),
        lambda x, i: tg.index_add(x, (i,), 1.0),
        lambda x, i: x + np.ones(3, np.float32),
        lambda x, i: np.ones(3, np.float32) * x,
        lambda x, i: tg.where(np.ones(3, bool), x, x),
        lambda x, i: x.backward(np.ones(3, np.float32)),
        lambda x, i: tg.grad(x, x, np.ones(3, np.float32)),
        lambda x, i: x.detach().__setitem__(i, 0.0),
        lambda x, i: x.detach().__setitem__(slice(None), np.ones(3, np.float32)),
    ],
)
def test_numpy_s_arrays_do_not_meet_a_device_s(use, cupy):
    x = tg.ones(3, device="cuda", requires_grad=True)
    syncs.copies.clear()
    with pytest.raises(tg.DeviceError):
        use(x, np.array([0, 2]))
    with pytest.raises(tg.DeviceError):
        tg.ones(3)[to_device(np.array([0, 2]), "cuda")]
    assert syncs.copies["to the host"] == 0


def test_there_and_back(cupy):
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x.to("cuda")
    assert (x.device, y.device, y.to("cpu").device) == ("cpu", "cuda:0", "cpu")
    (y * y).sum().backward()
    assert x.grad is not None
    assert x.grad.device == "cpu"
    np.testing.assert_array_equal(x.grad.numpy(), 2 * x.numpy())
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    assert y[0, 1].item() == 2.0
    assert y.tolist() == x.tolist()
    assert "device='cuda:0'" in repr(y)
    assert tg.tensor(3, device="cuda").dtype == "int64"


def test_python_s_own_numbers_go_where_they_are_needed(cupy):
    x = tg.tensor([1.0, 2.0, 3.0], device="cuda")
    assert x[[2, 0]].numpy().tolist() == [3.0, 1.0]
    assert tg.take(x, [1, 1]).numpy().tolist() == [2.0, 2.0]
    assert (2 * x + 1).numpy().tolist() == [3.0, 5.0, 7.0]


def test_memory_is_shared_by_dlpack(cupy):
    a = cupy.asarray(np.arange(3.0))
    x = tg.from_dlpack(a)
    x.data[0] = 7
    assert x.device == "cuda:0"
    assert a.get().tolist() == [7, 1, 2]
    assert tg.asarray(a).array is a


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_summed_in_more(dtype, cupy):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x = tg.ones((1, 5000), dtype=dtype, device="cuda")
    assert x.sum().dtype == x.dtype
    assert x.sum().astype("float32").item() == pytest.approx(5000, rel=4e-3)
    product = x @ x.mT
    assert product.dtype == x.dtype
    assert product.astype("float32").item() == pytest.approx(5000, rel=4e-3)


def test_numpy_s_functions_of_a_device_s_tensors_stay_there(cupy):
    assert np.exp(tg.ones(2, device="cuda")).device == "cuda:0"
    with pytest.raises((TypeError, tg.TensorgradError)):
        np.asarray(tg.ones(2, device="cuda"))
