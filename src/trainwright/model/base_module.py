"""Modules that know how to initialise their weights."""

from __future__ import annotations

import copy
from abc import ABCMeta
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from trainwright.base.lazy import LazyObject
from trainwright.base.logs import print_log
from trainwright.dist import master_only
from trainwright.model.init_record import recording, update_init_info, write_record
from trainwright.model.utils import is_model_wrapper
from trainwright.model.weight_init import initialize
from trainwright.registry import MODELS

InitCfg = dict[str, Any] | list[dict[str, Any]] | None


class BaseModule(nn.Module, metaclass=ABCMeta):
    """An ``nn.Module`` with `init_cfg`: one config, or several, of the WEIGHT_INITIALIZERS registry.

    Nothing is initialised before ``init_weights`` is called. Without need of that, use ``nn.Module``.
    """

    def __init__(self, init_cfg: InitCfg = None) -> None:
        super().__init__()
        self._set_init_cfg(init_cfg)

    def _set_init_cfg(self, init_cfg: InitCfg) -> None:
        self._is_init = False
        self.init_cfg = copy.deepcopy(init_cfg)

    @property
    def is_init(self) -> bool:
        """Whether ``init_weights`` has run."""
        return self._is_init

    @is_init.setter
    def is_init(self, value: bool) -> None:
        self._is_init = value

    def init_weights(self) -> None:
        """Initialise this module by its `init_cfg`, then its children, then load what is pretrained. It runs once.

        While it runs ``_params_init_info`` is there, in this module and all in it; the outermost call writes it to the
        log: who initialised which parameter.
        """
        with recording(self) as is_outermost:
            if self._is_init:
                print_log(f"init_weights of {type(self).__name__} has run before; it is not run again", "current", 30)
            else:
                self._init_own_and_children()
                self._is_init = True
            if is_outermost:
                self._dump_init_info()

    def _init_own_and_children(self) -> None:
        cfg = self.init_cfg
        steps = [] if not cfg else [cfg] if isinstance(cfg, dict) else list(cfg)
        initialize(self, [step for step in steps if not _is_pretrained(step)])
        for module in self.children():
            child = module
            if is_model_wrapper(child) and not hasattr(child, "init_weights"):
                child = child.module  # type: ignore[assignment]
            if hasattr(child, "init_weights") and not getattr(child, "is_init", False):
                child.init_weights()  # type: ignore[operator]
                update_init_info(child, f"init_weights of {type(child).__name__}")  # what it did by itself
        initialize(self, [step for step in steps if _is_pretrained(step)])

    @master_only
    def _dump_init_info(self) -> None:
        write_record(self)

    def __repr__(self) -> str:
        return super().__repr__() + (f"\ninit_cfg={self.init_cfg}" if self.init_cfg else "")


@MODELS.register_extra
class Sequential(BaseModule, nn.Sequential):
    """``nn.Sequential`` with `init_cfg`."""

    def __init__(self, *args: Any, init_cfg: InitCfg = None) -> None:
        nn.Sequential.__init__(self, *args)
        self._set_init_cfg(init_cfg)


@MODELS.register_extra
class ModuleList(BaseModule, nn.ModuleList):
    """``nn.ModuleList`` with `init_cfg`."""

    def __init__(self, modules: Iterable[nn.Module] | None = None, init_cfg: InitCfg = None) -> None:
        nn.ModuleList.__init__(self, modules)
        self._set_init_cfg(init_cfg)


@MODELS.register_extra
class ModuleDict(BaseModule, nn.ModuleDict):
    """``nn.ModuleDict`` with `init_cfg`."""

    def __init__(self, modules: Mapping[str, nn.Module] | None = None, init_cfg: InitCfg = None) -> None:
        nn.ModuleDict.__init__(self, modules)
        self._set_init_cfg(init_cfg)


def _is_pretrained(step: Any) -> bool:
    kind = step.get("type") if isinstance(step, dict) else None
    if isinstance(kind, LazyObject):
        kind = kind.dotted
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.removesuffix("Init").endswith("Pretrained")
