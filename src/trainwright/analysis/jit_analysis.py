"""A statistic of every operator in a traced forward pass, added up for every module."""

from __future__ import annotations

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from trainwright.analysis.jit_handles import Handle
from trainwright.analysis.tracing import named_modules_with_dup, scoped_graph
from trainwright.base.errors import ModuleNameError, UnknownModuleError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean

T = TypeVar("T", bound="JitModelAnalysis")

# What computes nothing: it looks at shapes, counts in integers, moves or compares elements.
_NOTHING_COMPUTED = """
Int ScalarImplicit __and__ arange bitwise_not cat chunk clamp clamp_ constant_pad_nd contiguous copy_ detach dropout
empty eq expand flatten floor floor_divide full full_like gather ge gt index index_put_ masked_fill max narrow
new_empty new_full new_zeros nonzero ones permute relu relu_ remainder reshape roll select size slice split
split_with_sizes squeeze stack t to transpose type_as unbind unsqueeze unsqueeze_ view zeros zeros_like
"""
_IGNORED_OPS = {f"aten::{name}" for name in _NOTHING_COMPUTED.split()}
# A user's autograd function, and a call of something scripted, may compute anything.
_CALLS = ("prim::PythonOp", "prim::CallFunction")
# Called or not, no node is of them alone.
_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.Module, nn.Identity)
_TRACER_MODES = ("all", "no_tracer_warning", "none")
_ANCESTOR_MODES = ("owner", "caller")


@dataclass
class Statistics:
    """What a trace gave, by module and then by operator; `uncalled_mods` are the modules that no operator ran in."""

    counts: dict[str, Counter[str]]
    unsupported_ops: dict[str, Counter[str]]
    uncalled_mods: set[str]


