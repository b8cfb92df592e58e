"""EMAHook in whole runs: the arithmetic, what is validated and saved, resuming, and what is refused."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError, ConfigError, ConfigTypeError, DataError, RegistryError
from trainwright.checkpoint import read_file
from trainwright.engine import Event, Hook
from trainwright.hooks import EMAHook
from trainwright.model import ExponentialMovingAverage
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyModel, differences, toy_config, toy_loader


@MODELS.register_module()
class NormedToy(ToyModel):
    """With buffers that training changes."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, inputs, label=None, mode="tensor"):
        return super().forward(self.norm(inputs), label, mode)


class Weights(Hook):
    """Keeps the model's weights after every iteration, and those that every evaluation ran with."""

    def __init__(self, priority="VERY_HIGH") -> None:
        self.priority = priority
        self.trained, self.evaluated = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(weights(runner.model))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.evaluated.append(weights(runner.model))

    after_test_iter = after_val_iter


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def config(work_dir, epochs=2, ema=None, **changes):
    hooks = [{"type": "EMAHook", "momentum": 0.1, **(ema or {})}, *changes.pop("custom_hooks", [])]
    base = {"model": {"type": "NormedToy", "dropout": 0.2}, "train_dataloader": toy_loader(16, 4, noise=0.2)}
    return toy_config(
        work_dir, **{**base, "train_cfg": {"by_epoch": True, "max_epochs": epochs}, "custom_hooks": hooks, **changes}
    )


def train(cfg, **changes):
    runner = Runner.from_cfg({**cfg, **changes})
    runner.train()
    return runner


def ema_hook(runner) -> EMAHook:
    return next(hook for hook in runner.hooks if isinstance(hook, EMAHook))


def explicit_average(trained, momentum=0.1, begin=1):
    """The average after each iteration, in plain torch."""
    averages = []
    for n, state in enumerate(trained, 1):
        if n <= begin:
            averages.append(state)
        else:
            averages.append({k: torch.lerp(averages[-1][k], v, momentum) for k, v in state.items()})
    return averages


def test_validation_test_and_checkpoint_have_the_average(tmp_path):
    watch = Weights()
    runner = train(config(tmp_path, custom_hooks=[watch]))
    averages = explicit_average(watch.trained)
    assert len(watch.evaluated) == 4
    assert not differences(watch.evaluated[0], averages[3])
    assert not differences(watch.evaluated[-1], averages[7])
    assert not differences(weights(runner.model), watch.trained[-1])  # training got its own weights back
    saved = read_file(tmp_path / "epoch_2.pth")
    assert not differences({k: saved["state_dict"][k] for k in averages[7]}, averages[7])
    trained = {k: saved["ema_state_dict"][f"module.{k}"] for k in averages[7]}
    assert not differences(trained, watch.trained[7])
    assert saved["ema_state_dict"]["steps"].item() == 8
    assert list(saved["ema_state_dict"]) == ["steps", *(f"module.{name}" for name in runner.model.state_dict())]
    assert all(type(value) is torch.Tensor for value in saved["ema_state_dict"].values())


@pytest.mark.parametrize(
    ("ema", "begin"),
    [({"begin_iter": 3}, 3), ({"begin_iter": 1}, 1), ({"begin_epoch": 2}, 5), ({"begin_epoch": 1}, 1)],
)
def test_begin(tmp_path, ema, begin):
    watch = Weights()
    runner = train(config(tmp_path, ema=ema, custom_hooks=[watch]))
    averages = explicit_average(watch.trained, begin=begin)
    assert not differences(watch.evaluated[0], averages[3])
    assert not differences(watch.evaluated[-1], averages[7])
    assert ema_hook(runner).ema_model.n_updates == 8 - begin + 1


