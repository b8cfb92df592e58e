import functools

import pytest
import torch

from trainwright.registry import argument_errors
from trainwright.registry.signature import wrong_arguments


class Plain:
    def __init__(self, depth, width=1, *, norm=None):
        raise AssertionError("no instance is made")


class Open(Plain):
    def __init__(self, name, **kwargs):
        super().__init__(**kwargs)


class Inherited(Plain):
    pass


class Further(Open):
    def __init__(self, label, **rest):
        super().__init__("fixed", width=2, **rest)


class Keeping(Plain):
    def __init__(self, **kwargs):
        self.mine = kwargs.pop("mine", None)
        super().__init__(**kwargs)


class Elsewhere(Plain):
    def __init__(self, **kwargs):
        Plain(**kwargs)


class Starred(Plain):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class Beside(Plain):
    def __init__(self, extra=1, **kwargs):
        super().__init__(**kwargs)


class Both(Beside, Open):
    """`Beside` hands on to what follows it here, which is Open."""


class OwnMeta(type):
    def __call__(cls, a, b=1):
        raise AssertionError


class Metered(metaclass=OwnMeta):
    pass


def function(lr, momentum=0.9):
    raise AssertionError("no call is made")


def positional_only(a, /, b):
    raise AssertionError


@pytest.mark.parametrize(
    ("obj", "kwargs", "expected"),
    [
        (Plain, {"depth": 1, "norm": 2}, []),
        (Plain, {"depth": 1, "widht": 2}, ["unknown argument 'widht'. Did you mean 'width'?"]),
        (Plain, {"depth": 1, "width": 2, "widht": 2}, ["unknown argument 'widht'. Did you mean 'width'?"]),
        (Plain, {"depth": 1, "zzz": 2}, ["unknown argument 'zzz'. It accepts: depth, width, norm."]),
        (Plain, {}, ["missing argument 'depth'."]),
        (Inherited, {"dept": 1}, ["unknown argument 'dept'. Did you mean 'depth'?", "missing argument 'depth'."]),
        (Open, {"name": 1, "depth": 2, "norm": 3}, []),
        (
            Open,
            {"depth": 1, "widht": 2},
            ["unknown argument 'widht'. Did you mean 'width'?", "missing argument 'name'."],
        ),
        (Open, {"name": 1}, ["missing argument 'depth'."]),
        (Further, {"label": 1, "depth": 2, "norm": 3}, []),
        (
            Further,
            {"label": 1, "depth": 2, "name": 3, "width": 4},
            [f"unknown argument {name!r}. It accepts: label, depth, norm." for name in ("name", "width")],
        ),
        (Keeping, {"anything": 2}, []),
        (Elsewhere, {"anything": 2}, []),
        (Starred, {"anything": 2}, []),
        (Both, {"depth": 1, "name": 2, "extra": 3}, []),
        (
            Both,
            {"depth": 1, "extra": 3, "nmae": 2},
            ["unknown argument 'nmae'. Did you mean 'name'?", "missing argument 'name'."],
        ),
        (Metered, {"c": 1}, ["unknown argument 'c'. It accepts: a, b.", "missing argument 'a'."]),
        (function, {"lr": 1, "momentun": 2}, ["unknown argument 'momentun'. Did you mean 'momentum'?"]),
        (functools.partial(function, lr=1), {}, []),
        (functools.partial(function, lr=1), {"momentun": 1}, ["unknown argument 'momentun'. Did you mean 'momentum'?"]),
        (object, {"a": 1}, ["unknown argument 'a'. It accepts no arguments by name."]),
        (positional_only, {"b": 1}, ["argument 'a' cannot be given by name."]),
        (torch.nn.Linear, {"in_features": 1, "out_featuers": 2}, None),
        (torch.optim.SGD, {"lr": 1, "momentum": 0.9}, ["missing argument 'params'."]),
        (torch.Size, {"a": 1}, []),
        (torch.Generator, {"device": "cpu"}, []),
        (max, {"a": 1}, []),
    ],
)
def test_what_is_wrong_is_read_from_the_signature(obj, kwargs, expected):
    found = argument_errors(obj, kwargs)
    if expected is None:
        assert found[0] == "unknown argument 'out_featuers'. Did you mean 'out_features'?"
        assert found[1] == "missing argument 'out_features'."
    else:
        assert found == expected


def test_injected_arguments_are_not_missing_and_not_suggested():
    assert argument_errors(torch.optim.SGD, {"lr": 0.1}, injected=["params"]) == []
    assert argument_errors(Plain, {"dept": 1}, injected=["depth"]) == [
        "unknown argument 'dept'. It accepts: depth, width, norm."
    ]


def test_a_misspelt_override_is_near_what_it_was_to_override():
    near = [wrong.has_near for wrong in wrong_arguments(Plain, ["depth", "dept", "zzz"])]
    assert near == [True, False]
    assert argument_errors(Plain, {"depth": 1, "dept": 2}) == ["unknown argument 'dept'. Did you mean 'depth'?"]
