"""Statistics of a model by module, brought into the form in which they are shown.

They are dicts of dicts: by statistic and then by module where they come from an analysis, and by module and then by
statistic from `group_by_module` on. Modules go by their names, the model by ``""``. No function changes its arguments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from trainwright.analysis.tables import format_size, plain_table


def pretty_statistics(
    statistics: Mapping[str, Mapping[str, float]], sig_figs: int = 3, hide_zero: bool = False
) -> dict[str, dict[str, str]]:
    """Numbers as texts with units, see `format_size`."""
    return {
        module: {name: format_size(value, sig_figs, hide_zero) for name, value in stats.items()}
        for module, stats in statistics.items()
    }


def group_by_module(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What goes by statistic and module goes by module and statistic."""
    grouped: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, values in statistics.items():
        for module, value in values.items():
            grouped[module][name] = value
    return dict(grouped)


def indicate_uncalled_modules(
    statistics: Mapping[str, Mapping[str, str]],
    stat_name: str,
    uncalled_modules: Iterable[str],
    uncalled_indicator: str = "N/A",
) -> dict[str, dict[str, str]]:
    """With `uncalled_indicator` as the statistic of the modules that were not called."""
    marked = {module: dict(stats) for module, stats in statistics.items()}
    for module in uncalled_modules:
        marked.setdefault(module, {})[stat_name] = uncalled_indicator
    return marked


def remove_zero_statistics(
    statistics: Mapping[str, Mapping[str, float]],
    force_keep: set[str] | None = None,
    require_trivial_children: bool = False,
) -> dict[str, dict[str, float]]:
    """Without the modules that have zeros only, each after those in it.

    Kept are those of `force_keep`, the model if that is not given; and with `require_trivial_children` modules in which
    others are kept.
    """
    children = _children(statistics)
    keep = force_keep or {""}
    kept: dict[str, dict[str, float]] = {}

    def look_at(module: str) -> None:
        for child in children[module]:
            look_at(child)
        has_kept = require_trivial_children and any(child in kept for child in children[module])
        if module in keep or has_kept or any(value != 0 for value in statistics[module].values()):
            kept[module] = dict(statistics[module])

    look_at("")
    return kept


def fill_missing_statistics(
    model: nn.Module, statistics: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """With a zero for each module that a statistic does not have. They go by statistic and module."""
    modules = [name for name, _ in model.named_modules()]
    return {
        name: {**values, **{module: 0 for module in modules if module not in values}}
        for name, values in statistics.items()
    }


def model_stats_str(model: nn.Module, statistics: Mapping[str, Mapping[str, str]]) -> str:
    """As ``str(model)``, each module with its statistics below its settings."""

    def written(module: nn.Module, name: str) -> str:
        extra = module.extra_repr()
        lines = extra.split("\n") if extra else []
        if statistics.get(name):
            lines.append(", ".join(f"{stat}: {value}" for stat, value in statistics[name].items()))
        n_own = len(lines)
        for key, child in module._modules.items():
            text = "None" if child is None else written(child, f"{name}.{key}" if name else key)
            lines.append(f"({key}): " + text.replace("\n", "\n  "))
        if len(lines) == n_own == 1:
            return f"{module._get_name()}({lines[0]})"
        return f"{module._get_name()}(" + "".join(f"\n  {line}" for line in lines) + ("\n)" if lines else ")")

    return written(model, "")


def get_input_sizes(iterable: Iterable[Any]) -> list[Any]:
    """The shapes of tensors, nested as they are; None for what is no tensor and holds none."""
    sizes: list[Any] = []
    for item in iterable:
        if isinstance(item, torch.Tensor):
            sizes.append(list(item.shape))
        elif isinstance(item, Iterable) and not isinstance(item, str):
            inner = get_input_sizes(item)
            sizes.append(inner if any(size is not None for size in inner) else None)
        else:
            sizes.append(None)
    return sizes


def get_single_child(name: str, statistics: Mapping[str, Any]) -> str | None:
    """The module directly below that one, if there is one and no other."""
    found = _children(statistics)[name]
    return found[0] if len(found) == 1 else None


def try_combine(stats1: Mapping[str, str], stats2: Mapping[str, str]) -> dict[str, str] | None:
    """Two rows as one, if they have the same statistics and nowhere two texts that differ."""
    if stats1.keys() != stats2.keys() or any(stats1[k] and stats2[k] and stats1[k] != stats2[k] for k in stats1):
        return None
    return {name: value or stats2[name] for name, value in stats1.items()}


def fastforward(name: str, statistics: Mapping[str, Mapping[str, str]]) -> tuple[str, dict[str, str]]:
    """One row for a module and the only one in it, as far as rows can be combined: its name, and its statistics."""
    return _fastforward(name, statistics, _children(statistics))


def _fastforward(
    name: str, statistics: Mapping[str, Mapping[str, str]], children: Mapping[str, list[str]]
) -> tuple[str, dict[str, str]]:
    row = dict(statistics[name])
    while len(children[name]) == 1:
        child = children[name][0]
        combined = try_combine(row, statistics[child])
        if combined is None:
            break
        name, row = child, combined
    return name, row


def stats_table_format(
    statistics: Mapping[str, Mapping[str, str]], max_depth: int = 3, stat_columns: Iterable[str] | None = None
) -> str:
    """A table with a row for each module, indented by its depth; those deeper than `max_depth` are left out.

    `stat_columns` are the statistics to show, in that order; all by default. A module and the only one in it share a
    row where nothing is lost by it, and a first part that all names share is left out of them.
    """
    columns = list(stat_columns or dict.fromkeys(name for stats in statistics.values() for name in stats))
    children = _children(statistics)
    rows: list[list[str]] = []

    def add(name: str, row: Mapping[str, str], depth: int) -> None:
        indent = " " * depth
        rows.append([indent + name, *(indent + row[column] if column in row else "" for column in columns)])

    root, root_row = _fastforward("", statistics, children)
    add(root or "model", root_row, 0)
    prefix = f"{root}." if root else ""

    def add_below(name: str, depth: int) -> None:
        if depth > max_depth:
            return
        for child in children[name]:
            last, row = _fastforward(child, statistics, children)
            add(last.removeprefix(prefix), row, depth)
            add_below(last, depth + 1)

    add_below(root, 1)
    return plain_table(("module", *columns), rows)


def _children(statistics: Iterable[str]) -> dict[str, list[str]]:
    """The modules directly below each module, in order."""
    children: dict[str, list[str]] = defaultdict(list)
    for name in statistics:
        if name:
            children[name.rpartition(".")[0]].append(name)
    return children
