"""mmengine.analysis.print_helper: statistics brought into texts and tables."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine", "width")

STATS = {
    "": {"stat1": 4000, "stat2": 600000, "stat3": 0},
    "a1": {"stat1": 20, "stat2": 3000, "stat3": 0},
    "a1.b1": {"stat1": 20, "stat2": 3000, "stat3": 0},
    "a1.b1.c1": {"stat1": 0, "stat2": 0, "stat3": 0},
    "a1.b1.c2": {"stat1": 20, "stat2": 3000, "stat3": 0},
    "a2": {"stat1": 123456, "stat2": 654321, "stat3": 0},
    "a2.b1": {"stat1": 0, "stat2": 0, "stat3": 0},
}


@pytest.fixture
def width(monkeypatch):
    """A table is as wide as the terminal at most."""
    monkeypatch.setenv("COLUMNS", "100")


class Net(nn.Module):
    """A layer, a module with two, and one that is not called."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(10, 10)
        self.inner = nn.Sequential(OrderedDict(conv=nn.Conv1d(10, 20, 1, bias=False), act=nn.ReLU()))
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(self.fc1(x).unsqueeze(2))


def helper():
    from mmengine.analysis import print_helper

    return print_helper


def analyses(model, *inputs):
    from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer

    return FlopAnalyzer(model, inputs), ActivationAnalyzer(model, inputs)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (100, "100"),
        (101, "0.101K"),
        (-1500, "-1.5K"),
        (100_000, "100K"),
        (123_456, "0.123M"),
        (1e8 + 1, "0.1G"),
        (65_700_000_000, "65.7G"),
        (2e11, "0.2T"),
        (3e15, "3P"),
        (12.5, "12.5"),
    ],
)
def test_format_size(number, text):
    assert helper()._format_size(number) == text


def test_format_size_by_its_settings():
    assert helper()._format_size(0, hide_zero=True) == ""
    assert helper()._format_size(123_456, 1) == "0.1M"


def test_pretty_statistics():
    pretty = helper()._pretty_statistics(STATS, sig_figs=2, hide_zero=True)
    assert pretty["a2"] == {"stat1": "0.12M", "stat2": "0.65M", "stat3": ""}
    assert pretty["a1"] == {"stat1": "20", "stat2": "3K", "stat3": ""}
    assert helper()._pretty_statistics(STATS)["a1.b1.c1"] == {"stat1": "0", "stat2": "0", "stat3": "0"}


def test_group_by_module():
    grouped = helper()._group_by_module({"one": {"": 1, "a": 2}, "other": {"a": 3, "b": 4}})
    assert grouped == {"": {"one": 1}, "a": {"one": 2, "other": 3}, "b": {"other": 4}}


def test_indicate_uncalled_modules():
    before = {"": {"stat": "3"}, "a": {"stat": "0", "other": "1"}}
    marked = helper()._indicate_uncalled_modules(before, "stat", {"a", "b"}, "NONE")
    assert marked == {"": {"stat": "3"}, "a": {"stat": "NONE", "other": "1"}, "b": {"stat": "NONE"}}
    assert before["a"] == {"stat": "0", "other": "1"}
    assert helper()._indicate_uncalled_modules(before, "stat", {"a"})["a"]["stat"] == "N/A"


def test_remove_zero_statistics():
    kept = helper()._remove_zero_statistics(STATS)
    assert list(kept) == ["a1.b1.c2", "a1.b1", "a1", "a2", ""]
    assert kept["a2"] == STATS["a2"]
    forced = helper()._remove_zero_statistics(STATS, force_keep={"a2.b1"})
    assert set(forced) == {*kept, "a2.b1"}


def test_a_zero_with_something_in_it_can_stay():
    stats = {"": {"n": 1}, "a": {"n": 0}, "a.b": {"n": 1}, "a.c": {"n": 0}}
    assert set(helper()._remove_zero_statistics(stats)) == {"", "a.b"}
    assert set(helper()._remove_zero_statistics(stats, require_trivial_children=True)) == {"", "a", "a.b"}


def test_fill_missing_statistics():
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    filled = helper()._fill_missing_statistics(model, {"one": {"": 3, "0": 3}, "other": {"1": 2}})
    assert filled == {"one": {"": 3, "0": 3, "1": 0}, "other": {"1": 2, "": 0, "0": 0}}


def test_model_stats_str():
    model = nn.Sequential(OrderedDict(fc=nn.Linear(2, 3), acts=nn.Sequential(nn.ReLU())))
    text = helper()._model_stats_str(model, {"": {"#n": "9", "#m": "1"}, "fc": {"#n": "8"}, "acts.0": {"#n": "0"}})
    assert text.splitlines() == [
        "Sequential(",
        "  #n: 9, #m: 1",
        "  (fc): Linear(",
        "    in_features=2, out_features=3, bias=True",
        "    #n: 8",
        "  )",
        "  (acts): Sequential(",
        "    (0): ReLU(#n: 0)",
        "  )",
        ")",
    ]
    assert helper()._model_stats_str(model, {}) == str(model)


def test_get_input_sizes():
    sizes = helper()._get_input_sizes([torch.ones(1, 2), 3, [torch.ones(4), (torch.ones(()), None)], {"a": 1}.values()])
    assert sizes == [[1, 2], None, [[4], [[], None]], None]


