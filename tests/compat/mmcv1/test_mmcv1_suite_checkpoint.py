"""Reading and writing weights and checkpoints, as MMCV 1.x's users rely on it."""

import os
from collections import OrderedDict
from unittest.mock import MagicMock, patch

import pytest
import torch
from mmcv1_suite import packages
from torch import nn, optim


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.conv = nn.Conv2d(3, 3, 1)


@pytest.fixture
def wrapper(mmcv):
    """A module wrapper of the user's own."""
    from mmcv.parallel.registry import MODULE_WRAPPERS

    @MODULE_WRAPPERS.register_module(name="SuiteWrapper", force=True)
    class SuiteWrapper:
        def __init__(self, module):
            self.module = module

    yield SuiteWrapper
    MODULE_WRAPPERS.module_dict.pop("SuiteWrapper")


def test_the_state_of_a_wrapped_model_has_its_own_names(mmcv, wrapper):
    from mmcv.runner.checkpoint import get_state_dict

    class WrappedBlock(nn.Module):
        """A wrapper inside of a model."""

        def __init__(self):
            super().__init__()
            self.block = nn.DataParallel(Block())
            self.conv = nn.Conv2d(3, 3, 1)

    plain = {f"{part}.{kind}" for part in ("block.conv", "conv", "block.norm") for kind in ("weight", "bias")}
    plain |= {f"block.norm.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")}
    for model in (Model(), wrapper(Model()), WrappedBlock(), wrapper(WrappedBlock())):
        state = get_state_dict(model)
        assert isinstance(state, OrderedDict)
        assert set(state) == plain
        assert state._metadata
        inner = getattr(model, "module", model)
        assert torch.equal(state["conv.weight"], inner.conv.weight)


def test_weights_are_loaded_into_wrapped_models(mmcv, wrapper):
    from mmcv.runner.checkpoint import get_state_dict, load_state_dict

    source = Model()
    for target in (wrapper(Model()), Model(), nn.DataParallel(Model())):
        load_state_dict(target, get_state_dict(source), strict=True)
        for name, value in get_state_dict(target).items():
            assert torch.equal(value, source.state_dict()[name])


def test_weights_that_do_not_fit_are_told_or_refused(mmcv, capsys):
    logger = MagicMock()
    state = Model().state_dict()
    state["surplus"] = torch.ones(1)
    del state["conv.weight"]
    del state["block.norm.num_batches_tracked"]
    mmcv.runner.load_state_dict(Model(), state, logger=logger)
    (message,), _ = logger.warning.call_args
    assert "surplus" in message
    assert "conv.weight" in message
    assert "num_batches_tracked" not in message
    with pytest.raises(RuntimeError, match=r"conv\.weight"):
        mmcv.runner.load_state_dict(Model(), state, strict=True)
    mmcv.runner.load_state_dict(Model(), {**Model().state_dict(), "conv.bias": torch.ones(7)})
    assert "conv.bias" in capsys.readouterr().out


def test_a_model_of_the_pavi_cloud(mmcv):
    from mmcv.runner.checkpoint import load_from_pavi

    with packages("pavi", "pavi.modelcloud") as (pavi, _):
        pavi.modelcloud.get.return_value.name = "fakename"
        with pytest.raises(AssertionError):
            load_from_pavi("MyPaviFolder/checkpoint.pth")
        with pytest.raises(FileNotFoundError):  # nothing was downloaded
            load_from_pavi("pavi://checkpoint.pth")


def test_part_of_a_checkpoint(mmcv, tmp_path):
    from mmcv.runner import _load_checkpoint_with_prefix

    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 2)
            self.conv2d = nn.Conv2d(3, 1, 3)
            self.conv2d_2 = nn.Conv2d(3, 2, 3)

    model = Parts()
    for name, state in (("bare", model.state_dict()), ("full", {"state_dict": model.state_dict()})):
        path = str(tmp_path / f"{name}.pth")
        torch.save(state, path)
        for prefix in ("conv2d", "conv2d."):
            part = _load_checkpoint_with_prefix(prefix, path)
            assert set(part) == {"weight", "bias"}
            assert torch.equal(part["weight"], model.conv2d.weight)
        with pytest.raises(AssertionError):
            _load_checkpoint_with_prefix("back", path)


