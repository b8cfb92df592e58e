"""Taking one recorded training step again, bit for bit, and looking at where it goes wrong."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from trainwright.base.errors import ConfigError, CustomImportError, add_note
from trainwright.base.text import brief
from trainwright.checkpoint import StepRecord
from trainwright.checkpoint.step_record import CONFIG_NAME, read_batch, read_config, read_record, state_path
from trainwright.config import Config, parse_options
from trainwright.config.imports import import_custom
from trainwright.engine import Hook
from trainwright.hooks.gradient_norms import watch_norms, wrappers_by_name
from trainwright.hooks.runtime_info_hook import is_scalar
from trainwright.runner.diagnosis import (
    Diagnosis,
    add_bad_gradients,
    bad_rows,
    bad_weights,
    facts,
    looking_for_bad_modules,
    tensors_in,
)
from trainwright.runner.quiet import warnings_only
from trainwright.state import NotPlainError, Stateful, to_plain
from trainwright.visualization import Visualizer

# Hooks that write files, stop or rewind a training; the others may belong to the arithmetic of the step.
_LEFT_OUT = {
    "CheckpointHook",
    "LoggerHook",
    "LossGuardHook",
    "MaxTimeHook",
    "MemoryReportHook",
    "NPUProfilerHook",
    "NaiveVisualizationHook",
    "ProfilerHook",
}


@dataclass
class Replay:
    """What a step gave when it was taken again. Numbers are by the names of the record.

    ``differences`` from the record, empty when the step was reproduced bit for bit; ``notes`` are circumstances that
    may explain them.
    """

    record: StepRecord
    losses: dict[str, float] = field(default_factory=dict)
    grad_norms: dict[str, float] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    diagnosis: Diagnosis | None = None

    @property
    def reproduced(self) -> bool:
        """Whether every number is the recorded one, bit for bit."""
        return not self.differences


class _StepTaken(BaseException):
    """Leaves the loop right after the step; no error, so that nothing is told of one."""


def replay_config(step_dir: str | os.PathLike[str], cfg_options: Sequence[str] = (), diagnose: bool = True) -> Replay:
    """Build the runner of the run that recorded ``step_dir`` from its config, and take the step again.

    The config is read as data; what its ``custom_imports`` name is imported. The work is done in the folder in which
    the run was started, so that relative paths mean what they meant; files go to a temporary folder only.
    """
    step_dir, here = os.path.abspath(step_dir), os.getcwd()
    record = read_record(step_dir)
    cfg = read_config(step_dir)
    if cfg is None:
        reason = record.config_missing or f"{CONFIG_NAME} was taken out of it"
        raise ConfigError(
            f"{step_dir!r} holds no config to build the run from: {reason}. Make the runner in your script as for the "
            "training, with a work_dir of its own, and in place of runner.train() call\n"
            f"    print(trainwright.runner.replay_step(runner, {step_dir!r}).reproduced)"
        )
    cfg.merge_from_dict(parse_options(cfg_options), label="--cfg-options")
    with tempfile.TemporaryDirectory(prefix="trainwright_replay_") as work_dir, _as_in_the_run(record) as notes:
        _import(cfg, record, here)
        replay = replay_step(_runner(cfg, record, work_dir), step_dir, diagnose)
        replay.notes[:0] = notes
    return replay


@contextmanager
def _as_in_the_run(record: StepRecord) -> Iterator[list[str]]:
    """In the folder of the run, with its import paths behind those of now; notes of what is not there any more."""
    notes, here, path = [], os.getcwd(), list(sys.path)
    sys.path += [folder for folder in record.import_paths if folder not in path and os.path.isdir(folder)]
    try:
        os.chdir(record.folder)
    except OSError as error:
        notes.append(f"the run was started in {record.folder}, which cannot be entered: {error.strerror or error}")
    try:
        yield notes
    finally:
        os.chdir(here)
        sys.path[:] = path


def _import(cfg: Config, record: StepRecord, here: str) -> None:
    """Import what ``custom_imports`` names; files beside the config of the run, else in the current folder."""
    custom = cfg.get("custom_imports")
    folders = [*record.config_folders, record.folder, here]
    if isinstance(custom, dict) and isinstance(custom.get("imports"), (str, list, tuple)):
        given = custom["imports"]
        names = [given] if isinstance(given, str) else list(given)
        custom["imports"] = [_found(name, folders) if str(name).endswith(".py") else name for name in names]
    try:
        import_custom(cfg)
    except CustomImportError as error:
        place = f", with its config in {' and '.join(record.config_folders)}" if record.config_folders else ""
        add_note(
            error,
            f"The run was started in {record.folder}{place}: put the module there again, or run this command in the "
            "folder that has it, or set PYTHONPATH.",
        )
        raise


def _found(name: str, folders: list[str]) -> str:
    paths = [os.path.join(folder, name) for folder in folders]
    return next((path for path in paths if os.path.isfile(path)), name)


def _runner(cfg: Config, record: StepRecord, work_dir: str) -> Any:
    from trainwright.registry import RUNNERS
    from trainwright.runner.runner import Runner

    for name in ("visualizer", "load_from", "resume"):
        cfg.pop(name, None)
    cfg.work_dir, cfg.log_level = work_dir, "ERROR"  # what was warned of in the config was said in the run
    if record.world_size == 1:
        cfg["launcher"] = "none"
    if record.seed is not None:  # it was drawn, or taken over from a checkpoint
        cfg.randomness = {**(cfg.get("randomness") or {}), "seed": record.seed}
    runner: Any = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    for part in (runner.logger, *runner.logger.handlers):
        part.setLevel(logging.WARNING)
    return runner


def replay_step(runner: Any, step_dir: str | os.PathLike[str], diagnose: bool = True) -> Replay:
    """Take the step of ``step_dir`` again with a runner that was made as for that training, and has not trained yet.

    The state before the step is resumed, exactly one iteration is run, and its numbers are compared with the record.
    Hooks that write, stop or rewind are left out, and nothing is written. The runner is used up by it: its weights are
    those after the step, and it cannot go on training. ``diagnose`` looks at every module's output besides.
    """
    record = read_record(step_dir)
    _check(runner, record)
    replay = Replay(record, diagnosis=Diagnosis() if diagnose else None)
    replay.notes += _circumstances(runner, record)
    runner._is_written = False
    with warnings_only(runner.logger), _silent(runner):
        taker = _Taker(replay, read_batch(step_dir))
        runner.register_hook(taker)
        runner._load_from, runner._resume = state_path(step_dir), True
        try:
            runner.train()
        except _StepTaken:
            pass
        else:
            raise ConfigError(
                f"training ended before iteration {record.iteration} was run again, with {runner.iter} of "
                f"{runner.max_iters} iterations done. train_cfg must go as far as in the run, and its loop must call "
                "after_train_iter."
            )
        finally:
            taker.close()
            loader = runner.train_dataloader
            if hasattr(loader, "close"):
                loader.close()
    replay.differences += _compared("", record.losses, replay.losses)
    replay.differences += _compared("grad_norm", record.grad_norms, replay.grad_norms)
    if replay.differences and runner.strategy.device.type != "cpu" and not runner.deterministic:
        replay.notes.append(
            f"kernels of {runner.strategy.device.type} may add up in another order each time: "
            "randomness=dict(deterministic=True) makes a run repeat itself"
        )
    return replay


def _check(runner: Any, record: StepRecord) -> None:
    if runner._has_loaded or runner.ctx.clock.iter:
        raise ConfigError(
            "replay_step() takes a runner that has done nothing yet: make a new one, as for the training."
        )
    if runner._specs["train_cfg"] is None:
        raise ConfigError("replay_step() needs train_dataloader, train_cfg and optim_wrapper, as train() does.")
    if record.world_size > 1 or runner.world_size > 1:
        raise ConfigError(
            f"the step was taken by {record.world_size} process(es), and this is one of {runner.world_size}: a replay "
            "works in one process on steps of one process, since samples and gradients depend on the others. The batch "
            "of this process and its numbers are in the folder."
        )


def _circumstances(runner: Any, record: StepRecord) -> list[str]:
    """What is not as it was, and may change the last bits."""
    now = {"device": str(runner.strategy.device), "torch": str(torch.__version__)}
    before = {"device": record.device, "torch": record.torch_version}
    return [f"{name} was {before[name]} and is {now[name]}" for name in now if before[name] != now[name]]


@contextmanager
def _silent(runner: Any) -> Iterator[None]:
    """Within the block the runner has no hook that writes, and a visualizer without backends."""
    table, own = runner.ctx.hooks, runner.visualizer
    table.hooks[:] = [hook for hook in table.hooks if _LEFT_OUT.isdisjoint(c.__name__ for c in type(hook).__mro__)]
    table.rebuild()
    runner.visualizer = Visualizer(name=f"{runner.experiment_name}_replay")
    try:
        yield
    finally:
        runner.visualizer.close()
        runner.visualizer = own


class _Taker(Hook):
    """Looks at the step from outside and ends the training after it."""

    priority = "HIGHEST"

    def __init__(self, replay: Replay, recorded_batch: Mapping[str, Any] | None) -> None:
        self._replay = replay
        self._recorded_batch = recorded_batch
        self._norms: dict[str, Any] = {}
        self._clipped: dict[str, Any] = {}
        self._open = ExitStack()

    def close(self) -> None:
        """Leave nothing on model and optimizers."""
        self._open.close()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Begin with the step: a validation that is due comes before it and changes nothing of it."""
        checkpoint["meta"]["val_due"] = False

    def before_train(self, runner: Any) -> None:
        """Put watchers on optimizers and modules."""
        diagnosis, model = self._replay.diagnosis, runner.strategy.unwrapped_model
        if self._recorded_batch is not None and not isinstance(runner.train_dataloader, Stateful):
            self._give_recorded_batch(runner.train_loop)
        for name, wrapper in wrappers_by_name(runner.optim_wrapper).items():
            self._watch_update(name, wrapper, model)
        if diagnosis is None:
            return
        diagnosis.weights += bad_weights(model)
        if runner._specs["compile"]:
            diagnosis.modules_unknown = (
                "the model is compiled, and watching it would change what is compiled: add --cfg-options compile=False"
            )
        else:
            self._open.enter_context(looking_for_bad_modules(model, diagnosis.modules))

    def _give_recorded_batch(self, loop: Any) -> None:
        """Where the loader cannot jump to a position, its order may be lost: torch's own draws it as a pass begins."""
        enter, recorded = loop._enter_epoch, (self._recorded_batch or {})["batch"]

        def enter_epoch(*place: int) -> Iterator[Any]:
            for batch in enter(*place):  # its draws from the random streams belong to the step
                is_other = bool(_batch_differences(recorded, batch))
                if is_other:
                    self._replay.notes.append(
                        "the loader cannot jump to a position and gave another batch: the recorded one was used"
                    )
                yield recorded if is_other else batch

        loop._enter_epoch = enter_epoch
        self._open.callback(delattr, loop, "_enter_epoch")

    def _watch_update(self, name: str, wrapper: Any, model: Any) -> None:
        def before_update() -> None:
            self._norms[name] = norms.total()
            if self._replay.diagnosis is not None:
                add_bad_gradients(self._replay.diagnosis.gradients, model)

        norms, end = watch_norms(wrapper, before_update)
        self._open.callback(end)
        logged = getattr(wrapper, "on_grad_norm", None)
        if logged is not None:  # clipping by norm has a total of its own, which may differ in its last bits
            wrapper.on_grad_norm = lambda norm: self._clipped.update({name: norm})
            self._open.callback(setattr, wrapper, "on_grad_norm", logged)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Look at the batch before anything is done with it."""
        replay, record = self._replay, self._replay.record
        if (runner.iter, batch_idx) != (record.iteration, record.batch_idx):
            replay.differences.append(
                f"iteration {runner.iter}, batch {batch_idx} of its epoch, was run, and iteration {record.iteration}, "
                f"batch {record.batch_idx}, was recorded"
            )
        if self._recorded_batch is not None:
            replay.differences += _batch_differences(self._recorded_batch["batch"], data_batch)
        if replay.diagnosis is not None:
            for name, tensor in tensors_in(data_batch):
                replay.diagnosis.batch.append(facts(f"batch{name}", tensor))
                known = replay.diagnosis.bad_rows
                known += [row for row in bad_rows(tensor) if row not in known]

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Read the numbers of the step and leave."""
        replay = self._replay
        replay.losses.update(_numbers(outputs or {}))
        norms, logged = _numbers(self._norms), _numbers(self._clipped)
        for name, recorded in replay.record.grad_norms.items():
            if name in logged and logged[name].hex() == recorded.hex():
                norms[name] = logged[name]
        replay.grad_norms.update(norms)
        if replay.diagnosis is not None:  # inside an accumulation window they are held
            add_bad_gradients(replay.diagnosis.gradients, runner.strategy.unwrapped_model)
        raise _StepTaken


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of ``values`` that are one number. Reads the device."""
    plain = {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in values.items()}
    return {name: float(value) for name, value in plain.items() if is_scalar(value)}


def _compared(prefix: str, recorded: Mapping[str, float], found: Mapping[str, float]) -> list[str]:
    lines = []
    for name, before in recorded.items():
        now = found.get(name, found.get(name.removeprefix("train/")))
        full = "/".join(part for part in (prefix, name) if part)
        if now is None:
            lines.append(f"{full} was {before!r}, and the step did not give it")
        elif now.hex() != before.hex():
            lines.append(f"{full} was {before!r} ({before.hex()}) and is {now!r} ({now.hex()})")
    return lines


def _batch_differences(recorded: Any, batch: Any) -> list[str]:
    try:
        places = list(_unequal(recorded, to_plain(batch, "batch"), "batch"))
    except NotPlainError as error:
        places = [f"{error}"]
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return [f"the loader gives another batch than was recorded: {', '.join(places[:5])}{more}"] if places else []


def _unequal(one: Any, other: Any, where: str) -> Iterator[str]:
    """Places where two plain trees differ in a bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        other = other.detach().to(one.device)
        if one.dtype != other.dtype or one.shape != other.shape or not torch.equal(_bits(one), _bits(other)):
            yield where
    elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key, item in one.items():
            yield from _unequal(item, other[key], f"{where}[{key!r}]")
    elif isinstance(one, (list, tuple)) and type(one) is type(other) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _unequal(left, right, f"{where}[{index}]")
    elif one is not other and brief(one, 10**6) != brief(other, 10**6):
        yield where


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).contiguous().view(torch.uint8)
