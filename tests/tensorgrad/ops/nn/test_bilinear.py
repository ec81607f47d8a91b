"""bilinear: refusals; its values are in the case table."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg


def test_refusals() -> None:
    weight = np.ones((5, 3, 2))
    for shapes in (((4, 3), (3, 2)), ((4, 2), (4, 2)), ((4, 3), (4, 3)), ((), ()), ((3,), ())):
        with pytest.raises(tg.ShapeError, match=r"bilinear: expected x1 \(..., I\).* got"):
            tg.bilinear(*map(np.ones, shapes), weight)  # type: ignore[arg-type]
    x1, x2 = np.ones((4, 3)), np.ones((4, 2))
    with pytest.raises(tg.ShapeError, match=r"bilinear: .*\(3, 2\)"):
        tg.bilinear(x1, x2, weight[0])
    with pytest.raises(tg.ShapeError, match=r"bilinear: expected bias of shape \(5,\), got \(2,\)"):
        tg.bilinear(x1, x2, weight, np.ones(2))
    with pytest.raises(tg.DTypeError, match="bilinear"):
        tg.bilinear(x1, x2.astype(np.float32), weight)
    with pytest.raises(tg.DTypeError, match=r"bilinear: .*int64"):
        tg.bilinear(*(np.ones(shape, int) for shape in ((4, 3), (4, 2), (5, 3, 2))))
