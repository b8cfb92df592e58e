"""A config, or a model, of an installed package."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from trainwright.checkpoint.loader import load_checkpoint
from trainwright.config import Config
from trainwright.hub.packages import config_folder, config_path, package_path, pretrained_of, split_name
from trainwright.registry import MODELS, DefaultScope


def get_config(cfg_path: str, pretrained: bool = False) -> Config:
    """The config `package::path/of/config.py`. With `pretrained`, its `model_path` says where the weights are that the
    package's metafile names.
    """
    module, path = split_name(cfg_path)
    folder = config_folder(package_path(module))
    cfg = Config.fromfile(config_path(folder, path))
    if pretrained:
        cfg.model_path = pretrained_of(folder, path)
    return cfg


def get_model(cfg_path: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The model of the config `package::path/of/config.py`; `kwargs` are arguments that its config does not set.

    With `pretrained`, it has the weights that the package's metafile names, and no run initialises it anew.
    """
    module, _ = split_name(cfg_path)
    with DefaultScope.overwrite_default_scope(module):
        cfg = get_config(cfg_path, pretrained)
        if "data_preprocessor" in cfg:
            cfg.model.data_preprocessor = cfg.data_preprocessor
        _register(module)
        model: nn.Module = MODELS.build(cfg.model, default_args=kwargs)
        if pretrained:
            load_checkpoint(model, cfg.model_path, map_location="cpu")
            model._is_init = True  # type: ignore[assignment]
    return model


def _register(module: str) -> None:
    """Have the package register its classes, as those of OpenMMLab do when they are told; others do when imported."""
    try:
        utils: Any = import_module(f"{module}.utils")
    except ModuleNotFoundError as error:
        if error.name != f"{module}.utils":
            raise
        utils = import_module(module)
    if hasattr(utils, "register_all_modules"):
        utils.register_all_modules()
