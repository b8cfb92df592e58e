"""Runs of MMCV 1.x's runners whose transcripts are kept: each gets an engine and a folder, and returns its run."""

import warnings

import torch
from mmcv1_transcripts import FILES, PLAIN, Line, Run, Transcript, recorder
from torch import nn

EPOCHS, ITERS = "EpochBasedRunner", "IterBasedRunner"
CYCLE = (("train", 2), ("val", 1))
SCENARIOS = {}


def scenario(func):
    """Keep the run under its name."""
    SCENARIOS[func.__name__] = func
    return func


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


# hooks that change while they are used --------------------------------------------------------------------------------
@scenario
def hook_registered_by_a_hook(engine, folder):
    """It takes part at once, where it comes later in the list."""
    transcript = Transcript()
    for by, event in ((EPOCHS, "before_run"), (EPOCHS, "before_train_epoch"), (ITERS, "after_train_iter")):
        added = []

        def then(name, runner, event=event, added=added):
            if name == event and not added:
                added.append(recorder(engine, transcript, "new"))
                runner.register_hook(added[0], "LOW")

        length = {"max_epochs": 1} if by == EPOCHS else {"max_iters": 3}
        run = Run(engine, by, then=then, transcript=transcript, **length)()
    return run


@scenario
def hook_changed_between_runs(engine, folder):
    """A method that is put on a hook, one that is taken off, and a hook that is taken out of the list."""
    run = Run(engine, ITERS, max_iters=1)
    first = next(hook for hook in run.runner.hooks if type(hook).__name__ == "Recorder")
    first.before_train_iter = lambda runner: run.transcript.say("in its place")
    run()
    del first.before_train_iter
    run.runner._max_iters = 2
    run()
    run.runner._hooks.remove(first)
    run.runner._max_iters = 3
    return run()


def with_own_call_hook(engine):
    def call_hook(self, fn_name):
        if "epoch" in fn_name:
            self.model.tell(f"call_hook({fn_name})")
        super(cls, self).call_hook(fn_name)

    cls = type("OwnEpochBasedRunner", (engine.EpochBasedRunner,), {"call_hook": call_hook})
    return cls


@scenario
def overridden_call_hook(engine, folder):
    return Run(engine, with_own_call_hook, max_epochs=1)((("train", 1), ("val", 1)))


@scenario
def outputs_put_by_a_hook(engine, folder):
    """What hooks put on the runner is seen by those behind them."""

    def then(name, runner):
        if name == "before_train_iter":
            runner.data_batch = runner.data_batch * 10
        if name == "after_train_iter":
            runner.log_buffer.update({"mine": 0.5}, 2)
            if runner.inner_iter == 2:
                runner.log_buffer.average(2)
        if name == "before_val_epoch":
            runner.log_buffer.clear()

    return Run(engine, then=then)((("train", 1), ("val", 1)))


@scenario
def wrapped_model(engine, folder):
    """Steps are those of the model, whatever else the wrapper has."""

    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def train_step(self, *args, **kwargs):
            self.module.tell("by the wrapper")
            return self.module.train_step(*args, **kwargs)

    inner = Line()
    run = Run(engine, model=Wrapper(inner), max_epochs=1)
    inner.tell = run.transcript.say
    run.transcript.say("name", model=run.runner.model_name)
    return run()


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
