"""Test-time augmentation: one model, several views of each sample, one merged prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from trainwright.base.errors import ConfigTypeError, DataError, RuleTypeError
from trainwright.model.base_model import BaseModel
from trainwright.registry import MODELS

EnhancedBatchInputs = list[Tensor | list[Tensor]]  # of a batch, one for each view
EnhancedBatchDataSamples = list[list[Any]]
DATA_BATCH = dict[str, EnhancedBatchInputs | EnhancedBatchDataSamples] | tuple[Any, ...]
MergedDataSamples = list[Any]


@MODELS.register_module()
class BaseTTAModel(BaseModel):
    """Runs `module`, a model or its config, on each view and merges; a subclass writes ``merge_preds``.

    A batch holds a list of views under each key, and a view is a batch of the module's:
    ``dict(inputs=[[image1_view1, image2_view1], [image1_view2, image2_view2]], data_samples=...)``.
    `data_preprocessor` is put into the config of the module. The state is the module's, under its own names, so its
    checkpoints fit.
    """

    def __init__(
        self, module: dict[str, Any] | nn.Module, data_preprocessor: dict[str, Any] | nn.Module | None = None
    ) -> None:
        super().__init__()
        if isinstance(module, dict):
            cfg = dict(dict.items(module))
            if data_preprocessor is not None:
                cfg["data_preprocessor"] = data_preprocessor
            module = MODELS.build(cfg)
        if not isinstance(module, nn.Module):
            raise ConfigTypeError(
                f"The type of module in {type(self).__name__} must be a dict or an nn.Module, got {module!r}."
            )
        if not hasattr(module, "test_step"):
            raise RuleTypeError(
                f"{type(module).__name__} in {type(self).__name__} must implement `test_step`. "
                "Derive it from BaseModel."
            )
        self.module: Any = module

    @abstractmethod
    def merge_preds(self, data_samples_list: list[Any]) -> list[Any]:
        """One prediction for each sample; the list has for each sample the predictions of its views."""

    def test_step(self, data: Any) -> Any:
        """Merged predictions for the views of a batch."""
        predictions = [self.module.test_step(view) for view in self._views(data)]
        counts = [len(prediction) for prediction in predictions]
        if len(set(counts)) > 1:
            raise DataError(
                f"{type(self).__name__}: {type(self.module).__name__}.test_step gave {counts} predictions for the "
                f"{len(counts)} views of one batch: each must give one for every sample."
            )
        return self.merge_preds(list(zip(*predictions, strict=True)))

    def _views(self, data: Any) -> list[Any]:
        if isinstance(data, Mapping):
            n_views = self._n_views({repr(key): value for key, value in data.items()})
            return [{key: value[n] for key, value in data.items()} for n in range(n_views)]
        if isinstance(data, (list, tuple)):
            n_views = self._n_views({f"item {n}": value for n, value in enumerate(data)})
            return [[value[n] for value in data] for n in range(n_views)]
        raise ConfigTypeError(
            f"data given by dataLoader should be a dict, a list or a tuple of views, got {type(data).__name__}."
        )

    def _n_views(self, parts: dict[str, Any]) -> int:
        counts = {name: len(part) for name, part in parts.items()}
        if len(set(counts.values())) != 1:
            found = ", ".join(f"{name} has {count}" for name, count in counts.items()) or "it is empty"
            raise DataError(
                f"{type(self).__name__}: every part of a batch must hold as many views, but {found}. Is TestTimeAug in "
                "the pipeline, and pseudo_collate the collate_fn?"
            )
        return next(iter(counts.values()))

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Not for views: only ``test_step`` is."""
        raise NotImplementedError(f"{type(self).__name__} has only test_step, which merges the predictions of views")

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the module."""
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Into the module."""
        return self.module.load_state_dict(*args, **kwargs)
