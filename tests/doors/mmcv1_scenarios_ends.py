"""More of these runs: those in which something is raised, and those that end early; they join the others."""

import torch
from mmcv1_scenarios import CYCLE, EPOCHS, ITERS, SCENARIOS, scenario
from mmcv1_transcripts import Run
from torch import nn

__all__ = ["SCENARIOS"]


def raising(at, when, error=ArithmeticError):
    """A hook that raises at an event, when ``when(runner)`` holds."""

    def then(name, runner):
        if name == at and when(runner):
            raise error("the hook fails")

    return then


def setting(at, when, **values):
    """A hook that sets attributes of the runner at an event."""

    def then(name, runner):
        if name == at and when(runner):
            for key, value in values.items():
                setattr(runner, key, value)

    return then


# errors ---------------------------------------------------------------------------------------------------------------
EVENTS_THAT_RAISE = {
    "before_run": lambda runner: True,
    "before_train_epoch": lambda runner: runner.epoch == 1,
    "before_train_iter": lambda runner: runner.iter == 1,
    "after_train_iter": lambda runner: runner.iter == 1,
    "after_train_epoch": lambda runner: runner.epoch == 0,
    "before_val_iter": lambda runner: True,
    "after_val_iter": lambda runner: runner.inner_iter == 1,
    "after_val_epoch": lambda runner: True,
    "after_run": lambda runner: True,
}


@scenario
def hook_raises(engine, folder):
    """At each event; what is called afterwards, and how the runner is left."""
    transcript = None
    for event, when in EVENTS_THAT_RAISE.items():
        run = Run(engine, then=raising(event, when), transcript=transcript)
        transcript = run.transcript
        transcript.say(f"a hook raises in {event}")
        run((("train", 1), ("val", 1)))
    return run


@scenario
def iterations_hook_raises(engine, folder):
    transcript = None
    for event in (
        "before_run",
        "before_train_iter",
        "after_train_iter",
        "before_val_iter",
        "after_val_iter",
        "after_run",
    ):
        run = Run(engine, ITERS, then=raising(event, lambda runner: runner.iter >= 1), transcript=transcript)
        transcript = run.transcript
        transcript.say(f"a hook raises in {event}")
        run(CYCLE)
    return run


@scenario
def hook_raises_stop_iteration(engine, folder):
    """It is no end of the loader."""
    run = Run(engine, then=raising("before_train_iter", lambda runner: runner.iter == 1, StopIteration))()
    again = Run(
        engine,
        ITERS,
        then=raising("before_train_iter", lambda runner: runner.iter == 1, StopIteration),
        transcript=run.transcript,
    )
    return again()


@scenario
def hook_raises_keyboard_interrupt(engine, folder):
    run = Run(engine, then=raising("after_train_iter", lambda runner: runner.iter == 1, KeyboardInterrupt))()
    again = Run(
        engine,
        ITERS,
        then=raising("after_train_iter", lambda runner: runner.iter == 1, KeyboardInterrupt),
        transcript=run.transcript,
    )
    return again()


@scenario
def step_raises(engine, folder):
    transcript = None
    for by in (EPOCHS, ITERS):
        for mode in ("train", "val"):
            run = Run(engine, by, transcript=transcript)
            transcript = run.transcript
            run.model.fail_in = {mode: 1}
            run((("train", 1), ("val", 1)))
    return run


@scenario
def run_again_after_an_error(engine, folder):
    """The epoch is begun again; the iterations are counted on."""
    failing = {"now": True}
    run = Run(engine, then=raising("after_train_iter", lambda runner: runner.iter == 4 and failing["now"]))()
    failing["now"] = False
    return run()


@scenario
def iterations_run_again_after_an_error(engine, folder):
    failing = {"now": True}
    run = Run(engine, ITERS, then=raising("after_train_iter", lambda runner: runner.iter == 3 and failing["now"]))()
    failing["now"] = False
    return run()


@scenario
def run_again_when_done(engine, folder):
    run = Run(engine, max_epochs=1)()()
    return Run(engine, ITERS, max_iters=2, transcript=run.transcript)()()


@scenario
def bad_workflows(engine, folder):
    run = Run(engine)([("test", 1)])
    Run(engine, transcript=run.transcript)([(1, 1)])
    Run(engine, ITERS, transcript=run.transcript)([("test", 1)])
    Run(engine, ITERS, transcript=run.transcript)([(1, 1)])
    return Run(engine, transcript=run.transcript)([["train", 1]])


class NoDict(nn.Module):
    """Its steps return no dict."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0]))

    def train_step(self, data, optimizer=None):
        return [1]


@scenario
def outputs_are_no_dict(engine, folder):
    run = Run(engine, model=NoDict())()
    return Run(engine, ITERS, model=NoDict(), transcript=run.transcript)()


# an early end ---------------------------------------------------------------------------------------------------------
@scenario
def fewer_epochs_from_a_hook(engine, folder):
    """Set in the middle of an epoch: it is finished, and no other begun; the rest of the round is run."""
    then = setting("after_train_iter", lambda runner: runner.iter == 4, _max_epochs=2)
    return Run(engine, max_epochs=5, then=then)(CYCLE)


@scenario
def fewer_epochs_after_an_epoch(engine, folder):
    then = setting("after_train_epoch", lambda runner: runner.epoch == 0, _max_epochs=1)
    return Run(engine, max_epochs=5, then=then)((("train", 1), ("val", 1)))


@scenario
def fewer_epochs_from_a_validation(engine, folder):
    then = setting("after_val_epoch", lambda runner: True, _max_epochs=2)
    return Run(engine, max_epochs=5, then=then)(CYCLE)


@scenario
def more_epochs_from_a_hook(engine, folder):
    then = setting("after_train_epoch", lambda runner: runner.epoch == 0, _max_epochs=2)
    return Run(engine, max_epochs=1, then=then)()


@scenario
def fewer_iterations_are_no_end_of_epochs(engine, folder):
    then = setting("after_train_iter", lambda runner: runner.iter == 1, _max_iters=2)
    return Run(engine, then=then)()


@scenario
def fewer_iterations_from_a_hook(engine, folder):
    then = setting("after_train_iter", lambda runner: runner.iter == 2, _max_iters=3)
    return Run(engine, ITERS, max_iters=9, then=then)((("train", 5), ("val", 1)))


@scenario
def more_iterations_from_a_hook(engine, folder):
    then = setting("after_train_iter", lambda runner: runner.iter == 1, _max_iters=4)
    return Run(engine, ITERS, max_iters=2, then=then)((("train", 2), ("val", 1)))


@scenario
def counters_set_by_a_hook(engine, folder):
    """Hooks may move the counters."""
    then = setting("after_train_epoch", lambda runner: runner.epoch == 0, _epoch=2, _iter=9)
    return Run(engine, max_epochs=4, then=then)()
