"""The weights of a module in the layout of MMEngine and MMCV: taken out of it and put into it, wrappers left out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from trainwright.base.errors import CheckpointError, demand
from trainwright.base.logs import print_log
from trainwright.dist import get_rank
from trainwright.model.test_time_aug import BaseTTAModel
from trainwright.model.utils import is_model_wrapper
from trainwright.utils.misc import apply_to

IsWrapper = Callable[[Any], bool]
HEAD = "The model and loaded state dict do not match exactly\n"


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class _IncompatibleKeys(_Keys):
    """Names that only one of the two has; hooks of a module may change the lists."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"{type(self).__name__}(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def load_state_dict(
    module: Any, state_dict: Mapping[str, Any], strict: bool = False, logger: logging.Logger | str | None = None
) -> None:
    """Load weights into ``module``, also inside of model wrappers; what does not fit is told once, by rank 0.

    It is a warning of ``logger``, a line on stdout without one, or with ``strict`` an error. Modules that load older
    versions of themselves get the version that was saved. Counters of batch norms may be missing.
    """
    text = "\n".join(problems_of_loading(module, state_dict, _stands_for_its_module))
    if text and get_rank() == 0:
        if strict:
            raise CheckpointError(f"{HEAD}\n{text}")
        print_log(f"{HEAD}\n{text}", logger, logging.WARNING)


def _stands_for_its_module(module: Any) -> bool:
    return is_model_wrapper(module) or isinstance(module, BaseTTAModel)


def problems_of_loading(module: Any, state_dict: Mapping[str, Any], is_wrapper: IsWrapper) -> list[str]:
    """Load what fits of ``state_dict``, and say what does not."""
    metadata = getattr(state_dict, "_metadata", None)
    state: Any = OrderedDict(state_dict)
    if metadata is not None:
        state._metadata = metadata
    missing: list[str] = []
    unexpected: list[str] = []
    problems: list[str] = []

    def load(one: Any, state: Any, prefix: str) -> None:
        one = one.module if is_wrapper(one) else one
        local = {} if metadata is None else metadata.get(prefix[:-1], {})
        one._load_from_state_dict(state, prefix, local, True, missing, unexpected, problems)
        for name, child in one._modules.items():
            if child is not None:
                start = f"{prefix}{name}."
                load(child, {key: value for key, value in state.items() if key.startswith(start)}, start)
        for hook in getattr(one, "_load_state_dict_post_hooks", {}).values():
            demand(
                hook(one, _IncompatibleKeys(missing, unexpected)) is None,
                "a hook of register_load_state_dict_post_hook must return nothing: it changes the lists of missing and "
                "unexpected keys in place",
            )

    load(module, state, "")
    missing = [name for name in missing if "num_batches_tracked" not in name]
    if unexpected:
        problems.append(f"unexpected key in source state_dict: {', '.join(unexpected)}\n")
    if missing:
        problems.append(f"missing keys in source state_dict: {', '.join(missing)}\n")
    return problems


def weights_to_cpu(state_dict: Mapping[str, Any]) -> Any:
    """The state on the CPU, with the versions of its modules; dicts and lists inside of it keep their types."""
    moved: Any = OrderedDict(
        (name, apply_to(value, lambda one: hasattr(one, "cpu"), lambda one: one.cpu()))
        for name, value in state_dict.items()
    )
    moved._metadata = getattr(state_dict, "_metadata", OrderedDict())
    return moved


def _save_to_state_dict(module: nn.Module, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Put what ``module`` itself has into ``destination``."""
    buffers = {name: value for name, value in module._buffers.items() if name not in module._non_persistent_buffers_set}
    for table in (module._parameters, buffers):
        for name, value in table.items():
            if value is not None:
                destination[prefix + name] = value if keep_vars else value.detach()


def get_state_dict(module: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
    """The parameters and buffers of ``module``; of model wrappers, also deep inside, what they wrap."""

    def save(one: Any, destination: Any, prefix: str) -> None:
        one._save_to_state_dict(destination, prefix, keep_vars)

    return collected_state(module, destination, prefix, save, is_model_wrapper)


def collected_state(
    module: Any, destination: Any, prefix: str, save: Callable[[Any, Any, str], None], is_wrapper: IsWrapper
) -> Any:
    """What ``save(module, destination, prefix)`` takes of a module and of all below it; ``is_wrapper`` says of what
    the ``module`` is meant."""
    if is_wrapper(module):
        module = module.module
    if destination is None:
        destination = OrderedDict()
        destination._metadata = OrderedDict()
    destination._metadata[prefix[:-1]] = local = {"version": module._version}
    save(module, destination, prefix)
    for name, child in module._modules.items():
        if child is not None:
            collected_state(child, destination, f"{prefix}{name}.", save, is_wrapper)
    for hook in module._state_dict_hooks.values():
        result = hook(module, destination, prefix, local)
        if result is not None:
            destination = result
    return destination
