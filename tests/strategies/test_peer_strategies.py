"""Names and arguments of MMEngine's strategies, wrappers and FlexibleRunner are here too."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from trainwright.model import MMDistributedDataParallel, MMSeparateDistributedDataParallel
from trainwright.registry import RUNNERS
from trainwright.runner import FlexibleRunner, Runner
from trainwright.strategies import BaseStrategy, DDPStrategy, FSDPStrategy, SingleDeviceStrategy

pytestmark = pytest.mark.peer


def arguments(function: Any) -> list[str]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [name for name, one in inspect.signature(function).parameters.items() if one.kind not in kinds]


def arguments_of_all(kind: type) -> set[str]:
    return {name for base in kind.__mro__ if "__init__" in vars(base) for name in arguments(base.__init__)}


@pytest.mark.parametrize("ours", [BaseStrategy, SingleDeviceStrategy, DDPStrategy, FSDPStrategy])
def test_strategies_have_the_methods_and_their_arguments(ours: type) -> None:
    strategies = pytest.importorskip("mmengine._strategy")
    theirs = getattr(strategies, ours.__name__)
    shared = [base for base in theirs.__mro__ if base.__module__.startswith("mmengine")]
    refused = {"sync_bn"} if ours is FSDPStrategy else set()  # with the reason, where a config has it
    assert arguments_of_all(theirs) - arguments_of_all(ours) - {"args", "kwargs"} <= refused
    for base in shared:
        for name, method in vars(base).items():
            if not callable(method) or name.startswith("__" if base.__name__ != "FSDPStrategy" else "_"):
                continue  # what is private of FSDP1 has no counterpart in FSDP2
            own = getattr(ours, name, None)
            if name in ("convert_model", "_build_optim_wrapper", "_init_model_weights", "_wrap_model") and own is None:
                continue  # of MMEngine's single device strategy, which its FSDPStrategy derives from
            assert own is not None, name
            taken, wanted = arguments(own), arguments(method)
            takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(own).parameters.values())
            assert takes_any or set(wanted) <= set(taken), (name, wanted, taken)


@pytest.mark.parametrize("name", ["work_dir", "log_dir", "experiment_name", "launcher", "distributed", "seed", "rank"])
def test_strategies_have_the_properties(name: str) -> None:
    strategies = pytest.importorskip("mmengine._strategy")
    assert isinstance(vars(strategies.BaseStrategy)[name], property)
    assert isinstance(getattr(BaseStrategy, name), property)


@pytest.mark.parametrize("ours", [MMDistributedDataParallel, MMSeparateDistributedDataParallel])
def test_wrappers_have_the_methods_and_their_arguments(ours: type) -> None:
    wrappers = pytest.importorskip("mmengine.model.wrappers")
    theirs = getattr(wrappers, ours.__name__)
    assert set(arguments(theirs.__init__)) <= set(arguments(ours.__init__))
    for name, method in vars(theirs).items():
        if callable(method) and not name.startswith("__"):
            assert set(arguments(method)) <= set(arguments(getattr(ours, name))), name


def test_flexible_runner_is_the_runner_and_takes_its_arguments() -> None:
    theirs = pytest.importorskip("mmengine.runner").FlexibleRunner
    assert FlexibleRunner is Runner is RUNNERS.get("FlexibleRunner")
    assert set(arguments(theirs.__init__)) <= set(arguments(Runner.__init__))
    names = {name for name in vars(theirs) if not name.startswith("_")}
    assert names - set(dir(Runner)) <= {"cfg", "logger"}  # attributes that a runner gets when it is made


def test_facts_of_the_machine_have_the_names(tmp_path: Path) -> None:
    theirs = pytest.importorskip("mmengine.utils.dl_utils").collect_env()
    found = SingleDeviceStrategy(work_dir=tmp_path).collect_env()[0]
    assert set(theirs) <= set(found)
    same = ("sys.platform", "Python", "CUDA available", "GCC", "PyTorch", "PyTorch compiling details", "MMEngine")
    assert {name: str(found[name]) for name in same} == {name: str(theirs[name]) for name in same}
