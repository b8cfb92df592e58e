"""What a load says: how much, what not, what would help, and when it refuses."""

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import load_weights
from trainwright.checkpoint.report import grouped, renames


def block(n_in=4, n_out=4):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out))


class Net(nn.Module):
    def __init__(self, n_classes=2):
        super().__init__()
        self.backbone = nn.ModuleDict({f"layer{n}": block() for n in range(3)})
        self.head = nn.Linear(4, n_classes)


def test_shares_by_count_and_by_bytes():
    state = {k: v for k, v in Net().state_dict().items() if k.startswith("head")}
    report = load_weights(Net(), state)
    assert report.loaded == ["head.weight", "head.bias"]
    assert (report.n_weights, len(report.missing)) == (23, 21)
    assert report.n_bytes_loaded == 40
    assert report.head() == "2 of 23 weights were loaded into Net (8.7% of them, 8.1% of the bytes)"
    assert not report.fits


@pytest.mark.parametrize("saved", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_of_eight_bits_are_loaded(saved):
    model, weights = nn.Linear(2, 2), {"weight": torch.ones(2, 2).to(saved), "bias": torch.zeros(2)}
    report = load_weights(model, weights, strict=True)
    assert f"1 from {str(saved)[6:]} to float32 (weight)" in report.cast_text()
    assert torch.equal(model.weight, torch.ones(2, 2))
    model.weight = nn.Parameter(torch.zeros(2, 2).to(saved))
    with pytest.raises(CheckpointError, match="cannot hold all digits of the checkpoint's"):
        load_weights(model, nn.Linear(2, 2).state_dict(), strict=True)


def test_all_is_loaded():
    report = load_weights(Net(), Net().state_dict(), strict=True)
    assert report.fits
    assert report.share == 1
    assert report.problems() == ""


def test_many_names_are_grouped(capsys):
    load_weights(Net(), {k: v for k, v in Net().state_dict().items() if k.startswith("head")})
    said = capsys.readouterr().err
    assert (
        "missing in the checkpoint: backbone.layer0.0.* (2), backbone.layer0.1.* (5), backbone.layer1.0.* (2)" in said
    )
    assert "running_mean" not in said


def test_groups():
    assert grouped(["a.b", "a.c"]) == "a.b, a.c"
    assert grouped([f"x{n}.w" for n in range(30)]) == ", ".join(f"x{n}.w" for n in range(8)) + " and 22 more"
    names = [f"a.l{n}.q.w" for n in range(20)] + ["b.w"]
    assert grouped(names) == "a.* (20), b.w"


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        (lambda name: f"encoder.{name}", [("^encoder\\.", "")]),
        (lambda name: name.replace("backbone.", "body.", 1), [("^backbone\\.", "body.")]),
        (lambda name: name.removeprefix("backbone."), [("^", "backbone.")]),
        (lambda name: name.replace(".layer1.", ".stage1."), [("\\.stage1\\.", ".layer1.")]),
    ],
)
def test_renamings_are_suggested_and_work(rename, expected):
    own = Net().state_dict()
    theirs = {rename(name): value for name, value in own.items()}
    if expected[0] == ("^backbone\\.", "body."):
        own, theirs = theirs, own
    left = {name: tuple(value.shape) for name, value in theirs.items() if name not in own}
    wanted = {name: tuple(value.shape) for name, value in own.items() if name not in theirs}
    assert renames(left, wanted) == expected


def test_the_suggestion_can_be_pasted(capsys):
    source, target = Net(), Net()
    state = {name.replace("backbone.", "body.", 1): value for name, value in source.state_dict().items()}
    report = load_weights(target, state)
    said = capsys.readouterr().err
    assert 'names of equal shape would fit with revise_keys=[(r"^body\\.", "backbone.")]' in said
    again = load_weights(target, state, strict=True, revise_keys=report.renames)
    assert again.fits


def test_names_of_another_shape_are_not_suggested():
    assert renames({"a.w": (1,)}, {"b.w": (2,)}) == []


def test_a_suggestion_where_nothing_fits():
    state = {f"model.{name}": value for name, value in Net().state_dict().items()}
    with pytest.raises(CheckpointError, match="no weight of the checkpoint fits Net") as caught:
        load_weights(Net(), state)
    assert 'revise_keys=[(r"^model\\.", "")]' in str(caught.value)


class Large(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ParameterList(nn.Parameter(torch.zeros(10)) for _ in range(200))


def test_less_than_the_smallest_share_is_refused_and_nothing_is_loaded():
    model = Large()
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, {"parts.0": torch.ones(10)})
    message = str(caught.value)
    assert (
        "only 1 of 200 weights would be loaded into Large (0.5% of them, 0.5% of the bytes), less than min_loaded=1%"
        in (message)
    )
    assert "load_checkpoint(..., min_loaded=0) allows it" in message
    assert not model.parts[0].any()
    assert load_weights(model, {"parts.0": torch.ones(10)}, min_loaded=0).share == 0.005
    assert model.parts[0].all()
    with pytest.raises(CheckpointError, match="less than min_loaded=95%"):
        load_weights(Net(), {k: v for k, v in Net().state_dict().items() if "head" not in k}, min_loaded=0.95)


def test_one_large_weight_of_many_small_ones_is_enough():
    model = Large()
    model.parts.append(nn.Parameter(torch.zeros(10_000)))
    assert load_weights(model, {"parts.200": torch.ones(10_000)}).share > 0.8


@pytest.mark.parametrize(("theirs", "level"), [(torch.float16, "INFO"), (torch.float64, "WARNING")])
def test_silent_casts_are_named(theirs, level, capsys):
    model = nn.Linear(2, 2)
    load_weights(model, {name: value.to(theirs) for name, value in nn.Linear(2, 2).state_dict().items()})
    said = capsys.readouterr().err
    assert f"{level} - weights were cast to the model's type: 2 from {str(theirs)[6:]} to float32" in said
    assert model.weight.dtype == torch.float32
