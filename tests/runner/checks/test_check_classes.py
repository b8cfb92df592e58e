"""Named classes and their arguments, at every depth."""

import pytest
from torch import nn

from trainwright.model import BaseModel
from trainwright.optim import DefaultOptimWrapperConstructor
from trainwright.registry import (
    DATASETS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIMIZERS,
    TRANSFORMS,
    VISUALIZERS,
    Registry,
)
from trainwright.runner.check import validate
from trainwright.testing.toys import ToyDataset, ToyModel, toy_loader
from trainwright.visualization import Visualizer


class Net(BaseModel):
    def __init__(self, width: int = 3, backbone=None, heads=(), cfg=None, **kwargs):
        super().__init__(**kwargs)
        raise AssertionError("no instance is made")

    def forward(self, inputs, data_samples=None, mode="tensor"):
        raise AssertionError


class Backbone(nn.Module):
    def __init__(self, depth: int, norm=None):
        raise AssertionError("no instance is made")


class Points(ToyDataset):
    def __init__(self, pipeline=(), dataset=None, **kwargs):
        raise AssertionError("no instance is made")


class Flip:
    def __init__(self, prob: float, axis=0):
        raise AssertionError("no instance is made")


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, "Net", Net)
    monkeypatch.setitem(MODELS.module_dict, "Backbone", Backbone)
    monkeypatch.setitem(DATASETS.module_dict, "Points", Points)
    monkeypatch.setitem(TRANSFORMS.module_dict, "Flip", Flip)


def model(**arguments):
    return {"model": {"type": "Net", **arguments}}


def dataset(**arguments):
    return {"train_dataloader": {**toy_loader(), "dataset": {"type": "Points", **arguments}}}


def test_basic_types(found):
    changes = {
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": "0.1"}},
        "train_dataloader": toy_loader(batch_size="32"),
        "train_cfg": {"by_epoch": True, "max_epochs": [12]},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1.5, "max_keep_ckpts": "3"}},
    }
    assert found(**changes) == [
        ("error", "train_dataloader.batch_size: batch_size must be an integer of at least 1, got '32'"),
        (
            "error",
            "train_cfg.max_epochs: EpochBasedTrainLoop: argument 'max_epochs' must be None, int or str, "
            "got [12] of type list.",
        ),
        ("error", "optim_wrapper.optimizer.lr: SGD: argument 'lr' must be Tensor or float, got '0.1' of type str."),
        (
            "error",
            "default_hooks.checkpoint.interval: CheckpointHook: argument 'interval' must be int or str, got 1.5 of "
            "type float.",
        ),
        (
            "error",
            "default_hooks.checkpoint.max_keep_ckpts: CheckpointHook: argument 'max_keep_ckpts' must be int, got '3' "
            "of type str.",
        ),
    ]


def test_none_for_a_plain_type_is_only_a_warning(found):
    text = "model.width: Net: argument 'width' must be int, got None of type NoneType."
    assert found(**model(width=None)) == [("warning", text)]


def test_an_argument_that_is_handed_on_may_be_what_our_class_takes(found, monkeypatch):
    class Drawer(Visualizer):
        def __init__(self, name: str = "drawer", vis_backends: dict | None = None, alpha: float = 0.8) -> None:
            raise AssertionError("no instance is made")

    monkeypatch.setitem(VISUALIZERS.module_dict, "Drawer", Drawer)
    drawer = {"type": "Drawer", "vis_backends": [{"type": "LocalVisBackend"}], "alpha": "x"}
    text = "visualizer.alpha: Drawer: argument 'alpha' must be float, got 'x' of type str."
    assert found(visualizer=drawer) == [("error", text)]


def test_arguments_that_a_constructor_hands_on(found):
    text = "model.widht: Net: unknown argument 'widht'. Did you mean 'width'?"
    assert found(**model(widht=3, init_cfg=None)) == [("error", text)]


