"""mmengine.analysis: activations and parameters."""

from collections import Counter, defaultdict

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")


class SmallConvNet(nn.Module):
    """Three convolutions, one after the other."""

    def __init__(self, width=3):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1)
        self.conv2 = nn.Conv2d(width, width, 1)
        self.fc = nn.Linear(width, 2)
        self.width = width

    def forward(self, x):
        return self.fc(torch.relu(self.conv2(self.conv1(x))).mean((2, 3)))


def test_of_convolutions_and_a_linear_layer():
    from mmengine.analysis import ActivationAnalyzer, activation_count

    model, x = SmallConvNet(), torch.randn(2, 3, 5, 5)
    counts, unsupported = activation_count(model, (x,))
    assert isinstance(counts, defaultdict)
    assert counts == {"conv": 2 * 150 / 1e6, "linear": 4 / 1e6}
    assert unsupported == Counter({"aten::mean": 1})
    analysis = ActivationAnalyzer(model, x)
    assert analysis.total() == 304
    assert analysis.by_module() == Counter({"": 304, "conv1": 150, "conv2": 150, "fc": 4})
    assert analysis.by_module_and_operator()["conv1"] == Counter({"conv": 150})


def test_handles_for_more_operators():
    from mmengine.analysis import activation_count

    counts, unsupported = activation_count(
        SmallConvNet(),
        (torch.randn(2, 3, 5, 5),),
        {"aten::mean": lambda inputs, outputs: Counter({"mean": 9}), "aten::_convolution": lambda i, o: 5},
    )
    assert counts == {"_convolution": 10 / 1e6, "mean": 9 / 1e6, "linear": 4 / 1e6}
    assert unsupported == Counter()


@pytest.mark.parametrize(
    ("name", "func", "shapes", "count"),
    [
        ("bmm", torch.bmm, [(2, 3, 4), (2, 4, 5)], 30),
        ("matmul", torch.matmul, [(3, 4), (4, 5)], 15),
        ("addmm", torch.addmm, [(3, 5), (3, 4), (4, 5)], 15),
        ("einsum", lambda a, b: torch.einsum("nct,ncp->ntp", a, b), [(2, 3, 4), (2, 3, 5)], 40),
    ],
)
def test_of_operators(name, func, shapes, count):
    from mmengine.analysis import ActivationAnalyzer

    class Calls(nn.Module):
        def forward(self, *tensors):
            return func(*tensors)

    analysis = ActivationAnalyzer(Calls(), tuple(map(torch.randn, shapes)))
    assert analysis.by_operator() == Counter({name: count})


def test_parameter_count():
    from mmengine.analysis import parameter_count

    counts = parameter_count(SmallConvNet())
    assert isinstance(counts, defaultdict)
    assert counts == {
        "": 32,
        "conv1": 12,
        "conv1.weight": 9,
        "conv1.bias": 3,
        "conv2": 12,
        "conv2.weight": 9,
        "conv2.bias": 3,
        "fc": 8,
        "fc.weight": 6,
        "fc.bias": 2,
    }


def test_a_shared_parameter_counts_once():
    from mmengine.analysis import parameter_count

    model = nn.ModuleDict({"one": nn.Linear(3, 3), "other": nn.Linear(3, 3)})
    model["other"].weight = model["one"].weight
    counts = parameter_count(model)
    assert (counts[""], counts["one"], counts["other"], "other.weight" in counts) == (15, 12, 3, False)


def test_parameter_count_table(monkeypatch):
    from mmengine.analysis import parameter_count_table

    monkeypatch.setenv("COLUMNS", "100")
    model = nn.Sequential(nn.Linear(20, 10, bias=False), nn.Sequential(nn.Linear(1, 2)))
    assert parameter_count_table(model).splitlines() == [
        "    parameter count of Sequential     ",
        "+---------------+--------------------+",
        "| name          | #elements or shape |",
        "+---------------+--------------------+",
        "| model         | 0.2K               |",
        "|  0            |  0.2K              |",
        "|   0.weight    |   (10, 20)         |",
        "|  1            |  4                 |",
        "|   1.0         |   4                |",
        "|    1.0.weight |    (2, 1)          |",
        "|    1.0.bias   |    (2,)            |",
        "+---------------+--------------------+",
    ]
    one = parameter_count_table(model, max_depth=1)
    assert "0.weight" not in one
    assert [line.split("|")[1].strip() for line in one.splitlines() if line.startswith("|")] == [
        "name",
        "model",
        "0",
        "1",
    ]
