import json
import os
from pathlib import Path

import pytest

from trainwright.base.errors import ConfigError, ConfigNotFoundError, ConfigTypeError
from trainwright.config import Config, ConfigDict


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


def error_of(path, kind=ConfigError, **kwargs):
    with pytest.raises(kind) as info:
        Config.fromfile(path, **kwargs)
    return str(info.value)


# -- what stays of a Python file ---------------------------------------------------------------------------------------
def test_a_python_file_keeps_values_and_drops_modules_functions_and_dunder_names(write):
    path = write(
        "a.py",
        "import os\nimport os.path as osp\ndef helper(n):\n    return [scale * i for i in range(n)]\n"
        "scale = 2\nsizes = helper(3)\nmodel = dict(stages=[dict(depth=1)], pair=(dict(a=1), 2))\n"
        "__hidden__ = 1\n_kept = 1\nhere = osp.basename(__file__)\nident = lambda x: x\n",
    )
    cfg = Config.fromfile(path)
    assert cfg.to_dict() == {
        "scale": 2,
        "sizes": [0, 2, 4],
        "model": {"stages": [{"depth": 1}], "pair": ({"a": 1}, 2)},
        "_kept": 1,
        "here": "a.py",
    }
    assert isinstance(cfg.model.stages[0], ConfigDict)
    assert isinstance(cfg.model.pair[0], ConfigDict)
    assert cfg.filename == path
    assert cfg.text == f"{path}\n{Path(path).read_text()}\n"


def test_classes_stay_as_values(write):
    cfg = Config.fromfile(write("a.py", "from fractions import Fraction\nmodel = dict(type=Fraction)\n"))
    from fractions import Fraction

    assert cfg.model.type is Fraction


def test_a_value_used_twice_becomes_two_values(write):
    cfg = Config.fromfile(write("a.py", "norm = dict(type='BN')\na = dict(norm=norm)\nb = dict(norm=norm)\n"))
    cfg.a.norm.type = "LN"
    assert cfg.b.norm.type == "BN"


def test_reading_leaves_nothing_beside_the_file(write, tmp_path):
    write("base.py", "a = 1\n")
    Config.fromfile(write("child.py", "_base_ = 'base.py'\n"))
    assert sorted(os.listdir(tmp_path)) == ["base.py", "child.py"]


# -- bases -------------------------------------------------------------------------------------------------------------
def test_a_child_overrides_nested_keys_of_its_bases(write):
    write("base/model.py", "model = dict(type='Net', head=dict(classes=10, loss=dict(type='CE')), depth=18)\n")
    write("base/data.py", "data = dict(size=32)\nsteps = [1, 2]\n")
    write("mid.py", "_base_ = ['base/model.py', './base/data.py']\nmodel = dict(depth=50)\n")
    cfg = Config.fromfile(
        write(
            "child.py",
            "_base_ = 'mid.py'\nmodel = dict(head=dict(loss=dict(_delete_=True, type='MSE')))\nsteps = [3]\n",
        )
    )
    assert cfg.to_dict() == {
        "model": {"type": "Net", "head": {"classes": 10, "loss": {"type": "MSE"}}, "depth": 50},
        "data": {"size": 32},
        "steps": [3],
    }
    assert (
        cfg.text.index("model.py") < cfg.text.index("data.py") < cfg.text.index("mid.py") < cfg.text.index("child.py")
    )


def test_values_of_the_base_are_at_hand_in_python(write):
    write("base.py", "pipeline = [dict(type='Load')]\nlr = 0.1\nold = 1\nnested = dict(a=dict(b=2))\n")
    cfg = Config.fromfile(
        write(
            "child.py",
            "_base_ = ['base.py']\npipeline = _base_.pipeline + [dict(type='Flip')]\nlr2 = _base_.lr * 2\n"
            "del _base_.old\n_base_.nested.a.b = 3\n_base_.nested.update(dict(a=dict(c=4)))\n_base_.extra = 5\n",
        )
    )
    assert cfg.to_dict() == {
        "pipeline": [{"type": "Load"}, {"type": "Flip"}],
        "lr": 0.1,
        "nested": {"a": {"b": 3, "c": 4}},
        "extra": 5,
        "lr2": 0.2,
    }


def test_a_key_from_two_bases_is_an_error_that_names_both_files(write):
    write("a.py", "x = 1\ny = 2\n")
    write("b.py", "x = 2\nz = 3\n")
    path = write("child.py", "\n_base_ = ['a.py', 'b.py']\n")
    message = error_of(path)
    assert message.startswith(f"{path}:2: two bases both define 'x': ")
    assert "a.py and " in message
    assert "b.py. A key may come from one base only" in message


