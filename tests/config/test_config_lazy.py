import argparse
import collections
import json
import pickle
import sys

import pytest

from trainwright.base.errors import ConfigError, CustomImportError
from trainwright.base.lazy import lazily
from trainwright.config import Config, ConfigDict, LazyObject, read_base

DECODER = LazyObject("json.decoder", "JSONDecoder")


@pytest.fixture
def cfg():
    return ConfigDict(type=DECODER, items_=[DECODER], n=1, inner={"type": DECODER})


def test_every_way_of_taking_out_builds(cfg):
    built = json.JSONDecoder
    assert cfg["type"] is cfg.type is cfg.get("type") is cfg.inner.type is built
    assert list(cfg.values())[0] is built
    assert dict(cfg.items())["type"] is built
    assert dict(cfg)["type"] is built
    assert dict(**cfg)["type"] is built
    assert {**cfg}["type"] is built
    assert cfg.setdefault("type", 3) is built
    assert cfg.copy().pop("type") is built
    assert ConfigDict(a=DECODER).popitem() == ("a", built)
    assert cfg.get("missing", DECODER) is built
    assert cfg["items_"] == [DECODER]  # as in MMEngine, lists are left as they are


def test_looking_does_not_build():
    absent = LazyObject("tw_not_installed", "X")
    cfg = ConfigDict(type=absent, inner={"type": absent})
    assert cfg == {"type": absent, "inner": {"type": absent}}
    assert cfg.to_dict() == {"type": "tw_not_installed.X", "inner": {"type": "tw_not_installed.X"}}
    assert cfg._to_lazy_dict() == {"type": absent, "inner": {"type": absent}}
    assert list(cfg) == ["type", "inner"]
    assert "type" in cfg
    assert repr(cfg) == "{'type': tw_not_installed.X, 'inner': {'type': tw_not_installed.X}}"
    for other in (cfg.copy(), cfg.deepcopy(), cfg | {}, pickle.loads(pickle.dumps(cfg)), ConfigDict(cfg)):
        assert other == cfg
        assert dict.get(other, "type") == absent
    cfg.update({"inner": {"n": 1}})
    cfg.merge({"inner": {"n": 2}, "other": absent})
    assert cfg.to_dict()["inner"] == {"type": "tw_not_installed.X", "n": 2}
    with lazily():
        assert cfg.type == cfg["type"] == absent
    with pytest.raises(CustomImportError, match=r"cannot import 'tw_not_installed.X'"):
        cfg.type  # noqa: B018


def test_the_class_attribute_lazy_shows_lazy_objects(cfg, monkeypatch):
    monkeypatch.setattr(ConfigDict, "lazy", True)
    assert cfg.type == DECODER


