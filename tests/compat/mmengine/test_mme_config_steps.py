"""The steps of reading a config, which MMEngine's tests call one by one."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def Config():
    from mmengine.config import Config

    return Config


def written(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(text)
    return str(path)


@pytest.mark.parametrize("suffix", ["py", "yaml", "json"])
def test_predefined_variables(Config, tmp_path, suffix):
    pairs = {"item1": "{{fileBasename}}", "item2": "{{ fileDirname}}", "item3": "abc_{{ fileBasenameNoExtension }}"}
    texts = {
        "py": "\n".join(f"{key} = '{value}'" for key, value in pairs.items()),
        "yaml": "\n".join(f"{key}: '{value}'" for key, value in pairs.items()),
        "json": "{" + ", ".join(f'"{key}": "{value}"' for key, value in pairs.items()) + "}",
    }
    path = written(tmp_path, **{f"net__{suffix}": texts[suffix]})
    found = Config._file2dict(path)[0]
    assert found == {"item1": f"net.{suffix}", "item2": tmp_path.as_posix(), "item3": "abc_net"}
    assert Config._file2dict(path, False)[0] == pairs
    assert Config.fromfile(path, False)._cfg_dict == pairs
    assert Config.fromfile(path)["item3"] == "abc_net"


@pytest.mark.parametrize("suffix", ["py", "yaml"])
def test_environment_variables(Config, tmp_path, monkeypatch, suffix):
    sign = " = " if suffix == "py" else ": "
    lines = ["item1", "item2", "item3"]
    values = [
        "'{{ $TW_ITEM1: }}'",
        "'{{$TW_ITEM2:default}}'",
        "{{'$TW_ITEM3:80'}}" if suffix == "py" else "{{ $TW_ITEM3:80 }}",
    ]
    path = written(tmp_path, **{f"env__{suffix}": "\n".join(k + sign + v for k, v in zip(lines, values, strict=True))})
    with pytest.raises(KeyError):
        Config._file2dict(path)
    monkeypatch.setenv("TW_ITEM1", "60")
    tree, _, variables = Config._file2dict(path)
    assert tree == {"item1": "60", "item2": "default", "item3": 80}
    assert variables == {"TW_ITEM1": "60"}
    monkeypatch.setenv("TW_ITEM2", "new")
    monkeypatch.setenv("TW_ITEM3", "50")
    assert Config._file2dict(path)[0] == {"item1": "60", "item2": "new", "item3": 50}


def test_a_file_with_bases(Config, tmp_path):
    written(tmp_path, base__py="item1 = dict(a=1, b=2)\nitem2 = [1]\n")
    path = written(tmp_path, net__py="_base_ = './base.py'\nitem1 = dict(a=3)\nitem3 = {{_base_.item2}}\n")
    tree, text, variables = Config._file2dict(path)
    assert tree == {"item1": {"a": 3, "b": 2}, "item2": [1], "item3": [1]}
    assert variables == {}
    assert text.index("base.py\nitem1") < text.index("net.py\n_base_")
    assert Config._get_base_files(path) == ["./base.py"]
    assert Config._get_base_files(str(tmp_path / "base.py")) == []
    data = written(tmp_path, net__yaml="_base_: [base.yaml, other.yaml]\n")
    assert Config._get_base_files(data) == ["base.yaml", "other.yaml"]
    assert Config._get_cfg_path("./base.py", path) == (os.path.join(str(tmp_path), "./base.py"), None)


def test_files_that_cannot_be_read(Config, tmp_path):
    with pytest.raises(OSError, match="yaml"):
        Config._file2dict(written(tmp_path, net__xml="exist"))
    with pytest.raises(FileNotFoundError):
        Config._file2dict(str(tmp_path / "none.py"))
    broken = written(tmp_path, broken__py="a = 0b1\nb = dict(c)[\n")
    with pytest.raises(SyntaxError):
        Config._validate_py_syntax(broken)
    with pytest.raises(SyntaxError, match="There are syntax errors in config file"):
        Config.fromfile(broken, lazy_import=False)
    Config._validate_py_syntax(written(tmp_path, fine__py="a = 0b1\nb = 0"))


def test_substitution_writes_a_file(Config, tmp_path, monkeypatch):
    source = written(tmp_path, net__py="a='{{ fileDirname }}'\nb='{{ fileBasenameNoExtension }}{{ fileExtname }}'\n")
    done = tmp_path / "done.py"
    Config._substitute_predefined_vars(source, str(done))
    assert done.read_text() == f"a='{tmp_path.as_posix()}'\nb='net.py'\n"
    monkeypatch.setenv("TW_ITEM1", "60")
    source = written(tmp_path, env__py="a = {{ $TW_ITEM1:0 }}\nb = '{{ $TW_ITEM2:x }}'\nc = {{_base_.c}}\n")
    assert Config._substitute_env_variables(source, str(done)) == {"TW_ITEM1": "60"}
    assert done.read_text() == "a = 60\nb = 'x'\nc = {{_base_.c}}\n"


def test_references_to_the_base(Config, tmp_path):
    source = written(tmp_path, net__py="a = {{_base_.a}}\nb = [{{ _base_.b.c }}, dict(d={{_base_.a}})]\n")
    done = tmp_path / "done.py"
    keys = Config._pre_substitute_base_vars(source, str(done))
    assert sorted(keys.values()) == ["a", "b.c"]
    tree = {}
    exec(done.read_text(), {}, tree)
    assert keys[tree["a"]] == "a"
    assert keys[tree["b"][0]] == "b.c"
    assert tree["b"][1]["d"] == tree["a"]
    tree["t"] = (tree["a"], "text")
    filled = Config._substitute_base_vars(tree, keys, {"a": 1, "b": {"c": [2]}})
    assert filled == {"a": 1, "b": [[2], {"d": 1}], "t": (1, "text")}
    assert tree["a"] in keys  # a copy was filled


def test_one_dict_over_another(Config):
    base = {"obj": {"a": 1, "b": 2}, "items": [{"a": 1}, {"b": 2}]}
    assert Config._merge_a_into_b({"obj": {"a": 3}}, base)["obj"] == {"a": 3, "b": 2}
    assert Config._merge_a_into_b({"obj": {"_delete_": True, "a": 3}}, base)["obj"] == {"a": 3}
    assert Config._merge_a_into_b({"items": {"0": {"a": 5}}}, base, True)["items"] == [{"a": 5}, {"b": 2}]
    assert Config._merge_a_into_b({"0": {"a": 2}}, [{"a": 1}, {"b": 2}], True) == [{"a": 2}, {"b": 2}]
    with pytest.raises(TypeError, match="_delete_=True"):
        Config._merge_a_into_b({"items": {"a": 1}}, base)
    with pytest.raises(KeyError):
        Config._merge_a_into_b({"items": {"2": {"a": 1}}}, base, True)
    assert base == {"obj": {"a": 1, "b": 2}, "items": [{"a": 1}, {"b": 2}]}


def test_which_syntax_a_file_has(Config, tmp_path):
    assert Config._is_lazy_import(written(tmp_path, lazy__py="from torch import nn\na = dict(type=nn.ReLU)\n"))
    assert Config._is_lazy_import(
        written(
            tmp_path, read__py="from mmengine.config import read_base\nwith read_base():\n    from .lazy import a\n"
        )
    )
    assert not Config._is_lazy_import(written(tmp_path, plain__py="import sys\na = 1\n"))
    assert not Config._is_lazy_import(written(tmp_path, text__py="_base_ = 'x.py'\nfrom torch import nn\n"))
    assert not Config._is_lazy_import(written(tmp_path, data__yaml="a: 1\n"))