def test_keys_are_revised(mmcv, tmp_path):
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Model()

    outer, inner, path = Outer(), Model(), str(tmp_path / "model.pth")
    torch.save(inner.state_dict(), path)
    loaded = mmcv.runner.load_checkpoint(outer, path, revise_keys=[(r"^", "backbone.")])
    for key, value in outer.backbone.state_dict().items():
        assert torch.equal(value, inner.state_dict()[key])
        assert torch.equal(loaded[key], value)
    outer = Outer()
    torch.save(outer.state_dict(), path)
    mmcv.runner.load_checkpoint(inner, path, revise_keys=[(r"^backbone\.", "")])
    for key, value in inner.state_dict().items():
        assert torch.equal(outer.backbone.state_dict()[key], value)
    torch.save({"state_dict": {f"module.{k}": v for k, v in outer.backbone.state_dict().items()}}, path)
    other = Model()
    mmcv.runner.load_checkpoint(other, path, strict=True)  # what wrappers add goes by default
    assert torch.equal(other.conv.weight, inner.conv.weight)
    torch.save([1], path)
    with pytest.raises(RuntimeError, match="state_dict"):
        mmcv.runner.load_checkpoint(inner, path)


class Versioned(nn.Module):
    """The second version of a model: its layers have other names, and it can read those of the first."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args, **kwargs):
        version = local_metadata.get("version", None)
        if version is None or version < 2:
            for key in list(state_dict):
                for old, new in (("conv1", "layers.0"), ("conv2", "layers.1")):
                    if key.startswith(prefix + old):
                        state_dict[key.replace(old, new)] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)


class First(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)


def test_versions_of_modules_are_saved_and_read(mmcv, tmp_path):
    first, second = First(), Versioned()
    own = second.layers[0].weight.detach().clone()
    mmcv.runner.save_checkpoint(first, str(tmp_path / "first.pth"))
    mmcv.runner.save_checkpoint(second, str(tmp_path / "second.pth"))
    mmcv.runner.load_checkpoint(second, str(tmp_path / "first.pth"), strict=True)
    assert torch.equal(second.layers[0].weight, first.conv1.weight)
    assert torch.equal(second.layers[1].bias, first.conv2.bias)
    mmcv.runner.load_checkpoint(second, str(tmp_path / "second.pth"), strict=True)
    assert torch.equal(second.layers[0].weight, own)


@pytest.mark.parametrize("wrapped", [False, True])
def test_names_of_classes_are_saved(mmcv, wrapper, tmp_path, wrapped):
    path = str(tmp_path / "checkpoint.pth")
    model = Model()
    outer = wrapper(model) if wrapped else model
    mmcv.runner.save_checkpoint(outer, path)
    assert "CLASSES" not in mmcv.runner.load_checkpoint(outer, path)["meta"]
    model.CLASSES = ("class1", "class2")
    mmcv.runner.save_checkpoint(outer, path)
    assert mmcv.runner.load_checkpoint(outer, path)["meta"]["CLASSES"] == ("class1", "class2")


@pytest.mark.parametrize(
    ("path", "loader"),
    [
        ("http://xx.xx/xx.pth", "load_from_http"),
        ("https://xx.xx/xx.pth", "load_from_http"),
        ("modelzoo://xx.xx/xx.pth", "load_from_torchvision"),
        ("torchvision://xx.xx/xx.pth", "load_from_torchvision"),
        ("open-mmlab://xx.xx/xx.pth", "load_from_openmmlab"),
        ("openmmlab://xx.xx/xx.pth", "load_from_openmmlab"),
        ("mmcls://xx.xx/xx.pth", "load_from_mmcls"),
        ("pavi://xx.xx/xx.pth", "load_from_pavi"),
        ("s3://xx.xx/xx.pth", "load_from_ceph"),
        ("ss3://xx.xx/xx.pth", "load_from_local"),
        (" s3://xx.xx/xx.pth", "load_from_local"),
        ("open-mmlab:s3://xx.xx/xx.pth", "load_from_ceph"),
        ("openmmlab:s3://xx.xx/xx.pth", "load_from_ceph"),
        ("openmmlabs3://xx.xx/xx.pth", "load_from_local"),
        (":s3://xx.xx/xx.path", "load_from_local"),
    ],
)
def test_schemes(mmcv, path, loader):
    assert mmcv.runner.CheckpointLoader._get_checkpoint_loader(path).__name__ == loader


def test_schemes_of_ones_own(mmcv):
    loaders = mmcv.runner.CheckpointLoader
    with patch.object(loaders, "_schemes", dict(loaders._schemes)):

        @loaders.register_scheme(prefixes="ftp://")
        def load_from_ftp(filename, map_location):
            return {"by": "first", "filename": filename}

        assert loaders._get_checkpoint_loader("ftp://a").__name__ == "load_from_ftp"

        def load_from_ftp1(filename, map_location):
            return {"by": "second", "filename": filename}

        with pytest.raises(KeyError):
            loaders.register_scheme("ftp://", load_from_ftp1)
        loaders.register_scheme("ftp://", load_from_ftp1, force=True)
        assert loaders.load_checkpoint("ftp://a") == {"by": "second", "filename": "ftp://a"}

        @loaders.register_scheme(prefixes="a/b")
        def load_from_ab(filename, map_location):
            """Of the shorter prefix."""

        @loaders.register_scheme(prefixes=("a/b/c", "a/b/d"))
        def load_from_abc(filename, map_location):
            """Of the longer one."""

        assert loaders._get_checkpoint_loader("a/b/c/d").__name__ == "load_from_abc"
        assert loaders._get_checkpoint_loader("a/b/d").__name__ == "load_from_abc"
        assert loaders._get_checkpoint_loader("a/b/e").__name__ == "load_from_ab"


def test_a_downloaded_checkpoint(mmcv):
    from mmcv.runner.checkpoint import load_from_http

    with patch("mmcv.runner.checkpoint.load_url", return_value={"by": "url"}) as load_url:
        assert load_from_http("https://x/y.pth", map_location="cpu", model_dir="there") == {"by": "url"}
        load_url.assert_called_once_with("https://x/y.pth", model_dir="there", map_location="cpu")
        assert mmcv.runner._load_checkpoint("https://x/y.pth") == {"by": "url"}


def test_save_checkpoint(mmcv, tmp_path):
    save, model = mmcv.runner.save_checkpoint, Model()
    with pytest.raises(TypeError):
        save(model, "/path/of/your/filename", meta="invalid type")
    sgd = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    cases = {
        "plain": ({}, {"meta", "state_dict"}),
        "optimizer": ({"optimizer": sgd}, {"meta", "state_dict", "optimizer"}),
        "two": ({"optimizer": {"a": sgd, "b": sgd}}, {"meta", "state_dict", "optimizer"}),
        "meta": ({"meta": {"test": "test"}}, {"meta", "state_dict"}),
        "disk": ({"file_client_args": {"backend": "disk"}}, {"meta", "state_dict"}),
    }
    for name, (settings, keys) in cases.items():
        path = tmp_path / "new" / f"{name}.pth"  # the folder is made
        save(model, str(path), **settings)
        saved = torch.load(path)
        assert set(saved) == keys
        assert {"mmcv_version", "time"} <= set(saved["meta"])
    assert torch.load(tmp_path / "new" / "meta.pth")["meta"]["test"] == "test"
    assert set(torch.load(tmp_path / "new" / "two.pth")["optimizer"]) == {"a", "b"}
    assert torch.load(tmp_path / "new" / "optimizer.pth")["optimizer"]["param_groups"][0]["momentum"] == 0.9


def test_checkpoints_on_an_object_store(mmcv):
    with packages("petrel_client", "petrel_client.client"):
        from mmcv.fileio.file_client import PetrelBackend

        for settings in ({}, {"file_client_args": {"backend": "petrel"}}):
            with patch.object(PetrelBackend, "put") as put:
                mmcv.runner.save_checkpoint(Model(), "s3://path/of/your/checkpoint.pth", **settings)
            (content, path), _ = put.call_args
            assert path == "s3://path/of/your/checkpoint.pth"
            assert len(content) > 100


def test_checkpoints_in_the_home_folder(mmcv, tmp_path, monkeypatch):
    from mmcv.runner.checkpoint import load_from_local

    monkeypatch.setenv("HOME", str(tmp_path))
    model = Model()
    mmcv.runner.save_checkpoint(model, os.path.expanduser("~/dummy.pth"))
    loaded = load_from_local("~/dummy.pth", map_location=None)
    assert torch.equal(loaded["state_dict"]["block.conv.weight"], model.block.conv.weight)
    with pytest.raises(FileNotFoundError):
        load_from_local("~/none.pth", map_location=None)


def test_weights_to_cpu(mmcv):
    state = Model().state_dict()
    copied = mmcv.runner.weights_to_cpu(state)
    assert list(copied) == list(state)
    assert copied._metadata == state._metadata
    assert all(value.device.type == "cpu" for value in copied.values())


def test_names_of_model_zoos(mmcv, tmp_path, monkeypatch):
    from mmcv.runner.checkpoint import DEFAULT_CACHE_DIR, ENV_MMCV_HOME, ENV_XDG_CACHE_HOME, _get_mmcv_home

    monkeypatch.setenv(ENV_MMCV_HOME, str(tmp_path / "own"))
    assert _get_mmcv_home() == str(tmp_path / "own")
    assert (tmp_path / "own").is_dir()
    monkeypatch.delenv(ENV_MMCV_HOME)
    monkeypatch.delenv(ENV_XDG_CACHE_HOME, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _get_mmcv_home() == os.path.expanduser(os.path.join(DEFAULT_CACHE_DIR, "mmcv"))