def test_merge_is_that_of_a_config_into_its_base():
    cfg = ConfigDict(a={"x": 1, "y": {"z": 1}}, b=[1], c=3)
    cfg.merge({"a": {"y": {"_delete_": True, "w": 2}}, "b": {"_delete_": True, "k": 1}, "d": {"e": 1}})
    assert cfg == {"a": {"x": 1, "y": {"w": 2}}, "b": {"k": 1}, "c": 3, "d": {"e": 1}}
    assert isinstance(cfg.a.y, ConfigDict)


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def write(tmp_path):
    def make(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return make


def test_reading_the_import_syntax_imports_no_library(write):
    write("base.py", "from colorsys_not_there import A\nimport decimal_not_there.x as d\nmodel = dict(type=A, d=d.Y)\n")
    path = write("a.py", "with read_base():\n    from .base import *\nmodel.update(dict(n=d.Z(1)))\n")
    before = set(sys.modules)
    cfg = Config.fromfile(path)
    assert cfg.to_dict() == {
        "model": {"type": "colorsys_not_there.A", "d": "decimal_not_there.x.Y", "n": "decimal_not_there.x.Z(1)"}
    }
    assert not [name for name in set(sys.modules) - before if "not_there" in name]
    assert set(cfg.to_dict(keep_imported=True)) == {"A", "d", "model"}


def test_a_name_that_was_imported_and_given_a_value_is_a_setting(write):
    cfg = Config.fromfile(write("a.py", "from lib_not_there import metric, other\nmetric = dict(type=other)\n"))
    assert cfg.to_dict() == {"metric": {"type": "lib_not_there.other"}}


def test_a_test_of_an_unknown_value_names_its_line(write):
    path = write("a.py", "import torch.cuda\nif torch.cuda.is_available():\n    x = 1\n")
    with pytest.raises(ConfigError, match=r"a.py:2: whether torch.cuda.is_available\(\) is true is not known"):
        Config.fromfile(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("with read_base():\n    from .base import nme\n", "2: there is no 'nme' in .*base.py. Did you mean 'name'?"),
        ("with read_base():\n    from .bas import *\n", "2: read_base.. names '.bas', but .* Did you mean 'base.py'?"),
        ("with read_base():\n    x = 1\n", "2: within `with read_base..:` only `from .file import name`"),
        ("with read_base():\n    from . import base\n", "2: within `with read_base..:` only `from .file import name`"),
        ("with read_base():\n    from base import *\n", "2: from base import ...: a base is a config file, as in"),
        ("with read_base():\n    from tw_no.base import *\n", "2: 'tw_no.base' names a config of the package 'tw_no'"),
        ("with read_base():\n    from json.base import *\n", "2: 'json.base' does not exist; looked for "),
        ("with read_base():\n    from .a import *\n", "2: .*_base_ goes in a circle"),
        ("from tw_lib import *\n", "1: `from tw_lib import .*` cannot be read outside of `with read_base"),
    ],
)
def test_mistakes_of_the_import_syntax(write, text, message):
    write("base.py", "name = 1\n")
    with pytest.raises(ConfigError, match=rf"a\.py:{message}") as info:
        Config.fromfile(write("a.py", text))
    assert info.value.lineno is not None


def test_a_package_finds_its_own_configs_without_being_installed(tmp_path):
    folder = tmp_path / "tw_bench" / "configs" / "models"
    folder.mkdir(parents=True)
    (folder / "base.py").write_text("n = 3\n")
    child = tmp_path / "tw_bench" / "configs" / "a.py"
    child.write_text("with read_base():\n    from tw_bench.configs.models.base import n as m\n")
    assert Config.fromfile(child).to_dict() == {"m": 3}


@pytest.mark.parametrize("trusted", [True, False])
def test_what_a_base_names_by_an_assignment_is_a_setting(write, trusted):
    write("base.py", "from lib_no import A, B\nkind = A.x\nother = B\n")
    star = write("star.py", "with read_base():\n    from .base import *\n")
    named = write("named.py", "with read_base():\n    from .base import kind as k, B as b, other\nc = b\n")
    mixed = write("mixed.py", "_base_ = 'star.py'\nn = _base_.kind\n")
    assert Config.fromfile(star, trusted=trusted).to_dict() == {"kind": "lib_no.A.x", "other": "lib_no.B"}
    assert Config.fromfile(named, trusted=trusted).to_dict() == {
        "k": "lib_no.A.x",
        "other": "lib_no.B",
        "c": "lib_no.B",
    }
    assert Config.fromfile(mixed, trusted=trusted).to_dict()["n"] == "lib_no.A.x"


@pytest.mark.parametrize("trusted", [True, False])
def test_a_list_grows_in_place(write, trusted):
    write("base.py", "a = dict(b=[1])\n")
    path = write("c.py", "_base_ = 'base.py'\nx = _base_.a.b\nx += [2]\n")
    assert Config.fromfile(path, trusted=trusted).to_dict() == {"a": {"b": [1, 2]}, "x": [1, 2]}


def test_a_base_of_the_import_syntax_has_it_too(write):
    write(
        "prompts.py",
        "import math\ndef ask(x):\n    return f'{{{x}}}' + str(math.floor(x))\nwords = '{{ fileBasename }}'\n",
    )
    path = write("a.py", "with read_base():\n    from .prompts import ask, words\na = ask(1.5)\n")
    cfg = Config.fromfile(path)
    assert (cfg["a"], cfg["words"]) == ("{1.5}1", "{{ fileBasename }}")