def test_a_list_of_models(found):
    one, two, three = found(model=[{"type": "Backbone", "depth": 1, "nrm": 3}, {"type": "Backbone"}, {"depth": 3}])
    assert one == ("error", "model.0.nrm: Backbone: unknown argument 'nrm'. Did you mean 'norm'?")
    assert two == ("error", "model.1: Backbone: missing argument 'depth'.")
    assert three[1].startswith("model.2: has no key 'type', which names its class. Add for example type=")


@pytest.mark.parametrize("kind", [3, None, ["x"]])
def test_a_type_that_is_none(found, kind):
    ((level, text),) = found(custom_hooks=[{"type": kind}])
    assert level == "error"
    if kind is None:
        assert text.startswith("custom_hooks.0: has no key 'type'")
    else:
        assert f"custom_hooks.0.type: type must be a name, a class or a function, got {kind!r} of type" in text


# -- nested ------------------------------------------------------------------------------------------------------------


def test_nested_parts_that_are_right(found):
    backbone = {"type": "Backbone", "norm": {"type": "BN"}}  # `depth` may be added by Net, and Net may read the norm
    changes = model(backbone=backbone, heads=[{"type": "Backbone", "depth": 3}], cfg={"a": {"type": Backbone}})
    changes |= dataset(pipeline=[{"type": "Flip"}], dataset={"type": "ToyDataset"})
    assert found(**changes) == []


def test_nested_arguments(found):
    changes = model(
        backbone={"type": "Backbone", "dept": 3},
        heads=[{"type": "Backbone", "depth": "3"}, {"type": Backbone, "colour": 1}],
        cfg={"deep": {"er": [{"type": "Backbone", "norn": 3}]}},
    )
    assert found(**changes) == [
        ("error", "model.backbone.dept: Backbone: unknown argument 'dept'. Did you mean 'depth'?"),
        ("error", "model.heads.0.depth: Backbone: argument 'depth' must be int, got '3' of type str."),
        ("warning", "model.heads.1.colour: Backbone: unknown argument 'colour'. It accepts: depth, norm."),
        ("error", "model.cfg.deep.er.0.norn: Backbone: unknown argument 'norn'. Did you mean 'norm'?"),
    ]


def test_a_class_of_another_registry_is_only_warned_of(found):
    changes = model(cfg={"type": "Flip", "prop": 3}, backbone={"type": "SGD", "lr": "0.1", "colour": 1})
    assert found(**changes) == [
        ("warning", "model.cfg.prop: Flip: unknown argument 'prop'. Did you mean 'prob'?"),
    ]


def test_transforms_and_wrapped_datasets(found):
    pipeline = [{"type": "Flip", "prob": "x"}, {"type": "Flipp"}, {"type": "Quite", "other": 1}]
    changes = dataset(pipeline=pipeline, dataset={"type": "Points", "pipeline": [{"type": "Flip", "axes": 1}]})
    problems = found(**changes)
    where = "train_dataloader.dataset"
    assert problems == [
        ("error", f"{where}.pipeline.0.prob: Flip: argument 'prob' must be float, got 'x' of type str."),
        (
            "warning",
            f"{where}.pipeline.1.type: Flipp is not in the transform registry, nor in any other. Did you mean 'Flip'?",
        ),
        ("warning", f"{where}.pipeline.2.type: Quite is not in the transform registry, nor in any other."),
        ("error", f"{where}.dataset.pipeline.0.axes: Flip: unknown argument 'axes'. Did you mean 'axis'?"),
    ]


