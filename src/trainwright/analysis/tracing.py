"""The graph of one forward pass, each operator with the modules that it ran in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.jit import _get_trace_graph  # type: ignore[attr-defined]
from torch.nn.parallel import DataParallel, DistributedDataParallel

_WRAPPERS = (DistributedDataParallel, DataParallel)


def named_modules_with_dup(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """As `model.named_modules()`, but a module that is in several places comes by each of its names."""
    yield prefix, model
    for name, module in model._modules.items():
        if module is not None:
            yield from named_modules_with_dup(module, f"{prefix}.{name}" if prefix else name)


def named_modules_without_dup(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module once, by the first name that it comes by."""
    seen = set()
    for name, module in named_modules_with_dup(model):
        if module not in seen:
            seen.add(module)
            yield name, module


def scoped_graph(module: nn.Module, inputs: Any, aliases: Mapping[Any, str]) -> Any:
    """Trace ``module(*inputs)``. The scope of a node is the names of the modules that were being called, by ``/``.

    `aliases` has the name of each module; a scope is pushed when a module is called and popped when it returns, so
    what is called another way, as by ``module.forward()``, runs in the scope around it. A wrapper for several devices
    is not traced: the module in it is, in the wrapper's scope. The model is as before afterwards: its hooks, its
    buffers (a batch norm in training writes to them) and torch's random stream on the CPU and the current GPU.
    """
    with ExitStack() as left:
        root = module
        if isinstance(module, _WRAPPERS):
            left.enter_context(_scope_hooks(module.module, aliases[module]))
            root = module.module
        for _, part in named_modules_without_dup(root):
            _assert_traceable(part, aliases[part])
            left.enter_context(_scope_hooks(part, aliases[part]))
        left.enter_context(_buffers_kept(root))
        left.enter_context(torch.random.fork_rng(_current_gpus()))
        graph, _ = _get_trace_graph(root, inputs)
    return graph


def _assert_traceable(part: nn.Module, name: str) -> None:
    if isinstance(part, torch.jit.ScriptModule):
        what = f"the module {name!r}" if name else "the model"
        raise RuntimeError(
            f"{what} is scripted or traced by torch.jit, and cannot be traced again: analyse the model with the module "
            "that it was made from. Scripted functions can be in it"
        )


@contextmanager
def _scope_hooks(module: nn.Module, name: str) -> Iterator[None]:
    def push(_module: nn.Module, _args: Any) -> None:
        state = torch._C._get_tracing_state()
        if state:
            state.push_scope(name)

    def pop(_module: nn.Module, _args: Any, _output: Any) -> None:
        state = torch._C._get_tracing_state()
        if state:
            state.pop_scope()

    with module.register_forward_pre_hook(push), module.register_forward_hook(pop):
        yield


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    before = [
        (part, name, buffer, buffer.clone())
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for part, name, buffer, value in before:
                part._buffers[name] = buffer.copy_(value)


def _current_gpus() -> list[int]:
    return [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
