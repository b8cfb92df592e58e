"""Checkpoint folders of DeepSpeed: the weights, put together from the parts of the ranks, without running their code.

Each file is a pickle that names classes of DeepSpeed; ``foreign_values.py`` knows these as data. From ZeRO stage 1 on
the weights of single precision are in the files of the optimizer, in flat tensors, a part a rank.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.format import MapLocation, read_file

_MODEL = re.compile(r"(?:zero_pp_rank_(\d+)_)?mp_rank_(\d+)_model_states\.pt")
_OPTIM = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
Shapes = Mapping[str, Sequence[int]]


def is_deepspeed(folder: Path) -> bool:
    """Whether ``folder`` is a checkpoint that DeepSpeed wrote, or holds one that its file ``latest`` names."""
    return any(_MODEL.fullmatch(file.name) for file in _tagged(folder).glob("*_model_states.pt"))


def read_deepspeed(folder: Path, map_location: MapLocation = "cpu") -> dict[str, Any]:
    """``state_dict``, whole and of single precision where the ranks had it so, and ``meta``. The states of the
    optimizer are left out. CheckpointError for parts that are missing, or divided in another way."""
    step = _tagged(folder)
    models, optims = _by_rank(step, _MODEL, "*_model_states.pt"), _by_rank(step, _OPTIM, "*_optim_states.pt")
    first = read_file(models[0], map_location)
    state = _module(first)
    if optims:
        parts = [read_file(path, map_location).get("optimizer_state_dict") or {} for path in optims]
        others = [read_file(path, map_location) for path in models[1:]]
        try:
            _check(step, first, parts)
            state = _merged([first, *others], parts, state)
        except CheckpointError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{str(step)!r} is no whole checkpoint of DeepSpeed: its parts do not make up the shapes that it names "
                f"({type(error).__name__}: {str(error)[:100]}). Copy it again, or use DeepSpeed's zero_to_fp32.py."
            ) from error
    elif any(value is not None and value.numel() == 0 for value in state.values()):
        raise CheckpointError(f"{str(step)!r} has no *_optim_states.pt, in which the weights of ZeRO stage 3 are.")
    return {"state_dict": state, "meta": {"deepspeed_version": str(first.get("ds_version", "unknown"))}}


def _tagged(folder: Path) -> Path:
    latest = folder / "latest"
    if not latest.is_file():
        return folder
    tag = latest.read_text(encoding="utf-8", errors="replace").strip()
    return folder / tag if re.fullmatch(r"[\w.-]+", tag) and tag not in (".", "..") else folder


def _by_rank(step: Path, name: re.Pattern[str], pattern: str) -> list[str]:
    ranks: dict[int, str] = {}
    for file in step.glob(pattern):
        found = name.fullmatch(file.name)
        if found is None or int(found[2]) != 0:
            raise CheckpointError(
                f"{str(file)!r}: the model is divided by tensors, layers or experts, which is not read here. Make one "
                "file of it with DeepSpeed's tools."
            )
        ranks[int(found[1] or 0)] = str(file)
    if list(ranks) and sorted(ranks) != list(range(len(ranks))):
        raise CheckpointError(f"{str(step)!r} has {pattern} of the ranks {sorted(ranks)} only: copy it again.")
    return [ranks[rank] for rank in sorted(ranks)]


def _module(model: Mapping[str, Any]) -> OrderedDict[str, Any]:
    module = model.get("module")
    items = module.items() if isinstance(module, Mapping) else ()
    return OrderedDict((name, value) for name, value in items if isinstance(value, torch.Tensor))


def _check(step: Path, first: Mapping[str, Any], parts: list[dict[str, Any]]) -> None:
    counts = parts[0].get("partition_count", len(parts))
    n_parts = max(counts) if isinstance(counts, (list, tuple)) else counts
    if n_parts != len(parts):
        raise CheckpointError(f"{str(step)!r} has {len(parts)} of {n_parts} *_optim_states.pt: copy it again.")
    if not isinstance(first.get("param_shapes"), (list, tuple)):
        raise CheckpointError(f"{str(step)!r} says nothing of the shapes of its parameters.")


def _merged(models: list[Any], parts: list[Any], state: OrderedDict[str, Any]) -> OrderedDict[str, Any]:
    first = models[0]
    if int(parts[0]["zero_stage"]) == 3:
        found = _of_stage_3(models, [part["fp32_flat_groups"] for part in parts])
    else:
        paddings = parts[0].get("param_alignment_paddings")
        flats = [part["single_partition_of_fp32_groups"] for part in parts]
        found = _of_stages_1_and_2(first["param_shapes"], flats, paddings)
    for name, other in (first.get("shared_params") or {}).items():
        found[name] = found[other]
    # In the model's order; frozen weights and buffers of the stages below 3 are in the module as they are.
    names = list(dict.fromkeys([*state, *found]))
    return OrderedDict((name, found[name] if name in found else state[name]) for name in names)


def _of_stages_1_and_2(groups: Sequence[Shapes], flats: list[Any], paddings: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for number, shapes in enumerate(groups):
        whole = torch.cat([flat[number] for flat in flats])
        begin = 0
        for place, (name, shape) in enumerate(shapes.items()):
            length = math.prod(shape)
            found[name] = whole.narrow(0, begin, length).reshape(tuple(shape)).clone()
            begin += length + (paddings[number][place] if paddings else 0)
    return found


def _of_stage_3(models: list[Any], flats: list[Any]) -> dict[str, torch.Tensor]:
    """Of each parameter every rank has an equal part, the last ones with zeros behind it."""
    lines = [torch.cat([group.reshape(-1) for group in flat]) for flat in flats]
    found: dict[str, torch.Tensor] = {}
    begin = 0
    for name, shape in (item for shapes in models[0]["param_shapes"] for item in shapes.items()):
        length = -(-math.prod(shape) // len(lines))
        found[name] = _joined([line.narrow(0, begin, length) for line in lines], shape)
        begin += length
    for name, shape in (models[0].get("frozen_param_shapes") or {}).items():
        found[name] = _joined([model["frozen_param_fragments"][name].reshape(-1) for model in models], shape)
    return found


def _joined(parts: list[torch.Tensor], shape: Sequence[int]) -> torch.Tensor:
    return torch.cat(parts)[: math.prod(shape)].reshape(tuple(shape)).clone()