def test_places_that_can_hold_nothing_else(found):
    changes = model(init_cfg=[{"type": "Kaimin"}], data_preprocessor={"type": "BaseDataPreprocesor"})
    changes["visualizer"] = {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBacked"}]}
    problems = [(level, text.splitlines()[0]) for level, text in found(**changes)]
    assert problems == [
        (
            "error",
            "model.init_cfg.0.type: Kaimin is not in the trainwright::weight initializer registry. "
            "Did you mean 'Kaiming'?",
        ),
        (
            "error",
            "model.data_preprocessor.type: BaseDataPreprocesor is not in the trainwright::model registry. "
            "Did you mean 'BaseDataPreprocessor'?",
        ),
        (
            "error",
            "visualizer.vis_backends.0.type: LocalVisBacked is not in the trainwright::vis_backend registry. "
            "Did you mean 'LocalVisBackend'?",
        ),
    ]


def test_settings_that_the_parent_reads_itself(found):
    norm = {"type": "Backbone", "requires_grad": True, "depth": "3"}  # as of a norm_cfg: some are taken out
    changes = model(cfg={"norm_cfg": norm, "a_cfg": {"type": "Backbone", "dept": 3}})
    assert found(**changes) == [
        ("warning", "model.cfg.a_cfg.dept: Backbone: unknown argument 'dept'. Did you mean 'depth'?"),
    ]


def test_transforms_of_another_library_are_not_ours(found):
    compose = {"type": "Compose", "transforms": [{"type": "Flip", "prop": 1}, {"type": "Blurr"}]}
    other = {"type": "Flip", "prob": 0.5, "transforms": [{"type": "Flip", "prop": 1}, {"type": "Blurr"}]}
    problems = [(level, text.splitlines()[0]) for level, text in found(**dataset(pipeline=[compose, other]))]
    where = "train_dataloader.dataset.pipeline"
    assert problems == [
        ("error", f"{where}.0.transforms.0.prop: Flip: unknown argument 'prop'. Did you mean 'prob'?"),
        ("error", f"{where}.0.transforms.1.type: Blurr is not in the trainwright::transform registry."),
        ("warning", f"{where}.1.transforms: Flip: unknown argument 'transforms'. It accepts: prob, axis."),
        ("warning", f"{where}.1.transforms.0.prop: Flip: unknown argument 'prop'. Did you mean 'prob'?"),
    ]


def test_backends_may_have_a_name(found):
    backends = [{"type": "LocalVisBackend", "name": "one"}]
    assert found(visualizer={"type": "Visualizer", "vis_backends": backends}) == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"custom_hooks": ["LoggerHook"]}, "custom_hooks.0"),
        ({"custom_hooks": [None]}, "custom_hooks.0"),
        ({"default_hooks": {"timer": "IterTimerHook"}}, "default_hooks.timer"),
        ({"val_evaluator": ["Accuracy"]}, "val_evaluator.0"),
        ({"param_scheduler": [["x"]]}, "param_scheduler.0"),
        ({"model": ["x"]}, "model.0"),
        ({"train_dataloader": toy_loader() | {"sampler": "DefaultSampler"}}, "train_dataloader.sampler"),
        ({"optim_wrapper": {"optimizer": "SGD"}}, "optim_wrapper.optimizer"),
    ],
)
def test_what_is_neither_a_config_nor_an_object(found, changes, where):
    ((level, text),) = found(**changes)
    assert level == "error"
    assert text.startswith(f"{where}: must be a dict or a built object, but got ")


def test_an_optimizer_whose_first_argument_has_another_name(found, monkeypatch):
    class Own:
        def __init__(self, parameters, lr=0.1):
            raise AssertionError("no instance is made")

    monkeypatch.setitem(OPTIMIZERS.module_dict, "Own", Own)
    assert found(optim_wrapper={"optimizer": {"type": "Own", "lr": 0.1}}) == []


def test_a_name_that_nobody_knows_is_the_parents_business(found):
    assert found(**model(backbone={"type": "resnet50"}, heads=[{"type": "linear"}, {"type": "Something"}])) == []
    changes = model(
        backbone={"type": "Backbon"},
        cfg={"type": "backbon"},
        heads={"type": "Net", "cfg": {"metainfo": {"type": "Backbon"}}},
    )
    assert found(**changes) == [
        ("warning", "model.backbone.type: 'Backbon' is in no registry. Did you mean 'Backbone'?"),
    ]


