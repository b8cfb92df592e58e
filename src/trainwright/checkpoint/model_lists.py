"""Lists of weights to download, by name."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainwright.base.errors import CheckpointError
from trainwright.base.text import did_you_mean

ENV_XDG_CACHE_HOME = "XDG_CACHE_HOME"
DEFAULT_CACHE_DIR = "~/.cache"
OWN_LISTS = os.path.join(os.path.dirname(__file__), "lists")


class UnknownModelError(CheckpointError, KeyError):
    """A name that is in no list."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class ModelLists:
    """The lists of a package, in its folder `folder`; of those that it has not, the ones in `own`.

    `external` is the file with the names for ``open-mmlab://``. The environment variable `home_variable` names the
    folder of the user's own list and files.
    """

    package: str
    folder: str
    external: str
    home_variable: str
    own: str | None = None

    def home(self) -> str:
        """The folder of the user's own list and files, which is made."""
        cache = os.getenv(ENV_XDG_CACHE_HOME, DEFAULT_CACHE_DIR)
        home = os.path.expanduser(os.getenv(self.home_variable, os.path.join(cache, self.package)))
        os.makedirs(home, exist_ok=True)
        return home

    def listed(self, name: str) -> dict[str, str]:
        """The list in the file of that name; empty where there is none."""
        module = sys.modules.get(self.package)
        folders = list(getattr(module, "__path__", ()))
        if not folders and self.own is None:
            spec = importlib.util.find_spec(self.package) if module is None else None
            folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        places = [os.path.join(folder, self.folder) for folder in folders]
        for place in places if self.own is None else [*places, self.own]:
            path = os.path.join(place, name)
            if os.path.isfile(path):
                return _read(path)
        return {}

    def external_models(self) -> dict[str, str]:
        """OpenMMLab's list, with what ``open_mmlab.json`` in the user's folder says besides."""
        mine = os.path.join(self.home(), "open_mmlab.json")
        return {**self.listed(self.external), **(_read(mine) if os.path.exists(mine) else {})}

    def torchvision_models(self) -> dict[str, str]:
        """URLs of torchvision's weights, by the name of the model and, behind a point, of the weights."""
        try:
            from torchvision import models  # type: ignore[import-not-found]
        except ImportError as error:
            raise ImportError("Please install torchvision, which knows where its weights are.") from error
        urls = self.listed("torchvision_0.12.json")
        for name in models.list_models(models):
            weights: Any = models.get_model_weights(name)
            if not hasattr(weights, "DEFAULT"):  # some have none to download
                continue
            key = weights.__name__.replace("_Weights", "").lower()
            urls.setdefault(key, weights.DEFAULT.url)
            urls[f"{key}.default"] = weights.DEFAULT.url
            urls.update({f"{key}.{one.name.lower()}": one.url for one in weights})
        return urls

    def url_of(self, name: str, urls: Mapping[str, str], filename: str) -> str:
        """The URL, or the file, of that name."""
        if name in urls:
            return urls[name]
        hint = did_you_mean(name, urls) if urls else f" No list is here: it comes with an installed {self.package}."
        raise UnknownModelError(
            f"checkpoint {filename!r} is in no list of weights.{hint} Names of your own go into "
            f"${self.home_variable}/open_mmlab.json and are used with the prefix open-mmlab://; or give the URL itself."
        )


def _read(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8") as file:
        urls = json.load(file)
    if not isinstance(urls, dict):
        raise CheckpointError(f"{path!r} must be a dict of names and URLs, and is a {type(urls).__name__}.")
    return urls
