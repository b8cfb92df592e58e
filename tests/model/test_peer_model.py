"""The same inputs through MMEngine and through us: initialisers, averages, preprocessing, batches, norms, hooks."""

import warnings

import pytest
import torch
from torch import nn

from trainwright import model as ours
from trainwright.hooks import EMAHook
from trainwright.registry import WEIGHT_INITIALIZERS
from trainwright.testing.toys import differences

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def theirs():
    pytest.importorskip("mmengine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmengine import model
    return model


def layers():
    torch.manual_seed(1)
    return nn.ModuleDict(
        {
            "conv": nn.Conv2d(3, 4, 3),
            "deep": nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2, bias=False)),
            "norm": nn.BatchNorm2d(4),
            "act": nn.ReLU(),
        }
    )


def seeded(function, *args, **kwargs):
    torch.manual_seed(9)
    return function(*args, **kwargs)


MANY = ["Conv2d", "Linear"]
INIT_CFGS = [
    {"type": "Constant", "val": 0.3, "bias": 2, "layer": ["Conv2d", "_BatchNorm", "BatchNorm2d"]},
    {"type": "Constant", "val": 1, "layer": "_NormBase"},
    {"type": "Xavier", "gain": 1.5, "bias": 0.1, "layer": MANY},
    {"type": "Xavier", "distribution": "uniform", "layer": "Linear"},
    {"type": "Normal", "mean": 0.5, "std": 0.02, "bias_prob": 0.01, "layer": "Conv2d"},
    {"type": "TruncNormal", "mean": 0.1, "std": 0.7, "a": -0.5, "b": 1.0, "layer": MANY},
    {"type": "TruncNormal", "std": 0.02, "layer": MANY},
    {"type": "Uniform", "a": -0.2, "b": 0.7, "layer": MANY},
    {"type": "Kaiming", "layer": MANY},
    {
        "type": "Kaiming",
        "a": 0.3,
        "mode": "fan_in",
        "nonlinearity": "leaky_relu",
        "distribution": "uniform",
        "layer": MANY,
    },
    {"type": "Caffe2Xavier", "bias": 1, "layer": MANY},
    {"type": "Normal", "layer": "Linear", "override": {"name": "conv"}},
    {"type": "Normal", "std": 2, "override": [{"name": "conv"}, {"type": "Constant", "name": "deep", "val": 3}]},
    [{"type": "Kaiming", "layer": "Conv2d"}, {"type": "Xavier", "layer": "Linear"}, {"type": "Constant", "val": 7}],
]


@pytest.mark.parametrize("cfg", INIT_CFGS)
def test_init_cfg(theirs, cfg):
    one, other = layers(), layers()
    seeded(ours.initialize, one, cfg)
    seeded(theirs.initialize, other, cfg)
    assert not differences(dict(one.state_dict()), dict(other.state_dict()))


@pytest.mark.parametrize("name", ["Constant", "Xavier", "Normal", "TruncNormal", "Uniform", "Kaiming", "Caffe2Xavier"])
def test_names_and_arguments_of_initialisers(theirs, name):
    import inspect

    from mmengine.registry import WEIGHT_INITIALIZERS as registry

    assert name in registry.module_dict
    own, wanted = (inspect.signature(r.get(name)).parameters for r in (WEIGHT_INITIALIZERS, registry))
    assert [(p.name, p.default) for p in own.values()] == [(p.name, p.default) for p in wanted.values()]


FUNCTIONS = [
    ("constant_init", {"val": 2, "bias": 1}),
    ("xavier_init", {"gain": 2, "distribution": "uniform"}),
    ("normal_init", {"mean": 1, "std": 0.1}),
    ("trunc_normal_init", {"std": 0.5, "a": -0.3, "b": 0.4, "bias": 3}),
    ("uniform_init", {"a": -1}),
    ("kaiming_init", {"mode": "fan_in", "distribution": "uniform"}),
    ("caffe2_xavier_init", {"bias": 0.5}),
]


