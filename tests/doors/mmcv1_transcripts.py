"""Records what hooks of MMCV 1.x see of a run, call by call, in whichever engine has its runners: `mmcv.runner` itself
or ours. All numbers of the toy task are exact in float32, so transcripts compare as text."""

import logging
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import nn
from torch.utils.data import DataLoader

FOLDER = Path(__file__).parent / "mmcv1_transcripts"
FILES = Path(__file__).parent / "mmcv1_files"  # checkpoints that MMCV 1.7.2 has written
RUN = ("before_run", "after_run")
PLAIN = ("before_epoch", "after_epoch", "before_iter", "after_iter")
PHASED = tuple(
    f"{when}_{mode}_{what}" for mode in ("train", "val") for what in ("epoch", "iter") for when in ("before", "after")
)
OWN = ("own_event",)  # any name that all hooks have can be called by runner.call_hook
NOTHING = {name: lambda self, runner: None for name in OWN}


class Line(nn.Module):
    """``w * x``; its steps say what they were called with."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))
        self.tell = None  # a function; set by what runs it
        self.fail_in = {}  # "train" or "val": the step of that number (from 0) raises
        self.n_steps = {"train": 0, "val": 0}

    def forward(self, x):
        return self.w * x

    def train_step(self, data, optimizer=None, **kwargs):
        return self._step("train", data, optimizer, kwargs)

    def val_step(self, data, optimizer=None, **kwargs):
        return self._step("val", data, optimizer, kwargs)

    def _step(self, mode, data, optimizer, kwargs):
        with_optimizer = type(optimizer).__name__
        self.tell(
            f"{mode}_step", training=self.training, grad=torch.is_grad_enabled(), optimizer=with_optimizer, **kwargs
        )
        self.n_steps[mode] += 1
        if self.fail_in.get(mode) == self.n_steps[mode] - 1:
            raise ArithmeticError("the step fails")
        loss = self(data).mean()
        return {"loss": loss, "log_vars": {"loss": loss.item()}, "num_samples": len(data)}


class Transcript:
    """Lines of text: each call, with what is different from the call before."""

    def __init__(self):
        self.lines, self._before = [], {}

    def say(self, what, /, **values):
        """A line about something else than a hook."""
        self.lines.append("  ".join([f"    {what}", *(f"{key}={text_of(value)}" for key, value in values.items())]))

    def note(self, who, event, runner):
        """A call of a hook."""
        now = seen(runner)
        changes = [f"{key}={now[key]}" for key in now if self._before.get(key) != now[key]]
        self.lines.append("  ".join([f"{who:<6}{event}", *changes]))
        self._before = now

    def text(self):
        """All of it."""
        return "\n".join(self.lines) + "\n"


def text_of(value):
    """A value in few characters."""
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(text_of, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{text_of(item)}" for key, item in value.items()) + "}"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


MEASURED = ("time", "data_time")


def seen(runner):
    """What a hook can see of the run."""
    found = {
        "mode": runner.mode,
        "epoch": runner.epoch,
        "iter": runner.iter,
        "inner_iter": runner.inner_iter,
        "max_epochs": runner.max_epochs,
        "max_iters": runner.max_iters,
        "batch": runner.data_batch if hasattr(runner, "data_batch") else "none",
        "outputs": runner.outputs["loss"].item() if hasattr(runner, "outputs") else "none",
        "loader": len(runner.data_loader) if hasattr(runner, "data_loader") else "none",
        "training": runner.model.training,
        "w": getattr(runner.model, "module", runner.model).w.item(),
    }
    if runner.optimizer is not None:
        found["lr"], found["momentum"] = runner.current_lr(), runner.current_momentum()
    buffer = runner.log_buffer
    found["kept"] = {key: len(values) for key, values in buffer.val_history.items()}
    found["ready"] = buffer.ready
    found["averages"] = {key: "-" if key in MEASURED else value for key, value in buffer.output.items()}
    return {key: text_of(value) for key, value in found.items()}


def recorder(engine, transcript, who, names=(*RUN, *PHASED, *OWN), then=None):
    """A hook that notes its calls; ``then(name, runner)`` is called after each."""

    def method(name):
        def call(self, runner):
            transcript.note(who, name, runner)
            if then is not None:
                then(name, runner)

        return call

    return type("Recorder", (engine.Hook,), {**NOTHING, **{name: method(name) for name in names}})()


def stepper(engine):
    """The hook that trains."""

    def after_train_iter(self, runner):
        optimizers = runner.optimizer if isinstance(runner.optimizer, dict) else {"": runner.optimizer}
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        runner.outputs["loss"].backward()
        for optimizer in optimizers.values():
            optimizer.step()

    return type("Stepper", (engine.Hook,), {**NOTHING, "after_train_iter": after_train_iter})()


def loaders():
    """Three batches to train on, two to validate on."""
    train = [torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([4.0])]
    val = [torch.tensor([8.0]), torch.tensor([16.0])]
    return {"train": DataLoader(torch.stack(train)[:, 0], 1), "val": DataLoader(torch.stack(val)[:, 0], 1)}


def silent_logger():
    """A logger that writes nowhere."""
    logger = logging.Logger("transcript")
    logger.addHandler(logging.NullHandler())
    return logger


class Run:
    """A runner with recorders around everything else, and the transcript that they write.

    ``by`` is the runner's name, or a function that makes a class of the engine; ``then(name, runner)`` is called by a
    hook between the recorders.
    """

    def __init__(
        self, engine, by="EpochBasedRunner", then=None, transcript=None, optimizer=True, model=None, **settings
    ):
        self.engine = engine
        self.transcript = transcript or Transcript()
        self.model = model or Line()
        self.model.tell = self.transcript.say
        made = torch.optim.SGD(self.model.parameters(), lr=0.125, momentum=0.5) if optimizer is True else optimizer
        cls = by(engine) if callable(by) else getattr(engine, by)
        length = {} if {"max_epochs", "max_iters"} & set(settings) else {"max_epochs": 2}
        if "Iter" in cls.__name__ and length:
            length = {"max_iters": 5}
        self.runner = cls(self.model, optimizer=made, logger=silent_logger(), **length, **settings)
        self.runner.register_hook(recorder(engine, self.transcript, "first"), "HIGHEST")
        if made is not None:
            self.runner.register_hook(stepper(engine), "ABOVE_NORMAL")
        if then is not None:
            names = (*RUN, *PHASED)
            mute = SimpleNamespace(note=lambda *_: None)
            self.runner.register_hook(recorder(engine, mute, "", names, then), "NORMAL")
        self.runner.register_hook(recorder(engine, self.transcript, "last"), "LOWEST")

    def __call__(self, workflow=(("train", 1),), found=None, **kwargs):
        """Run; an error is noted, and how the runner is left."""
        found = found or loaders()
        flow = list(workflow)
        data = [found.get(mode, found["val"]) if isinstance(mode, str) else found["val"] for mode, _ in flow]
        try:
            with patch("time.sleep"), warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                self.runner.run(data, flow, **kwargs)
        except BaseException as error:  # noqa: BLE001 - any error is part of the transcript
            # Ours are of the same builtin type, and have a class of their own besides.
            kinds = [cls for cls in type(error).__mro__ if cls.__module__ == "builtins"]
            kind = AssertionError if AssertionError in kinds else kinds[0]
            self.transcript.say("raised", type=kind.__name__)
        if any(issubclass(one.category, DeprecationWarning) for one in said):
            self.transcript.say("warned that something is deprecated")
        self.transcript.note("left", "-", self.runner)
        return self
