"""Optimizer, checkpoint and evaluation hooks where there are two ranks."""

import json
import logging
import os

import torch
import torch._dynamo  # ranks are forked, and import neither again
import torch.distributed.tensor
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from trainwright.compat.mmcv1.parallel import MMDistributedDataParallel
from trainwright.compat.mmcv1.runner import DistEvalHook, IterBasedRunner
from trainwright.testing.ranks import run_ranks


class Rows(Dataset):
    """Rows whose evaluation is the mean of what came out."""

    def __getitem__(self, index):
        return torch.full((3,), index / 10)

    def __len__(self):
        return 12

    def evaluate(self, results, logger=None):
        assert len(results) == len(self)
        return {"acc": float(torch.stack(results).mean())}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fp16_enabled = False
        self.fc = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x, return_loss=False):
        return list(self.norm(self.fc(x)).mean(1)) if not return_loss else None

    def train_step(self, data, optimizer):
        out = self.norm(self.fc(data + torch.rand(()) * 0.1))  # of each rank its own
        return {"loss": out.pow(2).mean() + out[:, 0].mean(), "log_vars": {}, "num_samples": len(data)}


class Loader(DataLoader):
    """For the test functions of the engine, which call the model with what a batch has by name."""

    def __iter__(self):
        return ({"x": batch} for batch in super().__iter__())


def a_runner(folder, optimizer_hook, max_iters):
    rank = int(os.environ["RANK"])
    torch.manual_seed(3)
    model = MMDistributedDataParallel(Model())
    torch.manual_seed(rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    logger = logging.getLogger("mmcv1_hooks_of_ranks")
    runner = IterBasedRunner(model, optimizer=optimizer, work_dir=folder, logger=logger, meta={}, max_iters=max_iters)
    runner.register_optimizer_hook(optimizer_hook)
    runner.register_checkpoint_hook({"interval": 1, "by_epoch": False, "max_keep_ckpts": 4, "sync_buffer": True})
    runner.register_logger_hooks({"interval": 2, "hooks": [{"type": "TextLoggerHook", "by_epoch": False}]})
    runner.register_timer_hook({"type": "IterTimerHook"})
    tested = Rows()
    evaluation = Loader(tested, batch_size=2, sampler=DistributedSampler(tested, shuffle=False))
    runner.register_hook(DistEvalHook(evaluation, interval=2, by_epoch=False, save_best="acc"), priority="LOW")
    return runner


def train(folder, optimizer_hook, max_iters, resumed_from=None):
    runner = a_runner(folder, optimizer_hook, max_iters)
    if resumed_from is not None:
        runner.resume(resumed_from)
    data = Rows()
    runner.run([DataLoader(data, batch_size=2, sampler=DistributedSampler(data))], [("train", 1)])
    return [p.detach().clone() for p in runner.model.parameters()], runner.meta["hook_msgs"]


HOOK = {
    "type": "GradientCumulativeFp16OptimizerHook",
    "cumulative_iters": 3,
    "grad_clip": {"max_norm": 1.0},
    "loss_scale": "dynamic",
}


def test_two_ranks_train_evaluate_save_and_resume(tmp_path):
    whole = str(tmp_path / "whole")
    (first, messages), (second, others) = run_ranks(2, train, whole, HOOK, 8, timeout_s=30.0)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert messages["last_ckpt"] == os.path.join(whole, "iter_8.pth")
    assert "last_ckpt" not in others
    kept = sorted(name for name in os.listdir(whole) if name.endswith(".pth"))
    best = os.path.basename(messages["best_ckpt"])
    assert kept == sorted([best, "iter_5.pth", "iter_6.pth", "iter_7.pth", "iter_8.pth", "latest.pth"])
    (log,) = [name for name in os.listdir(whole) if name.endswith(".log.json")]
    with open(os.path.join(whole, log), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    accs = {line["acc"] for line in lines if line.get("mode") == "val"}
    assert round(messages["best_score"], 5) == max(accs)
    again = str(tmp_path / "resumed"), HOOK, 8, os.path.join(whole, "iter_5.pth")
    resumed = run_ranks(2, train, *again, timeout_s=30.0)
    assert all(torch.equal(a, b) for a, b in zip(first, resumed[0][0], strict=True))
    assert resumed[0][1]["best_score"] == messages["best_score"]
