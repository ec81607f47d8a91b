"""Trees of Tensors: names, mapping, tied weights."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.tree import map_tensors, named_tensors, replace_tensors

Pair = namedtuple("Pair", ["left", "right"])


@dataclass(frozen=True, slots=True)
class Layer:
    weight: tg.Tensor
    name: str = "layer"
    bias: tg.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Model:
    table: tg.Tensor
    layers: list[Any]
    head: tg.Tensor
    extra: dict[str, Any] = field(default_factory=dict)


def model() -> Model:
    table = tg.ones((2,))
    layers = [Layer(tg.zeros((1,))), Layer(tg.zeros((2,)), bias=tg.zeros((3,)))]
    return Model(table, layers, table, {"pair": Pair(tg.ones((4,)), 7), "both": (tg.ones((5,)),)})


def test_names_are_paths_in_order_and_tied_tensors_are_listed_once() -> None:
    names = named_tensors(model())
    assert list(names) == [
        "table",
        "layers.0.weight",
        "layers.1.weight",
        "layers.1.bias",
        "extra.pair.0",
        "extra.both.0",
    ]
    assert [x.size for x in names.values()] == [2, 1, 2, 3, 4, 5]
    assert named_tensors(tg.ones((2,))).keys() == {""}
    assert named_tensors({"a": 1, "b": None}) == {}


def test_mapping_keeps_structure_types_and_ties() -> None:
    calls = []

    def double(x: tg.Tensor) -> tg.Tensor:
        calls.append(x)
        return x * 2.0

    before = model()
    after = map_tensors(double, before)
    assert len(calls) == 6
    assert after.head is after.table
    assert type(after.layers[0]) is Layer
    assert after.layers[0].name == "layer"
    assert type(after.extra["pair"]) is Pair
    assert after.extra["pair"].right == 7
    np.testing.assert_array_equal(after.table.numpy(), [2.0, 2.0])
    np.testing.assert_array_equal(before.table.numpy(), [1.0, 1.0])
    assert list(named_tensors(after)) == list(named_tensors(before))


def test_replacing_by_name() -> None:
    new = tg.full((2,), 9.0)
    before = model()
    after = replace_tensors(before, {"table": new})
    assert after.table is new
    assert after.head is new
    assert after.layers[0].weight is before.layers[0].weight
    with pytest.raises(tg.ShapeError, match=r"replace_tensors: .*'layers\.7'"):
        replace_tensors(before, {"layers.7": new})