def test_top_level_preprocessor_without_a_type_is_the_models(found):
    assert found(**model(), data_preprocessor={"mean": [1.0]}) == []
    ((level, text),) = found(**model(), data_preprocessor={"type": "BaseDataPreprocesor"})
    assert level == "error"
    assert text.startswith("data_preprocessor.type: BaseDataPreprocesor is not in the trainwright::model registry")


def test_scopes_are_followed(found):
    zoo = Registry("model", parent=MODELS, scope="checkzoo")
    try:
        zoo.register_module(name="Own", module=Backbone)
        assert found(model={"type": "checkzoo.Own", "depth": 1}) == []
        assert found(model={"type": "Own", "_scope_": "checkzoo", "depth": 1}) == []
        assert found(model={"type": "Own", "depth": 1}, default_scope="checkzoo") == []
        assert found(**model(backbone={"type": "Own", "_scope_": "checkzoo", "norm": {"type": "Own", "dept": 1}})) == [
            ("error", "model.backbone.norm.dept: Backbone: unknown argument 'dept'. Did you mean 'depth'?")
        ]
        ((_, text),) = found(model={"type": "Own", "depth": 1})
        assert "Did you mean 'checkzoo.Own'?" in text
    finally:
        MODELS.children.pop("checkzoo")


# -- functions, constructors, settings ---------------------------------------------------------------------------------


def test_functions_of_a_loader(found):
    changes = {"train_dataloader": toy_loader() | {"collate_fn": {"type": "default_colate"}}}
    ((_, text),) = found(**changes)
    assert text.startswith(
        "train_dataloader.collate_fn.type: default_colate is not in the trainwright::function registry"
    )
    changes = {"train_dataloader": toy_loader() | {"collate_fn": "default_colate"}}
    ((_, text),) = found(**changes)
    assert text.startswith("train_dataloader.collate_fn: default_colate is not in the trainwright::function registry")
    changes = {"train_dataloader": toy_loader() | {"collate_fn": {"type": "default_collate", "colate": 1}}}
    ((_, text),) = found(**changes)
    assert text.startswith("train_dataloader.collate_fn.colate: default_collate: unknown argument 'colate'.")


def test_all_settings_of_a_loader_at_once(found):
    changes = {"val_dataloader": toy_loader(8, num_worker=2, batch_size=0, persistent_workers=True)}
    assert [text.partition(": ")[0] for _, text in found(**changes)] == [
        "val_dataloader.num_worker",
        "val_dataloader.batch_size",
        "val_dataloader",
    ]


def test_what_is_wrong_with_an_optimizer_is_told_once(found):
    ((level, text),) = found(optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1, "dampening": 3}})
    assert level == "error"
    assert text.startswith("optim_wrapper.optimizer.dampening: AdamW: unknown argument 'dampening'. It accepts: ")


def test_priorities_of_hooks(found):
    hook = {"type": "LoggerHook"}
    fine = [{**hook, "priority": value} for value in (None, 30, "low")]
    ((level, text),) = found(custom_hooks=[*fine, {**hook, "priority": "LOWW"}])
    assert level == "error"
    assert text.startswith("custom_hooks.3.priority: priority 'LOWW' is unknown: use a number from 0 to 100 or one of ")
    assert text.endswith("Did you mean 'LOW'?")
    ((_, text),) = found(default_hooks={"logger": {**hook, "priority": 101}})
    assert text.startswith("default_hooks.logger.priority: priority must be between 0 and 100, the earliest and the")
    ((_, text),) = found(custom_hooks=[{**hook, "priority": 1.5}])
    assert text == "custom_hooks.0.priority: priority must be an integer or Priority enum value, or its name, not 1.5."


