"""mmengine.analysis: multiply-adds by operator, as MMEngine's own tests of flop_count want them."""

from collections import Counter, defaultdict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytestmark = pytest.mark.usefixtures("mmengine")


class Calls(nn.Module):
    """A module that is a function."""

    def __init__(self, func):
        super().__init__()
        self.func = func

    def forward(self, *tensors):
        return self.func(*tensors)


class LinearInTraining(nn.Module):
    """A linear layer, and so many activations after it."""

    def __init__(self, size=10):
        super().__init__()
        self.fc = nn.Linear(size, 2 * size)

    def forward(self, x):
        return F.relu(self.fc(x))


class Custom(nn.Module):
    """A layer of which the analysis knows the parts, with a name of its own for them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(3 * 5, 2)

    def forward(self, x):
        return torch.sigmoid(self.conv(x)).sum()


def giga(model, *inputs, **settings):
    from mmengine.analysis import flop_count

    counts, _ = flop_count(model, inputs, **settings)
    return counts


def test_the_kinds_of_what_comes_back():
    from mmengine.analysis import flop_count

    counts, unsupported = flop_count(LinearInTraining(), (torch.randn(5, 10),))
    assert isinstance(counts, defaultdict)
    assert isinstance(unsupported, Counter)
    assert counts["what is not there"] == 0.0
    assert counts["linear"] == 5 * 10 * 20 / 1e9


def test_handles_for_more_operators():
    def sigmoid(inputs, outputs):
        return Counter({"sigmoid": 10_000})

    x = torch.randn(1, 3, 5, 5)
    plain = giga(Custom(), x)
    counts = giga(Custom(), x, supported_ops={"aten::sigmoid": sigmoid})
    assert plain == {"conv": 6 * 3 * 9 * 25 / 1e9}
    assert counts == {**plain, "sigmoid": 10_000 / 1e9}


def test_a_handle_in_the_place_of_another():
    counts = giga(Custom(), torch.randn(1, 3, 5, 5), supported_ops={"aten::_convolution": lambda i, o: 7})
    assert counts == {"_convolution": 7 / 1e9}


def test_nothing_to_count():
    from mmengine.analysis import flop_count

    counts, unsupported = flop_count(Calls(torch.sigmoid), (torch.randn(2, 3),))
    assert counts == {}
    assert unsupported == Counter({"aten::sigmoid": 1})


def test_a_function_of_autograd_is_counted_by_its_name():
    from mmengine.analysis import FlopAnalyzer

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

    analysis = FlopAnalyzer(Calls(Doubled.apply), torch.ones(3))
    analysis.total()
    assert analysis.unsupported_ops() == Counter({"prim::PythonOp.Doubled": 1})
    assert analysis.set_op_handle("prim::PythonOp.Doubled", lambda i, o: 3).total() == 3
    assert analysis.by_operator() == Counter({"PythonOp.Doubled": 3})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5), (5,)])
def test_linear(bias, shape):
    x = torch.randn(shape)
    assert giga(nn.Linear(5, 3, bias=bias), x)["linear"] == x.numel() * 3 / 1e9


CONVOLUTIONS = [
    # dimensions, of the layer, size of the input
    (1, {"kernel_size": 3}, (9,)),
    (2, {"kernel_size": (3, 5), "stride": 2, "padding": 1, "dilation": 2}, (19, 17)),
    (2, {"kernel_size": 3, "groups": 2, "bias": False}, (8, 8)),
    (3, {"kernel_size": 2, "stride": (1, 2, 1)}, (5, 6, 4)),
]


@pytest.mark.parametrize(("dim", "settings", "size"), CONVOLUTIONS)
def test_convolution(dim, settings, size):
    layer = getattr(nn, f"Conv{dim}d")(4, 6, **settings)
    x = torch.randn(2, 4, *size)
    out = layer(x)
    assert giga(layer, x) == {"conv": layer.weight.numel() * out[0, 0].numel() * 2 / 1e9}


@pytest.mark.parametrize(("dim", "settings", "size"), CONVOLUTIONS)
def test_transposed_convolution(dim, settings, size):
    layer = getattr(nn, f"ConvTranspose{dim}d")(4, 6, **settings)
    x = torch.randn(2, 4, *size)
    assert giga(layer, x) == {"conv": layer.weight.numel() * x[0, 0].numel() * 2 / 1e9}


@pytest.mark.parametrize(
    ("name", "shapes", "flops"),
    [
        ("bmm", [(3, 4, 5), (3, 5, 6)], 3 * 4 * 5 * 6),
        ("matmul", [(4, 5), (5, 6)], 4 * 5 * 6),
        ("matmul", [(2, 3, 4, 5), (5, 6)], 2 * 3 * 4 * 5 * 6),
        ("matmul", [(4, 5), (5,)], 20),
        ("matmul", [(4,), (4, 5)], 20),
        ("matmul", [(4,), (4,)], 4),
        ("mm", [(4, 5), (5, 6)], 4 * 5 * 6),
        ("addmm", [(4, 6), (4, 5), (5, 6)], 4 * 5 * 6),
    ],
)
def test_products(name, shapes, flops):
    assert giga(Calls(getattr(torch, name)), *map(torch.randn, shapes)) == {name: flops / 1e9}


@pytest.mark.parametrize(
    ("equation", "shapes", "flops"),
    [
        ("nct,ncp->ntp", [(2, 3, 4), (2, 3, 5)], 2 * 3 * 4 * 5),
        ("xyz, xyw -> xzw", [(1234, 3, 57), (1234, 3, 5)], 1234 * 3 * 57 * 5),
        ("ntg,ncg->nct", [(2, 3, 4), (2, 5, 4)], 2 * 3 * 4 * 5),
        ("nc,nchw->hw", [(1, 5), (1, 5, 3, 4)], 5 * 3 * 4),
        ("ab,bc,cd->ad", [(2, 31), (31, 17), (17, 19)], 2 * 31 * 17 + 2 * 17 * 19),
    ],
)
def test_einsum(equation, shapes, flops):
    counts = giga(Calls(lambda *operands: torch.einsum(equation, *operands)), *map(torch.randn, shapes))
    assert counts == {"einsum": flops / 1e9}


@pytest.mark.parametrize(
    ("name", "layer", "shape", "per_element"),
    [
        ("batch_norm", nn.BatchNorm2d(4), (2, 4, 3, 3), 5),
        ("batch_norm", nn.BatchNorm2d(4, affine=False), (2, 4, 3, 3), 4),
        ("batch_norm", nn.BatchNorm1d(4).eval(), (2, 4, 3), 2),
        ("batch_norm", nn.BatchNorm3d(4, affine=False).eval(), (2, 4, 3, 1, 1), 1),
        ("group_norm", nn.GroupNorm(2, 4), (2, 4, 3, 3), 5),
        ("group_norm", nn.GroupNorm(2, 4, affine=False), (2, 4, 3, 3), 4),
        ("layer_norm", nn.LayerNorm(4), (2, 3, 4), 5),
        ("layer_norm", nn.LayerNorm(4, elementwise_affine=False), (2, 3, 4), 4),
        ("instance_norm", nn.InstanceNorm2d(4, affine=True), (2, 4, 3, 3), 5),
        ("instance_norm", nn.InstanceNorm2d(4), (2, 4, 3, 3), 4),
        ("adaptive_avg_pool2d", nn.AdaptiveAvgPool2d(2), (2, 4, 3, 3), 1),
    ],
)
def test_norms_and_pooling(name, layer, shape, per_element):
    x = torch.randn(shape)
    assert giga(layer, x) == {name: per_element * x.numel() / 1e9}


@pytest.mark.parametrize(("mode", "per_element"), [("nearest", 1), ("bilinear", 4)])
def test_up_sampling(mode, per_element):
    counts = giga(nn.Upsample(scale_factor=2, mode=mode), torch.randn(1, 2, 3, 3))
    assert counts == {f"upsample_{mode}2d": per_element * 2 * 6 * 6 / 1e9}


def test_grid_sampler():
    sample = Calls(lambda x, grid: F.grid_sample(x, grid, align_corners=False))
    assert giga(sample, torch.randn(1, 2, 3, 3), torch.randn(1, 4, 5, 2)) == {"grid_sampler": 4 * 2 * 4 * 5 / 1e9}


def test_nothing_of_batch_norm_is_in_the_count_of_what_is_no_operator():
    """What only moves elements is neither counted nor unsupported."""
    from mmengine.analysis import FlopAnalyzer

    analysis = FlopAnalyzer(Calls(lambda x: torch.cat([x.view(-1), x.t().reshape(-1)])[1:].relu()), torch.randn(2, 3))
    assert analysis.total() == 0
    assert analysis.unsupported_ops() == Counter()


def test_the_tables_of_handles():
    from mmengine.analysis import complexity_analysis, jit_handles

    flops = complexity_analysis._DEFAULT_SUPPORTED_FLOP_OPS
    assert flops["aten::linear"] is jit_handles.linear_flop_jit
    assert list(flops)[:4] == ["aten::addmm", "aten::bmm", "aten::_convolution", "aten::einsum"]
    assert len(flops) == 15
    assert len(complexity_analysis._DEFAULT_SUPPORTED_ACT_OPS) == 6


def test_conv_flop_count():
    from mmengine.analysis.jit_handles import conv_flop_count

    assert conv_flop_count([2, 4, 9, 9], [6, 2, 3, 3], [2, 6, 7, 7]) == 2 * 6 * 2 * 9 * 49
    assert conv_flop_count([2, 4, 9, 9], [4, 3, 3, 3], [2, 6, 11, 11], transposed=True) == 2 * 4 * 3 * 9 * 81
