from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Optional, Union

import numpy as np
import pytest
import torch

from trainwright.registry.annotations import wrong_types


@dataclass
class Plain:
    n: int = 1
    rate: float = 0.1
    name: str = "x"
    on: bool = False
    sizes: list[int] = ()
    pair: tuple[int, int] = (1, 2)
    table: dict[str, int] = field(default_factory=dict)
    maybe: Optional[int] = 3  # noqa: UP045 - the old spelling is read too
    either: Union[str, list[str]] = "a"  # noqa: UP007
    modern: int | None = None
    items: Sequence[str] = ()
    numbers: int | Sequence[int] = ()
    mapping: Mapping[str, int] | None = None
    implicit: int = None
    array: float | np.ndarray = 0.0
    tensor: torch.Tensor | float = 0.0
    anything: Any = None
    function: Callable[[], int] = print
    own: "Plain | int" = 0
    unknown: "Nowhere | int" = 0  # noqa: F821

    def __post_init__(self):
        raise AssertionError("no instance is made")


class Child(Plain):
    def __init__(self, depth: int, **kwargs):
        super().__init__(**kwargs)


RIGHT = {
    "n": [1, True, 12.0, {"type": "Built"}],
    "rate": [1, 0.5, True],
    "name": ["", "y"],
    "on": [True, 0, 1],
    "sizes": [[1], (1, 2), ["whatever is in it"]],
    "pair": [(1, 2), [1, 2, 3]],
    "table": [{}, {"a": 1}],
    "maybe": [None, 4],
    "either": ["a", ["a"], ("a",)],
    "modern": [None, 4],
    "items": [[], (), "text", [1]],
    "numbers": [1, [1], (1,)],
    "mapping": [None, {}],
    "implicit": [None, 3],
    "array": [1.0, [1.0], (1, 2)],
    "tensor": [1, [1.0]],
    "anything": ["x", None, 3],
    "function": ["x", 3],
    "own": ["x", None],
    "unknown": ["x"],
    "n_unknown": ["x"],
}
WRONG = {
    "n": [("1", "must be int, got '1' of type str."), (1.5, "must be int, got 1.5 of type float."), ([1], "int")],
    "rate": [("0.1", "must be float, got '0.1' of type str."), (None, "must be float, got None of type NoneType.")],
    "name": [(3, "must be str, got 3 of type int."), (["x"], "must be str")],
    "on": [("True", "must be bool, got 'True' of type str."), (2, "must be bool"), (0.5, "must be bool")],
    "sizes": [(3, "must be list, got 3"), ("12", "must be list"), ({}, "must be list")],
    "pair": [(3, "must be tuple")],
    "table": [([], "must be dict"), ("x", "must be dict")],
    "maybe": [("3", "must be None or int, got '3'")],
    "either": [(3, "must be list or str, got 3")],
    "modern": [("3", "must be None or int")],
    "items": [(3, "must be Sequence, got 3")],
    "numbers": [("1", "must be int or list, got '1'")],
    "mapping": [([], "must be Mapping or None")],
    "implicit": [("3", "must be int")],
    "array": [("x", "must be float or ndarray, got 'x'")],
    "tensor": [("x", "must be Tensor or float, got 'x'")],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in RIGHT.items() for value in values])
def test_what_passes(name, value):
    assert wrong_types(Plain, {name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "text"), [(name, value, text) for name, pairs in WRONG.items() for value, text in pairs]
)
def test_what_does_not(name, value, text):
    ((found, message),) = wrong_types(Plain, {name: value})
    assert found == name
    assert message.startswith(f"argument {name!r} ")
    assert text in message


@pytest.mark.parametrize("value", [object(), torch.zeros(1), int, print])
def test_objects_are_not_judged(value):
    assert wrong_types(Plain, {"n": value, "name": value}) == []


def test_functions_partials_and_forwarded_arguments_are_judged():
    def resize(size: int, mode: str = "x"):
        raise AssertionError("no call is made")

    assert [name for name, _ in wrong_types(resize, {"size": "3", "mode": 3})] == ["size", "mode"]
    assert [name for name, _ in wrong_types(partial(resize, mode="y"), {"size": "3"})] == ["size"]
    assert [name for name, _ in wrong_types(Child, {"depth": "3", "rate": "x", "name": "fine"})] == ["depth", "rate"]
    assert [name for name, _ in wrong_types(partial(Plain, n=1), {"rate": "x"})] == ["rate"]


def test_what_is_not_annotated_is_not_judged():
    assert wrong_types(lambda bare=3: None, {"bare": "x"}) == []


def test_optimizers_are_judged_and_what_is_written_in_c_is_not():
    assert wrong_types(torch.optim.SGD, {"lr": "0.1", "momentum": 0.9, "foreach": None}) == [
        ("lr", "argument 'lr' must be Tensor or float, got '0.1' of type str.")
    ]
    assert wrong_types(torch.Generator, {"device": 3}) == []
    assert wrong_types(max, {"key": 3}) == []
