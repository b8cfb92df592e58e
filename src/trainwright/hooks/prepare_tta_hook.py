"""Tests with several views of each sample."""

from __future__ import annotations

import copy
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError
from trainwright.engine import Hook
from trainwright.registry import HOOKS, MODELS, RUNNERS


@HOOKS.register_module()
class PrepareTTAHook(Hook):
    """Puts the model inside one that merges the predictions of views, for the time of each test (API of mmengine's
    PrepareTTAHook). ``tta_cfg`` is the config of that model, of a class derived from BaseTTAModel."""

    def __init__(self, tta_cfg: dict[str, Any]) -> None:
        if not isinstance(tta_cfg, dict):
            raise ConfigTypeError(
                f"PrepareTTAHook tta_cfg must be the config of a model derived from BaseTTAModel, but got {tta_cfg!r}."
            )
        self.tta_cfg = tta_cfg
        self._inner: Any = None

    def before_test(self, runner: Any) -> None:
        """Put the model inside."""
        model = MODELS.build(self.tta_cfg, default_args={"module": runner.model})
        device = next((weight.device for weight in runner.model.parameters()), None)
        self._inner = runner.model
        runner.model = runner.strategy.model = model if device is None else model.to(device)

    def after_test(self, runner: Any) -> None:
        """Take it out again."""
        if self._inner is not None:
            runner.model = runner.strategy.model = self._inner
            self._inner = None

    def on_exception(self, runner: Any, phase: str, error: BaseException) -> None:
        """The same for a test that failed."""
        self.after_test(runner)


def build_runner_with_tta(cfg: Any) -> Any:
    """A runner whose ``test()`` takes its samples through ``cfg.tta_pipeline``, and merges by the model
    ``cfg.tta_model`` (API of mmengine.hooks). ``cfg`` is left as it is."""
    for name in ("tta_model", "tta_pipeline"):
        if name not in cfg:
            raise RuleError(f"testing with several views needs {name} in the config, which has none.")
    loaders = cfg.get("test_dataloader")
    if not isinstance(loaders, dict):
        raise ConfigError(
            f"testing with several views needs the config of a loader as test_dataloader, but got {loaders!r}."
        )
    cfg = copy.deepcopy(cfg)
    loaders = cfg["test_dataloader"]
    for loader in [loaders] if "dataset" in loaders else list(dict.values(loaders)):
        if not isinstance(loader, dict) or not isinstance(loader.get("dataset"), dict):
            raise ConfigError(
                "testing with several views sets the pipeline of the dataset in test_dataloader: give that as a config."
            )
        loader["dataset"]["pipeline"] = cfg["tta_pipeline"]
    runner = RUNNERS.build(cfg)
    runner.register_hook(PrepareTTAHook(tta_cfg=cfg["tta_model"]))
    return runner