def test_a_circle_of_bases_shows_the_chain(write):
    a = write("a.py", "_base_ = 'b.py'\n")
    b = write("b.py", "_base_ = 'c.yaml'\n")
    write("c.yaml", "_base_: d.json\n")
    write("d.json", '{"_base_": "c.yaml"}')
    message = error_of(a)
    assert "_base_ goes in a circle: " in message
    assert message.index("c.yaml ->") < message.index("d.json ->")
    write("c.yaml", "x: 1\n")
    write("b.py", "_base_ = './a.py'\n")
    assert f"{a} -> {b} -> {a}" in error_of(a)


def test_a_missing_file_suggests_its_neighbours(write, tmp_path):
    write("digits_cnn.py", "")
    message = error_of(tmp_path / "digit_cnn.py", FileNotFoundError)
    assert "digit_cnn.py' does not exist. Did you mean 'digits_cnn.py'?" in message
    assert "Its folder" in error_of(tmp_path / "no" / "a.py", ConfigNotFoundError)
    path = write("child.py", "x = 1\n_base_ = 'digits_cn.py'\n")
    message = error_of(path)
    assert f"{path}:2: _base_ names 'digits_cn.py', but " in message
    assert "Did you mean 'digits_cnn.py'?" in message


def test_an_error_in_a_base_names_the_base_and_who_inherits(write):
    base = write("base.py", "a = 1\nb = unknown_name\n")
    child = write("child.py", "_base_ = 'base.py'\n")
    with pytest.raises(ConfigError, match="unknown_name") as info:
        Config.fromfile(child)
    assert str(info.value).startswith(f"{base}:2: NameError")
    notes = getattr(info.value, "__notes__", None) or [str(info.value)]
    assert f"inherited by {child}:1" in notes[-1]


