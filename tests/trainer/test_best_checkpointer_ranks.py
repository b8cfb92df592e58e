"""The best evaluation, where several ranks train."""

import pytest
import torch
from torch import nn

from trainwright import dist
from trainwright.testing.ranks import run_ranks
from trainwright.trainer import BestCheckpointer, Checkpointer, EvalHook, SimpleTrainer

VALUES = [0.3, 0.5, 0.4, 0.6]


class Model(nn.Linear):
    def forward(self, batch):
        return super().forward(batch).square().mean()


def best_of_ranks(folder, everywhere):
    """Rank 0 alone knows the metric."""
    model, values = Model(2, 1), iter(VALUES)
    trainer = SimpleTrainer(model, [torch.ones(1, 2)], torch.optim.SGD(model.parameters(), 0.1))
    checkpointer = Checkpointer(model, folder, trainer=trainer)
    hook = BestCheckpointer(2, checkpointer, "AP") if everywhere or dist.is_main_process() else None
    trainer.register_hooks([EvalHook(2, lambda: {"AP": next(values)} if dist.is_main_process() else None), hook])
    trainer.train(0, 8)
    return None if hook is None else hook.state_dict()


@pytest.mark.parametrize("everywhere", [True, False])
def test_ranks_agree_on_the_best(everywhere, tmp_path):
    states = run_ranks(2, best_of_ranks, str(tmp_path), everywhere)
    best = {"best_metric": 0.6, "best_iter": 8}
    assert states == [best, best if everywhere else None]
    saved = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert saved["iteration"] == 7  # the last one: a resume begins behind it
    assert len(saved["trainer"]["exact"]["ranks"]) == (2 if everywhere else 1)
