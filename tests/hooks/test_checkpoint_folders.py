"""A run that was resumed from another folder deletes nothing there."""

from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


def train(work_dir, max_epochs, **changes):
    hook = {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 1, "save_best": "auto"}
    settings = {"train_cfg": {"by_epoch": True, "max_epochs": max_epochs}, "default_hooks": {"checkpoint": hook}}
    Runner.from_cfg({**toy_config(str(work_dir)), **settings, **changes}).train()
    return {path.name for path in work_dir.glob("*.pth")}


def test_resuming_from_elsewhere_deletes_nothing_there(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    before = train(first, 1)
    assert "epoch_1.pth" in before
    after = train(second, 3, load_from=str(first / "epoch_1.pth"), resume=True)
    assert {path.name for path in first.glob("*.pth")} == before
    assert "epoch_3.pth" in after
    assert "epoch_2.pth" not in after
