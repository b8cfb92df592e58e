"""mmengine.testing: comparisons."""

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")

HAS = {
    "text": "test1",
    "number": 2,
    "pair": (4, 6),
    "array": np.array([[5, 3, 5], [1, 2, 3]]),
    "tensor": torch.tensor([5, 3, 5]),
    "one": torch.tensor(5),
}
SAME = [
    {},
    {"text": "test1", "number": 2, "pair": (4, 6)},
    {"array": np.array([[5, 3, 5], [1, 2, 3]])},
    {"tensor": torch.tensor([5, 3, 5])},
    {"one": torch.tensor(5)},
    {"one": 5},
]
OTHER = [
    {"what is not there": None},
    {"text": "test2"},
    {"number": 3},
    {"pair": (6, 4)},
    {"text": "test1", "number": 3},
    {"array": np.array([[5, 3, 5], [6, 4, 3]])},
    {"tensor": torch.tensor([5, 5, 5])},
    {"one": torch.tensor(4)},
]


@pytest.mark.parametrize(("subset", "is_subset"), [*((s, True) for s in SAME), *((s, False) for s in OTHER)])
def test_subsets_and_attributes(subset, is_subset):
    from mmengine.testing import assert_attrs_equal, assert_dict_contains_subset

    assert assert_dict_contains_subset(HAS, subset) is is_subset
    thing = type("Thing", (), HAS)()
    assert assert_attrs_equal(thing, subset) is is_subset


def test_keys():
    from mmengine.testing import assert_dict_has_keys, assert_keys_equal

    assert assert_dict_has_keys(HAS, ["text", "pair"])
    assert not assert_dict_has_keys(HAS, ["text", "other"])
    assert assert_keys_equal(["a", "b"], ["b", "a"])
    assert not assert_keys_equal(["a", "b"], ["a"])
    assert not assert_keys_equal(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("layer", "is_norm"),
    [
        (nn.Conv3d(3, 64, 3), False),
        (nn.Sigmoid(), False),
        (nn.BatchNorm3d(128), True),
        (nn.SyncBatchNorm(8), True),
        (nn.GroupNorm(8, 64), True),
        (nn.InstanceNorm1d(8), True),
        (nn.LayerNorm(8), True),
    ],
)
def test_norms(layer, is_norm):
    from mmengine.testing import assert_is_norm_layer

    assert assert_is_norm_layer(layer) is is_norm


def test_parameters_that_are_zeros():
    from mmengine.testing import assert_params_all_zeros

    layer = nn.Linear(2, 3)
    nn.init.zeros_(layer.weight)
    nn.init.ones_(layer.bias)
    assert not assert_params_all_zeros(layer)
    nn.init.zeros_(layer.bias)
    assert assert_params_all_zeros(layer)
    nn.init.ones_(layer.weight)
    assert not assert_params_all_zeros(layer)
    bare = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.zeros_(bare.weight)
    assert assert_params_all_zeros(bare)


def test_assert_allclose():
    from mmengine.testing import assert_allclose

    assert_allclose(torch.ones(2), [1.0, 1.0])
    assert_allclose(torch.ones(2), torch.tensor([1.0, 1.00005]))
    assert_allclose(torch.ones(2), torch.ones(2, dtype=torch.float64))
    assert_allclose(torch.tensor([1, 2]), [1, 2])
    assert_allclose([float("nan"), 1.0], [float("nan"), 1.0])
    assert_allclose(1.0, 1.05, rtol=0.1, atol=0.0)
    for other in ([1.0, 1.001], [1.0]):
        with pytest.raises(AssertionError):
            assert_allclose(torch.ones(2), other)
    with pytest.raises(AssertionError):
        assert_allclose([float("nan")], [float("nan")], equal_nan=False)
    with pytest.raises(AssertionError, match="not the same at all"):
        assert_allclose(torch.ones(2), torch.zeros(2), msg="not the same at all")
    with pytest.raises(ValueError, match="rtol"):
        assert_allclose(torch.ones(2), torch.ones(2), atol=1.0)


SCRIPT = """\
import sys

if len(sys.argv) != 2:
    sys.exit("one word is wanted")
assert __name__ == "__main__"
print(f"hello {sys.argv[1]}!")
"""


@pytest.mark.parametrize("python", ["", "python "])
def test_check_python_script(tmp_path, capsys, python):
    from mmengine.testing import check_python_script

    script = tmp_path / "hello.py"
    script.write_text(SCRIPT)
    check_python_script(f"{python}{script} agent")
    assert capsys.readouterr().out == "hello agent!\n"
    with pytest.raises(SystemExit, match="one word"):
        check_python_script(f"{python}{script} li zz")
