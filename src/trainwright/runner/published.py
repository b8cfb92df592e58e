"""Attributes under which MMEngine's Runner has its parts: the built one, or what it is to be built from; and what
its strategy has."""

from __future__ import annotations

from typing import Any

from trainwright.engine.loops import BaseLoop
from trainwright.runner.parts import RunnerParts


def _loop_of(name: str) -> property:
    def get(self: RunnerParts) -> Any:
        return self._loops.get(name, self._specs[f"{name}_cfg"])

    def put(self: RunnerParts, value: Any) -> None:
        if isinstance(value, BaseLoop):
            self._loops[name] = value
        else:
            self._loops.pop(name, None)
            self._specs[f"{name}_cfg"] = value

    return property(get, put, doc=f"The {name} loop, or its config while it is not built.")


def _part_of(name: str, part: str) -> property:
    def get(self: RunnerParts) -> Any:
        loop = self._loops.get(name)
        return self._specs[f"{name}_{part}"] if loop is None else getattr(loop, part)

    def put(self: RunnerParts, value: Any) -> None:
        self._specs[f"{name}_{part}"] = value

    return property(get, put, doc=f"That of the {name} loop, or what is given for it while there is no loop.")


def _of_strategy(name: str) -> property:
    def get(self: RunnerParts) -> Any:
        return getattr(self.strategy, name)

    def put(self: RunnerParts, value: Any) -> None:
        setattr(self.strategy, name, value)

    return property(get, put, doc="The strategy's own.")


class PublishedMixin(RunnerParts):
    """The attributes of MMEngine's Runner that are configs first and objects later, and those that its strategy has."""

    _experiment_name = _of_strategy("_experiment_name")
    _timestamp = _of_strategy("_timestamp")
    _work_dir = _of_strategy("_work_dir")
    _log_dir = _of_strategy("_log_dir")
    _launcher = _of_strategy("_launcher")
    _distributed = _of_strategy("_distributed")
    _rank = _of_strategy("_rank")
    _world_size = _of_strategy("_world_size")
    _seed = _of_strategy("_seed")
    _deterministic = _of_strategy("deterministic")
    _train_loop = _loop_of("train")
    _val_loop = _loop_of("val")
    _test_loop = _loop_of("test")
    _train_dataloader = _part_of("train", "dataloader")
    _val_dataloader = _part_of("val", "dataloader")
    _test_dataloader = _part_of("test", "dataloader")
    _val_evaluator = _part_of("val", "evaluator")
    _test_evaluator = _part_of("test", "evaluator")
