"""A PyTorch training engine: one small core, three front doors, exact resume.

Names are imported when they are first used, so ``import trainwright`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trainwright.base.version import __version__

if TYPE_CHECKING:
    from trainwright.config import Config, ConfigDict
    from trainwright.data import DefaultSampler, InfiniteSampler
    from trainwright.engine import Hook, Priority
    from trainwright.evaluation import BaseMetric, Evaluator
    from trainwright.model import BaseDataPreprocessor, BaseModel
    from trainwright.optim import OptimWrapper
    from trainwright.registry import Registry
    from trainwright.runner import Runner
    from trainwright.strategies import BaseStrategy, SingleDeviceStrategy

_HOME = {
    "BaseDataPreprocessor": "model",
    "BaseMetric": "evaluation",
    "BaseModel": "model",
    "BaseStrategy": "strategies",
    "Config": "config",
    "ConfigDict": "config",
    "DefaultSampler": "data",
    "Evaluator": "evaluation",
    "Hook": "engine",
    "InfiniteSampler": "data",
    "OptimWrapper": "optim",
    "Priority": "engine",
    "Registry": "registry",
    "Runner": "runner",
    "SingleDeviceStrategy": "strategies",
}

__all__ = [
    "BaseDataPreprocessor",
    "BaseMetric",
    "BaseModel",
    "BaseStrategy",
    "Config",
    "ConfigDict",
    "DefaultSampler",
    "Evaluator",
    "Hook",
    "InfiniteSampler",
    "OptimWrapper",
    "Priority",
    "Registry",
    "Runner",
    "SingleDeviceStrategy",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'trainwright' has no attribute {name!r}")
    value = getattr(import_module(f"trainwright.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
