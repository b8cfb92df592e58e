"""The runs of MMCV 1.x's runners whose transcripts are kept: each gets an engine and a folder, and returns its run."""

import warnings

import torch
from mmcv1_transcripts import FILES, PLAIN, Line, Run, recorder
from torch import nn

EPOCHS, ITERS = "EpochBasedRunner", "IterBasedRunner"
CYCLE = (("train", 2), ("val", 1))
SCENARIOS = {}


def scenario(func):
    """Keep the run under its name."""
    SCENARIOS[func.__name__] = func
    return func


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


# plain runs -----------------------------------------------------------------------------------------------------------
@scenario
def epochs(engine, folder):
    return Run(engine)()


@scenario
def iterations(engine, folder):
    return Run(engine, ITERS)()


@scenario
def methods_of_both_phases(engine, folder):
    """Hooks that have before_iter and the like are called in training and validation."""
    run = Run(engine, max_epochs=1)
    run.runner.register_hook(recorder(engine, run.transcript, "both", PLAIN))
    return run((("train", 1), ("val", 1)))


@scenario
def iterations_methods_of_both_phases(engine, folder):
    """before_epoch and after_epoch are called once in a run counted in iterations, before_train_epoch never."""
    run = Run(engine, ITERS, max_iters=2)
    run.runner.register_hook(recorder(engine, run.transcript, "both", PLAIN))
    return run((("train", 1), ("val", 1)))


@scenario
def keywords(engine, folder):
    return Run(engine, max_epochs=1)((("train", 1), ("val", 1)), flag=3)


@scenario
def iterations_keywords(engine, folder):
    return Run(engine, ITERS, max_iters=1)((("train", 1), ("val", 1)), flag=3)


@scenario
def no_optimizer(engine, folder):
    return Run(engine, optimizer=None, max_epochs=1)()


@scenario
def several_optimizers(engine, folder):
    model, other = Line(), nn.Parameter(torch.ones(1))
    optimizers = {
        "one": torch.optim.SGD(model.parameters(), lr=0.125),
        "two": torch.optim.SGD([other], lr=0.5, momentum=0.25),
    }
    return Run(engine, model=model, optimizer=optimizers, max_epochs=1)()


@scenario
def length_given_to_run(engine, folder):
    """Deprecated, and still obeyed."""
    run = Run(engine, max_epochs=3)(max_epochs=1)
    return Run(engine, ITERS, transcript=run.transcript)(max_iters=2)


@scenario
def batch_processor(engine, folder):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0]))

    def process(model, data, train_mode, **kwargs):
        loss = (model.w * data).mean()
        return {"loss": loss, "log_vars": {"loss": loss.item(), "mode": float(train_mode)}, "num_samples": 1}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Run(engine, model=Plain(), batch_processor=process, max_epochs=1)
    return run((("train", 1), ("val", 1)))


@scenario
def training_hooks(engine, folder):
    """The usual hooks, in the order of their priorities."""
    run = Run(engine, optimizer=True, work_dir=str(folder), meta={})
    run.runner.register_training_hooks(
        lr_config={"policy": "step", "step": [1], "warmup": "linear", "warmup_iters": 2, "warmup_ratio": 0.5},
        momentum_config={"policy": "step", "step": [1], "gamma": 0.5},
        checkpoint_config={"interval": 1},
        log_config={"interval": 2, "hooks": [{"type": "TextLoggerHook"}]},
    )
    run.transcript.lines += run.runner.get_hook_info().splitlines()
    run((("train", 1), ("val", 1)))
    run.transcript.say("files", names=sorted(path.name for path in folder.glob("*.pth")))
    return run


# workflows ------------------------------------------------------------------------------------------------------------
@scenario
def workflow(engine, folder):
    """The second round has one epoch left to train."""
    return Run(engine, max_epochs=3)(CYCLE)


@scenario
def iterations_workflow(engine, folder):
    return Run(engine, ITERS)(CYCLE)


@scenario
def validation_first(engine, folder):
    return Run(engine, max_epochs=1)((("val", 1), ("train", 1)))


@scenario
def iterations_validation_first(engine, folder):
    return Run(engine, ITERS, max_iters=2)((("val", 1), ("train", 1)))


@scenario
def iterations_longer_than_the_loader(engine, folder):
    return Run(engine, ITERS, max_iters=4)((("train", 4), ("val", 3)))


@scenario
def two_training_parts(engine, folder):
    return Run(engine, max_epochs=3)((("train", 1), ("val", 1), ("train", 1)))


def with_method_of_its_own(engine):
    def probe(self, data_loader, **kwargs):
        self.mode = "probe"
        self.call_hook("own_event")

    return type("OwnEpochBasedRunner", (engine.EpochBasedRunner,), {"probe": probe})


