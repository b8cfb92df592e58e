"""Config: reading, overriding and writing."""

import argparse
import copy
import json
import os
import pickle
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


SIMPLE = "item1 = [1, 2]\nitem2 = {'a': 0}\nitem3 = True\nitem4 = 'test'\n"


def test_init(file):
    from mmengine.config import Config

    assert (Config().filename, Config().text, len(Config()), Config()._cfg_dict) == (None, "", 0, {})
    cfg = Config({"a": 1}, filename=file("x.py", "a = 1"))
    assert cfg.text
    assert cfg.a == 1
    with pytest.raises(TypeError):
        Config([0, 1])
    for name in ("filename", "text", "pretty_text", "env_variables"):
        with pytest.raises(KeyError):
            Config({name: 1})


@pytest.mark.parametrize("suffix", ["py", "json", "yaml"])
def test_files(file, suffix):
    from mmengine.config import Config

    tree = {"item1": [1, 2], "item2": {"a": 0}, "item3": True, "item4": "test"}
    path = file(f"simple.{suffix}", SIMPLE if suffix == "py" else json.dumps(tree))
    for given in (path, Path(path)):
        cfg = Config.fromfile(given)
        assert cfg._cfg_dict == cfg._cfg_dict.to_dict() == tree
        assert str(cfg.filename) == path
        assert Path(path).read_text() in cfg.text
    again = Config.fromstring(cfg.pretty_text, ".py")
    assert again._cfg_dict == tree
    text = json.dumps(tree)
    for kind in (".json", ".yaml", ".yml"):
        assert Config.fromstring(text, kind)._cfg_dict == tree
    with pytest.raises(OSError, match="."):
        Config.fromstring(text, ".xml")
    with pytest.raises(FileNotFoundError):
        Config.fromfile("no_such_file.py")
    with pytest.raises(OSError, match="."):
        Config.fromfile(file("color.jpg", "x"))


def test_magic_methods(file):
    from mmengine.config import Config

    path = file("simple.py", SIMPLE)
    cfg = Config.fromfile(path)
    assert len(cfg) == 4
    assert set(cfg) == {"item1", "item2", "item3", "item4"}
    assert cfg["item1"] == cfg.item1 == [1, 2]
    assert cfg.item2.a == cfg["item2"]["a"] == 0
    cfg["item5"], cfg.item6 = {"a": {"b": None}}, 6
    assert cfg.item5.a.b is None
    assert "item6" in cfg
    with pytest.raises(AttributeError):
        _ = cfg.not_exist
    with pytest.raises(KeyError):
        _ = cfg["not_exist"]
    assert repr(cfg) == f"Config (path: {path}): {cfg._cfg_dict.__repr__()}"
    assert cfg.get("nothing", 3) == 3
    assert cfg.pop("item6") == 6
    assert not hasattr(cfg, "item6")


def test_merge_from_dict(file):
    from mmengine.config import Config

    cfg = Config.fromfile(file("simple.py", SIMPLE))
    cfg.merge_from_dict({"item2.a": 1, "item2.b": 0.1, "item3": False, "new.deep": "x"})
    assert cfg.item2 == {"a": 1, "b": 0.1}
    assert cfg.item3 is False
    assert cfg.new.deep == "x"
    cfg.item1 = [{"a": 0}, {"b": 0}]
    cfg.merge_from_dict({"item1.0.a": 1, "item1.1.c": 2})
    assert cfg.item1 == [{"a": 1}, {"b": 0, "c": 2}]
    with pytest.raises(TypeError):
        cfg.merge_from_dict({"item1.0.a": 1}, allow_list_keys=False)
    with pytest.raises(KeyError):
        cfg.merge_from_dict({"item1.2.a": 1})


def test_auto_argparser(file, monkeypatch):
    from mmengine.config import Config

    monkeypatch.setattr(sys, "argv", ["x", file("simple.py", SIMPLE + "item5 = 1.5\nitem6 = 2\n")])
    parser, cfg = Config.auto_argparser("what it is")
    options = {action.dest for action in parser._actions}
    assert {"config", "item1", "item2.a", "item3", "item4", "item5", "item6"} <= options
    assert cfg.item4 == "test"


