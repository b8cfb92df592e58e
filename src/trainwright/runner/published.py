"""Attributes under which MMEngine's Runner has its parts: the built one, or what it is to be built from."""

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


class PublishedMixin(RunnerParts):
    """The attributes of MMEngine's Runner that are configs first and objects later."""

    _train_loop = _loop_of("train")
    _val_loop = _loop_of("val")
    _test_loop = _loop_of("test")
    _train_dataloader = _part_of("train", "dataloader")
    _val_dataloader = _part_of("val", "dataloader")
    _test_dataloader = _part_of("test", "dataloader")
    _val_evaluator = _part_of("val", "evaluator")
    _test_evaluator = _part_of("test", "evaluator")
