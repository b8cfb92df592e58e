"""Checkpoints from wherever they are, by the prefix of their names, into a model; and back into a file.

The functions of ``mmengine.runner.checkpoint``. Nothing of a file is run when it is read.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch

from trainwright.base.errors import CheckpointError, ConfigError, add_note, demand
from trainwright.base.logs import print_log
from trainwright.checkpoint.download import load_url
from trainwright.checkpoint.format import plain_tree, read_value, save_plain, write_file
from trainwright.checkpoint.kinds import layout_of, read_checkpoint
from trainwright.checkpoint.manager import HINT
from trainwright.checkpoint.model_lists import DEFAULT_CACHE_DIR, ENV_XDG_CACHE_HOME, OWN_LISTS, ModelLists
from trainwright.checkpoint.module_state import (
    _IncompatibleKeys,
    _save_to_state_dict,
    get_state_dict,
    load_state_dict,
    weights_to_cpu,
)
from trainwright.checkpoint.pickles import PickleError
from trainwright.checkpoint.weights import STRIP_MODULE, revised
from trainwright.dist import from_main
from trainwright.registry.signature import arguments_of

__all__ = [
    "DEFAULT_CACHE_DIR",
    "ENV_MMENGINE_HOME",
    "ENV_XDG_CACHE_HOME",
    "CheckpointLoader",
    "_IncompatibleKeys",
    "_get_mmengine_home",
    "_load_checkpoint",
    "_load_checkpoint_to_model",
    "_load_checkpoint_with_prefix",
    "_process_mmcls_checkpoint",
    "_save_to_state_dict",
    "find_latest_checkpoint",
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

ENV_MMENGINE_HOME = "MMENGINE_HOME"
BOTH_STORAGES = '"file_client_args" and "backend_args" cannot be set at the same time'
_LISTS = ModelLists("mmengine", "hub", "openmmlab.json", ENV_MMENGINE_HOME, OWN_LISTS)

Loader = Callable[..., Any]


def _get_mmengine_home() -> str:
    """The folder of the user's own list and files, which is made."""
    return _LISTS.home()


def get_torchvision_models() -> dict[str, str]:
    """URLs of torchvision's weights, by the name of the model and, behind a point, of the weights."""
    return _LISTS.torchvision_models()


def get_external_models() -> dict[str, str]:
    """OpenMMLab's list, with what ``$MMENGINE_HOME/open_mmlab.json`` says besides."""
    return _LISTS.external_models()


def get_mmcls_models() -> dict[str, str]:
    """MMClassification's list."""
    return _LISTS.listed("mmcls.json")


def get_deprecated_model_names() -> dict[str, str]:
    """Old names of models, and those of now."""
    return _LISTS.listed("deprecated.json")