def test_arguments_of_the_average_of_a_hook(found):
    hook = {"type": "EMAHook", "begin_iter": 1}
    assert found(custom_hooks=[{**hook, "gamma": 9, "ema_type": "MomentumAnnealingEMA", "priority": 49}]) == []
    assert found(custom_hooks=[{**hook, "momentm": 0.1}]) == [
        (
            "error",
            "custom_hooks.0.momentm: ExponentialMovingAverage: unknown argument 'momentm'. Did you mean 'momentum'?",
        )
    ]
    ((level, text),) = found(custom_hooks=[{**hook, "ema_type": "MomentumAnealingEMA"}])
    assert level == "error"
    assert "MomentumAnealingEMA is not in the trainwright::model registry" in text
    assert "Did you mean 'MomentumAnnealingEMA'?" in text


def test_clip_grad(found):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norms": 3}}
    ((level, text),) = found(optim_wrapper=wrapper)
    assert level == "error"
    assert text.startswith("optim_wrapper.clip_grad: clip_grad has no setting 'max_norms' when type is 'norm'")
    assert text.endswith("Did you mean 'max_norm'?")
    ((_, text),) = found(optim_wrapper={**wrapper, "clip_grad": 3})
    assert text.startswith("optim_wrapper.clip_grad: ")
    assert found(optim_wrapper={**wrapper, "clip_grad": {"max_norm": 35, "norm_type": 2}}) == []


def test_paramwise_cfg(found):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"norm_decay_mul": 0.0}}
    ((level, text),) = found(optim_wrapper=wrapper)
    assert level == "error"
    assert text.startswith("optim_wrapper.paramwise_cfg: paramwise_cfg has no setting 'norm_decay_mul'")


def test_paramwise_cfg_is_that_of_the_constructor_which_is_named(found, monkeypatch):
    class ByLayer(DefaultOptimWrapperConstructor):
        def add_params(self, params, module, **kwargs):
            params.append({"params": list(module.parameters()), "lr": self.paramwise_cfg["decay_rate"]})

    monkeypatch.setitem(OPTIM_WRAPPER_CONSTRUCTORS.module_dict, "ByLayer", ByLayer)
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"decay_rate": 0.9, "num_layers": 12}}
    for kind in ("ByLayer", ByLayer, "LearningRateDecayOptimWrapperConstructor"):
        assert found(optim_wrapper={**wrapper, "constructor": kind}) == []
    wrapper["paramwise_cfg"]["num_layers"] = 0
    ((_, text),) = found(optim_wrapper={**wrapper, "constructor": "LearningRateDecayOptimWrapperConstructor"})
    assert text == "optim_wrapper.paramwise_cfg: num_layers must be a whole number of at least 1, got 0"


def test_a_constructor_of_ones_own_reads_what_it_likes(found, monkeypatch):
    class Several:
        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
            raise AssertionError("no instance is made")

    monkeypatch.setitem(OPTIM_WRAPPER_CONSTRUCTORS.module_dict, "Several", Several)
    wrapper = {"constructor": "Several", "optimizer": {"a": {"type": "SDG"}}, "whatever": 3}
    assert found(optim_wrapper=wrapper) == []
    default = {"constructor": "DefaultOptimWrapperConstructor", "optimizer": {"type": "SGD", "lr": "x"}, "whatever": 3}
    assert [text.partition(": ")[0] for _, text in found(optim_wrapper=default)] == [
        "optim_wrapper.whatever",
        "optim_wrapper.optimizer.lr",
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"randomness": {"sed": 3, "keyed": "yes"}},
            [
                "randomness.sed: randomness has no setting 'sed'; it takes seed, diff_rank_seed, deterministic, keyed. "
                "Did you mean 'seed'?",
                "randomness.keyed: argument 'keyed' must be bool, got 'yes' of type str.",
            ],
        ),
        (
            {"env_cfg": {"cudnn_benchmrk": True, "resource_limit": "x", "mp_cfg": {"start_method": "fork"}}},
            [
                "env_cfg.cudnn_benchmrk: env_cfg has no setting 'cudnn_benchmrk'; it takes cudnn_benchmark, mp_cfg, "
                "dist_cfg, resource_limit, preemption, watchdog. Did you mean 'cudnn_benchmark'?",
                "env_cfg.resource_limit: argument 'resource_limit' must be int, got 'x' of type str.",
                "env_cfg.mp_cfg.start_method: mp_cfg has no setting 'start_method'; it takes mp_start_method, "
                "opencv_num_threads. Did you mean 'mp_start_method'?",
            ],
        ),
        (
            {"auto_scale_lr": {"enable": True, "base_batch": 3}},
            [
                "auto_scale_lr.base_batch: auto_scale_lr has no setting 'base_batch'; it takes enable, "
                "base_batch_size. Did you mean 'base_batch_size'?",
                "auto_scale_lr: auto_scale_lr {'enable': True, 'base_batch': 3} lacks base_batch_size, the batch size "
                "that the lr is for.",
            ],
        ),
    ],
)
def test_settings(found, changes, text):
    assert found(**changes) == [("error", line) for line in text]


