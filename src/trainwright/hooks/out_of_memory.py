"""What filled the memory, found from an error and from what is alive when it is raised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.base.text import table
from trainwright.engine.core import run_iter
from trainwright.optim import BaseOptimWrapper

_MIB = 2**20
_HOST_MESSAGES = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "out of memory")
_KINDS = ("weights", "gradients", "optimizer state", "buffers", "in use")
_N_MODULES = 20
_DEEPEST_BATCH = 6
_MOST_ITEMS = 1000  # of a container that are looked at


@dataclass
class Held:
    """A tensor, the dotted name of the module that it belongs to, and what it is to it."""

    module: str
    kind: str
    name: str
    tensor: Tensor

    @property
    def n_bytes(self) -> int:
        return int(self.tensor.untyped_storage().nbytes())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a device or the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _HOST_MESSAGES)


def memory_report(runner: Any, phase: str, error: BaseException, n_top: int) -> str:
    """The report as text; tensors are asked for their shapes only, and nothing is allocated on a device."""
    model: nn.Module = runner.strategy.unwrapped_model
    frames = list(_frames(error))
    names = {id(module): name for name, module in model.named_modules()}
    found = [*_of_model(model), *_of_optimizers(runner, model), *_of_hooks(runner), *_in_frames(frames, names)]
    held = _without_repetitions(found)
    where = [names[id(m)] for f in frames if (m := _module_of(f)) is not None and names.get(id(m))]
    blocks = [
        f"Out of memory in {phase}, epoch {runner.epoch + 1}, iteration {runner.iter + 1}: {_first_line(error)}",
        f"module: {where[-1] if where else 'none of the model: before, between or after its modules'}",
        _batch_lines(frames),
        _device_line(runner.strategy.device, sum(item.n_bytes for item in held)),
        "MiB by module:\n" + _by_module(held),
        f"the {n_top} largest tensors:\n" + _largest(held, n_top),
        "To use less: a smaller batch_size with accumulative_counts=... in optim_wrapper; AmpOptimWrapper; "
        "activation_checkpointing=[...] for the modules that keep most.",
    ]
    return "\n\n".join(blocks)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that the error went through, outermost first."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _module_of(frame: FrameType) -> nn.Module | None:
    owner = frame.f_locals.get("self")
    return owner if isinstance(owner, nn.Module) else None


# -- what is held ------------------------------------------------------------------------------------------------------
def _of_model(model: nn.Module) -> Iterator[Held]:
    for name, parameter in model.named_parameters():
        module, _, last = name.rpartition(".")
        yield Held(module, "weights", last, parameter)
        if parameter.grad is not None:
            yield Held(module, "gradients", last, parameter.grad)
    for name, buffer in model.named_buffers():
        module, _, last = name.rpartition(".")
        yield Held(module, "buffers", last, buffer)


def _of_optimizers(runner: Any, model: nn.Module) -> Iterator[Held]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if not isinstance(runner.optim_wrapper, BaseOptimWrapper):  # a validation or test without training
        return
    for wrapper in runner.strategy._wrappers():
        for parameter, state in wrapper.optimizer.state.items():
            module, _, last = names.get(id(parameter), "").rpartition(".")
            for key, value in state.items():
                if isinstance(value, Tensor):
                    yield Held(module, "optimizer state", f"{last} {key}", value)


def _of_hooks(runner: Any) -> Iterator[Held]:
    """Models that hooks keep, an average for instance; what they share with the trained one counts there."""
    for hook in runner.hooks:
        for attribute, value in vars(hook).items():
            if isinstance(value, nn.Module):
                for item in _of_model(value):
                    inner = f"{item.module}.{item.name}".lstrip(".")
                    yield Held(f"{type(hook).__name__}.{attribute}", item.kind, inner, item.tensor)


def _in_frames(frames: list[FrameType], names: dict[int, str]) -> Iterator[Held]:
    """Local variables, by the module whose method it is, or that called it."""
    module = ""
    for frame in frames:
        owner = _module_of(frame)
        if owner is not None:
            module = names.get(id(owner), module)
        for name, value in list(frame.f_locals.items()):
            for key, tensor in _tensors_in(value, name):
                yield Held(module, "in use", f"{key} in {frame.f_code.co_name}()", tensor)


def _tensors_in(value: Any, name: str, depth: int = 3) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif depth and type(value) in (dict, list, tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in islice(items, _MOST_ITEMS):
            yield from _tensors_in(item, f"{name}[{key!r}]", depth - 1)


def _without_repetitions(held: list[Held]) -> list[Held]:
    """One entry a storage: views share one, and so do tied weights."""
    seen: set[int] = set()
    kept: list[Held] = []
    for item in held:
        if item.tensor.layout is not torch.strided or item.tensor.device.type == "meta":
            continue
        pointer = item.tensor.untyped_storage().data_ptr()
        if pointer not in seen:
            seen.add(pointer)
            kept.append(item)
    return kept


# -- what is written ---------------------------------------------------------------------------------------------------
def _batch_lines(frames: list[FrameType]) -> str:
    """The batch of the innermost iteration that was running."""
    running = [frame for frame in frames if frame.f_code is run_iter.__code__]
    if not running:
        return "batch: no iteration was running"
    found = running[-1].f_locals
    return f"batch {found['index']}: " + "\n".join(_shapes(found["batch"]))


def _shapes(value: Any, depth: int = 1) -> Iterator[str]:
    """What `value` is, and on the lines that follow what is in it."""
    indent = "  " * depth
    is_container = isinstance(value, (Mapping, list, tuple)) and depth <= _DEEPEST_BATCH
    if isinstance(value, Tensor):
        yield f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"
    elif not is_container:
        yield type(value).__name__
    else:
        yield f"{type(value).__name__} of {len(value)}"
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield f"{indent}{key}: " + "\n".join(_shapes(item, depth + 1))
        else:  # equal ones once
            yield from dict.fromkeys(indent + "\n".join(_shapes(item, depth + 1)) for item in value)


def _device_line(device: torch.device, n_found: int) -> str:
    found = f"{n_found / _MIB:.1f} MiB are in the tensors found below"
    if device.type != "cuda":
        return f"{device}: {found}"
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.get_device_properties(device).total_memory
    numbers = (
        f"{allocated / _MIB:.1f} MiB in tensors now, {peak / _MIB:.1f} at most, {reserved / _MIB:.1f} held by torch"
    )
    rest = "the rest is mostly what autograd keeps for the backward pass"
    return f"{device}: {numbers}, of {total / _MIB:.1f}; {found}, {rest}"


def _by_module(held: list[Held]) -> str:
    sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_KINDS, 0))
    for item in held:
        sums[item.module][item.kind] += item.n_bytes
    order = sorted(sums, key=lambda name: (-sum(sums[name].values()), name))
    rows = [[name or "(top level)", *_cells(sums[name])] for name in order[:_N_MODULES]]
    if len(order) > _N_MODULES:
        rest = {kind: sum(sums[name][kind] for name in order[_N_MODULES:]) for kind in _KINDS}
        rows.append([f"({len(order) - _N_MODULES} others)", *_cells(rest)])
    return table(rows, ["module", "all", *_KINDS])


def _cells(sums: dict[str, int]) -> list[str]:
    return [f"{n / _MIB:.3f}" for n in (sum(sums.values()), *(sums[kind] for kind in _KINDS))]


def _largest(held: list[Held], n_top: int) -> str:
    rows = [
        [f"{item.n_bytes / _MIB:.3f}", item.module or "(top level)", item.kind, item.name]
        + [str(tuple(item.tensor.shape)), str(item.tensor.dtype).removeprefix("torch."), str(item.tensor.device)]
        for item in sorted(held, key=lambda item: -item.n_bytes)[:n_top]
    ]
    return table(rows, ["MiB", "module", "what", "name", "shape", "dtype", "device"])
