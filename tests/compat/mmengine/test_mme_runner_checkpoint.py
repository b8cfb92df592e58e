"""The functions of mmengine.runner.checkpoint, called by that name and replaced under it."""

import os
from collections import Counter, OrderedDict, defaultdict
from unittest import mock

import pytest
import torch
from mme_suite import packages
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.head = nn.Linear(2, 1)


class Wrapped(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part = part


@pytest.fixture
def wrapper():
    from mmengine.registry import MODEL_WRAPPERS

    class Around:
        def __init__(self, module):
            self.module = module

    MODEL_WRAPPERS.register_module(module=Around)
    yield Around
    MODEL_WRAPPERS.module_dict.pop("Around")


def test_states_without_wrappers(wrapper):
    from mmengine.runner import get_state_dict, load_state_dict, weights_to_cpu

    net = Net()
    plain = get_state_dict(net)
    assert isinstance(plain, OrderedDict)
    assert list(plain) == list(net.state_dict())
    for name in ("block", "head"):
        net._modules[name] = nn.DataParallel(net._modules[name])
    assert list(get_state_dict(wrapper(net))) == list(plain)
    net.head.module.weight.data.zero_()
    load_state_dict(wrapper(net), plain, strict=True)
    assert torch.equal(net.head.module.weight, plain["head.weight"])
    moved = weights_to_cpu(plain)
    assert moved._metadata == plain._metadata


def test_what_does_not_fit_is_told(capsys):
    from mmengine.runner import load_state_dict

    state = {"head.weight": torch.ones(5, 2), "other": torch.ones(1)}
    load_state_dict(Net(), state)
    text = capsys.readouterr().out
    for part in ("size mismatch for head.weight", "unexpected key in source state_dict: other", "missing keys in"):
        assert part in text
    assert "num_batches_tracked" not in text
    with pytest.raises(RuntimeError, match="do not match exactly"):
        load_state_dict(Net(), state, strict=True)


def test_hooks_after_loading():
    from mmengine.runner import load_state_dict

    net, seen = nn.Linear(1, 1), []

    def forgive(module, keys):
        seen.append(repr(keys))
        keys.missing_keys.clear()

    net.register_load_state_dict_post_hook(forgive)
    load_state_dict(net, {"weight": torch.ones(1, 1)}, strict=True)
    assert len(seen) == 1
    assert "bias" in seen[0]


def test_a_part_of_a_file(tmp_path):
    from mmengine.runner.checkpoint import _load_checkpoint_with_prefix

    net = Net()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    part = _load_checkpoint_with_prefix("head", str(tmp_path / "net.pth"))
    assert torch.equal(part["weight"], net.head.weight)
    with pytest.raises(AssertionError):
        _load_checkpoint_with_prefix("back", str(tmp_path / "net.pth"))


def test_names_are_revised(tmp_path):
    from mmengine.runner import load_checkpoint

    net, inner = Wrapped(Net()), Net()
    torch.save(inner.state_dict(), tmp_path / "inner.pth")
    load_checkpoint(net, str(tmp_path / "inner.pth"), strict=True, revise_keys=[(r"^", "part.")])
    assert torch.equal(net.part.head.weight, inner.head.weight)
    torch.save({"state_dict": net.state_dict(), "meta": {"note": 1}}, tmp_path / "net.pth")
    other = Net()
    whole = load_checkpoint(other, str(tmp_path / "net.pth"), strict=True, revise_keys=[(r"^part\.", "")])
    assert whole["meta"] == {"note": 1}
    assert torch.equal(other.head.weight, inner.head.weight)
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(RuntimeError, match="No state_dict found in checkpoint file"):
        load_checkpoint(other, str(tmp_path / "list.pth"))


def test_older_versions_of_a_module(tmp_path):
    from mmengine.runner import load_checkpoint

    class Newer(nn.Module):
        _version = 2

        def __init__(self):
            super().__init__()
            self.now = nn.Linear(2, 1)

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            if metadata.get("version", 1) < 2:
                for name in [name for name in state if name.startswith(f"{prefix}head.")]:
                    state[name.replace("head.", "now.")] = state.pop(name)
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    older = nn.Module()
    older.head = nn.Linear(2, 1)
    torch.save(older.state_dict(), tmp_path / "older.pth")
    newer = Newer()
    load_checkpoint(newer, str(tmp_path / "older.pth"), strict=True)
    assert torch.equal(newer.now.weight, older.head.weight)


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("http://x/y.pth", "http"),
        ("https://x/y.pth", "http"),
        ("modelzoo://y", "torchvision"),
        ("torchvision://y", "torchvision"),
        ("open-mmlab://y", "openmmlab"),
        ("openmmlab://y", "openmmlab"),
        ("mmcls://y", "mmcls"),
        ("pavi://y", "pavi"),
        ("s3://x/y", "ceph"),
        ("petrel://x/y", "ceph"),
        ("open-mmlab:s3://x/y", "ceph"),
        ("ss3://x/y", "local"),
        (":s3://x/y", "local"),
        (" s3://x/y", "local"),
        ("openmmlabs3://x/y", "local"),
    ],
)
def test_who_reads_what(name, loader):
    from mmengine.runner import CheckpointLoader

    assert CheckpointLoader._get_checkpoint_loader(name).__name__ == f"load_from_{loader}"


