"""Training is counted in epochs or in iterations: what is said when a config mixes them."""

import pytest

from trainwright.base.errors import ConfigError
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


@pytest.mark.parametrize(
    ("train_cfg", "message"),
    [
        ({"by_epoch": True, "max_epochs": 2, "max_iters": 9}, "both max_epochs=2 and max_iters=9.*counted in one unit"),
        ({"by_epoch": False, "max_epochs": 2, "max_iters": 9}, "both max_epochs=2 and max_iters=9"),
        ({"by_epoch": True, "max_iters": 9}, "by_epoch=True needs max_epochs, but has max_iters: set by_epoch=False"),
        ({"by_epoch": False, "max_epochs": 9}, "by_epoch=False needs max_iters, but has max_epochs: set by_epoch=True"),
        ({"by_epoch": True}, r"by_epoch=True needs max_epochs\."),
        ({"max_epochs": 2}, "needs by_epoch=True or by_epoch=False"),
    ],
)
def test_a_mixed_config_is_refused_before_anything_is_built(tmp_path, train_cfg, message):
    with pytest.raises(ConfigError, match=message):
        Runner.from_cfg(toy_config(tmp_path / "run", train_cfg=train_cfg))
    assert not (tmp_path / "run").exists()