@pytest.mark.parametrize(("name", "settings"), FUNCTIONS)
@pytest.mark.parametrize("kind", [lambda: nn.Linear(5, 3), lambda: nn.Conv2d(2, 4, 3, bias=False), nn.ReLU])
def test_functions(theirs, name, settings, kind):
    one, other = kind(), kind()
    seeded(getattr(ours, name), one, **settings)
    seeded(getattr(theirs, name), other, **settings)
    assert not differences(dict(one.state_dict()), dict(other.state_dict()))


def test_bias_by_probability(theirs):
    for probability in (0.01, 0.3, 0.5, 0.999):
        assert ours.bias_init_with_prob(probability) == theirs.bias_init_with_prob(probability)


def modules_of(package):
    """A tree of BaseModules that mixes configs, overrides and an init_weights of its own."""

    class Child(package.BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

    class Own(package.BaseModule):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def init_weights(self):
            nn.init.normal_(self.weight)

    child = Child({"type": "Normal", "layer": "Linear", "override": {"type": "Constant", "name": "b", "val": 5}})
    cfg = [{"type": "Xavier", "layer": "Linear"}, {"type": "Constant", "layer": "Linear", "val": 2, "bias": 3}]
    return package.Sequential(
        child, Own(), package.ModuleList([Child(), nn.Linear(2, 2)]), package.ModuleDict({"x": Own()}), init_cfg=cfg
    )


def test_init_weights_of_a_tree(theirs):
    torch.manual_seed(0)
    one = modules_of(ours)
    torch.manual_seed(0)
    other = modules_of(theirs)
    seeded(one.init_weights)
    seeded(other.init_weights)
    assert not differences(dict(one.state_dict()), dict(other.state_dict()))
    states = [[getattr(m, "_is_init", None) for m in tree.modules()] for tree in (one, other)]
    assert states[0] == states[1]
    assert repr(one) == repr(other)


AVERAGES = [
    ("StochasticWeightAverage", {}),
    ("StochasticWeightAverage", {"interval": 3}),
    ("ExponentialMovingAverage", {}),
    ("ExponentialMovingAverage", {"momentum": 0.4, "interval": 2}),
    ("MomentumAnnealingEMA", {"momentum": 0.01, "gamma": 5}),
]


def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 40), nn.BatchNorm1d(40), nn.Linear(40, 33))


@pytest.mark.parametrize("update_buffers", [False, True])
@pytest.mark.parametrize(("name", "settings"), AVERAGES)
def test_averages(theirs, name, settings, update_buffers):
    model = network()
    one, other = (
        getattr(package, name)(model, update_buffers=update_buffers, **settings) for package in (ours, theirs)
    )
    assert list(one.state_dict()) == list(other.state_dict())
    for _ in range(30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(4, 3))
        one.update_parameters(model)
        other.update_parameters(model)
    found = differences(dict(one.state_dict()), dict(other.state_dict()))
    if update_buffers:  # whole numbers are not averaged: ours follow the model, theirs stay as they were
        found = [place for place in found if "num_batches_tracked" not in place]
        assert one.module[1].num_batches_tracked == 30
        assert other.module[1].num_batches_tracked == 1
    assert not found
    one.load_state_dict(other.state_dict())


def test_a_subclass_of_a_downstream_project(theirs):
    """As written for MMEngine: it computes from `steps` and from ``self.steps``."""
    import math

    def make(package):
        class Annealed(package.ExponentialMovingAverage):
            def avg_func(self, averaged_param, source_param, steps):
                share = (1 - self.momentum) * math.exp(-float(1 + steps) / 20) + self.momentum
                share = share * math.cos(math.pi * steps / 100.0) + 1e-3 * self.steps.item()
                averaged_param.mul_(1 - share).add_(source_param, alpha=share)

        return Annealed

    model = network()
    one, other = make(ours)(model, 0.1), make(theirs)(model, 0.1)
    for _ in range(10):
        for parameter in model.parameters():
            parameter.data.mul_(1.1)
        one.update_parameters(model)
        other.update_parameters(model)
    assert not differences(dict(one.state_dict()), dict(other.state_dict()))