@pytest.mark.parametrize(
    "ema",
    [
        {},
        {"ema_type": "MomentumAnnealingEMA", "gamma": 3, "update_buffers": True},
        {"ema_type": "StochasticWeightAverage", "momentum": None, "interval": 3},
        {"begin_epoch": 4},
        {"begin_iter": 11, "interval": 2},
    ],
)
def test_two_epochs_and_three_more_are_five(tmp_path, ema):
    if ema.get("ema_type") == "StochasticWeightAverage":
        ema = {name: value for name, value in ema.items() if name != "momentum"}
        hooks = [{"type": "EMAHook", **ema}]
        changes = {"custom_hooks": hooks}
    else:
        changes = {"custom_hooks": [{"type": "EMAHook", "momentum": 0.1, **ema}]}

    def part(folder, epochs, **more):
        return train({**config(tmp_path / folder, epochs), **changes, **more})

    if ema.get("begin_epoch") or ema.get("begin_iter"):  # the first part alone would end before the average begins
        cfg = {**config(tmp_path / "parts", 5), **changes}
        cfg["custom_hooks"] = [*cfg["custom_hooks"], StopAt(Event.AFTER_TRAIN_EPOCH, 2, interrupts=False)]
        Runner.from_cfg(cfg).train()
    else:
        part("parts", 2)
    one, more = part("one", 5), part("parts", 5, resume=True)
    assert more.ctx.clock.iter == one.ctx.clock.iter == 20
    assert not differences(one.model.state_dict(), more.model.state_dict())
    assert not differences(ema_hook(one).ema_model.state_dict(), ema_hook(more).ema_model.state_dict())
    files = [read_file(tmp_path / folder / "epoch_5.pth") for folder in ("one", "parts")]
    for key in ("state_dict", "ema_state_dict", "optimizer"):
        assert not differences(files[0][key], files[1][key]), key


@pytest.mark.parametrize(
    ("event", "nth"),
    [
        (Event.AFTER_TRAIN_ITER, 6),
        (Event.BEFORE_VAL_EPOCH, 2),
        (Event.AFTER_VAL_ITER, 3),
        (Event.AFTER_VAL_EPOCH, 1),
        (Event.AFTER_SAVE_CHECKPOINT, 1),
    ],
)
def test_interrupted_anywhere(tmp_path, event, nth):
    """Above all inside a validation, where model and average have changed places."""
    straight = train(config(tmp_path / "one", 3))
    cfg = config(tmp_path / "parts", 3)
    stop = StopAt(event, nth)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, custom_hooks=[*cfg["custom_hooks"], stop])
    resumed = train(cfg, resume=True)
    assert not differences(straight.model.state_dict(), resumed.model.state_dict())
    one, other = (ema_hook(runner).ema_model.state_dict() for runner in (straight, resumed))
    assert not differences(one, other)


def test_the_best_checkpoint_holds_what_was_validated(tmp_path):
    watch = Weights()
    checkpoint = {"checkpoint": {"type": "CheckpointHook", "interval": -1, "save_best": "auto", "save_last": False}}
    cfg = config(tmp_path, custom_hooks=[watch], default_hooks=checkpoint)
    metric = {"type": "ScriptedMetric", "acc": [0.9, 0.1]}
    runner = train(cfg, val_evaluator=metric)
    best = next(tmp_path.glob("best_*.pth"))
    saved = read_file(best)["state_dict"]
    assert not differences({k: saved[k] for k in watch.evaluated[0]}, watch.evaluated[0])  # both batches of epoch 1
    assert not differences(watch.evaluated[0], watch.evaluated[1])
    # In a run of its own, without the hook: the file is ready to use.
    plain = Runner.from_cfg(
        toy_config(tmp_path / "test", model={"type": "NormedToy"}, load_from=str(best), custom_hooks=None)
    )
    plain.val()
    assert not differences(weights(plain.model), watch.evaluated[0])
    assert runner.ctx.clock.epoch == 2


