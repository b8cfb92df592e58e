"""The two engines whose runs are written down; MMEngine's is made only when it is asked for."""

import itertools
import os
from contextlib import contextmanager, nullcontext
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from transcript_parts import register

_numbers = itertools.count()


def ours():
    """Trainwright, with MMEngine's random numbers."""
    from trainwright import registry
    from trainwright.engine import BaseLoop, EpochBasedTrainLoop, Hook, IterBasedTrainLoop, ValLoop
    from trainwright.evaluation import BaseMetric
    from trainwright.model import BaseModel
    from trainwright.optim import OptimWrapper, OptimWrapperDict
    from trainwright.runner import Runner

    def make(cfg):
        cfg["randomness"].setdefault("keyed", False)
        return Runner.from_cfg(cfg)

    return SimpleNamespace(
        **{cls.__name__: cls for cls in (BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop)},
        **{cls.__name__: cls for cls in (Hook, BaseMetric, BaseModel, OptimWrapper, OptimWrapperDict)},
        registries=registry,
        make=make,
        calling=nullcontext,
        train_loop=lambda runner: runner._loops.get("train"),
        optim_wrapper=lambda runner: runner.optim_wrapper,
    )


@cache
def registered_ours():
    """Trainwright with the parts known to it, once for all tests of a process."""
    engine = ours()
    register(engine)
    return engine


@contextmanager
def _calling_theirs():
    """Of PyTorch 2.6 on MMEngine cannot read its own checkpoints; it sleeps where a loader is over."""
    load = torch.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *args, **settings: load(*args, **{**settings, "weights_only": False}))
        patch.setattr("mmengine.runner.loops.time.sleep", lambda seconds: None)
        patch.setattr("mmengine.hooks.runtime_info_hook.get_git_hash", lambda: "")
        yield


def theirs():
    """MMEngine."""
    from mmengine import registry, runner
    from mmengine.evaluator import BaseMetric
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    def make(cfg):
        # Their loggers and message hubs are found by the experiment's name.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mmengine.runner.runner.collect_env", dict)  # it starts a compiler, to ask for its version
            return runner.Runner(experiment_name=f"transcript_{os.getpid()}_{next(_numbers)}", **cfg)

    loops = ("BaseLoop", "EpochBasedTrainLoop", "IterBasedTrainLoop", "ValLoop")
    return SimpleNamespace(
        **{name: getattr(runner, name) for name in loops},
        **{cls.__name__: cls for cls in (Hook, BaseMetric, BaseModel, OptimWrapper, OptimWrapperDict)},
        registries=registry,
        make=make,
        calling=_calling_theirs,
        train_loop=lambda it: it._train_loop if isinstance(it._train_loop, runner.BaseLoop) else None,
        optim_wrapper=lambda it: it.optim_wrapper if hasattr(it.optim_wrapper, "get_lr") else None,
    )