def test_get_single_child():
    assert helper()._get_single_child("", STATS) is None
    assert helper()._get_single_child("a1", STATS) == "a1.b1"
    assert helper()._get_single_child("a1.b1", STATS) is None
    assert helper()._get_single_child("a2", STATS) == "a2.b1"
    assert helper()._get_single_child("a2.b1", STATS) is None


def test_try_combine():
    combine = helper()._try_combine
    assert combine({"a": "1", "b": ""}, {"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
    assert combine({"a": "1"}, {"a": "2"}) is None
    assert combine({"a": "1"}, {"a": "1", "b": ""}) is None


def test_fastforward():
    stats = {"": {"n": "1"}, "a": {"n": "1"}, "a.b": {"n": ""}, "a.b.c": {"n": "2"}}
    assert helper()._fastforward("", stats) == ("a.b", {"n": "1"})


def test_stats_table_format():
    stats = {"": {"n": "3", "m": "1"}, "a": {"n": "3"}, "b": {"m": "1"}, "b.c": {"m": "0"}, "b.d": {"m": "1"}}
    table = helper()._stats_table_format(stats, max_depth=2, stat_columns=["n", "m"])
    assert table.splitlines() == [
        "+--------+----+-----+",
        "| module | n  | m   |",
        "+--------+----+-----+",
        "| model  | 3  | 1   |",
        "|  a     |  3 |     |",
        "|  b     |    |  1  |",
        "|   b.c  |    |   0 |",
        "|   b.d  |    |   1 |",
        "+--------+----+-----+",
    ]
    assert "b.c" not in helper()._stats_table_format(stats, max_depth=1, stat_columns=["n", "m"])


def test_complexity_stats_str():
    flops, activations = analyses(Net(), torch.randn(2, 10))
    text = helper().complexity_stats_str(flops, activations)
    note, *lines = text.splitlines()
    assert note.startswith("N/A indicates a possibly missing statistic")
    assert lines == [
        "Net(",
        "  #params: 0.32K, #flops: 0.6K, #acts: 60",
        "  (fc1): Linear(",
        "    in_features=10, out_features=10, bias=True",
        "    #params: 0.11K, #flops: 0.2K, #acts: 20",
        "  )",
        "  (inner): Sequential(",
        "    #params: 0.2K, #flops: 0.4K, #acts: 40",
        "    (conv): Conv1d(",
        "      10, 20, kernel_size=(1,), stride=(1,), bias=False",
        "      #params: 0.2K, #flops: 0.4K, #acts: 40",
        "    )",
        "    (act): ReLU()",
        "  )",
        "  (unused): Linear(",
        "    in_features=3, out_features=3, bias=True",
        "    #params: 12, #flops: N/A, #acts: N/A",
        "  )",
        ")",
    ]
    assert "#acts" not in helper().complexity_stats_str(flops)


TABLE = """\
+---------------------+----------------------+--------+--------------+
| module              | #parameters or shape | #flops | #activations |
+---------------------+----------------------+--------+--------------+
| model               | 0.322K               | 0.6K   | 60           |
|  fc1                |  0.11K               |  0.2K  |  20          |
|   fc1.weight        |   (10, 10)           |        |              |
|   fc1.bias          |   (10,)              |        |              |
|  inner.conv         |  0.2K                |  0.4K  |  40          |
|   inner.conv.weight |   (20, 10, 1)        |        |              |
|  unused             |  12                  |        |              |
|   unused.weight     |   (3, 3)             |        |              |
|   unused.bias       |   (3,)               |        |              |
+---------------------+----------------------+--------+--------------+
"""


def test_complexity_stats_table():
    flops, activations = analyses(Net(), torch.randn(2, 10))
    assert helper().complexity_stats_table(flops, activations=activations) == TABLE
    bare = helper().complexity_stats_table(flops, max_depth=1, show_param_shapes=False)
    assert bare.splitlines()[1] == "| module      | #parameters | #flops |"
    assert "weight" not in bare


class TwoInputs(nn.Module):
    """A product of two."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x, y):
        return self.fc(x) @ y


def test_get_model_complexity_info():
    from mmengine.analysis import get_model_complexity_info

    info = get_model_complexity_info(Net(), inputs=(torch.randn(2, 10),))
    assert list(info) == [
        "flops",
        "flops_str",
        "activations",
        "activations_str",
        "params",
        "params_str",
        "out_table",
        "out_arch",
    ]
    assert (info["flops"], info["activations"], info["params"]) == (600, 60, 322)
    assert (info["flops_str"], info["activations_str"], info["params_str"]) == ("0.6K", "60", "0.322K")
    assert info["out_table"] == "\n" + TABLE
    assert info["out_arch"].startswith("\nN/A")
    bare = get_model_complexity_info(Net(), (10,), show_table=False, show_arch=False)
    assert (bare["flops"], bare["out_table"], bare["out_arch"]) == (300, "", "")


def test_the_shapes_of_several_inputs():
    from mmengine.analysis import get_model_complexity_info

    info = get_model_complexity_info(TwoInputs(), input_shape=((3, 4), (6, 5)))
    assert info["flops"] == 3 * 4 * 6 + 3 * 6 * 5


@pytest.mark.parametrize(
    "given",
    [{}, {"input_shape": (10,), "inputs": (torch.ones(1, 10),)}, {"input_shape": [10]}, {"input_shape": ((3,), 4)}],
)
def test_inputs_that_cannot_be_made(given):
    from mmengine.analysis import get_model_complexity_info

    with pytest.raises(ValueError, match="input_shape"):
        get_model_complexity_info(Net(), **given)
