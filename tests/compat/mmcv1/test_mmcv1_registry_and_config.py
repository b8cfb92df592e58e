"""Registry and Config of mmcv.utils through the face; with the marker `mmcv1` the same on MMCV 1.7.2."""

import argparse
import json
import pickle
import sys

import pytest
import yaml

from trainwright.base.errors import TrainwrightError


def says(is_peer, text):
    """What the message of an error of ours must hold; of MMCV's only the type is compared."""
    return ".*" if is_peer else text


# -- registry ----------------------------------------------------------------------------------------------------------
def test_registry_names_scopes_and_children(mmcv, is_peer):
    animals = mmcv.Registry("animal")
    assert (animals.name, animals.scope, len(animals), animals.parent) == (
        "animal",
        "test_mmcv1_registry_and_config",
        0,
        None,
    )
    assert repr(animals) == "Registry(name=animal, items={})"

    @animals.register_module()
    class Cat:
        pass

    @animals.register_module(name=["Dog", "Hound"])
    class Wolf:
        pass

    assert animals.get("Cat") is Cat
    assert animals.get("Dog") is animals.get("Hound") is animals.get("test_mmcv1_registry_and_config.Dog") is Wolf
    assert "Cat" in animals
    assert "Wolf" not in animals
    assert repr(animals) == f"Registry(name=animal, items={animals.module_dict})"
    birds = mmcv.Registry("animal", parent=animals, scope="bird")
    small = mmcv.Registry("animal", parent=birds, scope="small")
    birds.register_module(module=Cat, name="Gull")
    small.register_module(module=Wolf, name="Wren")
    assert animals.get("bird.Gull") is Cat
    assert animals.get("bird.small.Wren") is small.get("Wren") is Wolf
    assert small.get("bird.Gull") is Cat
    assert birds.get("Cat") is None, "a child does not look into its parents"
    assert birds.build_func is animals.build_func
    with pytest.raises(AssertionError, match="scope bird exists in animal registry"):
        mmcv.Registry("animal", parent=animals, scope="bird")
    if not is_peer:  # MMCV finds it by the attribute that is missing
        with pytest.raises(AssertionError, match="parent of registry 'animal' must be a Registry"):
            mmcv.Registry("animal", parent="animal")


def test_registering(mmcv, is_peer):
    things = mmcv.Registry("thing")

    @things.register_module()
    def make():
        return "made"

    class Thing:
        pass

    assert things.build({"type": "make"}) == "made"
    with pytest.raises(KeyError, match="make.* is already registered in"):
        things.register_module(name="make", module=Thing)
    things.register_module(name="make", module=Thing, force=True)
    assert things.get("make") is Thing
    for arguments in ({"name": 1}, {"force": "yes"}, {"module": 7}):
        with pytest.raises(TypeError, match=says(is_peer, "got")):
            things.register_module(**arguments)
    with pytest.warns(DeprecationWarning, match="register_module"):
        things.register_module(Thing)
    assert things.get("Thing") is Thing
    with pytest.warns(DeprecationWarning, match="register_module"):
        things.deprecated_register_module(Thing, force=True)

    class Other:
        pass

    with pytest.warns(DeprecationWarning, match="register_module"):
        assert things.register_module(Other) is Other
    with pytest.warns(DeprecationWarning, match='"module_class" is deprecated in `_register_module`'):
        things._register_module(module_class=Other, module_name="third")
    assert things.get("third") is Other


