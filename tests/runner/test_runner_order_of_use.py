"""Runner's methods in other orders than train() alone: what each needs is there, and nothing is done twice."""

import os

import pytest
import torch

from trainwright import Hook
from trainwright.base.errors import ConfigError
from trainwright.hooks import CheckpointHook
from trainwright.runner import Runner
from trainwright.strategies import SingleDeviceStrategy
from trainwright.testing.toys import ToyModel, differences, toy_config, toy_loader

THREE = {"by_epoch": True, "max_epochs": 3}


@pytest.fixture
def saved(tmp_path):
    Runner.from_cfg(toy_config(tmp_path / "saved")).train()
    return str(tmp_path / "saved" / "epoch_2.pth")


def straight(tmp_path, saved):
    runner = Runner.from_cfg(toy_config(tmp_path / "straight", train_cfg=THREE, resume=saved))
    return runner.train().state_dict()


def test_validating_first_does_not_lose_the_optimizer_of_a_resume(tmp_path, saved):
    runner = Runner.from_cfg(toy_config(tmp_path / "val_first", train_cfg=THREE, resume=saved))
    runner.val()
    assert not differences(runner.train().state_dict(), straight(tmp_path, saved))


def test_resume_called_by_hand_takes_up_everything(tmp_path, saved):
    runner = Runner.from_cfg(toy_config(tmp_path / "by_hand", train_cfg=THREE))
    runner.resume(saved)
    assert not differences(runner.train().state_dict(), straight(tmp_path, saved))


def test_an_assigned_optim_wrapper_trains(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path))
    wrapper = runner.optim_wrapper = runner.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.1}})
    runner.scale_lr(wrapper)
    runner.scale_lr(wrapper, {"base_batch_size": 16, "enable": True})
    assert wrapper.get_lr() == {"lr": [0.025]}
    schedulers = runner.build_param_scheduler({"type": "ConstantLR", "factor": 1.0})
    runner.param_schedulers = schedulers
    runner.train()
    assert runner.strategy.optim_wrapper is runner.optim_wrapper is wrapper
    assert runner.strategy.param_schedulers == schedulers
    assert runner.iter == 8
    assert wrapper.get_lr() == {"lr": [0.025]}  # not scaled a second time


def test_a_second_train_neither_initialises_nor_loads_again(tmp_path):
    class Zeroed(ToyModel):
        def init_weights(self):
            torch.nn.init.zeros_(self.second.weight)

    runner = Runner.from_cfg(toy_config(tmp_path, model=Zeroed(), resume=True))
    weight = runner.train().second.weight.clone()
    assert torch.equal(runner.train().second.weight, weight)
    assert weight.any()
    assert len(runner.log_dirs) == 1


def test_a_stop_asked_for_in_before_run_is_heard(tmp_path):
    class StopsAtOnce(Hook):
        def before_run(self, runner):
            runner.train_loop.stop_training = True

    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=[StopsAtOnce()]))
    runner.train()
    assert runner.iter == 0


def test_a_built_strategy_brings_its_randomness(tmp_path):
    built = SingleDeviceStrategy(work_dir=tmp_path, env_kwargs={"randomness": {"seed": 5, "keyed": False}})
    runner = Runner(**toy_config(tmp_path), strategy=built)
    assert runner.seed == 5
    assert type(runner.train_loop.dataloader) is torch.utils.data.DataLoader


def test_other_suffixes_are_found_by_a_resume(tmp_path):
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "filename_tmpl": "at_{}.pt"}}
    cfg = toy_config(tmp_path, default_hooks=hooks)
    Runner.from_cfg(cfg).train()
    runner = Runner.from_cfg({**cfg, "resume": True, "train_cfg": THREE})
    assert runner.checkpoints().latest() == str(tmp_path / "at_2.pt")


def test_a_resume_without_saved_optimizer_says_so(tmp_path, capsys):
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_optimizer": False}}
    cfg = toy_config(tmp_path, default_hooks=hooks)
    Runner.from_cfg(cfg).train()
    Runner.from_cfg({**cfg, "resume": True, "train_cfg": THREE}).train()
    assert "epoch_2.pth was saved without optimizer: its state begins anew" in capsys.readouterr().err


def test_a_failed_save_leaves_the_hook_pointing_at_files_that_are_there(tmp_path):
    class FullDisk(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            if runner.iter > 4:
                raise OSError("no space left")

    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "auto"}}
    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=[FullDisk()], default_hooks=hooks))
    with pytest.raises(OSError, match="no space left"):
        runner.train()
    hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    assert hook.last_ckpt == runner.message_hub.get_info("last_ckpt") == str(tmp_path / "epoch_1.pth")
    assert [os.path.exists(path) for path in (hook.last_ckpt, hook.bests[0].path)] == [True, True]


def test_a_failed_save_of_the_best_keeps_the_one_before(tmp_path):
    class NoMoreBest(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            if checkpoint["hooks"]["CheckpointHook"]["bests"][0]["score"] == 2.0:
                raise OSError("no space left")

    runner = Runner.from_cfg(
        toy_config(
            tmp_path,
            custom_hooks=[NoMoreBest()],
            val_evaluator={"type": "ScriptedMetric", "acc": [1.0, 2.0]},
            default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": "toy/acc"}},
        )
    )
    with pytest.raises(OSError, match="no space left"):
        runner.train()
    best = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook)).bests[0]
    assert best.score == 1.0
    assert os.path.exists(best.path)


def test_a_rate_that_is_a_tensor_is_logged_as_it_was(tmp_path):
    model = ToyModel()
    runner = Runner.from_cfg(
        toy_config(
            tmp_path,
            model=model,
            train_dataloader=toy_loader(12, 4),
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"optimizer": torch.optim.Adam(model.parameters(), lr=torch.tensor(0.5))},
            param_scheduler={"type": "MultiStepLR", "milestones": [1, 2], "gamma": 0.5, "by_epoch": False},
        )
    )
    runner.train()
    assert runner.message_hub.get_scalar("train/lr").data[0].tolist() == [0.5, 0.25, 0.125]


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"enable": True}, "lacks base_batch_size"),
        ({"base_batch_siz": 16}, "no setting 'base_batch_siz'; .*Did you mean 'base_batch_size'"),
    ],
)
def test_auto_scale_lr_is_checked_before_anything_is_built(tmp_path, cfg, message):
    with pytest.raises(ConfigError, match=message):
        Runner.from_cfg(toy_config(tmp_path / "new", auto_scale_lr=cfg))
    assert not (tmp_path / "new").exists()