def test_options():
    from mmengine.config import Config, DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="+", action=DictAction)
    given = ["item2.a=1", "item2.b=0.1", "item2.c=x", "item3=false", "item4=None", "item5=a,b"]
    given += ["item6=[(1,2),(3,4)]", "item7=[a,b,c]", "item8=True", "item9=(a,b)", "item10=[1]", "item11=[]"]
    options = parser.parse_args(["--options", *given]).options
    assert options["item2.a"] == 1
    assert options["item2.b"] == 0.1
    assert options["item2.c"] == "x"
    assert (options["item3"], options["item4"], options["item8"]) == (False, None, True)
    assert options["item5"] == ["a", "b"]
    assert options["item6"] == [(1, 2), (3, 4)]
    assert options["item7"] == ["a", "b", "c"]
    assert options["item9"] == ("a", "b")
    assert options["item10"] == [1]
    assert options["item11"] == []
    cfg = Config({"item2": {"a": 0}})
    cfg.merge_from_dict(options)
    assert cfg.item2 == {"a": 1, "b": 0.1, "c": "x"}
    for wrong in ("item=[(a,b), [1,2], false", "item=[a,b", "item=(a,b"):
        with pytest.raises(AssertionError):
            parser.parse_args(["--options", wrong])
    quoted = parser.parse_args(["--options", "a='x,y'", 'b="[1,2]"']).options
    assert set(quoted) == {"a", "b"}


def test_predefined_and_environment_variables(file, monkeypatch):
    from mmengine.config import Config

    text = (
        "a = '{{ fileDirname }}'\nb = '{{fileBasename}}'\nc = '{{ fileBasenameNoExtension}}'\nd = '{{fileExtname }}'\n"
    )
    path = file("folder/vars.py", text)
    cfg = Config.fromfile(path)
    assert cfg._cfg_dict == {"a": os.path.dirname(path), "b": "vars.py", "c": "vars", "d": ".py"}
    assert "{{" in Config.fromfile(path, use_predefined_variables=False).a
    text = "a = '{{$MME_TEST_A:}}'\nb = {{'$MME_TEST_B:80'}}\nc = {'d': \"{{ $MME_TEST_C:x }}\"}\n"
    path = file("folder/env.py", text)
    with pytest.raises(KeyError, match="MME_TEST_A"):
        Config.fromfile(path)
    monkeypatch.setenv("MME_TEST_A", "text")
    cfg = Config.fromfile(path)
    assert cfg._cfg_dict == {"a": "text", "b": 80, "c": {"d": "x"}}
    assert cfg.env_variables["MME_TEST_A"] == "text"


def test_bases(file):
    from mmengine.config import Config

    file("base1.py", "item1 = [1, 2]\nitem2 = dict(a=dict(b=1, c=2), d=3)\n")
    file("base2.yaml", "item3: true\n")
    file("base3.json", '{"item4": "test", "item7": {"x": 1}}')
    text = "_base_ = ['./base1.py', './base2.yaml', './base3.json']\n"
    text += "item2 = dict(a=dict(b=9), e=_base_.item1)\nitem5 = {{_base_.item2.a}}\nitem6 = f'{_base_.item4}!'\n"
    text += "item7 = dict(_delete_=True, y=2)\n"
    cfg = Config.fromfile(file("child.py", text))
    assert cfg.item2.to_dict()["a"] == {"b": 9, "c": 2}
    assert cfg.item2.d == 3
    assert cfg.item5 == {"b": 1, "c": 2}
    assert (cfg.item3, cfg.item4, cfg.item6) == (True, "test", "test!")
    assert cfg.item7 == {"y": 2}
    file("same.py", "item1 = 2\n")
    with pytest.raises(KeyError):
        Config.fromfile(file("twice.py", "_base_ = ['./base1.py', './same.py']\n"))
    with pytest.raises(TypeError, match="item1|item2"):
        Config.fromfile(file("kinds.py", "_base_ = ['./base1.py']\nitem2 = [1]\nitem1 = dict(a=1)\n"))


