"""The base of inferencers."""

from __future__ import annotations

import copy
import os
import re
import time
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError, MissingExtraError, RegistryError, RuleError, demand
from trainwright.base.logs import print_log
from trainwright.base.text import brief, did_you_mean
from trainwright.checkpoint.loader import _load_checkpoint, _load_checkpoint_to_model
from trainwright.config import Config, ConfigDict
from trainwright.data import pseudo_collate
from trainwright.data.builder import function_of
from trainwright.device import get_device
from trainwright.dist import is_main_process
from trainwright.hub.packages import config_folder, models_of, names_of, weights_of
from trainwright.infer.config_text import config_of
from trainwright.io import get_file_backend, isdir, join_path, list_dir_or_file
from trainwright.registry import MODELS, VISUALIZERS, DefaultScope
from trainwright.registry.scope import MODULE2PACKAGE
from trainwright.structures import InstanceData
from trainwright.utils import is_installed
from trainwright.visualization import Visualizer

InstanceList = list[InstanceData]
InputType = str | np.ndarray | torch.Tensor
InputsType = InputType | Sequence[InputType]
ImgType = np.ndarray | Sequence[np.ndarray]
ResType = dict[str, Any] | list[dict[str, Any]]
ConfigType = Config | ConfigDict
ModelType = dict[str, Any] | ConfigType | str

_METHODS = ("preprocess", "forward", "visualize", "postprocess")


