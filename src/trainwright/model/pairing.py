"""The tensors of two modules of the same make, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.dist import is_sharded, local

Pairs = list[tuple[list[Tensor], list[Tensor]]]
_Tables = list[tuple[dict[str, Any], str]]
_Kind = tuple[torch.dtype, torch.device, torch.dtype, torch.device]
_Key = tuple[_Kind, bool]  # and whether every rank has a part of these


class Pairing:
    """Remembers where the tensors of two modules are held, so that no module is walked through in every update.

    It is the places that are remembered, not the tensors: a module may put another tensor, or another module, in the
    place of one. What has moved to another device or type is sorted anew.
    """

    def __init__(self) -> None:
        self._own: nn.Module | None = None
        self._source: nn.Module | None = None
        self._with_buffers = False
        self._branches: _Tables = []
        self._children: list[nn.Module] = []
        self._averaged: list[_Group] = []
        self._copied: list[_Group] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Pairing, ()  # a copy of an averaged model has nothing to do with the model that this one follows

    def of(
        self, own: nn.Module, source: nn.Module, with_buffers: bool, as_they_lie: bool = False
    ) -> tuple[Pairs, Pairs]:
        """(what is averaged, what is copied), each as lists of tensors of one kind: of `own`, and of `source`.

        Where the two lie on different devices, or have different types, the second list is of converted copies, unless
        they are wanted `as_they_lie`. ConfigError when `source` lacks a tensor that `own` has.
        """
        known = own is self._own and source is self._source and with_buffers == self._with_buffers
        if not known or not self._stands():
            self._learn(own, source, with_buffers)
        try:
            return self._now(as_they_lie)
        except _Moved:
            self._learn(own, source, with_buffers)
            return self._now(as_they_lie)

    def _now(self, as_they_lie: bool) -> tuple[Pairs, Pairs]:
        averaged = [group.now(as_they_lie) for group in self._averaged]
        return averaged, [group.now(as_they_lie) for group in self._copied]

    def _stands(self) -> bool:
        try:
            return [table[name] for table, name in self._branches] == self._children
        except KeyError:
            return False

    def _learn(self, own: nn.Module, source: nn.Module, with_buffers: bool) -> None:
        self._own, self._source, self._with_buffers = own, source, with_buffers
        parents = [*own.modules(), *source.modules()]
        self._branches = [(module._modules, name) for module in parents for name in module._modules]
        self._children = [table[name] for table, name in self._branches]
        sorted_: tuple[dict[_Key, _Group], dict[_Key, _Group]] = {}, {}
        for name, is_averaged in _names(own, with_buffers):
            mine, theirs = _table(own, name), _table(source, name)
            leaf = name.rpartition(".")[2]
            tensors = None if theirs is None or mine is None else (mine[leaf], theirs[leaf])
            if tensors is None or tensors[1] is None or tensors[0].shape != tensors[1].shape:
                raise ConfigError(_unlike(own, source, name, tensors))
            kind = (tensors[0].dtype, tensors[0].device, tensors[1].dtype, tensors[1].device)
            is_float = tensors[0].is_floating_point() or tensors[0].is_complex()
            groups = sorted_[0 if is_averaged and is_float else 1]
            key = (kind, is_sharded(tensors[1]))
            groups.setdefault(key, _Group(*key)).add(mine, theirs, leaf)
        self._averaged, self._copied = list(sorted_[0].values()), list(sorted_[1].values())


class _Moved(Exception):
    """A tensor is not of the kind that it was, or not there."""


class _Group:
    """Pairs of places whose tensors are of one kind. Of sharded ones it gives this rank's parts."""

    def __init__(self, kind: _Kind, is_sharded: bool) -> None:
        self._kind = kind
        self._is_sharded = is_sharded
        self._own: _Tables = []
        self._source: _Tables = []
        self._is_alike = kind[:2] == kind[2:]

    def add(self, own: Any, source: Any, name: str) -> None:
        """One more pair."""
        self._own.append((own, name))
        self._source.append((source, name))

    def now(self, as_they_lie: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors that are there now."""
        try:
            own = [table[name] for table, name in self._own]
            source = [table[name] for table, name in self._source]
        except KeyError:
            raise _Moved from None
        if self._is_sharded:
            own, source = [local(tensor) for tensor in own], [local(tensor) for tensor in source]
        mine, theirs = own[0], source[0]  # a model moves as a whole
        if theirs is None or (mine.dtype, mine.device, theirs.dtype, theirs.device) != self._kind:
            raise _Moved
        if self._is_alike or as_they_lie:
            return own, source
        return own, [tensor.to(self._kind[1], self._kind[0]) for tensor in source]


def _names(module: nn.Module, with_buffers: bool) -> Iterator[tuple[str, bool]]:
    """Every tensor of `module` once, and whether it is averaged; a buffer that is not saved never is."""
    for name, _ in module.named_parameters():
        yield name, True
    for name, _ in module.named_buffers():
        path, _, leaf = name.rpartition(".")
        yield name, with_buffers and leaf not in _part(module, path)._non_persistent_buffers_set


def _part(module: nn.Module, path: str) -> Any:
    """The module of that name; a wrapper that stands before it under the same name is passed by."""
    part: Any = module
    for name in path.split(".") if path else ():
        part = part._modules[name]
    return part


def _table(module: nn.Module, name: str) -> dict[str, Any] | None:
    path, _, leaf = name.rpartition(".")
    try:
        owner = _part(module, path)
    except KeyError:
        return None
    tables: tuple[dict[str, Any], ...] = (owner._parameters, owner._buffers)
    return next((table for table in tables if leaf in table), None)


def _unlike(own: nn.Module, source: nn.Module, name: str, tensors: Any) -> str:
    what = f"the averaged {type(own).__name__} cannot follow this {type(source).__name__}: "
    why = " The average is a copy of the model as it was: build it after the model has its final form."
    if tensors is None or tensors[1] is None:
        names = [name for name, _ in _names(source, with_buffers=False)]
        return f"{what}it has no {name!r}.{did_you_mean(name, names)}{why}"
    shapes = [tuple(tensor.shape) for tensor in tensors]
    return f"{what}{name!r} has shape {shapes[1]}, and {shapes[0]} in the average.{why}"
