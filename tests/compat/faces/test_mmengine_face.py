"""The face of MMEngine itself: put on and taken off, inside scripts and in the processes that they start."""

import contextlib
import importlib
import importlib.util
import sys
import types

import pytest
import torch
from python_runs import python, write_package

import trainwright.compat.mmengine as face
from trainwright.base.defaults import Defaults, defaults
from trainwright.base.logs import MMLogger
from trainwright.data import KeyedDataLoader
from trainwright.registry import HOOKS
from trainwright.runner import Runner
from trainwright.strategies.environment import Randomness

CONFIG = """
model = dict(type="Net")
train_dataloader = dict(dataset=dict(type="Numbers"), batch_size=2, num_workers=1, multiprocessing_context="spawn",
                        sampler=dict(type="DefaultSampler", shuffle=True))
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01))
default_scope = "mmengine"
randomness = dict(seed=0)
"""
SCRIPT = """
    import argparse
    import os

    import torch
    from mmengine.config import Config, DictAction
    from mmengine.dist import get_dist_info
    from mmengine.model import BaseModel
    from mmengine.registry import DATASETS, MODELS, RUNNERS
    from mmengine.runner import Runner


    @DATASETS.register_module()
    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return {"x": torch.full((2,), float(index))}


    @MODELS.register_module()
    class Net(BaseModel):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(2, 1)

        def forward(self, x, mode="tensor"):
            return {"loss": self.fc(torch.stack(list(x))).square().mean()}


    def main():
        parser = argparse.ArgumentParser()
        parser.add_argument("config")
        parser.add_argument("--work-dir")
        parser.add_argument("--launcher", choices=["none", "pytorch"], default="none")
        parser.add_argument("--cfg-options", nargs="+", action=DictAction)
        args = parser.parse_args()
        cfg = Config.fromfile(args.config)
        cfg.launcher, cfg.work_dir = args.launcher, args.work_dir
        if args.cfg_options is not None:
            cfg.merge_from_dict(args.cfg_options)
        runner = Runner.from_cfg(cfg) if "runner_type" not in cfg else RUNNERS.build(cfg)
        runner.train()
        model = getattr(runner.model, "module", runner.model)
        print("END", get_dist_info(), runner.iter, type(runner.train_dataloader).__name__, model.fc.weight.tolist())


    if __name__ == "__main__":
        main()
"""


@contextlib.contextmanager
def face_installed():
    before = set(sys.modules)
    face.install()
    try:
        yield importlib.import_module("mmengine")
    finally:
        face.uninstall()
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] == "mmengine"}


@pytest.fixture
def project(tmp_path):
    write_package(tmp_path, {"tools/train.py": SCRIPT, "config.py": CONFIG})
    return tmp_path


def ends(out):
    return sorted(line for line in out.splitlines() if line.startswith("END"))


def test_defaults_hold_while_the_face_is_on():
    before = Defaults(**vars(defaults))
    with face_installed():
        assert (defaults.package, defaults.keyed, defaults.trusts_pickles) == ("mmengine", False, True)
        assert Randomness.from_cfg({"seed": 1}).keyed is False
        assert Randomness.from_cfg({"keyed": True}).keyed is True
        loader = {"dataset": [1, 2], "batch_size": 1}
        assert type(Runner.build_dataloader(loader)) is torch.utils.data.DataLoader
        assert HOOKS.scope == "mmengine"
        assert MMLogger("of the face").name == "mmengine"
    assert defaults == before
    assert Randomness.from_cfg({}).keyed is True
    assert isinstance(Runner.build_dataloader(loader, seed=0), KeyedDataLoader)
    assert HOOKS.scope == "trainwright"
    assert MMLogger("of ours").name == "trainwright"


def test_a_module_is_ours_under_both_names():
    with face_installed():
        leaf = importlib.import_module("mmengine.hooks.checkpoint_hook")
        assert leaf is importlib.import_module("trainwright.hooks.checkpoint_hook")
        assert importlib.import_module("mmengine.hooks").checkpoint_hook is leaf
        assert leaf.__name__ == "trainwright.hooks.checkpoint_hook"


def test_what_is_not_there_says_what_is():
    with face_installed():
        with pytest.raises(ModuleNotFoundError, match=r"mmengine\.hooks .*Did you mean 'ema_hook'\?"):
            importlib.import_module("mmengine.hooks.ema_hok")
        with pytest.raises(AttributeError, match="Did you mean 'EMAHook'"):
            _ = importlib.import_module("mmengine.hooks").EMAHok
        assert importlib.util.find_spec("mmengine.nothing") is None


def test_an_imported_mmengine_is_put_away_and_comes_back(monkeypatch, tmp_path):
    real = types.ModuleType("mmengine")
    real.__path__, real.__file__ = [str(tmp_path)], str(tmp_path / "__init__.py")
    part = real.hooks = types.ModuleType("mmengine.hooks")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmengine"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mmengine", real)
    monkeypatch.setitem(sys.modules, "mmengine.hooks", part)
    with face_installed() as shown:
        assert shown is not real
        assert importlib.import_module("mmengine.hooks") is not part
    assert sys.modules["mmengine"] is real
    assert sys.modules["mmengine.hooks"] is part
    assert real.hooks is part


def test_an_unmodified_script_trains_with_spawned_workers(project):
    arguments = ("tools/train.py", "config.py", "--work-dir", "runs", "--cfg-options", "train_cfg.max_epochs=1")
    out, _ = python("-m", "trainwright.compat", "mmengine", "--", *arguments, folder=project, PYTHONWARNINGS="ignore")
    (end,) = ends(out)
    assert end.startswith("END (0, 1) 4 DataLoader ")
    assert " - mmengine - INFO - " in out
    assert (project / "runs" / "epoch_1.pth").exists()


@pytest.mark.conformance
def test_an_unmodified_script_trains_in_two_spawned_ranks(project):
    launched = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "tools/train.py")
    arguments = ("config.py", "--work-dir", "runs", "--launcher", "pytorch", "--cfg-options")
    options = ("env_cfg.dist_cfg.backend=gloo",)
    settings = {"folder": project, "PYTHONWARNINGS": "ignore"}
    out, _ = python("-m", "trainwright.compat", "mmengine", "--", *launched, *arguments, *options, **settings)
    first, second = ends(out)
    assert first.startswith("END (0, 2) 4 ")
    assert second.startswith("END (1, 2) 4 ")
    assert first.partition("DataLoader")[2] == second.partition("DataLoader")[2], "the weights are those of all ranks"
