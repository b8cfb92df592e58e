"""Modules with `init_cfg`, initialised in MMCV 1.x's order."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from trainwright.compat.mmcv1.cnn.utils.weight_init import initialize, update_init_info
from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.utils.logging import get_logger, logger_initialized, print_log
from trainwright.model.base_module import BaseModule as OwnBaseModule
from trainwright.model.base_module import InitCfg
from trainwright.model.init_record import RECORD, recording


class BaseModule(OwnBaseModule):
    """An `nn.Module` with `init_cfg`, of mmcv.cnn.INITIALIZERS.

    `init_weights` initialises by it, then calls that of each child: what is further in decides. One that is
    `Pretrained` alone ends it there.
    """

    def init_weights(self) -> None:
        """Initialise; the outermost call writes to the log how each parameter came to its values."""
        owner = type(self).__name__
        names = list(logger_initialized)
        logger_name = names[0] if names else "mmcv"
        with recording(self) as is_outermost:
            if is_outermost:
                for known in vars(self)[RECORD].values():
                    known["init_info"] = f"The value is the same before and after init_weights of {owner}"
            if self._is_init:
                warnings.warn(f"init_weights of {owner} has been called more than once.", stacklevel=2)
            elif not self._init_own_and_children_of(logger_name):
                return
            if is_outermost:
                self._dump_init_info(logger_name)

    def _init_own_and_children_of(self, logger_name: str) -> bool:
        """Whether all was done; not by pretrained weights, which nothing may change afterwards."""
        if self.init_cfg:
            print_log(f"initialize {type(self).__name__} with init_cfg {self.init_cfg}", logger=logger_name)
            initialize(self, self.init_cfg)
            if isinstance(self.init_cfg, dict) and self.init_cfg["type"] == "Pretrained":
                return False
        for child in self.children():
            if hasattr(child, "init_weights"):
                child.init_weights()  # type: ignore[operator]
                update_init_info(child, f"Initialized by init_weights of {type(child).__name__}, which its class has")
        self._is_init = True
        return True

    @master_only
    def _dump_init_info(self, logger_name: str) -> None:
        """Write two lines for each parameter to the log files of the logger, or where else it writes."""
        record = vars(self)[RECORD]
        logger = get_logger(logger_name)
        files: list[Any] = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
        texts = [
            f"\n{name} - {param.shape}: \n{record[param]['init_info']} \n" for name, param in self.named_parameters()
        ]
        for file in files:
            file.stream.write("Name of parameter - Initialization information\n")
            file.stream.writelines(texts)
            file.stream.flush()
        if not files:
            for text in texts:
                print_log(text, logger=logger_name)


class Sequential(BaseModule, nn.Sequential):
    """`nn.Sequential` with `init_cfg`."""

    def __init__(self, *args: Any, init_cfg: InitCfg = None) -> None:
        nn.Sequential.__init__(self, *args)
        self._set_init_cfg(init_cfg)


class ModuleList(BaseModule, nn.ModuleList):
    """`nn.ModuleList` with `init_cfg`."""

    def __init__(self, modules: Iterable[nn.Module] | None = None, init_cfg: InitCfg = None) -> None:
        nn.ModuleList.__init__(self, modules)
        self._set_init_cfg(init_cfg)


class ModuleDict(BaseModule, nn.ModuleDict):
    """`nn.ModuleDict` with `init_cfg`."""

    def __init__(self, modules: Mapping[str, nn.Module] | None = None, init_cfg: InitCfg = None) -> None:
        nn.ModuleDict.__init__(self, modules)
        self._set_init_cfg(init_cfg)
