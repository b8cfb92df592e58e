"""Configs in the import syntax, and the objects that stand for what they import."""

import ast
import copy
import pickle
import sys

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


CHILD = """
from mmengine.config import read_base
from mmengine.hooks import EMAHook
import torch.optim as optim

with read_base():
    from ._base_.runtime import *
    from ._base_.schedule import optimizer as base_optimizer

hook = dict(type=EMAHook, priority=49)
optimizer = dict(base_optimizer, lr=0.5, kind=optim.SGD)
default_scope.update(name='child')
"""


@pytest.fixture
def child(file):
    file("_base_/runtime.py", "default_scope = dict(name='base', other=1)\nlog = [1, 2]\n")
    file("_base_/schedule.py", "from torch.optim import Adam\noptimizer = dict(type=Adam, lr=0.1)\n")
    return file("child.py", CHILD)


def test_a_config_with_imports(child, tmp_path):
    import torch
    from mmengine.config import Config
    from mmengine.hooks import EMAHook

    cfg = Config.fromfile(child)
    assert cfg.hook.type is EMAHook
    assert cfg.hook["type"] is cfg.hook.get("type") is EMAHook
    assert cfg.optimizer.type is torch.optim.Adam
    assert (cfg.optimizer.lr, cfg.optimizer.kind) == (0.5, torch.optim.SGD)
    assert cfg.default_scope == {"name": "child", "other": 1}
    assert cfg.log == [1, 2]
    cfg.dump(str(tmp_path / "dumped.py"))
    again = Config.fromfile(str(tmp_path / "dumped.py"))
    assert again.hook.priority == 49
    assert again.optimizer.lr == 0.5
    for twin in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert twin.hook.type is EMAHook
    lazy = cfg._to_lazy_dict()
    assert str(lazy["hook"]["type"]).endswith("EMAHook")
    assert cfg.to_dict()["hook"]["priority"] == 49


def test_what_cannot_be_imported_says_where(file):
    from mmengine.config import Config

    for text, name in (
        ("from mmengine.fileio import error_obj\n", "error_obj"),
        ("import mmengine\nerror_attr = mmengine.error_attr\n", "error_attr"),
        ("import error_module_of_tests\nx = error_module_of_tests.y\n", "x"),
    ):
        path = file(f"{name}.py", text + f"value = dict(type={name})\n")
        with pytest.raises(ImportError, match=path):
            _ = Config.fromfile(path).value.type


def test_lazy_objects():
    import mmengine
    import mmengine.fileio
    from mmengine.config import Config
    from mmengine.config.lazy import LazyAttr, LazyObject

    assert LazyObject("mmengine").build() is mmengine
    assert LazyObject("mmengine.fileio").build() is mmengine.fileio
    assert LazyObject("mmengine.config", "Config").build() is Config
    lazy = LazyObject(["mmengine", "mmengine.fileio"])
    assert isinstance(lazy.fileio, LazyAttr)
    assert lazy.fileio.build() is mmengine.fileio
    assert lazy.config.Config.build() is Config
    for wrong in ((1,), ("mmengine", ["error_type"])):
        with pytest.raises(TypeError):
            LazyObject(*wrong)
    with pytest.raises(ImportError):
        LazyObject("unknown_module_of_tests").build()
    with pytest.raises(ImportError):
        lazy.config.Nothing.build()
    assert str(LazyObject("mmengine.config", "Config")).endswith("Config")
    for name in (lazy, lazy.config.Config):
        with pytest.raises(RuntimeError):
            name()
    for twin in (pickle.loads(pickle.dumps(lazy.config.Config)), copy.deepcopy(lazy.config.Config)):
        assert twin.build() is Config