def test_loaders_of_one_s_own():
    from mmengine.runner import CheckpointLoader

    def load_from_one(filename, map_location):
        return {"one": filename}

    def load_from_two(filename, map_location):
        return {"two": filename}

    with mock.patch.object(CheckpointLoader, "_schemes", dict(CheckpointLoader._schemes)):
        assert CheckpointLoader.register_scheme("a/b")(load_from_one) is load_from_one
        with pytest.raises(KeyError):
            CheckpointLoader.register_scheme("a/b", load_from_two)
        CheckpointLoader.register_scheme("a/b/c", load_from_two)
        assert CheckpointLoader.load_checkpoint("a/b/c.pth") == {"two": "a/b/c.pth"}
        assert CheckpointLoader.load_checkpoint("a/b/d.pth") == {"one": "a/b/d.pth"}
        CheckpointLoader.register_scheme("a/b", load_from_two, force=True)
        assert CheckpointLoader.load_checkpoint("a/b/d.pth") == {"two": "a/b/d.pth"}


def test_downloads():
    from mmengine.runner.checkpoint import load_from_http

    with mock.patch("mmengine.runner.checkpoint.load_url", return_value={"by": "url"}) as load_url:
        assert load_from_http("https://x/y.pth", "cpu", "there", progress=False) == {"by": "url"}
    load_url.assert_called_once_with("https://x/y.pth", model_dir="there", map_location="cpu", progress=False)


def test_names_of_lists(tmp_path, monkeypatch):
    from mmengine.runner.checkpoint import _get_mmengine_home, _load_checkpoint, get_external_models

    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    (tmp_path / "open_mmlab.json").write_text('{"mine": "mine.pth", "far": "https://x/far.pth"}')
    assert _get_mmengine_home() == str(tmp_path)
    urls = get_external_models()
    assert urls["mine"] == "mine.pth"
    torch.save({"state_dict": {"backbone.w": torch.ones(1), "head.w": torch.ones(1)}}, tmp_path / "mine.pth")
    assert list(_load_checkpoint("open-mmlab://mine")["state_dict"]) == ["backbone.w", "head.w"]
    with mock.patch("mmengine.runner.checkpoint.load_from_http", side_effect=lambda url, **_: {"backbone.w": url}):
        assert _load_checkpoint("openmmlab://far") == {"backbone.w": "https://x/far.pth"}
        renamed = _load_checkpoint("open-mmlab://resnet50_caffe")
        assert renamed == {"backbone.w": urls["detectron/resnet50_caffe"]}
        backbone = _load_checkpoint("mmcls://resnet50")["state_dict"]
        assert list(backbone) == ["w"]
    with pytest.raises(KeyError):
        _load_checkpoint("open-mmlab://nobody")


def test_pavi(tmp_path):
    from mmengine.runner.checkpoint import load_from_pavi

    class Model:
        name = "model.pth"

        def download(self, path):
            pass

    with packages("pavi", "pavi.modelcloud") as (pavi, _):
        pavi.modelcloud.get.return_value = Model()
        with pytest.raises(AssertionError):
            load_from_pavi("x.pth")
        with pytest.raises(FileNotFoundError):
            load_from_pavi("pavi://x.pth")


def test_saving(tmp_path):
    from mmengine.fileio import PetrelBackend
    from mmengine.runner import save_checkpoint

    state = Net().state_dict()
    for number, settings in enumerate(
        ({}, {"backend_args": {"backend": "local"}}, {"file_client_args": {"backend": "disk"}})
    ):
        path = str(tmp_path / f"{number}.pth")
        save_checkpoint(state, path, **settings)
        assert list(torch.load(path, weights_only=True)) == list(state)
    with packages("petrel_client", "petrel_client.client"), mock.patch.object(PetrelBackend, "put") as put:
        save_checkpoint(state, "s3://x/one.pth")
        save_checkpoint(state, "s3://x/two.pth", file_client_args={"backend": "petrel"})
    assert [call.args[1] for call in put.call_args_list] == ["s3://x/one.pth", "s3://x/two.pth"]
    with pytest.raises(ValueError, match="cannot be set"):
        save_checkpoint(state, path, file_client_args={"backend": "disk"}, backend_args={"backend": "local"})


def test_weights_to_the_cpu_keep_their_types():
    from mmengine.runner import weights_to_cpu

    state = Net().state_dict()
    moved = weights_to_cpu(state)
    assert list(moved) == list(state)
    assert moved._metadata == state._metadata
    schedule = {"milestones": Counter({8: 1, 11: 2}), "of": defaultdict(list, {"a": [torch.ones(1)]}), "two": (1, "x")}
    found = weights_to_cpu(OrderedDict(schedule=schedule))["schedule"]
    assert found == schedule
    assert [type(value) for value in found.values()] == [Counter, defaultdict, tuple]


def test_files_in_the_home_folder(tmp_path, monkeypatch):
    from mmengine.runner.checkpoint import find_latest_checkpoint, load_from_local, save_checkpoint

    monkeypatch.setenv("HOME", str(tmp_path))
    save_checkpoint({"w": torch.ones(1)}, os.path.join(str(tmp_path), "net.pth"))
    assert load_from_local("~/net.pth", map_location=None) == {"w": torch.ones(1)}
    with pytest.raises(FileNotFoundError, match="can not be found"):
        load_from_local("~/nobody.pth", map_location=None)
    assert find_latest_checkpoint(str(tmp_path)) is None
    (tmp_path / "last_checkpoint").write_text("epoch_1.pth\n")
    assert find_latest_checkpoint(str(tmp_path)) == "epoch_1.pth"