class JitModelAnalysis:
    """Counts something of every operator that ``model(*inputs)`` runs, and adds it up for every module.

    The model is traced when a number is first asked for, and again after the handles have changed. A module goes by
    its name, the model by ``""``; one that is in several places by the first of its names. An operator counts for the
    modules that were being called when it ran: what ran because of ``module.forward(...)`` or another method counts
    for the module around it.

    It knows no operator by itself: give it handles, or take FlopAnalyzer or ActivationAnalyzer, which have some.

    Args:
        model: What to analyse, in the mode, train or eval, that it is in. It is the same afterwards.
        inputs: A tensor, or a tuple of what `torch.jit.trace` takes.
    """

    def __init__(self, model: nn.Module, inputs: Tensor | tuple[Any, ...]) -> None:
        self._set_model(model, inputs)
        self._op_handles: dict[str, Handle] = {}
        self._ignored_ops = set(_IGNORED_OPS)
        self.unsupported_ops_warnings(True)
        self.uncalled_modules_warnings(True)
        self.tracer_warnings("no_tracer_warning")
        self.ancestor_mode("owner")

    def _set_model(self, model: nn.Module, inputs: Any) -> None:
        self._model, self._inputs = model, inputs
        self._named_modules = dict(named_modules_with_dup(model))
        self._aliases = self._get_aliases(model)
        self._stats: Statistics | None = None

    # ------------------------------------------------------------------------------------ what was counted
    def total(self, module_name: str = "") -> int:
        """Of all operators of a module."""
        return sum(self._counts_of(module_name).values())

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """Of a module, by operator. A handle says what its operator is called here."""
        return Counter(self._counts_of(module_name))

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """Of every module by name, by operator."""
        return {name: Counter(counts) for name, counts in self._analyze().counts.items()}

    def by_module(self) -> Counter[str]:
        """Of every module by name, over all operators."""
        return Counter({name: sum(counts.values()) for name, counts in self._analyze().counts.items()})

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """How often operators ran in a module that have no handle and are not ignored. RuntimeError before a count."""
        if self._stats is None:
            raise RuntimeError("nothing was counted yet: call total(), or ask for another number, before this")
        return Counter(self._stats.unsupported_ops[self.canonical_module_name(module_name)])

    def uncalled_modules(self) -> set[str]:
        """The names of modules in which no operator ran: not used, or only by another way than a call."""
        return set(self._analyze().uncalled_mods)

    def canonical_module_name(self, name: str) -> str:
        """The name by which a module goes here. UnknownModuleError (a KeyError) if the model has none of that name."""
        if not isinstance(name, str):
            raise ModuleNameError(f"a module is asked for by its name, as 'layer1.0', got a {type(name).__name__}")
        if name not in self._aliases:
            names = [known for known in self._aliases if isinstance(known, str)]
            raise UnknownModuleError(
                f"the analysed {type(self._model).__name__} has no module {name!r}.{did_you_mean(name, names)} "
                "by_module() has the names of all"
            )
        return self._aliases[name]

    # ------------------------------------------------------------------------------- what is to be counted
    def set_op_handle(self: T, *args: Any, **kwargs: Handle | None) -> T:
        """Set handles, as pairs of names and handles, or by keywords: ``set_op_handle("aten::add", add, **others)``.

        A handle is ``handle(inputs, outputs)``, see `jit_handles`. With None the operator is ignored.
        """
        if len(args) % 2:
            raise TypeError(
                f"set_op_handle takes pairs of the name of an operator and its handle, got {len(args)} arguments"
            )
        self._stats = None
        for name, handle in [*zip(args[::2], args[1::2], strict=True), *kwargs.items()]:
            if handle is None:
                self._op_handles.pop(name, None)
                self._ignored_ops.add(name)
            else:
                self._op_handles[name] = handle
        return self

    def clear_op_handles(self: T) -> T:
        """Forget all handles, and what was ignored beside what always is."""
        self._op_handles, self._ignored_ops, self._stats = {}, set(_IGNORED_OPS), None
        return self

    def copy(self: T, new_model: nn.Module | None = None, new_inputs: Tensor | tuple[Any, ...] | None = None) -> T:
        """Another analysis with the same settings, of another model or of other inputs if they are given."""
        other = copy.copy(self)
        other._op_handles, other._ignored_ops = dict(self._op_handles), set(self._ignored_ops)
        other._set_model(
            self._model if new_model is None else new_model, self._inputs if new_inputs is None else new_inputs
        )
        return other

    def tracer_warnings(self: T, mode: str) -> T:
        """Which warnings of the tracing get through: "all", "no_tracer_warning" (all but TracerWarning) or "none"."""
        self._warn_trace = _one_of("mode of tracer_warnings", mode, _TRACER_MODES)
        return self

    def ancestor_mode(self: T, mode: str) -> T:
        """Which modules an operator counts for beside the one it ran in. The total is the same.

        "owner": those that the name of that module leads through; "caller": those that were being called.
        """
        self._ancestor_mode = _one_of("ancestor_mode", mode, _ANCESTOR_MODES)
        return self

    def unsupported_ops_warnings(self: T, enabled: bool) -> T:
        """Whether the operators that no handle is for are logged as warnings."""
        self._enable_warn_unsupported_ops = enabled
        return self

    def uncalled_modules_warnings(self: T, enabled: bool) -> T:
        """Whether the modules in which no operator ran are logged as a warning."""
        self._enable_warn_uncalled_mods = enabled
        return self

    # -------------------------------------------------------------------------------------------- counting
    def _counts_of(self, module_name: str) -> Counter[str]:
        counts = self._analyze().counts
        return counts[self.canonical_module_name(module_name)]

    def _analyze(self) -> Statistics:
        if self._stats is not None:
            return self._stats
        names = [self._aliases[module] for _, module in named_modules_with_dup(self._model)]
        stats = Statistics({name: Counter() for name in names}, {name: Counter() for name in names}, set())
        seen: set[str] = set()
        for node in self._traced().nodes():
            scopes = node.scopeName().split("/")
            # The last scope is the module that was called last, by its own name, whoever called it.
            ancestors = set(scopes) if self._ancestor_mode == "caller" else self._get_all_ancestors(scopes[-1])
            seen |= ancestors | set(scopes)
            self._count(node, ancestors, stats)
        stats.uncalled_mods = set(self._aliases.values()) - seen
        self._stats = stats
        self._warn_unsupported_ops(stats.unsupported_ops[""])
        self._warn_uncalled_mods(stats.uncalled_mods)
        return stats

    def _traced(self) -> torch._C.Graph:
        with warnings.catch_warnings():
            if self._warn_trace == "none":
                warnings.simplefilter("ignore")
            elif self._warn_trace == "no_tracer_warning":
                warnings.simplefilter("ignore", TracerWarning)
            graph: torch._C.Graph = scoped_graph(self._model, self._inputs, self._aliases)
        return graph

    def _count(self, node: Any, ancestors: Iterable[str], stats: Statistics) -> None:
        kind = node.kind()
        if kind == "prim::PythonOp":
            kind = f"{kind}.{node.pyname()}"
        if kind in self._op_handles:
            found, into = self._handled(kind, list(node.inputs()), list(node.outputs())), stats.counts
        elif self._should_ignore_node(node):
            return
        else:
            found, into = Counter({kind: 1}), stats.unsupported_ops
        for name in ancestors:
            into[name] += found

    def _handled(self, kind: str, inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        found = self._op_handles[kind](inputs, outputs)
        if not isinstance(found, Counter):
            found = Counter({self._simplify_op_name(kind): found})
        for name, count in found.items():
            if not isinstance(count, (int, float, np.float64, np.int64)):
                raise ValueError(
                    f"the handle of {kind} counted {name!r} as a {type(count).__name__}, which may overflow: "
                    "return an int, a float, or NumPy's int64 or float64"
                )
        return found

    def _should_ignore_node(self, node: Any) -> bool:
        kind: str = node.kind()
        return kind in self._ignored_ops or (kind.startswith("prim::") and not kind.startswith(_CALLS))

    def _simplify_op_name(self, full_op_name: str) -> str:
        return full_op_name.partition("::")[2] or full_op_name

    # --------------------------------------------------------------------------------------------- modules
    def _get_aliases(self, model: nn.Module) -> dict[nn.Module | str, str]:
        """The name that counts of each module, and of each of its names."""
        aliases: dict[nn.Module | str, str] = {}
        for name, module in named_modules_with_dup(model):
            aliases[name] = aliases.setdefault(module, name)
        return aliases

    def _get_all_ancestors(self, module_name: str) -> set[str]:
        parts = self.canonical_module_name(module_name).split(".")
        return {".".join(parts[:n]) for n in range(len(parts) + 1)}

    def _has_forward(self, mod_name: str) -> bool:
        """Whether the absence of operators in that module is worth a word."""
        forward = getattr(type(self._named_modules.get(mod_name)), "forward", None)
        return forward is not None and all(forward is not kind.forward for kind in _NEVER_CALLED)

    def _warn_unsupported_ops(self, ops: Counter[str]) -> None:
        if self._enable_warn_unsupported_ops:
            for name, times in ops.items():
                print_log(f"Unsupported operator {name} encountered {times} time(s)", "current", logging.WARNING)

    def _warn_uncalled_mods(self, uncalled_mods: set[str]) -> None:
        names = sorted(name for name in uncalled_mods if self._has_forward(name))
        if self._enable_warn_uncalled_mods and names:
            print_log(
                "These modules were never called in the traced pass, so nothing is counted for them: they are not "
                "used, or by .forward() or another method, and what ran then counts for the module around them.\n"
                + ", ".join(names),
                "current",
                logging.WARNING,
            )


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{what} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value
