"""Checkpoints from wherever they are, by the prefix of their names. Nothing of a file is run when it is read."""

from __future__ import annotations

import io
import os
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch

from trainwright.base.errors import CheckpointError, add_note
from trainwright.checkpoint import read_checkpoint, revised
from trainwright.checkpoint.format import read_value
from trainwright.checkpoint.kinds import layout_of
from trainwright.checkpoint.pickles import PickleError
from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.fileio import FileClient
from trainwright.compat.mmcv1.runner.dist_utils import get_dist_info
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


class CheckpointLoader:
    """Finds the function that reads a checkpoint by the beginning of its name, which is a regular expression; the
    longest that fits counts, and whatever fits none is a local file."""

    _schemes: ClassVar[dict[str, Loader]] = {}

    @classmethod
    def _register_scheme(cls, prefixes: str | Iterable[str], loader: Loader, force: bool = False) -> None:
        demand(isinstance(prefixes, (str, list, tuple)), f"prefixes must be a str or a list of them, got {prefixes!r}")
        for prefix in [prefixes] if isinstance(prefixes, str) else prefixes:
            if prefix in cls._schemes and not force:
                raise KeyError(
                    f"{prefix} is already registered as a loader backend, as {cls._schemes[prefix].__name__}: "
                    "force=True replaces it"
                )
            cls._schemes[prefix] = loader
        cls._schemes = OrderedDict(sorted(cls._schemes.items(), reverse=True, key=lambda item: item[0]))

    @classmethod
    def register_scheme(
        cls, prefixes: str | Iterable[str], loader: Loader | None = None, force: bool = False
    ) -> Callable[[Loader], Loader]:
        """Have names with these prefixes read by ``loader(filename, map_location)``; without one, as a decorator."""

        def register(loader: Loader) -> Loader:
            cls._register_scheme(prefixes, loader, force=force)
            return loader

        if loader is not None:
            register(loader)
        return register

    @classmethod
    def _get_checkpoint_loader(cls, path: str) -> Loader:
        return next(loader for prefix, loader in cls._schemes.items() if re.match(prefix, path) is not None)

    @classmethod
    def load_checkpoint(cls, filename: str, map_location: Any = None, logger: Any = None) -> Any:
        """What the file holds, mostly a dict."""
        loader = cls._get_checkpoint_loader(filename)
        print_log(f"load checkpoint from {loader.__name__[len('load_from_') :]} path: {filename}", logger)
        return loader(filename, map_location)


def _read(source: Any, map_location: Any, name: str = "") -> Any:
    """A local file, or one in memory that is called ``name``."""
    reader: Loader = torch.load
    if reader is not torch.serialization.load:  # somebody has put a way of reading of their own in its place
        return reader(source, map_location=map_location)
    place = "cpu" if map_location is None and not torch.cuda.is_available() else map_location
    if isinstance(source, str) and layout_of(source):
        return read_checkpoint(source, place)
    try:
        return read_value(name or source, source, place)
    except CheckpointError as error:
        if isinstance(error.__cause__, PickleError):
            add_note(
                error,
                "mmcv.runner has no such setting: where you trust the file, let a function of your own read it, by "
                "CheckpointLoader.register_scheme(prefixes='', loader=function, force=True)",
            )
        raise


def _read_file(filename: str, map_location: Any) -> Any:
    if not os.path.isfile(filename):
        raise FileNotFoundError(f"{filename} can not be found.")
    return _read(filename, map_location)


@CheckpointLoader.register_scheme(prefixes="")
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """A file of this machine, or a checkpoint folder."""
    filename = os.path.expanduser(filename)
    return _read(filename, map_location) if layout_of(filename) else _read_file(filename, map_location)


@CheckpointLoader.register_scheme(prefixes=("http://", "https://"))
def load_from_http(filename: str, map_location: Any = None, model_dir: str | None = None) -> Any:
    """A file that is downloaded once; with several ranks rank 0 does it, and the others wait."""
    rank, world_size = get_dist_info()
    checkpoint = None
    if rank == 0:
        checkpoint = load_url(filename, model_dir=model_dir, map_location=map_location)
    if world_size > 1:
        torch.distributed.barrier()
        if rank > 0:
            checkpoint = load_url(filename, model_dir=model_dir, map_location=map_location)
    return checkpoint


@CheckpointLoader.register_scheme(prefixes="pavi://")
def load_from_pavi(filename: str, map_location: Any = None) -> Any:
    """A model of Pavi's cloud; each rank downloads it for itself."""
    demand(filename.startswith("pavi://"), f"Expected filename startswith `pavi://`, but get {filename}")
    model = _modelcloud().get(filename[len("pavi://") :])
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, model.name)
        model.download(path)
        return _read_file(path, map_location)


def _modelcloud() -> Any:
    try:
        from pavi import modelcloud  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError("Please install pavi, which checkpoints with the prefix pavi:// are read with.") from error
    return modelcloud


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
        return _read(buffer, map_location, filename)


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


def _process_mmcls_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The backbone alone, without its prefix."""
    state = checkpoint.get("state_dict", checkpoint)
    start = "backbone."
    return {
        "state_dict": OrderedDict(
            (name[len(start) :], value) for name, value in state.items() if name.startswith(start)
        )
    }


def _load_checkpoint(filename: str, map_location: Any = None, logger: Any = None) -> Any:
    """What the checkpoint of that name holds."""
    return CheckpointLoader.load_checkpoint(filename, map_location, logger)


def _load_checkpoint_with_prefix(prefix: str, filename: str, map_location: Any = None) -> dict[str, Any]:
    """The weights whose names begin with ``prefix``, without it."""
    checkpoint = _load_checkpoint(filename, map_location=map_location)
    state = checkpoint.get("state_dict", checkpoint)
    start = prefix if prefix.endswith(".") else f"{prefix}."
    found = {name[len(start) :]: value for name, value in state.items() if name.startswith(start)}
    known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in state))
    demand(found, f"{prefix} is not in the pretrained model {filename}, whose names begin with {known}")
    return found


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
