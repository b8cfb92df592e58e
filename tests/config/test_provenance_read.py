"""Origins of configs that were read from disk."""

import copy
import pickle
import time

import pytest

from trainwright.config import Config
from trainwright.config.origins import Origin, origins, references


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_file


def shown(cfg, key):
    return str(cfg.origin(key))


def test_origins_of_a_chain_in_text_syntax(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(
        "configs/_base_/model.py",
        "depth = 18\nmodel = dict(\n    backbone=dict(type='Net', depth=depth),\n    head=None)\n",
    )
    write("configs/_base_/data.yaml", "data:\n  size: 32\n  steps: [1,\n    2]\n")
    path = write(
        "configs/mine.py",
        "import os.path as osp\n"
        "_base_ = ['_base_/model.py', '_base_/data.yaml']\n"
        "model = dict(\n    backbone=dict(width=2))\n"
        "name = '{{ fileBasenameNoExtension }}'\n"
        "steps = {{ _base_.data.steps }}\n"
        "_base_.data.size = 64\n",
    )
    cfg = Config.fromfile(path)
    assert cfg.name == "mine"
    assert shown(cfg, "model.backbone.depth") == "configs/_base_/model.py:1"
    assert shown(cfg, "model.backbone.type") == "configs/_base_/model.py:3"
    assert shown(cfg, "model.backbone.width") == "configs/mine.py:4"
    assert shown(cfg, "data.size") == "configs/mine.py:7"
    assert shown(cfg, "data.steps.1") == "configs/_base_/data.yaml:4"
    assert shown(cfg, "steps.1") == "configs/_base_/data.yaml:4"
    assert shown(cfg, "name") == "configs/mine.py:5"
    assert cfg.origin("nothing") is None
    assert references(cfg.source) >= {"depth", "data"}
    assert "name" not in references(cfg.source)


def test_origins_of_a_chain_in_import_syntax(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("base.py", "from torch.optim import SGD\noptim = dict(\n    type=SGD,\n    lr=0.1)\nsizes = [1, 2]\n")
    path = write(
        "mine.py",
        "from mmengine.config import read_base\nfrom torch.optim import Adam\n"
        "with read_base():\n    from .base import *\n    from .base import sizes as base_sizes\n"
        "optim.update(\n    dict(type=Adam))\nsizes = base_sizes + [\n    3]\n",
    )
    cfg = Config.fromfile(path)
    assert shown(cfg, "optim.type") == "mine.py:7"
    assert shown(cfg, "optim.lr") == "base.py:4"
    assert [shown(cfg, f"sizes.{i}") for i in range(3)] == ["base.py:5", "base.py:5", "mine.py:9"]
    found = {keys: str(origin) for keys, _, origin in origins(cfg.source, cfg.overrides, cfg._to_lazy_dict())}
    assert found["optim", "type"] == "mine.py:7"
    assert "None" not in found.values()


def test_origins_of_overrides(write):
    cfg = Config.fromfile(write("a.py", "model = dict(depth=18, heads=[dict(n=1), dict(n=2)])\nlr = 1\n"))
    cfg.merge_from_dict({"model.depth": 50, "model.heads.1.n": 3}, label="--cfg-options")
    cfg.merge_from_dict({"lr": 2})
    assert cfg.origin("model.depth") == Origin(None, None, "override", "--cfg-options")
    assert shown(cfg, "model.heads.1.n") == "--cfg-options"
    assert shown(cfg, "model.heads.0.n").endswith("a.py:1")
    assert shown(cfg, "lr") == "merge_from_dict"
    assert shown(cfg, ("model",)).endswith("a.py:1")


def test_origins_of_configs_without_a_file():
    assert Config({"a": 1}).origin("a") is None
    cfg = Config.fromstring("a = 1\nb = dict(\n  c=a)\n", ".py")
    assert shown(cfg, "b.c").endswith(":1")


def test_origins_of_a_base_from_a_package(write, tmp_path, monkeypatch):
    write("somepackage/__init__.py", "")
    write("somepackage/configs/base.py", "model = dict(type='Net',\n  part=dict(type='Part'))\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    path = write(
        "mine.py", "\n_base_ = [\n  'somepackage::base.py']\nmodel = dict(depth=3)\nmore = _base_.model.part\n"
    )
    cfg = Config.fromfile(path)
    assert cfg.model._scope_ == "somepackage"
    assert shown(cfg, "model._scope_") == "mine.py:3"
    assert shown(cfg, "model.type") == "somepackage/configs/base.py:1"
    assert shown(cfg, "more.type") == "somepackage/configs/base.py:2"


def test_origins_after_copying_and_pickling(write):
    cfg = Config.fromfile(write("a.py", "a = dict(\n  b=1)\n"))
    assert shown(cfg, "a.b").endswith("a.py:2")
    for other in (copy.copy(cfg), copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert shown(other, "a.b").endswith("a.py:2")


def test_a_large_chain_is_followed_quickly(write):
    body = "".join(f"part{i} = dict(\n" + "".join(f"    k{j}={j},\n" for j in range(20)) + ")\n" for i in range(30))
    write("f0.py", body)
    for i in range(1, 4):
        write(f"f{i}.py", f"_base_ = './f{i - 1}.py'\n" + "".join(f"part{j} = dict(k{i}=0)\n" for j in range(30)))
    cfg = Config.fromfile(write("top.py", "_base_ = 'f3.py'\n"))
    start = time.process_time()
    found = list(origins(cfg.source, cfg.overrides, cfg._to_lazy_dict()))
    used_s = time.process_time() - start
    assert len(found) == 600
    assert all(origin is not None for _, _, origin in found)
    assert used_s < 0.5  # about 0.02 on a quiet machine


def test_what_code_sets_afterwards_is_known_as_that(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("model = dict(depth=50, names=['a', 'b'], x=float('nan'))\nlr = 1\n")
    cfg = Config.fromfile(path)
    assert str(cfg.origin("model.depth")).endswith("a.py:1")
    assert str(cfg.origin("model.x")).endswith("a.py:1")
    cfg.model.depth = 101
    cfg.model["names"][1] = "c"
    cfg.lr = 1.0  # another type is another value
    assert [str(cfg.origin(key)) for key in ("model.depth", "model.names.1", "lr")] == ["set in code"] * 3
    assert str(cfg.origin("model.names.0")).endswith("a.py:1")
    found = {keys: str(origin) for keys, _, origin in origins(cfg.source, cfg.overrides, cfg._to_lazy_dict())}
    assert found[("model", "depth")] == "set in code"
