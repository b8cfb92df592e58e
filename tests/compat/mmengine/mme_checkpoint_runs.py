"""A small training through ``import mmengine``, whichever that is: its checkpoints go from one engine to the other."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

FILE = Path(__file__).with_name("mme_checkpoint.pth")
ENDS = Path(__file__).with_name("mme_checkpoint_ends.pt")
STOPPED, WHOLE = 2, 4  # epochs


class Points(Dataset):
    """Twelve points on either side of a plane."""

    metainfo = {"classes": ("a", "b")}

    def __len__(self):
        return 12

    def __getitem__(self, index):
        inputs = torch.randn(3, generator=torch.Generator().manual_seed(index))
        return {"inputs": inputs, "labels": int(inputs.sum() > 0)}


def model():
    from mmengine.model import BaseModel

    class Net(BaseModel):
        def __init__(self):
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 2)

        def forward(self, inputs, labels, mode="tensor"):
            scores = self.head(self.norm(inputs))
            return {"loss": nn.functional.cross_entropy(scores, labels)} if mode == "loss" else scores

    return Net()


def runner(work_dir, **changes):
    """Adam, a warm-up in iterations, steps in epochs, averaged weights, a seed."""
    from mmengine.runner import Runner

    loader = {
        "dataset": Points(),
        "batch_size": 4,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
    }
    settings = {
        "model": model(),
        "work_dir": str(work_dir),
        "train_dataloader": loader,
        "train_cfg": {"by_epoch": True, "max_epochs": WHOLE},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 0.01}},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 5},
            {"type": "MultiStepLR", "milestones": [1, 3], "by_epoch": True},
            {"type": "CosineAnnealingMomentum", "T_max": 12, "eta_min": 0.5, "by_epoch": False},
        ],
        "custom_hooks": [{"type": "EMAHook", "momentum": 0.1}],
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 1}},
        "randomness": {"seed": 3},
        "log_level": "ERROR",
    }
    return Runner(**{**settings, **changes})


def state(run):
    """Where a run stands: all that must go on, as tensors and plain data."""
    ema = next(hook.ema_model for hook in run.hooks if hasattr(hook, "ema_model"))
    optimizer = run.optim_wrapper.optimizer
    return {
        "counters": [run.epoch, run.iter],
        "model": {name: value.clone() for name, value in run.model.state_dict().items()},
        "ema": {name: value.clone() for name, value in ema.module.state_dict().items()},
        "moments": [optimizer.state[one][key].clone() for one in run.model.parameters() for key in ("exp_avg", "step")],
        "rates": [[group["lr"], list(group["betas"])] for group in optimizer.param_groups],
        "steps": [one.last_step for one in run.param_schedulers],
        "losses": [float(value) for value in run.message_hub.get_scalar("train/loss").data[0]],
    }
