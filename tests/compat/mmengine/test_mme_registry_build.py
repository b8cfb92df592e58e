"""Build functions, default scopes, and what is said of a tree of registries."""

import json
from collections import OrderedDict
from unittest import mock

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")
CONFIGS = ["dict", "ConfigDict", "Config"]


@pytest.fixture
def scopes():
    """The table of default scopes, which is as before afterwards."""
    from mmengine.registry import DefaultScope

    before = DefaultScope._instance_dict
    DefaultScope._instance_dict = OrderedDict()
    yield DefaultScope
    DefaultScope._instance_dict = before


@pytest.fixture
def backbones():
    from mmengine.registry import Registry

    registry = Registry("backbone")

    @registry.register_module()
    class ResNet:
        def __init__(self, depth, stages=4):
            self.depth, self.stages = depth, stages

    return registry


def wrapped(kind, cfg):
    from mmengine.config import Config, ConfigDict

    return {"dict": dict, "ConfigDict": ConfigDict, "Config": Config}[kind](cfg)


@pytest.mark.parametrize("kind", CONFIGS)
def test_build_from_cfg(backbones, kind):
    from mmengine.registry import build_from_cfg

    cfg = wrapped(kind, {"type": "ResNet", "depth": 50})
    model = build_from_cfg(cfg, backbones)
    assert isinstance(model, backbones.get("ResNet"))
    assert (model.depth, model.stages) == (50, 4)
    assert cfg["type"] == "ResNet"
    for default in ({"stages": 3}, wrapped(kind, {"stages": 3})):
        model = build_from_cfg(cfg, backbones, default_args=default)
        assert (model.depth, model.stages) == (50, 3)
    by_default = build_from_cfg(wrapped(kind, {"depth": 50}), backbones, {"type": "ResNet"})
    assert isinstance(by_default, backbones.get("ResNet"))
    by_class = build_from_cfg(wrapped(kind, {"type": backbones.get("ResNet"), "depth": 18}), backbones)
    assert by_class.depth == 18


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_cannot_be_built(backbones, kind):
    from mmengine.registry import build_from_cfg

    def refused(error, match, cfg, registry=backbones, **kwargs):
        with pytest.raises(error, match=match):
            build_from_cfg(cfg if isinstance(cfg, str) else wrapped(kind, cfg), registry, **kwargs)

    refused(TypeError, "cfg should be a dict, ConfigDict or Config, but got <class 'str'>", "ResNet")
    refused(KeyError, 'must contain the key "type"', {"depth": 50})
    refused(KeyError, 'must contain the key "type"', {"depth": 50}, default_args={"stages": 4})
    refused(TypeError, "type must be a str or valid type, but got <class 'int'>", {"type": 1000})
    refused(KeyError, f"VGG is not in the {backbones.scope}::backbone registry", {"type": "VGG"})
    refused(TypeError, None, {"type": "ResNet", "non_existing_arg": 50})
    ours = {"type": "ResNet", "depth": 50}
    refused(TypeError, "default_args should be a dict, ConfigDict, Config or None, but got", ours, default_args=0)
    text = "registry must be a mmengine.Registry object, but got <class 'str'>"
    refused(TypeError, text, ours, "BACKBONES")


def test_managed_classes_are_built_by_their_name():
    from mmengine.registry import Registry, build_from_cfg
    from mmengine.utils import ManagerMixin

    registry = Registry("visualizer")

    @registry.register_module()
    class Painter(ManagerMixin):
        def __init__(self, name):
            super().__init__(name)

    with pytest.raises(RuntimeError):
        Painter.get_current_instance()
    built = build_from_cfg({"type": "Painter", "name": "visualizer"}, registry)
    assert Painter.get_current_instance() is built


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_from_lists_are_sequential(kind):
    import torch.nn as nn
    from mmengine.registry import Registry, build_model_from_cfg

    registry = Registry("backbone", build_func=build_model_from_cfg)

    @registry.register_module()
    class ResNet(nn.Module):
        def __init__(self, depth, stages=4):
            super().__init__()
            self.depth, self.stages = depth, stages

    assert registry.build(wrapped(kind, {"type": "ResNet", "depth": 50})).depth == 50
    both = registry.build([wrapped(kind, {"type": "ResNet", "depth": depth}) for depth in (50, 18)])
    assert isinstance(both, nn.Sequential)
    assert [model.depth for model in both] == [50, 18]