def test_bases_of_an_installed_package(tmp_path, monkeypatch, write):
    write("site/modelzoo_tw/__init__.py", "raise RuntimeError('not imported')\n")
    write("site/modelzoo_tw/.mim/configs/net/a.py", "x = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert Config.fromfile(write("c.py", "_base_ = 'modelzoo_tw::net/a.py'\n")).x == 1
    assert "looked for" in error_of(write("c.py", "_base_ = 'modelzoo_tw::net/b.py'\n"), ConfigNotFoundError)
    assert "package 'no_such_zoo', which is not installed" in error_of(write("c.py", "_base_ = 'no_such_zoo::a.py'\n"))


# -- substitution ------------------------------------------------------------------------------------------------------
def test_predefined_variables(write, tmp_path):
    text = "a = '{{ fileDirname }}'\nb = '{{fileBasename}} {{ fileBasenameNoExtension }} {{ fileExtname }}'\n"
    path = write("net.py", text)
    cfg = Config.fromfile(path)
    assert (cfg.a, cfg.b) == (str(tmp_path), "net.py net .py")
    assert Config.fromfile(path, use_predefined_variables=False).a == "{{ fileDirname }}"


def test_environment_variables(write, monkeypatch):
    monkeypatch.setenv("TW_ROOT", "/data")
    monkeypatch.delenv("TW_NONE", raising=False)
    text = "a = '{{ $TW_ROOT:/tmp }}/x'\nb = {{$TW_NONE:4}}\nc = '{{$TW_NONE:a:b}}'\nd = \"{{'$TW_NONE:q'}}\"\n"
    path = write("a.py", text + "e = '{{ $NO_COLON }}'\n")
    cfg = Config.fromfile(path)
    assert (cfg.a, cfg.b, cfg.c, cfg.d, cfg.e) == ("/data/x", 4, "a:b", "q", "{{ $NO_COLON }}")
    assert cfg.env_variables == {"TW_ROOT": "/data"}
    quoted = write("b.py", "c = '{{ $TW_ROOT:1 }}'\n")
    assert Config.fromfile(quoted, use_environment_variables=False).c == "{{ $TW_ROOT:1 }}"
    path = write("a.py", "x = 1\na = '{{ $TW_NONE: }}'\n")
    message = error_of(path)
    assert message.startswith(f"{path}:2: the environment variable 'TW_NONE' is not set")
    assert "write {{ $TW_NONE:default }}" in message


PY_REFERENCES = """
_base_ = 'b.json'
x = {{ _base_.item.a }}
y = dict(z=[{{_base_.item}}])
w = '{{ _base_.root }}/t'
v = f"{3}{{_base_.root}}"
"""
YAML_REFERENCES = """
_base_: b.json
x: {{ _base_.item.a }}
y:
  z: [{{_base_.item}}]
w: '{{ _base_.root }}/t'
v: 3{{_base_.root}}
"""
JSON_REFERENCES = """
{"_base_": ["b.json"], "x": {{ _base_.item.a }}, "y": {"z": ["{{_base_.item}}"]},
 "w": "{{_base_.root}}/t", "v": "3{{_base_.root}}"}
"""


@pytest.mark.parametrize(
    ("name", "text"), [("c.py", PY_REFERENCES), ("c.yaml", YAML_REFERENCES), ("c.json", JSON_REFERENCES)]
)
def test_references_to_the_base_in_every_format(write, name, text):
    write("b.json", '{"item": {"a": [1, 2]}, "root": "/data"}')
    cfg = Config.fromfile(write(name, text))
    assert cfg.to_dict() == {
        "item": {"a": [1, 2]},
        "root": "/data",
        "x": [1, 2],
        "y": {"z": [{"a": [1, 2]}]},
        "w": "/data/t",
        "v": "3/data",
    }
    cfg.x.append(3)
    assert cfg.item.a == [1, 2]


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("name", ["c.py", "c.yaml"])
def test_the_word_that_stands_for_the_base_is_no_text_of_the_users(write, name, trusted):
    write("b.json", '{"item": 1}')
    head = "_base_ = 'b.json'\nx = " if name == "c.py" else "_base_: b.json\nx: "
    path = write(name, head + "'__tw_base_0__'\n")
    assert Config.fromfile(path, trusted=trusted).x == "__tw_base_0__"
    path = write(name, head + "['__tw_base_7__', {{ _base_.item }}]\n")
    assert error_of(path, trusted=trusted).startswith(f"{path}:2: __tw_base_7__ is what {{{{ _base_ }}}} becomes here")


@pytest.mark.parametrize("name", ["c.py", "c.yaml", "c.json"])
def test_a_reference_to_nothing_says_what_the_base_has(write, name):
    write("b.py", "item = dict(depth=1)\n")
    write("b.json", '{"item": {"depth": 1}}')
    texts = {
        "c.py": "_base_ = 'b.py'\nx = {{ _base_.item.dept }}\n",
        "c.yaml": "_base_: b.json\nx: {{ _base_.item.dept }}\n",
        "c.json": '{"_base_": "b.json",\n"x": {{ _base_.item.dept }}}',
    }
    path = write(name, texts[name])
    message = error_of(path)
    assert message.startswith(f"{path}:2: ")
    assert "{{ _base_.item.dept }}: there is no key 'dept' in _base_.item. Did you mean 'depth'?" in message


# -- errors in files ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("a.py", "x = 1\ny = (\n", 2, "not valid Python: '(' was never closed"),
        ("a.py", "x = 1\nreturn 3\n", 2, "not valid Python: 'return' outside function"),
        ("a.py", "x = 1\ny = 1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("a.py", "def f():\n    return nothing\n\nx = f()\n", 2, "NameError: name 'nothing' is not defined"),
        ("a.py", "x = 1\nraise SystemExit(3)\n", 2, "SystemExit: 3"),
        ("a.py", "import json\nx = json.loads('[')\n", 2, "JSONDecodeError"),
        ("a.py", "_base_ = 3\n", 1, "_base_ must be a path or a list of paths, got 3"),
        ("a.py", "\n_base_ = [name]\n", 2, "_base_ must not need anything that the file defines. NameError"),
        (
            "a.py",
            "from x import read_base\nwith read_base():\n    from .b import *\n",
            3,
            "read_base() names '.b', but ",
        ),
        (
            "a.py",
            "if True:\n    _base_ = 'b.py'\nz = 1\n",
            2,
            "assign it once, at the left margin, as in _base_ = ['./",
        ),
        ("a.py", "z = 1\n_base_: str = 'b.py'\n", 2, "_base_ is read before the file runs"),
        ("a.py", "y = 1\nx = []\nx.append(x)\n", 2, "the value of 'x' contains itself"),
        ("a.json", '{"a": 1,\n "b": }', 2, "not valid JSON: Expecting value"),
        ("a.json", "[1, 2]", 1, "a config must be a mapping of keys to values, this file is a list"),
        ("a.yaml", "a: 1\nb: [1, 2\n", 3, "not valid YAML: did not find expected ',' or ']'"),
        ("a.yaml", "", 1, "this file is empty"),
        ("a.yaml", "a: 2020-99-99\n", 1, "not valid YAML: month must be in 1..12"),
        ("a.yaml", "a:\n " + "[" * 5000 + "]" * 5000, 2, "not valid YAML: nested too deep"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []\n", 1, "could not determine a constructor for the tag"),
        ("a.json", '{"a":\n' + "[" * 100_000, 2, "not valid JSON: nested too deep"),
        ("a.json", '{"a":\n' + "1" * 5000 + "}", 2, "not valid JSON: Exceeds the limit"),
        ("a.yaml", "a: 1\n_base_: b.py\n", 2, "_base_ of a data file may name data files only (.yaml, .yml, .json)"),
        ("a.yaml", "x: 1\n_base_: {a: 1}\n", 2, "_base_ must be a path or a list of paths, got {'a': 1}"),
        ("a.toml", "", None, "a config file ends in .py, .yaml, .yml, .json; got 'a.toml'"),
    ],
)
def test_an_error_in_a_file_names_file_and_line(write, name, text, line, message):
    path = write(name, text)
    place = path if line is None else f"{path}:{line}"
    found = error_of(path)
    assert found.startswith(f"{place}: ")
    assert message in found


def test_the_original_error_is_chained(write):
    with pytest.raises(ConfigError) as info:
        Config.fromfile(write("a.py", "x = {}['k']\n"))
    assert isinstance(info.value.__cause__, KeyError)
    assert info.value.lineno == 1


def test_a_file_that_is_no_text_and_one_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes(b"x = 1\ny = '\xff'\n")
    assert error_of(path).startswith(f"{path}:2: not UTF-8 text: ")
    (tmp_path / "b.py").mkdir()
    assert "b.py:1: cannot be read: " in error_of(tmp_path / "b.py")


def test_a_dict_over_something_else_names_the_key(write):
    write("base.py", "model = dict(head=3)\n")
    path = write("a.py", "_base_ = 'base.py'\nmodel = dict(head=dict(x=1))\n")
    message = error_of(path, ConfigTypeError)
    assert f"{path}:2: 'model.head' is a dict here but 3 of type int in the base" in message
    assert "write _delete_=True into the dict" in message


def test_lazy_import_chooses_the_syntax(write):
    path = write("a.py", "from decimal import Decimal\nfrom json.decoder import JSONDecoder as D\nx = dict(type=D)\n")
    assert set(Config.fromfile(path, lazy_import=False).to_dict()) == {"Decimal", "D", "x"}
    assert Config.fromfile(path, lazy_import=True).to_dict() == {"x": {"type": json.JSONDecoder}}
    text = "lazy_import=True reads the import syntax, in which _base_ has no meaning"
    assert text in error_of(write("b.py", "_base_ = 'a.py'\n"), lazy_import=True)


def test_deprecated_configs_warn(write):
    path = write("a.py", "x = 1\n_deprecation_ = dict(expected='b.py', reference='http://x')\n")
    with pytest.warns(DeprecationWarning, match=r"a.py is deprecated; use b.py instead. See http://x"):
        assert Config.fromfile(path).to_dict() == {"x": 1}


# -- data files --------------------------------------------------------------------------------------------------------
def test_data_files_execute_nothing(write, tmp_path):
    mark = tmp_path / "ran"
    path = write("a.yaml", f"x: !!python/object/apply:os.mkdir ['{mark}']\n")
    assert "not valid YAML" in error_of(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_data_files_import_nothing(write, name):
    path = write(name, '{"custom_imports": {"imports": ["tw_nowhere"]}, "x": 1}')
    message = error_of(path)
    assert "custom_imports is set, but a data file imports nothing" in message
    assert "import_custom_modules=False" in message
    assert Config.fromfile(path, import_custom_modules=False).custom_imports.imports == ["tw_nowhere"]


def test_data_files_inherit_from_data_files(write):
    write("a.json", '{"x": {"y": 1, "z": 2}}')
    assert Config.fromfile(write("b.yml", "_base_: ./a.json\nx: {y: 3}\n")).x == {"y": 3, "z": 2}


# -- from text ---------------------------------------------------------------------------------------------------------
def test_fromstring(write, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write("base.py", "x = 1\n")
    text = "_base_ = 'base.py'\ny = dict(a=[1])\n"
    cfg = Config.fromstring(text, ".py")
    assert cfg.to_dict() == {"x": 1, "y": {"a": [1]}}
    assert cfg.text == f"{tmp_path}/base.py\nx = 1\n\n{tmp_path}/<string>.py\n{text}\n"
    assert cfg.filename is None
    assert Config.fromstring("a: 1", ".yaml").a == 1
    assert Config.fromstring('{"a": 1}', ".json").a == 1
    assert Config.fromstring(text, ".py", trusted=False).to_dict() == cfg.to_dict()
    with pytest.raises(ConfigError, match=r"<string>.py:1: the call `open\('x'\)` would have to be run"):
        Config.fromstring("x = open('x')\n", ".py", trusted=False)
    with pytest.raises(ConfigError, match=r"<string>.py:2: NameError"):
        Config.fromstring("x = 1\ny = z\n", ".py")
    with pytest.raises(ConfigError, match=r"file_format must be one of .py, .yaml, .yml, .json, got '.ini'"):
        Config.fromstring("", ".ini")
