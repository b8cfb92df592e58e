"""What a user is told, and that nothing was started."""

import pytest
import torch

from trainwright.base.errors import (
    ConfigError,
    ConfigTypeError,
    DataError,
    NonFiniteLossError,
    RegistryError,
    WorkDirError,
)
from trainwright.config import Config
from trainwright.registry import MODELS, Registry
from trainwright.runner import Runner
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

# On a machine of one core torch advises against two workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class CountingModel(ToyModel):
    """Counts how many were made."""

    made = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        type(self).made += 1


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A function that makes a config; afterwards nothing of a run may be there."""
    monkeypatch.setitem(MODELS.module_dict, "CountingModel", CountingModel)
    monkeypatch.setattr(CountingModel, "made", 0)
    yield lambda **changes: toy_config(tmp_path / "run", model={"type": "CountingModel"}, **changes)
    assert CountingModel.made == 0
    assert not (tmp_path / "run").exists()


def message_of(cfg, kind=ConfigError):
    with pytest.raises(kind) as caught:
        Runner.from_cfg(cfg)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train_dataloder", "train_dataloader"),
        ("optim_wraper", "optim_wrapper"),
        ("param_schedular", "param_scheduler"),
        ("defualt_hooks", "default_hooks"),
        ("val_evalutor", "val_evaluator"),
        ("custom_hook", "custom_hooks"),
        ("random_ness", "randomness"),
    ],
)
def test_unknown_top_level_key(config, wrong, right):
    text = message_of(config(**{wrong: {}}))
    assert f"unknown top-level key '{wrong}'. Did you mean '{right}'?" in text


def test_several_unknown_keys_at_once_with_the_file(tmp_path, config):
    cfg = config(train_dataloder=1, visualiser=1)
    del cfg["model"]
    path = tmp_path / "bad.json"
    Config(cfg).dump(path)
    text = message_of(Config.fromfile(path))
    assert str(path) in text
    for part in ("'train_dataloder'. Did you mean", "'visualiser'. Did you mean", "the config lacks 'model'"):
        assert part in text


def test_variables_of_ones_own_are_no_mistake(tmp_path):
    cfg = toy_config(tmp_path, max_epochs=3, data_root="/data", num_classes=10, img_scale=(3, 4))
    assert Runner.from_cfg(cfg).cfg.max_epochs == 3


def test_unknown_type_has_near_names_and_the_scope(config):
    text = message_of(config(optim_wrapper={"optimizer": {"type": "AdmW", "lr": 0.1}}), RegistryError)
    assert text.startswith("optim_wrapper.optimizer.type: AdmW is not in the trainwright::optimizer registry.")
    assert "Did you mean 'AdamW'?" in text
    assert "Locations imported: trainwright.optim" in text
    assert "custom_imports=dict(imports=['your_module'])" in text


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (
            {"val_evaluator": {"type": "Acuracy"}},
            "val_evaluator.type: Acuracy is not in the trainwright::metric registry",
        ),
        (
            {"custom_hooks": [{"type": "LogerHook"}]},
            "custom_hooks.0.type: LogerHook is not in the trainwright::hook registry",
        ),
        (
            {"default_hooks": {"logger": {"type": "Lgger"}}},
            "default_hooks.logger.type: Lgger is not in the trainwright::hook",
        ),
        ({"param_scheduler": {"type": "CosinAnnealingLR"}}, "param_scheduler.type: CosinAnnealingLR is not in"),
        (
            {"visualizer": {"type": "Visualiser"}},
            "visualizer.type: Visualiser is not in the trainwright::visualizer registry",
        ),
        (
            {"strategy": {"type": "SingleDevice"}},
            "strategy.type: SingleDevice is not in the trainwright::strategy registry",
        ),
        (
            {"train_dataloader": {"dataset": {"type": "ToyDatset"}}},
            "train_dataloader.dataset.type: ToyDatset is not in",
        ),
    ],
)
def test_unknown_type_in_each_part(config, changes, where):
    assert where in message_of(config(**changes), RegistryError)


def test_unknown_type_shows_why_a_location_failed_to_import(config, tmp_path, monkeypatch):
    (tmp_path / "broken_zoo.py").write_text("import torch\nraise OSError('no libzoo here')\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("model", parent=MODELS, scope="broken_zoo_scope", locations=["broken_zoo"])
    try:
        cfg = config()
        cfg["model"] = {"type": "broken_zoo_scope.Net"}
        text = message_of(cfg, RegistryError)
    finally:
        MODELS.children.pop(registry.scope)
    assert "broken_zoo (failed to import, see below)" in text
    assert "broken_zoo failed to import:\nTraceback (most recent call last)" in text
    assert "OSError: no libzoo here" in text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentun": 0.9}}},
            "optim_wrapper.optimizer.momentun: SGD: unknown argument 'momentun'. Did you mean 'momentum'?",
        ),
        (
            {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}, "acumulative_counts": 2}},
            "optim_wrapper.acumulative_counts: OptimWrapper: unknown argument 'acumulative_counts'. Did you mean "
            "'accumulative_counts'?",
        ),
        (
            {"train_cfg": {"by_epoch": True, "max_epochs": 2, "val_intervall": 2}},
            "train_cfg.val_intervall: EpochBasedTrainLoop: unknown argument 'val_intervall'. Did you mean 'val_in",
        ),
        (
            {"default_hooks": {"logger": {"type": "LoggerHook", "intervall": 2}}},
            "default_hooks.logger.intervall: LoggerHook: unknown argument 'intervall'. Did you mean 'interval'",
        ),
        (
            {"param_scheduler": [{"type": "MultiStepLR"}]},
            "param_scheduler.0: MultiStepLR: missing argument 'milestones'.",
        ),
        ({"val_cfg": {"fp61": True}}, "val_cfg.fp61: ValLoop: unknown argument 'fp61'. Did you mean 'fp16'?"),
        (
            {"train_dataloader": toy_loader(batchsize=3)},
            "train_dataloader.batchsize: a dataloader has no setting 'batchsize'. Did you mean 'batch_size'",
        ),
        (
            {"train_dataloader": toy_loader(persistent_workers=True)},
            "train_dataloader: persistent_workers=True needs loader workers, but num_workers is 0",
        ),
        (
            {"log_processor": {"windowsize": 3}},
            "log_processor.windowsize: LogProcessor: unknown argument 'windowsize'.",
        ),
    ],
)
def test_wrong_argument_of_a_named_class(config, changes, text):
    assert text in message_of(config(**changes))


def test_a_dict_without_a_type(config):
    cfg = config()
    cfg["model"] = {"dropout": 0.5}
    text = "model: has no key 'type', which names its class. Add for example type='CountingModel'"
    assert text in message_of(cfg)
    with pytest.raises(KeyError):
        Runner.from_cfg(cfg)


def test_what_is_missing_is_of_the_built_in_type_too(config):
    for cfg in ({}, {"model": {"type": "CountingModel"}}):
        with pytest.raises(KeyError, match=r"the config (has 2 problems|lacks 'work_dir')"):
            Runner.from_cfg(cfg)
    for name in ("load_from", "resume"):
        with pytest.raises(FileNotFoundError, match=f"{name}: checkpoint 'nowhere.pth' does not exist"):
            Runner.from_cfg(config(**{name: "nowhere.pth"}))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train_cfg": None}, "train_dataloader and optim_wrapper given, train_cfg missing. Add train_cfg"),
        ({"train_dataloader": None}, "train_cfg and optim_wrapper given, train_dataloader missing"),
        ({"optim_wrapper": None}, "train_dataloader and train_cfg given, optim_wrapper missing"),
        ({"val_evaluator": None}, "validation needs val_dataloader, val_cfg, val_evaluator, which must be either"),
        (
            {"test_cfg": {}},
            "which must be either all None or not None: test_cfg given, test_dataloader and test_evaluator",
        ),
        (
            {"train_cfg": None, "train_dataloader": None, "optim_wrapper": None, "param_scheduler": {"type": "x"}},
            "param_scheduler: should be None, as optim_wrapper is",
        ),
    ],
)
def test_parts_that_go_together(config, changes, text):
    assert text in message_of(config(**changes))


@pytest.mark.parametrize(
    ("train_cfg", "text"),
    [
        (
            {"by_epoch": True, "max_epochs": 2, "max_iters": 10},
            "both max_epochs=2 and max_iters=10: training is",
        ),
        ({"max_epochs": 2}, "train_cfg needs by_epoch=True or by_epoch=False, or the type of a loop"),
        ({"by_epoch": False, "max_epochs": 2}, "needs max_iters, but has max_epochs: set by_epoch=True, or use"),
        ({"by_epoch": True}, "train_cfg with by_epoch=True needs max_epochs."),
    ],
)
def test_how_long_to_train(config, train_cfg, text):
    assert text in message_of(config(train_cfg=train_cfg))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"launcher": "slrm"}, "launcher 'slrm' is not available"),
        ({"randomness": {"sed": 3}}, "randomness has no setting 'sed'; it takes seed, diff_rank_seed"),
        ({"randomness": {"seed": -1}}, "randomness seed must be a whole number from 0 to 2**63 - 1, but got -1"),
        ({"env_cfg": {"cudnn_benchmrk": True}}, "env_cfg has no setting 'cudnn_benchmrk'"),
        ({"default_hooks": {"loger": None}}, "default_hooks has loger=None"),
    ],
)
def test_settings(config, changes, text):
    assert text in message_of(config(**changes))


def test_several_problems_at_once(config):
    cfg = config(
        train_cfg={"by_epoch": True, "max_epochs": 1, "max_iters": 2},
        optim_wrapper={"optimizer": {"type": "SDG", "lr": 1}},
        launcher="slrm",
        val_evaluator={"type": "Accuracy", "topkk": 1},
        load_from="/nowhere/x.pth",
    )
    text = message_of(cfg)
    assert text.startswith("the config has 5 problems:\n")
    for part in ("launcher 'slrm'", "both max_epochs", "SDG is not in", "'topkk'", "x.pth' does not exist"):
        assert part in text


def test_missing_config_file(tmp_path):
    (tmp_path / "digits.py").write_text("a = 1\n")
    with pytest.raises(ConfigError, match=r"dgits.py.*Did you mean .*digits.py") as caught:
        Config.fromfile(tmp_path / "dgits.py")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_work_dir_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, "CountingModel", CountingModel)
    monkeypatch.setattr(CountingModel, "made", 0)
    (tmp_path / "file").write_text("")
    cfg = toy_config(tmp_path / "file" / "run", model={"type": "CountingModel"})
    with pytest.raises(WorkDirError, match=r"work_dir '.*file/run' cannot be written: Not a directory.*Choose another"):
        Runner.from_cfg(cfg)
    assert CountingModel.made == 0


# a loss that is not finite -------------------------------------------------------------------------------------------


def with_nan(tmp_path, **changes):
    """The inputs of sample 9 are NaN: in order and four a batch, that is iteration 2 of each epoch."""
    loader = toy_loader(16, shuffle=False, nan_at=9)
    hooks = {"logger": {"type": "LoggerHook", "interval": 100, "ignore_last": True}}
    return toy_config(tmp_path, train_dataloader=loader, **{"default_hooks": hooks, **changes})


def test_non_finite_loss_found_at_the_log_interval(tmp_path):
    hooks = {"logger": {"type": "LoggerHook", "interval": 3}}
    with pytest.raises(NonFiniteLossError) as caught:
        Runner.from_cfg(with_nan(tmp_path, default_hooks=hooks)).train()
    text = str(caught.value)
    assert "the loss is not finite at iteration 2 (counted from 0): train/loss = nan." in text
    assert "optim_wrapper=dict(clip_grad=dict(max_norm=1.0))" in text
    assert "check_finite=False" in text
    assert list(tmp_path.glob("*.pth")) == []


def test_non_finite_loss_found_before_a_checkpoint_is_written(tmp_path):
    with pytest.raises(NonFiniteLossError, match="iteration 2"):
        Runner.from_cfg(with_nan(tmp_path)).train()
    assert list(tmp_path.glob("*.pth")) == []
    assert not (tmp_path / "last_checkpoint").exists()


def test_non_finite_term_is_named_and_earlier_checkpoints_stay(tmp_path):
    class Late(ToyModel):
        n_steps = 0

        def forward(self, inputs, label=None, mode="tensor"):
            losses = super().forward(inputs, label, mode)
            if mode == "loss":
                self.n_steps += 1
                losses["loss_size"] = losses["loss_size"] * (float("inf") if self.n_steps == 6 else 1)
            return losses

    with pytest.raises(NonFiniteLossError, match=r"at iteration 5 .*train/loss_size = inf"):
        Runner.from_cfg(toy_config(tmp_path, model=Late(n_terms=3))).train()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["epoch_1.pth"]
    assert torch.load(tmp_path / "epoch_1.pth", weights_only=True)["state_dict"]["first.weight"].isfinite().all()


def test_the_check_can_be_switched_off(tmp_path):
    hooks = {"runtime_info": {"type": "RuntimeInfoHook", "check_finite": False}}
    Runner.from_cfg(with_nan(tmp_path, default_hooks=hooks)).train()
    assert len(list(tmp_path.glob("*.pth"))) == 2


# a sample that cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_that_raises(tmp_path, workers):
    loader = toy_loader(16, fail_at=6, num_workers=workers)
    runner = Runner.from_cfg(toy_config(tmp_path, train_dataloader=loader))
    with pytest.raises(DataError) as caught:
        runner.train()
    text = str(caught.value)
    assert text.startswith("sample 6 of dataset ToyDataset could not be read")
    assert ("in loader worker" in text) == bool(workers)
    assert "OSError: the file of sample 6 is damaged" in text
    assert "toys.py" in text
    assert "Traceback" in text
    assert 'raise OSError(f"the file of sample {index} is damaged")' in text


def test_a_hook_hears_of_a_failure(tmp_path):
    from trainwright.engine import Event
    from trainwright.testing.recorder import EventRecorder

    recorder = EventRecorder()
    cfg = toy_config(tmp_path, train_dataloader=toy_loader(fail_at=3), custom_hooks=[recorder])
    with pytest.raises(DataError):
        Runner.from_cfg(cfg).train()
    assert recorder.events[-2:] == [Event.ON_EXCEPTION, Event.TRAIN_CLOSED]
    assert Event.AFTER_RUN not in recorder.events


def test_an_empty_dataset(tmp_path):
    with pytest.raises(DataError, match=r"the dataset ToyDataset is empty \(length 0\)"):
        Runner.from_cfg(toy_config(tmp_path, train_dataloader=toy_loader(0))).train()
    loader = toy_loader(3, drop_last=True)
    with pytest.raises(ConfigError, match="train_dataloader has no batch"):
        Runner.from_cfg(toy_config(tmp_path, train_dataloader=loader)).train()


def test_built_objects_of_the_wrong_kind(tmp_path):
    with pytest.raises(ConfigTypeError, match="model: must be an nn.Module, a dict or a list, but got 3"):
        Runner(3, str(tmp_path))
    with pytest.raises(ConfigTypeError, match="optim_wrapper: must be an OptimWrapper or a dict, but got 3"):
        Runner.from_cfg(toy_config(tmp_path, optim_wrapper=3))