def _process_mmcls_checkpoint(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone alone, without its prefix."""
    state = checkpoint.get("state_dict", checkpoint)
    return {"state_dict": OrderedDict(part_of(state, "backbone."))}


def part_of(state: Mapping[str, Any], start: str) -> dict[str, Any]:
    """What has names that begin so, without the beginning."""
    return {name[len(start) :]: value for name, value in state.items() if name.startswith(start)}


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
    def load_checkpoint(
        cls, filename: str, map_location: Any = None, logger: logging.Logger | str | None = "current"
    ) -> Any:
        """What the file holds, mostly a dict."""
        loader = cls._get_checkpoint_loader(filename)
        name = loader.__name__.removeprefix("load_from_")
        print_log(f"Loads checkpoint by {name} backend from path: {filename}", logger)
        return loader(filename, map_location)


def read_any(source: Any, map_location: Any, name: str = "", hint: str = "") -> Any:
    """Whatever ``torch.save`` wrote into a local file, or into one in memory that is called ``name``. ``hint``: what to
    do about a file that is refused."""
    reader: Loader = torch.load
    if reader is not torch.serialization.load:  # somebody has put a way of reading of their own in its place
        takes = arguments_of(reader)
        can_be_safe = takes is not None and (takes.is_open or "weights_only" in takes.by_name)
        return reader(source, map_location=map_location, **({"weights_only": True} if can_be_safe else {}))
    place = "cpu" if map_location is None and not torch.cuda.is_available() else map_location
    if isinstance(source, str) and layout_of(source):
        return read_checkpoint(source, place)
    try:
        return read_value(name or source, source, place)
    except CheckpointError as error:
        if isinstance(error.__cause__, PickleError):
            add_note(
                error,
                hint
                or "A function has no such setting: where you trust the file, let a function of your own read it, by "
                "CheckpointLoader.register_scheme(prefixes='', loader=function, force=True)",
            )
        raise


def _read_file(filename: str, map_location: Any) -> Any:
    if not os.path.isfile(filename):
        raise FileNotFoundError(f"{filename} can not be found.")
    return read_any(filename, map_location)


@CheckpointLoader.register_scheme(prefixes="")
def load_from_local(filename: str, map_location: Any) -> Any:
    """A file of this machine, or a checkpoint folder."""
    filename = os.path.expanduser(filename)
    return read_any(filename, map_location) if layout_of(filename) else _read_file(filename, map_location)


@CheckpointLoader.register_scheme(prefixes=("http://", "https://"))
def load_from_http(
    filename: str,
    map_location: Any = None,
    model_dir: str | None = None,
    progress: bool = os.isatty(0),
) -> Any:
    """A file that is downloaded once; with several ranks rank 0 does it, and the others wait."""
    return downloaded(load_url, filename, model_dir=model_dir, map_location=map_location, progress=progress)


def downloaded(load: Callable[..., Any], url: str, **settings: Any) -> Any:
    """What ``load(url)`` gives, on rank 0 first: the others find the file then, or raise what was raised there."""
    first: list[Any] = []
    from_main(lambda: first.append(load(url, **settings)))
    return first[0] if first else load(url, **settings)


@CheckpointLoader.register_scheme(prefixes="pavi://")
def load_from_pavi(filename: str, map_location: Any = None) -> Any:
    """A model of Pavi's cloud; each rank downloads it for itself."""
    demand(filename.startswith("pavi://"), f"Expected filename startswith `pavi://`, but get {filename}")
    model = _pavi("read").modelcloud.get(filename[len("pavi://") :])
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, model.name)
        model.download(path)
        return _read_file(path, map_location)


def _pavi(deed: str) -> Any:
    try:
        import pavi  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError(f"Please install pavi, which checkpoints with the prefix pavi:// are {deed} with.") from error
    return pavi


@CheckpointLoader.register_scheme(prefixes=[r"(\S+\:)?s3://", r"(\S+\:)?petrel://"])
def load_from_ceph(filename: str, map_location: Any = None, backend: str = "petrel") -> Any:
    """A file on a storage with the interface of S3, read by ``backend``."""
    from trainwright.io import get_file_backend

    content: bytes = get_file_backend(filename, backend_args={"backend": backend}).get(filename)
    return read_any(io.BytesIO(content), map_location, filename)


@CheckpointLoader.register_scheme(prefixes=("modelzoo://", "torchvision://"))
def load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    """Weights of torchvision's, by the name of a model or of its weights."""
    scheme, _, name = filename.partition("://")
    if scheme == "modelzoo":
        _warn('The URL scheme of "modelzoo://" is deprecated, please use "torchvision://" instead')
    # ResNet50_Weights.IMAGENET1K_V1 is resnet50.imagenet1k_v1
    url = _LISTS.url_of(name.lower().replace("_weights", ""), get_torchvision_models(), filename)
    return load_from_http(url, map_location=map_location)


@CheckpointLoader.register_scheme(prefixes=("open-mmlab://", "openmmlab://"))
def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Weights of OpenMMLab's list, or of your own in ``$MMENGINE_HOME/open_mmlab.json``: URLs, or files there."""
    scheme, _, name = filename.partition("://")
    urls, renamed = get_external_models(), get_deprecated_model_names()
    if name in renamed:
        _warn(f"{scheme}://{name} is deprecated in favor of {scheme}://{renamed[name]}")
        name = renamed[name]
    url = _LISTS.url_of(name, urls, filename)
    if url.startswith(("http://", "https://")):
        return load_from_http(url, map_location=map_location)
    return _read_file(os.path.join(_get_mmengine_home(), url), map_location)


@CheckpointLoader.register_scheme(prefixes="mmcls://")
def load_from_mmcls(filename: str, map_location: Any = None) -> Any:
    """The backbone of a model of MMClassification's list."""
    url = _LISTS.url_of(filename[len("mmcls://") :], get_mmcls_models(), filename)
    return _process_mmcls_checkpoint(load_from_http(url, map_location=map_location))


def _warn(message: str) -> None:
    print_log(message, "current", logging.WARNING)


def _load_checkpoint(filename: str, map_location: Any = None, logger: Any = None) -> Any:
    """What the checkpoint of that name holds."""
    return CheckpointLoader.load_checkpoint(filename, map_location, logger)