def test_build_from_cfg(mmcv, is_peer):
    nets = mmcv.Registry("net")

    @nets.register_module()
    class Net:
        def __init__(self, depth, stages=4):
            if depth < 0:
                raise ValueError("too shallow")
            self.depth, self.stages = depth, stages

    cfg = mmcv.ConfigDict(type="Net", depth=50)
    net = mmcv.build_from_cfg(cfg, nets, default_args={"stages": 3, "depth": 1})
    assert (net.depth, net.stages, cfg) == (50, 3, {"type": "Net", "depth": 50})
    assert mmcv.build_from_cfg({"depth": 1}, nets, {"type": Net}).depth == 1
    for arguments, kind, text in (
        (("Net", nets), TypeError, "cfg must be a dict"),
        (({"depth": 1}, nets), KeyError, 'must contain the key "type"'),
        (({"type": "Net", "depth": 1}, "nets"), TypeError, "registry must be a"),
        (({"type": "Net", "depth": 1}, nets, 7), TypeError, "default_args must be a dict or None"),
        (({"type": "Nets", "depth": 1}, nets), KeyError, "Nets is not in the net registry"),
        (({"type": 7}, nets), TypeError, "type must be a str or valid type"),
        (({"type": "Net", "deep": 1}, nets), TypeError, "unexpected keyword argument 'deep'"),
        (({"type": "Net", "depth": -1}, nets), ValueError, "too shallow"),
    ):
        with pytest.raises(kind, match=text):
            mmcv.build_from_cfg(*arguments)
    if not is_peer:
        with pytest.raises(TrainwrightError, match=r"Did you mean 'Net'\? If it is your own, register it"):
            mmcv.build_from_cfg({"type": "Nets"}, nets)
        with pytest.raises(ValueError, match="too shallow") as caught:
            mmcv.build_from_cfg({"type": "Net", "depth": -1}, nets)
        told = "\n".join([*caught.value.args, *getattr(caught.value, "__notes__", [])])  # Python 3.10 has no notes
        assert told == "too shallow\nwhile building Net of the 'net' registry"


# -- config ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def configs(tmp_path):
    """A base, what overrides it, and the same data as JSON and YAML."""
    data = {"item1": [1, 2], "item2": {"a": 0}, "item3": True, "item4": "test"}
    (tmp_path / "base.py").write_text("item1 = [1, 2]\nitem2 = dict(a=0, b=1)\nitem3 = True\nitem4 = 'test'\n")
    (tmp_path / "child.py").write_text(
        "_base_ = './base.py'\nitem1 = [2, 3]\nitem2 = dict(a=1)\nitem3 = dict(_delete_=True, x={{_base_.item2.b}})\n"
        "item4 = '{{ fileBasename }}'\n".replace("item3 = dict(_delete_=True, ", "item5 = dict(")
    )
    (tmp_path / "b.json").write_text(json.dumps(data))
    (tmp_path / "c.yaml").write_text(yaml.dump(data))
    return tmp_path


def test_config_files(mmcv, configs):
    cfg = mmcv.Config.fromfile(configs / "child.py")
    assert cfg.filename == str(configs / "child.py")
    assert cfg._cfg_dict == {
        "item1": [2, 3],
        "item2": {"a": 1, "b": 1},
        "item3": True,
        "item4": "child.py",
        "item5": {"x": 1},
    }
    files = [configs / "base.py", configs / "child.py"]
    assert cfg.text == "\n".join(f"{path}\n{path.read_text()}" for path in files)
    plain = mmcv.Config.fromfile(str(configs / "base.py"))
    for name in ("b.json", "c.yaml"):
        other = mmcv.Config.fromfile(str(configs / name))
        assert other.item2 == {"a": 0}
        assert other.text == f"{configs / name}\n{(configs / name).read_text()}"
        assert other.dump() == (configs / name).read_text()
        other.dump(str(configs / f"copy_{name}"))
        assert (configs / f"copy_{name}").read_text() == (configs / name).read_text()
    assert mmcv.Config.fromstring(plain.pretty_text, ".py")._cfg_dict == plain._cfg_dict
    plain.dump(str(configs / "copy.py"))
    assert mmcv.Config.fromfile(str(configs / "copy.py"))._cfg_dict == plain._cfg_dict
    assert pickle.loads(pickle.dumps(cfg))._cfg_dict == cfg._cfg_dict
    assert repr(plain) == f"Config (path: {configs / 'base.py'}): {plain._cfg_dict!r}"


