"""Checkpoints of MMCV 1.x: where they are read from, what fits a model, how they are written."""

import io
import json
import logging
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mmcv1_noisy_runs import LOGGER, Net, made
from torch import nn

from trainwright.base.errors import CheckpointError, SaveError
from trainwright.checkpoint import CheckpointManager, write_file
from trainwright.compat.mmcv1.fileio import FileClient
from trainwright.compat.mmcv1.fileio.file_client import BaseStorageBackend, PetrelBackend
from trainwright.compat.mmcv1.runner import (
    CheckpointLoader,
    EpochBasedRunner,
    IterBasedRunner,
    _load_checkpoint,
    _load_checkpoint_with_prefix,
    checkpoint,
    get_state_dict,
    load_checkpoint,
    load_state_dict,
    model_urls,
    save_checkpoint,
    weights,
    weights_to_cpu,
)


class Part(nn.Module):
    """Two layers, one of them with counters."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(2, 3), nn.BatchNorm1d(3)


class Wrapped(nn.Module):
    """Has a Part inside."""

    def __init__(self):
        super().__init__()
        self.backbone = Part()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """$MMCV_HOME, with a list of models and one of the files that it names."""
    monkeypatch.setenv("MMCV_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "mmcv", raising=False)
    (tmp_path / "open_mmlab.json").write_text(
        json.dumps({"here": "here.pth", "gone": "gone.pth", "far": "https://x/f.pth"})
    )
    torch.save({"state_dict": Part().state_dict()}, tmp_path / "here.pth")
    return tmp_path


@pytest.fixture
def downloads(monkeypatch):
    """What would be downloaded."""
    urls = []

    def load_url(url, model_dir=None, map_location=None):
        urls.append(url)
        return {"state_dict": {f"backbone.{name}": value for name, value in Part().state_dict().items()}}

    monkeypatch.setattr(checkpoint, "load_url", load_url)
    return urls


# --- finding them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("a/b.pth", "load_from_local"),
        ("http://a/b.pth", "load_from_http"),
        ("https://a/b.pth", "load_from_http"),
        ("modelzoo://resnet50", "load_from_torchvision"),
        ("torchvision://resnet50", "load_from_torchvision"),
        ("open-mmlab://a", "load_from_openmmlab"),
        ("openmmlab://a", "load_from_openmmlab"),
        ("mmcls://a", "load_from_mmcls"),
        ("pavi://a", "load_from_pavi"),
        ("s3://a", "load_from_ceph"),
        ("cluster:s3://a", "load_from_ceph"),
        ("xs3://a", "load_from_local"),
        (" s3://a", "load_from_local"),
    ],
)
def test_prefixes(name, loader):
    assert CheckpointLoader._get_checkpoint_loader(name).__name__ == loader


def test_prefixes_of_ones_own(monkeypatch, caplog):
    monkeypatch.setattr(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes))

    @CheckpointLoader.register_scheme(prefixes=["own://", "mine://"])
    def load_from_own(filename, map_location=None):
        return {"from": filename}

    def other(filename, map_location=None):
        return {}

    with caplog.at_level(logging.INFO, LOGGER.name):
        assert _load_checkpoint("mine://a", logger=LOGGER) == {"from": "mine://a"}
    assert "load checkpoint from own path: mine://a" in caplog.text
    with pytest.raises(KeyError, match="own:// is already registered as a loader backend, as load_from_own"):
        CheckpointLoader.register_scheme("own://", other)
    CheckpointLoader.register_scheme("own://", other, force=True)
    assert CheckpointLoader._get_checkpoint_loader("own://a") is other
    CheckpointLoader.register_scheme("own://longer/", load_from_own)
    assert CheckpointLoader._get_checkpoint_loader("own://longer/a") is load_from_own
    with pytest.raises(AssertionError, match="prefixes must be a str or a list of them, got 3"):
        CheckpointLoader.register_scheme(3, other)


def test_files_of_this_machine(tmp_path, monkeypatch):
    torch.save([1, 2], tmp_path / "list.pth")
    assert _load_checkpoint(str(tmp_path / "list.pth")) == [1, 2]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _load_checkpoint("~/list.pth") == [1, 2]
    with pytest.raises(FileNotFoundError, match=r"gone.pth can not be found\."):
        _load_checkpoint(str(tmp_path / "gone.pth"))
    with pytest.raises(CheckpointError, match="No state_dict found in checkpoint file .* it is a list"):
        load_checkpoint(Part(), str(tmp_path / "list.pth"))


def test_a_checkpoint_folder_of_ours_is_read(tmp_path):
    from trainwright.checkpoint.folder import write_folder

    model = Part()
    write_folder(str(tmp_path / "iter_3"), {"meta": {"iter": 3, "epoch": 0}, "state_dict": model.state_dict()})
    other = Part()
    load_checkpoint(other, str(tmp_path / "iter_3"), strict=True)
    assert torch.equal(other.first.weight, model.first.weight)


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (os.makedirs, (self.target,))


def test_nothing_of_a_file_is_run(tmp_path):
    bomb = Bomb()
    bomb.target = str(tmp_path / "ran")
    torch.save({"state_dict": bomb}, tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError, match="holds Python objects"):
        load_checkpoint(Part(), str(tmp_path / "bomb.pth"))
    assert not (tmp_path / "ran").exists()
    assert pickle.dumps(bomb)


def test_a_torch_load_of_the_users_own_reads(tmp_path, monkeypatch):
    (tmp_path / "odd.pth").write_text("odd")
    monkeypatch.setattr(torch, "load", lambda file, map_location=None: {"read": file, "to": map_location})
    assert _load_checkpoint(str(tmp_path / "odd.pth"), "cpu") == {"read": str(tmp_path / "odd.pth"), "to": "cpu"}


def test_lists_of_models(home, downloads):
    assert model_urls.get_external_models()["here"] == "here.pth"
    for prefix in ("open-mmlab", "openmmlab"):
        assert "state_dict" in _load_checkpoint(f"{prefix}://here")
    with pytest.raises(FileNotFoundError, match=r"gone.pth can not be found\."):
        _load_checkpoint("open-mmlab://gone")
    _load_checkpoint("open-mmlab://far")
    assert downloads == ["https://x/f.pth"]
    with pytest.raises(KeyError, match=r"'open-mmlab://hare' is in no list of weights.*Did you mean 'here'.*MMCV_HOME"):
        _load_checkpoint("open-mmlab://hare")
    (home / "open_mmlab.json").write_text("[]")
    with pytest.raises(CheckpointError, match="must be a dict of names and URLs, and is a list"):
        _load_checkpoint("open-mmlab://here")


def test_lists_of_an_mmcv_that_is_there(home, downloads, tmp_path, monkeypatch):
    there = ModuleType("mmcv")
    there.__path__ = [str(tmp_path / "there")]
    monkeypatch.setitem(sys.modules, "mmcv", there)
    folder = tmp_path / "there" / "model_zoo"
    folder.mkdir(parents=True)
    (folder / "deprecated.json").write_text(json.dumps({"old": "far"}))
    (folder / "open_mmlab.json").write_text(json.dumps({"far": "https://there", "more": "https://more"}))
    (folder / "mmcls.json").write_text(json.dumps({"vgg": "https://vgg"}))
    with pytest.warns(DeprecationWarning, match="openmmlab://old is deprecated in favor of openmmlab://far"):
        _load_checkpoint("openmmlab://old")
    _load_checkpoint("open-mmlab://more")
    found = _load_checkpoint("mmcls://vgg")
    assert downloads == ["https://x/f.pth", "https://more", "https://vgg"]  # the user's own list comes first
    assert list(found["state_dict"]) == list(Part().state_dict())


def test_without_a_list_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("MMCV_HOME", str(tmp_path / "empty"))
    monkeypatch.setitem(sys.modules, "mmcv", ModuleType("mmcv"))
    with pytest.raises(CheckpointError, match="No list is here: it comes with an installed mmcv"):
        _load_checkpoint("mmcls://vgg")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [({"MMCV_HOME": "{}/a"}, "a"), ({"XDG_CACHE_HOME": "{}/b"}, "b/mmcv"), ({}, ".cache/mmcv")],
)
def test_the_home_is_made(tmp_path, monkeypatch, environment, folder):
    for name in ("MMCV_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert model_urls._get_mmcv_home() == str(tmp_path / folder)
    assert (tmp_path / folder).is_dir()


def test_torchvision(downloads, monkeypatch):
    weights_of_net = SimpleNamespace(name="IMAGENET1K_V1", url="https://v1")

    class Net_Weights:
        DEFAULT = weights_of_net

        def __iter__(self):
            return iter([weights_of_net])

    kinds = {"net": Net_Weights(), "none": SimpleNamespace(__name__="None_Weights")}
    kinds["net"].__name__ = "Net_Weights"
    models = SimpleNamespace(list_models=lambda module: list(kinds), get_model_weights=kinds.get)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    for name in ("torchvision://net", "torchvision://Net_Weights.IMAGENET1K_V1", "torchvision://net.default"):
        _load_checkpoint(name)
    with pytest.warns(DeprecationWarning, match='"modelzoo://" is deprecated, use "torchvision://"'):
        _load_checkpoint("modelzoo://net")
    assert downloads == ["https://v1"] * 4
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="Please install torchvision"):
        _load_checkpoint("torchvision://net")


def test_storages(monkeypatch):
    buffer = io.BytesIO()
    torch.save({"a": 1}, buffer)
    monkeypatch.setattr(PetrelBackend, "__init__", lambda self: None)
    monkeypatch.setattr(PetrelBackend, "get", lambda self, path: buffer.getvalue())
    monkeypatch.setattr(FileClient, "_instances", {})
    assert _load_checkpoint("s3://bucket/a.pth") == {"a": 1}
    with pytest.raises(ValueError, match="Load from Backend disk is not supported"):
        checkpoint.load_from_ceph("s3://a", backend="disk")


def test_pavi(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pavi", None)
    with pytest.raises(ImportError, match="Please install pavi"):
        _load_checkpoint("pavi://a/b")
    with pytest.raises(ImportError, match="Please install pavi"):
        save_checkpoint(Part(), "pavi://a/b.pth")
    with pytest.raises(AssertionError, match="Expected filename startswith `pavi://`, but get a/b"):
        checkpoint.load_from_pavi("a/b")
    kept = {}

    class Model:
        name = "b.pth"

        def create_file(self, path, name):
            kept[name] = Path(path).read_bytes()

        def download(self, path):
            if kept:
                Path(path).write_bytes(kept["b.pth"])

    class NodeNotFoundError(Exception):
        pass

    def get(path):
        if path == "new":
            raise NodeNotFoundError
        return Model()

    cloud = SimpleNamespace(get=get, Folder=lambda: SimpleNamespace(create_training_model=lambda folder: Model()))
    exception = SimpleNamespace(NodeNotFoundError=NodeNotFoundError)
    monkeypatch.setitem(sys.modules, "pavi", SimpleNamespace(modelcloud=cloud, exception=exception))
    with pytest.raises(FileNotFoundError):
        _load_checkpoint("pavi://a/b")
    for folder in ("old", "new"):
        kept.clear()
        save_checkpoint(Part(), f"pavi://{folder}/b.pth")
        assert "state_dict" in _load_checkpoint("pavi://a/b")
    with pytest.raises(ValueError, match='must be None for a name with "pavi://"'):
        save_checkpoint(Part(), "pavi://old/b.pth", file_client_args={"backend": "disk"})


# --- weights --------------------------------------------------------------------------------------------------------


def test_names_of_weights_are_revised(tmp_path):
    part, whole = Part(), Wrapped()
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "whole.pth")
    torch.save({f"module.{name}": value for name, value in part.state_dict().items()}, tmp_path / "part.pth")
    path = str(tmp_path / "whole.pth")
    load_checkpoint(part, path, strict=True, revise_keys=[(r"^backbone\.", "")])
    assert torch.equal(part.first.weight, whole.backbone.first.weight)
    load_checkpoint(Part(), str(tmp_path / "part.pth"), strict=True)
    load_checkpoint(whole, str(tmp_path / "part.pth"), strict=True, revise_keys=[(r"^module", "backbone")])
    found = _load_checkpoint_with_prefix("backbone", path)
    assert list(found) == list(part.state_dict())
    with pytest.raises(AssertionError, match="neck. is not in the pretrained model .* begin with backbone"):
        _load_checkpoint_with_prefix("neck.", path)


def test_what_does_not_fit_is_told(capsys, caplog):
    state = Part().state_dict()
    state["norm.more"] = state.pop("norm.bias")
    state["first.weight"] = torch.zeros(4, 4)
    del state["norm.num_batches_tracked"]
    load_state_dict(Part(), state)
    told = capsys.readouterr().out
    assert "do not match exactly" in told
    assert "unexpected key in source state_dict: norm.more" in told
    assert "missing keys in source state_dict: norm.bias" in told
    assert "size mismatch for first.weight" in told
    assert "num_batches_tracked" not in told
    load_state_dict(Part(), state, logger=LOGGER)
    assert "missing keys in source state_dict: norm.bias" in caplog.text
    with pytest.raises(RuntimeError, match="unexpected key in source state_dict"):
        load_state_dict(Part(), state, strict=True)


def test_versions_of_modules_come_along(tmp_path):
    class New(nn.Linear):
        _version = 2

        def _load_from_state_dict(self, state, prefix, local_metadata, *args):
            if local_metadata.get("version", 1) < 2:
                state[f"{prefix}weight"] = state.pop(f"{prefix}old")
            super()._load_from_state_dict(state, prefix, local_metadata, *args)

    state = nn.Linear(2, 2).state_dict()
    state["old"] = state.pop("weight")
    torch.save(state, tmp_path / "old.pth")
    model = New(2, 2)
    load_checkpoint(model, str(tmp_path / "old.pth"), strict=True)
    assert torch.equal(model.weight, state["old"])
    save_checkpoint(model, str(tmp_path / "new.pth"))
    load_checkpoint(New(2, 2), str(tmp_path / "new.pth"), strict=True)


def test_wrappers_are_seen_through_everywhere():
    model = Wrapped()
    model.backbone = nn.DataParallel(model.backbone)
    whole = nn.DataParallel(model)
    state = get_state_dict(whole)
    assert list(state) == list(Wrapped().state_dict())
    assert state._metadata["backbone.norm"] == {"version": 2}
    other = Wrapped()
    other.backbone = nn.DataParallel(other.backbone)
    load_state_dict(other, state, strict=True)
    assert torch.equal(other.backbone.module.first.weight, model.backbone.module.first.weight)


def test_state_dicts():
    module = Part()
    module.register_buffer("hidden", torch.ones(1), persistent=False)
    assert "hidden" in get_state_dict(module)
    assert not get_state_dict(module)["first.weight"].requires_grad
    assert get_state_dict(module, keep_vars=True)["first.weight"] is module.first.weight
    module._register_state_dict_hook(lambda module, state, prefix, local: {"all": 1})
    assert get_state_dict(module) == {"all": 1}
    assert weights_to_cpu(Part().state_dict())._metadata["norm"] == {"version": 2}


# --- writing --------------------------------------------------------------------------------------------------------


def test_what_a_file_holds(tmp_path):
    model = Part()
    model.CLASSES = ("cat", "dog")
    one, two = torch.optim.SGD(model.parameters(), 0.1), torch.optim.Adam(model.parameters())
    save_checkpoint(model, str(tmp_path / "new" / "a.pth"), optimizer={"one": one, "two": two}, meta={"seed": 1})
    tree = torch.load(tmp_path / "new" / "a.pth")
    assert list(tree) == ["meta", "state_dict", "optimizer"]
    assert list(tree["optimizer"]) == ["one", "two"]
    assert {"seed": 1, "mmcv_version": "1.7.2", "CLASSES": ("cat", "dog")}.items() <= tree["meta"].items()
    save_checkpoint(model, str(tmp_path / "b.pth"), file_client_args={"backend": "disk"})
    assert list(torch.load(tmp_path / "b.pth")) == ["meta", "state_dict"]
    with pytest.raises(TypeError, match=r"meta must be a dict or None, but got \[1\]"):
        save_checkpoint(model, str(tmp_path / "c.pth"), meta=[1])


def test_meta_is_plain_or_stays_out(tmp_path, capsys):
    save_checkpoint(Part(), str(tmp_path / "a.pth"), meta={"odd": object(), "seed": 1})
    assert "of meta, odd stay out of" in capsys.readouterr().err
    meta = torch.load(tmp_path / "a.pth")["meta"]
    assert (meta["seed"], "odd" in meta) == (1, False)


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    save_checkpoint(Part(), str(path))
    before = path.read_bytes()

    def fail(plain, file):
        file.write(b"half")
        raise OSError(28, "no space")

    monkeypatch.setattr("trainwright.checkpoint.format.save_plain", fail)
    with pytest.raises((OSError, SaveError), match="no space"):
        save_checkpoint(Part(), str(path))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.pth"]


def test_other_storages_get_bytes(monkeypatch):
    kept = {}

    class Memory(BaseStorageBackend):
        def get(self, filepath):
            return kept[filepath]

        def get_text(self, filepath):
            raise NotImplementedError

        def put(self, obj, filepath):
            kept[filepath] = obj

    monkeypatch.setattr(FileClient, "_backends", dict(FileClient._backends))
    monkeypatch.setattr(FileClient, "_instances", {})
    FileClient.register_backend("memory", Memory)
    save_checkpoint(Part(), "any/a.pth", file_client_args={"backend": "memory"})
    assert "state_dict" in torch.load(io.BytesIO(kept["any/a.pth"]))


@pytest.mark.parametrize("kind", [EpochBasedRunner, IterBasedRunner])
@pytest.mark.parametrize("has_links", [True, False])
def test_the_latest_is_a_link_or_a_copy(tmp_path, monkeypatch, kind, has_links):
    def refuse(*args):
        raise OSError("no links here")

    if not has_links:
        monkeypatch.setattr(os, "symlink", refuse)
    runner = made(kind)
    (tmp_path / "latest.pth").write_text("older")
    for number in (1, 2):
        runner.save_checkpoint(str(tmp_path))
        runner._epoch = runner._iter = number
        name = f"{'epoch' if kind is EpochBasedRunner else 'iter'}_{number}.pth"
        assert os.path.islink(tmp_path / "latest.pth") == has_links
        assert (tmp_path / "latest.pth").read_bytes() == (tmp_path / name).read_bytes()
    assert not list(tmp_path.glob(".tmp*"))
    assert os.path.basename(CheckpointManager(tmp_path).latest() or "") in (name, "latest.pth")
    runner.save_checkpoint(str(tmp_path / "apart"), filename_tmpl="x_{}.pth", create_symlink=False, meta={"a": 1})
    assert [path.name for path in (tmp_path / "apart").iterdir()] == ["x_3.pth"]
    with pytest.raises(TypeError, match="meta should be a dict or None, but got 3"):
        runner.save_checkpoint(str(tmp_path), meta=3)


def test_counters_of_the_run_come_before_those_of_meta(tmp_path):
    runner = made(EpochBasedRunner, meta={"epoch": 9, "seed": 3})
    runner.save_checkpoint(str(tmp_path), meta={"iter": 5, "mine": 1}, save_optimizer=False)
    tree = torch.load(tmp_path / "epoch_1.pth")
    assert {"epoch": 1, "iter": 0, "seed": 3, "mine": 1}.items() <= tree["meta"].items()
    assert "optimizer" not in tree
    assert runner.meta == {"epoch": 9, "seed": 3}


def test_a_runner_loads_weights_of_a_wrapped_model(tmp_path):
    model = Net()
    write_file(tmp_path / "a.pth", {"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}})
    runner = made(EpochBasedRunner, seed=4)
    runner.load_checkpoint(str(tmp_path / "a.pth"), strict=True)
    assert torch.equal(runner.model.layer.weight, model.layer.weight)
    assert weights.LATEST == "latest.pth"
