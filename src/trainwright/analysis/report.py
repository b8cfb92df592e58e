"""What a model costs, as a text of its structure and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.analysis.complexity_analysis import ActivationAnalyzer, FlopAnalyzer, parameter_count
from trainwright.analysis.jit_analysis import JitModelAnalysis
from trainwright.analysis.statistics import (
    fill_missing_statistics,
    group_by_module,
    indicate_uncalled_modules,
    model_stats_str,
    pretty_statistics,
    remove_zero_statistics,
    stats_table_format,
)
from trainwright.analysis.tables import format_size

# MMEngine's words: programs look for them in the text.
_NOTE = (
    "N/A indicates a possibly missing statistic due to how the module was called. "
    "Missing values are still included in the parent's total.\n"
)


def complexity_stats_str(flops: FlopAnalyzer, activations: ActivationAnalyzer | None = None) -> str:
    """As ``str(model)``, each module with its parameters, its multiply-adds and, if given, its activations.

    A module that has nothing of them has no numbers, and one that was not called has ``N/A``.
    """
    analyses: dict[str, JitModelAnalysis] = {"#flops": flops}
    if activations is not None:
        analyses["#acts"] = activations
    with _quiet(analyses.values()):
        stats: Any = {"#params": dict(parameter_count(flops._model)), **_by_module(analyses)}
        uncalled = {name: analysis.uncalled_modules() for name, analysis in analyses.items()}
    any_uncalled = set().union(*uncalled.values())
    stats = group_by_module(fill_missing_statistics(flops._model, stats))
    stats = pretty_statistics(remove_zero_statistics(stats, force_keep=any_uncalled), sig_figs=2)
    for name, modules in uncalled.items():
        stats = indicate_uncalled_modules(stats, name, modules)
    return (_NOTE if any_uncalled else "") + model_stats_str(flops._model, stats)


def complexity_stats_table(
    flops: FlopAnalyzer,
    max_depth: int = 3,
    activations: ActivationAnalyzer | None = None,
    show_param_shapes: bool = True,
) -> str:
    """A table of the modules, with their parameters, their multiply-adds and, if given, their activations.

    It goes `max_depth` names below the model. With `show_param_shapes` parameters have rows too, with their shapes. A
    module that was not called has empty cells.
    """
    analyses: dict[str, JitModelAnalysis] = {"#flops": flops}
    if activations is not None:
        analyses["#activations"] = activations
    of_params = "#parameters or shape" if show_param_shapes else "#parameters"
    with _quiet(analyses.values()):
        stats: Any = {of_params: dict(parameter_count(flops._model)), **_by_module(analyses)}
        uncalled = {name: analysis.uncalled_modules() for name, analysis in analyses.items()}
    columns = list(stats)
    stats = pretty_statistics(remove_zero_statistics(group_by_module(stats), require_trivial_children=True))
    for name, modules in uncalled.items():
        stats = indicate_uncalled_modules(stats, name, modules & stats.keys(), uncalled_indicator="")
    for name, param in flops._model.named_parameters():
        if name in stats and show_param_shapes:
            stats[name][of_params] = str(tuple(param.shape))
        elif name in stats:
            del stats[name]
    return stats_table_format(stats, max_depth, columns)


def get_model_complexity_info(
    model: nn.Module,
    input_shape: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None,
    inputs: Tensor | tuple[Any, ...] | None = None,
    show_table: bool = True,
    show_arch: bool = True,
) -> dict[str, int | str]:
    """Multiply-adds, activations and parameters of ``model(*inputs)``.

    Args:
        model: What to analyse, in the mode, train or eval, that it is in.
        input_shape: Instead of inputs their shape without the batch, as ``(3, 224, 224)``, or a tuple of shapes for
            several. They are drawn at random, one sample each.
        inputs: What the model is called with.
        show_table: Whether to make `out_table`, see `complexity_stats_table`.
        show_arch: Whether to make `out_arch`, see `complexity_stats_str`.

    Returns:
        The numbers `flops`, `activations` and `params`; each as a text with a unit by the same name and ``_str``;
        `out_table` and `out_arch`, which are empty where they are not made.
    """
    if (input_shape is None) == (inputs is None):
        given = "neither" if inputs is None else "both"
        raise ValueError(f"give either input_shape or inputs of the model, got {given}")
    if inputs is None:
        inputs = _drawn(input_shape, next((param.device for param in model.parameters()), torch.device("cpu")))
    flops, activations = FlopAnalyzer(model, inputs), ActivationAnalyzer(model, inputs)
    numbers = {"flops": flops.total(), "activations": activations.total(), "params": parameter_count(model)[""]}
    info: dict[str, int | str] = {}
    for name, number in numbers.items():
        info[name], info[f"{name}_str"] = number, format_size(number)
    table = complexity_stats_table(flops, activations=activations) if show_table else ""
    arch = complexity_stats_str(flops, activations) if show_arch else ""
    info["out_table"], info["out_arch"] = table and f"\n{table}", arch and f"\n{arch}"
    return info


def _drawn(shape: Any, device: torch.device) -> tuple[Tensor, ...]:
    shapes = (shape,) if _is_tuple_of(shape, int) else shape
    if not _is_tuple_of(shapes, tuple) or not all(_is_tuple_of(one, int) for one in shapes):
        raise ValueError(
            "input_shape must be a tuple of ints, as (3, 224, 224), or a tuple of such tuples for a model with several "
            f"inputs, got {shape!r}"
        )
    return tuple(torch.randn(1, *one).to(device) for one in shapes)


def _is_tuple_of(value: Any, kind: type) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, kind) for item in value)


def _by_module(analyses: dict[str, JitModelAnalysis]) -> dict[str, dict[str, int]]:
    return {name: dict(analysis.by_module()) for name, analysis in analyses.items()}


@contextmanager
def _quiet(analyses: Iterable[JitModelAnalysis]) -> Iterator[None]:
    """What they would warn of is in the text."""
    with ExitStack() as after:
        for analysis in analyses:
            after.callback(analysis.unsupported_ops_warnings, analysis._enable_warn_unsupported_ops)
            after.callback(analysis.uncalled_modules_warnings, analysis._enable_warn_uncalled_mods)
            after.callback(analysis.tracer_warnings, analysis._warn_trace)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        yield
