import enum
import io
from collections import Counter, OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
import torch

from trainwright.config import ConfigDict
from trainwright.state import NotPlainError, plain_items, to_plain

Pair = namedtuple("Pair", "a b")


class Tagged(torch.Tensor):
    pass


class Colour(enum.IntEnum):
    RED = 3


class Name(str):
    pass


def through_a_safe_file(value):
    file = io.BytesIO()
    torch.save(to_plain({"value": value}), file)
    file.seek(0)
    return torch.load(file, weights_only=True)["value"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (10**30, 10**30),
        (1 + 2j, 1 + 2j),
        (b"ab\xff", b"ab\xff"),
        (torch.float16, torch.float16),
        (torch.device("cpu"), torch.device("cpu")),
        (torch.Size([2, 3]), (2, 3)),
        (Pair(1, [2]), (1, [2])),
        (frozenset({1}), {1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (ConfigDict(a=ConfigDict(b=(1, 2))), {"a": {"b": (1, 2)}}),
        ({(1, 2): {3: 4}}, {(1, 2): {3: 4}}),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.complex64(1j), 1j),
        (Colour.RED, 3),
        (Name("x"), "x"),
    ],
)
def test_values_become_builtin_ones(value, expected):
    got = through_a_safe_file(value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6)[::-2],
        np.asfortranarray(np.ones((2, 3))),
        np.array(3.5),
        np.arange(3, dtype=">f4"),
        np.ones(2, dtype=bool),
        np.ones(2, dtype=np.complex64),
        np.ones(2, dtype=np.float16),
        np.arange(2, dtype=np.uint16),
    ],
)
def test_arrays_become_tensors_of_the_same_shape_and_values(array):
    got = through_a_safe_file(array)
    assert tuple(got.shape) == array.shape
    np.testing.assert_array_equal(got.numpy(), array)


def test_a_read_only_array_is_copied_without_a_word():
    array = np.arange(3.0)
    array.setflags(write=False)
    tensor = to_plain(array)
    tensor += 1
    assert array.tolist() == [0, 1, 2]


def test_a_plain_tensor_stays_itself():
    tensor, parameter = torch.ones(2), torch.nn.Parameter(torch.ones(2))
    assert to_plain(tensor) is tensor
    assert to_plain([parameter])[0] is parameter


def test_a_tensor_with_a_class_or_attributes_loses_them_and_shares_its_memory():
    tagged = torch.arange(3.0).as_subclass(Tagged)
    noted = torch.arange(3.0)
    noted.note = object()
    for tensor in (tagged, noted):
        got = to_plain(tensor)
        assert type(got) is torch.Tensor
        assert got.data_ptr() == tensor.data_ptr()
        assert through_a_safe_file(tensor).tolist() == [0, 1, 2]


def test_a_module_s_version_table_is_kept():
    state = torch.nn.BatchNorm1d(2).state_dict()
    plain = to_plain(state)
    assert type(plain) is OrderedDict
    assert plain._metadata == state._metadata


@pytest.mark.parametrize(
    ("value", "where", "kind"),
    [
        ({"a": [0, {"b": object()}]}, "['a'][1]['b']", "builtins.object"),
        ({"f": len}, "['f']", "builtins.builtin_function_or_method"),
        ([range(3)], "[0]", "builtins.range"),
        ({"t": (np.array(["text"]),)}, "['t'][0]", "numpy.ndarray"),
        ({"o": np.array([None])}, "['o']", "numpy.ndarray"),
        ({"d": np.datetime64("2020-01-01")}, "['d']", "numpy.datetime64"),
        ({"l": np.longdouble(1)}, "['l']", "numpy.longdouble"),
        ({torch.nn.ReLU: 1}, "", "type"),
    ],
)
def test_anything_else_is_refused_with_its_place(value, where, kind):
    with pytest.raises(NotPlainError) as caught:
        to_plain(value)
    assert where in caught.value.where
    assert kind in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_the_value_itself_may_be_the_culprit():
    with pytest.raises(NotPlainError, match=r"^the value is a builtins\.object$"):
        to_plain(object())


def test_plain_items_sorts_out():
    kept, dropped = plain_items({"a": np.int64(1), "b": object(), "c": [len], "d": (1,)})
    assert kept == {"a": 1, "d": (1,)}
    assert dropped == ["b", "c"]