def test_custom_imports(file, tmp_path, monkeypatch):
    from mmengine.config import Config

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("TEST_VALUE", raising=False)
    for name in ("r1", "r2"):
        file(f"mme_imported_{name}.py", "import os\nos.environ['TEST_VALUE'] = 'set'\n")
        sys.modules.pop(f"mme_imported_{name}", None)
    text = "custom_imports = dict(imports=['mme_imported_r1', 'mme_imported_r2'], allow_failed_imports=False)\n"
    cfg = Config.fromfile(file("imports.py", text))
    assert os.environ.pop("TEST_VALUE") == "set"
    assert cfg.custom_imports.imports == ["mme_imported_r1", "mme_imported_r2"]
    with pytest.raises(ImportError):
        Config.fromfile(
            file("fails.py", "custom_imports = dict(imports=['mme_no_such'], allow_failed_imports=False)\n")
        )
    with pytest.warns(UserWarning, match="mme_no_such"):
        Config.fromfile(file("warns.py", "custom_imports = dict(imports=['mme_no_such'], allow_failed_imports=True)\n"))
    for name in ("r1", "r2"):
        sys.modules.pop(f"mme_imported_{name}", None)


def test_dump_and_pretty_text(file, tmp_path):
    from mmengine.config import Config

    cfg = Config.fromfile(
        file("simple.py", SIMPLE + "item5 = dict(a=(1, 2), b='it\\'s', c=None, d={'x-y': 1, 2: 3})\n")
    )
    for suffix in ("py", "json", "yaml"):
        if suffix != "py":
            cfg.item5 = {"a": [1, 2]}
        out = str(tmp_path / f"out.{suffix}")
        cfg.dump(out)
        assert Config.fromfile(out)._cfg_dict == cfg._cfg_dict
    assert cfg.dump() == cfg.pretty_text
    assert Config.fromstring(cfg.pretty_text, ".py")._cfg_dict == cfg._cfg_dict


def test_deprecated_configs(file):
    from mmengine.config import Config

    file("new.py", "item1 = 1\n")
    path = file("old.py", "_base_ = './new.py'\n_deprecation_ = dict(expected='new.py', reference='a page')\n")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        cfg = Config.fromfile(path)
    assert cfg.item1 == 1


def test_copies_and_pickles(file):
    from mmengine.config import Config

    cfg = Config.fromfile(file("simple.py", SIMPLE))
    deep, shallow = copy.deepcopy(cfg), copy.copy(cfg)
    twin = pickle.loads(pickle.dumps(cfg))
    for one in (deep, shallow, twin):
        assert isinstance(one, Config)
        assert (one._cfg_dict, one.filename, one.text) == (cfg._cfg_dict, cfg.filename, cfg.text)
    assert deep._cfg_dict["item2"] is not cfg._cfg_dict["item2"]
    assert type(twin.item2) is type(cfg.item2)


def test_a_file_with_a_mistake(file):
    from mmengine.config import Config

    with pytest.raises(SyntaxError, match="invalid binary literal"):
        Config.fromfile(file("wrong.py", "a = 0b = dict(c=1)\n"))


def test_config_dict():
    from mmengine.config import ConfigDict

    cfg = ConfigDict(a=ConfigDict(b={"c": 1}), d=[{"e": 2}])
    assert cfg.a.b.c == cfg.get("a").b.c == 1
    assert cfg.d[0].e == 2
    assert isinstance(cfg.d[0], ConfigDict)
    cfg.setdefault("f", {"g": 1})
    cfg.update({"h": {"i": 2}}, j=3)
    assert (cfg.h.i, cfg.j) == (2, 3)
    assert cfg.get("nothing") is None
    assert cfg.pop("j") == 3
    assert cfg.pop("j", 4) == 4
    with pytest.raises(AttributeError):
        _ = cfg.nothing
    assert type(cfg.to_dict()["a"]) is dict
    for one in (copy.copy(cfg), copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert one == cfg
        assert type(one) is ConfigDict
    assert dict(**cfg) == cfg
    assert set(cfg) == set(cfg.keys())


def test_scripts_read_values_of_their_own_options_with_dict_action():
    from mmengine.config import DictAction

    parse = DictAction._parse_iterable
    assert parse("1,2,3") == [1, 2, 3]
    assert parse("[a, b, c]") == ["a", "b", "c"]
    assert parse("[(1, 2, 3), [a, b], c]") == [(1, 2, 3), ["a", "b"], "c"]
    assert [parse(text) for text in ("0.5", "true", "None", "Accuracy")] == [0.5, True, None, "Accuracy"]
    assert DictAction._parse_int_float_bool("1,2") == "1,2"
