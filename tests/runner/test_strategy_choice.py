"""Which strategy a Runner has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainwright import Runner
from trainwright.base.errors import ConfigError
from trainwright.runner.strategy_choice import built_from_parts
from trainwright.strategies import SingleDeviceStrategy
from trainwright.testing.toys import toy_config


class OwnPrepare(SingleDeviceStrategy):
    def prepare(self, model: Any, **kwargs: Any) -> Any:
        return super().prepare(model, **kwargs)


class OwnParts(OwnPrepare):
    """Brings up in its own way, and a Runner can follow it."""

    def prepare(self, model: Any, **kwargs: Any) -> Any:
        return super().prepare(model, **kwargs)

    def place_model(self, model: Any) -> Any:
        return super().place_model(model)


def test_a_strategy_that_only_prepare_can_bring_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"OwnPrepare overrides prepare\(\), which a Runner does not call"):
        Runner.from_cfg(toy_config(tmp_path, strategy=OwnPrepare(work_dir=tmp_path)))
    strategy = OwnParts(work_dir=tmp_path)
    assert built_from_parts(strategy) is strategy


def test_a_runner_builds_strategies(tmp_path: Path) -> None:
    runner = Runner.from_cfg(toy_config(tmp_path))
    made = runner.build_strategy({"type": "SingleDeviceStrategy"}, randomness={"seed": 5}, log_level="ERROR")
    assert (made.seed, made.work_dir, made.world_size) == (5, runner.work_dir, 1)
    assert runner.build_strategy(made) is made
