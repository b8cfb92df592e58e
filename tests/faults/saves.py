"""The save of a real run, done again and again from the same moment, each time in a process of its own."""

from __future__ import annotations

import io
import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from disk_model import Files, put_files, read_files
from harness import FAILED, VALIDATED, Work, fork, in_child, same_training, small_config, train
from os_layer import DIED, DieAt, Observer, Op, Recorder, watched

from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.state import rng

Fsync = Callable[[int], None]


class Before(Hook):
    """Called right before the checkpoint hook of one iteration."""

    priority = "BELOW_NORMAL"

    def __init__(self, at: int) -> None:
        self.at = at
        self.then: Callable[[], None] = lambda: None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """The iteration is there."""
        if runner.iter + 1 == self.at:
            self.then()


class After(Hook):
    """Called when everything was saved that is saved after that iteration; and each time one is said to be saved."""

    priority = "LOWEST"

    def __init__(self, after_validation: bool) -> None:
        self.after_validation = after_validation
        self.then: Callable[[], None] | None = None
        self.saved: Callable[[str], None] = lambda text: None

    def after_save_checkpoint(self, runner: Any, path: str) -> None:
        """It must be there from now on."""
        self.saved(str(runner.ctx.clock.as_completed().iter))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """The end, where no validation follows."""
        if self.then is not None and not self.after_validation:
            self.then()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """The end, where one does."""
        if self.then is not None:
            self.then()


@dataclass
class Result:
    """How a repeated save ended, and what it sent."""

    status: int
    sent: bytes = b""


class Save:
    """A run that stands right before the save after iteration `at`, in `folder`, which holds `files` then.

    `repeat(observer)` makes the save in a forked process that ends behind it, or before, as the observer wants.
    """

    def __init__(self, folder: Path, before: Before, after: After) -> None:
        self.folder, self._before, self._after = folder, before, after
        self.files: Files = {}
        self.logs: list[str] = []
        self._streams: dict[str, Any] = {}

    def begin(self) -> None:
        """Take note of what is there."""
        self._streams = rng.capture()
        self.logs = [".lock", *(path.name for path in self.folder.iterdir() if path.name[0].isdigit())]
        self.files = read_files(self.folder, skip=self.logs)

    def repeat(
        self,
        observer: Observer,
        buffer: type[io.BufferedWriter] = io.BufferedWriter,
        fsync: Callable[[Fsync], Fsync] | None = None,
    ) -> Result | None:
        """The result, in the parent; None in the child, which must return to the run at once."""
        put_files(self.folder, self.files)
        receiver, sender = os.pipe()
        pid = fork()
        if pid:
            os.close(sender)
            with open(receiver, "rb") as pipe:
                sent = pipe.read()
            _, status = os.waitpid(pid, 0)
            return Result(os.waitstatus_to_exitcode(status), sent)
        os.close(receiver)
        rng.restore(self._streams)  # the parent has drawn numbers meanwhile, which go into checkpoints
        stack = ExitStack()
        stack.enter_context(watched(self.folder, observer, buffer))
        if fsync is not None:
            os.fsync = fsync(os.fsync)  # type: ignore[assignment]

        def end() -> None:
            stack.close()
            data = pickle.dumps(getattr(observer, "ops", None))
            while data:
                data = data[os.write(sender, data) :]
            os._exit(0)

        self._after.then = end
        if isinstance(observer, Recorder):
            self._after.saved = observer.mark
        return None

    def recorded(self, **kwargs: Any) -> list[Op] | None:
        """The calls of the whole save; None in the child."""
        result = self.repeat(Recorder(), **kwargs)
        if result is None:
            return None
        assert result.status == 0, (
            f"the save failed with status {result.status}: {result.sent.decode(errors='replace')}"
        )
        ops: list[Op] = pickle.loads(result.sent)
        return ops


Run = Callable[[Path, int, Before, After], None]


def at_a_save(
    folder: Path,
    at: int,
    experiment: Callable[[Save], Iterator[None] | None],
    has_best: bool = False,
    run: Run | None = None,
    **settings: Any,
) -> None:
    """Train a small run in `folder` to the save after iteration `at`, and hand that over to `experiment`, whose
    repetitions are made from there.

    `experiment` is a generator: it yields wherever ``repeat`` or ``recorded`` returned None, which is in the child.
    `run(folder, at, before, after)` trains through another door than Runner: it calls ``before.then()`` right before
    that save, and behind it ``after.saved(text)`` with the number of the iteration and then ``after.then()``.
    """
    before, after = Before(at), After(has_best)
    save = Save(folder, before, after)

    def run_experiment() -> None:
        save.begin()
        for _ in experiment(save) or ():
            return  # in a child: go on with the run, which saves

    before.then = run_experiment
    parent = os.getpid()
    try:
        (run or partial(_run, settings))(folder, at, before, after)
    except BaseException:
        if os.getpid() == parent:
            raise
        os.write(2, traceback.format_exc().encode())
        os._exit(FAILED)
    if os.getpid() != parent:
        os._exit(FAILED)


