"""Checkpoints that MMCV 1.7.2 and this engine hand to each other."""

import pytest
import torch
from mmcv1_noisy_runs import LOGGER, loader, made
from mmcv1_suite import peer_installed

from trainwright.compat.mmcv1.runner import EpochBasedRunner, IterBasedRunner


@pytest.mark.mmcv1
@pytest.mark.filterwarnings("ignore")  # MMCV's own
@pytest.mark.parametrize("kind", ["EpochBasedRunner", "IterBasedRunner"])
def test_mmcv_goes_on_from_our_files_and_we_from_its(tmp_path, kind):
    own = {"EpochBasedRunner": EpochBasedRunner, "IterBasedRunner": IterBasedRunner}[kind]
    length = {"max_epochs": 1} if kind == "EpochBasedRunner" else {"max_iters": 3}
    ours = made(own, **length)
    ours.run([loader()], [("train", 1)])
    ours.save_checkpoint(str(tmp_path / "ours"))
    with peer_installed() as mmcv:
        theirs = made(own, seed=4)
        peer = getattr(mmcv.runner, kind)(theirs.model, optimizer=theirs.optimizer, logger=LOGGER)
        peer.resume(str(tmp_path / "ours" / "latest.pth"), map_location="cpu")
        peer.save_checkpoint(str(tmp_path / "theirs"))
    assert torch.equal(theirs.model.layer.weight, ours.model.layer.weight)
    assert (peer.epoch, peer.iter) == (ours.epoch + 1, 3)
    third = made(own, seed=5)
    third.resume(str(tmp_path / "theirs" / "latest.pth"))
    assert torch.equal(third.model.layer.weight, ours.model.layer.weight)
    assert third.iter == 3
    states = [list(one.optimizer.state_dict()["state"].values()) for one in (ours, third)]
    assert all(torch.equal(a["momentum_buffer"], b["momentum_buffer"]) for a, b in zip(*states, strict=True))
