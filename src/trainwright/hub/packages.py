"""Where an installed package keeps its configs, and which weights belong to them.

A package of OpenMMLab has them in its folder `.mim`, or in the repository around it: `configs/`, and `model-index.yml`,
which names the metafiles that list the models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from trainwright.base.errors import ConfigError, ConfigNotFoundError, MissingExtraError, RuleError, demand
from trainwright.base.text import did_you_mean
from trainwright.io import load
from trainwright.registry.scope import MODULE2PACKAGE
from trainwright.utils import get_installed_path

INDEX = "model-index.yml"


def split_name(name: str) -> tuple[str, str]:
    """The module and the path of `module::path/of/config.py`."""
    if re.match(r"\w*::\w*/\w*", name) is None:
        raise ConfigError(
            f"{name!r} is no config of a package: name the package and the path below its folder configs, as in "
            "'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'"
        )
    module, *paths = name.split("::")
    if len(paths) > 1:
        raise ConfigError(f"`::` stands between the package and the path, once; found multiple in {name!r}")
    return module, paths[0]


def package_path(module: str) -> str:
    """The folder of an installed package. It is not installed here: MissingExtraError has the command."""
    is_there = module.isidentifier() and find_spec(module) is not None
    if not is_there and module in MODULE2PACKAGE:
        raise MissingExtraError(f"{module!r} is not installed. Install it with: pip install {MODULE2PACKAGE[module]}")
    demand(
        is_there,
        f"{module!r} is no installed package, and this engine does not support to load {module} config: known are "
        f"{', '.join(MODULE2PACKAGE)}.{did_you_mean(module, MODULE2PACKAGE)}",
    )
    return get_installed_path(module)


def config_folder(path: str) -> str:
    """The folder that has `configs` and the index, of the package that lies at `path`."""
    places = [os.path.dirname(path), os.path.join(path, ".mim")]
    places = [place for place in places if os.path.isdir(os.path.join(place, "configs"))]
    if not places:
        raise ConfigNotFoundError(
            f"Cannot find `configs` directory in {path}, in its folder .mim or beside it: was the package installed "
            "without its configs?"
        )
    return next((place for place in places if os.path.isfile(os.path.join(place, INDEX))), places[0])


def models_of(folder: str) -> Iterator[dict[str, Any]]:
    """What the metafiles of a package say of each of its models."""
    for path in load(os.path.join(folder, INDEX))["Import"]:
        yield from load(os.path.join(folder, path)).get("Models") or []


def names_of(model: dict[str, Any]) -> list[str]:
    """The name of a model, and its aliases."""
    aliases = model.get("Alias") or []
    return [model["Name"], *([aliases] if isinstance(aliases, str) else aliases)]


def weights_of(model: dict[str, Any]) -> str | None:
    """Where its weights are; the first where there are several."""
    weights = model.get("Weights")
    return (weights[0] if weights else None) if isinstance(weights, list) else weights


def metainfo_of(folder: str, path: str) -> dict[str, Any] | None:
    """The first model of the package whose config is `configs/<path>`."""
    if not os.path.isfile(os.path.join(folder, INDEX)):
        return None
    return next((m for m in models_of(folder) if m.get("Config", "").partition("/")[2] == path), None)


def config_path(folder: str, path: str) -> str:
    """The file `configs/<path>`."""
    file = os.path.join(folder, "configs", path)
    if not os.path.isfile(file):
        beside = os.path.dirname(file)
        near = did_you_mean(os.path.basename(file), os.listdir(beside) if os.path.isdir(beside) else [])
        raise ConfigNotFoundError(f"the package has no config {path!r}: {file} does not exist.{near}")
    return file


def pretrained_of(folder: str, path: str) -> str:
    """The weights that belong to the config `configs/<path>`."""
    model = metainfo_of(folder, path)
    weights = None if model is None else weights_of(model)
    if weights is None:
        raise RuleError(
            f"Cannot find `Weights` of {path!r} in the metafiles of {os.path.join(folder, INDEX)}: load it without "
            "pretrained=True"
        )
    return weights
