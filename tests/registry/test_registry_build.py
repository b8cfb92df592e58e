import functools
import math

import pytest

from trainwright.base.errors import ConfigTypeError, CustomImportError, RegistryError, RuleError
from trainwright.base.instances import ManagerMixin
from trainwright.config import Config, ConfigDict
from trainwright.registry import (
    DefaultScope,
    Registry,
    build_from_cfg,
    build_model_from_cfg,
    build_runner_from_cfg,
    build_scheduler_from_cfg,
)
from trainwright.registry.build import built_from, forget_config


class Net:
    def __init__(self, depth, width=1):
        self.depth, self.width = depth, width


@pytest.fixture
def nets(tree):
    tree[0].register_module(module=Net)
    return tree[0]


@pytest.mark.parametrize("wrap", [dict, ConfigDict, Config])
def test_build_leaves_the_config_as_it_is(nets, wrap):
    cfg = wrap({"type": "Net", "depth": 3, "_scope_": "trainwright"})
    net = nets.build(cfg, default_args=wrap({"width": 5, "depth": 9}))
    assert (net.depth, net.width) == (3, 5)
    assert list(cfg.keys()) == ["type", "depth", "_scope_"]


@pytest.mark.parametrize(
    "kind", [Net, functools.partial(Net, width=2), lambda depth: Net(depth), f"{__name__}:Net", f"{__name__}.Net"]
)
def test_type_may_be_a_class_a_function_or_a_path(nets, kind):
    assert nets.build({"type": kind, "depth": 3}).depth == 3


def test_what_is_lazy_is_imported(nets):
    from trainwright.base.lazy import LazyObject

    cfg = {"type": LazyObject(__name__, "Net"), "depth": LazyObject("math").pi}
    net = nets.build(cfg, default_args={"width": LazyObject("math", "tau")})
    assert (type(net), net.depth, net.width) == (Net, math.pi, math.tau)
    assert cfg["depth"] == LazyObject("math").pi
    with pytest.raises(CustomImportError, match=r"cannot import 'test_registry_build.Nett', .*line 3") as info:
        nets.build({"type": LazyObject(__name__, "Nett", "file a.py, line 3")})
    assert isinstance(info.value, ImportError)
    with pytest.raises(ConfigTypeError, match="cannot build 'Net' of the 'model' registry, .*missing argument 'depth'"):
        nets.build({"type": LazyObject(__name__, "Net")})


@pytest.mark.parametrize("name", ["runner", "scheduler"])
def test_every_build_function_takes_what_is_lazy(name):
    from trainwright.base.lazy import LazyObject

    if name == "scheduler":
        reg = Registry("parameter scheduler", build_func=build_scheduler_from_cfg)
        cfg = {"type": LazyObject(__name__, "Step"), "gamma": 2, "epoch_length": 7, "convert_to_iter_based": True}
        assert reg.build(cfg).made == ("converted", 7)
    else:
        reg = Registry("runner", build_func=build_runner_from_cfg)
        assert reg.build({"runner_type": LazyObject(__name__, "LazyRunner")}) == "made"


class LazyRunner:
    @classmethod
    def from_cfg(cls, cfg):
        return "made"


def test_type_may_come_from_the_defaults(nets):
    assert nets.build({"depth": 3}, default_args={"type": "Net"}).depth == 3


def test_a_leftover_delete_key_is_no_argument(nets):
    assert nets.build({"type": "Net", "depth": 3, "_delete_": True}).depth == 3


def test_scope_key_switches_for_nested_builds(tree):
    root, child = tree
    seen = []

    @root.register_module()
    def probe():
        seen.append(DefaultScope.get_current_instance().scope_name)
        return root.build({"type": "Inner"})

    child.register_module(name="Inner", module=lambda: "from zoo")
    assert root.build({"type": "probe", "_scope_": "zoo"}) == "from zoo"
    assert seen == ["zoo"]


def test_default_scope_is_where_names_are_looked_up_first(tree):
    root, child = tree
    root.register_module(name="Which", module=lambda: "root")
    child.register_module(name="Which", module=lambda: "zoo")
    assert root.build({"type": "Which"}) == "root"
    with DefaultScope.overwrite_default_scope("zoo"):
        assert root.build({"type": "Which"}) == "zoo"
        assert root.build({"type": "mmengine.Which"}) == "root"


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        ("Net", TypeError, "cfg should be a dict, ConfigDict or Config, but got <class 'str'>: 'Net'"),
        ({"depth": 1}, KeyError, "must contain the key \"type\" to be built by 'model', but got {'depth': 1}"),
        (
            {"type": 3},
            TypeError,
            "type must be a str or valid type, but got <class 'int'>: 'model' builds what .* and not 3",
        ),
        (
            {"type": "Net", "dept": 3},
            ConfigTypeError,
            "unknown argument 'dept'. Did you mean 'depth'\\? missing argument 'depth'",
        ),
        (
            {"type": "Net"},
            TypeError,
            r"cannot build 'Net' of the 'model' registry, .*test_registry_build.Net \(.*:\d+\)\. missing argument",
        ),
    ],
)
def test_what_cannot_be_built_says_why(nets, cfg, error, message):
    with pytest.raises(error, match=message):
        nets.build(cfg)


def test_default_args_and_registry_are_checked(nets):
    with pytest.raises(
        TypeError, match="default_args should be a dict, ConfigDict, Config or None, but got <class 'int'>: 3"
    ):
        nets.build({"type": "Net"}, default_args=3)
    with pytest.raises(
        TypeError, match="registry must be a trainwright.Registry object, but got <class 'str'>: 'model'"
    ):
        build_from_cfg({"type": "Net"}, "model")