def test_a_checkpoint_saved_inside_a_validation_is_the_same(tmp_path):
    class SaveInside(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == 0:
                runner.save_checkpoint(runner.work_dir, f"inside_{runner.epoch}.pth")

    train(config(tmp_path, 1, custom_hooks=[SaveInside()]))
    inside, after = (read_file(next(tmp_path.glob(f"{name}_*.pth"))) for name in ("inside", "epoch"))
    for key in ("state_dict", "ema_state_dict"):
        assert not differences(inside[key], after[key]), key


def test_a_failed_validation_gives_the_weights_back(tmp_path):
    watch = Weights()
    runner = Runner.from_cfg(
        config(tmp_path, custom_hooks=[watch], val_dataloader=toy_loader(8, shuffle=False, fail_at=5))
    )
    with pytest.raises(Exception, match="sample 5"):
        runner.train()
    assert not differences(weights(runner.model), watch.trained[-1])


@pytest.mark.parametrize("how", ["stopped", "failed"])
@pytest.mark.parametrize("phase", ["val", "test"])
def test_an_evaluation_alone_that_ends_early_gives_the_weights_back(tmp_path, how, phase):
    watch = Weights()
    cfg = config(tmp_path, 1, custom_hooks=[watch])
    stop = StopAt(Event(f"after_{phase}_iter"), 1 if phase == "test" else 3, interrupts=False)
    cfg["custom_hooks"] += [stop] if how == "stopped" else []
    loader = toy_loader(8, shuffle=False)
    test = {"test_dataloader": loader, "test_cfg": {}, "test_evaluator": cfg["val_evaluator"]}
    runner = train({**cfg, **test})
    if how == "failed":
        (runner.val_loop if phase == "val" else runner.test_loop).dataloader.dataset.fail_at = 5
        with pytest.raises(DataError, match="sample 5"):
            getattr(runner, phase)()
    else:
        assert getattr(runner, phase)() == {}
    assert len(watch.evaluated) == 3  # one batch of the evaluation
    assert not differences(weights(runner.model), watch.trained[-1])


def test_a_test_after_training_has_the_average(tmp_path):
    watch = Weights()
    cfg = config(tmp_path, custom_hooks=[watch])
    test = {"test_dataloader": cfg["val_dataloader"], "test_cfg": {}, "test_evaluator": cfg["val_evaluator"]}
    runner = train({**cfg, **test})
    validated = watch.evaluated[-1]
    runner.test()
    assert not differences(watch.evaluated[-1], validated)
    assert not differences(weights(runner.model), watch.trained[-1])
    # And in a run that only tests, from the file.
    again = Weights()
    only = Runner.from_cfg(
        {**config(tmp_path / "t", custom_hooks=[again]), **test, "load_from": str(tmp_path / "epoch_2.pth")}
    )
    only.test()
    assert not differences(again.evaluated[-1], validated)


def test_loading_weights_begins_a_new_average(tmp_path):
    train(config(tmp_path, 1))
    watch = Weights()
    load_from = str(tmp_path / "epoch_1.pth")
    train(config(tmp_path / "next", 1, custom_hooks=[watch]), load_from=load_from)
    assert not differences(watch.evaluated[-1], explicit_average(watch.trained)[-1])


def test_loading_into_a_finished_training_is_what_is_tested(tmp_path):
    train(config(tmp_path, 1))
    watch = Weights()
    cfg = config(tmp_path / "next", 1, custom_hooks=[watch], randomness={"seed": 2})
    runner = train(cfg)
    runner.load_checkpoint(str(tmp_path / "epoch_1.pth"))
    runner.val()
    saved = read_file(tmp_path / "epoch_1.pth")["state_dict"]
    assert not differences(watch.evaluated[-1], {k: saved[k] for k in watch.evaluated[-1]})


def test_resuming_by_hand(tmp_path):
    straight = train(config(tmp_path / "one", 2))
    train(config(tmp_path / "parts", 1))
    runner = Runner.from_cfg(config(tmp_path / "parts", 2))
    runner.resume(str(tmp_path / "parts" / "epoch_1.pth"))
    runner.train()
    one, other = (ema_hook(r).ema_model.state_dict() for r in (straight, runner))
    assert not differences(one, other)


def test_resuming_a_run_that_had_no_average(tmp_path, capsys):
    train(config(tmp_path, 1), custom_hooks=[])
    watch = Weights()
    train(config(tmp_path, 2, custom_hooks=[watch]), resume=True)
    assert "saved without EMAHook and has no ema_state_dict: the average begins with its weights" in (
        capsys.readouterr().err
    )
    assert not differences(watch.evaluated[-1], explicit_average(watch.trained)[-1])


def test_going_on_without_the_hook_is_told_of(tmp_path, capsys):
    train(config(tmp_path, 1))
    capsys.readouterr()
    train(config(tmp_path, 2), custom_hooks=[], resume=True)
    text = " ".join(capsys.readouterr().err.split())
    assert "epoch_1.pth was saved with an EMAHook, and this run has none: training goes on from the averaged" in text


def test_parts_of_different_models_are_refused(tmp_path):
    runner = train(config(tmp_path, 1))
    checkpoint = read_file(tmp_path / "epoch_1.pth")
    del checkpoint["state_dict"]["first.weight"]
    runner._resume = True
    with pytest.raises(CheckpointError, match=r"'module.first.weight' of the average has no 'first.weight' beside it"):
        ema_hook(runner).after_load_checkpoint(runner, checkpoint)


def test_strict_load(tmp_path):
    runner = train(config(tmp_path, 1, ema={"strict_load": True}))
    path = tmp_path / "epoch_1.pth"
    checkpoint = read_file(path)
    del checkpoint["state_dict"]["norm.running_mean"]
    with pytest.raises(CheckpointError, match=r"strict loading into NormedToy failed(.|\n)*norm.running_mean"):
        ema_hook(runner).after_load_checkpoint(runner, checkpoint)
    checkpoint = read_file(path)
    del checkpoint["ema_state_dict"]["steps"]
    runner._resume = True
    with pytest.raises(CheckpointError, match=r"strict loading into ExponentialMovingAverage failed(.|\n)*steps"):
        ema_hook(runner).after_load_checkpoint(runner, checkpoint)


def test_no_host_reads_and_no_calls_before_the_beginning(tmp_path):
    calls = []

    class Noting(EMAHook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            calls.append(runner.iter)
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

        def next_train_iter(self, runner):
            return super().next_train_iter(runner)

    class Counting(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if batch_idx == 0:  # the beginning of an epoch is the loader's
                self.block = count_host_reads()
                self.reads = self.block.__enter__()

        def after_train_epoch(self, runner):
            self.block.__exit__(None, None, None)

    counting = Counting()
    cfg = config(tmp_path, 1, default_hooks={"checkpoint": None, "logger": None})
    train(cfg, custom_hooks=[Noting(begin_iter=3), counting])
    assert calls == [2, 3]
    assert counting.reads.total == 0, counting.reads.report()


def test_a_subclass_that_overrides_the_iteration_is_called_in_all(tmp_path):
    seen = []

    class Own(EMAHook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(batch_idx)

    train(config(tmp_path, 1), custom_hooks=[Own(begin_iter=4)])
    assert seen == [0, 1, 2, 3]


def test_wrapped_models_are_looked_into():
    model = nn.Linear(2, 2)
    hook = EMAHook()
    hook.before_run(SimpleNamespace(model=nn.DataParallel(model)))
    assert hook.src_model is model
    assert isinstance(hook.ema_model, ExponentialMovingAverage)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"begin_iter": 2, "begin_epoch": 1}, ConfigError, "should not be both set, but are 2 and 1: set the one"),
        ({"begin_iter": -1}, ConfigError, "begin_iter` must larger than or equal to 0, .* but got -1"),
        ({"begin_epoch": 1.5}, ConfigError, "begin_epoch` must larger .*whole number, but got 1.5"),
        ({"ema_type": "ExponentialMovingAvrage"}, RegistryError, "ExponentialMovingAverage"),
        ({"ema_type": "BaseDataPreprocessor"}, ConfigTypeError, "must name a class of averaged models.*but got"),
        ({"momentm": 0.1}, ConfigTypeError, "on to ExponentialMovingAverage: unknown argument 'momentm'.*'momentum'"),
    ],
)
def test_wrong_settings(settings, error, message):
    with pytest.raises(error, match=message):
        EMAHook(**settings)


@pytest.mark.parametrize(
    ("ema", "message"),
    [
        ({"begin_epoch": 3}, "self.begin_epoch should be smaller than or equal to runner.max_epochs: 2, but is 3"),
        ({"begin_iter": 9}, "self.begin_iter should be smaller than or equal to runner.max_iters: 8, but is 9"),
    ],
)
def test_an_average_that_never_begins(tmp_path, ema, message):
    with pytest.raises(ConfigError, match=message):
        train(config(tmp_path, ema=ema))


def test_two_averages_at_once(tmp_path):
    with pytest.raises(ConfigError, match="more than one EMAHook"):
        train(config(tmp_path, custom_hooks=[EMAHook()]))