# -- lazy objects ------------------------------------------------------------------------------------------------------

LAZY = """
from torch.optim import SGDD
from trainwright.data import Compose, DefaultSampler, default_collate
from trainwright.evaluation import Accuracy
from trainwright.testing.toys import ToyDataset, ToyModel

model = dict(type=ToyModel, dropout=0.1)
work_dir = "run"
train_dataloader = dict(
    dataset=dict(type=ToyDataset, size=16),
    sampler=dict(type=DefaultSampler, shuffle=True),
    batch_size=4,
    collate_fn=dict(type=default_collate),
)
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type=SGDD, lr=0.1))
val_dataloader = train_dataloader
val_cfg = dict()
val_evaluator = dict(type=Accuracy)
log_level = "WARNING"
"""


def lazy_config(tmp_path, monkeypatch, old="", new=""):
    from trainwright.config import Config

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lazy.py").write_text(LAZY.replace(old, new) if old else LAZY)
    return Config.fromfile("lazy.py")


def test_an_import_that_fails_is_a_problem_with_the_import(tmp_path, monkeypatch):
    from trainwright.base.errors import CustomImportError

    (problem,) = validate(lazy_config(tmp_path, monkeypatch))
    assert problem.error is CustomImportError
    assert problem.where == ("optim_wrapper", "optimizer", "type")
    text = str(problem)
    assert text.startswith(
        "lazy.py:16: optim_wrapper.optimizer.type: cannot import 'torch.optim.SGDD', which is named in"
    )
    assert "lazy.py, line 2" in text


def test_a_module_that_raises_while_it_is_imported_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sick_parts.py").write_text("raise RuntimeError('no driver')\n")
    cfg = lazy_config(tmp_path, monkeypatch, "from torch.optim import SGDD", "from sick_parts import SGDD")
    (problem,) = validate(cfg)
    assert "importing 'sick_parts.SGDD' failed. RuntimeError: no driver" in str(problem)


def test_a_config_of_lazy_objects_is_checked_like_any_other_and_trains(tmp_path, monkeypatch):
    from trainwright.runner import Runner

    cfg = lazy_config(tmp_path, monkeypatch, "SGDD", "SGD")
    assert validate(cfg) == []
    Runner.from_cfg(cfg).train()
    cfg = lazy_config(tmp_path, monkeypatch, "SGDD, lr=0.1", "SGDD, lr='0.1', nestrov=True")
    (tmp_path / "lazy.py").write_text((tmp_path / "lazy.py").read_text().replace("SGDD", "SGD"))
    cfg = type(cfg).fromfile("lazy.py")
    assert [str(p).partition(": ")[2].partition(": ")[0] for p in validate(cfg)] == [
        "optim_wrapper.optimizer.nestrov",
        "optim_wrapper.optimizer.lr",
    ]


def test_what_is_built_already_is_not_looked_into(found):
    assert found(model=ToyModel(), train_dataloader=toy_loader() | {"dataset": ToyDataset()}) == []