def test_schedulers_from_epochs_to_iterations():
    import torch
    from mmengine.registry import PARAM_SCHEDULERS, Registry, build_scheduler_from_cfg

    optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
    cfg = {"type": "LinearLR", "optimizer": optimizer, "start_factor": 0.1, "begin": 0, "end": 10, "by_epoch": True}
    by_epoch = PARAM_SCHEDULERS.build(dict(cfg))
    assert (by_epoch.begin, by_epoch.end, by_epoch.by_epoch) == (0, 10, True)
    by_iter = PARAM_SCHEDULERS.build(dict(cfg, convert_to_iter_based=True), default_args={"epoch_length": 10})
    assert (by_iter.begin, by_iter.end, by_iter.by_epoch) == (0, 100, False)
    with pytest.raises(AssertionError):
        PARAM_SCHEDULERS.build(dict(cfg, convert_to_iter_based=True))
    with pytest.raises(AssertionError):
        PARAM_SCHEDULERS.build(dict(cfg, convert_to_iter_based=True, by_epoch=False, epoch_length=10))
    assert Registry("mine", build_func=build_scheduler_from_cfg).build_func is build_scheduler_from_cfg


def test_default_scope(scopes):
    assert scopes.get_current_instance() is None
    assert scopes.get_instance("name1", scope_name="mmdet").scope_name == "mmdet"
    assert scopes.get_current_instance().scope_name == "mmdet"
    for wrong in ({}, {"scope_name": 1}):
        with pytest.raises((TypeError, AssertionError)):
            scopes.get_instance("name2", **wrong)
    with pytest.raises(AssertionError):
        scopes("name3", 1)


def test_overwriting_the_default_scope(scopes):
    scopes.get_instance("outer", scope_name="origin")
    with scopes.overwrite_default_scope(scope_name=None):
        assert scopes.get_current_instance().scope_name == "origin"
    with scopes.overwrite_default_scope(scope_name="overwritten"):
        assert scopes.get_current_instance().scope_name == "overwritten"
    assert scopes.get_current_instance().scope_name == "origin"


def test_init_default_scope(scopes, is_peer):
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")
    assert scopes.get_current_instance().scope_name == "mmdet"
    scopes.get_instance("another", scope_name="test")
    with print_log_of("mmengine.registry.utils", is_peer) as said:
        init_default_scope("mmdet")
    assert 'The current default scope "test" is not "mmdet"' in said.call_args.args[0]
    assert scopes.get_current_instance().scope_name == "mmdet"


def print_log_of(module, is_peer):
    """Where our function of that module of MMEngine stands."""
    return mock.patch(f"{module if is_peer else 'mmengine.registry.default_scope'}.print_log")


def test_a_tree_is_counted():
    from mmengine.registry import Registry, traverse_registry_tree

    dogs = Registry("dogs")
    hounds = Registry("hounds", parent=dogs, scope="hound")
    Registry("little hounds", parent=hounds, scope="little_hound")
    dogs.register_module(name="Golden")(type("Golden", (), {}))
    for name in ("Blood", "Basset"):
        hounds.register_module(name=name)(type(name, (), {}))
    found = traverse_registry_tree(dogs)
    assert [one["num_modules"] for one in found] == [1, 2, 0]
    assert [one["scope"] for one in found] == [dogs.scope, "hound", "little_hound"]
    assert traverse_registry_tree(hounds) == found


def test_all_modules_are_counted(tmp_path):
    import mmengine.registry
    from mmengine.registry import count_registered_modules

    results = count_registered_modules(str(tmp_path), verbose=True)
    written = json.loads((tmp_path / "modules_statistic_results.json").read_text())
    assert set(written) == set(results) == {"scan_date", "registries"}
    assert len(results["registries"]) > 20
    for name, trees in results["registries"].items():
        assert trees[0]["num_modules"] == len(getattr(mmengine.registry, name).module_dict)
        assert trees[0]["scope"] == "mmengine"
    count_registered_modules(save_path=None, verbose=False)
