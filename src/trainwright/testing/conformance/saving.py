"""What a checkpoint holds, who writes it, and which ones stay."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.registry import MODELS
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import (
    checkpoint,
    expect,
    expect_alike,
    expect_close,
    newest,
    saved,
)
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import ADAM, Task
from trainwright.testing.rank_runs import exact_state

EMA = [{"type": "EMAHook", "momentum": 0.3}]


def _hook(**settings: Any) -> dict[str, Any]:
    return {"checkpoint": {"type": "CheckpointHook", "interval": -1, **settings}}


def _shapes(task: Task) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    runner = task.train("names", optim_wrapper={"optimizer": ADAM})
    own = {name: tuple(value.shape) for name, value in runner.strategy.model_state_dict().items()}
    tree = read_checkpoint(newest(runner.work_dir))
    written = {name: tuple(value.shape) for name, value in tree["state_dict"].items()}
    state = [tuple(values["exp_avg"].shape) for _, values in sorted(tree["optimizer"]["state"].items())]
    return own, written, state


@behaviour(quick=True)
def names_and_shapes(subject: Subject) -> None:
    """State dict and checkpoint have whole tensors under the names of the user's own model."""
    model: Any = MODELS.build({"type": "ConformanceModel"})
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    own, written, state = expect_alike(subject.here(_shapes), "shapes")
    expect_close(own, wanted, "model_state_dict()")
    expect_close(written, wanted, "the checkpoint's weights")
    expect_close(state, [tuple(p.shape) for p in model.parameters()], "the optimizer's state, by parameter")


def _writers(task: Task) -> list[str]:
    """Files in the run's folder that this process opened for writing."""
    folder, opened = os.path.abspath(task.folder), []
    process = os.getpid()

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or os.getpid() != process or not isinstance(args[0], (str, bytes)):
            return
        writes = (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and os.path.abspath(os.fsdecode(args[0])).startswith(folder):
            name = os.path.basename(os.fsdecode(args[0]))
            opened.extend([] if name.startswith(".tmp-probe") else [name])  # every rank tries whether it could

    sys.addaudithook(look)
    task.train("writers", default_hooks=_hook(layout="file"))
    return opened


@behaviour()
def rank_0_alone_writes(subject: Subject) -> None:
    """A run that saves files writes them, and its logs, on rank 0 alone."""
    first, *others = subject.here(_writers)
    expect(first, "rank 0 wrote nothing")
    expect(not any(others), f"written by other ranks: {sorted({name for names in others for name in names})}")
    left = [path.name for path in (subject.folder / "here").rglob(".tmp*")]
    expect(not left, f"temporary files are left: {left}")


def _state_of_layout(task: Task, settings: dict[str, Any]) -> Any:
    runner = task.train(
        "-".join(f"{value}" for value in settings.values()),
        optim_wrapper={"optimizer": ADAM},
        custom_hooks=EMA,
        default_hooks=_hook(**settings),
    )
    state = exact_state(newest(runner.work_dir))
    return state if runner.rank == 0 else None


@behaviour(quick=True)
def layouts_alike(subject: Subject) -> None:
    """A step folder holds what a file holds, bit for bit: weights, optimizer, averages, streams, position."""
    file, folder = (subject.here(_state_of_layout, {"layout": layout})[0] for layout in ("file", "folder"))
    expect_close(folder, file, "step folder")


@behaviour()
def async_save(subject: Subject) -> None:
    """What is saved in the background while training goes on is what is saved in place."""
    for layout in ("file", "folder"):
        plain, behind = (
            subject.here(_every_iteration, {"layout": layout, "async_save": later})[0] for later in (False, True)
        )
        expect_close(behind, plain, f"saved in the background as a {layout}")


def _every_iteration(task: Task, settings: dict[str, Any]) -> list[Any]:
    hook = {"type": "CheckpointHook", "interval": 1, "by_epoch": False, **settings}
    runner = task.train(f"{settings}", default_hooks={"checkpoint": hook}, train_cfg=_FEW, custom_hooks=EMA)
    states = [saved(runner, f"iter_{n}") for n in (1, 2, 3, 4)]
    return states if runner.rank == 0 else []


_FEW = {"by_epoch": True, "max_epochs": 1}


def _names_left(task: Task, settings: dict[str, Any], script: list[float]) -> list[str]:
    evaluator = [{"type": "ScriptedMetric", "score": script}]
    runner = task.train(
        "left",
        train_cfg={"by_epoch": True, "max_epochs": len(script)},
        val_evaluator=evaluator,
        default_hooks=_hook(**settings),
    )
    names = [path for path in os.listdir(runner.work_dir) if "epoch_" in path]
    return sorted(name.removesuffix(".pth") for name in names)


@behaviour()
def best_checkpoint(subject: Subject) -> None:
    """The best checkpoint is that of the best validation, and only one stays."""
    settings = {"save_best": "toy/score", "rule": "greater", "save_last": False}
    found = subject.here(_names_left, settings, [0.1, 0.9, 0.3])[0]
    expect(found == ["best_toy_score_epoch_2"], f"left are {found}")


@behaviour()
def retention(subject: Subject) -> None:
    """max_keep_ckpts keeps the last ones, and nothing else is left in the folder."""
    found = subject.here(_names_left, {"interval": 1, "max_keep_ckpts": 2}, [0.0] * 4)[0]
    expect(found == ["epoch_3", "epoch_4"], f"left are {found}")


def _last(task: Task) -> str:
    runner = task.train("last")
    return checkpoint(Path(runner.work_dir), "epoch_2") if runner.rank == 0 else ""


@behaviour()
def last_is_saved(subject: Subject) -> None:
    """The state at the end of training is saved, whatever the interval."""
    path = subject.here(_last)[0]
    expect(os.path.exists(path), f"{path} is not there")
