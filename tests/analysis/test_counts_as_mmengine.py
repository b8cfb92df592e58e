"""Side by side with MMEngine: every number, list and table, of many small models."""

import logging
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trainwright.analysis as ours

pytestmark = pytest.mark.peer
R = torch.randn


class Calls(nn.Module):
    def __init__(self, func, *parts):
        super().__init__()
        self.func, self.parts = func, nn.ModuleList(parts)

    def forward(self, *tensors):
        return self.func(*tensors, *self.parts)


class Shared(nn.Module):
    """A layer in two places, one that is not called, one that is called by forward()."""

    def __init__(self):
        super().__init__()
        fc = nn.Linear(4, 4)
        self.a, self.b = nn.Sequential(fc, nn.ReLU()), nn.Sequential(fc)
        self.unused, self.direct, self.idle = nn.Linear(4, 4), nn.Conv1d(4, 4, 1), nn.Identity()

    def forward(self, x):
        return self.idle(self.b(self.a(x)) + self.direct.forward(x.unsqueeze(-1)).squeeze(-1))


class Residual(nn.Module):
    def __init__(self, width, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, groups=2), nn.BatchNorm2d(out, affine=False)
        self.down = nn.Conv2d(width, out, 1, stride)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.down(x))


class Borrows(nn.Module):
    """Calls a module that another one owns."""

    def __init__(self):
        super().__init__()
        self.owner = nn.Linear(4, 4)
        self.caller = Calls(lambda x, own: own(self.owner(x)), nn.Linear(4, 4))

    def forward(self, x):
        return self.caller(x)


def einsum(equation, *shapes):
    return Calls(lambda *operands: torch.einsum(equation, *operands)), *map(R, shapes)


def encoder(n_layers):
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), n_layers, None, False)


CASES = {
    "linear": (nn.Linear(3, 5), R(2, 4, 3)),
    "linear of a vector": (nn.Linear(3, 5, bias=False), R(3)),
    "conv1d": (nn.Conv1d(3, 4, 3), R(2, 3, 9)),
    "conv2d": (nn.Conv2d(4, 8, (3, 5), stride=2, padding=1, dilation=2, groups=4), R(2, 4, 19, 17)),
    "conv2d of one": (nn.Conv2d(3, 4, 3), R(3, 7, 7)),
    "conv2d same": (nn.Conv2d(3, 4, 3, padding="same"), R(2, 3, 7, 7)),
    "conv2d circular": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), R(2, 3, 7, 7)),
    "conv3d": (nn.Conv3d(2, 4, 3), R(1, 2, 5, 6, 7)),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), R(2, 4, 7)),
    "transposed 2d": (nn.ConvTranspose2d(4, 6, 3, 2, padding=1, output_padding=1, groups=2), R(2, 4, 7, 6)),
    "transposed 3d": (nn.ConvTranspose3d(2, 4, 2), R(1, 2, 3, 3, 3)),
    "bmm": (Calls(torch.bmm), R(3, 4, 5), R(3, 5, 6)),
    "matmul": (Calls(torch.matmul), R(2, 3, 4, 5), R(5, 6)),
    "matmul of a matrix and batches": (Calls(torch.matmul), R(4, 5), R(7, 5, 6)),
    "matmul of a vector": (Calls(torch.matmul), R(4, 5), R(5)),
    "matmul of vectors": (Calls(torch.matmul), R(4), R(4)),
    "mm": (Calls(torch.mm), R(4, 5), R(5, 6)),
    "addmm": (Calls(torch.addmm), R(4, 6), R(4, 5), R(5, 6)),
    "baddbmm": (Calls(torch.baddbmm), R(3, 4, 6), R(3, 4, 5), R(3, 5, 6)),
    "einsum nct,ncp->ntp": einsum("nct,ncp->ntp", (2, 3, 4), (2, 3, 5)),
    "einsum ntg, ncg->nct": einsum("ntg, ncg->nct", (2, 3, 4), (2, 5, 4)),
    "einsum bhid,bhjd->bhij": einsum("bhid,bhjd->bhij", (2, 3, 14, 15), (2, 3, 17, 15)),
    "einsum ab,bc,cd->ad": einsum("ab,bc,cd->ad", (2, 31), (31, 17), (17, 19)),
    "einsum ii->i": einsum("ii->i", (4, 4)),
    "einsum NC,NC": einsum("NC,NC", (4, 4), (4, 4)),
    "batch norm": (nn.BatchNorm2d(3), R(2, 3, 4, 4)),
    "batch norm in eval": (nn.BatchNorm1d(3).eval(), R(2, 3)),
    "bare batch norm": (nn.BatchNorm3d(3, affine=False), R(2, 3, 2, 2, 2)),
    "layer norm": (nn.LayerNorm(4), R(2, 3, 4)),
    "bare layer norm": (nn.LayerNorm(4, elementwise_affine=False), R(2, 3, 4)),
    "group norm": (nn.GroupNorm(2, 4), R(2, 4, 3, 3)),
    "instance norm": (nn.InstanceNorm2d(3, affine=True), R(2, 3, 4, 4)),
    "bare instance norm": (nn.InstanceNorm1d(3), R(2, 3, 4)),
    "rms norm": (nn.RMSNorm(4), R(2, 4)),
    "nearest": (nn.Upsample(scale_factor=2), R(1, 2, 3, 3)),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), R(1, 2, 3, 3)),
    "pooling": (nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)), R(1, 2, 4, 4)),
    "grid sampling": (Calls(lambda x, grid: F.grid_sample(x, grid, align_corners=False)), R(1, 2, 3, 3), R(1, 4, 4, 2)),
    "attention": (Calls(F.scaled_dot_product_attention), R(1, 2, 3, 4), R(1, 2, 5, 4), R(1, 2, 5, 4)),
    "attention layer": (nn.MultiheadAttention(8, 2, batch_first=True), *[R(2, 5, 8)] * 3),
    "encoder": (encoder(2), R(2, 5, 8)),
    "encoder in eval": (encoder(2).eval(), R(2, 5, 8)),
    "transformer": (nn.Transformer(8, 2, 1, 1, 16, batch_first=True), R(2, 5, 8), R(2, 4, 8)),
    "lstm": (nn.LSTM(4, 5), R(3, 2, 4)),
    "gru": (nn.GRU(4, 5), R(3, 2, 4)),
    "embedding": (nn.Embedding(10, 4), torch.tensor([1, 2])),
    "bilinear layer": (nn.Bilinear(3, 4, 5), R(2, 3), R(2, 4)),
    "shared": (Shared(), R(2, 4)),
    "in a wrapper": (nn.DataParallel(Shared()), R(2, 4)),
    "borrowed": (Borrows(), R(2, 4)),
    "one layer twice": (Calls(lambda x, a, b: b(a(x)), *[nn.Linear(4, 4)] * 2), R(2, 4)),
    "residual": (nn.Sequential(Residual(4, 8, 2), Residual(8, 8, 1)), R(2, 4, 32, 32)),
    "one in another": (nn.Sequential(nn.Sequential(nn.Sequential(nn.Conv2d(3, 300, 3)))), R(1, 3, 40, 40)),
    "a dict": (Calls(lambda x: {"a": x * 1, "b": x @ x.T}), R(3, 3)),
    "nothing": (Calls(lambda x: x + 1), R(2)),
}
QUESTIONS = ("total", "by_operator", "by_module", "by_module_and_operator", "unsupported_ops", "uncalled_modules")


