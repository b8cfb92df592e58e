"""How a run begins: weights, seeds, settings."""

from __future__ import annotations

from typing import Any

import torch

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.engine import Hook
from trainwright.registry import STRATEGIES
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import expect, expect_alike, expect_close
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import Task

_APART = {"seed": 3, "diff_rank_seed": True}


def _whole_weights(runner: Any) -> dict[str, Any]:
    """The weights and buffers as this rank computes with them, whole on every rank."""
    return {name: dist.whole(value).clone() for name, value in runner.strategy.unwrapped_model.state_dict().items()}


def _first_weights(task: Task, randomness: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    class Look(Hook):
        def before_train(self, runner: Any) -> None:
            found.update(_whole_weights(runner))

    model = {"type": "ConformanceModel", "batch_norm": True}
    short = {"by_epoch": False, "max_iters": 1, "val_interval": 2}
    task.train("first", randomness=randomness, model=model, custom_hooks=[Look()], train_cfg=short)
    return found


@behaviour(quick=True)
def equal_weights_at_the_start(subject: Subject) -> None:
    """All ranks begin with the same weights and buffers, also where their random streams differ."""
    expect_alike(subject.here(_first_weights, _APART), "first weights")


@behaviour()
def weights_of_the_seed(subject: Subject) -> None:
    """The weights that a seed gives are those that it gives one process."""
    found = subject.here(_first_weights, {"seed": 5})
    expect_close(found[0], subject.alone(_first_weights, {"seed": 5}), "first weights")


def _count_of_inits(task: Task) -> tuple[int, int]:
    runner = task.runner("inits")
    model: Any = runner.strategy.unwrapped_model
    runner.train()
    again = int(model.n_inits)
    runner.train_loop  # noqa: B018 - is there already, and builds nothing
    return again, int(model.n_inits)


@behaviour()
def weights_initialised_once(subject: Subject) -> None:
    """The model's init_weights() is called once on every rank."""
    for rank, counts in enumerate(subject.here(_count_of_inits)):
        expect(counts == (1, 1), f"rank {rank}: init_weights was called {counts} times")


def _streams(task: Task, randomness: dict[str, Any]) -> tuple[int, list[float]]:
    runner = task.runner("streams", randomness=randomness)
    return runner.seed, torch.rand(3).tolist()


@behaviour(n_ranks=2)
def streams_of_ranks(subject: Subject) -> None:
    """Random streams are the same on all ranks; with diff_rank_seed those of ranks that see other data are others."""
    expect_alike(subject.here(_streams, {"seed": 3}), "seed and stream")
    apart = subject.here(_streams, _APART)
    expect(len({seed for seed, _ in apart}) == 1, f"seeds {apart}")
    n_streams = len({tuple(stream) for _, stream in apart})
    expect(n_streams == (subject.n_data_ranks or subject.n_ranks), f"{n_streams} streams with diff_rank_seed: {apart}")


@behaviour(n_ranks=2)
def drawn_seed_agreed(subject: Subject) -> None:
    """A seed that nobody gave is drawn once, for all ranks."""
    expect_alike([seed for seed, _ in subject.here(_streams, {"seed": None})], "drawn seed")


def _scaled_rate(task: Task) -> float:
    runner = task.train("scaled", auto_scale_lr={"base_batch_size": 4, "enable": True})
    return float(runner.optim_wrapper.param_groups[0]["lr"])


@behaviour()
def auto_scale_lr(subject: Subject) -> None:
    """auto_scale_lr goes by the batch of all ranks: eight samples on a base of four double the rate."""
    for rank, rate in enumerate(subject.here(_scaled_rate)):
        expect_close(rate, 0.2, f"learning rate of rank {rank}", 1e-12)


def _refused(task: Task) -> str:
    try:
        task.runner("refused", strategy={**(task.strategy or {"type": "SingleDeviceStrategy"}), "find_unusd": 1})
    except ConfigError as error:
        return str(error)
    return ""


@behaviour(quick=True)
def unknown_settings_refused(subject: Subject) -> None:
    """A setting that the strategy does not have is refused on every rank, by its name."""
    for rank, said in enumerate(subject.here(_refused)):
        expect("find_unusd" in said, f"rank {rank} said {said!r} to the setting find_unusd")


def _names_and_facts(task: Task) -> dict[str, Any]:
    runner = task.runner("facts")
    strategy = runner.strategy
    return {
        "registered": STRATEGIES.get(type(strategy).__name__) is type(strategy),
        "rank": (strategy.rank, runner.rank),
        "world": (strategy.world_size, runner.world_size),
        "distributed": strategy.distributed,
        "stamp": strategy.timestamp,
        "folders": (strategy.work_dir, strategy.log_dir),
        "name": strategy.experiment_name,
    }


@behaviour()
def facts_of_the_run(subject: Subject) -> None:
    """Every rank knows its rank and their number, and all have one time stamp, name and folder."""
    facts = subject.here(_names_and_facts)
    for rank, found in enumerate(facts):
        expect(found.pop("rank") == (rank, rank), f"rank {rank} takes itself for another one")
        expect(found["world"] == (subject.n_ranks,) * 2, f"rank {rank}: world size {found['world']}")
        expect(found["registered"], "the strategy is not in the registry STRATEGIES under its name")
    expect_alike(facts, "facts")