def test_config_from_a_dict(mmcv, configs):
    empty = mmcv.Config()
    assert (empty.filename, empty.text, len(empty), empty._cfg_dict) == (None, "", 0, {})
    cfg = mmcv.Config({"a": {"b": [1, {"c": 2}]}, "d": 1}, filename=configs / "base.py")
    assert cfg.text == (configs / "base.py").read_text()
    assert cfg.a.b[1].c == cfg["a"]["b"][1]["c"] == 2
    assert cfg.get("nothing", 7) == 7
    assert list(cfg) == ["a", "d"]
    cfg.e = {"f": 1}
    assert cfg.e.f == 1
    with pytest.raises(AttributeError):
        _ = cfg.nothing
    assert cfg.dump() == cfg.pretty_text
    cfg.merge_from_dict({"a.b.1.c": 3, "g.h": 4})
    assert cfg.a.b[1].c == 3
    assert cfg.g.h == 4
    merged = mmcv.Config._merge_a_into_b({"a": {"x": 2}}, {"a": {"x": 1, "y": 1}})
    assert merged == {"a": {"x": 2, "y": 1}}


def test_errors_of_configs_have_the_types_of_mmcv(mmcv, is_peer, configs):
    fromfile = mmcv.Config.fromfile
    with pytest.raises(TypeError):
        mmcv.Config([0, 1])
    with pytest.raises(FileNotFoundError):
        fromfile(str(configs / "no_such_file.py"))
    (configs / "picture.jpg").write_bytes(b"")
    with pytest.raises(OSError, match=says(is_peer, r"picture.jpg: only .py, .*, got '.jpg'")):
        fromfile(str(configs / "picture.jpg"))
    with pytest.raises(OSError, match=says(is_peer, "got '.txt'")):
        mmcv.Config.fromstring("a = 1", ".txt")
    (configs / "broken.py").write_text("a = = 1\n")
    with pytest.raises(SyntaxError, match="There are syntax errors in config file"):
        fromfile(str(configs / "broken.py"))
    (configs / "importing.py").write_text("import no_such_module_x\n")
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_module_x'"):
        fromfile(str(configs / "importing.py"))
    for name, text in (
        ("reserved.py", "filename = 'x'\n"),
        ("twice.py", "_base_ = ['./base.py', './b.json']\n"),
    ):
        (configs / name).write_text(text)
        with pytest.raises(KeyError, match=says(is_peer, r"filename|item1")):
            fromfile(str(configs / name))
    (configs / "clash.py").write_text("_base_ = './base.py'\nitem1 = dict(a=1)\n")
    with pytest.raises(TypeError, match="item1"):
        fromfile(str(configs / "clash.py"))
    cfg = mmcv.Config({"item": [{"a": 1}]})
    with pytest.raises(KeyError):
        cfg.merge_from_dict({"item.2.a": 1})
    with pytest.raises(TypeError):
        cfg.merge_from_dict({"item.0.a": 1}, allow_list_keys=False)
    (configs / "old.py").write_text("_deprecation_ = dict(expected='new.py', reference='somewhere')\n")
    with pytest.warns(DeprecationWarning, match=r"new\.py"):
        fromfile(str(configs / "old.py"))


def test_dict_action_and_a_parser_of_a_config(mmcv, configs, monkeypatch):
    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="+", action=mmcv.DictAction)

    def options(*given):
        return parser.parse_args(["--options", *given]).options

    assert options("a.b=x,y", "c=[(a,b), [1,2], false]") == {"a.b": ["x", "y"], "c": [("a", "b"), [1, 2], False]}
    assert options("a=1", "b=0.1", "c=x", "d=None", "e=[[1]]") == {"a": 1, "b": 0.1, "c": "x", "d": None, "e": [[1]]}
    with pytest.raises(AssertionError):
        options("a=[(a,b), [1,2], false")
    twice = parser.parse_args(["--options", "a=1", "--options", "b=2"]).options
    assert twice == {"b": 2}
    monkeypatch.setattr(sys, "argv", ["train.py", str(configs / "base.py")])
    own, cfg = mmcv.Config.auto_argparser("of a training")
    assert cfg.item4 == "test"
    assert own.parse_args([str(configs / "base.py"), "--item2.a", "7"]).__dict__["item2.a"] == 7
