"""Lists of weights to download, by name, of an installed mmcv."""

from __future__ import annotations

from collections.abc import Mapping

from trainwright.checkpoint.model_lists import DEFAULT_CACHE_DIR, ENV_XDG_CACHE_HOME, ModelLists, UnknownModelError

__all__ = ["DEFAULT_CACHE_DIR", "ENV_MMCV_HOME", "ENV_XDG_CACHE_HOME", "UnknownModelError"]

ENV_MMCV_HOME = "MMCV_HOME"
_LISTS = ModelLists("mmcv", "model_zoo", "open_mmlab.json", ENV_MMCV_HOME)


def _get_mmcv_home() -> str:
    """The folder of the user's own list and files, which is made."""
    return _LISTS.home()


def get_torchvision_models() -> dict[str, str]:
    """URLs of torchvision's weights, by the name of the model and, behind a point, of the weights."""
    return _LISTS.torchvision_models()


def get_external_models() -> dict[str, str]:
    """OpenMMLab's list, with what ``$MMCV_HOME/open_mmlab.json`` says besides."""
    return _LISTS.external_models()


def get_mmcls_models() -> dict[str, str]:
    """MMClassification's list."""
    return _LISTS.listed("mmcls.json")


def get_deprecated_model_names() -> dict[str, str]:
    """Old names of models, and those of now."""
    return _LISTS.listed("deprecated.json")


def url_of(name: str, urls: Mapping[str, str], filename: str) -> str:
    """The URL, or the file, of that name."""
    return _LISTS.url_of(name, urls, filename)
