"""Runner's facts: what the run is called, where it is, how far it has come."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trainwright.dist import is_main_process
from trainwright.engine import IterBasedTrainLoop, Phase
from trainwright.engine.loops import follow_counters
from trainwright.io import atomic_write_text
from trainwright.runner.builders import counts_epochs
from trainwright.runner.parts import RunnerParts
from trainwright.state import plain_items
from trainwright.strategies.environment import setup_environment


class FactsMixin(RunnerParts):
    """What the run is called, where it is, and how far it has come."""

    @property
    def experiment_name(self) -> str:
        """Name of the experiment, with the time stamp."""
        return self.strategy.experiment_name

    @property
    def model_name(self) -> str:
        """Class name of the model."""
        return type(self.strategy.unwrapped_model).__name__

    @property
    def work_dir(self) -> str:
        """Where checkpoints go."""
        return self.strategy.work_dir

    @property
    def log_dir(self) -> str:
        """Where logs go."""
        return self.strategy.log_dir

    @property
    def timestamp(self) -> str:
        """When the run began."""
        return self.strategy.timestamp

    @property
    def launcher(self) -> str:
        """How the processes were started."""
        return self.strategy.launcher

    @property
    def distributed(self) -> bool:
        """Whether several processes take part."""
        return self.strategy.distributed

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self.strategy.rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.strategy.world_size

    @property
    def seed(self) -> int:
        """The seed of the run, given or drawn."""
        return self.strategy.seed

    @property
    def deterministic(self) -> bool:
        """Whether deterministic algorithms were asked for."""
        return self.strategy.deterministic

    @property
    def epoch(self) -> int:
        """Index of the running epoch."""
        follow_counters(self._loops.get("train"), self.ctx.clock)
        return self.ctx.clock.epoch

    @property
    def iter(self) -> int:
        """Index of the running iteration."""
        follow_counters(self._loops.get("train"), self.ctx.clock)
        return self.ctx.clock.iter

    @property
    def max_epochs(self) -> int | None:
        """Planned epochs; 1 in iteration-based training."""
        return self.ctx.clock.max_epochs

    @property
    def max_iters(self) -> int | None:
        """Planned iterations; None when the loader has no length."""
        return self.ctx.clock.max_iters

    @property
    def val_begin(self) -> int:
        """The epoch or iteration from which on validation runs during training."""
        return 1 if self._loops.get("train") is None else int(self._loops["train"].val_begin)

    @property
    def val_interval(self) -> int:
        """The interval of validation during training, in epochs or iterations."""
        return 1 if self._loops.get("train") is None else int(self._loops["train"].val_interval)

    @property
    def is_training(self) -> bool:
        """Whether train() is running, a validation inside it included."""
        return Phase.TRAIN in self.ctx.open_phases

    @property
    def by_epoch(self) -> bool:
        """Whether training is counted in epochs."""
        loop = self._loops.get("train")
        if loop is not None:
            return not isinstance(loop, IterBasedTrainLoop)
        return counts_epochs(self._specs["train_cfg"]) is not False

    def _loop(self, name: str) -> Any:
        raise NotImplementedError

    @property
    def train_dataloader(self) -> Any:
        """The training loader, built with its loop when first asked for; None when there is none."""
        return getattr(self._loop("train"), "dataloader", None)

    @property
    def val_dataloader(self) -> Any:
        """The validation loader, built with its loop when first asked for; None when there is none."""
        return getattr(self._loop("val"), "dataloader", None)

    @property
    def test_dataloader(self) -> Any:
        """The test loader, built with its loop when first asked for; None when there is none."""
        return getattr(self._loop("test"), "dataloader", None)

    @property
    def val_evaluator(self) -> Any:
        """The evaluator of validation, built with its loop when first asked for; None when there is none."""
        return getattr(self._loop("val"), "evaluator", None)

    @property
    def test_evaluator(self) -> Any:
        """The evaluator of testing, built with its loop when first asked for; None when there is none."""
        return getattr(self._loop("test"), "evaluator", None)

    def dump_config(self) -> None:
        """Write the config to ``work_dir`` under the name of its file (``timestamp.py`` when it came from none).

        A runner that was made from objects, without a config, has nothing to write; of several ranks the first one
        writes.
        """
        if not len(self.cfg) or not is_main_process():
            return
        name = f"{self.timestamp}.py" if self.cfg.filename is None else Path(self.cfg.filename).stem + ".py"
        atomic_write_text(os.path.join(self.work_dir, name), self.cfg.pretty_text)
        self.visualizer.add_config(self.cfg)

    def dump_test_metrics(self, metrics: dict[str, Any]) -> None:
        """Write the metrics of a test to ``log_dir/timestamp.json``, on rank 0."""
        if not is_main_process():
            return
        kept, dropped = plain_items(metrics)
        if dropped:
            self.logger.info("test metrics not written, because they are no plain data: %s", ", ".join(dropped))
        text = json.dumps(kept, default=str)
        atomic_write_text(os.path.join(self.log_dir, f"{self.timestamp}.json"), text + "\n")

    def set_randomness(self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False) -> None:
        """Seed this process anew."""
        keyed = self.strategy.keyed
        self.strategy.set_randomness(seed=seed, diff_rank_seed=diff_rank_seed, deterministic=deterministic, keyed=keyed)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Apply ``env_cfg`` (cudnn_benchmark, mp_cfg, dist_cfg, resource_limit) to this process."""
        settings = {name: value for name, value in env_cfg.items() if name != "preemption"}
        setup_environment(launcher=self.launcher, **settings)