def test_read_base_does_nothing_outside_of_a_config():
    with read_base():
        pass


def test_the_helpers_of_a_base_reach_who_imports_it(write):
    base = "from copy import deepcopy\nimport math\nfrom lib_no import A\ndef double(x):\n    return 2 * x\na = [A]\n"
    write("base.py", base)
    text = "with read_base():\n    from .base import *\n    from .base import double as twice\n"
    text += "b = deepcopy(a) + [double(math.floor(1.5))]\n"
    cfg = Config.fromfile(write("a.py", text))
    assert {key: value for key, value in cfg.to_dict().items() if not callable(value)} == {
        "a": ["lib_no.A"],
        "b": ["lib_no.A", 2],
    }
    assert pickle.loads(pickle.dumps(cfg)).to_dict() == {"a": ["lib_no.A"], "b": ["lib_no.A", 2]}


# -- written -----------------------------------------------------------------------------------------------------------
def test_a_lazy_config_is_written_with_its_imports(write):
    text = (
        "from lib_a import A as B\nfrom lib_a.b import dict as lib_dict\nimport lib_b.c\nimport lib_c as c\n"
        "A = 3\nx = dict(type=B, f=lib_b.c.D.e, g=c, h=[c.F(1, k=B, **{'a-b': 2}).g], i=lib_dict)\n"
    )
    cfg = Config.fromfile(write("a.py", text))
    assert cfg.pretty_text == (
        "from lib_a import A as B\nfrom lib_a.b import dict as lib_dict\nimport lib_b.c\nimport lib_c as c\n\n"
        'A = 3\nx = dict(type=B, f=lib_b.c.D.e, g=c, h=[c.F(1, k=B, **{"a-b": 2}).g], i=lib_dict)\n'
    )
    again = Config.fromfile(write("b.py", cfg.pretty_text))
    assert again._to_lazy_dict(keep_imported=True) == cfg._to_lazy_dict(keep_imported=True)


def test_names_that_are_taken_are_avoided():
    with lazily():
        tree = {"SGD": 1, "a": LazyObject("lib", "SGD"), "b": LazyObject("other", "SGD"), "c": LazyObject("lib.x")}
    cfg = Config(tree)
    assert cfg.pretty_text == (
        "from lib import SGD as SGD_2\nfrom other import SGD as SGD_3\nimport lib.x as x\n\n"
        "SGD = 1\na = SGD_2\nb = SGD_3\nc = x\n"
    )
    assert Config.fromstring(cfg.pretty_text, ".py")._to_lazy_dict() == tree


def test_classes_are_written_as_imports():
    cfg = Config(
        {"type": collections.OrderedDict, "kind": int, "f": json.dumps, "local": test_names_that_are_taken_are_avoided}
    )
    text = cfg.pretty_text
    assert "from collections import OrderedDict\n" in text
    assert "kind = int\n" in text
    again = Config.fromstring(text, ".py")
    assert again._to_lazy_dict() == cfg._to_lazy_dict()
    assert again.type is collections.OrderedDict


# -- auto_argparser ----------------------------------------------------------------------------------------------------
def test_auto_argparser(write, monkeypatch):
    text = "lr = 0.1\nn = 3\nname = 'a'\nflag = False\nsizes = [1, 2]\nmodel = dict(depth=18)\nnothing = None\n"
    monkeypatch.setattr(sys, "argv", ["prog", write("a.py", text), "--lr", "1", "--model.depth", "50", "--flag"])
    parser, cfg = Config.auto_argparser("what it does")
    assert isinstance(parser, argparse.ArgumentParser)
    assert "what it does" in parser.format_help()
    options = vars(parser.parse_args([*sys.argv[1:], "--sizes", "3", "4"]))
    assert options["lr"] == 1.0
    assert options["model.depth"] == 50
    assert options["flag"] is True
    assert options["sizes"] == [3, 4]
    assert options["name"] is None
    assert "nothing" not in options
    assert cfg.model.depth == 18