class InferencerMeta(ABCMeta):
    """Checks of each class of inferencers that no argument is claimed by two of its methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        claimed: dict[str, str] = {}
        for method in _METHODS:
            names = getattr(self, f"{method}_kwargs")
            if not isinstance(names, set):
                raise RuleError(
                    f"Class define error! {self.__name__}.{method}_kwargs must be a set of the names of arguments, got "
                    f"{brief(names)} of type {type(names).__name__}"
                )
            for argument in sorted(names):
                if argument in claimed:
                    raise RuleError(
                        f"Class define error! {self.__name__} should not define duplicated keys: {argument!r} is in "
                        f"{claimed[argument]}_kwargs and in {method}_kwargs, and goes to one method only"
                    )
                claimed[argument] = method


class BaseInferencer(metaclass=InferencerMeta):
    """A model with everything around it that turns inputs into results. A call does, in this order:

    1. :meth:`preprocess`: the pipeline for each input, and the collate function for each `batch_size` of them
    2. :meth:`forward` for each batch: ``model.test_step``
    3. :meth:`visualize` for all predictions
    4. :meth:`postprocess`: what the caller gets

    A subclass writes ``_init_pipeline``, ``visualize`` and ``postprocess``, and names in ``preprocess_kwargs``,
    ``forward_kwargs``, ``visualize_kwargs`` and ``postprocess_kwargs`` which arguments of a call go to which.

    Args:
        model: a config, its file, or a model name or alias of the package `scope`. None takes the config that the
            checkpoint `weights` holds, which is read as data.
        weights: a checkpoint, by path or URL; None takes the one that belongs to a model name.
        device: where the model runs; None takes what there is.
        scope: the package of the model; None takes the default scope.
        show_progress: show a bar while batches are worked off, where a terminal is.
    """

    preprocess_kwargs: set[str] = set()
    forward_kwargs: set[str] = set()
    visualize_kwargs: set[str] = set()
    postprocess_kwargs: set[str] = set()

    def __init__(
        self,
        model: ModelType | None = None,
        weights: str | None = None,
        device: str | None = None,
        scope: str | None = None,
        show_progress: bool = True,
    ) -> None:
        self.scope = _default_scope() if scope is None else scope
        cfg: ConfigType
        if isinstance(model, str):
            if os.path.isfile(model):
                cfg = Config.fromfile(model)
            else:
                cfg, its_weights = self._load_model_from_metafile(model)
                weights = its_weights if weights is None else weights
        elif isinstance(model, (Config, ConfigDict)):
            cfg = copy.deepcopy(model)
        elif isinstance(model, dict):
            cfg = copy.deepcopy(ConfigDict(model))
        elif model is not None:
            raise ConfigTypeError(
                f"model must be a filepath or any ConfigType object, but got {brief(model)} of type "
                f"{type(model).__name__}"
            )
        elif weights is None:
            raise ConfigError(
                "If model is None, the weights must be specified since the config needs to be loaded from them"
            )
        else:
            cfg = ConfigDict()
        self.model = self._init_model(cfg, weights, get_device() if device is None else device)
        self.pipeline = self._init_pipeline(cfg)
        self.collate_fn = self._init_collate(cfg)
        self.visualizer = self._init_visualizer(cfg)
        self.cfg = cfg
        self.show_progress = show_progress

    def __call__(
        self, inputs: InputsType, return_datasamples: bool = False, batch_size: int = 1, **kwargs: Any
    ) -> dict[str, Any]:
        """Infer; `kwargs` go to the methods whose ``*_kwargs`` name them."""
        to_preprocess, to_forward, to_visualize, to_postprocess = self._dispatch_kwargs(**kwargs)
        listed = self._inputs_to_list(inputs)
        batches = self.preprocess(listed, batch_size=batch_size, **to_preprocess)
        preds: list[Any] = []
        for data in self._tracked(batches, len(listed), batch_size) if self.show_progress else batches:
            preds.extend(self.forward(data, **to_forward))
        visualization = self.visualize(listed, preds, **to_visualize)
        return self.postprocess(preds, visualization, return_datasamples, **to_postprocess)

    # The steps of a call

    def _inputs_to_list(self, inputs: InputsType) -> list[Any]:
        """A list of inputs: of a folder its files, by name; of a list or a tuple its items; else of the one input."""
        if isinstance(inputs, (str, Path)):
            backend = get_file_backend(inputs)
            if hasattr(backend, "isdir") and isdir(inputs):  # that of http cannot say what is a folder
                return [join_path(inputs, name) for name in sorted(list_dir_or_file(inputs, list_dir=False))]
        return list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]

    def preprocess(self, inputs: InputsType, batch_size: int = 1, **kwargs: Any) -> Iterable[Any]:
        """Give one batch after the other, each made when it is asked for."""
        chunks = self._get_chunk_data(map(self.pipeline, inputs), batch_size)
        yield from map(self.collate_fn, chunks)

    @torch.no_grad()
    def forward(self, inputs: dict[str, Any] | tuple[Any, ...], **kwargs: Any) -> Any:
        """Predictions for one batch."""
        return self.model.test_step(inputs)  # type: ignore[operator]

    @abstractmethod
    def visualize(self, inputs: list[Any], preds: Any, show: bool = False, **kwargs: Any) -> list[np.ndarray]:
        """Pictures of the predictions, or None."""

    @abstractmethod
    def postprocess(
        self, preds: Any, visualization: list[np.ndarray], return_datasample: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """The result of a call: a dict of ``predictions``, which are plain data unless `return_datasample`, and
        ``visualization``.
        """

    def _get_chunk_data(self, inputs: Iterable[Any], chunk_size: int) -> Iterator[list[Any]]:
        """Lists of `chunk_size` inputs; the last may be shorter."""
        demand(chunk_size >= 1, f"batch_size must be 1 or more, got {chunk_size!r}")
        remaining = iter(inputs)
        return iter(lambda: list(islice(remaining, chunk_size)), [])

    def _dispatch_kwargs(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]:
        """The arguments of a call for preprocess, forward, visualize and postprocess."""
        claims = {method: getattr(self, f"{method}_kwargs") for method in _METHODS}
        known = sorted(set().union(*claims.values()))
        unknown = sorted(set(kwargs).difference(known))
        if unknown:
            raise ConfigError(
                f"unknown argument {', '.join(map(repr, unknown))} for `preprocess`, `forward`, `visualize` and "
                f"`postprocess` of {type(self).__name__}, which know {', '.join(known) or 'none'}."
                f"{did_you_mean(unknown[0], known)}"
            )
        preprocess, forward, visualize, postprocess = (
            {name: value for name, value in kwargs.items() if name in claim} for claim in claims.values()
        )
        return preprocess, forward, visualize, postprocess

    def _tracked(self, batches: Iterable[Any], n_inputs: int, batch_size: int) -> Iterable[Any]:
        """The batches, with a bar on a terminal; its end is known where preprocess is the one of this class."""
        from rich.console import Console
        from rich.progress import track

        console = Console(stderr=True)
        if not console.is_terminal or not is_main_process():
            return batches
        total = -(-n_inputs // batch_size) if type(self).preprocess is BaseInferencer.preprocess else None
        return track(batches, description="Inference", total=total, console=console)

    # What is made once

    def _init_model(self, cfg: ConfigType, weights: str | None, device: str = "cpu") -> nn.Module:
        """The model of the config with the weights, on the device, in eval mode. A config that is empty takes over what
        the checkpoint has.
        """
        checkpoint = None if weights is None else _load_checkpoint(weights, map_location="cpu")
        if not cfg:
            if checkpoint is None:
                raise RuleError("the config is empty: give one with a model, or weights, which the config is read from")
            cfg.update(config_of(checkpoint)._cfg_dict)
        demand("model" in cfg, f"the config has no key 'model', only {', '.join(map(repr, cfg))}")
        if cfg.model.get("pretrained") is not None:
            del cfg.model.pretrained  # weights that would be replaced at once
        model: nn.Module = MODELS.build(cfg.model)
        model.cfg = cfg  # type: ignore[assignment]
        self._load_weights_to_model(model, checkpoint, cfg)
        model.to(device)
        return model.eval()

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict[str, Any] | None, cfg: ConfigType | None
    ) -> None:
        """Put the weights into the model. A subclass also takes over what else it needs of the checkpoint."""
        if checkpoint is None:
            warnings.warn(
                "Checkpoint is not loaded, and the inference result is calculated by the randomly initialized model! "
                "weights=... loads one",
                stacklevel=3,
            )
            return
        _load_checkpoint_to_model(model, checkpoint)

    def _init_collate(self, cfg: ConfigType) -> Callable[[list[Any]], Any]:
        """The ``collate_fn`` of the config's ``test_dataloader``; ``pseudo_collate`` where there is none."""
        loader = cfg.get("test_dataloader")
        spec = loader.get("collate_fn") if isinstance(loader, dict) else None
        if spec is None:
            return pseudo_collate
        with DefaultScope.overwrite_default_scope(self.scope):
            return function_of(spec, "test_dataloader.collate_fn")

    @abstractmethod
    def _init_pipeline(self, cfg: ConfigType) -> Callable[[Any], Any]:
        """A function that makes of one input what the collate function takes."""

    def _init_visualizer(self, cfg: ConfigType) -> Visualizer | None:
        """The config's ``visualizer``, under a name that no other has."""
        if cfg.get("visualizer") is None:
            return None
        now = str(time.time())
        wished = cfg.visualizer.get("name", now)
        cfg.visualizer.name = f"{wished}-{now}" if Visualizer.check_instance_created(wished) else wished
        visualizer: Visualizer = VISUALIZERS.build(cfg.visualizer)
        return visualizer

    # Models by name

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str | None]:
        """The config and the weights of the model of that name, or alias, in the package `scope`."""
        scope = _known_scope(self.scope, f"model={model!r} is no file, and is looked up by name: ")
        folder = BaseInferencer._get_repo_or_mim_dir(scope)
        names: list[str] = []
        for found in BaseInferencer._get_models_from_metafile(folder):
            names += names_of(found)
            if model.lower() in (name.lower() for name in names_of(found)):
                return Config.fromfile(os.path.join(folder, found["Config"])), weights_of(found)
        raise ConfigError(
            f"Cannot find model: {model} in {scope}, which has {len(names)} names, and no file is called so."
            f"{did_you_mean(model, names)} list_models({scope!r}) gives all"
        )

    @staticmethod
    def _get_repo_or_mim_dir(scope: str) -> str:
        """The folder with the configs of a package, which is imported."""
        try:
            module = import_module(scope)
        except ImportError as error:
            if scope not in MODULE2PACKAGE:
                raise RegistryError(
                    f"{scope} is not a valid scope. The available scopes are {', '.join(MODULE2PACKAGE)}, and packages "
                    f"that can be imported.{did_you_mean(scope, MODULE2PACKAGE)}"
                ) from error
            project = MODULE2PACKAGE[scope]
            raise MissingExtraError(
                f'Cannot import {scope} correctly, please try to install the {project} by "pip install {project}"'
            ) from error
        return config_folder(module.__path__[0])

    @staticmethod
    def _get_models_from_metafile(dir: str) -> Iterator[dict[str, Any]]:
        """What the metafiles in a folder with a `model-index.yml` say of each model."""
        return models_of(dir)

    @staticmethod
    def list_models(scope: str | None = None, patterns: str = r".*") -> list[str]:
        """Log and return the names and aliases of a package's models that begin as the regular expression says."""
        scope = _known_scope(_default_scope() if scope is None else scope)
        folder = BaseInferencer._get_repo_or_mim_dir(scope)
        found = [
            name
            for model in BaseInferencer._get_models_from_metafile(folder)
            for name in names_of(model)
            if re.match(patterns, name) is not None
        ]
        print_log("".join(f"model_name: {name}\n" for name in found), logger="current")
        return found


def _default_scope() -> str | None:
    current = DefaultScope.get_current_instance()
    return None if current is None else current.scope_name


def _known_scope(scope: str | None, what: str = "") -> str:
    if scope is None:
        raise RuleError(
            f"{what}scope should be initialized if you want to load config from metafile: scope='mmdet', or "
            "init_default_scope('mmdet')"
        )
    demand(
        scope in MODULE2PACKAGE or is_installed(scope),
        f"{what}{scope} not in {', '.join(MODULE2PACKAGE)}, and no package that is installed. Please pass a valid "
        f"scope.{did_you_mean(scope, MODULE2PACKAGE)}",
    )
    return scope
