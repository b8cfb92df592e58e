"""Several validation sets: loaders and evaluators by name, each set with an evaluator of its own."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from torch.utils.data import DataLoader

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean

_SETTINGS = frozenset(inspect.signature(DataLoader.__init__).parameters) | {
    "num_batch_per_epoch",
    "disable_subprocess_warning",
}


def is_named(loaders: Any) -> bool:
    """Whether this is a dict of loaders by name: none of its keys is a setting of a loader, and a loader is in it."""
    if not isinstance(loaders, dict) or any(key in _SETTINGS for key in loaders):
        return False
    return any(is_loader(value) for value in dict.values(loaders))


def is_loader(value: Any) -> bool:
    """Whether this is a loader, or the config of one."""
    return isinstance(value, DataLoader) or (isinstance(value, dict) and "dataset" in value and "type" not in value)


def is_named_evaluator(evaluator: Any) -> bool:
    """Whether this is a dict of evaluators by the names of their sets, and not the config of one."""
    if not isinstance(evaluator, dict) or not evaluator or "type" in evaluator or "metrics" in evaluator:
        return False
    parts = dict.values(evaluator)
    return all(isinstance(part, (dict, list, tuple)) or hasattr(part, "evaluate") for part in parts)


def name_errors(loaders: Mapping[str, Any], evaluator: Any, what: str = "val") -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong with the names of sets and evaluators: the place in the config, and the message."""
    for name in loaders:
        if not isinstance(name, str) or not name or "/" in name:
            text = f"{name!r} cannot be the name of a set: it must be a text without '/', which parts metric names."
            yield (f"{what}_dataloader", *([name] if isinstance(name, str) else [])), text
    if not is_named_evaluator(evaluator):
        return
    known = ", ".join(map(str, loaders))
    for name in evaluator:
        if name not in loaders:
            text = f"{what}_evaluator names {name!r}, which is no set of {what}_dataloader ({known})."
            yield (f"{what}_evaluator", name), text + did_you_mean(str(name), map(str, loaders))
    for name in loaders:
        if name not in evaluator:
            text = f"{what}_evaluator has nothing for the set {name!r} of {what}_dataloader ({known})."
            yield (f"{what}_evaluator",), f"{text} Give each set one, or give one evaluator for all of them."


def unnamed_error(evaluator: Mapping[str, Any], what: str = "val") -> str:
    """The message about evaluators by name beside one loader that has none."""
    names = list(map(str, evaluator))
    return (
        f"{what}_evaluator has neither 'type' nor 'metrics', so it names sets ({', '.join(names)}), but "
        f"{what}_dataloader is one loader. Give that names too: {what}_dataloader=dict({names[0]}=dict(dataset=...))."
    )


def list_error(owner: str, what: str = "val") -> str:
    """The message about a list of loaders."""
    return (
        f"{owner} takes one loader, or several by name, and {what}_dataloader is a list. Write "
        f"{what}_dataloader=dict(first=..., second=...), or name a loop of your own that takes a list: "
        f"{what}_cfg=dict(type=...)."
    )


def evaluators_by_name(evaluator: Any, loaders: Mapping[str, Any], what: str = "val") -> dict[str, Any]:
    """An evaluator's config for each set: the one that it names, or one of the same kind for each."""
    for _, text in name_errors(loaders, evaluator, what):
        raise ConfigError(text)
    if is_named_evaluator(evaluator):
        return {name: evaluator[name] for name in loaders}
    if not _is_config(evaluator):
        raise ConfigError(
            f"{what}_evaluator is built already, and the sets {', '.join(loaders)} need one each. Give a config, which "
            f"is built for each of them, or {what}_evaluator=dict({next(iter(loaders))}=..., ...)."
        )
    return {name: copy.deepcopy(evaluator) for name in loaders}


def _is_config(evaluator: Any) -> bool:
    if isinstance(evaluator, dict) and "metrics" in evaluator:
        evaluator = evaluator["metrics"]
    if isinstance(evaluator, (list, tuple)):
        return all(isinstance(metric, dict) for metric in evaluator)
    return isinstance(evaluator, dict)


class NamedLoaders:
    """Loaders by name, and a loader over all of their batches in that order."""

    def __init__(self, loaders: dict[str, Any]) -> None:
        self._loaders = loaders

    def __getitem__(self, name: str) -> Any:
        return self._loaders[name]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Name and loader of each set."""
        return iter(self._loaders.items())

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._loaders.values())

    def __len__(self) -> int:
        return sum(len(loader) for loader in self._loaders.values())


class NamedEvaluators:
    """Evaluators by name; ``process`` and ``evaluate`` go to that of the running set."""

    def __init__(self, evaluators: dict[str, Any]) -> None:
        self._evaluators = evaluators
        self.running = next(iter(evaluators))

    def __getitem__(self, name: str) -> Any:
        return self._evaluators[name]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Name and evaluator of each set."""
        return iter(self._evaluators.items())

    def process(self, data_samples: Any, data_batch: Any = None) -> None:
        """Give a batch of predictions to the evaluator of the running set."""
        self._evaluators[self.running].process(data_samples=data_samples, data_batch=data_batch)

    def evaluate(self, size: int) -> dict[str, Any]:
        """The metrics of the running set."""
        metrics: dict[str, Any] = self._evaluators[self.running].evaluate(size)
        return metrics

    def discard(self) -> None:
        """Drop what was collected for the running set and not evaluated."""
        getattr(self._evaluators[self.running], "discard", _nothing)()


def _nothing() -> None:
    """For evaluators that cannot drop what they have."""