@scenario
def phase_of_its_own(engine, folder):
    return Run(engine, with_method_of_its_own, max_epochs=1)((("train", 1), ("probe", 2)))


def with_iterations_of_its_own(engine):
    def run_iter(self, data_batch, train_mode, **kwargs):
        super(cls, self).run_iter(data_batch * 2, train_mode, **kwargs)
        self.call_hook("own_event")

    cls = type("OwnEpochBasedRunner", (engine.EpochBasedRunner,), {"run_iter": run_iter})
    return cls


@scenario
def overridden_run_iter(engine, folder):
    return Run(engine, with_iterations_of_its_own, max_epochs=1)((("train", 1), ("val", 1)))


def with_epochs_around(engine):
    def train(self, data_loader, **kwargs):
        self.call_hook("own_event")
        super(cls, self).train(data_loader, **kwargs)

    cls = type("OwnEpochBasedRunner", (engine.EpochBasedRunner,), {"train": train})
    return cls


@scenario
def overridden_train(engine, folder):
    return Run(engine, with_epochs_around)((("train", 1), ("val", 1)))


def with_whole_iterations_of_its_own(engine):
    """An iteration that uses two batches, written out as users write them."""

    def train(self, data_loader, **kwargs):
        self.model.train()
        self.mode = "train"
        self.data_loader = data_loader
        self._epoch = data_loader.epoch
        self.data_batch = next(data_loader) + next(data_loader)
        self.call_hook("before_train_iter")
        outputs = self.model.train_step(self.data_batch, self.optimizer, **kwargs)
        self.log_buffer.update(outputs["log_vars"], outputs["num_samples"])
        self.outputs = outputs
        self.call_hook("after_train_iter")
        del self.data_batch
        self._inner_iter += 1
        self._iter += 1

    return type("OwnIterBasedRunner", (engine.IterBasedRunner,), {"train": train})


@scenario
def iterations_overridden_train(engine, folder):
    return Run(engine, with_whole_iterations_of_its_own, max_iters=3)(CYCLE)


def with_iterations_around(engine):
    def train(self, data_loader, **kwargs):
        self.call_hook("own_event")
        super(cls, self).train(data_loader, **kwargs)

    cls = type("OwnIterBasedRunner", (engine.IterBasedRunner,), {"train": train})
    return cls


@scenario
def iterations_around_train(engine, folder):
    return Run(engine, with_iterations_around, max_iters=3)(CYCLE)


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


# taken up again -------------------------------------------------------------------------------------------------------
def saving(folder, at, when, name):
    def then(event, runner):
        if event == at and when(runner):
            runner.save_checkpoint(str(folder), filename_tmpl=name + "_{}.pth", create_symlink=False)

    return then


def resumed(engine, path, workflow=(("train", 1),), **settings):
    run = Run(engine, **settings)
    run.runner.resume(str(path), map_location="cpu")
    run.transcript.note("now", "-", run.runner)
    return run(workflow)


@scenario
def resume(engine, folder):
    """From a file that the engine itself has written at the end of an epoch."""
    then = saving(folder, "after_train_epoch", lambda runner: runner.epoch == 0, "made")
    Run(engine, max_epochs=3, then=then)()
    return resumed(engine, folder / "made_1.pth", max_epochs=3)


@scenario
def resume_when_done(engine, folder):
    then = saving(folder, "after_train_epoch", lambda runner: runner.epoch == 1, "made")
    Run(engine, then=then)()
    return resumed(engine, folder / "made_2.pth")


@scenario
def resume_of_a_file_of_theirs(engine, folder):
    return resumed(engine, FILES / "epoch_1.pth", CYCLE, max_epochs=3)


@scenario
def resume_of_a_file_of_theirs_inside_an_epoch(engine, folder):
    """Written by a hook in after_train_iter of the second iteration: that epoch is not trained again."""
    return resumed(engine, FILES / "inside_1.pth")


@scenario
def iterations_resume_of_a_file_of_theirs(engine, folder):
    """The loader begins anew."""
    return resumed(engine, FILES / "iter_3.pth", by=ITERS, max_iters=6)


def write_files(engine):
    """The checkpoints of theirs."""
    FILES.mkdir(exist_ok=True)
    Run(engine, then=saving(FILES, "after_train_epoch", lambda runner: runner.epoch == 0, "epoch"))()
    Run(engine, then=saving(FILES, "after_train_iter", lambda runner: runner.iter == 1, "inside"))()
    Run(engine, ITERS, then=saving(FILES, "after_train_iter", lambda runner: runner.iter == 2, "iter"))()
