import functools

import pytest
import torch

from trainwright.registry import argument_errors


class Plain:
    def __init__(self, depth, width=1, *, norm=None):
        raise AssertionError("no instance is made")


class Open(Plain):
    def __init__(self, name, **kwargs):
        super().__init__(**kwargs)


class Inherited(Plain):
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
        (Plain, {"depth": 1, "zzz": 2}, ["unknown argument 'zzz'. It accepts: depth, width, norm."]),
        (Plain, {}, ["missing argument 'depth'."]),
        (Inherited, {"dept": 1}, ["unknown argument 'dept'. Did you mean 'depth'?", "missing argument 'depth'."]),
        (Open, {"name": 1, "anything": 2}, []),
        (Open, {"anything": 2}, ["missing argument 'name'."]),
        (function, {"lr": 1, "momentun": 2}, ["unknown argument 'momentun'. Did you mean 'momentum'?"]),
        (functools.partial(function, lr=1), {}, []),
        (functools.partial(function, lr=1), {"momentun": 1}, ["unknown argument 'momentun'. Did you mean 'momentum'?"]),
        (object, {"a": 1}, ["unknown argument 'a'. It accepts no arguments."]),
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