IMAGES = [
    ({}, "list"),
    ({"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "bgr_to_rgb": True}, "list"),
    ({"mean": [123.675, 116.28, 103.53], "std": [58.395], "pad_size_divisor": 32, "pad_value": 114}, "list"),
    ({"mean": [127], "std": [255], "rgb_to_bgr": True, "pad_size_divisor": 5}, "tensor"),
    ({"mean": (1, 2, 3), "std": (4, 5, 6)}, "tensor"),
    ({"pad_size_divisor": 16, "pad_value": 0.5}, "tensor"),
]


@pytest.mark.parametrize(("settings", "kind"), IMAGES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_image_preprocessor(theirs, settings, kind, dtype):
    torch.manual_seed(0)
    sizes = [(7, 11), (32, 5), (9, 9)] if kind == "list" else [(7, 11)] * 3
    images = [(torch.rand(3, *size) * 255).to(dtype) for size in sizes]
    data = {"inputs": images if kind == "list" else torch.stack(images), "data_samples": [1, 2, 3]}
    one, other = (package.ImgDataPreprocessor(**settings) for package in (ours, theirs))
    assert not differences(one(dict(data), True), other(dict(data), True))
    assert (one._enable_normalize, one._channel_conversion) == (other._enable_normalize, other._channel_conversion)
    del data["data_samples"]
    assert not differences(one(dict(data)), other(dict(data)))


def test_cast_data(theirs):
    from collections import namedtuple

    pair = namedtuple("pair", "a b")
    data = {"x": [torch.ones(1), None, "s", b"b"], "y": pair(torch.zeros(2), 3), "z": ((torch.ones(1),),)}
    one, other = (package.BaseDataPreprocessor()(data) for package in (ours, theirs))
    assert not differences(one, other)
    assert type(one["y"]) is type(other["y"]) is pair


@pytest.mark.parametrize("divisor", [1, 2, 32])
@pytest.mark.parametrize(
    "shapes", [[(3, 4, 5), (3, 6, 2)], [(3, 4, 4)] * 3, [(1, 5), (1, 2)], [(2, 3, 4, 5), (2, 1, 9, 5)], [(4,), (4,)]]
)
def test_stack_batch(theirs, shapes, divisor):
    for dtype, pad in ((torch.float32, 0.5), (torch.uint8, 7), (torch.bfloat16, -1)):
        tensors = [(torch.rand(shape) * 9).to(dtype) for shape in shapes]
        pairs = ours.stack_batch(tensors, divisor, pad), theirs.stack_batch(tensors, divisor, pad)
        assert not differences(*pairs)


def test_merge_dict(theirs):
    for args in ([], [{"a": 1}], [{"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 5}]):
        merged = ours.merge_dict(*args), theirs.merge_dict(*args)
        assert merged[0] == merged[1]
        assert list(merged[0]) == list(merged[1])


def test_sync_batchnorm(theirs):
    def changed(package):
        model = network().eval()
        sync = package.convert_sync_batchnorm(model)
        kinds = [type(m).__name__ for m in sync.modules()]
        back = package.revert_sync_batchnorm(sync)
        return kinds, [type(m).__name__ for m in back.modules()], dict(back.state_dict())

    one, other = changed(ours), changed(theirs)
    assert one[:2] == other[:2]
    assert not differences(one[2], other[2])


def test_losses(theirs):
    def model_of(package):
        class Model(package.BaseModel):
            def forward(self, inputs, data_samples=None, mode="tensor"):
                return {"inputs": inputs, "data_samples": data_samples, "mode": mode}

        return Model()

    losses = {
        "loss_a": torch.tensor([1.0, 4.0]),
        "acc": torch.tensor(0.5),
        "aux.loss": [torch.tensor(3.0), torch.ones(2, 2)],
    }
    models = model_of(ours), model_of(theirs)
    totals = [model.parse_losses(losses) for model in models]
    assert not differences(list(totals[0]), list(totals[1]))
    assert list(totals[0][1]) == list(totals[1][1])
    for data in ({"inputs": 1}, [1, 2], (1, [2])):
        for step in ("val_step", "test_step"):
            assert getattr(models[0], step)(data) == getattr(models[1], step)(data)
        assert models[0]._run_forward(data, mode="loss") == models[1]._run_forward(data, mode="loss")


def test_tta(theirs):
    def answer(package):
        class Module(package.BaseModel):
            def forward(self, inputs, data_samples=None, mode="tensor"):
                return [2 * value for value in inputs]

        class Tta(package.BaseTTAModel):
            def merge_preds(self, data_samples_list):
                return [sum(views) for views in data_samples_list]

        tta = Tta(Module())
        views = [[1, 2, 3], [4, 5, 6]]
        return [tta.test_step(data) for data in ({"inputs": views, "data_samples": views}, [views], (views, views))]

    assert answer(ours) == answer(theirs)


def test_detect_anomalous_params(theirs, monkeypatch):
    from mmengine.model import utils as their_utils

    from trainwright.model import utils as our_utils

    model, named = network(), []
    for module in (our_utils, their_utils):
        told = []
        monkeypatch.setattr(module, "print_log", lambda text, *args, told=told, **kwargs: told.append(text.split()[0]))
        module.detect_anomalous_params(model[1](model[0](torch.ones(2, 3))).sum(), model)
        named.append(told)
    assert named == [["2.weight", "2.bias"]] * 2


def test_conv_bn(theirs):
    from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval

    torch.manual_seed(0)
    models = []
    for turn_on in (ours.turn_on_efficient_conv_bn_eval, turn_on_efficient_conv_bn_eval):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)))
        model[0][1].running_mean.normal_()
        turn_on(model.eval(), ["0"])
        models.append(model)
    images = torch.randn(2, 2, 5, 5)
    models[0](images)
    torch.testing.assert_close(models[0](images), models[1](images), rtol=1e-6, atol=1e-6)


class Runs:
    """Stands for a runner of either engine."""

    def __init__(self, model) -> None:
        self.model, self.epoch, self.iter, self.max_epochs, self.max_iters = model, 0, 0, 3, 12
        self._resume = False


@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.1},
        {"momentum": 0.1, "begin_iter": 5},
        {"momentum": 0.1, "begin_epoch": 2, "update_buffers": True},
        {"ema_type": "StochasticWeightAverage", "interval": 2},
    ],
)
def test_the_hook(theirs, settings):
    """Every call of a run of three epochs: what is in the model in evaluations, and in the file, and after a resume."""
    from mmengine.hooks import EMAHook as Theirs

    def run(kind):
        torch.manual_seed(0)
        model = network()
        hook, runner, seen = kind(**settings), Runs(model), []
        hook.before_run(runner)
        hook.before_train(runner)
        for epoch in range(3):
            runner.epoch = epoch
            for _ in range(4):
                for parameter in model.parameters():
                    parameter.data.add_(torch.randn_like(parameter))
                model(torch.randn(4, 3))
                hook.after_train_iter(runner, 0)
                runner.iter += 1
            runner.iter -= 1
            hook.before_val_epoch(runner)
            seen.append({name: value.clone() for name, value in model.named_parameters()})
            hook.after_val_epoch(runner)
            checkpoint = {"state_dict": {name: value.clone() for name, value in model.state_dict().items()}}
            hook.before_save_checkpoint(runner, checkpoint)
            runner.iter += 1
            seen.append({key: {k: v.clone() for k, v in part.items()} for key, part in checkpoint.items()})
        runner._resume = True
        loaded = {key: dict(part) for key, part in seen[3].items()}
        hook.after_load_checkpoint(runner, loaded)
        seen += [loaded["state_dict"], dict(hook.ema_model.state_dict())]
        return seen

    found = [place for place in differences(run(EMAHook), run(Theirs)) if "num_batches_tracked" not in place]
    assert not found
