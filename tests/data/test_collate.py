"""Collate functions and the pipeline."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch

from trainwright.base.errors import ConfigTypeError, DataError
from trainwright.data import Compose, default_collate, pseudo_collate
from trainwright.registry import FUNCTIONS, TRANSFORMS

Pair = namedtuple("Pair", "image label")


class Element:
    def to_dict(self) -> dict:
        return {}


def test_both_are_registered():
    assert FUNCTIONS.get("pseudo_collate") is pseudo_collate
    assert FUNCTIONS.get("default_collate") is default_collate


def test_pseudo_collate_transposes_and_stacks_nothing():
    a, b = torch.ones(2), torch.zeros(3)
    assert pseudo_collate([{"x": a, "y": 1}, {"x": b, "y": 2}]) == {"x": [a, b], "y": [1, 2]}
    assert pseudo_collate([(a, "s"), (b, "t")]) == [(a, b), ("s", "t")]
    assert pseudo_collate([Pair(a, 1), Pair(b, 2)]) == Pair((a, b), (1, 2))
    assert pseudo_collate([[a, [1]], [b, [2]]]) == [(a, b), [(1, 2)]]
    assert pseudo_collate([3, 4]) == [3, 4]
    assert pseudo_collate([range(2), range(2)]) == [(0, 0), (1, 1)]


def test_default_collate_stacks():
    batch = default_collate(
        [{"x": torch.ones(2), "n": np.zeros(3), "y": 1, "s": "a", "none": None, "e": Element()}] * 2
    )
    assert batch["x"].shape == (2, 2)
    assert batch["n"].shape == (2, 3)
    assert batch["y"].tolist() == [1, 1]
    assert batch["s"] == ["a", "a"]
    assert batch["none"] == [None, None]
    assert isinstance(batch["e"], list)
    image, label = default_collate([(torch.ones(2), 3), (torch.zeros(2), 4)])
    assert image.shape == (2, 2)
    assert label.tolist() == [3, 4]
    assert isinstance(default_collate([Pair(torch.ones(1), 1)] * 3), Pair)


def test_unequal_samples_are_named():
    with pytest.raises(DataError, match=r"at \['a'\]\[1\]: sample 0 of the batch has \(2,\), sample 2 has \(3,\)"):
        default_collate([{"a": [0, torch.ones(n)]} for n in (2, 2, 3)])
    with pytest.raises(DataError, match=r"cannot stack samples \(.*object.*pseudo_collate"):
        default_collate([object(), object()])
    with pytest.raises(DataError, match=r"lengths differ \(\[1, 2\]\)"):
        pseudo_collate([[1], [1, 2]])
    with pytest.raises(DataError, match=r"at \['a'\]: sample 1 of the batch has no 'c', which sample 0 has"):
        pseudo_collate([{"a": {"c": 1}}, {"a": {"b": 1}}])


def test_compose():
    TRANSFORMS.register_module(name="AddForTest", force=True, module=Add)
    pipeline = Compose([{"type": "AddForTest", "n": 2}, abs])
    assert pipeline(-5) == 3
    assert Compose([lambda x: None, abs])(3) is None
    assert Compose(None)(3) == 3
    assert repr(pipeline).startswith("Compose(\n    <")
    with pytest.raises(ConfigTypeError, match="transform 1 of the pipeline must be callable.*got 3"):
        Compose([abs, 3])


class Add:
    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: int) -> int:
        return x + self.n


@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_values_of_unequal_kinds_are_named(collate):
    with pytest.raises(DataError, match=r"at \['a'\]: sample 0 of the batch has a dict, sample 2 a int"):
        collate([{"a": {"q": 1}}, {"a": {"q": 1}}, {"a": 3}])
    with pytest.raises(DataError, match=r"at \['a'\]: sample 0 of the batch has a list, sample 1 a int"):
        collate([{"a": [1, 2]}, {"a": 5}])
    with pytest.raises(DataError, match=r"samples: sample 0 of the batch has a dict, sample 1 a list"):
        collate([{"a": 1}, ["a"]])


def test_none_in_some_samples_only_is_an_error_wherever_it_is():
    with pytest.raises(DataError, match=r"at \['a'\]: sample 0 of the batch has a NoneType, sample 1 a Tensor"):
        default_collate([{"a": None}, {"a": torch.ones(1)}])
    with pytest.raises(DataError, match=r"at \['a'\]: sample 0 of the batch has \(1,\), sample 1 has NoneType"):
        default_collate([{"a": torch.ones(1)}, {"a": None}])
