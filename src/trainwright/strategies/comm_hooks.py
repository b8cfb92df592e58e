"""What DistributedDataParallel sends in place of plain gradients, from a config."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean

_DEFAULT = "torch.distributed.algorithms.ddp_comm_hooks.default_hooks"
_POWER_SGD = "torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook"
_KNOWN = {
    "fp16": f"{_DEFAULT}.fp16_compress_hook",
    "bf16": f"{_DEFAULT}.bf16_compress_hook",
    "powersgd": f"{_POWER_SGD}.powerSGD_hook",
    "batched_powersgd": f"{_POWER_SGD}.batched_powerSGD_hook",
}


class CommHook:
    """``comm_hook`` of DDPStrategy: 'fp16', 'bf16', 'powersgd', 'batched_powersgd', a dotted name or a function
    ``hook(state, bucket)``; or ``dict(type=one of these, **options)``. The options are those of torch's PowerSGDState;
    for a hook of one's own there is ``state``: what makes it, in the same three forms.
    """

    def __init__(self, cfg: Any) -> None:
        given = dict(cfg) if isinstance(cfg, dict) else {"type": cfg}
        kind = given.pop("type", None)
        self.name = kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind))
        if isinstance(kind, str) and "." not in kind and kind not in _KNOWN:
            raise ConfigError(
                f"comm_hook {kind!r} is none of {', '.join(_KNOWN)}, and no dotted name.{did_you_mean(kind, _KNOWN)}"
            )
        if not isinstance(kind, str) and not callable(kind):
            raise ConfigTypeError(f"comm_hook must be a name, a function or a dict with a type, but got {cfg!r}.")
        if kind == "bf16" and "nccl" not in str(torch_dist.get_backend()):
            raise ConfigError(
                f"comm_hook='bf16' needs the backend NCCL, and this group has {torch_dist.get_backend()}: torch has "
                "no such hook for it. Take 'fp16', or leave comm_hook out."
            )
        self._hook = _imported(_KNOWN.get(kind, kind)) if isinstance(kind, str) else kind
        self._is_known = isinstance(kind, str) and kind in _KNOWN
        made_by: Any = None if self._is_known else given.pop("state", None)
        if kind in ("powersgd", "batched_powersgd"):
            made_by = import_module(_POWER_SGD).PowerSGDState
            given = {"process_group": None, **given}
        elif given:
            raise ConfigError(f"comm_hook {self.name!r} takes no settings, but got {', '.join(given)}.")
        if isinstance(made_by, dict):
            given = dict(made_by)
            made_by = given.pop("type", None)
        if isinstance(made_by, str):
            made_by = _imported(made_by)
        self._make_state, self._options = made_by, given
        if made_by is not None:
            self._check_options()

    def _check_options(self) -> None:
        try:
            inspect.signature(self._make_state).bind(**self._options)
            self.state()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"comm_hook {self.name!r}: {error}.") from error

    @property
    def has_state(self) -> bool:
        """Whether it remembers something from step to step."""
        return self._make_state is not None

    def state(self) -> Any:
        """A state for one wrapper."""
        return None if self._make_state is None else self._make_state(**self._options)

    def register(self, wrapper: Any) -> None:
        """Have ``wrapper`` use the hook."""
        wrapper.register_comm_hook(self.state(), self._hook if self._is_known else _unannotated(self._hook))


def _unannotated(hook: Any) -> Any:
    """``hook`` without annotations: torch looks at these, and takes none that are strings."""

    def called(state, bucket):  # type: ignore[no-untyped-def]
        return hook(state, bucket)

    called.__qualname__ = getattr(hook, "__qualname__", repr(hook))
    return called


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"comm_hook names {name!r}, which cannot be imported: {error}.") from error
