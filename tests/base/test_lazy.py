import copy
import json
import os
import pickle
import sys

import pytest

from trainwright.base.errors import ConfigError, CustomImportError
from trainwright.base.lazy import LazyAttr, LazyObject, is_lazy, lazily


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that is gone from sys.modules after the test."""
    folder = tmp_path / "tw_lazy_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("__version__ = '7'\n")
    (folder / "models.py").write_text("class Net:\n    depth = 3\n    def __init__(self, n=1):\n        self.n = n\n")
    (folder / "broken.py").write_text("raise RuntimeError('no gpu')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "tw_lazy_pkg"
    for name in [name for name in sys.modules if name.startswith("tw_lazy_pkg")]:
        del sys.modules[name]


def test_nothing_is_imported_before_it_is_built(package):
    net = LazyObject(f"{package}.models", "Net")
    assert net.dotted == "tw_lazy_pkg.models.Net"
    assert package not in sys.modules
    built = net.build()
    assert built.depth == 3
    assert built is sys.modules["tw_lazy_pkg.models"].Net


@pytest.mark.parametrize(
    ("lazy", "dotted", "module", "text"),
    [
        (LazyObject("json"), "json", "json", "json"),
        (LazyObject("json", "loads"), "json.loads", "json", "loads"),
        (LazyObject("json").decoder.JSONDecoder, "json.decoder.JSONDecoder", "json.decoder", "JSONDecoder"),
        (LazyObject(["os.path", "os"]), "os", "os", "os"),
        (LazyObject(["os.path"]).path.join, "os.path.join", "os.path", "join"),
    ],
)
def test_what_it_names_and_builds(lazy, dotted, module, text):
    assert (lazy.dotted, lazy.module, str(lazy), repr(lazy)) == (dotted, module, text, dotted)
    expected = {
        "json": json,
        "json.loads": json.loads,
        "json.decoder.JSONDecoder": json.JSONDecoder,
        "os": os,
        "os.path.join": os.path.join,
    }[dotted]
    assert lazy.build() is expected


def test_a_module_of_a_package_is_found_as_a_name_of_it(package):
    assert LazyObject(package, "models").build().Net.depth == 3
    assert LazyObject(package).models.Net.depth.build() == 3
    with lazily():
        version = LazyObject(package).__version__
    assert version.build() == "7"


def test_calls_are_noted_while_reading_and_made_afterwards(package):
    net = LazyObject(f"{package}.models", "Net")
    with lazily():
        assert is_lazy()
        made = net(n=net.depth)
        table = LazyObject("collections", "OrderedDict")([("a", [net]), ("b", {"c": net.depth})]).copy()
    assert not is_lazy()
    assert made.dotted == "tw_lazy_pkg.models.Net(n=tw_lazy_pkg.models.Net.depth)"
    assert made.build().n == 3
    assert table.build() == {"a": [net.build()], "b": {"c": 3}}
    assert net(4).n == 4  # after reading, a call is a call


def test_what_a_call_gives_is_not_known_while_reading():
    with lazily():
        called = LazyObject("torch.cuda", "is_available")()
        with pytest.raises(
            ConfigError, match=r"whether torch.cuda.is_available\(\) is true is not known while the con"
        ):
            bool(called)
        with pytest.raises(ConfigError, match=r"the text of torch.cuda.is_available\(\).name is not known while the"):
            f"{called.name}"
        assert bool(LazyObject("torch"))
        assert LazyObject("torch").__name__.dotted == "torch.__name__"
        assert f"{LazyObject('torch.optim', 'SGD')}" == "SGD"


def test_a_class_cannot_inherit_from_what_is_not_imported():
    with pytest.raises(ConfigError, match=r"a class in a config cannot inherit from lib.Base, which is not imported"):

        class Own(LazyObject("lib", "Base")):
            pass


def test_what_it_holds_is_not_known():
    table = LazyObject("lib", "TABLE")
    with pytest.raises(TypeError, match=r"lib.TABLE\['a'\]: what it holds is not known while the config is read"):
        table["a"]
    with pytest.raises(ConfigError, match="lib.TABLE cannot be gone through: what it holds is not known while"):
        list(table)


def test_equality_is_by_what_is_named():
    sgd = LazyObject("torch.optim", "SGD", "a.py, line 1")
    assert sgd == LazyObject("torch.optim", "SGD", "b.py, line 2")
    assert sgd == LazyObject("torch").optim.SGD
    assert len({sgd, LazyObject("torch").optim.SGD}) == 1
    assert sgd != LazyObject("torch.optim", "Adam")
    assert sgd != "torch.optim.SGD"
    assert LazyObject("json.decoder", "JSONDecoder") == json.JSONDecoder
    assert LazyObject("json", "loads") != json.dumps
    with lazily():
        assert sgd(1) == LazyObject("torch.optim", "SGD")(1)
        assert sgd(1) != sgd(2)
        assert hash(sgd(1)) == hash(sgd(2))  # arguments may be lists, which have no hash


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda lazy: pickle.loads(pickle.dumps(lazy))])
def test_copies_are_equal(make):
    with lazily():
        values = [LazyObject("a.b", "C"), LazyObject(["a.b", "a.c"]).d, LazyObject("a").b(1, x=[LazyObject("c")]).d]
    for lazy in values:
        assert make(lazy) == lazy
        assert make(lazy).location == lazy.location


def test_what_cannot_be_imported_says_where_it_is_named(package):
    with pytest.raises(
        CustomImportError, match=r"cannot import 'tw_nowhere.A', which is named in a.py, line 3. ModuleN"
    ):
        LazyObject("tw_nowhere", "A", "a.py, line 3").build()
    with pytest.raises(
        ImportError, match=r"cannot import 'tw_lazy_pkg.models.Nett'. AttributeError: .* no attribute 'N"
    ):
        LazyObject(f"{package}.models", "Nett").build()
    with pytest.raises(CustomImportError, match=r"cannot import 'tw_lazy_pkg.heads'"):
        LazyObject(package, "heads").build()
    with pytest.raises(RuntimeError, match="no gpu") as info:
        LazyObject(f"{package}.broken", "X", "a.py, line 3").build()
    assert info.value.__notes__ == ["while importing 'tw_lazy_pkg.broken.X', which is named in a.py, line 3"]


def test_wrong_arguments_and_protocols():
    assert LazyAttr is LazyObject
    with pytest.raises(TypeError, match=r"module must be a module's name or a list of them, got \[\]"):
        LazyObject([])
    with pytest.raises(TypeError, match="imported must be a name or None, got 3"):
        LazyObject("a", 3)
    with pytest.raises(AttributeError, match="__wrapped__"):
        LazyObject("a").__wrapped__  # noqa: B018