def test_imports_become_assignments():

    import numpy
    from mmengine.config.lazy import LazyAttr, LazyObject
    from mmengine.config.utils import ImportTransformer, _gather_abs_import_lazyobj

    text = """
import sys
import numpy
import numpy.linalg
import numpy.random as npr
from mmengine.model import BaseModule as Base, ModuleList
from ._base_.runtime import *
from ._base_.schedule import lr as rate
value = dict(type=Base)
"""
    scope = {"LazyObject": LazyObject}
    bases = {"._base_.runtime": {"scope_name": "x"}, "._base_.schedule": {"lr": 0.1}}
    transformer = ImportTransformer(scope, bases, "here.py")
    tree, names = _gather_abs_import_lazyobj(transformer.visit(ast.parse(text)), "here.py")
    exec(compile(ast.fix_missing_locations(tree), "here.py", "exec"), scope)
    assert scope["sys"] is sys
    assert isinstance(scope["numpy"], LazyObject)
    assert isinstance(scope["numpy"].linalg, LazyAttr)
    assert scope["numpy"].linalg.norm.build() is numpy.linalg.norm
    assert scope["npr"].build() is numpy.random
    assert isinstance(scope["Base"], LazyObject)
    assert (scope["scope_name"], scope["rate"]) == ("x", 0.1)
    assert names == {"numpy"}
    assert transformer.imported_obj >= {"npr", "Base", "ModuleList"}


def test_imports_that_a_config_must_not_have():
    from mmengine.config.utils import ConfigParsingError, ImportTransformer

    for text in ("from numpy import *", "from sys import *"):
        with pytest.raises(ConfigParsingError):
            ImportTransformer({}).visit(ast.parse(text))
    with pytest.raises(AssertionError, match="Illegal syntax in config!"):
        ImportTransformer({}).visit(ast.parse("import numpy, torch"))


def test_configs_of_packages(tmp_path):
    from mmengine.config import utils

    folder = tmp_path / "mmthing"
    (folder / ".mim" / "configs" / "net").mkdir(parents=True)
    (folder / ".mim" / "model-index.yml").write_text("Import:\n  - configs/net/metafile.yml\n")
    (folder / ".mim" / "configs" / "net" / "metafile.yml").write_text(
        "Models:\n  - Name: a\n    Config: .mim/configs/net/a.py\n  - Name: b\n"
    )
    (folder / ".mim" / "configs" / "net" / "a.py").write_text("x = 1\n")
    with pytest.warns(UserWarning, match="Config"):
        assert utils._get_cfg_metainfo(str(folder), "configs/net/a.py")["Name"] == "a"
    with pytest.warns(UserWarning, match="Config"), pytest.raises(ValueError, match="."):
        utils._get_cfg_metainfo(str(folder), "configs/net/c.py")
    assert utils._get_external_cfg_base_path(str(folder), "net/a.py").endswith(".mim/configs/net/a.py")
    with pytest.raises(FileNotFoundError):
        utils._get_external_cfg_base_path(str(folder), "net/c.py")
    assert utils._get_package_and_cfg_path("mmseg::unet/unet.py") == ("mmsegmentation", "unet/unet.py")
    for wrong in ("unet.py", "mmseg::unet::unet/x.py"):
        with pytest.raises(ValueError, match="."):
            utils._get_package_and_cfg_path(wrong)
    with pytest.raises(AssertionError):
        utils._get_package_and_cfg_path("mmother::unet/unet.py")


def test_small_helpers():
    from mmengine.config.utils import MODULE2PACKAGE, PKG2PROJECT, RemoveAssignFromAST, _is_builtin_module

    assert MODULE2PACKAGE["mmseg"] == PKG2PROJECT["mmseg"] == "mmsegmentation"
    assert _is_builtin_module("sys")
    assert _is_builtin_module("mmengine.config")
    assert not _is_builtin_module("torch.optim")
    assert not _is_builtin_module(".base")
    assert not _is_builtin_module("unknown_module_of_tests")
    tree = RemoveAssignFromAST("_base_").visit(ast.parse("_base_ = 1\na = 2\n"))
    assert ast.unparse(tree) == "a = 2"
