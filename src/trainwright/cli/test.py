"""``trainwright test``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import typer

from trainwright.base.errors import ConfigError
from trainwright.base.logs import env_rank
from trainwright.base.text import table
from trainwright.cli.launching import Launching, start_ranks, starts_ranks
from trainwright.cli.settings import load
from trainwright.config import Config


def test_checkpoint(
    config: str,
    checkpoint: str,
    work_dir: str | None,
    launcher: str,
    cfg_options: Sequence[str],
    launching: Launching | None,
) -> int:
    """Load the weights, run the test loop, print the metrics; returns the exit code."""
    cfg = _configured(config, checkpoint, work_dir, launcher, cfg_options)
    launching = launching or Launching()
    if starts_ranks(launcher, launching):
        rank = partial(_test_rank, config, checkpoint, work_dir, launcher, cfg_options)
        return start_ranks(launcher, launching, cfg, rank)
    _test(cfg)
    return 0


def _configured(
    config: str, checkpoint: str, work_dir: str | None, launcher: str, cfg_options: Sequence[str]
) -> Config:
    cfg = load(config, work_dir, launcher, cfg_options)
    if cfg.get("test_cfg") is None:
        raise ConfigError(
            f"{config} has no test part: add test_dataloader, test_cfg=dict() and test_evaluator, for example "
            "test_dataloader = val_dataloader."
        )
    cfg.load_from, cfg.resume = checkpoint, False
    return cfg


def _test_rank(config: str, checkpoint: str, work_dir: str | None, launcher: str, cfg_options: Sequence[str]) -> None:
    """In a process that calls this, since it was not started by a command line."""
    _test(_configured(config, checkpoint, work_dir, launcher, cfg_options))


def _test(cfg: Config) -> None:
    from trainwright.runner import Runner

    metrics = Runner.from_cfg(cfg).test()
    if env_rank() != 0:
        return
    rows = [(name, f"{value:.4f}" if isinstance(value, float) else value) for name, value in metrics.items()]
    typer.echo("\n" + table(rows, ("metric", "value")))


test_checkpoint.__test__ = False  # type: ignore[attr-defined]  # its name makes pytest take it for a test