@pytest.mark.parametrize("raised", [ValueError("bad depth"), TypeError("bad depth"), ZeroDivisionError("bad depth")])
def test_an_error_of_the_constructor_keeps_its_type_and_names_the_class(nets, raised):
    @nets.register_module()
    class Failing:
        def __init__(self):
            raise raised

    @nets.register_module()
    class Outer:
        def __init__(self, inner):
            nets.build(inner)

    with pytest.raises(type(raised), match="bad depth") as info:
        nets.build({"type": "Outer", "inner": {"type": "Failing"}})
    assert info.value is raised
    notes = getattr(info.value, "__notes__", None) or str(info.value).splitlines()[1:]
    assert "while building 'Failing' of the 'model' registry, " in notes[0]
    assert "test_registry_build.py:" in notes[0]
    assert "while building 'Outer' of the 'model' registry" in notes[1]


def test_an_error_tells_the_config_of_the_innermost_component(nets):
    @nets.register_module()
    class Failing:
        def __init__(self, how):
            raise ValueError("bad depth")

    @nets.register_module()
    class Outer:
        def __init__(self, inner):
            nets.build(inner)

    inner = {"type": "Failing", "how": 3}
    with pytest.raises(ValueError, match="bad depth") as info:
        nets.build({"type": "Outer", "inner": inner})
    assert built_from(info.value) is inner
    forget_config(info.value)
    assert built_from(info.value) is None
    with pytest.raises(RegistryError) as unknown:
        nets.build(inner | {"type": "Missing"})
    assert built_from(unknown.value) == {"type": "Missing", "how": 3}
    assert built_from(ValueError()) is None


def test_managed_classes_are_built_by_name(nets):
    @nets.register_module()
    class Store(ManagerMixin):
        def __init__(self, name, size=1):
            super().__init__(name)
            self.size = size

    first = nets.build({"type": "Store", "name": "a", "size": 3})
    assert nets.build({"type": "Store", "name": "a"}) is first
    with pytest.raises(ConfigTypeError, match=r"unknown argument 'sise'\. Did you mean 'size'"):
        nets.build({"type": "Store", "name": "b", "sise": 3})


def test_a_custom_build_function_is_inherited(tree):
    def build(cfg, registry, extra=0):
        return cfg, registry.scope, extra

    parent = Registry("x", scope="top", build_func=build)
    child = Registry("x", scope="sub", parent=parent)
    assert child.build("anything", extra=2) == ("anything", "sub", 2)


def test_a_list_of_models_becomes_a_sequential():
    reg = Registry("model", build_func=build_model_from_cfg)
    reg.register_module(name="Sequential", module=lambda *parts: list(parts))
    reg.register_module(module=Net)
    parts = reg.build([{"type": "Net", "depth": 1}, {"type": "Net", "depth": 2}])
    assert [part.depth for part in parts] == [1, 2]


def test_runners_are_built_by_from_cfg():
    reg = Registry("runner", build_func=build_runner_from_cfg)

    @reg.register_module(name="Runner")
    class MyRunner:
        @classmethod
        def from_cfg(cls, cfg):
            return cls, cfg

    @reg.register_module()
    class Other(MyRunner):
        pass

    assert reg.build({"max": 3}) == (MyRunner, {"max": 3})
    assert reg.build({"runner_type": "Other"})[0] is Other
    with pytest.raises(TypeError, match="cfg should be a dict"):
        reg.build(3)


class Step:
    def __init__(self, gamma, by_epoch=True):
        self.made = ("init", gamma)

    @classmethod
    def build_iter_from_epoch(cls, gamma, epoch_length, by_epoch=True):
        step = cls(gamma)
        step.made = ("converted", epoch_length)
        return step


@pytest.mark.parametrize("kind", ["Step", Step])
def test_schedulers_are_converted_on_request(kind):
    reg = Registry("parameter scheduler", build_func=build_scheduler_from_cfg)
    reg.register_module(module=Step)
    assert reg.build({"type": kind, "gamma": 2, "epoch_length": 7}).made == ("init", 2)
    assert reg.build({"type": kind, "gamma": 2, "epoch_length": 7, "convert_to_iter_based": True}).made == (
        "converted",
        7,
    )
    with pytest.raises(
        RuleError, match="needs epoch_length and by_epoch=True, got epoch_length=None and by_epoch=True"
    ):
        reg.build({"type": kind, "gamma": 2, "convert_to_iter_based": True})
    with pytest.raises(RuleError, match="got epoch_length=7 and by_epoch=False"):
        reg.build({"type": kind, "gamma": 2, "epoch_length": 7, "by_epoch": False, "convert_to_iter_based": True})


def test_a_constructor_that_raises_names_the_place_in_the_config(tmp_path):
    registry = Registry("tw_places")

    @registry.register_module()
    class Net:
        def __init__(self, head):
            self.head = registry.build(head)

    @registry.register_module()
    class Head:
        def __init__(self, depth):
            raise OSError(f"no weights for depth {depth}")

    path = tmp_path / "a.py"
    path.write_text("head = dict(type='Head', depth=3)\nmodels = [dict(type='Net',\n               head=head)]\n")
    cfg = Config.fromfile(path)
    with pytest.raises(OSError, match="no weights for depth 3") as info:
        registry.build(cfg.models[0])
    config_notes = [note for note in info.value.__notes__ if note.startswith("config: ")]
    assert config_notes == [f"config: models.0.head ({path}:1)"]
    with pytest.raises(OSError, match="depth 1") as info:
        registry.build({"type": "Head", "depth": 1})
    assert not [note for note in info.value.__notes__ if note.startswith("config: ")]