@pytest.fixture
def theirs(monkeypatch):
    """MMEngine's, which warns of what is not the subject here."""
    pytest.importorskip("mmengine")
    monkeypatch.setenv("COLUMNS", "90")
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmengine.analysis
        import mmengine.analysis.print_helper

        yield mmengine.analysis
    logging.disable(logging.NOTSET)


def answer(func):
    """What it gives, and in which order."""
    value = func()
    return (value, list(value)) if isinstance(value, dict) else value


@pytest.mark.parametrize("case", CASES)
def test_numbers(theirs, case):
    model, *inputs = CASES[case]
    for kind in ("FlopAnalyzer", "ActivationAnalyzer"):
        for mode in ("owner", "caller"):
            both = [getattr(room, kind)(model, tuple(inputs)).ancestor_mode(mode) for room in (theirs, ours)]
            for question in QUESTIONS:
                wanted, found = (answer(getattr(analysis, question)) for analysis in both)
                assert found == wanted, (kind, mode, question)
    for count in ("flop_count", "activation_count"):
        wanted, found = (getattr(room, count)(model, tuple(inputs)) for room in (theirs, ours))
        assert found == wanted


@pytest.mark.parametrize("case", CASES)
def test_texts(theirs, case):
    model, *inputs = CASES[case]

    def both(func):
        return func(theirs, theirs.print_helper), func(ours, ours)

    def analyses(room):
        return room.FlopAnalyzer(model, tuple(inputs)), room.ActivationAnalyzer(model, tuple(inputs))

    wanted, found = both(lambda room, tables: room.get_model_complexity_info(model, inputs=tuple(inputs)))
    assert (found, list(found)) == (wanted, list(wanted))
    for depth, with_shapes in ((1, True), (2, False), (4, True)):
        wanted, found = both(
            lambda room, tables, depth=depth, shapes=with_shapes: tables.complexity_stats_table(
                analyses(room)[0], depth, show_param_shapes=shapes
            )
        )
        assert found == wanted
    wanted, found = both(lambda room, tables: tables.complexity_stats_str(analyses(room)[0]))
    assert found == wanted
    if any(True for _ in model.parameters()):
        wanted, found = both(lambda room, tables: (room.parameter_count_table(model), room.parameter_count(model)))
        assert found == wanted
