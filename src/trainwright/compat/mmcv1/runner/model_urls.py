"""Lists of weights to download, by name."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from trainwright.base.errors import CheckpointError
from trainwright.base.text import did_you_mean

ENV_MMCV_HOME = "MMCV_HOME"
ENV_XDG_CACHE_HOME = "XDG_CACHE_HOME"
DEFAULT_CACHE_DIR = "~/.cache"


def _get_mmcv_home() -> str:
    """The folder of the user's own list and files, which is made."""
    cache = os.getenv(ENV_XDG_CACHE_HOME, DEFAULT_CACHE_DIR)
    home = os.path.expanduser(os.getenv(ENV_MMCV_HOME, os.path.join(cache, "mmcv")))
    os.makedirs(home, exist_ok=True)
    return home


def _listed(name: str) -> dict[str, str]:
    """A list that an installed mmcv has; empty without one."""
    module = sys.modules.get("mmcv")
    folders = list(getattr(module, "__path__", ()))
    if not folders:
        spec = importlib.util.find_spec("mmcv") if module is None else None
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = os.path.join(folder, "model_zoo", name)
        if os.path.isfile(path):
            return _read(path)
    return {}


def _read(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8") as file:
        urls = json.load(file)
    if not isinstance(urls, dict):
        raise CheckpointError(f"{path!r} must be a dict of names and URLs, and is a {type(urls).__name__}.")
    return urls


def get_torchvision_models() -> dict[str, str]:
    """URLs of torchvision's weights, by the name of the model and, behind a point, of the weights."""
    try:
        from torchvision import models  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError("Please install torchvision, which knows where its weights are.") from error
    urls = _listed("torchvision_0.12.json")
    for name in models.list_models(models):
        weights: Any = models.get_model_weights(name)
        if not hasattr(weights, "DEFAULT"):  # some have none to download
            continue
        key = weights.__name__.replace("_Weights", "").lower()
        urls.setdefault(key, weights.DEFAULT.url)
        urls[f"{key}.default"] = weights.DEFAULT.url
        urls.update({f"{key}.{one.name.lower()}": one.url for one in weights})
    return urls


def get_external_models() -> dict[str, str]:
    """OpenMMLab's list, with what ``$MMCV_HOME/open_mmlab.json`` says besides."""
    own = os.path.join(_get_mmcv_home(), "open_mmlab.json")
    return {**_listed("open_mmlab.json"), **(_read(own) if os.path.exists(own) else {})}


def get_mmcls_models() -> dict[str, str]:
    """MMClassification's list."""
    return _listed("mmcls.json")


def get_deprecated_model_names() -> dict[str, str]:
    """Old names of models, and those of now."""
    return _listed("deprecated.json")


class UnknownModelError(CheckpointError, KeyError):
    """A name that is in no list."""

    def __str__(self) -> str:
        return str(self.args[0])


def url_of(name: str, urls: Mapping[str, str], filename: str) -> str:
    """The URL, or the file, of that name."""
    if name in urls:
        return urls[name]
    hint = did_you_mean(name, urls) if urls else " No list is here: it comes with an installed mmcv."
    raise UnknownModelError(
        f"checkpoint {filename!r} is in no list of weights.{hint} Names of your own go into "
        f"${ENV_MMCV_HOME}/open_mmlab.json, and are used with the prefix open-mmlab://; or give the URL itself."
    )
