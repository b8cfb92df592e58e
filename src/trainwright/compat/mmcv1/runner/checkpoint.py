"""Checkpoints from wherever they are, by the prefix of their names. Nothing of a file is run when it is read."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import loader, revised
from trainwright.checkpoint.kinds import layout_of
from trainwright.checkpoint.loader import _process_mmcls_checkpoint, downloaded, load_from_pavi, read_any, with_prefix
from trainwright.compat.mmcv1.fileio import FileClient
from trainwright.compat.mmcv1.runner.model_urls import (
    DEFAULT_CACHE_DIR,
    ENV_MMCV_HOME,
    ENV_XDG_CACHE_HOME,
    _get_mmcv_home,
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
    url_of,
)
from trainwright.compat.mmcv1.runner.weights import (
    _save_to_state_dict,
    get_state_dict,
    load_state_dict,
    save_checkpoint,
    weights_to_cpu,
)
from trainwright.compat.mmcv1.utils.hub import load_url
from trainwright.compat.mmcv1.utils.logging import print_log

__all__ = [
    "DEFAULT_CACHE_DIR",
    "ENV_MMCV_HOME",
    "ENV_XDG_CACHE_HOME",
    "CheckpointLoader",
    "_get_mmcv_home",
    "_load_checkpoint",
    "_load_checkpoint_with_prefix",
    "_process_mmcls_checkpoint",
    "_save_to_state_dict",
    "get_deprecated_model_names",
    "get_external_models",
    "get_mmcls_models",
    "get_state_dict",
    "get_torchvision_models",
    "load_checkpoint",
    "load_from_ceph",
    "load_from_http",
    "load_from_local",
    "load_from_mmcls",
    "load_from_openmmlab",
    "load_from_pavi",
    "load_from_torchvision",
    "load_state_dict",
    "save_checkpoint",
    "weights_to_cpu",
]

Loader = Callable[..., Any]


class CheckpointLoader(loader.CheckpointLoader):
    """The functions that read checkpoints, by the beginning of their names: a table of MMCV's own."""

    _schemes: ClassVar[dict[str, Loader]] = {}

    @classmethod
    def load_checkpoint(cls, filename: str, map_location: Any = None, logger: Any = None) -> Any:
        """What the file holds, mostly a dict."""
        reader = cls._get_checkpoint_loader(filename)
        print_log(f"load checkpoint from {reader.__name__[len('load_from_') :]} path: {filename}", logger)
        return reader(filename, map_location)


_HINT = (
    "mmcv.runner has no such setting: where you trust the file, let a function of your own read it, by "
    "CheckpointLoader.register_scheme(prefixes='', loader=function, force=True)"
)


def _read_file(filename: str, map_location: Any) -> Any:
    if not os.path.isfile(filename):
        raise FileNotFoundError(f"{filename} can not be found.")
    return read_any(filename, map_location, hint=_HINT)


@CheckpointLoader.register_scheme(prefixes="")
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """A file of this machine, or a checkpoint folder."""
    filename = os.path.expanduser(filename)
    return read_any(filename, map_location) if layout_of(filename) else _read_file(filename, map_location)


@CheckpointLoader.register_scheme(prefixes=("http://", "https://"))
def load_from_http(filename: str, map_location: Any = None, model_dir: str | None = None) -> Any:
    """A file that is downloaded once; with several ranks rank 0 does it, and the others wait."""
    return downloaded(load_url, filename, model_dir=model_dir, map_location=map_location)


CheckpointLoader.register_scheme("pavi://", load_from_pavi)


@CheckpointLoader.register_scheme(prefixes=r"(\S+\:)?s3://")
def load_from_ceph(filename: str, map_location: Any = None, backend: str = "petrel") -> Any:
    """A file on a storage with the interface of S3, read by ``backend``: 'petrel' or 'ceph', which stands in for it."""
    if backend not in ("ceph", "petrel"):
        raise ValueError(f"Load from Backend {backend} is not supported: backend must be 'petrel' or 'ceph'.")
    if backend == "ceph":
        warnings.warn("the backend 'ceph' will be deprecated, use 'petrel' instead", DeprecationWarning, stacklevel=2)
    try:
        client = FileClient(backend=backend)
    except ImportError:
        client = FileClient(backend="ceph" if backend == "petrel" else "petrel")
    with io.BytesIO(client.get(filename)) as buffer:
        return read_any(buffer, map_location, filename, hint=_HINT)


@CheckpointLoader.register_scheme(prefixes=("modelzoo://", "torchvision://"))
def load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    """Weights of torchvision's, by the name of a model or of its weights."""
    scheme, _, name = filename.partition("://")
    if scheme == "modelzoo":
        warnings.warn(
            'The URL scheme of "modelzoo://" is deprecated, use "torchvision://" instead',
            DeprecationWarning,
            stacklevel=2,
        )
    # ResNet50_Weights.IMAGENET1K_V1 is resnet50.imagenet1k_v1
    return load_from_http(
        url_of(name.lower().replace("_weights", ""), get_torchvision_models(), filename), map_location
    )


@CheckpointLoader.register_scheme(prefixes=("open-mmlab://", "openmmlab://"))
def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Weights of OpenMMLab's list, or of your own in ``$MMCV_HOME/open_mmlab.json``: URLs, or files in that folder."""
    scheme, _, name = filename.partition("://")
    urls, renamed = get_external_models(), get_deprecated_model_names()
    if name in renamed:
        warnings.warn(
            f"{scheme}://{name} is deprecated in favor of {scheme}://{renamed[name]}", DeprecationWarning, stacklevel=2
        )
        name = renamed[name]
    url = url_of(name, urls, filename)
    if url.startswith(("http://", "https://")):
        return load_from_http(url, map_location=map_location)
    return _read_file(os.path.join(_get_mmcv_home(), url), map_location)


@CheckpointLoader.register_scheme(prefixes="mmcls://")
def load_from_mmcls(filename: str, map_location: Any = None) -> Any:
    """The backbone of a model of MMClassification's list."""
    url = url_of(filename[len("mmcls://") :], get_mmcls_models(), filename)
    return _process_mmcls_checkpoint(load_from_http(url, map_location=map_location))


def _load_checkpoint(filename: str, map_location: Any = None, logger: Any = None) -> Any:
    """What the checkpoint of that name holds."""
    return CheckpointLoader.load_checkpoint(filename, map_location, logger)


def _load_checkpoint_with_prefix(prefix: str, filename: str, map_location: Any = None) -> dict[str, Any]:
    """The weights whose names begin with ``prefix``, without it."""
    return with_prefix(prefix, filename, _load_checkpoint(filename, map_location=map_location))


def load_checkpoint(
    model: torch.nn.Module,
    filename: str,
    map_location: Any = None,
    strict: bool = False,
    logger: Any = None,
    revise_keys: Any = ((r"^module\.", ""),),
) -> Any:
    """Load the weights of a checkpoint into ``model``, and return all that it holds.

    ``revise_keys``: (pattern, replacement) for the names of weights, in order. For ``strict``, see load_state_dict.
    """
    checkpoint = _load_checkpoint(filename, map_location, logger)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"No state_dict found in checkpoint file {filename}: it is a {type(checkpoint).__name__}")
    load_state_dict(model, revised(checkpoint.get("state_dict", checkpoint), revise_keys), strict, logger)
    return checkpoint