def _load_checkpoint_with_prefix(prefix: str, filename: str, map_location: Any = None) -> dict[str, Any]:
    """The weights whose names begin with ``prefix``, without it."""
    return with_prefix(prefix, filename, _load_checkpoint(filename, map_location=map_location))


def with_prefix(prefix: str, filename: str, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``checkpoint``; RuleError where there are none."""
    state = checkpoint.get("state_dict", checkpoint)
    start = prefix if prefix.endswith(".") else f"{prefix}."
    found = part_of(state, start)
    known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in state))
    demand(found, f"{prefix} is not in the pretrained model {filename}, whose names begin with {known}")
    return found


def _load_checkpoint_to_model(
    model: Any,
    checkpoint: Any,
    strict: bool = False,
    logger: Any = None,
    revise_keys: Any = STRIP_MODULE,
) -> Any:
    """Load the weights of what was read, and return all of it."""
    load_state_dict(model, revised(checkpoint.get("state_dict", checkpoint), revise_keys), strict, logger)
    return checkpoint


def load_checkpoint(
    model: Any,
    filename: str,
    map_location: Any = None,
    strict: bool = False,
    logger: Any = None,
    revise_keys: Any = STRIP_MODULE,
) -> Any:
    """Load the weights of a checkpoint into ``model``, and return all that it holds.

    ``revise_keys``: (pattern, replacement) for the names of weights, in order. For ``strict``, see load_state_dict.
    """
    checkpoint = _load_checkpoint(filename, map_location, logger)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"No state_dict found in checkpoint file {filename}: it is a {type(checkpoint).__name__}")
    return _load_checkpoint_to_model(model, checkpoint, strict, logger, revise_keys)


def save_checkpoint(
    checkpoint: Any,
    filename: str,
    file_client_args: dict[str, Any] | None = None,
    backend_args: dict[str, Any] | None = None,
) -> None:
    """Write a tree of tensors and plain data: the old file or the whole new one is there, at every moment.

    Names with a prefix, such as ``s3://``, go to the storage of that prefix, which ``backend_args`` are for.
    """
    if file_client_args is not None:
        _warn('"file_client_args" will be deprecated in future. Please use "backend_args" instead')
        if backend_args is not None:
            raise ConfigError(f"{BOTH_STORAGES}: say all of it by backend_args")
    if filename.startswith("pavi://"):
        if file_client_args is not None or backend_args is not None:
            raise ConfigError(
                f'"file_client_args" or "backend_args" should be "None" if filename starts with "pavi://", got '
                f"{file_client_args or backend_args}"
            )
        upload_to_pavi(checkpoint, filename[len("pavi://") :])
        return
    from trainwright.io import FileClient, get_file_backend

    if file_client_args is not None:
        storage: Any = FileClient.infer_client(file_client_args, filename)
    else:
        storage = get_file_backend(filename, backend_args=backend_args)
    if is_disk(storage):
        os.makedirs(os.path.dirname(os.path.abspath(filename)), exist_ok=True)
        write_file(filename, checkpoint)
        return
    with io.BytesIO() as buffer:
        save_plain(plain_tree(filename, checkpoint), buffer)
        storage.put(buffer.getvalue(), filename)


def is_disk(storage: Any) -> bool:
    """Whether a storage, or what its client stands for, is the disk."""
    return type(getattr(storage, "client", storage)).__name__ in ("LocalBackend", "HardDiskBackend")


def upload_to_pavi(tree: Any, path: str) -> None:
    """Write a file and hand it to Pavi's cloud."""
    pavi = _pavi("saved")
    folder, name = os.path.split(path)
    try:
        model = pavi.modelcloud.get(folder)
    except pavi.exception.NodeNotFoundError:
        model = pavi.modelcloud.Folder().create_training_model(folder)
    with TemporaryDirectory() as local:
        written = os.path.join(local, name)
        write_file(written, tree)
        model.create_file(written, name=name)


def find_latest_checkpoint(path: str) -> str | None:
    """What the file ``last_checkpoint`` of a folder names; None where there is no such file.

    That is a hint, and the file may be gone or cut off: `CheckpointManager.latest` looks at the files themselves.
    """
    hint = os.path.join(path, HINT)
    if not os.path.exists(hint):
        print_log("Did not find last_checkpoint to be resumed.")
        return None
    with open(hint, encoding="utf-8") as file:
        return file.read().strip()
