"""How a runner is built where its config names no constructor of its own."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.builder import RUNNER_BUILDERS, RUNNERS


@RUNNER_BUILDERS.register_module()
class DefaultRunnerConstructor:
    """Builds the runner of RUNNERS that ``runner_cfg`` describes. A constructor of your own, with the same arguments,
    may do more with it before it gives it back."""

    def __init__(self, runner_cfg: dict[str, Any], default_args: dict[str, Any] | None = None) -> None:
        if not isinstance(runner_cfg, dict):
            raise TypeError(f"runner_cfg should be a dict, but got {runner_cfg!r} of {type(runner_cfg)}")
        self.runner_cfg = runner_cfg
        self.default_args = default_args

    def __call__(self) -> Any:
        return RUNNERS.build(self.runner_cfg, default_args=self.default_args)
