"""Which modules of a model become units of FSDP, and which are checkpointed, compiled or left alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from logging import WARNING
from typing import Any

from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean

Policy = Callable[..., bool]


def chosen(model: nn.Module, names: Iterable[str], setting: str) -> list[nn.Module]:
    """The modules that ``names`` name, in the model's order: by class, by their own name, or by a pattern of that, in
    which ``*`` stands for one part and ``**`` for any number of them. One that names nothing is a ConfigError."""
    found: set[nn.Module] = set()
    named = dict(model.named_modules())
    kinds = {type(module).__name__ for module in named.values()}
    for name in names:
        pattern = _pattern(name)
        fitting = {m for path, m in named.items() if type(m).__name__ == name or (path and pattern.fullmatch(path))}
        if not fitting:
            raise ConfigError(
                f"FSDPStrategy {setting} names {name!r}, and {type(model).__name__} has no module of that class or "
                f"name.{did_you_mean(name, [*kinds, *filter(None, named)])}"
            )
        found |= fitting
    return [module for module in named.values() if module in found]


def ignored_params(model: nn.Module, names: Iterable[str]) -> set[nn.Parameter]:
    """The parameters that ``names`` name, themselves or by a module that holds them."""
    own = dict(model.named_parameters(remove_duplicate=False))
    found: set[nn.Parameter] = set()
    for name in names:
        pattern = _pattern(name)
        fitting = {param for path, param in own.items() if pattern.fullmatch(path)}
        found |= fitting or {p for module in chosen(model, [name], "ignored") for p in module.parameters()}
    return found


def units(
    model: nn.Module,
    names: Sequence[str],
    min_params: int | None,
    policy: Policy | None,
    ignored: set[nn.Parameter],
) -> list[nn.Module]:
    """The modules below ``model`` that become units, children first: those named, those with so many parameters that
    are in no unit yet, and those that `policy`, as FSDP's ``auto_wrap_policy``, chooses."""
    wanted = set(chosen(model, names, "wrap"))
    for path, module in model.named_modules():
        if module in wanted and _is_list(module):
            raise ConfigError(
                f"FSDPStrategy wrap names {path!r}, a {type(module).__name__}, which has no forward that FSDP could "
                f"gather its parameters for. Name what is in it: '{path}.*'."
            )
    if policy is not None:
        wanted |= set(_by_policy(model, policy))
    found: list[nn.Module] = []
    covered = set(ignored)
    holders = Counter(p for module in model.modules() for p in module._parameters.values() if p is not None)
    for path, module in reversed(list(model.named_modules())):
        own = [p for p in module.parameters() if p not in covered]
        is_large = min_params is not None and sum(p.numel() for p in own) >= min_params
        if module is not model and own and (module in wanted or is_large) and not _is_list(module):
            if tied := _tied_outside(module, set(own), holders):
                print_log(f"{path} is no unit of FSDP: its {tied} is tied to one outside of it", "current", WARNING)
                continue
            found.append(module)
            covered.update(own)
    return found


def _tied_outside(module: nn.Module, own: set[nn.Parameter], holders: Counter[nn.Parameter]) -> str:
    """The name of a parameter that another module holds too: a unit gathers it for itself alone."""
    inside = Counter(p for part in module.modules() for p in part._parameters.values() if p is not None)
    names = [name for name, param in module.named_parameters() if param in own and inside[param] < holders[param]]
    return names[0] if names else ""


def _is_list(module: nn.Module) -> bool:
    """Whether it is a container without a forward, which FSDP cannot gather for."""
    return isinstance(module, (nn.ModuleList, nn.ModuleDict))


def _by_policy(model: nn.Module, policy: Policy) -> list[nn.Module]:
    """As torch.distributed.fsdp.wrap asks: whether to look into a module, and whether what is left of it is a unit."""
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> int:
        n_params = sum(p.numel() for p in module.parameters())
        if not policy(module=module, recurse=True, nonwrapped_numel=n_params):
            return 0
        n_inside = sum(visit(child) for child in module.children())
        if module is not model and policy(module=module, recurse=False, nonwrapped_numel=n_params - n_inside):
            found.append(module)
            return n_params
        return n_inside

    visit(model)
    return found


def checkpointed(model: nn.Module, setting: Any, found_units: list[nn.Module]) -> list[str]:
    """The names of the modules that ``activation_checkpointing`` means: True stands for the units, or the model if
    there are none; a function of a module says it of each; else they are chosen by name."""
    if setting is None or setting is False:
        return []
    if setting is True:
        modules = found_units or [model]
    elif callable(setting):
        modules = [module for module in model.modules() if setting(module)]
    else:
        modules = chosen(model, [setting] if isinstance(setting, str) else setting, "activation_checkpointing")
    wanted = set(modules)
    return [name for name, module in model.named_modules() if module in wanted]


def _pattern(name: str) -> re.Pattern[str]:
    text = re.escape(name).replace(r"\*\*", ".+").replace(r"\*", r"[^.]+")
    return re.compile(text)
