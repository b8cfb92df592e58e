"""An error of a constructor says where in the config its settings stand."""

import pytest

from trainwright.base.errors import ConfigError
from trainwright.config import Config
from trainwright.data import Compose
from trainwright.engine import Hook
from trainwright.model import BaseModule
from trainwright.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS, VISBACKENDS, WEIGHT_INITIALIZERS
from trainwright.runner import Runner
from trainwright.runner.places import place_of
from trainwright.testing.toys import ToyDataset, ToyModel, toy_config, toy_loader


class Refused(ValueError):
    """What all the failing parts raise."""


class Failing:
    def __init__(self, size=1, **kwargs):
        raise Refused("this cannot be")


class Piped(ToyDataset):
    def __init__(self, pipeline=(), **kwargs):
        super().__init__(**kwargs)
        self.pipeline = Compose(pipeline)


class Backboned(ToyModel):
    def __init__(self, backbone, init_cfg=None):
        super().__init__()
        self.backbone = MODELS.build(dict(backbone))


class Initialised(ToyModel):
    def __init__(self, init_cfg=None):
        super().__init__()
        self.part = BaseModule(init_cfg)


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    for registry in (MODELS, DATASETS, TRANSFORMS, METRICS, VISBACKENDS, WEIGHT_INITIALIZERS):
        monkeypatch.setitem(registry.module_dict, "Failing", Failing)
    monkeypatch.setitem(HOOKS.module_dict, "Failing", type("Failing", (Failing, Hook), {}))
    for registry, kind in ((DATASETS, Piped), (MODELS, Backboned), (MODELS, Initialised)):
        monkeypatch.setitem(registry.module_dict, kind.__name__, kind)


def notes_of(error):
    return getattr(error, "__notes__", None) or str(error).splitlines()[1:]


def loader(pipeline):
    return toy_loader() | {"dataset": {"type": "Piped", "pipeline": pipeline}}


FAILING = {
    "model": ({"model": {"type": "Failing", "size": 3}}, "model"),
    "model.backbone": ({"model": {"type": "Backboned", "backbone": {"type": "Failing", "size": 3}}}, "model.backbone"),
    "preprocessor": ({"data_preprocessor": {"type": "Failing"}}, "data_preprocessor"),
    "init_cfg": ({"model": {"type": "Initialised", "init_cfg": [{"type": "Failing"}]}}, "model.init_cfg.0"),
    "visualizer": (
        {"visualizer": {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}, {"type": "Failing"}]}},
        "visualizer.vis_backends.1",
    ),
    "custom hook": ({"custom_hooks": [{"type": "Failing", "priority": 70}]}, "custom_hooks.0"),
    "default hook": ({"default_hooks": {"timer": {"type": "Failing"}}}, "default_hooks.timer"),
    "dataset": ({"train_dataloader": toy_loader() | {"dataset": {"type": "Failing"}}}, "train_dataloader.dataset"),
    "transform": (
        {"train_dataloader": loader([{"type": "Failing", "size": 1}, {"type": "Failing", "size": 2}])},
        "train_dataloader.dataset.pipeline.0",
    ),
    "optimizer": (
        {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": -1.0}, "clip_grad": {"max_norm": 1.0}}},
        "optim_wrapper.optimizer",
    ),
    "scheduler": ({"param_scheduler": [{"type": "OneCycleLR", "eta_max": [0.1, 0.2]}]}, "param_scheduler.0"),
    "metric": ({"val_evaluator": [{"type": "Accuracy"}, {"type": "Failing"}]}, "val_evaluator.1"),
    "loop": ({"train_cfg": {"by_epoch": True, "max_epochs": 2, "val_interval": 0}}, "train_cfg"),
}


@pytest.mark.parametrize("part", FAILING)
def test_the_place_is_named_and_the_error_stays_what_it_is(tmp_path, monkeypatch, part):
    changes, place = FAILING[part]
    monkeypatch.chdir(tmp_path)
    lines = [f"{key} = {value!r}" for key, value in toy_config("run", **changes).items()]
    (tmp_path / "a.py").write_text("\n".join(lines) + "\n")
    line = next(n for n, text in enumerate(lines, 1) if text.startswith(place.partition(".")[0]))
    with pytest.raises((Refused, ConfigError, ValueError)) as caught:
        Runner.from_cfg(Config.fromfile("a.py")).train()
    assert [note for note in notes_of(caught.value) if note.startswith("config: ")] == [
        f"config: {place} (a.py:{line})"
    ]
    if part not in ("optimizer", "scheduler", "loop"):
        assert type(caught.value) is Refused


def test_of_two_equal_loaders_the_one_that_is_built_is_named(tmp_path):
    cfg = toy_config(tmp_path, val_dataloader=toy_loader(8) | {"dataset": {"type": "Failing"}}, test_evaluator=[])
    cfg |= {"test_dataloader": cfg["val_dataloader"], "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    with pytest.raises(Refused) as caught:
        Runner.from_cfg(cfg).test()
    assert "config: test_dataloader.dataset" in notes_of(caught.value)


def test_an_unknown_name_that_is_found_late_has_its_place_too(tmp_path):
    cfg = toy_config(tmp_path, model={"type": "Backboned", "backbone": {"type": "quite_unknown"}})
    with pytest.raises(KeyError) as caught:
        Runner.from_cfg(cfg)
    assert any("config: model.backbone" in note for note in (*notes_of(caught.value), str(caught.value)))


def test_what_the_constructor_of_an_optim_wrapper_finds_in_the_model_has_its_place(tmp_path):
    (tmp_path / "cfg.py").write_text(
        "optim_wrapper = dict(\n    optimizer=dict(type='SGD', lr=0.1),\n"
        "    paramwise_cfg=dict(custom_keys={'nope': dict(lr_mult=2.0)}))\n"
    )
    given = Config.fromfile(str(tmp_path / "cfg.py"))
    cfg = Config.fromfile(str(tmp_path / "cfg.py"))
    cfg.merge_from_dict({k: v for k, v in toy_config(tmp_path / "run").items() if k not in given})
    with pytest.raises(ConfigError, match="custom_keys has 'nope'") as info:
        Runner.from_cfg(cfg).train()
    (note,) = [note for note in info.value.__notes__ if note.startswith("config: ")]
    assert note.startswith("config: optim_wrapper (")
    assert note.endswith("cfg.py:1)")


def test_errors_of_other_kinds_have_no_place(tmp_path):
    with pytest.raises(OSError, match="is damaged") as caught:
        raise OSError("it is damaged")
    assert notes_of(caught.value) == []
    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=[Stumbling()]))
    with pytest.raises(Refused) as caught:
        runner.train()
    assert notes_of(caught.value) == []


class Stumbling(Hook):
    def before_train(self, runner):
        raise Refused("later")


def test_a_place_is_the_same_dict_or_the_only_one_that_it_can_be():
    one, two = {"type": "A", "x": [{"type": "B"}]}, {"type": "A", "x": [{"type": "B"}]}
    parts = {"first": one, "second": {"inner": two}}
    assert place_of(two, parts) == ("second", "inner")
    assert place_of(one["x"][0], parts) == ("first", "x", 0)
    assert place_of({"type": "B"}, {"first": one}) == ("first", "x", 0)
    assert place_of({"type": "B", "added": 1}, {"first": one}) == ("first", "x", 0)
    assert place_of({"type": "B"}, parts) is None  # it may be either
    assert place_of({"type": "C"}, parts) is None
    assert place_of({"type": "C"}, {"first": one}) == ("first",)