def _run(settings: dict[str, Any], folder: Path, at: int, before: Before, after: After) -> None:
    hooks = {"custom_hooks": [before, after]}
    Runner.from_cfg(small_config(folder, max_iters=at, **hooks, **settings)).train()


@dataclass
class Expected:
    """What may be the latest checkpoint after a crash: the whole trees by iteration, several where a name
    is used again."""

    work: Work
    trees: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    _judged: dict[frozenset[tuple[str, bytes]], tuple[int, str]] = field(default_factory=dict)

    def learn(self, folder: str | os.PathLike[str]) -> int:
        """Count in the latest checkpoint of a folder; returns its iteration."""
        path = self.work.find(folder)
        assert path is not None
        tree = self.work.read(path)
        self._judged.clear()
        at = int(tree["meta"]["iter"])
        known = self.trees.setdefault(at, [])
        if all(same_training(tree, other) for other in known):
            known.append(tree)
        return at

    def problem(self, folder: str | os.PathLike[str], at_least: int) -> str:
        """What is wrong with the latest checkpoint in a folder, "" for nothing; the iteration of an intact one may not
        be lower than `at_least` (0: there may be none)."""
        path = self.work.find(folder)
        if path is None:
            return "lost: there is none" if at_least else ""
        content = content_of(path)
        if content not in self._judged:
            self._judged[content] = self._judge(path)
        at, problem = self._judged[content]
        if not problem and at < at_least:
            problem = f"lost: the latest is of iteration {at}, and {at_least} was safe"
        return problem

    def _judge(self, path: str) -> tuple[int, str]:
        try:
            tree = self.work.read(path)
        except AssertionError as error:
            return 0, f"unreadable: {error}"
        at = int(tree["meta"]["iter"])
        known = self.trees.get(at)
        if not known:
            return at, f"silently wrong: {path} is of iteration {at}, which was not saved"
        found_differences = [same_training(tree, other) for other in known]
        what = found_differences[0][0] if all(found_differences) else ""
        return at, f"silently wrong: {path}: {what}" if what else ""


def content_of(path: str) -> frozenset[tuple[str, bytes]]:
    """The bytes of a checkpoint: of the file, or of all in the folder."""
    whole = Path(path)
    files = [file for file in whole.rglob("*") if file.is_file()] if whole.is_dir() else [whole]
    return frozenset((file.name, file.read_bytes()) for file in files)


def crash_points(calls: list[Op]) -> list[tuple[int, bool]]:
    """Every moment at which a save can be cut off: before each call, and in the middle of each write."""
    return [
        (nth, torn)
        for nth, op in enumerate(calls)
        for torn in (False, True)
        if not torn or (op.kind == "write" and len(op.data) > 1)
    ]


def died(result: Result | None) -> bool:
    """Whether a repeated save was cut off as wished."""
    return result is not None and result.status == DIED


def die_at(save: Save, nth: int, torn: bool) -> Result | None:
    """Repeat the save up to a crash point."""
    return save.repeat(DieAt(nth, save.folder if torn else None))


def cut_at_each_point(
    save: Save, expected: Expected, at: int, safe: int, points: list[tuple[int, bool]], problems: list[str]
) -> Iterator[None]:
    """An experiment: the save of iteration ``at`` is cut off at each of the ``points`` that it has, when iteration
    ``safe`` was saved before; ``problems`` are what is not as it ought to be then."""
    folder, ops = save.folder, save.recorded()
    if ops is None:
        yield
        return
    assert expected.learn(folder) == at
    n_published = [op.kind for op in ops].index("mark")
    calls = [op for op in ops if op.kind != "mark"]
    points.extend(crash_points(calls))
    for nth, torn in points:
        result = die_at(save, nth, torn)
        if result is None:
            yield
            return
        assert died(result), (result.status, result.sent)
        problem = expected.problem(folder, at if nth >= n_published else safe)
        if problem:
            problems.append(f"died {'inside' if torn else 'before'} call {nth}, {calls[nth]}: {problem}")


# scenarios ------------------------------------------------------------------------------------------------------------

SCENARIOS = ("first save", "a save and a purge", "the same name again", "with the best")


def prepared(folder: Path, layout: str, scenario: str) -> tuple[int, dict[str, Any]]:
    """Bring a folder to where a scenario begins; the iteration whose save is to be repeated, and settings of
    the run."""
    settings: dict[str, Any] = {"layout": layout, "checkpoint": {"max_keep_ckpts": 1}}
    if scenario == "first save":
        return 1, settings
    if scenario == "the same name again":
        # Two checkpoints of another training; the later one is taken up nowhere and stands in the way.
        settings["checkpoint"]["max_keep_ckpts"] = 3
        in_child(train, small_config(folder, max_iters=2, **settings, randomness={"seed": 2}))
        return 2, {**settings, "resume": False}
    if scenario == "with the best":
        settings.update(VALIDATED, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.0}})
        settings["val_evaluator"] = {"type": "ScriptedMetric", "acc": [1, 2, 3]}
        settings["checkpoint"]["save_best"] = "toy/acc"
        return 4, settings
    return 3, settings
