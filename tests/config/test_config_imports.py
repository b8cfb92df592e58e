import sys

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError, CustomImportError
from trainwright.config import Config, import_custom


@pytest.fixture
def folder(tmp_path):
    """A folder; what is imported from it is forgotten, and sys.path restored."""
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_file_beside_the_config_is_imported_once(folder):
    (folder / "tw_net.py").write_text("import tw_helper\nLOADED = []\n")
    (folder / "tw_helper.py").write_text("")
    path = folder / "cfg.py"
    path.write_text("custom_imports = dict(imports=['tw_net.py', 'json'])\n")
    cfg = Config.fromfile(path)
    module = sys.modules["tw_net"]
    assert sys.path.count(str(folder)) == 1
    assert import_custom(cfg) == [module, sys.modules["json"]]
    assert sys.path.count(str(folder)) == 1
    assert import_custom(Config({"x": 1})) == []


def test_a_file_beside_a_base_is_found_from_the_child(folder):
    (folder / "base").mkdir()
    (folder / "base" / "tw_base_net.py").write_text("")
    (folder / "base" / "b.py").write_text("custom_imports = dict(imports='tw_base_net.py')\n")
    (folder / "c.py").write_text("_base_ = 'base/b.py'\n")
    Config.fromfile(folder / "c.py")
    assert sys.modules["tw_base_net"].__file__ == str(folder / "base" / "tw_base_net.py")


def test_import_can_be_switched_off(folder):
    (folder / "cfg.py").write_text("custom_imports = dict(imports=['tw_nowhere'])\n")
    cfg = Config.fromfile(folder / "cfg.py", import_custom_modules=False)
    assert cfg.custom_imports.imports == ["tw_nowhere"]


@pytest.mark.parametrize(
    ("imports", "messages"),
    [
        (
            "['tw_nowhere']",
            ["custom_imports names 'tw_nowhere', which cannot be imported", "No module named", "sys.path"],
        ),
        ("['tw_nowhere.py']", ["there is no file", "tw_nowhere.py"]),
        ("['json.py']", ["would be the module 'json', which is already", "rename the file"]),
    ],
)
def test_what_cannot_be_imported_says_why(folder, imports, messages):
    (folder / "json.py").write_text("")
    path = folder / "cfg.py"
    path.write_text(f"custom_imports = dict(imports={imports})\n")
    with pytest.raises(ImportError) as info:
        Config.fromfile(path)
    assert isinstance(info.value, CustomImportError)
    assert str(info.value).startswith(f"{path}:1: ")
    assert all(message in str(info.value) for message in messages)


def test_a_failed_import_may_be_allowed(folder):
    (folder / "cfg.py").write_text("custom_imports = dict(imports=['tw_nowhere', 'json'], allow_failed_imports=True)\n")
    with pytest.warns(UserWarning, match="'tw_nowhere' failed to import and is left out: No module named"):
        Config.fromfile(folder / "cfg.py")


def test_an_error_within_the_module_is_its_own(folder):
    (folder / "tw_bad.py").write_text("raise ZeroDivisionError('in the module')\n")
    (folder / "cfg.py").write_text("custom_imports = dict(imports=['tw_bad.py'])\n")
    with pytest.raises(ZeroDivisionError, match="in the module"):
        Config.fromfile(folder / "cfg.py")


@pytest.mark.parametrize("value", ["['a']", "dict(import_=['a'])", "dict(imports=[3])", "dict(imports=dict(a=1))"])
def test_a_malformed_custom_imports_says_the_form(folder, value):
    (folder / "cfg.py").write_text(f"custom_imports = {value}\n")
    with pytest.raises(ConfigTypeError, match=r"custom_imports must be dict\(imports=\['module', ...\]"):
        Config.fromfile(folder / "cfg.py")


def test_a_data_file_imports_only_when_it_is_allowed(folder):
    (folder / "tw_data_net.py").write_text("")
    (folder / "cfg.yaml").write_text("custom_imports: {imports: [tw_data_net.py]}\n")
    cfg = Config.fromfile(folder / "cfg.yaml", import_custom_modules=False)
    with pytest.raises(ConfigError, match="a data file imports nothing"):
        import_custom(cfg)
    assert "tw_data_net" not in sys.modules
    assert import_custom(cfg, allow_data_file=True) == [sys.modules["tw_data_net"]]
